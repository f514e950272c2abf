"""Openings that wait for people: who asked, who has agreed, until when. Forgotten at a stop: nobody opens late."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bridge.clock import Clock
from bridge.safety.openings import plate_of
from bridge.safety.reasons import Reason, refusal
from bridge.schema.orders import Order

MOST = 100
"""Openings that may wait at once; the oldest gives way."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One opening that waits. `persons` have agreed; `needed` must."""

    id: str
    door: str
    rule: str
    plate: str
    event: str
    needed: int
    persons: tuple[str, ...]
    asked: datetime
    until: datetime
    due: float = field(repr=False)
    """`until`, on the monotonic clock, which decides."""


class PendingOpenings:
    """What waits at one site."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, Pending] = {}

    def all(self) -> list[Pending]:
        """Return what waits now, oldest first."""
        now = self._clock.monotonic()
        self._waiting = {name: one for name, one in self._waiting.items() if one.due > now}
        return list(self._waiting.values())

    def ask(self, door: str, order: Order, needed: int, persons: tuple[str, ...], within: timedelta) -> Pending:
        """Let an opening wait. The same plate at the same door waits once; its first reading counts."""
        plate = plate_of(order)
        for one in self.all():
            if one.door == door and (one.plate == plate if plate else one.event == order.trigger.id):
                return one
        while len(self._waiting) >= MOST:
            self._waiting.pop(next(iter(self._waiting)))
        now, due = self._clock.now(), self._clock.monotonic() + within.total_seconds()
        one = Pending(order.id[:8], door, order.rule, plate, order.trigger.id, needed, persons, now, now + within, due)
        self._waiting[one.id] = one
        return one

    def agree(self, name: str, person: str) -> Pending:
        """Note that a person agrees; agreeing twice counts once. Raises ActionRejectedError if it waits no longer."""
        found = {one.id: one for one in self.all()}.get(name)
        if found is None:
            raise refusal(Reason.NOT_PENDING, name)
        if person not in found.persons:
            found = replace(found, persons=(*found.persons, person))
            self._waiting[name] = found
        return found

    def drop(self, name: str) -> None:
        """It waits no longer: enough people agreed, or one said no."""
        self._waiting.pop(name, None)
