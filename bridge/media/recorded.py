"""From recorded pieces at a system to a clip in the store: find, fetch, cut, publish. The `clip` action calls this.

One call makes one try and leaves nothing behind when it fails; whoever calls decides whether and when to
try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import httpx

from bridge.clock import Clock
from bridge.contracts import Piece
from bridge.errors import ActionUnavailableError
from bridge.media.fetch import FetchLimits, OnProgress, fetch_pieces
from bridge.media.job import Accuracy, CutJob, CutResult, Limits, Window
from bridge.media.manifest import About
from bridge.media.pool import MediaWorkers
from bridge.media.store import ClipStore, StoredClip

SETTLE: Final = timedelta(minutes=2)
"""So long after the end of a window a recorder may still be about to write it."""

_LOOK_AGAIN: Final = timedelta(seconds=10)

_ROUNDING: Final = timedelta(milliseconds=5)
"""What the ticks of a stream's time base may take off the end. Anything more is in a piece still being written."""


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A clip to make. `about.clip` is its id: asking twice for one id gives one clip."""

    about: About
    window: Window
    accuracy: Accuracy = Accuracy.KEYFRAME
    limits: Limits = field(default_factory=Limits)


class ClipMaker:
    """Makes clips with these workers, into this store."""

    def __init__(
        self, workers: MediaWorkers, store: ClipStore, clock: Clock, fetch_limits: FetchLimits | None = None
    ) -> None:
        self._workers, self._store, self._clock = workers, store, clock
        self._fetch_limits = fetch_limits or FetchLimits()
        self._making: dict[str, tuple[asyncio.Lock, int]] = {}

    async def from_recordings(
        self,
        request: ClipRequest,
        pieces: Sequence[Piece],
        client: httpx.AsyncClient,
        *,
        partial: bool = False,
        on_progress: OnProgress | None = None,
    ) -> StoredClip:
        """Return the clip, made now or by an earlier try.

        With `partial` a clip of whatever can be had is good enough; without, a piece that cannot be fetched now and an
        end that the recorder may still write are reasons to try again.

        Raises:
            ActionUnavailableError: no footage yet, the source or the disk is in trouble; worth another try.
            ActionRejectedError: what the source has is no video, or more than allowed.
        """
        async with self._alone(request.about.clip):
            if (stored := await self._store.find(request.about.clip)) is not None:
                return stored
            if not pieces:
                raise ActionUnavailableError("no footage of the asked time", _LOOK_AGAIN)
            async with self._store.draft(request.about.clip) as draft:
                files = await fetch_pieces(
                    client,
                    pieces,
                    draft.pieces,
                    partial=partial,
                    limits=self._fetch_limits,
                    clock=self._clock,
                    on_progress=on_progress,
                )
                job = CutJob(
                    pieces=tuple(files),
                    window=request.window,
                    out=draft.out,
                    accuracy=request.accuracy,
                    limits=request.limits,
                )
                result = await self._workers.cut(job)
                if not partial and self._may_still_come(result):
                    raise ActionUnavailableError("the recorder has not written the end of the clip yet", _LOOK_AGAIN)
                return await self._store.publish(draft, result, request.about)

    def _may_still_come(self, result: CutResult) -> bool:
        short = result.window.end - result.covered.end > _ROUNDING
        return short and self._clock.now() - result.window.end < SETTLE

    @asynccontextmanager
    async def _alone(self, clip: str) -> AsyncIterator[None]:
        """Let one task at a time make a clip."""
        lock, users = self._making.get(clip, (asyncio.Lock(), 0))
        self._making[clip] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._making.pop(clip)
            if users > 1:
                self._making[clip] = (lock, users - 1)
