"""How far the clocks of sources are from ours. A time that cannot be trusted opens nothing.

Only a source that was asked has shown that its clock is right. What it says live can show that it is
wrong, the least delayed of its last messages best, and never that it is right: what a clock an hour
ahead wrote down, and a full buffer delivers an hour later, looks like the present, however many messages
say so. Asks nobody itself, and forgets what is old.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import timedelta

from bridge.clock import Clock
from bridge.schema.event import Origin, VmsEvent

SAMPLES = 50
"""Messages of a source that are looked at, the last ones."""
ENOUGH = 3
"""So many must have come before they show a clock: the first may be late."""
KEPT = timedelta(hours=6)
"""How long an offset counts; a quartz drifts by less than a second in that time."""


class SourceClocks:
    """The offsets of one site's sources: their clock less ours."""

    def __init__(self, clock: Clock, tolerance: timedelta, trusted: Iterable[str] = ()) -> None:
        self._clock, self.tolerance = clock, tolerance
        self._trusted = frozenset(trusted)
        self._offsets: dict[str, tuple[timedelta, float]] = {}
        self._heard: defaultdict[str, deque[tuple[timedelta, float]]] = defaultdict(lambda: deque(maxlen=SAMPLES))

    def learn(self, source: str, offset: timedelta) -> None:
        """Note how far a source's clock is ahead of ours."""
        self._offsets[source] = (offset, self._clock.monotonic())

    def forget(self, source: str | None = None) -> None:
        """Forget what is known of a source's clock, or of all: it was set right, or ours was. It is learned anew."""
        for known in (self._offsets, self._heard):
            for name in [name for name in known if source in (None, name)]:
                del known[name]

    def told(self, source: str) -> bool:
        """Tell whether the source has said what its clock shows, not long ago, and denied it by nothing since."""
        return source in self._offsets and self._offsets[source][1] >= self._since()

    def all(self) -> dict[str, timedelta | None]:
        """Return the offset of every source of which anything was heard."""
        return {name: self.offset(name) for name in sorted({*self._offsets, *self._heard})}

    def off(self) -> dict[str, timedelta]:
        """Return the sources whose clock is too far from ours, so that their events open nothing."""
        known = {name: offset for name, offset in self.all().items() if offset is not None}
        return {n: o for n, o in known.items() if abs(o) > self.tolerance and n not in self._trusted}

    def offset(self, source: str) -> timedelta | None:
        """Return how far a source's clock seems to be ahead of ours; None if that is not known."""
        if self.told(source):
            return self._offsets[source][0]
        heard = [late for late, at in self._heard.get(source, ()) if at >= self._since()]
        return max(heard) if len(heard) >= ENOUGH else None

    def _since(self) -> float:
        return self._clock.monotonic() - KEPT.total_seconds()

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in: its time, less when it came, is the clock's offset less the delay.

        Nothing comes before it happens: what is further ahead than the source told shows that its clock, or ours,
        was set since. It must be asked again.
        """
        if event.origin is not Origin.LIVE or event.timequality == "received":
            return
        name, late = event.source_name, event.time - event.received
        self._heard[name].append((late, self._clock.monotonic()))
        if name in self._offsets and late - self._offsets[name][0] > self.tolerance:
            del self._offsets[name]

    def needed_for(self, event: VmsEvent) -> bool:
        """Tell whether the event's time was read off a clock that has to be known to be right.

        Who pushes without a time speaks now; a person is known by name; a source or
        client whose clock is declared right needs no other proof.
        """
        if event.timequality == "received" or event.origin is not Origin.LIVE:
            return False
        return event.source_name not in self._trusted and event.principal not in self._trusted
