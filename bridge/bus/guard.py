"""Watch that nothing unread can be trimmed from the log, and say no to new events before it could.

EVENTS drops its oldest messages when it is full, whoever has read them. (By their age only those leave that were
decided on: `trimming`.) So when what the engine has not read takes 80 % of the room, or the disk under it is nearly
full, intake is refused: the sender keeps the event, and nothing that was promised is lost.

The server tells how many messages are unread but not how large they are, and between two looks a
small log could be filled twice. So what we write is counted here by its size, and when that may
have used up the room, the log is looked at before more is taken. What an earlier process has left
unread is asked for once.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bridge.bus.connect import Connection
from bridge.bus.publish import Publisher
from bridge.bus.pull import place, scan
from bridge.bus.wire import Received
from bridge.errors import StoreUnavailableError

_log = logging.getLogger(__name__)

SHARE, SLACK = 0.8, 0.1
"""Of the log: what may be unread, and by how much that may be exceeded by what comes at once."""
_LEAST_FREE = 4 * 1024 * 1024
_MOST_STRETCHES = 256


@dataclass(frozen=True, slots=True)
class Backlog:
    """The log and how far the engine is in it."""

    messages: int = 0
    bytes: int = 0
    max_bytes: int = -1
    first_seq: int = 0
    last_seq: int = 0
    unread: int = 0
    unread_bytes: int = 0


class _Stretch(NamedTuple):
    """Messages `first` to `last` and the bytes they take together."""

    first: int
    last: int
    size: float

    def after(self, seq: int) -> float:
        """Return how many bytes come after a sequence."""
        count = self.last - self.first + 1
        return self.size * min(count, max(0, self.last - seq)) / count


class Guard:
    """See the module. `head` gives the sequence up to which the engine has read; None: nothing yet."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        publisher: Publisher,
        head: Callable[[], Awaitable[int | None]],
        disk: Path | None,
    ) -> None:
        self._connection, self._stream, self._publisher = connection, stream, publisher
        self._head, self._disk = head, disk
        self._stretches: list[_Stretch] = []
        self._last: int | None = None
        """Up to where they reach; None: nothing is counted yet."""
        self._counted = 0
        self._room = 0.0
        self._looking = asyncio.Lock()
        self.backlog = Backlog()
        self.refusing: str | None = None
        """Why new events are refused; None when they are welcome."""

    async def admit(self, size: int) -> None:
        """Let so many bytes in. Raises StoreUnavailableError when they are not welcome."""
        if self.refusing is None and self._room < size:
            async with self._looking:
                if self._room < size:  # otherwise somebody has just looked
                    await self._look()
        if self.refusing is not None:
            raise StoreUnavailableError(self.refusing)
        # A little more than there is room for does no harm. What is larger than all of it comes in when it is empty.
        if min(size, self._all) > self._room + SLACK * self.backlog.max_bytes:
            raise StoreUnavailableError(self._full())
        self._room -= size

    async def look(self) -> None:
        """Look at the log, the engine's head and the disk. Raises StoreUnavailableError."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        full = await asyncio.to_thread(self._disk_reason)
        if full is not None:
            # The server does not refuse what it cannot write, it says nothing: nobody should wait for that.
            self._turn(full)
            self._publisher.refuse_all(StoreUnavailableError(full))
            return
        info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        head = await self._head() or 0
        await self._count(info["state"], head)
        self.backlog = self._measure(info, head)
        self._room = self._room_left()
        self._turn(self._reason())

    def _turn(self, reason: str | None) -> None:
        if reason is None and self.refusing is not None:
            _log.info("events are taken again")
        elif reason is not None and self.refusing is None:
            _log.error("events are refused: %s", reason)
        self.refusing = reason

    async def _count(self, state: dict[str, Any], head: int) -> None:
        """Note how large the messages are that were stored since the last look."""
        messages, size, last = int(state["messages"]), int(state["bytes"]), int(state["last_seq"])
        ours, stored = self._publisher.totals.stored - self._counted, self._publisher.take_stored_bytes()
        if self._last is None or last < self._last:
            self._stretches = await self._left(int(state["first_seq"]), last, size, head)
        elif last > self._last:
            # Ours by their size, those of other processes by the average.
            others = max(0, last - self._last - ours) * (size / messages if messages else 0)
            self._stretches.append(_Stretch(self._last + 1, last, stored + others))
        self._counted, self._last = self._counted + ours, last
        while len(self._stretches) > _MOST_STRETCHES:
            self._stretches = [
                _Stretch(one.first, two.last, one.size + two.size)
                for one, two in zip(self._stretches[::2], self._stretches[1::2], strict=False)
            ] + self._stretches[len(self._stretches) // 2 * 2 :]

    async def _left(self, first: int, last: int, size: int, head: int) -> list[_Stretch]:
        """Return what was unread before we counted: it may be a few large messages behind many small ones."""
        if head < first:
            return [_Stretch(first, last, size)] if last >= first else []
        found: list[_Stretch] = []
        if head >= last:
            return found
        async for batch in scan(self._connection, self._stream, after=head, headers_only=True):
            begin, end = (place(message.reply).seq for message in (batch[0], batch[-1]))
            found.append(_Stretch(begin, end, sum(map(_size, batch))))
        return found

    def _measure(self, info: dict[str, Any], head: int) -> Backlog:
        state = info["state"]
        messages, first, last = int(state["messages"]), int(state["first_seq"]), int(state["last_seq"])
        unread = min(messages, max(0, last - max(head, first - 1)))
        self._stretches = [stretch for stretch in self._stretches if stretch.last > head]
        return Backlog(
            messages=messages,
            bytes=int(state["bytes"]),
            max_bytes=int(info["config"]["max_bytes"]),
            first_seq=first,
            last_seq=last,
            unread=unread,
            unread_bytes=round(sum(stretch.after(head) for stretch in self._stretches)),
        )

    @property
    def _all(self) -> float:
        """The room when nothing is unread."""
        limit = self.backlog.max_bytes
        return SHARE * limit if limit > 0 else float("inf")

    def _room_left(self) -> float:
        return self._all - self.backlog.unread_bytes - self._publisher.pending_bytes

    def _reason(self) -> str | None:
        return self._full() if self._room <= 0 else None

    def _full(self) -> str:
        backlog = self.backlog
        return f"the engine has {backlog.unread} events to read, {backlog.unread_bytes} of {backlog.max_bytes} bytes"

    def _disk_reason(self) -> str | None:
        if self._disk is None:
            return None
        free = shutil.disk_usage(self._disk).free
        return f"the disk is full ({free // 1024} KiB free)" if free < _LEAST_FREE else None


def _size(message: Received) -> int:
    """Return how much room a message takes of which only the headers came."""
    return len(message.subject) + len(message.head) + int(message.headers["Nats-Msg-Size"])
