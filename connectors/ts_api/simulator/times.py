"""Times and durations as TS-API writes and reads them, and the simulator's own durations in YAML."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(value: object) -> timedelta:
    """Read `5s`, `1m`, `250ms` or a plain number of seconds (TS-API guide 0.9.20, vod and event trigger)."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value).strip())
    if not match or isinstance(value, bool):
        raise ValueError("not a duration: write a number with a unit, such as 500ms, 5s, 2m or 1h")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


def parse_time(text: str, zone: tzinfo) -> datetime:
    """Read every form of time that TS-API accepts; one without offset is the server's local time.

    Forms: `2018-02-01T14:30:15.253-05:00`, the offset also `-0500`, `-05` or `Z`; a space for the `T`;
    no offset; the date alone; a trailing CR LF. A `+` that arrived as a space is put back.
    """
    text = text.strip()
    if re.search(r"\d \d{2}(:?\d{2})?$", text) and "T" in text:
        text = "+".join(text.rsplit(" ", 1))
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def zoned(moment: datetime, zone: tzinfo) -> str:
    """Write `2018-02-01T14:30:15.253-05:00`: the form of v0 and of sockets."""
    return moment.astimezone(zone).isoformat(timespec="milliseconds")


def local(moment: datetime, zone: tzinfo) -> str:
    """Write `2022-11-29T10:13:09.646`, the server's wall clock without offset: the form of v1 queries."""
    return moment.astimezone(zone).replace(tzinfo=None).isoformat(timespec="milliseconds")


def bias(moment: datetime, zone: tzinfo) -> str:
    """Write the zone's offset at a moment as `-05:00`."""
    return moment.astimezone(zone).isoformat()[-6:]


def find_zone(name: str) -> tzinfo:
    """Return a zone by its IANA name; an unknown name is a ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as exc:
        raise ValueError(f"no such time zone: {name}") from exc


def midnight(day: date, zone: tzinfo) -> datetime:
    """Return the start of a local day."""
    return datetime.combine(day, time(), zone)
