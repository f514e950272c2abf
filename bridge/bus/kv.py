"""Small shared values: buckets of NATS' key-value kind, and contents of any size by their hash.

Any text may be part of a key; it is escaped the way subjects are, with `=` for `%`, because other
tools for these buckets do not accept `%`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Container, Mapping
from datetime import timedelta
from typing import NamedTuple

from bridge.bus import stored
from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.pull import place, scan
from bridge.bus.streams import bucket_name, bucket_stream
from bridge.bus.wire import EXPECTED, MAX_BATCH, TTL, Outgoing, Received, RefusedError
from bridge.errors import StaleOwnerError, StoreError
from bridge.schema.subjects import escape, unescape

_OPERATION = "KV-Operation"
_GONE = frozenset({"DEL", "PURGE"})
_PATIENCE = 15.0
_CHUNK = 512 * 1024
_CHUNKS = "Vms-Chunks"


class Entry(NamedTuple):
    """A value and the revision that changing it must name. The value is None when it was deleted."""

    value: bytes | None
    revision: int


def key_of(*parts: str | None) -> str:
    """Return the key for a list of names; None stands for "none"."""
    return ".".join(escape(part).replace("%", "=") for part in parts)


def parts_of(key: str) -> tuple[str | None, ...]:
    """Return the names a key was made from."""
    return tuple(unescape(token.replace("=", "%")) for token in key.split("."))


class Bucket:
    """One bucket. Every method raises StoreUnavailableError when the server does not answer."""

    def __init__(self, connection: Connection, acks: Acks, site: str, name: str) -> None:
        self._connection, self._acks = connection, acks
        self.stream = bucket_stream(site, name)
        self._prefix = f"$KV.{bucket_name(site, name)}."

    def message(self, key: str, value: bytes) -> Outgoing:
        """Return the message that puts a value, for whoever writes many at once."""
        return Outgoing(self._prefix + key, value)

    async def write(self, values: Mapping[str, bytes | None]) -> None:
        """Put many values, or delete them, as quickly as can be; a part of them may be there when it fails."""
        messages = [
            self.message(key, value)
            if value is not None
            else Outgoing(self._prefix + key, b"", {_OPERATION: "DEL", TTL: "3600"})
            for key, value in values.items()
        ]
        for start in range(0, len(messages), MAX_BATCH):
            await self._acks.store(messages[start : start + MAX_BATCH], _PATIENCE)

    async def get(self, key: str) -> Entry | None:
        """Return a value; None if there is none or it was deleted."""
        found = await stored.last(self._connection, self.stream, self._prefix + key)
        if found is None or found.headers.get(_OPERATION) in _GONE:
            return None
        return Entry(found.body, found.seq)

    async def put(self, key: str, value: bytes) -> int:
        """Store a value whatever was there; return its revision."""
        return await self._write(key, value, {})

    async def create(self, key: str, value: bytes, ttl: timedelta | None = None) -> int | None:
        """Store a value where none is; return its revision, None if there is one already.

        With `ttl` it goes away by itself after so many whole seconds: a lease.
        """
        last = 0
        while True:
            try:
                return await self._write(key, value, {EXPECTED: str(last), **_ttl(ttl)})
            except RefusedError as exc:
                if not exc.stale:
                    raise
            marker = await self._marker(key)
            if marker is None:
                return None
            last = marker

    async def update(self, key: str, value: bytes, revision: int, ttl: timedelta | None = None) -> int:
        """Replace a value; return the new revision. Raises StaleOwnerError if it changed meanwhile."""
        try:
            return await self._write(key, value, {EXPECTED: str(revision), **_ttl(ttl)})
        except RefusedError as exc:
            if exc.stale:
                raise StaleOwnerError(f"{key} was changed by somebody else") from exc
            raise

    async def delete(self, key: str) -> None:
        """Delete a value; it is no error if there is none. The marker of it goes away within the hour."""
        await self._write(key, b"", {_OPERATION: "PURGE", "Nats-Rollup": "sub", TTL: "3600"})

    async def keys(self) -> list[str]:
        """Return every key, also of values that were deleted lately, without reading the values."""
        found: list[str] = []
        while True:
            question = {"subjects_filter": ">", "offset": len(found)}
            info = await self._connection.api(f"STREAM.INFO.{self.stream}", question)
            page = info["state"].get("subjects") or {}
            found += [subject.removeprefix(self._prefix) for subject in page]
            if not page or len(found) >= info.get("total", 0):
                return found

    async def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Yield every key and value there is now."""
        async for messages in scan(self._connection, self.stream):
            for message in messages:
                key, entry = self._entry(message)
                if entry.value is not None:
                    yield key, entry

    def _entry(self, message: Received) -> tuple[str, Entry]:
        gone = message.headers.get(_OPERATION) in _GONE
        value = None if gone else message.data
        return message.subject.removeprefix(self._prefix), Entry(value, place(message.reply).seq)

    async def _write(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        ack = await self._acks.store([Outgoing(self._prefix + key, value, headers)], _PATIENCE)
        return ack.seq

    async def _marker(self, key: str) -> int | None:
        """Return the revision of the mark that a deleted value left; None if there is a value."""
        found = await stored.last(self._connection, self.stream, self._prefix + key)
        if found is None:
            return 0
        return found.seq if found.headers.get(_OPERATION) in _GONE else None


class Contents:
    """Contents of any size, named by their SHA-256: rule sets, lists. Written whole or not at all."""

    def __init__(self, connection: Connection, acks: Acks, site: str, bucket: str = "rulesets") -> None:
        self._bucket = Bucket(connection, acks, site, bucket)
        self._connection, self._acks = connection, acks

    async def put(self, content: bytes) -> str:
        """Store a content and return its name; storing it again changes nothing."""
        name = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if await self._bucket.get(f"{name}.0") is not None:
            return name
        pieces = [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)] or [b""]
        if len(pieces) > MAX_BATCH:
            raise StoreError(f"a content of {len(content)} bytes is too large")
        messages = [self._bucket.message(f"{name}.{n}", piece) for n, piece in enumerate(pieces)]
        messages[0] = messages[0]._replace(headers={_CHUNKS: str(len(pieces))})
        await self._acks.store(messages, _PATIENCE)
        return name

    async def keep(self, names: Container[str]) -> int:
        """Delete every content but these; return how many went."""
        others = [key for key in await self._bucket.keys() if key.partition(".")[0] not in names]
        there = [key for key in others if await self._bucket.get(key) is not None]
        await self._bucket.write(dict.fromkeys(there))
        return len({key.partition(".")[0] for key in there})

    async def get(self, name: str) -> bytes | None:
        """Return a content; None if it is not there. Raises StoreError if it is damaged."""
        return await read_content(self._connection, self._bucket.stream, self._bucket.message("", b"").subject, name)


async def stored_rules(connection: Connection, site: str, name: str) -> bytes | None:
    """Return a stored rule set for who only reads; None if it is not there. Raises StoreError if it is damaged."""
    prefix = f"$KV.{bucket_name(site, 'rulesets')}."
    return await read_content(connection, bucket_stream(site, "rulesets"), prefix, name)


async def read_content(connection: Connection, stream: str, prefix: str, name: str) -> bytes | None:
    """Return a content whose pieces stand under `<prefix><name>.<n>`. Raises StoreError if it is damaged."""
    pieces: list[bytes] = []
    while True:
        piece = await stored.last(connection, stream, f"{prefix}{name}.{len(pieces)}")
        if piece is None or piece.headers.get(_OPERATION) in _GONE:
            break
        pieces.append(piece.body)
        if len(piece.body) < _CHUNK:
            break
    if not pieces:
        return None
    content = b"".join(pieces)
    if await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest()) != name:
        raise StoreError(f"the content {name} is damaged")
    return content


def _ttl(span: timedelta | None) -> dict[str, str]:
    return {TTL: str(max(1, round(span.total_seconds())))} if span else {}
