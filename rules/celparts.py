"""The parts of a CEL expression: what each is, as far as that is certain before an event comes."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from rules.fields import Type, model_fields, type_of, unwrap

BOOL, NOTHING, TEXT, NUMBER = "true or false", "nothing", "text", "a number"
LIST, MAPPING, TIMESTAMP, DURATION, BYTES = "a list", "a mapping", "a timestamp", "a duration", "bytes"
WHOLE, DECIMALS, UNSIGNED = "a whole number", "a number with decimals", "an unsigned number"
HAS = "has"
_SAID = 60
"""Characters of a part that are shown."""
_WORDS = {Type.TEXT: TEXT, Type.TIME: TEXT, Type.NUMBER: NUMBER, Type.BOOL: BOOL, Type.ANY: None}
"""What fields are in an expression, which sees an event as JSON."""
_ESCAPE = re.compile(r"\\[^abfnrtvxuU0-7\\'\"]")
"""An escape that Python has not."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression. `word` is what it is; None where that depends."""

    word: str | None = None
    said: str = ""
    """As it is written."""
    choices: Collection[str] | None = None
    """All the texts that it can be."""
    what: str = "value"
    """What its choices are."""
    plate: bool = False
    model: Any = None
    of: str | None = None
    """It is the event (empty), the data of an event of this kind, or what `HAS` says of a field that is there."""
    item: Part | None = None
    """One of it, if it is a list."""
    literal: Any = None
    """Its value, where that is written there."""
    sort: str | None = None
    """Which number it is, where it is one and that is certain."""
    time: bool = False
    """It is a time as text."""
    there: bool = False
    """It is a field that every such event has; what is absent is `null`."""


def shown(part: Part) -> str:
    """Return a part as it is written, for a message."""
    said = " ".join(part.said.split())
    return f"`{said if len(said) <= _SAID else said[: _SAID - 3] + '...'}`" if said else "this"


def typed(annotation: Any) -> Part:
    """Return what a field of a model is, once it is JSON."""
    bare, many = unwrap(annotation)
    if many:
        return Part(LIST, item=typed(bare))
    if model_fields(bare) or get_origin(bare) is dict:
        return Part(MAPPING, model=bare)
    found = type_of(bare)
    sort = (WHOLE if bare is int else DECIMALS) if found is Type.NUMBER else None
    choices = get_args(bare) if get_origin(bare) is Literal else None
    return Part(_WORDS[found], choices=choices, sort=sort, time=found is Type.TIME)


def literal(kind: str, text: str) -> Part:
    """Return what is written there: a text, bytes or a number."""
    if kind == "number":
        return Part(NUMBER, text, literal=0, sort=_sort_of(text.lower()))
    if _ESCAPE.search(text):
        return Part(TEXT, text)
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return Part(TEXT, text)
    return Part(TEXT, text, literal=value) if isinstance(value, str) else Part(BYTES, text)


def _sort_of(number: str) -> str:
    """Return which number is written."""
    if number.startswith("0x"):
        return UNSIGNED if number.endswith("u") else WHOLE
    if number.endswith("u"):
        return UNSIGNED
    return DECIMALS if "." in number or "e" in number else WHOLE
