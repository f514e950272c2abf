"""Notice at start that the store has lost something, by what was noted of it outside the store.

nats-server repairs a damaged store by leaving out what it cannot read, and starts as if nothing had
been: a truncated or deleted block, a flipped bit, a vanished stream were all seen to cost messages
without more than a warning. So how far each stream went is noted every few seconds in `marks.json`,
and compared before anything is written. What is missing is said, with its numbers and what to do;
the bridge goes on, because a bridge that stands still protects nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.bus.connect import Connection
from bridge.bus.datadir import read_json, write_private
from bridge.clock import Clock
from bridge.errors import StartError

_log = logging.getLogger(__name__)

FILE = "marks.json"
MARKED = ("EVENTS", "ENGINE", "RESULTS", "DLQ", "REJECTED", "TRACES")
"""The streams that are noted."""
EVERY = 5.0
"""Seconds between two notes: as much as can be lost without being missed."""

WAY_OUT = (
    "stop the bridge and restore a backup (vms-bridge restore), or go on without it and say so: vms-bridge store accept"
)
AGAIN = (
    "what the engine had decided is lost with it, so it decides the log again from the last place it knows: nothing "
    "moves, but webhooks, MQTT messages and clips of all that time go out again, with the ids they had. To decide "
    "without sending: stop the bridge, set `dry_run: true`, start it, and take that out when the metric "
    "vms_bridge_engine_position rests"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A stream at one moment."""

    first_seq: int
    last_seq: int
    first_time: str
    bytes: int
    deleted: int
    """Messages missing between the first and the last. In a stream of one message a subject that is no news."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Messages `first` to `last` of a stream that were stored and are not there."""

    stream: str
    first: int
    last: int

    def __str__(self) -> str:
        if not self.last:
            return f"{self.stream} has lost messages"
        return f"{self.stream} has lost messages {self.first} to {self.last}"

    @property
    def cure(self) -> str:
        """What a person may do about it, and what happens meanwhile."""
        return f"{WAY_OUT}. {AGAIN}" if self.stream.endswith("-ENGINE") else WAY_OUT


class Marks:
    """The notes about some streams.

    `dense` names those in which every number must be there, until it is trimmed: by size, or when older than its span.
    """

    def __init__(
        self,
        folder: Path,
        connection: Connection,
        streams: Sequence[str],
        dense: Mapping[str, timedelta],
        clock: Clock,
    ) -> None:
        self._file, self._connection = folder / FILE, connection
        self._streams, self._dense, self._clock = tuple(streams), dense, clock
        self._noted: dict[str, Mark] = {}

    async def check(self) -> list[Damage]:
        """Return what is missing since the last note. Raises StoreUnavailableError, StartError."""
        try:
            self._noted = _marks(read_json(self._file))
        except StartError as error:
            _log.error("the notes about the store cannot be used: damage before now is not noticed: %s", error.cause)
            self._noted = {}
        found: list[Damage] = []
        for stream, before in self._noted.items():
            if stream in self._streams:
                found += await self._compare(stream, before)
        for damage in found:
            _log.error(
                "stored messages are gone",
                extra={"stream": damage.stream, "first": damage.first, "last": damage.last, "cure": damage.cure},
            )
        return found

    async def note(self) -> None:
        """Write down how far the streams are, if that has changed. Raises StoreUnavailableError, StartError."""
        now = {stream: _mark((await self._info(stream))["state"]) for stream in self._streams}
        if now != self._noted:
            content = json.dumps({stream: asdict(mark) for stream, mark in now.items()}, indent=1)
            await asyncio.to_thread(write_private, self._file, content)
            self._noted = now

    async def _info(self, stream: str, **more: object) -> dict[str, Any]:
        return await self._connection.api(f"STREAM.INFO.{stream}", more or None)

    async def _compare(self, stream: str, before: Mark) -> list[Damage]:
        info = await self._info(stream)
        now, config = _mark(info["state"]), info["config"]
        if now.last_seq < before.last_seq:
            return [Damage(stream, now.last_seq + 1, before.last_seq)]
        if stream not in self._dense:
            return []
        found = []
        if now.first_seq > before.first_seq and not self._may_be_trimmed(before, config, self._dense[stream]):
            found.append(Damage(stream, before.first_seq, now.first_seq - 1))
        if now.deleted > before.deleted:
            state = (await self._info(stream, deleted_details=True))["state"]
            found += [Damage(stream, first, last) for first, last in _spans(state.get("deleted") or [])]
        return found

    def _may_be_trimmed(self, before: Mark, config: Mapping[str, Any], keep: timedelta) -> bool:
        """Whether the oldest message that there was may have been trimmed."""
        limit = int(config.get("max_bytes", -1))
        if before.last_seq < before.first_seq:
            return True  # there was none
        age = self._clock.now() - datetime.fromisoformat(before.first_time).astimezone(UTC)
        return age >= keep * 0.99 or (limit > 0 and before.bytes > limit * _NEARLY)


_NEARLY = 0.8
"""Share of a stream's limit from which on it may have been trimmed since the note."""


def _mark(state: Mapping[str, Any]) -> Mark:
    return Mark(
        int(state["first_seq"]),
        int(state["last_seq"]),
        str(state["first_ts"]),
        int(state["bytes"]),
        int(state.get("num_deleted", 0)),
    )


def _marks(content: Mapping[str, Any]) -> dict[str, Mark]:
    try:
        return {stream: Mark(**values) for stream, values in content.items()}
    except TypeError as error:
        raise StartError(f"{FILE} is damaged", "delete it") from error


def _spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return a rising list as spans without holes."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans
