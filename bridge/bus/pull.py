"""Read a JetStream consumer: keep one request for messages open and hand over what has arrived.

nats-py's `fetch` costs three times as much per message and holds a lone one back; its push
consumers lose messages when the reader is slow. Here the server sends at most what was asked for.
When anything is in doubt (connection lost, consumer gone, silence) reading ends with an error, and
the owner, who knows how far he is, begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import nats.errors
from nats.aio.subscription import Subscription
from pydantic_core import to_json

from bridge.bus.connect import Connection
from bridge.bus.wire import CONSUMER_NOT_FOUND, Received, RefusedError
from bridge.errors import StoreUnavailableError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000
_EXPIRES = 60.0
_HEARTBEAT = 5.0
_SILENCE = 12.0
"""Seconds: the server drops a request, says that it is there, and is given up when it does not."""


class Place(NamedTuple):
    """Where a delivered message stands; the server writes it into the reply subject."""

    seq: int
    """In the stream."""
    turn: int
    """In this consumer: without a hole, unless something was lost on the way."""
    stamp: datetime
    """When the server stored it."""
    left: int
    """How many the consumer has after it."""


def place(reply: str) -> Place:
    """Read `$JS.ACK.<stream>.<consumer>.<tries>.<seq>.<turn>.<ns>.<left>`; newer ones have domain and account too."""
    tokens = reply.split(".")
    seq, turn, nanoseconds, left = tokens[5:9] if len(tokens) < 11 else tokens[7:11]
    stamp = _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)
    return Place(int(seq), int(turn), stamp, int(left))


class Pull:
    """An open reader of one consumer. One task reads it."""

    def __init__(self, connection: Connection, stream: str, consumer: str) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = connection.client.new_inbox()
        self._buffer: deque[Received] = deque()
        self._asked = 0
        self._news = asyncio.Event()
        self._error: StoreUnavailableError | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Pull]:
        """Read until the end. Raises StoreUnavailableError."""
        subscription = await self._connection.subscribe(self._inbox, self._arrived)
        forget = self._connection.listen(self._connection_changed)
        try:
            yield self
        finally:
            forget()
            await _unsubscribe(subscription)

    @property
    def asked(self) -> int:
        """Messages that may still come for the open request."""
        return self._asked

    @property
    def buffered(self) -> int:
        """Messages that have arrived and were not taken."""
        return len(self._buffer)

    async def ask(self, count: int, *, wait: bool = True) -> None:
        """Ask for so many messages more, or what there is of them. Does nothing while an earlier request is open."""
        if self._asked or count <= 0:
            return
        self._asked = count
        question: dict[str, Any] = {"batch": count}
        if wait:
            question |= {"expires": int(_EXPIRES * _SECOND), "idle_heartbeat": int(_HEARTBEAT * _SECOND)}
        else:
            question["no_wait"] = True
        await self._connection.tell(self._subject, to_json(question), reply=self._inbox)

    async def take(self, most: int) -> list[Received]:
        """Return what has arrived, at most so many; waits for the first. Empty when the request has run out.

        Raises StoreUnavailableError when it is not certain that nothing was lost.
        """
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if not self._asked:
                return []
            self._news.clear()
            try:
                async with asyncio.timeout(_SILENCE):
                    await self._news.wait()
            except TimeoutError as exc:
                raise StoreUnavailableError("the log is silent") from exc
        buffer = self._buffer
        return [buffer.popleft() for _ in range(min(most, len(buffer)))]

    def _arrived(self, message: Received) -> None:
        status = message.status
        if status and not message.data:
            self._status(status, message.words)
        else:
            self._buffer.append(message)
            self._asked = max(0, self._asked - 1)
        self._news.set()

    def _status(self, status: str, words: str) -> None:
        """Understand a message about the request instead of one from the stream."""
        if status == "100":  # the server is there
            return
        if status in ("404", "408") or (status == "409" and "deleted" not in words.lower()):
            self._asked = 0  # nothing there, time is up, the leader changed: ask again
        else:
            self._error = StoreUnavailableError(f"the reader is gone: {words or status}")

    def _connection_changed(self, back: bool) -> None:
        self._error = StoreUnavailableError("the connection to the log was lost")
        self._news.set()


async def _unsubscribe(subscription: Subscription) -> None:
    with contextlib.suppress(nats.errors.Error, OSError):
        await subscription.unsubscribe()


async def create_consumer(connection: Connection, stream: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Create a consumer or find it as it is; return what the server says of it. Raises StoreUnavailableError."""
    question = {"stream_name": stream, "config": {"name": name, **config}}
    return await connection.api(f"CONSUMER.CREATE.{stream}.{name}", question)


async def delete_consumer(connection: Connection, stream: str, name: str) -> None:
    """Delete a consumer; it is no error if there is none."""
    try:
        await connection.api(f"CONSUMER.DELETE.{stream}.{name}")
    except RefusedError as exc:
        if exc.code != CONSUMER_NOT_FOUND:
            raise


async def _left(connection: Connection, stream: str, name: str) -> int:
    """Return what a consumer has before it: less than it said where something was trimmed meanwhile."""
    return int((await connection.api(f"CONSUMER.INFO.{stream}.{name}"))["num_pending"])


async def scan(
    connection: Connection,
    stream: str,
    subjects: Sequence[str] = (),
    *,
    after: int = 0,
    since: datetime | None = None,
    headers_only: bool = False,
) -> AsyncGenerator[list[Received], None]:
    """Yield what a stream holds now of some subjects (all, if none are named), oldest first, in batches.

    Only what comes after a sequence, or was stored since a time.
    Raises StoreUnavailableError, then begin again: a scan does not survive a lost connection.
    """
    name = f"scan-{connection.client.new_inbox().rpartition('.')[2]}"
    start: dict[str, Any] = {"deliver_policy": "all"}
    if since is not None:
        start = {"deliver_policy": "by_start_time", "opt_start_time": since.astimezone(UTC).isoformat()}
    elif after > 0:  # before the first there is nothing, and the server leaves a 0 out of its question
        start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    config = {
        **start,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 60 * _SECOND,
        "headers_only": headers_only,
        **({"filter_subjects": list(subjects)} if subjects else {}),
    }
    info = await create_consumer(connection, stream, name, config)
    left, turn = int(info["num_pending"]), 0
    try:
        async with Pull(connection, stream, name).opened() as pull:
            while left:
                await pull.ask(min(left, 1000), wait=False)
                messages = await pull.take(1000)
                if not messages:
                    left = await _left(connection, stream, name)
                    continue
                last = place(messages[-1].reply)
                turn += len(messages)
                if last.turn != turn:
                    raise StoreUnavailableError("messages were lost on the way")
                left = min(left - len(messages), last.left)
                yield messages
    finally:
        with contextlib.suppress(StoreUnavailableError):
            await delete_consumer(connection, stream, name)
