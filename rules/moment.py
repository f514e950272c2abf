"""One event while it is being decided: what has been worked out about it, once for all rules.

Rules share tests; the answer to each is kept here for as long as the event is looked at.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bridge.sdk import Logged, VmsEvent
from rules.fields import Field
from rules.schedules import Place, Schedule

if TYPE_CHECKING:
    from rules.conditions import Test
    from rules.overlay import Overlay


NO_WAIT = timedelta()


class Moment:
    """An event, the log's time, and the answers found so far.

    `waited` is how long after the event the rule looks at it because it asks for that: the moment is
    that much later, and the event is not called old for it.
    """

    __slots__ = (
        "_clock",
        "_open",
        "_overlay",
        "_results",
        "_values",
        "data",
        "event",
        "place",
        "seq",
        "stamp",
        "waited",
    )

    def __init__(
        self, logged: Logged, place: Place, waited: timedelta = NO_WAIT, overlay: Overlay | None = None
    ) -> None:
        self.event: VmsEvent = logged.event
        self.data = logged.event.data
        self.stamp = logged.stamp
        self.seq = logged.seq
        self.place = place
        self.waited = waited
        self._overlay = overlay
        self._clock: datetime | None = None
        self._values: dict[Field, Any] = {}
        self._results: dict[Test, bool] = {}
        self._open: dict[Schedule, bool] = {}

    def value(self, field: Field) -> Any:
        """Return a field of the payload; None if absent."""
        values = self._values
        if field in values:
            return values[field]
        value = values[field] = field.read(self.data)
        return value

    def holds(self, test: Test) -> bool:
        """Tell whether a test holds for this event."""
        results = self._results
        if test in results:
            return results[test]
        result = results[test] = test.holds(self)
        return result

    @property
    def clock(self) -> datetime:
        """What the site's wall clock showed when it happened; naive."""
        if self._clock is None:
            self._clock = (self.event.time + self.waited).astimezone(self.place.zone).replace(tzinfo=None)
        return self._clock

    def changed(self, name: str, value: str, tag: str | None) -> bool | None:
        """Tell what a change at run time says of a value in a list; None if the file counts."""
        found = self._overlay.find(name, value, self.stamp) if self._overlay is not None else None
        return None if found is None else found.holds(self.event.time + self.waited, tag)

    def like(self, name: str, value: str, distance: int) -> list[str]:
        """Return the values changed in a list at run time that a plate is like."""
        return self._overlay.like(name, value, distance) if self._overlay is not None else []

    def is_open(self, schedule: Schedule) -> bool:
        """Tell whether a schedule was open when it happened."""
        if schedule not in self._open:
            self._open[schedule] = schedule.open_at(self.clock, self.place)
        return self._open[schedule]

    @property
    def age(self) -> timedelta:
        """How old the event was when it was logged: by its own time or by its receipt, whichever is older."""
        return self.stamp - min(self.event.time, self.event.received) - self.waited
