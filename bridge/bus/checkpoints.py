"""Checkpoints of the engine's state: everything it remembered after one event, kept as long as the events behind it.

Whoever wants to know what the engine knew in the past begins at the nearest one and reads the log on.
A checkpoint is written in parts, each far below the limit of a message, and last its manifest, which
names the parts by their hashes: without a manifest there is none, and one that is not whole any more
is refused, never guessed at.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import from_json, to_json

import bridge
from bridge.bus import stored
from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.pull import scan
from bridge.bus.streams import stream_name
from bridge.bus.wire import STREAM_NOT_FOUND, Outgoing, RefusedError
from bridge.contracts import StateKey
from bridge.errors import StoreError
from bridge.schema.base import Record, UtcTime
from bridge.schema.subjects import Subjects

STREAM = "CHECKPOINTS"
FORMAT = 1
"""Of the state in it and of the manifest. Another number is not read: the log is read from further back instead."""
PART = 512 * 1024
"""Bytes of a part before it is compressed; a value of the engine's fits one message and so fits one part."""
SLICE = 32 * 1024
"""Bytes made into JSON in one go: less than a millisecond, in which nothing is decided."""
PAUSE = 0.004
"""Seconds between two goes."""
_PATIENCE = 15.0


class Checkpoint(Record):
    """What there is at one place of the log. Its parts hold the state after the event `seq`."""

    format: int
    seq: int = Field(ge=0)
    stamp: UtcTime
    """The log's time of that event."""
    ruleset: str
    """The rules in force after it."""
    keys: int = Field(ge=0)
    parts: tuple[str, ...]
    """SHA-256 of each, in order."""
    written_by: str


@dataclass(frozen=True, slots=True)
class Found:
    """The checkpoints of a site, newest first, and what is wrong with others, in words."""

    checkpoints: Sequence[Checkpoint]
    problems: Sequence[str] = ()


class CheckpointReader:
    """Finds and reads checkpoints. Writes nothing."""

    def __init__(self, connection: Connection, site: str) -> None:
        self._connection = connection
        self._stream = stream_name(site, STREAM)
        self._root = f"{Subjects(site).root}.checkpoint.0"

    async def all(self) -> Found:
        """Return what there is. Raises StoreUnavailableError."""
        found: list[Checkpoint] = []
        problems: list[str] = []
        try:
            async for messages in scan(self._connection, self._stream, [f"{self._root}.*.manifest"]):
                for message in messages:
                    try:
                        found.append(_decode(message.data))
                    except StoreError as error:
                        problems.append(f"a checkpoint is not used: {error}")
        except RefusedError as error:
            if error.code != STREAM_NOT_FOUND:  # data of a version that made none
                raise
        return Found(sorted(found, key=lambda one: one.seq, reverse=True), problems)

    async def load(self, checkpoint: Checkpoint) -> dict[StateKey, dict[str, Any]]:
        """Return the state. Raises StoreError when it is not whole, StoreUnavailableError."""
        state: dict[StateKey, dict[str, Any]] = {}
        for number, sum_ in enumerate(checkpoint.parts):
            part = await stored.last(self._connection, self._stream, f"{self._root}.{checkpoint.seq}.{number}")
            if part is None or hashlib.sha256(part.body).hexdigest() != sum_:
                what = "missing" if part is None else "damaged"
                raise StoreError(f"part {number} of the checkpoint at {checkpoint.seq} is {what}")
            for rule, key, value in from_json(await asyncio.to_thread(zlib.decompress, part.body)):
                state[StateKey(rule, key)] = value
        if len(state) != checkpoint.keys:
            raise StoreError(f"the checkpoint at {checkpoint.seq} has {len(state)} values instead of {checkpoint.keys}")
        return state


class CheckpointWriter(CheckpointReader):
    """Writes checkpoints beside the engine, a little at a time."""

    def __init__(self, connection: Connection, acks: Acks, site: str) -> None:
        super().__init__(connection, site)
        self._acks = acks

    async def write(self, seq: int, stamp: datetime, ruleset: str, state: Mapping[StateKey, Mapping[str, Any]]) -> None:
        """Store the state after the event `seq`. Raises StoreUnavailableError; then there is no checkpoint."""
        sums: list[str] = []
        raw: list[bytes] = []
        size = since_pause = 0
        for key, value in state.items():
            text = to_json((key.rule, key.key, value))
            if raw and size + len(text) > PART:
                sums.append(await self._store(f"{seq}.{len(sums)}", raw))
                raw, size = [], 0
            raw.append(text)
            size += len(text)
            since_pause += len(text)
            if since_pause > SLICE:
                await asyncio.sleep(PAUSE)
                since_pause = 0
        if raw:
            sums.append(await self._store(f"{seq}.{len(sums)}", raw))
        manifest = Checkpoint(
            format=FORMAT,
            seq=seq,
            stamp=stamp,
            ruleset=ruleset,
            keys=len(state),
            parts=tuple(sums),
            written_by=bridge.__version__,
        )
        await self._put(f"{seq}.manifest", manifest.model_dump_json().encode())

    async def newest(self) -> tuple[int, datetime, str] | None:
        """Return place, time and rules of the newest one. Raises StoreUnavailableError."""
        for newest in (await self.all()).checkpoints:
            return newest.seq, newest.stamp, newest.ruleset
        return None

    async def prune(self, first: int) -> None:
        """Delete those that are of no use when the log begins with `first`: what came after them is gone.

        Raises StoreUnavailableError.
        """
        await self._delete(one for one in (await self.all()).checkpoints if one.seq + 1 < first)

    async def forget_after(self, end: int) -> None:
        """Delete those of places behind `end`: the log is lost from there on, and its numbers will come again.

        Raises StoreUnavailableError.
        """
        await self._delete(one for one in (await self.all()).checkpoints if one.seq > end)

    async def _delete(self, checkpoints: Iterable[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            question = {"filter": f"{self._root}.{checkpoint.seq}.>"}
            await self._connection.api(f"STREAM.PURGE.{self._stream}", question)

    async def _store(self, name: str, raw: Sequence[bytes]) -> str:
        body = await asyncio.to_thread(lambda: zlib.compress(b"[" + b",".join(raw) + b"]", 1))
        await self._put(name, body)
        return hashlib.sha256(body).hexdigest()

    async def _put(self, name: str, body: bytes) -> None:
        await self._acks.store([Outgoing(f"{self._root}.{name}", body)], _PATIENCE)


def _decode(message: bytes) -> Checkpoint:
    """Read a manifest. Raises StoreError."""
    try:
        checkpoint = Checkpoint.model_validate_json(message)
    except ValidationError as error:
        raise StoreError("its manifest is damaged") from error
    if checkpoint.format != FORMAT:
        raise StoreError(f"the one at {checkpoint.seq} has format {checkpoint.format}, not {FORMAT}")
    return checkpoint
