"""How far the clocks of sources are from ours. A time that cannot be trusted opens nothing.

Only a source that was asked has shown that its clock is right, and only for what it says while the link
lasts over which it was asked: it may be set while it is away, and then deliver what it kept. What it says
live can show that it is wrong, the least delayed of its last messages best, and never that it is right: what
a clock an hour ahead wrote down, and a full buffer delivers an hour later, looks like the present, however
many messages say so. For the same reason a clock that was put back is not believed until it shows more than
it ever did. Asks nobody itself, and forgets what is old.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.clock import Clock
from bridge.schema.event import Origin, VmsEvent

SAMPLES = 50
"""Messages of a source that are looked at, the last ones."""
ENOUGH = 3
"""So many must have come before they show a clock: the first may be late."""
KEPT = timedelta(hours=6)
"""How long an offset counts; a quartz drifts by less than a second in that time."""

PUSH = "push"
"""The channel of arrival of those who call us."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a source has said of its clock."""

    offset: timedelta
    shows: datetime
    """What its clock showed then."""
    at: float
    """When, on the monotonic clock."""
    since: datetime
    """From when on it has said the same, on our wall clock: what was received before is not vouched for."""
    right: bool
    """Whether it was right, and never showed more before."""


class SourceClocks:
    """The offsets of one site's sources: their clock less ours."""

    def __init__(self, clock: Clock, tolerance: timedelta, trusted: Iterable[str] = ()) -> None:
        self._clock, self.tolerance = clock, tolerance
        self._trusted = frozenset(trusted)
        self._told: dict[str, _Told] = {}
        self._heard: defaultdict[str, deque[tuple[timedelta, float]]] = defaultdict(lambda: deque(maxlen=SAMPLES))
        self._shown: dict[str, datetime] = {}
        """The latest moment that a source's clock has shown when it was asked. It outlasts the link."""
        self._links: dict[str, bool] = {}
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._doubts: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    # --- asking ----------------------------------------------------------------------------------------

    def turn(self, source: str) -> int:
        """Return what `learn` needs to know: when the source was asked. Call it before asking."""
        self._doubts[source].clear()
        return self._turns[source]

    def learn(self, source: str, offset: timedelta, turn: int | None = None) -> bool:
        """Note how far a source's clock is ahead of ours; return whether that counts.

        It does not while its link is down, nor if there was reason to ask again since `turn`.
        """
        if not self._links.get(source, True) or turn not in (None, self._turns[source]):
            return False
        now, before = self._clock.now(), self._told.get(source)
        same = before is not None and self.told(source) and abs(before.offset - offset) <= self.tolerance
        since = before.since if same and before is not None else now
        shows = now + offset
        self._shown[source] = shown = max(shows, self._shown.get(source, shows))
        right = abs(offset) <= self.tolerance and shown - shows <= self.tolerance
        self._told[source] = _Told(offset, shows, self._clock.monotonic(), since, right)
        return True

    def silent(self, source: str) -> None:
        """Forget what a source has told: it was asked again and did not answer."""
        self._told.pop(source, None)
        self._turns[source] += 1

    def doubt(self, source: str) -> asyncio.Event:
        """Return what is set when there is reason to ask a source before its time, until it is asked."""
        return self._doubts[source]

    def link(self, source: str, up: bool) -> None:
        """Hear how a source's link is, however often. What was told before it broke, or came back, counts no more."""
        if self._links.get(source) is not up:
            self._links[source] = up
            self._ask_again(source)

    def forget(self, source: str | None = None) -> None:
        """Forget what is known of a source's clock, or of all: it was set right, or ours was. It is learned anew.

        That a clock was put back is forgotten only if that one is named: somebody says that it was.
        """
        if source is not None:
            self._shown.pop(source, None)
        for name in {*self._told, *self._heard, *self._turns} if source is None else {source}:
            self._heard.pop(name, None)
            self._ask_again(name)

    def _ask_again(self, source: str) -> None:
        self.silent(source)
        self._doubts[source].set()

    # --- what is known ---------------------------------------------------------------------------------

    def told(self, source: str) -> bool:
        """Tell whether the source has said what its clock shows, not long ago, and denied it by nothing since."""
        return source in self._told and self._told[source].at >= self._since()

    def all(self) -> dict[str, timedelta | None]:
        """Return the offset of every source of which anything was heard."""
        return {name: self.offset(name) for name in sorted({*self._told, *self._heard})}

    def off(self) -> dict[str, timedelta]:
        """Return the sources whose clock is too far from ours, or from what it showed, so that they open nothing."""
        known = {name: self.error(name) for name in self.all()}
        return {n: o for n, o in known.items() if o is not None and abs(o) > self.tolerance and n not in self._trusted}

    def offset(self, source: str) -> timedelta | None:
        """Return how far a source's clock seems to be ahead of ours; None if that is not known."""
        if self.told(source):
            return self._told[source].offset
        heard = [late for late, at in self._heard.get(source, ()) if at >= self._since()]
        return max(heard) if len(heard) >= ENOUGH else None

    def error(self, source: str) -> timedelta | None:
        """Return how wrong a source's clock is; None if not known. Of one that was put back: how far it is behind."""
        offset = self.offset(source)
        if not self.told(source) or (offset is not None and abs(offset) > self.tolerance):
            return offset
        told, shown = self._told[source], self._shown.get(source)
        # By the monotonic clock: ours may have been set since, which is no fault of the source's.
        shows = told.shows + timedelta(seconds=self._clock.monotonic() - told.at)
        return shows - shown if shown is not None and shown - shows > self.tolerance else offset

    def _since(self) -> float:
        return self._clock.monotonic() - KEPT.total_seconds()

    # --- events ----------------------------------------------------------------------------------------

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in: its time, less when it came, is the clock's offset less the delay.

        Nothing comes before it happens: what is further ahead than the source told shows that its clock, or ours,
        was set since. It must be asked again.
        """
        if event.origin is not Origin.LIVE or event.timequality in ("received", "doubtful"):
            return
        name, late = owner(event), event.time - event.received
        self._heard[name].append((late, self._clock.monotonic()))
        if name in self._told and late - self._told[name].offset > self.tolerance:
            self._ask_again(name)

    def needed_for(self, event: VmsEvent) -> bool:
        """Tell whether the event's time was read off a clock that has to be known to be right.

        Who pushes without a time speaks now; a person is known by name; a source or
        client whose clock is declared right needs no other proof.
        """
        if event.timequality == "received" or event.origin is not Origin.LIVE:
            return False
        return owner(event) not in self._trusted

    def surely(self, event: VmsEvent) -> bool:
        """Tell at a glance, as for nearly every event, that its time may be believed; where not, look closer."""
        told = self._told.get(event.source_name) if event.via != PUSH else None
        return told is not None and told.right and event.received >= told.since

    def vouches(self, event: VmsEvent) -> bool:
        """Tell whether its source had told its clock when the event came. Nobody can ask who pushes."""
        name = owner(event)
        return event.via != PUSH and self.told(name) and event.received >= self._told[name].since


def owner(event: VmsEvent) -> str:
    """Return whose clock the event's time was read off: who pushes has one of its own, whatever it is filed under."""
    return event.principal if event.via == PUSH and event.principal else event.source_name
