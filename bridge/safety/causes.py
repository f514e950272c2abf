"""Events whose time nobody can believe: none opens anything by itself, and nothing opens because of one among others.

Of an order's causes the gate sees the one that decided, and of the others the names: of a sequence the plate may be
one of them, and the loop that decides is honest. So what could open nothing when it came is remembered by its name, for
longer than a rule that opens looks back. In memory: after a start nothing opens for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from bridge.clock import Clock
from bridge.safety.clocks import PUSH, SourceClocks, owner
from bridge.safety.reasons import Reason
from bridge.schema.event import Origin, VmsEvent

KEPT = 3600.0
"""Seconds for which an event is remembered."""
ROOM = 20_000
"""Events remembered; the oldest gives way."""
TIMELESS = frozenset({"motion.started", "motion.ended"})
"""Kinds that come without a time from a system that buffers none of them (TS-API guide 0.9.20, "Event topics", motion).
Such an event decides nothing; beside one that may, it is good enough to confirm it."""
_SAID = frozenset({"device", "server"})
"""The qualities of a time that was given."""


def untimed(event: VmsEvent) -> Reason | None:
    """Who pushes and says no time speaks now. Of anything else without a time that makes sense nobody knows when."""
    if event.origin is not Origin.LIVE:
        return None
    unsaid = event.timequality == "received" and event.via != PUSH
    return Reason.NO_TIME if unsaid or event.timequality == "doubtful" else None


def untrusted(event: VmsEvent, clocks: SourceClocks) -> Reason | None:
    """The source must have told its clock, and that must be right, or a message kept for long may look fresh."""
    if not clocks.needed_for(event):
        return None
    error = clocks.error(owner(event))
    if error is not None and abs(error) > clocks.tolerance:
        return Reason.CLOCK_OFF
    return None if clocks.vouches(event) else Reason.CLOCK_UNKNOWN


class Causes:
    """The doubts of one site. Remembers nothing where nothing is declared that could move."""

    def __init__(self, clocks: SourceClocks, clock: Clock, *, wanted: bool) -> None:
        self._clocks, self._clock, self._wanted = clocks, clock, wanted
        self._doubts: OrderedDict[str, tuple[Reason, float]] = OrderedDict()

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in, after the clocks have."""
        if not self._wanted or (event.timequality in _SAID and self._clocks.surely(event)):
            return
        reason = untimed(event) or untrusted(event, self._clocks)
        confirms = event.type in TIMELESS and event.timequality == "received"
        if reason is not None and not confirms:
            self._remember(event.id, reason)

    def doubt(self, causes: Iterable[str]) -> Reason | None:
        """Return why one of these events opens nothing; None if nothing is known against them."""
        since = self._clock.monotonic() - KEPT
        found = (self._doubts.get(event) for event in causes)
        return next((reason for reason, at in filter(None, found) if at > since), None)

    def _remember(self, event: str, reason: Reason) -> None:
        now = self._clock.monotonic()
        self._doubts[event] = reason, now
        self._doubts.move_to_end(event)
        while len(self._doubts) > ROOM or next(iter(self._doubts.values()))[1] <= now - KEPT:
            self._doubts.popitem(last=False)
