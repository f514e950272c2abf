"""Send messages to JetStream and get a future of each acknowledgement; many may be under way at once.

nats-py's own `publish` waits for each acknowledgement and costs a task and a timer for it; here
one subscription serves all of them. Nothing is repeated here and nothing is queued: when the
connection is lost every future under way fails, and whoever sent knows whether to send again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from bridge.bus.connect import Connection
from bridge.bus.wire import BATCH_COMMIT, BATCH_ID, BATCH_SEQUENCE, MAX_BATCH, Ack, Outgoing, Received, parse_ack
from bridge.errors import StoreUnavailableError


class Acks:
    """The way to write over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = secrets.token_hex(8)
        self._count = 0

    async def send(self, message: Outgoing) -> asyncio.Future[Ack]:
        """Send one message. The future raises RefusedError or StoreUnavailableError; this too, if nothing is sent."""
        return await self._connection.ask([message], _read)

    async def send_batch(self, messages: Sequence[Outgoing]) -> asyncio.Future[Ack]:
        """Send 1 to 1,000 messages that are stored together or not at all; the future is the last one's.

        They are stored one after the other, so the first stands at `ack.seq - len(messages) + 1`.
        All must belong to one stream that allows atomic batches.
        """
        if len(messages) == 1:
            return await self.send(messages[0])
        if len(messages) > MAX_BATCH:
            raise ValueError(f"{len(messages)} messages do not fit one atomic batch of {MAX_BATCH}")
        self._count += 1
        batch = f"{self._prefix}-{self._count}"
        parts = [
            Outgoing(subject, body, {**headers, BATCH_ID: batch, BATCH_SEQUENCE: str(place)})
            for place, (subject, body, headers) in enumerate(messages, 1)
        ]
        last = parts[-1]
        parts[-1] = last._replace(headers={**last.headers, BATCH_COMMIT: "1"})
        return await self._connection.ask(parts, _read)

    async def store(self, messages: Sequence[Outgoing], patience: float) -> Ack:
        """Send a batch and wait for its acknowledgement at most so many seconds; not knowing is unavailable."""
        future = await self.send_batch(messages)
        try:
            async with asyncio.timeout(patience):
                return await future
        except TimeoutError as exc:
            raise StoreUnavailableError(f"the log did not answer within {patience:.0f} s") from exc


def _read(message: Received) -> Ack:
    return parse_ack(message.data)
