"""Fill the gaps of one source from its own log, and tell each outage exactly once.

A gap runs from when the source was last heard to when it is heard again; that the bridge itself was
away makes no difference. Live events do not wait for it: they flow at once, and the twin matcher
knows them again in what is fetched. The log is read with some overlap, slice by slice, and its end a
second time some minutes later, for rows come late. Then the event `source.gap` says what was fetched
and what is lost. This module knows no vendor, and what it fetches never looks live.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from bridge.clock import Clock
from bridge.contracts import Backfills, Missed
from bridge.errors import ConnectorError, PayloadError, StoreUnavailableError
from bridge.runtime.outages import STOPPED, Cursor, CursorStore, Outage
from bridge.runtime.twins import TwinMatcher
from bridge.schema.event import Origin, VmsEvent

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=2)
"""Read before and after the gap as well: clocks differ, and rows are written after they happened."""
LATE = timedelta(minutes=3)
"""After the gap, when its end is read again: by then the rows that come late are there."""
SLICE = timedelta(hours=1)
"""Read at once; what must be remembered of a long gap is bounded by it."""
LAZY = timedelta(seconds=10)
"""How far the written cursor may be behind."""
CALM = timedelta(minutes=1)
"""From the last event that could not be stored until all are taken to be: they are tried every second or two."""
TRIES = 60
"""While the source is heard but its log is not to be had; then the gap is told as it is. About an hour."""
_WAITS = (1.0, 60.0)
_LAST_WORD = 2.0
"""Seconds for the record when we are told to stop; without it the next start reads a little more."""

T = TypeVar("T")


class GapCounter(Protocol):
    """Where gaps are counted."""

    def gap(self, source: str) -> None:
        """A gap was told."""
        ...

    def fetched(self, source: str, kind: str, count: int) -> None:
        """So many events were fetched afterwards."""
        ...


Tell = Callable[[Outage], Awaitable[None]]
"""Publish the event that tells an outage; returns when it is stored."""


class SourceGaps:
    """The outages of one source. Its methods are called by whoever listens, `run` beside it."""

    def __init__(
        self,
        name: str,
        source: object,
        matcher: TwinMatcher,
        store: CursorStore,
        tell: Tell,
        clock: Clock,
        counter: GapCounter,
    ) -> None:
        """`name` is the source as events have it, `<site>/<source>`."""
        self._name, self._own_name, self._clock = name, name.partition("/")[2], clock
        self._source = source if isinstance(source, Backfills) else None
        self._matcher, self._store, self._tell, self._counter = matcher, store, tell, counter
        self._outages: dict[datetime, Outage] = {}
        self._resumed: set[datetime] = set()
        self._heard = self._written = self._sure = clock.now()
        self._doubted: datetime | None = None
        self._saving = asyncio.Lock()
        self._up, self._news, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @property
    def since(self) -> datetime | None:
        """When the source was last heard, if it is not heard now."""
        last = next(reversed(self._outages.values()), None)
        return last.since if last is not None and last.until is None else None

    # --- what the listener says -------------------------------------------------------------------

    def heard(self, now: datetime) -> None:
        """The source is heard. The record follows lazily."""
        self._heard = now
        if now - self._written >= LAZY and self.since is None:
            self._news.set()

    def doubt(self, now: datetime) -> None:
        """Something that was heard could not be stored; its connector keeps it and tries again.

        Until that has been over for a while the record does not follow: whoever dies meanwhile has not heard it.
        """
        self._doubted = now

    def lost(self, since: datetime, cause: str) -> None:
        """The source is not heard any more, since then. Said again in the same outage it changes nothing."""
        self._up.clear()
        if self.since is None:
            self._outages[since] = Outage(since=since, cause=cause)
            self._news.set()

    def back(self, now: datetime, topics: tuple[str, ...]) -> None:
        """The source is heard again. Said once more, it may be with more topics."""
        self._heard = now
        if self.since is not None:
            self._change(self.since, until=max(now, self.since), topics=topics)
            self._ended.set()
        elif self._outages:
            self._change(next(reversed(self._outages)), topics=topics)
        self._up.set()
        self._news.set()

    # --- remembering ------------------------------------------------------------------------------

    async def load(self) -> None:
        """Go on where the last process was: its own absence is an outage. Waits until the store answers."""
        record = await self._stored(lambda: self._store.load(self._name))
        if record is None:
            return
        cursor = Cursor.model_validate_json(record)
        self._outages = {outage.since: outage for outage in cursor.outages}
        self._resumed = set(self._outages)
        if self.since is None:
            since = min(cursor.heard, self._clock.now())
            self._outages.setdefault(since, Outage(since=since, cause=STOPPED))
            self._resumed.add(since)
        self._ended.set()

    def _change(self, since: datetime, **changes: object) -> Outage:
        changed = self._outages[since] = self._outages[since].model_copy(update=changes)
        return changed

    async def _save(self) -> None:
        async with self._saving:
            self._written = self._heard
            record = self._record()
            await self._stored(lambda: self._store.save(self._name, record))

    def _record(self) -> bytes:
        if self._doubted is None or self._heard - self._doubted > CALM:
            self._sure = self._heard
        cursor = Cursor(heard=self._sure, outages=tuple(self._outages.values()))
        return cursor.model_dump_json(exclude_defaults=True).encode()

    async def _stored(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except StoreUnavailableError as exc:
                await self._clock.sleep(exc.retry_after.total_seconds())

    # --- the work ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the record and fill the gaps, for ever. Ends only when cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_record(), name=f"cursor[{self._name}]")
                group.create_task(self._fill_all(), name=f"gaps[{self._name}]")
        finally:
            if self._up.is_set():
                with suppress(StoreUnavailableError, TimeoutError):
                    async with asyncio.timeout(_LAST_WORD):
                        await self._store.save(self._name, self._record())

    async def _keep_record(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._save()

    async def _fill_all(self) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            for outage in [outage for outage in self._outages.values() if outage.until is not None]:
                try:
                    await self._close(outage)
                except Exception:
                    # The edge of a supervised task. The record has it still, so the next start tries again.
                    log.exception("a gap cannot be told", extra={"source": self._name})

    async def _close(self, outage: Outage) -> None:
        """Fill one gap and tell it, once."""
        since = outage.since
        if not outage.complete:
            await self._fill(outage)
            outage = self._change(since, complete=True)
            await self._save()
        told = since in self._resumed and await self._stored(
            lambda: self._store.is_told(self._name, outage.id_for(self._name))
        )
        if not told:
            await self._tell(outage)
            self._counter.gap(self._own_name)
        del self._outages[since]
        self._resumed.discard(since)
        await self._save()

    async def _is_told(self, outage: Outage) -> bool:
        event = outage.id_for(self._name)
        return await self._stored(lambda: self._store.is_told(self._name, event))

    async def _fill(self, outage: Outage) -> None:
        if self._source is None:
            self._change(outage.since, lost=None)
            return
        self._matcher.filling(self._name, True)
        try:
            await self._fill_from(self._source, outage)
        except _GivenUpError as exc:
            log.error("a gap cannot be filled", extra={"source": self._name, "detail": str(exc)})
            self._change(outage.since, lost=None)
        finally:
            self._matcher.filling(self._name, False)

    async def _fill_from(self, source: Backfills, outage: Outage) -> None:
        since, until = outage.since, outage.until or outage.since
        reached = outage.reached or since
        if outage.begun is None:
            self._change(since, begun=self._clock.now())
            await self._save()
        else:
            await self._recount(outage)
        while reached < until:
            upto = min(reached + SLICE, until)
            await self._read(source, since, reached - OVERLAP, upto)
            reached = upto
            self._change(since, reached=reached)
            await self._save()
        wait = until + LATE - self._clock.now()
        await self._clock.sleep(wait.total_seconds())
        await self._read(source, since, max(since, until - SLICE) - OVERLAP, until + OVERLAP)

    async def _read(self, source: Backfills, since: datetime, begin: datetime, end: datetime) -> None:
        """Read a span of the source's log and store what is new, however often it takes."""
        if since in self._resumed or self._clock.now() - begin > SLICE:
            await self._recall(begin, end + OVERLAP)
        for attempt in range(1, TRIES + 1):
            await self._up.wait()
            try:
                await self._read_once(source, since, begin, end)
            except ConnectorError as exc:
                log.info("the source's log is not to be had", extra={"source": self._name, "error": str(exc)})
            except Exception as exc:
                # The edge to a connector's code: its bug must not keep the gap from being told.
                log.exception("a gap cannot be read", extra={"source": self._name})
                raise _GivenUpError(f"{type(exc).__name__}: {exc}") from exc
            else:
                return
            first, longest = _WAITS
            await self._clock.sleep(min(longest, first * 2.0 ** min(attempt, 16)) * (0.5 + 0.5 * random.random()))
        raise _GivenUpError(f"not to be had in {TRIES} tries")

    async def _read_once(self, source: Backfills, since: datetime, begin: datetime, end: datetime) -> None:
        async with aclosing(_closable(source.missed(begin, end))) as pages:
            async for missed in pages:
                await self._take(since, missed)

    async def _take(self, since: datetime, missed: Missed) -> None:
        past = replace(missed, events=[_as_past(event) for event in missed.events])
        new, refused = await self._store_new(past)
        counts = Counter(event.type for event in new)
        for kind, count in counts.items():
            self._counter.fetched(self._own_name, kind, count)
        outage = self._outages[since]
        begins = dict(outage.log_begins)
        if missed.begins is not None and missed.begins > since:
            begins[missed.log] = min(missed.begins, begins.get(missed.log, missed.begins))
        self._change(
            since,
            fetched=Counter(outage.fetched) + counts,
            lost=(outage.lost or frozenset()) | frozenset(missed.unfetchable),
            log_begins=begins,
            refused=outage.refused + missed.refused + refused,
        )

    async def _store_new(self, missed: Missed) -> tuple[Sequence[VmsEvent], int]:
        """Store what is new of a page; return it, and how many of its events the log does not take."""
        try:
            return await self._stored(lambda: self._matcher.fill(missed)), 0
        except PayloadError as exc:
            if len(missed.events) == 1:
                log.error("a fetched event is lost", extra={"source": self._name, "error": str(exc)})
                return (), 1
        # One of them is too large, and nobody says which.
        single = [await self._store_new(replace(missed, events=[event])) for event in missed.events]
        return [event for new, _ in single for event in new], sum(refused for _, refused in single)

    # --- what is known already --------------------------------------------------------------------

    async def _recall(self, begin: datetime, end: datetime) -> None:
        """Have the matcher know what stands in the log: another process wrote it, or it was long ago."""

        async def remember() -> None:
            async for events in self._store.recall(self._name, begin, end):
                for event in events:
                    self._matcher.remember(event)

        await self._stored(remember)

    async def _recount(self, outage: Outage) -> None:
        """Count what was fetched for an outage before this process: the log knows, whatever the record says."""
        begun = outage.begun or outage.since
        counts: Counter[str] = Counter()

        async def count() -> None:
            counts.clear()
            async for events in self._store.recall(self._name, begun, self._clock.now()):
                for event in events:
                    if event.origin is Origin.BACKFILL and event.source == self._name and event.received >= begun:
                        counts[event.type] += 1
                    self._matcher.remember(event)

        await self._stored(count)
        self._change(outage.since, fetched=counts)


class _GivenUpError(Exception):
    """The source's log cannot be read."""


def _as_past(event: VmsEvent) -> VmsEvent:
    """Return the event marked as what it is: history moves nothing, whatever its connector calls it."""
    return event if event.origin is Origin.BACKFILL else event.model_copy(update={"origin": Origin.BACKFILL})


async def _closable(pages: AsyncIterator[Missed]) -> AsyncGenerator[Missed, None]:
    async for page in pages:
        yield page
