"""Hand what was read to the bridge, and hand it again when it could not be written down.

A socket has no replay, so what was read once and not written down is kept here until it is: nobody
else has it. What comes later waits behind it, because an end that is written before its beginning is
no end. What is kept is bounded; beyond that, reading waits. What the bridge takes from nobody is told, with the
span in which it was read, so that it is looked for in the source's own log.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from bridge.sdk import PayloadError, Session, StoreUnavailableError, VmsEvent

_ROOM = 10_000
"""Events and messages kept for another try before reading waits."""
_PAUSE = timedelta(seconds=1)
"""Before another try, where the log does not say."""

_log = logging.getLogger(__name__)


class Letter(NamedTuple):
    """A message, or an event, that nobody can use: for the dead letters."""

    message: bytes
    reason: str
    error: str


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """What is handed over in one piece: events that were read together, or one letter."""

    place: tuple[int, ...]
    """Its place in the order of reading."""
    events: Sequence[VmsEvent] = ()
    letter: Letter | None = None

    @property
    def size(self) -> int:
        return len(self.events) or 1

    def single(self) -> list[_Item]:
        """Return its events one by one, each at its place."""
        return [_Item((*self.place, number), (event,)) for number, event in enumerate(self.events)]


class Delivery:
    """What was read from one source on its way to the log; it outlives the source's sessions."""

    def __init__(self) -> None:
        self._again: list[_Item] = []
        """In the order of reading, whichever was refused first."""
        self._next = 0
        self._kept = 0
        self._pause = _PAUSE
        self._door = asyncio.Lock()
        """Where readers wait for room, in the order they came."""
        self._turn = asyncio.Lock()
        self._failed = asyncio.Event()
        """Set while something is kept that nobody is handing over."""
        self._room = asyncio.Event()
        self._room.set()

    @property
    def kept(self) -> int:
        """How many events and messages wait for another try."""
        return self._kept

    async def put(self, session: Session, events: Sequence[VmsEvent], letters: Sequence[Letter] = ()) -> None:
        """Hand them over, in order: behind what waits for another try. Waits while too much is kept.

        From the call on they are in our hands: whoever is cancelled while it waits has lost nothing.
        """
        waiting = deque(self._items(events, letters))
        try:
            async with self._door:  # both are fair locks: first come, first served
                await self._room.wait()
                async with self._turn:
                    while waiting:
                        await self._pass(session, waiting.popleft())
        finally:
            for item in waiting:
                self._keep(item, _PAUSE)

    async def retry(self, session: Session) -> None:
        """Hand what is kept over again, for ever. An event stored twice is one: ids depend on content alone."""
        while True:
            await self._failed.wait()
            await session.clock.sleep(self._pause.total_seconds())
            async with self._turn:
                self._failed.clear()
                while self._again and not self._failed.is_set():
                    item = self._again.pop(0)
                    self._count(-item.size)
                    await self._hand(session, item)

    def _items(self, events: Sequence[VmsEvent], letters: Sequence[Letter]) -> list[_Item]:
        """Give them their places, before anybody waits for anything."""
        place = self._next
        self._next += 1
        items = [_Item((place, 0), events)] if events else []
        return items + [_Item((place, 1, number), letter=letter) for number, letter in enumerate(letters)]

    async def _pass(self, session: Session, item: _Item) -> None:
        if self._again:
            self._keep(item, self._pause)
        else:
            await self._hand(session, item)

    async def _hand(self, session: Session, item: _Item) -> None:
        """Hand one over. Afterwards it is under way, or kept; also when this is cancelled."""
        try:
            if item.letter is not None:
                await session.park(*item.letter)
                return
            stored = await session.emit(item.events)
        except StoreUnavailableError as exc:
            self._keep(item, exc.retry_after)
        except asyncio.CancelledError:
            self._keep(item, _PAUSE)
            raise
        except PayloadError as exc:
            await self._hand_fit(session, item, exc)
        except Exception as exc:
            self._lost(session, item, exc)
            raise
        else:
            stored.add_done_callback(partial(self._settle, session, item))

    async def _hand_fit(self, session: Session, item: _Item, error: PayloadError) -> None:
        """Hand over those that can be filed: one of them cannot, and none of them was taken."""
        if item.size == 1:
            letter = Letter(item.events[0].encode(), error.reason, str(error))
            await self._hand(session, _Item(item.place, letter=letter))
            return
        rest = deque(item.single())
        try:
            while rest:
                await self._pass(session, rest.popleft())
        finally:
            for each in rest:
                self._keep(each, _PAUSE)

    def _settle(self, session: Session, item: _Item, stored: asyncio.Future[None]) -> None:
        if stored.cancelled():
            self._keep(item, _PAUSE)
        elif isinstance(error := stored.exception(), StoreUnavailableError):
            self._keep(item, error.retry_after)
        elif error is not None:
            self._lost(session, item, error)

    @staticmethod
    def _lost(session: Session, item: _Item, error: BaseException) -> None:
        """Say so, and have them looked for where they came from. Nobody knows what would help, so no second try."""
        _log.error("events lost: the log refused them", extra={"count": item.size, "error": str(error)})
        if read := [event.received for event in item.events]:
            session.missed(min(read), max(read), "refused")

    def _keep(self, item: _Item, pause: timedelta) -> None:
        insort(self._again, item, key=attrgetter("place"))
        self._pause = pause
        self._count(item.size)
        self._failed.set()

    def _count(self, change: int) -> None:
        self._kept += change
        if self._kept >= _ROOM:
            self._room.clear()
        else:
            self._room.set()
