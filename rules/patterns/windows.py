"""So many, so much, so many different, or one of each, within a sliding window of time.

Complete as soon as the window that ends with any event known by then holds enough; after a firing
it begins anew, with what comes after that window. An event that comes late, but in time, is placed
where it belongs and may complete a window that others have passed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bridge.sdk import format_duration, plain, stable_id
from rules.fields import Field
from rules.moment import Moment
from rules.patterns.base import Memory, Now, Reaction
from rules.patterns.placing import LATENESS, Placed, Row, fire, placed, span

MOST = 1000
"""Events of one key that are remembered; of more, the newest."""
_LONG_TEXT = 64
"""Characters of a value that is remembered as it is; a longer one is remembered by its hash."""


class Measure(Protocol):
    """What is asked of the events in a window."""

    def take(self, roles: tuple[str, ...], moment: Moment) -> Any:
        """Return what must be remembered of an event. Raises ValueError when it says nothing about it."""
        ...

    def missing(self, taken: Sequence[Any]) -> str | None:
        """Return what is still lacking, in words; None if what was taken of the events is enough."""
        ...


@dataclass(frozen=True, slots=True)
class Count:
    """So many events."""

    wanted: int

    def take(self, roles: tuple[str, ...], moment: Moment) -> Any:
        """Nothing but that it is there."""
        return None

    def missing(self, taken: Sequence[Any]) -> str | None:
        """Return how many there are."""
        return None if len(taken) >= self.wanted else f"{len(taken)} of {self.wanted}"


@dataclass(frozen=True, slots=True)
class Sum:
    """A field's values together are so much."""

    field: Field
    wanted: float

    def take(self, roles: tuple[str, ...], moment: Moment) -> Any:
        """Return the value."""
        value = moment.value(self.field)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"`{self.field.path}` is no number here")
        return value

    def missing(self, taken: Sequence[Any]) -> str | None:
        """Return how much it is."""
        total = math.fsum(taken)
        return None if total >= self.wanted else f"a sum of {total:g} of {self.wanted:g}"


@dataclass(frozen=True, slots=True)
class Distinct:
    """A field has so many different values."""

    field: Field
    wanted: int

    def take(self, roles: tuple[str, ...], moment: Moment) -> Any:
        """Return the value as text."""
        value = moment.value(self.field)
        if value is None:
            raise ValueError(f"`{self.field.path}` is absent here")
        text = plain(value.isoformat() if isinstance(value, datetime) else value)
        return text if len(text) <= _LONG_TEXT else stable_id(text)

    def missing(self, taken: Sequence[Any]) -> str | None:
        """Return how many there are."""
        found = len(set(taken))
        return None if found >= self.wanted else f"{found} of {self.wanted} different"


@dataclass(frozen=True, slots=True)
class OneOfEach:
    """Each of the rule's parts was there, in any order."""

    wanted: tuple[str, ...]

    def take(self, roles: tuple[str, ...], moment: Moment) -> Any:
        """Return which parts it is."""
        return list(roles)

    def missing(self, taken: Sequence[Any]) -> str | None:
        """Return which part is not there."""
        found = {role for roles in taken for role in roles}
        absent = [role for role in self.wanted if role not in found]
        return f"all[{'], all['.join(absent)}] not yet" if absent else None


@dataclass(frozen=True, slots=True)
class Window:
    """Enough of them within a span."""

    measure: Measure
    within: timedelta
    lateness: timedelta = LATENESS

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Place the event; fire with the first window that is full because of it."""
        row = Row.read(memory)
        keep = self.within + self.lateness
        forget = moment.stamp + keep
        try:
            one = placed(moment, self.measure.take(roles, moment))
        except ValueError as error:
            return Reaction(memory, unmet=str(error), forget=forget)
        refused = row.refused(one, self.lateness, forget)
        if refused is not None:
            return refused
        row = row.with_one(one, keep, MOST)
        found, missing = self._window(row.events, one)
        if found:
            return Reaction(row.after(found[-1]).as_json(), fire=fire(found, one, moment.event), forget=forget)
        return Reaction(row.as_json(), unmet=f"{missing} within {format_duration(self.within)}", forget=forget)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Nothing is ever due: it sets no timers."""
        return Reaction()

    def _window(self, events: Sequence[Placed], one: Placed) -> tuple[Sequence[Placed], str]:
        """Return the first window with the event in it that has enough; or what its own window lacks."""
        length, lacks = span(self.within), ""
        taken = [other.what for other in events]
        begin = bisect_left(events, one[:2], key=lambda other: other[:2])
        first = 0
        for end in range(begin, len(events)):
            last = events[end]
            if last.time - one.time > length:
                break
            while events[first].time < last.time - length:
                first += 1
            missing = self.measure.missing(taken[first : end + 1])
            if missing is None:
                return events[first : end + 1], ""
            lacks = lacks or missing
        return (), lacks
