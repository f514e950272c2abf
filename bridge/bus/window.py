"""What a publisher has in hand: bounded, in order, each id once, and who waits for which of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.bus.wire import MSG_ID, Outgoing
from bridge.errors import StoreUnavailableError


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long. Times are seconds."""

    batch: int = 500
    """Messages in one write; 500 gave twice the rate of 100, 1,000 gave no more."""
    batch_bytes: int = 4 * 1024 * 1024
    pending: int = 2048
    """Messages in hand; whoever brings more waits. Four writes' worth: more costs memory and gives no more rate."""
    pending_bytes: int = 32 * 1024 * 1024
    patience: float = 20.0
    """A message not stored after this is refused. A cluster that loses a leader pauses up to 13 s."""
    resend: float = 5.0
    """A write not answered after this is sent again."""
    pause: float = 0.05
    """Before a write is sent again; doubled each time, up to a second."""
    outage: float = 3.0
    """With the connection gone for this long everything in hand is refused at once."""
    recent: int = 32_768
    """Ids remembered, at least; at most twice as many."""


@dataclass(slots=True)
class Totals:
    """What became of the messages so far."""

    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    fallbacks: int = 0
    """Batches that were refused and sent again message by message."""


class Group:
    """What one call handed over; its future is done with the last of it."""

    __slots__ = ("future", "left", "seq")

    def __init__(self, size: int) -> None:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.left = size
        self.seq = 0
        if size == 0:
            self.future.set_result(0)

    def one_stored(self, seq: int) -> None:
        """Count one message stored at a sequence; 0 if it was stored before."""
        self.left -= 1
        self.seq = max(self.seq, seq)
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.seq)

    def failed(self, error: StoreUnavailableError) -> None:
        """Say that one message could not be stored."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever asked may have gone; that is not an error of its own


@dataclass(slots=True, eq=False)
class Entry:
    """A message in hand."""

    message: Outgoing
    name: str | None
    """Its id, if it has one."""
    deadline: float
    groups: list[Group]
    settled: bool = False


class RecentIds:
    """The ids stored lately: two generations, so that forgetting costs nothing."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._new: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._new or name in self._old

    def add(self, name: str) -> None:
        """Remember one."""
        if len(self._new) >= self._size:
            self._old, self._new = self._new, set()
        self._new.add(name)


class Window:
    """See the module."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: deque[Entry] = deque()
        self._in_hand: dict[Entry, None] = {}
        self._by_id: dict[str, Entry] = {}
        self._recent = RecentIds(limits.recent)
        self.bytes = 0
        """The size of what is in hand, about."""
        self.stored_bytes = 0
        """The size of what was stored; whoever reads it sets it back."""
        self._changed: set[asyncio.Future[None]] = set()
        self.totals = Totals()

    def __len__(self) -> int:
        return len(self._in_hand)

    @property
    def full(self) -> bool:
        """Whether whoever brings more has to wait. One call may overshoot: it is taken whole."""
        return len(self._in_hand) >= self._limits.pending or self.bytes >= self._limits.pending_bytes

    async def changed(self) -> None:
        """Return when something was added or settled."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.add(future)
        try:
            await future
        finally:
            self._changed.discard(future)

    def take(self, messages: Sequence[Outgoing], group: Group) -> None:
        """Add messages. One whose id was stored lately is done; one whose id is under way shares its fate."""
        deadline = asyncio.get_running_loop().time() + self._limits.patience
        for message in messages:
            name = message.headers.get(MSG_ID)
            if name is not None and name in self._recent:
                self.totals.duplicates += 1
                group.one_stored(0)
            elif name is not None and name in self._by_id:
                self.totals.duplicates += 1
                self._by_id[name].groups.append(group)
            else:
                self._add(Entry(message, name, deadline, [group]))
        self._notify()

    def _add(self, entry: Entry) -> None:
        self._queue.append(entry)
        self._in_hand[entry] = None
        self.bytes += entry.message.size
        if entry.name is not None:
            self._by_id[entry.name] = entry

    def next(self) -> list[Entry]:
        """Take out what goes into the next write, oldest first; empty if nothing waits."""
        taken: list[Entry] = []
        size = 0
        while self._queue and len(taken) < self._limits.batch and size < self._limits.batch_bytes:
            entry = self._queue.popleft()
            if not entry.settled:
                size += entry.message.size
                taken.append(entry)
        return taken

    def stored(self, entry: Entry, seq: int, *, duplicate: bool = False) -> None:
        """Settle one: it stands in the log."""
        if self._settle(entry):
            self.totals.stored += not duplicate
            self.totals.duplicates += duplicate
            self.stored_bytes += 0 if duplicate else entry.message.size
            if entry.name is not None:
                self._recent.add(entry.name)
            for group in entry.groups:
                group.one_stored(seq)

    def refuse(self, entries: Iterable[Entry], error: StoreUnavailableError) -> None:
        """Settle some: they will not be tried again."""
        for entry in entries:
            if self._settle(entry):
                self.totals.refused += 1
                for group in entry.groups:
                    group.failed(error)

    def refuse_all(self, error: StoreUnavailableError) -> None:
        """Settle everything in hand."""
        self.refuse(list(self._in_hand), error)

    @property
    def late(self) -> bool:
        """Whether the time of anything in hand is up."""
        now = asyncio.get_running_loop().time()
        return any(entry.deadline <= now for entry in self._in_hand)

    def _settle(self, entry: Entry) -> bool:
        if entry.settled:
            return False
        entry.settled = True
        del self._in_hand[entry]
        self.bytes -= entry.message.size
        if entry.name is not None:
            self._by_id.pop(entry.name, None)
        self._notify()
        return True

    def _notify(self) -> None:
        for future in self._changed:
            if not future.done():
                future.set_result(None)
