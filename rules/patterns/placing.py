"""Where events belong in time, and how that is written down.

An event belongs to its own time, but not later than the log's stamp: a source whose clock is ahead
shall not make all others look late. Events at the same time are in the order of the log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bridge.sdk import Origin, VmsEvent, format_duration
from rules.moment import Moment
from rules.patterns.base import MAX_CAUSES, Fire, Memory, Reaction

LATENESS = timedelta(seconds=10)
"""How late an event may come, compared with newer ones of its key, and still be placed by its own time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TRUST = (
    Origin.LIVE,
    Origin.COMMAND,
    Origin.BRIDGE,
    Origin.TIMER,
    Origin.RESYNC,
    Origin.BACKFILL,
    Origin.REPLAY,
    Origin.TEST,
)
"""From the most trustworthy provenance to the least."""


def micros(moment: datetime) -> int:
    """Return a moment as values hold it: microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def span(value: timedelta) -> int:
    """Return a span as microseconds."""
    return value // _MICROSECOND


def from_micros(value: int) -> datetime:
    """Return the moment that `micros` wrote."""
    return _EPOCH + timedelta(microseconds=value)


def least_trusted(origins: Iterable[str]) -> Origin:
    """Return the least trustworthy of some provenances."""
    return max((Origin(origin) for origin in origins), key=_TRUST.index)


_AHEAD = 16
"""Events from clocks that are ahead that are known again when they come twice."""


class Placed(NamedTuple):
    """One event in its place; ordered by time, then by the log."""

    time: int
    seq: int
    id: str
    origin: str
    what: Any = None
    """What the pattern wants to know of it."""
    ahead: bool = False
    """Its clock was ahead of the log's; only known while it is placed."""


def placed(moment: Moment, what: Any = None) -> Placed:
    """Return an event in its place."""
    event = moment.event
    ahead = event.time > moment.stamp
    time = micros(moment.stamp if ahead else event.time)
    return Placed(time, moment.seq, event.id, event.origin.value, what, ahead)


def fire(chosen: Sequence[Placed], decided: Placed, trigger: VmsEvent) -> Fire:
    """Return the firing that some events make together. The one that decided is named last."""
    others = [one.id for one in chosen if one.id != decided.id]
    causes = (*others[-(MAX_CAUSES - 1) :], decided.id)
    return Fire(causes, trigger, least_trusted(one.origin for one in (*chosen, decided)))


@dataclass(frozen=True, slots=True)
class Row:
    """The last events of a key in their order, back to where nothing that may still come can need them."""

    events: tuple[Placed, ...] = ()
    newest: int | None = None
    """The latest time seen."""
    over: tuple[int, int] | None = None
    """Up to this place everything has had its firing."""
    spent: tuple[str, ...] = ()
    """Ids of the events at just that time which are over: a second arrival of one is no new event."""
    ahead: tuple[str, ...] = ()
    """Ids of the last events whose clock was ahead: a second arrival of one would be placed anew."""
    late: int = 0
    """Events that came too late to be placed."""
    full: int = 0
    """Events that were dropped because there were too many."""

    @classmethod
    def read(cls, memory: Memory) -> Row:
        """Return what `as_json` wrote."""
        if not memory:
            return cls()
        over = memory.get("over")
        return cls(
            tuple(Placed(*one) for one in memory.get("events", ())),
            memory["newest"],
            (over[0], over[1]) if over else None,
            tuple(memory.get("spent", ())),
            tuple(memory.get("ahead", ())),
            memory.get("late", 0),
            memory.get("full", 0),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, without what is empty."""
        whole = {
            "events": [list(one[:5] if one.what is not None else one[:4]) for one in self.events],
            "newest": self.newest,
            "over": list(self.over) if self.over else None,
            "spent": list(self.spent),
            "ahead": list(self.ahead),
            "late": self.late,
            "full": self.full,
        }
        return {name: value for name, value in whole.items() if value or name == "newest"}

    def refuses(self, one: Placed, lateness: timedelta) -> str | None:
        """Return why an event is not to be placed, in words."""
        if one.id in self.spent or one.id in self.ahead or any(one.id == other.id for other in self.events):
            return "an event that was counted already"
        if self.newest is not None and one.time < self.newest - span(lateness):
            behind = format_duration(timedelta(microseconds=self.newest - one.time))
            return f"one that came {behind} behind newer ones; at most {format_duration(lateness)} is placed"
        if self.over is not None and (one.time, one.seq) <= self.over:
            return "one from before the last firing"
        return None

    def too_late(self, one: Placed, lateness: timedelta) -> bool:
        """Tell whether it came too late to be placed."""
        return self.newest is not None and one.time < self.newest - span(lateness)

    def noted(self) -> Row:
        """Return it with one more event that came too late."""
        return replace(self, late=self.late + 1)

    def with_one(self, one: Placed, keep: timedelta, most: int) -> Row:
        """Return it with an event in its place. What is older than `keep`, and more than `most`, is dropped."""
        row = self.with_all(one)
        oldest = (row.newest or 0) - span(keep)
        events = tuple(other for other in row.events if other.time >= oldest)
        dropped = max(0, len(events) - most)
        return replace(row, events=events[dropped:], full=self.full + dropped)

    def with_all(self, one: Placed) -> Row:
        """Return it with an event in its place, and nothing dropped."""
        newest = max(one.time, self.newest if self.newest is not None else one.time)
        at = bisect_right(self.events, one[:2], key=lambda other: other[:2])
        ahead = (*self.ahead, one.id)[-_AHEAD:] if one.ahead else self.ahead
        return replace(self, events=(*self.events[:at], one, *self.events[at:]), newest=newest, ahead=ahead)

    def after(self, last: Placed) -> Row:
        """Return it after a firing: everything up to its last event is over."""
        gone = [one for one in self.events if one[:2] <= last[:2]]
        kept = self.spent if self.over and self.over[0] == last.time else ()
        spent = (*kept, *(one.id for one in gone if one.time == last.time))
        events = tuple(one for one in self.events if one[:2] > last[:2])
        return replace(self, events=events, over=(last.time, last.seq), spent=spent)

    def refused(self, one: Placed, lateness: timedelta, forget: datetime | None) -> Reaction | None:
        """Return the reaction to an event that is not to be placed; None if it is."""
        why = self.refuses(one, lateness)
        if why is None:
            return None
        row = self.noted() if self.too_late(one, lateness) else self
        return Reaction(row.as_json(), unmet=why, forget=forget)
