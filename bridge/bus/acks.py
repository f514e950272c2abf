"""Send messages to JetStream and get a future of each acknowledgement; many may be under way at once.

nats-py's own `publish` waits for each acknowledgement and costs a task and a timer for it; here
one subscription serves all of them. Nothing is repeated here and nothing is queued: when the
connection is lost every future under way fails, and whoever sent knows whether to send again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.msg import Msg

from bridge.bus.connect import Connection, store_errors
from bridge.bus.wire import (
    BATCH_COMMIT,
    BATCH_ID,
    BATCH_SEQUENCE,
    MAX_BATCH,
    TOO_LARGE,
    Ack,
    Outgoing,
    RefusedError,
    parse_ack,
)
from bridge.errors import StoreUnavailableError

_NO_RESPONDERS = "503"


class Acks:
    """The acknowledgements of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[str, asyncio.Future[Ack]] = {}
        self._prefix = ""
        self._count = 0
        self._batch = secrets.token_hex(8)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Acks]:
        """Listen for acknowledgements until the end. Raises StoreUnavailableError."""
        self._prefix = self._connection.client.new_inbox() + "."
        with store_errors("listen for acknowledgements"):
            await self._connection.client.subscribe(
                self._prefix + "*", cb=self._arrived, pending_msgs_limit=0, pending_bytes_limit=0
            )
        forget = self._connection.listen(self._connection_changed)
        try:
            yield self
        finally:
            forget()
            self._fail_all("the bus is closed")

    async def send(self, message: Outgoing) -> asyncio.Future[Ack]:
        """Send one message. The future raises RefusedError or StoreUnavailableError; this too, if nothing is sent."""
        self._count += 1
        token = str(self._count)
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        future.add_done_callback(lambda _: self._waiting.pop(token, None))
        try:
            await self._publish(message.subject, message.body, dict(message.headers), self._prefix + token)
        except BaseException:
            future.cancel()
            raise
        return future

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
        batch = f"{self._batch}-{self._count}"
        *first, last = messages
        for place, message in enumerate(first, 1):
            headers = {**message.headers, BATCH_ID: batch, BATCH_SEQUENCE: str(place)}
            await self._publish(message.subject, message.body, headers, "")
        headers = {**last.headers, BATCH_ID: batch, BATCH_SEQUENCE: str(len(messages)), BATCH_COMMIT: "1"}
        return await self.send(last._replace(headers=headers))

    async def store(self, messages: Sequence[Outgoing], patience: float) -> Ack:
        """Send a batch and wait for its acknowledgement at most so many seconds; not knowing is unavailable."""
        future = await self.send_batch(messages)
        try:
            async with asyncio.timeout(patience):
                return await future
        except TimeoutError as exc:
            raise StoreUnavailableError(f"the log did not answer within {patience:.0f} s") from exc

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str], reply: str) -> None:
        if not self._connection.connected:
            raise StoreUnavailableError("the log is not connected")
        limit = self._connection.max_payload
        if len(body) > limit // 2 and len(body) + _size(headers) > limit:
            # The server would not refuse it but hang up, again and again.
            raise RefusedError(TOO_LARGE, f"a message of {len(body)} bytes is more than the server takes")
        try:
            await self._connection.client.publish(subject, body, reply=reply, headers=headers or None)
        except (nats.errors.Error, OSError) as exc:
            raise StoreUnavailableError(f"cannot reach the log: {exc or type(exc).__name__}") from exc

    async def _arrived(self, message: Msg) -> None:
        future = self._waiting.get(message.subject[len(self._prefix) :])
        if future is None or future.done():
            return
        if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            future.set_exception(StoreUnavailableError("the log is not ready: no stream takes this subject"))
            return
        try:
            future.set_result(parse_ack(message.data))
        except RefusedError as exc:
            future.set_exception(exc)

    def _connection_changed(self, back: bool) -> None:
        if not back:
            self._fail_all("the connection to the log was lost")

    def _fail_all(self, why: str) -> None:
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(StoreUnavailableError(why))
                future.exception()  # whoever waited is told; whoever went away does not matter


def _size(headers: dict[str, str]) -> int:
    return 16 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
