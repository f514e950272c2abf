"""Durations and sizes as people write them: the unit is in the value, `30s`, `5GiB`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = r"\d+(?:\.\d+)?(?:ms|[smhdw])"
_DURATION = re.compile(rf"{_PART}(?:\s*{_PART})*")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_LEAP = re.compile(r"(.*\d\d:\d\d:)60((?:[.,]\d+)?(?:[Zz]|[+-][\d:]+)?)")
_LONGEST = timedelta(days=36_500)
"""A hundred years; added to any time there is, the result is still one."""
_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?")


def parse_moment(text: str) -> datetime:
    """Read an ISO 8601 time, with or without offset. Raises ValueError.

    The leap second `23:59:60`, which no clock of a computer has, is the second after it, as POSIX counts.
    """
    leap = _LEAP.fullmatch(text)
    if leap is None:
        return datetime.fromisoformat(text)
    return datetime.fromisoformat(f"{leap[1]}59{leap[2]}") + timedelta(seconds=1)


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `1h30m`, `250ms`. Raises ValueError that says how to write one."""
    if len(text) > 100:
        raise ValueError(f"{text[:20]!r}... is too long for a duration; write 250ms, 30s, 5m, 1h30m, 7d")
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a duration; write a number with its unit: 250ms, 30s, 5m, 1h30m, 7d")
    seconds = sum(float(n) * _DURATION_UNITS[unit] for n, unit in _DURATION_PART.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than {_LONGEST.days} days; nothing here waits that long")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it."""
    milliseconds = round(value / timedelta(milliseconds=1))
    if milliseconds <= 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_DURATION_UNITS[unit] * 1000)
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(text: str) -> int:
    """Read `5GiB`, `256KiB`, `1000000`; units are powers of 1,024. Raises ValueError that says how."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write a number with its unit: 256KiB, 64MiB, 5GiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration; write a number with its unit: 250ms, 30s, 5m, 1h30m, 7d")


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_PART}( *{_PART})*$", "examples": ["30s", "5m", "1h30m"]}),
]
"""A length of time, written with its unit."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "examples": ["256KiB", "5GiB"]}]}),
]
"""A number of bytes, written with its unit."""
