"""Orders to be done, from the engine's stream to whoever carries them out; the contract is `OrderQueue`.

At least once: an acknowledgement may be forgotten by a server that was killed, so whoever does an
order looks into the effect ledger first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

from pydantic import ValidationError
from pydantic_core import to_json

from bridge.bus.connect import Connection
from bridge.bus.pull import Pull, create_consumer
from bridge.bus.wire import Received
from bridge.contracts import DeadLetters
from bridge.errors import StoreUnavailableError
from bridge.schema.orders import Order

_log = logging.getLogger(__name__)

_SECOND = 1_000_000_000
_ACK_WAIT = timedelta(seconds=6)
"""An order of which nothing was heard for so long is brought again; say `working` more often.

Short, because what a killed bridge had in hand waits for it, and whoever stands at a door does too. An order that comes
again too early is harmless: whoever has it in hand knows, and whoever does not finds it in the ledger.
"""
_BACK_OFF = (0.02, 0.1, 0.5, 1.0, 2.0)


class JetPendingOrder:
    """One order in hand."""

    def __init__(self, queue: JetOrderQueue, message: Received, order: Order) -> None:
        self._queue, self._message, self._order = queue, message, order

    @property
    def order(self) -> Order:
        """What to do."""
        return self._order

    async def done(self) -> None:
        """It has ended and is recorded; do not bring it again."""
        await self._queue.answer(self._message, b"+ACK", last=True)

    async def later(self, delay: timedelta) -> None:
        """Bring it again after the delay."""
        words = b"-NAK " + to_json({"delay": max(1, int(delay.total_seconds() * _SECOND))})
        await self._queue.answer(self._message, words, last=True)

    async def working(self) -> None:
        """Still at it; do not bring it again for another while."""
        await self._queue.answer(self._message, b"+WPI", last=False)


class JetOrderQueue:
    """Orders as they come. Several queues of one name share them out."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subject: str,
        dead: DeadLetters,
        *,
        name: str = "runners",
        in_hand: int = 512,
    ) -> None:
        self._connection, self._stream, self._subject, self._name = connection, stream, subject, name
        self._dead, self._most = dead, in_hand
        self._in_hand: set[str] = set()
        self._freed = asyncio.Event()

    @property
    def in_hand(self) -> int:
        """Orders given out and not answered."""
        return len(self._in_hand)

    async def take(self) -> AsyncIterator[JetPendingOrder]:
        """Yield orders as they come, oldest first, for ever; waits while too many are in hand."""
        failures = 0
        while True:
            try:
                await create_consumer(self._connection, self._stream, self._name, self._config())
                async with Pull(self._connection, self._stream, self._name).opened() as pull:
                    async for message in self._messages(pull):
                        failures = 0
                        order = await self._decode(message)
                        if order is not None:
                            self._in_hand.add(message.reply)
                            yield JetPendingOrder(self, message, order)
            except StoreUnavailableError as exc:
                if failures == 0:
                    _log.warning("orders cannot be read", extra={"why": str(exc)})
                await self._connection.wait_connected()
                await asyncio.sleep(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)])
                failures += 1

    async def answer(self, message: Received, words: bytes, *, last: bool) -> None:
        """Tell the server about a message. Lost words are no error: the order comes again."""
        if last:
            self._in_hand.discard(message.reply)
            self._freed.set()
        with contextlib.suppress(StoreUnavailableError):
            await self._connection.tell(message.reply, words)

    def _config(self) -> dict[str, object]:
        return {
            "durable_name": self._name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(_ACK_WAIT.total_seconds() * _SECOND),
            "max_deliver": -1,
            # Orders that wait for a receiver who is away for days count as pending; they must not block the others.
            "max_ack_pending": -1,
            "filter_subject": self._subject,
        }

    async def _messages(self, pull: Pull) -> AsyncIterator[Received]:
        while True:
            while len(self._in_hand) >= self._most:
                self._freed.clear()
                await self._freed.wait()
            free = self._most - len(self._in_hand)
            if not pull.buffered:
                await pull.ask(free)
            for message in await pull.take(1):
                yield message

    async def _decode(self, message: Received) -> Order | None:
        """Return the order, or None once the message is among the dead letters."""
        try:
            return Order.decode(message.data)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            error = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            _log.error("a message is not an order", extra={"subject": message.subject, "error": error})
            headers = {"Subject": message.subject, "Error": error}
            await self._dead.bury("order", "not_an_order", message.data, headers)
            await self.answer(message, b"+TERM", last=True)
            return None
