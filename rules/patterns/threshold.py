"""A value rises above a bound, or falls below one, and only then again when it has been back far enough.

Readings are in the order of their own time. One that comes late, but in time, counts where it
belongs; if it shows one change more than was known, that is told. The first value counts as a change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rules.fields import Field
from rules.moment import Moment
from rules.patterns.base import Fire, Memory, Now, Reaction
from rules.patterns.placing import LATENESS, Placed, Row, placed, span

MOST = 100
"""Readings of one key that are remembered one by one."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Beyond a bound. `rises`: above it; else below. `rearm`: how far back it must be; None: not beyond the bound."""

    field: Field
    rises: bool
    bound: float
    rearm: float | None = None
    lateness: timedelta = LATENESS

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Place the reading; fire if it makes one change more."""
        value = moment.value(self.field)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return Reaction(memory, unmet=f"`{self.field.path}` is no number here")
        row, base = Row.read(memory), memory.get("armed", True)
        one = placed(moment, value)
        refused = row.refuses(one, self.lateness)
        if refused is not None:
            row = row.noted() if row.too_late(one, self.lateness) else row
            return self._reaction(row, base, moment, unmet=refused)
        grown = row.with_all(one)
        before, after = self._changes(row.events, base)[0], self._changes(grown.events, base)[0]
        if after > before:
            return self._reaction(grown, base, moment, Fire((one.id,), moment.event))
        armed = self._changes(grown.events, base)[1]
        words = f"not {self}" if armed else "it was told, and has not been back far enough since"
        return self._reaction(grown, base, moment, unmet=words)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Nothing is ever due: it sets no timers."""
        return Reaction()

    def _reaction(
        self, row: Row, base: bool, moment: Moment, fire: Fire | None = None, unmet: str | None = None
    ) -> Reaction:
        oldest = (row.newest or 0) - span(self.lateness)
        drop = max(len(row.events) - MOST, sum(one.time < oldest for one in row.events))
        base = self._changes(row.events[:drop], base)[1]
        kept = replace(row, events=row.events[drop:])
        armed = self._changes(kept.events, base)[1]
        memory = {**kept.as_json(), "armed": base}
        return Reaction(memory, fire=fire, unmet=unmet, forget=moment.stamp + self.lateness if armed else None)

    def _changes(self, readings: Iterable[Placed], armed: bool) -> tuple[int, bool]:
        """Return how often the bound was passed, and whether it may be passed again."""
        changes = 0
        for one in readings:
            if armed and self._beyond(one.what):
                changes, armed = changes + 1, False
            elif not armed and self._back(one.what):
                armed = True
        return changes, armed

    def _beyond(self, value: float) -> bool:
        return value > self.bound if self.rises else value < self.bound

    def _back(self, value: float) -> bool:
        if self.rearm is None:
            return not self._beyond(value)
        return value < self.rearm if self.rises else value > self.rearm

    def __str__(self) -> str:
        return f"{'above' if self.rises else 'below'} {self.bound:g}"
