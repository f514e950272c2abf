"""Take a stream out of the server as one file, and put it back, while the server runs.

A snapshot is the server's own form of a stream, with its sequences, taken at one moment; the server
checks every message's checksum before it gives one. Putting it back makes the stream, which must not
be there. Streams are not taken at the same moment: who needs several together says in which order.
(NATS JetStream wire API: STREAM.SNAPSHOT, STREAM.RESTORE.)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nats.errors
from pydantic_core import from_json

from bridge.bus.connect import Connection
from bridge.bus.wire import Outgoing, Received
from bridge.errors import StoreError, StoreUnavailableError

CHUNK = 128 * 1024
SILENCE = 30.0
"""Seconds without a word before we give up; a large stream is checked before the first one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was taken."""

    stream: str
    config: Mapping[str, Any]
    state: Mapping[str, Any]
    size: int
    sha256: str


class _Receiver:
    """Writes what the server sends, and tells it to go on: it sends only so far ahead."""

    def __init__(self, connection: Connection, file: BinaryIO) -> None:
        self._connection, self._file = connection, file
        self._sum = hashlib.sha256()
        self._waiting: asyncio.Queue[Received] = asyncio.Queue()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of everything that came."""
        return self._sum.hexdigest()

    async def all(self) -> None:
        """Return when all has come. Raises StoreError."""
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    message = await self._waiting.get()
            except TimeoutError as exc:
                raise StoreUnavailableError("the server stopped sending in the middle of a snapshot") from exc
            if not message.data:
                return _end(message)
            await asyncio.to_thread(self._write, message.data)
            if message.reply:
                await self._connection.tell(message.reply, b"")

    def arrived(self, message: Received) -> None:
        """Take one chunk; an empty one is the end."""
        self._waiting.put_nowait(message)

    def _write(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as exc:
            raise StoreError(f"a snapshot cannot be written ({exc.strerror})") from exc
        self._sum.update(chunk)
        self.size += len(chunk)


def _end(message: Received) -> None:
    if message.status not in ("", "204"):
        raise StoreError(f"the server gave a snapshot up: {message.words or message.status}")


async def take(connection: Connection, stream: str, file: Path) -> Snapshot:
    """Write a stream to a new file, for us alone. Raises StoreError, also for a stream that is damaged."""
    inbox = connection.client.new_inbox()
    with _fresh(file) as out:
        receiver = _Receiver(connection, out)
        subscription = await connection.subscribe(inbox, receiver.arrived)
        try:
            question = {"deliver_subject": inbox, "no_consumers": True, "jsck": True, "chunk_size": CHUNK}
            answer = await connection.api(f"STREAM.SNAPSHOT.{stream}", question, timeout=SILENCE)
            await receiver.all()
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()
    return Snapshot(stream, answer["config"], answer["state"], receiver.size, receiver.sha256)


def _fresh(file: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as exc:
        raise StoreError(f"cannot write {file} ({exc.strerror})") from exc


async def put(
    connection: Connection, stream: str, config: Mapping[str, Any], state: Mapping[str, Any], file: Path
) -> dict[str, Any]:
    """Make a stream of a file that `take` wrote, and return its state. Raises StoreError when it is refused."""
    question = {"config": dict(config), "state": dict(state)}
    answer = await connection.api(f"STREAM.RESTORE.{stream}", question, timeout=SILENCE)
    subject = str(answer["deliver_subject"])
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            _refused(await _ask(connection, subject, chunk))
    last = _refused(await _ask(connection, subject, b""))
    return dict(last["state"])


async def _ask(connection: Connection, subject: str, chunk: bytes) -> bytes:
    future = await connection.ask([Outgoing(subject, chunk)], lambda message: message.data)
    try:
        async with asyncio.timeout(SILENCE):
            return await future
    except TimeoutError as exc:
        raise StoreUnavailableError("the server does not answer in the middle of a restore") from exc


def _refused(answer: bytes) -> dict[str, Any]:
    """Return what the server says of a chunk: nothing at all, mostly. Raises StoreError."""
    said: dict[str, Any] = from_json(answer) if answer else {}
    if error := said.get("error"):
        raise StoreError(f"the server refuses the stream: {error.get('description', 'no reason given')}")
    return said
