"""Hand events to the log, and hand them again when it could not take them.

A socket has no replay, so what was read once and not written down is kept here until it is: nobody
else has it. What is kept is bounded; beyond that, reading waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from bridge.sdk import Session, StoreUnavailableError, VmsEvent

_ROOM = 10_000
"""Events kept for another try before reading waits."""
_PAUSE = timedelta(seconds=1)
"""Before another try, where the log does not say."""

_log = logging.getLogger(__name__)


class Delivery:
    """The events of one source on their way to the log; it outlives the source's sessions."""

    def __init__(self) -> None:
        self._again: deque[Sequence[VmsEvent]] = deque()
        self._kept = 0
        self._pause = _PAUSE
        self._failed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def kept(self) -> int:
        """How many events wait for another try."""
        return self._kept

    async def put(self, session: Session, events: Sequence[VmsEvent]) -> None:
        """Hand them over, in order; waits while too many are kept."""
        await self._room.wait()
        await self._hand(session, events)

    async def retry(self, session: Session) -> None:
        """Hand what is kept over again, for ever. An event stored twice is one: ids depend on content alone."""
        while True:
            await self._failed.wait()
            await session.clock.sleep(self._pause.total_seconds())
            self._failed.clear()
            for _ in range(len(self._again)):
                events = self._again[0]
                await self._hand(session, events)
                # Only now: a cancelled try must not lose them.
                self._again.popleft()
                self._count(-len(events))

    async def _hand(self, session: Session, events: Sequence[VmsEvent]) -> None:
        try:
            stored = await session.emit(events)
        except StoreUnavailableError as exc:
            self._keep(events, exc.retry_after)
        else:
            stored.add_done_callback(partial(self._settle, events))

    def _settle(self, events: Sequence[VmsEvent], stored: asyncio.Future[None]) -> None:
        if stored.cancelled():
            self._keep(events, _PAUSE)
        elif isinstance(error := stored.exception(), StoreUnavailableError):
            self._keep(events, error.retry_after)
        elif error is not None:
            _log.error("events lost: the log refused them", extra={"count": len(events), "error": str(error)})

    def _keep(self, events: Sequence[VmsEvent], pause: timedelta) -> None:
        self._again.append(events)
        self._pause = pause
        self._count(len(events))
        self._failed.set()

    def _count(self, change: int) -> None:
        self._kept += change
        if self._kept >= _ROOM:
            self._room.clear()
        else:
            self._room.set()
