"""Read one gap from its source's own log and store what is new of it.

The span is read with some overlap, slice by slice, and its end a second time some minutes later, for rows
come late. How far it is and what was found is written down after each slice, so whoever dies goes on
from there. This module knows no vendor, and what it fetches never looks live.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from bridge.clock import Clock
from bridge.contracts import Backfills, Missed
from bridge.errors import ActionUnknownError, ConnectorError, PayloadError, StoreUnavailableError
from bridge.runtime.outages import CursorStore, Outage
from bridge.runtime.twins import MEMORY, TwinMatcher
from bridge.schema.event import Origin, VmsEvent
from bridge.uncancelled import uncancelled

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=2)
"""Read before and after the gap as well: clocks differ, and rows are written after they happened."""
LATE = timedelta(minutes=3)
"""After the gap, when its end is read again: by then the rows that come late are there."""
SLICE = timedelta(hours=1)
"""Read at once; what must be remembered of a long gap is bounded by it."""
TRIES = 60
"""While the source is heard but its log is not to be had; then the gap is told as it is. About an hour."""
_WAITS = (1.0, 60.0)

T = TypeVar("T")


class FillCounter(Protocol):
    """Where what is fetched is counted."""

    def fetched(self, source: str, kind: str, count: int) -> None:
        """So many events were fetched afterwards."""
        ...


class GivenUpError(Exception):
    """The source's log cannot be read."""


async def until_stored(work: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Do something with the store, again and again while it is away."""
    while True:
        try:
            return await work()
        except StoreUnavailableError as exc:
            await clock.sleep(exc.retry_after.total_seconds())


class Filler:
    """Fills the gaps of one source."""

    def __init__(
        self,
        name: str,
        source: Backfills,
        matcher: TwinMatcher,
        store: CursorStore,
        clock: Clock,
        counter: FillCounter,
        up: asyncio.Event,
    ) -> None:
        """`name` is `<site>/<source>`; `up` is set while the source is heard."""
        self._name, self._source, self._up = name, source, up
        self._matcher, self._store, self._clock, self._counter = matcher, store, clock, counter

    async def fill(self, gap: Progress, *, resumed: bool) -> None:
        """Fill a gap that has ended; `resumed` if another process began it, or heard what came before.

        Raises GivenUpError if the source's log is not to be had.
        """
        outage = gap.outage
        since, until = outage.since, outage.until or outage.since
        if outage.begun is None:
            await gap.note(begun=self._clock.now())
        else:
            await self._recount(gap, outage.begun)
        reached = outage.reached or since
        while reached < until:
            upto = min(reached + SLICE, until)
            await self._read(gap, reached - OVERLAP, upto, resumed)
            reached = upto
            await gap.note(reached=reached)
        outage = gap.outage
        if outage.topics and outage.lost is not None and outage.lost.issuperset(outage.topics):
            return  # there is no log that anything could come late into
        await self._clock.sleep((until + LATE - self._clock.now()).total_seconds())
        await self._read(gap, max(since, until - SLICE) - OVERLAP, until + OVERLAP, resumed)

    async def _read(self, gap: Progress, begin: datetime, end: datetime, resumed: bool) -> None:
        """Read a span of the source's log and store what is new, however often it takes."""
        if resumed or self._clock.now() - begin > MEMORY:
            await self._recall(begin, end + OVERLAP)
        for attempt in range(1, TRIES + 1):
            await self._up.wait()
            try:
                with uncancelled():
                    async with aclosing(_closable(self._source.missed(begin, end))) as pages:
                        async for missed in pages:
                            await self._take(gap, missed)
            except (ConnectorError, ActionUnknownError) as exc:
                log.info("the source's log is not to be had", extra={"source": self._name, "error": str(exc)})
            except Exception as exc:
                # The edge to a connector's code: its bug must not keep the gap from being told.
                log.exception("a gap cannot be read", extra={"source": self._name})
                raise GivenUpError(f"{type(exc).__name__}: {exc}") from exc
            else:
                return
            first, longest = _WAITS
            await self._clock.sleep(min(longest, first * 2.0 ** min(attempt, 16)) * (0.5 + 0.5 * random.random()))
        raise GivenUpError(f"not to be had in {TRIES} tries")

    async def _take(self, gap: Progress, missed: Missed) -> None:
        past = replace(missed, events=[_as_past(event) for event in missed.events])
        new, refused = await self._store_new(past)
        counts = Counter(event.type for event in new)
        for kind, count in counts.items():
            self._counter.fetched(self._name.partition("/")[2], kind, count)
        gap.found(missed, counts, refused)

    async def _store_new(self, missed: Missed) -> tuple[Sequence[VmsEvent], int]:
        """Store what is new of a page; return it, and how many of its events the log does not take."""
        try:
            return await until_stored(lambda: self._matcher.fill(missed), self._clock), 0
        except PayloadError as exc:
            if len(missed.events) == 1:
                log.error("a fetched event is lost", extra={"source": self._name, "error": str(exc)})
                return (), 1
        # One of them is too large, and nobody says which.
        single = [await self._store_new(replace(missed, events=[event])) for event in missed.events]
        return [event for new, _ in single for event in new], sum(refused for _, refused in single)

    async def _recall(self, begin: datetime, end: datetime) -> None:
        """Have the matcher know what stands in the log: another process wrote it, or it was long ago."""

        async def remember() -> None:
            async for events in self._store.recall(self._name, begin, end):
                for event in events:
                    self._matcher.remember(event)

        await until_stored(remember, self._clock)

    async def _recount(self, gap: Progress, begun: datetime) -> None:
        """Count what was fetched of a gap before this process: the log knows, whatever the record says."""
        counts: Counter[str] = Counter()

        async def count() -> None:
            counts.clear()
            async for events in self._store.recall(self._name, begun, self._clock.now()):
                for event in events:
                    if event.origin is Origin.BACKFILL and event.source == self._name and event.received >= begun:
                        counts[event.type] += 1
                    self._matcher.remember(event)

        await until_stored(count, self._clock)
        await gap.note(fetched=counts)


class Progress(Protocol):
    """One gap and how far it is filled."""

    @property
    def outage(self) -> Outage:
        """How it stands now."""
        ...

    async def note(self, **changes: object) -> None:
        """Change it; returns when that is written down."""
        ...

    def found(self, missed: Missed, counts: Counter[str], refused: int) -> None:
        """Add what a page has brought; written down with the next note."""
        ...


def _as_past(event: VmsEvent) -> VmsEvent:
    """Return the event marked as what it is: history moves nothing, whatever its connector calls it."""
    return event if event.origin is Origin.BACKFILL else event.model_copy(update={"origin": Origin.BACKFILL})


async def _closable(pages: AsyncIterator[Missed]) -> AsyncGenerator[Missed, None]:
    async for page in pages:
        yield page
