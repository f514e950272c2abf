"""The inputs of a template: what they may be called, of what type they are, and whether a value is of that type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, JsonValue, field_validator, model_validator

from bridge.sdk import Known, canonical_plate, parse_duration, unknown
from rules.inserts import NAME
from rules.parts import MAX_TEXT, Part
from rules.report import shown

MAX_INPUTS = 32
MAX_ITEMS = 1000
"""Of one input that is a list; longer lists have a name and are given by it."""
LIST_OF = "list of "


class InputPart(Part):
    """An input of a template. Without a default every use must give it."""

    type: str = Field("text", description="What it is: text, number, source, ..., or `list of` one of these.")
    one_of: tuple[JsonValue, ...] | None = Field(None, alias="one-of", description="The only values it may have.")
    default: JsonValue = Field(None, description="What it is where a use does not say. `null`: nothing.")
    description: str | None = Field(None, description="For people.")

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        name = value.removeprefix(LIST_OF)
        if name not in TYPES:
            raise ValueError(unknown("type of input", name, sorted(TYPES)))
        return value

    @model_validator(mode="after")
    def _whole(self) -> InputPart:
        if self.one_of is not None and not self.one_of:
            raise ValueError("`one-of` must name at least one value")
        return self

    @property
    def optional(self) -> bool:
        """A use may leave it out."""
        return "default" in self.model_fields_set

    @property
    def words(self) -> str:
        """Return what it must be, for people."""
        return f"one of {', '.join(map(str, self.one_of))}" if self.one_of is not None else self.type


@dataclass(frozen=True, slots=True)
class Site:
    """What the names in inputs may refer to."""

    known: Known
    lists: frozenset[str] = frozenset()
    schedules: frozenset[str] = frozenset()


def check_input(part: InputPart, value: Any, site: Site) -> list[tuple[int | None, str]]:
    """Return what is wrong with a value, each with its place in the list if it is one."""
    if value is None and part.optional and part.default is None:
        return []
    if not part.type.startswith(LIST_OF):
        said = _wrong(part, value, site)
        return [(None, said)] if said else []
    if not isinstance(value, list):
        return [(None, f"must be a {part.type}, got {shown(value)}")]
    if len(value) > MAX_ITEMS:
        return [
            (None, f"has {len(value)} items, at most {MAX_ITEMS}; put them into a list under `lists:` and name that")
        ]
    return [(number, said) for number, item in enumerate(value) if (said := _wrong(part, item, site))]


def _wrong(part: InputPart, value: Any, site: Site) -> str | None:
    if part.one_of is not None and not any(type(one) is type(value) and one == value for one in part.one_of):
        return unknown("value", str(value), sorted(map(str, part.one_of))) if _text(value) else _not(part.words, value)
    return TYPES[part.type.removeprefix(LIST_OF)](value, site)


def _not(wanted: str, value: Any) -> str:
    return f"must be {wanted}, got {shown(value)}"


# --- types -----------------------------------------------------------------------------------------------


def _text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_text(value: Any, site: Site) -> str | None:
    if not _text(value):
        return _not("text", value)
    return f"is longer than {MAX_TEXT} characters" if len(str(value)) > MAX_TEXT else None


def _is_number(value: Any, site: Site) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if number else _not("a number", value)


def _is_boolean(value: Any, site: Site) -> str | None:
    return None if isinstance(value, bool) else _not("true or false", value)


def _is_duration(value: Any, site: Site) -> str | None:
    try:
        if not isinstance(value, str):
            raise ValueError(f"{shown(value)} is not a duration; write a number with its unit: 30s, 5m")
        parse_duration(value)
    except ValueError as error:
        return str(error)
    return None


def _is_plate(value: Any, site: Site) -> str | None:
    plate = isinstance(value, (str, int)) and not isinstance(value, bool) and canonical_plate(str(value))
    return None if plate else _not("a number plate", value)


def _is_channel(value: Any, site: Site) -> str | None:
    number = isinstance(value, int) and not isinstance(value, bool)
    return None if number or (isinstance(value, str) and value) else _not("a channel", value)


def _name_of(what: str, known: Callable[[Site], frozenset[str] | None]) -> Callable[[Any, Site], str | None]:
    def wrong(value: Any, site: Site) -> str | None:
        names = known(site)
        if not isinstance(value, str) or not value:
            return _not(f"the name of a {what}", value)
        return unknown(what, value, names) if names is not None and value not in names else None

    return wrong


TYPES: Mapping[str, Callable[[Any, Site], str | None]] = {
    "any": lambda value, site: None,
    "text": _is_text,
    "number": _is_number,
    "boolean": _is_boolean,
    "duration": _is_duration,
    "plate": _is_plate,
    "channel": _is_channel,
    "source": _name_of("source", lambda site: site.known.sources),
    "door": _name_of("door", lambda site: site.known.doors),
    "output": _name_of("output", lambda site: site.known.outputs),
    "webhook": _name_of("webhook", lambda site: site.known.webhooks),
    "list": _name_of("list", lambda site: site.lists),
    "schedule": _name_of("schedule", lambda site: site.schedules),
}
"""Every type of input, and what says why a value is not of it."""


def input_name(name: str) -> bool:
    """Tell whether an input may be called so."""
    return re.fullmatch(NAME, name) is not None and len(name) <= 64
