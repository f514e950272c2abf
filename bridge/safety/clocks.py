"""How far the clocks of sources are from ours. A time that cannot be trusted opens nothing.

Known from whoever asks the sources; where a source does not tell, from what it says live: the
least delayed of its last messages shows its clock. Asks nobody itself, and forgets what is old.
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
"""So many must have come before they show a clock; the one that wants in is among them at most once."""
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
        """Tell whether the source has said what its clock shows, and we have not forgotten it."""
        return source in self._offsets

    def all(self) -> dict[str, timedelta | None]:
        """Return the offset of every source of which anything was heard."""
        return {name: self.offset(name) for name in sorted({*self._offsets, *self._heard})}

    def off(self) -> dict[str, timedelta]:
        """Return the sources whose clock is too far from ours, so that their events open nothing."""
        known = {name: offset for name, offset in self.all().items() if offset is not None}
        return {n: o for n, o in known.items() if abs(o) > self.tolerance and n not in self._trusted}

    def offset(self, source: str) -> timedelta | None:
        """Return how far a source's clock is ahead of ours; None if that is not known."""
        since = self._clock.monotonic() - KEPT.total_seconds()
        offset, at = self._offsets.get(source, (None, since))
        if offset is not None and at >= since:
            return offset
        heard = [late for late, at in self._heard.get(source, ()) if at >= since]
        return max(heard) if len(heard) >= ENOUGH else None

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in: its time, less when it came, is the clock's offset less the delay."""
        if event.origin is Origin.LIVE and event.timequality != "received":
            self._heard[event.source_name].append((event.time - event.received, self._clock.monotonic()))

    def needed_for(self, event: VmsEvent) -> bool:
        """Tell whether the event's time was read off a clock that has to be known.

        Who pushes without a time speaks now; a person is known by name; a source or
        client whose clock is declared right needs no other proof.
        """
        if event.timequality == "received" or event.origin is not Origin.LIVE:
            return False
        return event.source_name not in self._trusted and event.principal not in self._trusted
