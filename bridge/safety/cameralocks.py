"""Cameras that people have: who, and until when. Written down, so that no rule turns one after a restart.

Within a run the monotonic clock counts. Over a restart the wall clock tells what is left, and never more than
was asked for, however it was set meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.clock import Clock
from bridge.errors import StartError
from bridge.safety.journal import JsonLines

_LOG = logging.getLogger(__name__)
_COMPACT_AT = 200


@dataclass(frozen=True, slots=True, order=True)
class Camera:
    """A camera, by source and channel."""

    source: str
    channel: str

    def __str__(self) -> str:
        return f"{self.source}/{self.channel}"


@dataclass(frozen=True, slots=True)
class _Lock:
    who: str
    until: datetime
    span: float
    """Seconds that were asked for."""
    due: float
    """`until`, on the monotonic clock, which decides."""


class CameraLocks:
    """The locks of one site."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._file = JsonLines(folder / "cameralocks.jsonl")
        self._clock = clock
        self._locks: dict[Camera, _Lock] = {}
        self._writing = asyncio.Lock()
        """What is locked and what is written change in the same order."""

    async def load(self) -> None:
        """Read which cameras people had. Raises StartError."""
        try:
            records = await asyncio.to_thread(self._file.load)
        except OSError as exc:
            cure = "give the bridge's user the right to read it; it says which cameras people have"
            raise StartError(f"{self._file.path} cannot be read ({exc.strerror})", cure) from exc
        now, elapsed = self._clock.now(), self._clock.monotonic()
        for camera, (who, until, span) in _standing(records).items():
            left = min((until - now).total_seconds(), span)
            if left > 0:
                self._locks[camera] = _Lock(who, now + timedelta(seconds=left), span, elapsed + left)

    async def aclose(self) -> None:
        """Let go of the file."""
        await asyncio.to_thread(self._file.close)

    def due(self, camera: Camera) -> float:
        """Return until when, on the monotonic clock, a person has a camera; 0.0 if nobody has."""
        found = self._locks.get(camera)
        return 0.0 if found is None else found.due

    def who(self, camera: Camera) -> str:
        """Return who has, or last had, a camera."""
        found = self._locks.get(camera)
        return "" if found is None else found.who

    def all(self) -> dict[str, str]:
        """Return which cameras people have, and who."""
        now = self._clock.monotonic()
        return {str(camera): lock.who for camera, lock in self._locks.items() if lock.due > now}

    async def lock(self, camera: Camera, who: str, span: timedelta) -> None:
        """Let a person have a camera for a time. Raises OSError if a restart would forget it; it holds all the same."""
        seconds = span.total_seconds()
        lock = _Lock(who, self._clock.now() + span, seconds, self._clock.monotonic() + seconds)
        self._locks[camera] = lock
        await self._write(_record(camera, lock))

    async def unlock(self, camera: Camera) -> None:
        """Let rules have it again. Raises OSError if a restart would lock it again for what is left."""
        if self._locks.pop(camera, None) is not None:
            await self._write({"op": "unlock", "source": camera.source, "channel": camera.channel})

    async def _write(self, record: dict[str, Any]) -> None:
        async with self._writing:
            await asyncio.to_thread(self._append, record)

    def _append(self, record: dict[str, Any]) -> None:
        self._file.append(record)
        if self._file.lines > _COMPACT_AT:
            self._file.compact(self._held)

    def _held(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield what the file has of cameras that people still have, as it is known now."""
        now = self._clock.monotonic()
        for camera in _standing(records):
            lock = self._locks.get(camera)
            if lock is not None and lock.due > now:
                yield _record(camera, lock)


def _record(camera: Camera, lock: _Lock) -> dict[str, Any]:
    until = lock.until.isoformat()
    where = {"source": camera.source, "channel": camera.channel}
    return {"op": "lock", **where, "who": lock.who, "until": until, "seconds": lock.span}


def _standing(records: Iterable[dict[str, Any]]) -> dict[Camera, tuple[str, datetime, float]]:
    standing: dict[Camera, tuple[str, datetime, float]] = {}
    for record in records:
        try:
            camera = Camera(record["source"], record["channel"])
            standing.pop(camera, None)
            if record["op"] == "lock":
                until = datetime.fromisoformat(record["until"])
                standing[camera] = str(record["who"]), until, float(record["seconds"])
        except (KeyError, TypeError, ValueError):
            _LOG.error("skipped a journal record of unknown form", extra={"record": record})
    return standing
