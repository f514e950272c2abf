"""It became true and stayed true for so long.

What is known is a row of edges, each a beginning or an end, in the order of their own time. The last
unbroken run of beginnings is what lasts now. Its time is up so long after the log first had it: an
edge that comes late may take a run away or cut it short, and never makes it fire early.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bridge.sdk import VmsEvent, format_duration
from rules.moment import Moment
from rules.patterns.base import Fire, Memory, Now, Reaction
from rules.patterns.placing import LATENESS, Placed, Row, from_micros, micros, placed, span

BEGIN, END = "begin", "end"
MOST = 16
"""Edges of one key that are remembered one by one."""
_TIMER = "held"


class _Run(NamedTuple):
    """Beginnings without an end: the first of them, the log's time of the earliest, and whether it was told."""

    seq: int
    id: str
    stamp: int
    told: bool


@dataclass(frozen=True, slots=True)
class Held:
    """True for a span."""

    span: timedelta
    lateness: timedelta = LATENESS

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Place the edge and look what lasts now."""
        state = _State.read(memory)
        begins = BEGIN in roles
        one = placed(moment, [begins, micros(moment.stamp)])
        why = state.row.refuses(one, self.lateness)
        before = state.run()
        if why is not None:
            late = state.row.too_late(one, self.lateness)
            row = state.row.noted() if late else state.row
            return self._reaction(_State(row, state.base, state.told, state.events), moment.stamp, why)
        events = dict(state.events)
        if begins:
            events[one.seq] = moment.event.model_dump(mode="json", exclude_none=True, exclude={"raw"})
        state = self._pruned(state.row.with_all(one), state, events)
        after = state.run()
        words = None
        if after is not None:
            words = "it was told already" if after.told else f"it lasts; {format_duration(self.span)} are not over"
        elif before is not None:
            words = "it ended"
        return self._reaction(state, moment.stamp, words)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """The time is up: fire, unless what lasts now began later."""
        state = _State.read(memory)
        run = state.run()
        if run is None or run.told or from_micros(run.stamp) + self.span > now.stamp:
            return self._reaction(state, now.stamp, None)
        trigger = VmsEvent.model_validate(state.events[run.seq])
        told = self._reaction(_State(state.row, state.base, run.seq, state.events).kept(), now.stamp, None)
        return replace(told, fire=Fire((run.id,), trigger, waited=self.span))

    def _reaction(self, state: _State, stamp: datetime, words: str | None) -> Reaction:
        run = state.run()
        if run is None:
            return Reaction(state.as_json(), unmet=words, forget=stamp + self.lateness)
        timers = {} if run.told else {_TIMER: from_micros(run.stamp) + self.span}
        return Reaction(state.as_json(), timers, unmet=words)

    def _pruned(self, row: Row, old: _State, events: Mapping[int, Any]) -> _State:
        """Fold the edges that nothing can come before any more into the run that they leave."""
        oldest = (row.newest or 0) - span(self.lateness)
        drop = max(len(row.events) - MOST, sum(one.time < oldest for one in row.events))
        base = old.base
        for one in row.events[:drop]:
            base = _joined(base, one, old.told)
        kept = replace(row, events=row.events[drop:])
        return _State(kept, base, old.told, events).kept()


@dataclass(frozen=True, slots=True)
class _State:
    """The edges, what was before them, which run was told last, and the events of beginnings by their place."""

    row: Row
    base: _Run | None
    told: int | None
    events: Mapping[int, Any]

    @classmethod
    def read(cls, memory: Memory) -> _State:
        if not memory:
            return cls(Row(), None, None, {})
        base = memory.get("base")
        events = {int(seq): event for seq, event in memory.get("begun", {}).items()}
        return cls(Row.read(memory), _Run(*base) if base else None, memory.get("told"), events)

    def as_json(self) -> dict[str, Any]:
        whole = {
            "base": list(self.base) if self.base else None,
            "told": self.told,
            "begun": {str(seq): event for seq, event in self.events.items()},
        }
        return {**self.row.as_json(), **{name: value for name, value in whole.items() if value}}

    def run(self) -> _Run | None:
        """Return what lasts now."""
        run = self.base
        for one in self.row.events:
            run = _joined(run, one, self.told)
        return run

    def kept(self) -> _State:
        """Return it without the events that no run can begin with any more."""
        seqs = {one.seq for one in self.row.events} | ({self.base.seq} if self.base else set())
        events = {seq: event for seq, event in self.events.items() if seq in seqs}
        base = self.base
        if base is not None and base.seq == self.told:
            base = base._replace(told=True)
        return _State(self.row, base, self.told, events)


def _joined(run: _Run | None, one: Placed, told: int | None) -> _Run | None:
    """Return the run after one more edge."""
    begins, stamp = one.what
    if not begins:
        return None
    if run is None:
        return _Run(one.seq, one.id, stamp, one.seq == told)
    return _Run(run.seq, run.id, min(run.stamp, stamp), run.told or one.seq == told)
