"""Read the event log in order, beginning wherever the reader says; the contract is `EventLog`.

The reader's own record says how far it is. The consumer on the server is made anew for each reading
and its position is for people who look at the lag. What is not an event goes to the dead letters
before it is skipped. A hole in the sequence is told, never passed over in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from pydantic import ValidationError

from bridge.bus import stored
from bridge.bus.connect import Connection
from bridge.bus.pull import Place, Pull, create_consumer, delete_consumer, place
from bridge.bus.wire import Received
from bridge.contracts import DeadLetters, Logged
from bridge.errors import StoreUnavailableError
from bridge.schema.event import VmsEvent

_log = logging.getLogger(__name__)

BATCH = 500
"""Events handed over at once, at most. With 100 under load nats-server needed half as much again for an event:
each lot is a head, an atomic batch and an acknowledgement."""
_REQUEST = 1000
_LOW = 500
"""Messages asked for in one request; asked for again when fewer than `_LOW` are here."""
_BACK_OFF = (0.02, 0.1, 0.5, 1.0, 2.0)

OnHole = Callable[[int, int], Awaitable[None]]
"""Told the first and the last sequence that are missing."""


class JetEventLog:
    """The log as one reader sees it. `name` is the consumer's; two readers need two."""

    def __init__(self, connection: Connection, stream: str, name: str, dead: DeadLetters, on_hole: OnHole) -> None:
        self._connection, self._stream, self._name = connection, stream, name
        self._dead, self._on_hole = dead, on_hole
        self._last = 0
        self._given: deque[tuple[int, str]] = deque()

    async def read(self, after: int) -> AsyncIterator[Sequence[Logged]]:
        """Yield what follows the sequence `after` (0: all there is), for ever; outages are waited out.

        If the log ends before `after` (it was restored from an older copy) that is a hole too, and
        reading goes on after its present end. Close the iterator (`contextlib.aclosing`) to stop early.
        """
        self._last = after
        failures = 0
        while True:
            try:
                async with self._consumer() as pull:
                    async for batch in self._batches(pull):
                        failures = 0
                        yield batch
            except StoreUnavailableError as exc:
                if failures == 0:
                    _log.warning(
                        "the log is read again from where we are", extra={"after": self._last, "why": str(exc)}
                    )
                await self._connection.wait_connected()
                await asyncio.sleep(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)])
                failures += 1

    async def done(self, seq: int) -> None:
        """Acknowledge everything up to `seq`. Nothing depends on it: a lost acknowledgement is no error."""
        reply = ""
        while self._given and self._given[0][0] <= seq:
            reply = self._given.popleft()[1]
        if reply:
            with contextlib.suppress(StoreUnavailableError):
                await self._connection.tell(reply, b"+ACK")

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Pull]:
        await self._look_at_the_ends()
        await delete_consumer(self._connection, self._stream, self._name)
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._last + 1,
            "ack_policy": "all",
            "ack_wait": 3600 * 1_000_000_000,  # a slow step must not have its events delivered again
            "max_ack_pending": -1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 3600 * 1_000_000_000,
        }
        await create_consumer(self._connection, self._stream, self._name, config)
        self._given.clear()
        async with Pull(self._connection, self._stream, self._name).opened() as pull:
            yield pull

    async def _look_at_the_ends(self) -> None:
        last = await stored.end(self._connection, self._stream)
        if last < self._last:
            _log.error("the log ends before what was read of it", extra={"end": last, "read": self._last})
            await self._on_hole(last + 1, self._last)
            self._last = last

    async def _batches(self, pull: Pull) -> AsyncIterator[list[Logged]]:
        turn = 0
        while True:
            if pull.buffered < _LOW:
                await pull.ask(_REQUEST)
            messages = await pull.take(BATCH)
            batch: list[Logged] = []
            last = self._last
            for message in messages:
                where = place(message.reply)
                turn += 1
                if where.turn != turn:
                    raise StoreUnavailableError("messages were lost on the way")
                if where.seq <= last:
                    continue
                if where.seq > last + 1 and last:
                    await self._hole(last + 1, where.seq - 1)
                event = await self._decode(message, where)
                if event is not None:
                    batch.append(Logged(where.seq, where.stamp, event, len(message.data)))
                last = where.seq
            if messages:
                self._last = last
                self._given.append((last, messages[-1].reply))
            if batch:
                yield batch

    async def _hole(self, first: int, last: int) -> None:
        _log.error("events were trimmed before they were read", extra={"first": first, "last": last})
        await self._on_hole(first, last)

    async def _decode(self, message: Received, where: Place) -> VmsEvent | None:
        """Return the event, or None once the message is among the dead letters."""
        try:
            return VmsEvent.decode(message.data)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            error = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            _log.error("a message in the log is not an event", extra={"seq": where.seq, "error": error})
            headers = {"Subject": message.subject, "Sequence": str(where.seq), "Error": error}
            await self._dead.bury("event", "not_an_event", message.data, headers)
            return None
