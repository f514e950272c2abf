"""Which plates were read a moment ago, and by which reader: for doors that want more than one reading.

Only what was heard live by this process counts, so after a restart a car is read once more. Nothing is written down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from bridge.clock import Clock
from bridge.config.outputs import DoorConfig
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import PlateRead

KEPT = timedelta(seconds=60)
"""No door looks further back, whatever is configured."""


class Reading(NamedTuple):
    """A plate was read by a reader."""

    event: str
    reader: tuple[str, str | None]
    plate: str
    score: float | None
    time: datetime
    at: float
    """When it was heard, on the monotonic clock."""


class Readings:
    """The readings of one site. Remembers nothing where no door asks for more than one."""

    def __init__(self, doors: Iterable[DoorConfig], clock: Clock) -> None:
        self._wanted = any(door.reads > 1 for door in doors)
        self._clock = clock
        self._kept: deque[Reading] = deque()

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in."""
        if not self._wanted or event.origin is not Origin.LIVE or not isinstance(event.data, PlateRead):
            return
        if event.timequality == "doubtful":
            return  # it may be the reading that came before, sent again
        now = self._clock.monotonic()
        while self._kept and now - self._kept[0].at > KEPT.total_seconds():
            self._kept.popleft()
        read = event.data
        self._kept.append(Reading(event.id, _reader(event), read.plate, read.score, event.time, now))

    def like(self, event: VmsEvent) -> list[tuple[timedelta, float | None]]:
        """Return the other readings of the same plate by the same reader: how far each is from this one, and its score.

        The larger of what the reader's clock and ours say: one that was kept back for an hour is an hour off.
        """
        if not isinstance(event.data, PlateRead):
            return []
        now, found = self._clock.monotonic(), dict[str, tuple[timedelta, float | None]]()
        for other in self._kept:
            same = (other.reader, other.plate) == (_reader(event), event.data.plate)
            if same and other.event != event.id:
                apart = max(timedelta(seconds=now - other.at), abs(event.time - other.time))
                found[other.event] = (apart, other.score)
        return list(found.values())


def _reader(event: VmsEvent) -> tuple[str, str | None]:
    return event.source, event.subject
