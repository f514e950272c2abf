"""Hand events to the log, and hand them again when it could not take them.

A socket has no replay, so what was read once and not written down is kept here until it is: nobody
else has it. What comes later waits behind it, because an end that is written before its beginning is
no end. What is kept is bounded; beyond that, reading waits.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from operator import itemgetter

from bridge.sdk import PayloadError, Session, StoreUnavailableError, VmsEvent

_ROOM = 10_000
"""Events kept for another try before reading waits."""
_PAUSE = timedelta(seconds=1)
"""Before another try, where the log does not say."""

_Kept = tuple[int, Sequence[VmsEvent]]
"""Events that were read together, and their place in the order of reading."""

_log = logging.getLogger(__name__)


class Delivery:
    """The events of one source on their way to the log; it outlives the source's sessions."""

    def __init__(self) -> None:
        self._again: list[_Kept] = []
        """In the order of reading, whichever was refused first."""
        self._next = 0
        self._kept = 0
        self._pause = _PAUSE
        self._turn = asyncio.Lock()
        self._failed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def kept(self) -> int:
        """How many events wait for another try."""
        return self._kept

    async def put(self, session: Session, events: Sequence[VmsEvent]) -> None:
        """Hand them over, in order: behind what waits for another try. Waits while too many are kept."""
        await self._room.wait()
        async with self._turn:  # a fair lock: first come, first served
            item = (self._next, events)
            self._next += 1
            if self._again:
                self._keep(item, self._pause)
                return
            try:
                await self._hand(session, item)
            except StoreUnavailableError as exc:
                self._keep(item, exc.retry_after)
            except asyncio.CancelledError:
                self._keep(item, _PAUSE)
                raise

    async def retry(self, session: Session) -> None:
        """Hand what is kept over again, for ever. An event stored twice is one: ids depend on content alone."""
        while True:
            await self._failed.wait()
            await session.clock.sleep(self._pause.total_seconds())
            async with self._turn:
                await self._hand_again(session)

    async def _hand_again(self, session: Session) -> None:
        """Hand over what is kept, oldest first, until something is refused again."""
        self._failed.clear()
        while self._again and not self._failed.is_set():
            item = self._again[0]
            try:
                await self._hand(session, item)
            except StoreUnavailableError as exc:
                self._pause = exc.retry_after
                self._failed.set()
                return
            except PayloadError as exc:  # it came while others waited, so nobody has looked at it before
                self._lost(item, exc)
            # Only now: a cancelled try must not lose them. An older one may have come back meanwhile.
            self._again.remove(item)
            self._count(-len(item[1]))

    async def _hand(self, session: Session, item: _Kept) -> None:
        stored = await session.emit(item[1])
        stored.add_done_callback(partial(self._settle, item))

    def _settle(self, item: _Kept, stored: asyncio.Future[None]) -> None:
        if stored.cancelled():
            self._keep(item, _PAUSE)
        elif isinstance(error := stored.exception(), StoreUnavailableError):
            self._keep(item, error.retry_after)
        elif error is not None:
            self._lost(item, error)

    @staticmethod
    def _lost(item: _Kept, error: BaseException) -> None:
        _log.error("events lost: the log refused them", extra={"count": len(item[1]), "error": str(error)})

    def _keep(self, item: _Kept, pause: timedelta) -> None:
        insort(self._again, item, key=itemgetter(0))
        self._pause = pause
        self._count(len(item[1]))
        self._failed.set()

    def _count(self, change: int) -> None:
        self._kept += change
        if self._kept >= _ROOM:
            self._room.clear()
        else:
            self._room.set()
