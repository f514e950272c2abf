"""One thing after another within a span of time, with what must not happen in between.

Other events in between do not matter. Looked for among all events known so far in the order of
their own time, so one that comes late, but in time, counts where it belongs: it may complete a
sequence, or stand in the way of one. After a firing it begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from bridge.sdk import format_duration
from rules.moment import Moment
from rules.patterns.base import Memory, Now, Reaction
from rules.patterns.placing import LATENESS, Placed, Row, fire, placed, span

MOST = 250
"""Events of one key that are remembered; of more, the newest."""


class Stage(NamedTuple):
    """A step of the sequence: the role that makes it, and those that must not come between it and the next."""

    role: str
    not_after: frozenset[str] = frozenset()


_Chain = tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class InOrder:
    """A sequence of stages within a span."""

    stages: tuple[Stage, ...]
    within: timedelta
    lateness: timedelta = LATENESS

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Place the event; fire if that completes a sequence."""
        row = Row.read(memory)
        keep = self.within + self.lateness
        forget = moment.stamp + keep
        one = placed(moment, list(roles))
        refused = row.refused(one, self.lateness, forget)
        if refused is not None:
            return refused
        row = row.with_one(one, keep, MOST)
        chain, reached = self._search(row.events)
        if chain:
            return Reaction(row.after(chain[-1]).as_json(), fire=fire(chain, one, moment.event), forget=forget)
        words = f"{reached} of {len(self.stages)} in order within {format_duration(self.within)}"
        return Reaction(row.as_json(), unmet=words, forget=forget)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Nothing is ever due: it sets no timers."""
        return Reaction()

    def _search(self, events: Iterable[Placed]) -> tuple[_Chain, int]:
        """Return the first complete chain, and how far the best one got.

        Of each length only the newest chain is kept. It began last, as the beginning it grew from did, so it
        outlives all others; and what must not come between ends every chain of that length alike.
        """
        best: list[_Chain] = [()] * len(self.stages)
        for one in events:
            grown = self._grown(best, one)
            if chain := grown.get(len(self.stages) - 1):
                return chain, len(self.stages)
            for number, stage in enumerate(self.stages):
                if number in grown:
                    best[number] = grown[number]
                elif not stage.not_after.isdisjoint(one.what):
                    best[number] = ()
        return (), max((number + 1 for number, chain in enumerate(best) if chain), default=0)

    def _grown(self, best: Sequence[_Chain], one: Placed) -> dict[int, _Chain]:
        """Return the chains that end with this event; none began earlier than the one known of its length."""
        grown: dict[int, _Chain] = {}
        for number, stage in enumerate(self.stages):
            before = best[number - 1] if number else ()
            if stage.role in one.what and (before or not number):
                chain = (*before, one)
                if one.time - chain[0].time <= span(self.within):
                    grown[number] = chain
        return grown
