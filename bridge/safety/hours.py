"""When an output may leave idle, by the clock of one zone. Pure: a moment in, yes or no out.

Where the clock changes, the two readings it could show must both be inside: in both passes of the
hour that is repeated, and in the hour after one was skipped. A device or a person may not have
changed over yet.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from bridge.config.outputs import OpenHours, OpenWindow

_HOUR = timedelta(hours=1)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def open_at(hours: OpenHours, now: datetime) -> bool:
    """Tell whether all that the zone's clock may show at this moment is inside a window."""
    return all(any(_inside(window, reading) for window in hours.windows) for reading in readings(hours.zone, now))


def readings(zone: str, now: datetime) -> set[datetime]:
    """Return what the clock may show: one time, and two where it is put forward or back. Naive, as clocks are."""
    before, here, after = (_offset(zone, now + step) for step in (-_HOUR, timedelta(0), _HOUR))
    offsets = {here, before}  # in the hour after a change either reading may still be shown
    offsets.add(min(here, after))  # put back within the hour: this one is shown once more
    return {now.astimezone(UTC).replace(tzinfo=None) + offset for offset in offsets}


def _offset(zone: str, moment: datetime) -> timedelta:
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None  # noqa: S101 - a moment in a zone has one
    return offset


def _inside(window: OpenWindow, clock: datetime) -> bool:
    minute, day = clock.hour * 60 + clock.minute, clock.weekday()
    if window.start < window.end:
        return window.start <= minute < window.end and _DAYS[day] in window.days
    if minute >= window.start:
        return _DAYS[day] in window.days
    return minute < window.end and _DAYS[day - 1] in window.days
