"""The words that the parts of a rule file are made of: names, durations, days, one or several texts."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from bridge.sdk import Duration
from rules.schedules import Point, format_days, parse_days, parse_point

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A name that the user gives: letters, digits, `-`, `_` and `.`; at most 64."""
MAX_TEXT = 4096


class Part(BaseModel):
    """A part of a rule file."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


def number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


ITEM_OR_LIST = WithJsonSchema(
    {
        "anyOf": [
            {"type": ["string", "integer"]},
            {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1},
        ]
    }
)
Word = Annotated[
    str,
    BeforeValidator(number_as_text),
    StringConstraints(min_length=1, max_length=MAX_TEXT),
    WithJsonSchema({"type": ["string", "integer"]}),
]
Words = Annotated[tuple[Word, ...], BeforeValidator(as_list), Field(min_length=1), ITEM_OR_LIST]
"""A text or number, or several of them."""
Expression = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than nothing")
    return value


Positive = Annotated[Duration, AfterValidator(_positive)]
TimeOfDay = Annotated[
    Point,
    PlainValidator(parse_point),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["22:00", "sunset-15m", "sunrise"]}),
]
Days = Annotated[
    frozenset[int],
    PlainValidator(parse_days),
    PlainSerializer(format_days, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": ["mon-fri", ["sat", "sun"]],
        }
    ),
]
