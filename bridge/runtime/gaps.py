"""Keep account of one source's outages, and have each filled and told exactly once.

A gap runs from when the source was last heard to when it is heard again; that the bridge itself was
away makes no difference. Live events do not wait for it: they flow at once, and the twin matcher knows
them again in what `filling.py` fetches. Then the event `source.gap` says what was fetched and what is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bridge.clock import Clock
from bridge.contracts import Backfills, Emit, Missed
from bridge.errors import StoreUnavailableError
from bridge.runtime.filling import FillCounter, Filler, GivenUpError, until_stored
from bridge.runtime.outages import STOPPED, Cursor, CursorStore, Forgetful, Outage
from bridge.runtime.twins import TwinMatcher

log = logging.getLogger(__name__)

LAZY = timedelta(seconds=10)
"""How far the written cursor may be behind."""
CALM = timedelta(minutes=1)
"""From the last event that could not be stored until all are taken to be: they are tried every second or two."""
MOST = 100
"""Gaps that may wait. A source that comes and goes faster than its log can be read would have more and more of them:
beyond this the last one goes on instead, until it can be filled. The record of all must fit into one message."""
_LAST_WORD = 2.0
"""Seconds for the record when we are told to stop; without it the next start reads a little more."""
_NEXT = timedelta(microseconds=1)


class GapCounter(FillCounter, Protocol):
    """Where gaps are counted."""

    def gap(self, source: str) -> None:
        """A gap was told."""
        ...


class _Uncounted:
    def gap(self, source: str) -> None:
        """Count nothing."""

    def fetched(self, source: str, kind: str, count: int) -> None:
        """Count nothing."""

    def twin(self, source: str, via: str) -> None:
        """Count nothing."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What outages need beside the listening: who knows events again, where records are kept, who counts."""

    matcher: TwinMatcher
    cursors: CursorStore
    counter: GapCounter

    @classmethod
    def forgetful(cls, emit: Emit) -> Ledger:
        """Return one that survives nothing and knows events by their ids only."""
        return cls(TwinMatcher(emit, {}, {}, _Uncounted()), Forgetful(), _Uncounted())


Tell = Callable[[Outage], Awaitable[None]]
"""Publish the event that tells an outage; returns when it is stored."""


class SourceGaps:
    """The outages of one source. Its methods are called by whoever listens, `run` beside it."""

    def __init__(
        self,
        name: str,
        source: object,
        ledger: Ledger,
        tell: Tell,
        clock: Clock,
    ) -> None:
        """`name` is the source as events have it, `<site>/<source>`."""
        self._name, self._own_name, self._clock = name, name.partition("/")[2], clock
        self._store, self._counter, self._tell = ledger.cursors, ledger.counter, tell
        self._matcher = ledger.matcher
        self._outages: dict[datetime, Outage] = {}
        self._resumed: set[datetime] = set()
        self._latest: datetime | None = None
        """The last time the source was not heard, if that is not told yet: topics may still be added."""
        self._topics: tuple[str, ...] = ()
        self._heard = self._written = self._sure = clock.now()
        self._doubted: datetime | None = None
        self._saving = asyncio.Lock()
        self._up, self._news, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._filler: Filler | None = None
        if isinstance(source, Backfills):
            self._filler = Filler(name, source, ledger.matcher, self._store, clock, self._counter, self._up)

    @property
    def since(self) -> datetime | None:
        """When the source was last heard, if it is not heard now."""
        return next((outage.since for outage in self._outages.values() if outage.until is None), None)

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
            self._latest = self._goes_on() or self._open(since, cause)
            self._news.set()

    def _goes_on(self) -> datetime | None:
        """Let the last gap go on if too many wait; return its beginning."""
        waiting = [outage.since for outage in self._outages.values() if outage.begun is None and not outage.complete]
        if len(waiting) < MOST:
            return None
        return self._change(waiting[-1], until=None).since

    def missed(self, since: datetime, until: datetime, cause: str) -> None:
        """The source was heard in that span, and not all of it is written down. Spans that wait are made one."""
        until, resumed = max(since, until), False
        for waits in list(self._outages.values()):
            if waits.cause == cause and waits.until is not None and waits.begun is None and not waits.complete:
                del self._outages[waits.since]
                resumed = waits.since in self._resumed
                since, until = min(since, waits.since), max(until, waits.until)
        since = self._open(since, cause, until=until, topics=self._topics)
        if resumed:
            self._resumed.add(since)
        self._ended.set()
        self._news.set()

    def back(self, now: datetime, topics: tuple[str, ...]) -> None:
        """The source is heard again. Said once more, it may be with more topics."""
        if self._doubted is not None and self._heard - self._doubted <= CALM:
            self._doubted = now  # what was refused before the source was lost is only now tried again
        self._heard, self._topics = now, topics
        if self.since is not None:
            self._change(self.since, until=max(now, self.since), topics=topics)
            self._ended.set()
        elif self._latest in self._outages:
            self._change(self._latest, topics=topics)
        self._up.set()
        self._news.set()

    # --- remembering ------------------------------------------------------------------------------

    async def load(self) -> None:
        """Go on where the last process was: its own absence is an outage. Waits until the store answers."""
        record = await until_stored(lambda: self._store.load(self._name), self._clock)
        if record is None:
            return
        cursor = Cursor.model_validate_json(record)
        self._outages = {outage.since: outage for outage in cursor.outages}
        self._resumed = set(self._outages)
        self._matcher.filling(self._name, True)
        self._latest = self.since
        if self._latest is None:
            self._latest = self._open(min(cursor.heard, self._clock.now()), STOPPED)
            self._resumed.add(self._latest)
        elif self._latest - cursor.heard > LAZY:
            # What the log refused before the source was lost, and only the process that has gone still had.
            self._resumed.add(self._open(cursor.heard, STOPPED, until=self._latest))
        self._ended.set()

    def _open(self, since: datetime, cause: str, **more: Any) -> datetime:
        while since in self._outages:  # two outages have two beginnings, or they would have one id
            since += _NEXT
        self._outages[since] = Outage(since=since, cause=cause, **more)
        self._matcher.filling(self._name, True)
        return since

    def _change(self, since: datetime, **changes: object) -> Outage:
        changed = self._outages[since] = self._outages[since].model_copy(update=changes)
        return changed

    async def _save(self) -> None:
        async with self._saving:
            self._written = self._heard
            record = self._record()
            await until_stored(lambda: self._store.save(self._name, record), self._clock)

    def _record(self) -> bytes:
        if self._doubted is None or self._heard - self._doubted > CALM:
            self._sure = self._heard
        cursor = Cursor(heard=self._sure, outages=tuple(self._outages.values()))
        return cursor.model_dump_json(exclude_defaults=True).encode()

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
            for since in list(self._outages):
                outage = self._outages.get(since)
                if outage is None or outage.until is None:
                    continue
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
        if since not in self._resumed or not await self._is_told(outage):
            await self._tell(outage)
            self._counter.gap(self._own_name)
        del self._outages[since]
        self._resumed.discard(since)
        self._matcher.filling(self._name, bool(self._outages))
        await self._save()

    async def _is_told(self, outage: Outage) -> bool:
        event = outage.id_for(self._name)
        return await until_stored(lambda: self._store.is_told(self._name, event), self._clock)

    async def _fill(self, outage: Outage) -> None:
        if self._filler is None:
            self._change(outage.since, lost=None)
            return
        try:
            await self._filler.fill(_Gap(self, outage.since), resumed=outage.since in self._resumed)
        except GivenUpError as exc:
            log.error("what was missed is lost", extra={"source": self._name, "detail": str(exc)})
            self._change(outage.since, lost=None)


class _Gap:
    """The `Progress` of one gap; topics may still be added to it meanwhile."""

    def __init__(self, gaps: SourceGaps, since: datetime) -> None:
        self._gaps, self._since = gaps, since

    @property
    def outage(self) -> Outage:
        return self._gaps._outages[self._since]

    async def note(self, **changes: object) -> None:
        self._gaps._change(self._since, **changes)
        await self._gaps._save()

    def found(self, missed: Missed, counts: Counter[str], refused: int) -> None:
        outage = self.outage
        begins = dict(outage.log_begins)
        if missed.begins is not None and missed.begins > self._since:
            begins[missed.log] = min(missed.begins, begins.get(missed.log, missed.begins))
        self._gaps._change(
            self._since,
            fetched=Counter(outage.fetched) + counts,
            lost=(outage.lost or frozenset()) | frozenset(missed.unfetchable),
            log_begins=begins,
            refused=outage.refused + missed.refused + refused,
        )
