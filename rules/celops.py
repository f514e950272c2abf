"""What CEL's operators and functions take and give; for anything else they have no answer, whatever comes.

CEL converts nothing: a whole number and one with decimals have no sum, a time that came as text has no hours. The
tables say what the library in use does, which a test holds against it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rules.celparts import (
    BOOL,
    BYTES,
    DECIMALS,
    DURATION,
    HAS,
    LIST,
    MAPPING,
    NOTHING,
    NUMBER,
    TEXT,
    TIMESTAMP,
    UNSIGNED,
    WHOLE,
    Part,
    shown,
)


class _Takes(NamedTuple):
    """How many arguments a function has, what it is asked of, and what it gives."""

    arguments: int
    words: frozenset[str] | None
    """None: of anything."""
    gives: Part


_BOOLEAN, _COUNT = Part(BOOL), Part(NUMBER, sort=WHOLE)
_SIZED = frozenset({TEXT, LIST, MAPPING, BYTES})
_OF_TIMES = ("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear")
_OF_SPANS = ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
_METHODS = {
    "size": _Takes(0, _SIZED, _COUNT),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "matches"), _Takes(1, frozenset({TEXT}), _BOOLEAN)),
    **dict.fromkeys(_OF_TIMES, _Takes(0, frozenset({TIMESTAMP}), _COUNT)),
    **dict.fromkeys(_OF_SPANS, _Takes(0, frozenset({TIMESTAMP, DURATION}), _COUNT)),
}
_NUMBERS = frozenset({NUMBER, TEXT})
_FUNCTIONS = {
    "state": _Takes(2, None, Part()),
    "local": _Takes(1, None, Part(TEXT)),
    "has": _Takes(1, None, _BOOLEAN),
    "size": _Takes(1, _SIZED, _COUNT),
    "string": _Takes(1, frozenset({TEXT, NUMBER, TIMESTAMP, DURATION, BYTES}), Part(TEXT)),
    "int": _Takes(1, _NUMBERS, _COUNT),
    "uint": _Takes(1, _NUMBERS, Part(NUMBER, sort=UNSIGNED)),
    "double": _Takes(1, _NUMBERS, Part(NUMBER, sort=DECIMALS)),
    "bytes": _Takes(1, frozenset({TEXT, BYTES}), Part(BYTES)),
    "timestamp": _Takes(1, frozenset({TEXT, TIMESTAMP}), Part(TIMESTAMP)),
    "duration": _Takes(1, frozenset({TEXT, DURATION}), Part(DURATION)),
    "type": _Takes(1, None, Part()),
    "dyn": _Takes(1, None, Part()),
}
_EITHER = frozenset({"state", "local"})
"""Our own, which may also be written after their first argument."""
_OPERANDS = {
    "+": frozenset({TEXT, NUMBER, LIST, MAPPING, TIMESTAMP, DURATION, BYTES}),
    "-": frozenset({NUMBER, TIMESTAMP, DURATION}),
    **dict.fromkeys("*/%", frozenset({NUMBER})),
}
_GIVES = {
    **{("+", word, word): word for word in (TEXT, LIST, DURATION, BYTES)},
    ("+", LIST, MAPPING): LIST,
    ("+", TIMESTAMP, DURATION): TIMESTAMP,
    ("-", DURATION, DURATION): DURATION,
    ("-", TIMESTAMP, TIMESTAMP): DURATION,
    ("-", TIMESTAMP, DURATION): TIMESTAMP,
}
"""What comes of two parts that are no numbers."""
_WRITTEN = {
    "duration": (re.compile(r"-?(0|((\d+(\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s))+)"), '"24h", "5m" or "1m30s"'),
    "timestamp": (
        re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|z|[+-]\d\d:\d\d)"),
        '"2026-01-31T18:00:00+01:00"',
    ),
}
"""How a text must be written to become that, and an example."""


def reckoned(mark: str, left: Part, right: Part) -> tuple[Part, str | None]:
    """Return what an operator gives, and why it never gives anything."""
    takes = _OPERANDS[mark]
    for part in (left, right):
        if part.word not in takes | {None, NOTHING}:
            return Part(), f"{shown(part)} is {part.word}, and `{mark}` takes {_listed(takes)}{_as_time(part)}"
    if left.word is None or right.word is None or NOTHING in {left.word, right.word}:
        return Part(NUMBER) if mark in "*/%" else Part(), None
    if left.word == right.word == NUMBER:
        return _numbers(mark, left, right)
    gives = _GIVES.get((mark, left.word, right.word))
    if gives is not None:
        return Part(gives), None
    said = f"{shown(left)} is {left.word} and {shown(right)} is {right.word}: `{mark}` has no answer for them"
    return Part(), f"{said}{_together(left, right)}"


def _numbers(mark: str, left: Part, right: Part) -> tuple[Part, str | None]:
    sorts = {left.sort, right.sort} - {None}
    given = Part(NUMBER, sort=left.sort if left.sort == right.sort else None)
    if mark == "%" and DECIMALS in sorts:
        one = left if left.sort == DECIMALS else right
        return given, f"{shown(one)} is {DECIMALS}, and `%` takes whole ones; write int({one.said})"
    if len(sorts) > 1:
        said = f"{shown(left)} is {left.sort} and {shown(right)} is {right.sort}"
        return given, f"{said}: `{mark}` has no answer for them{_alike(left, right)}"
    return given, None


def _alike(left: Part, right: Part) -> str:
    """Return how to make two numbers that do not fit into two that do."""
    whole = left if left.sort != DECIMALS else right
    if DECIMALS not in {left.sort, right.sort}:
        return ""
    return f"; write {whole.said}.0" if whole.said.isdigit() else f"; write double({whole.said})"


def _together(left: Part, right: Part) -> str:
    """Return how to put text and something else together."""
    other = right if left.word == TEXT else left
    if TEXT not in {left.word, right.word} or other.word not in {NUMBER, TIMESTAMP, DURATION}:
        return ""
    if other.word != NUMBER and (left.time or right.time):
        return _as_time(left if left.time else right)
    return f"; write string({other.said})"


def negated(part: Part) -> tuple[Part, str | None]:
    """Return what `-` in front of something gives, and why it never gives anything."""
    if part.word not in {None, NOTHING, NUMBER, BOOL} or part.sort == UNSIGNED:
        return Part(), f"{shown(part)} is {part.sort or part.word}, and `-` before it has no answer"
    return Part(NUMBER, sort=part.sort), None


def called(name: str, arguments: Sequence[Part]) -> tuple[Part, str | None]:
    """Return what a function gives, and why it never gives anything."""
    takes = _FUNCTIONS.get(name)
    if takes is None:
        return Part(), f"`{name}` is written after its value: value.{name}(...)" if name in _METHODS else None
    if len(arguments) != takes.arguments:
        wanted = "an entity and an attribute" if name == "state" else "one value"
        return takes.gives, f"`{name}` takes {wanted}, and {len(arguments) or 'none'} is given"
    if name == "has":
        return Part(BOOL, of=HAS if arguments[0].there else None), None
    return takes.gives, _unfit(name, takes, arguments[0]) or _ill_written(name, arguments[0])


def asked(name: str, part: Part, arguments: Sequence[Part]) -> tuple[Part, str | None]:
    """Return what a function written after its value gives, and why it never gives anything."""
    takes = _METHODS.get(name)
    if takes is None:
        wrong = name in _FUNCTIONS and name not in _EITHER
        return Part(), f"`{name}` is written before its value: {name}({part.said})" if wrong else None
    if len(arguments) != takes.arguments:
        if name.startswith("get"):
            return takes.gives, f"`{name}` takes no zone: it is UTC's; `local(event.time)` is the site's clock, as text"
        return takes.gives, f"`{name}` takes {takes.arguments or 'no'} value in its brackets"
    return takes.gives, _unfit(name, takes, part) or _other_argument(name, part, arguments)


def _other_argument(name: str, part: Part, arguments: Sequence[Part]) -> str | None:
    """Return why what stands in the brackets never fits."""
    for one in arguments:
        if one.word not in {None, NOTHING, TEXT}:
            return f"{shown(one)} is {one.word}, and `{name}` looks for a text"
    return None


def _unfit(name: str, takes: _Takes, part: Part) -> str | None:
    if takes.words is None or part.word in takes.words | {None, NOTHING}:
        return None
    cure = _as_time(part) if name in {*_OF_TIMES, *_OF_SPANS} else ""
    return f"{shown(part)} is {part.word}, and `{name}` takes {_listed(takes.words)}{cure}"


def _ill_written(name: str, part: Part) -> str | None:
    """Return why a text that is written there never becomes a time or a span."""
    known = _WRITTEN.get(name)
    if known is None or not isinstance(part.literal, str) or known[0].fullmatch(part.literal):
        return None
    return f"{shown(part)} is no {name} of CEL; write {name}({known[1]})"


def _as_time(part: Part) -> str:
    return f"; write timestamp({part.said})" if part.time else ""


def _listed(words: frozenset[str]) -> str:
    *others, last = sorted(words)
    return f"{', '.join(others)} or {last}" if others else last
