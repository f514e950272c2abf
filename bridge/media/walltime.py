"""Wall-clock time as whole microseconds since 1970, which add up without rounding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000


def to_utc(when: datetime) -> datetime:
    """Return the same moment in UTC; a time without a zone could be any moment and is refused."""
    if when.tzinfo is None:
        raise ValueError("the time has no zone")
    return when.astimezone(UTC)


def to_micros(when: datetime) -> int:
    """Return microseconds since 1970."""
    return (when - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment, UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def ticks_to_micros(ticks: int, time_base: Fraction) -> int:
    """Return microseconds, rounded to the nearest."""
    return round(ticks * time_base * SECOND)


def micros_to_ticks(micros: int, time_base: Fraction) -> int:
    """Return units of `time_base`, rounded to the nearest."""
    return round(micros / (time_base * SECOND))
