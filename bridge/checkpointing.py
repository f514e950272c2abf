"""Decide when the engine's state is worth a checkpoint, and write it while there is time; decisions come first.

The host says after each commit how far it is. Taking the state is one copy of a table whose values
never change; making JSON of it and storing it goes on beside the engine, in small pieces. What fails
is tried again with a later state: a checkpoint that is missing costs whoever looks back some time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bridge.contracts import StateKey
from bridge.errors import StoreError

log = logging.getLogger(__name__)

EVERY = 100_000
"""Events after which there is another one: some seconds of reading for whoever looks back."""
INTERVAL = timedelta(hours=6)
"""There is another one after so long, if anything happened at all."""
SHORTEST = timedelta(minutes=10)
"""Not more often than this, however much happens, except where the rules change."""
LATEST = timedelta(minutes=10)
"""So long after it was due it is written without waiting for a quiet moment."""

State = Mapping[StateKey, Mapping[str, Any]]


class Store(Protocol):
    """Where checkpoints are kept."""

    async def write(self, seq: int, stamp: datetime, ruleset: str, state: State) -> None:
        """Store the state after an event."""
        ...

    async def newest(self) -> tuple[int, datetime, str] | None:
        """Return place, time and rules of the newest one."""
        ...

    async def prune(self, first: int) -> None:
        """Delete those that are of no use when the log begins there."""
        ...


@dataclass(frozen=True, slots=True)
class _Taken:
    seq: int
    stamp: datetime
    ruleset: str
    state: State


class Checkpointing:
    """When, and that it is done. `first` tells where the log begins."""

    def __init__(self, store: Store, first: Callable[[], int]) -> None:
        self._store, self._first = store, first
        self._seq, self._ruleset = 0, ""
        self._stamp: datetime | None = None
        self._due: datetime | None = None
        self._taken: _Taken | None = None
        self._ready = False
        self._news = asyncio.Event()

    def passed(self, seq: int, stamp: datetime, ruleset: str, state: Callable[[], State], *, quiet: bool) -> None:
        """Tell how far the engine is, by which rules, and whether little is going on. Costs next to nothing."""
        if self._taken is not None or not self._ready:
            return
        if self._due is None and self._is_due(seq, stamp, ruleset):
            self._due = stamp
        if self._due is None or not (quiet or stamp - self._due >= LATEST):
            return
        self._taken = _Taken(seq, stamp, ruleset, state())
        self._due, self._seq, self._stamp, self._ruleset = None, seq, stamp, ruleset
        self._news.set()

    def _is_due(self, seq: int, stamp: datetime, ruleset: str) -> bool:
        if self._stamp is None or ruleset != self._ruleset:
            return True
        passed = stamp - self._stamp
        return passed >= INTERVAL or (seq - self._seq >= EVERY and passed >= SHORTEST)

    async def run(self) -> None:
        """Write what is due, one after the other, until cancelled."""
        await self._look()
        while True:
            await self._news.wait()
            self._news.clear()
            taken = self._taken
            if taken is not None:
                await self._write(taken)
            self._taken = None

    async def _look(self) -> None:
        """Find out when the last one was written, so that a restart alone is no reason for another."""
        try:
            if (newest := await self._store.newest()) is not None:
                self._seq, self._stamp, self._ruleset = newest
        except StoreError as error:
            log.warning("the checkpoints cannot be read", extra={"error": str(error)})
        self._ready = True

    async def _write(self, taken: _Taken) -> None:
        try:
            await self._store.prune(self._first())
            await self._store.write(taken.seq, taken.stamp, taken.ruleset, taken.state)
        except StoreError as error:
            log.warning("a checkpoint could not be written", extra={"seq": taken.seq, "error": str(error)})
            self._stamp = None  # the next quiet moment will do
        else:
            log.debug("checkpoint", extra={"seq": taken.seq, "values": len(taken.state)})
