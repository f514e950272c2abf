"""Read the times TS-API writes, in all their forms. Pure: no clock is read, nothing is guessed.

A time without offset is the server's wall clock. In the hour that daylight saving repeats it can mean
two moments, in the hour it skips none: whoever asks decides whether the earlier reading is good enough
(a row of the log) or none is (a live event, which falls back on its receipt).
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Quality = Literal["device", "server", "received", "doubtful"]

UNTIMED: frozenset[Quality] = frozenset({"received", "doubtful"})
"""The time is the receipt's: none was given, or none that can be."""

# TS-API guide 0.9.20 and v1 guide 1.1.0: `T` or a space, seconds and fraction optional, an offset of
# hours with or without minutes, `Z`, or none. A comma before the fraction is ISO 8601 as well.
_OFFSET = r"Z|z|[+-]\d\d(?::?[0-5]\d)?"
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    rf"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{{1,9}}))?)? ?({_OFFSET})?)?",
    re.ASCII,
)
_ZONE_OFFSET = re.compile(r"(?:UTC|GMT)? ?([+-])(\d\d?)(?::?([0-5]\d))?", re.ASCII)
_ISO_LENGTH = len("2018-02-01T14:30:15")
_LONGEST = 64
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""A device whose clock was never set says 1970; that is no time at all."""


class Moment(NamedTuple):
    """A moment in UTC, and how well it is known."""

    time: datetime
    quality: Quality


Ambiguous = Literal["refuse", "earlier", "later"]


def read(value: Any, zone: tzinfo, *, ambiguous: Ambiguous = "refuse") -> Moment | None:
    """Return the moment a value names, or None when it names none.

    `zone` is the server's, for times without offset. Such a time that daylight saving repeats or skips
    gives None, or with `ambiguous="earlier"` or `"later"` one of its readings.
    """
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    try:
        said = _said(value)
        if said is None:
            return None
        local = said if said.tzinfo else said.replace(tzinfo=zone, fold=int(ambiguous == "later"))
        moment = local.astimezone(UTC)
        if moment < EARLIEST:
            return None
        if said.tzinfo is None and ambiguous == "refuse" and not _is_one_moment(local):
            return None
    except (ValueError, OverflowError):
        return None
    return Moment(moment, "device" if said.tzinfo else "server")


def readings(value: Any, zone: tzinfo) -> list[Moment]:
    """Return every moment a value may name: none, one, or two where daylight saving repeats the hour."""
    earlier, later = read(value, zone, ambiguous="earlier"), read(value, zone, ambiguous="later")
    if earlier is None or later is None:
        return []
    return sorted({earlier, later}, key=lambda moment: moment.time)


def _said(value: str) -> datetime | None:
    """Return the time as it is written, with or without a zone. Raises ValueError for a 30th of February."""
    if len(value) >= _ISO_LENGTH and value[4] == value[7] == "-" and value[10] in "T ":
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    # Every URL of the vendor's export guide ends its times in a percent-encoded line break.
    match = _TIME.fullmatch((unquote(value) if "%" in value else value).strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    micro = int((match[7] or "").ljust(6, "0")[:6])
    leap = second == 60
    zone = _fixed(match[8]) if match[8] else None
    said = datetime(year, month, day, hour, minute, 59 if leap else second, micro, zone)
    return said + timedelta(seconds=1) if leap else said


def _fixed(offset: str) -> tzinfo:
    if offset in "Zz":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[3:].lstrip(":") or 0)
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _is_one_moment(local: datetime) -> bool:
    """Tell whether a wall-clock time names exactly one moment: not repeated, not skipped."""
    return local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset()


def zone_of(name: str | None, bias: str | None = None) -> tzinfo:
    """Return the zone a server names: an IANA name, `UTC-05:00`, or else its present offset `bias`.

    A server that says nothing usable is taken to keep UTC.
    """
    return _named(name) or _named(bias) or UTC


def _named(name: str | None) -> tzinfo | None:
    text = (name or "").strip()
    if match := _ZONE_OFFSET.fullmatch(text):
        hours, minutes = int(match[2]), int(match[3] or 0)
        offset = timedelta(hours=hours, minutes=minutes)
        return timezone(-offset if match[1] == "-" else offset) if hours < 24 else None
    if text.upper() in ("UTC", "GMT", "Z"):
        return UTC
    try:
        return ZoneInfo(text) if text else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
