"""Write messages to a stream in order, many at once when many come, one at once when one comes.

What is waiting when the last write is done goes out as the next one: a few messages each by itself, more
as one atomic batch with one sync for all of it. One write is under way at a time, and of one source one
message at a time or one batch. So all is stored in the order of `put`, and what a source said also where something
has to be sent again. A message is promised when the server has synced it.

A refusal is either for the message, which is too large and would be refused anywhere: it alone is refused, and
nobody waits for it. Or it is for the moment: then nothing of that source is sent before it is taken. It is sent again
until its time is up, and then all that is in hand is refused, until its senders have heard so: who sends again has
lost no place. Nothing is kept for later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Self

from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.window import Entry, Group, Limits, Totals, Window
from bridge.bus.wire import BATCH_INCOMPLETE, FEW, NO_ROOM, OF_THE_MESSAGE, Ack, Outgoing, RefusedError
from bridge.errors import StoreUnavailableError

_log = logging.getLogger(__name__)


TURNS = 4
"""Turns of the event loop until whoever waits has heard of a refusal: a future's callbacks run in the turn after it is
done. The longest way has four futures: ours, intake's, and where an event is the twin of another that is under way,
the matcher's for that other and for both. `test_order.py` counts them."""


class Publisher:
    """The one writer of a stream in this process; see the module."""

    def __init__(self, connection: Connection, acks: Acks, name: str, limits: Limits | None = None) -> None:
        self._connection, self._acks, self._name = connection, acks, name
        self._limits = limits or Limits()
        self._window = Window(self._limits)
        self._door = asyncio.Lock()
        self._at_door = 0
        """Bytes that wait there."""
        self._task: asyncio.Task[None] | None = None
        self._complained = False
        self._refusals = 0
        self._telling = 0
        self._last = StoreUnavailableError("")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"publisher[{self._name}]")
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.resend):
                while len(self._window) and self._connection.connected:
                    await self._window.changed()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._window.refuse_all(StoreUnavailableError("the bridge is stopping"))

    @property
    def pending(self) -> int:
        """Messages in hand."""
        return len(self._window)

    @property
    def totals(self) -> Totals:
        """What became of the messages so far."""
        return self._window.totals

    @property
    def pending_bytes(self) -> int:
        """Their size, about, with that of messages that wait to be taken over."""
        return self._window.bytes + self._at_door

    def refuse_all(self, error: StoreUnavailableError) -> None:
        """Tell everybody who waits that it will not be stored, and whoever comes before they have heard it."""
        self._refusals += 1
        self._telling += 1
        self._last = error
        self._window.refuse_all(error)
        self._told(TURNS)

    def _told(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._told, turns - 1)
        else:
            self._telling -= 1

    @property
    def refusals(self) -> int:
        """How often everything in hand was refused; for `put`."""
        return self._refusals

    def take_stored_bytes(self) -> int:
        """Return the size of what was stored since the last call."""
        taken, self._window.stored_bytes = self._window.stored_bytes, 0
        return taken

    async def put(self, messages: Sequence[Outgoing], since: int | None = None) -> asyncio.Future[int]:
        """Take messages over, in order; waits for room. The future gives the highest sequence they got.

        It raises StoreUnavailableError when not all of them could be stored; some may be. If none is taken that is
        raised at once: a sender that hears of it later may have handed over more. `since` is what `refusals` was
        when their sender let them go, if that was before now.
        """
        since = self._refusals if since is None else since
        group = Group(len(messages))
        size = sum(message.size for message in messages)
        self._at_door += size
        try:
            await self._pass(messages, group, since)
        finally:
            self._at_door -= size
        return group.future

    async def _pass(self, messages: Sequence[Outgoing], group: Group, since: int) -> None:
        async with self._door:  # a fair lock: first come, first served
            while self._window.full and not self._hopeless and since == self._refusals:
                await self._window.changed()
            if self._hopeless or self._telling or since != self._refusals:
                self.totals.refused += len(messages)
                last = self._last
                raise self._gone() if self._hopeless else StoreUnavailableError(str(last), last.retry_after)
            self._window.take(messages, group)

    @property
    def _hopeless(self) -> bool:
        return self._connection.lost_for >= self._limits.outage

    def _gone(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"NATS has not been reachable for {self._connection.lost_for:.0f} s")

    # --- the one writer --------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            entries = self._window.next()
            if entries:
                await self._store(entries)
            else:
                await self._window.changed()

    async def _store(self, entries: list[Entry]) -> None:
        """Write entries, again and again until they are settled or their time is up."""
        pause = self._limits.pause
        while True:
            await self._reachable()
            entries = [entry for entry in entries if not entry.settled]
            try:
                await self._write(entries)
            except StoreUnavailableError as exc:
                self._complain(exc)
                if self._window.late:
                    self.refuse_all(exc)
            entries = [entry for entry in entries if not entry.settled]
            if not entries:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _reachable(self) -> None:
        """Return when the server is there; refuse everything in hand when it stays away."""
        while not self._connection.connected and len(self._window):
            left = self._limits.outage - self._connection.lost_for
            if left <= 0:
                self._complain(self._gone())
                self.refuse_all(self._gone())
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._connection.wait_connected()

    async def _write(self, entries: list[Entry]) -> None:
        """Send entries once and settle those that were answered. Raises StoreUnavailableError: send the rest again."""
        try:
            if len(entries) <= FEW or not await self._write_batch(entries):
                await self._write_in_order(entries)
        except RefusedError as exc:
            if exc.code not in NO_ROOM:
                raise
            self._complain(exc)
            self.refuse_all(exc)

    async def _write_batch(self, entries: list[Entry]) -> bool:
        """Store all of them at once, or none: one is stored already, or refused, and the server does not say which.

        Raises StoreUnavailableError, which RefusedError is too, when they should be sent again as they are.
        """
        try:
            ack = await self._acks.store([entry.message for entry in entries], self._limits.resend)
        except RefusedError as exc:
            if exc.code == BATCH_INCOMPLETE or exc.code in NO_ROOM:
                raise
            self.totals.fallbacks += 1
            return False
        self._stored(entries, ack)
        return True

    def _stored(self, entries: list[Entry], ack: Ack) -> None:
        self._complained = False
        first = ack.seq - len(entries) + 1
        for place, entry in enumerate(entries):
            self._window.stored(entry, first + place, duplicate=ack.duplicate)

    async def _write_in_order(self, entries: list[Entry]) -> None:
        """Send them in their order, at most one of a source at a time; raises why the first was not taken."""
        sent: dict[str, tuple[Entry, asyncio.Future[Ack]]] = {}
        for entry in entries:
            source = _source(entry.message)
            if source in sent:
                await self._answered(sent)
            if entry.settled:
                continue  # all were refused meanwhile
            try:
                sent[source] = entry, await self._send(entry)
            except StoreUnavailableError:
                await self._answered(sent)
                raise
        await self._answered(sent)

    async def _answered(self, sent: dict[str, tuple[Entry, asyncio.Future[Ack]]]) -> None:
        """Wait for the answers to all that is under way, and settle it. Raises the gravest refusal for the moment."""
        if sent:
            await asyncio.wait([future for _, future in sent.values()], timeout=self._limits.resend)
        failures: list[StoreUnavailableError] = []
        for entry, future in sent.values():
            try:
                self._stored([entry], _answer(future, self._limits.resend))
            except RefusedError as exc:
                if exc.code in OF_THE_MESSAGE:
                    self._complain(exc)
                    self._window.refuse([entry], exc)
                else:
                    failures.append(exc)
            except StoreUnavailableError as exc:
                failures.append(exc)
        sent.clear()
        failures.sort(key=lambda each: not (isinstance(each, RefusedError) and each.code in NO_ROOM))
        for failure in failures:
            raise failure

    async def _send(self, entry: Entry) -> asyncio.Future[Ack]:
        try:
            return await self._acks.send(entry.message)
        except RefusedError as exc:  # not even sent: it is too large
            future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
            future.set_exception(exc)
            return future

    def _complain(self, error: StoreUnavailableError) -> None:
        """Say once that the log takes nothing; the senders are told each time."""
        if not self._complained:
            self._complained = True
            _log.warning("%s cannot be written: %s", self._name, error)


def _source(message: Outgoing) -> str:
    """Return what a message is about, in whose order it stands: `vms.<site>.event.<source>`, `….trace.<rule>`."""
    return ".".join(message.subject.split(".", 4)[:4])


def _answer(asked: asyncio.Future[Ack], patience: float) -> Ack:
    """Return the answer that came within some seconds. Raises RefusedError or StoreUnavailableError."""
    if not asked.done():
        asked.cancel()
        raise StoreUnavailableError(f"the log did not answer within {patience:.0f} s")
    return asked.result()
