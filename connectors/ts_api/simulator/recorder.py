"""The recorder of the simulated server: recorded pieces, event clips and live segments, made when asked
for.

Every moment since the recording began has a piece unless a gap was injected. A piece can be fetched
once its last picture has been filmed; live segments come out one group of pictures behind the wall
clock. Making video happens in a thread, at most two at a time, and each file is made once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TypeVar

from . import media
from .clock_picture import from_epoch_ms, to_epoch_ms
from .reels import Reel, Span, Timeline, timeline

T = TypeVar("T")

MAX_CHANNELS = 256  # the low byte of a file id is the channel
_STILL_NAME = re.compile(r"\d+\.(\d+)\.(\d+)\.(?:plate|object\._c(\d+)_t\d+_s\d+x\d+)\.jpg")


@dataclass(frozen=True)
class Piece:
    """One recorded file."""

    file_id: int
    channel: int
    begin: datetime
    end: datetime
    size: tuple[int, int]

    @property
    def path(self) -> str:
        """Where the server offers it; the folders are the id divided by powers of 1000, as in the guide."""
        return f"/storage/e/{folders(self.file_id)}/{self.file_id}.mp4"


@dataclass(frozen=True)
class Gap:
    """A hole in the recording of one channel, or of all."""

    channel: int | None
    begin: datetime
    end: datetime

    def covers(self, piece: Piece) -> bool:
        """Tell whether a piece touches the hole."""
        mine = self.channel in (None, piece.channel)
        return mine and piece.begin < self.end and self.begin < piece.end


def folders(file_id: int) -> str:
    """Return the storage folders of a file id: `0/0/7/7673` for 7673854."""
    return "/".join(str(file_id // 1000**power) for power in (4, 3, 2, 1))


class Recorder:
    """Footage of all channels by wall-clock time."""

    def __init__(
        self,
        reels: list[Reel],
        *,
        cache: Path,
        piece_ms: int,
        segment_ms: int,
        since: datetime,
        now: Callable[[], datetime],
        zone: tzinfo,
    ) -> None:
        self._reels, self._cache, self._now, self._zone = reels, cache, now, zone
        self._pieces = [timeline(reel, piece_ms) for reel in reels]
        self._segments = [timeline(reel, segment_ms) for reel in reels]
        self._since = since
        self._locks: dict[Path, asyncio.Lock] = {}
        self._workers = asyncio.Semaphore(2)
        self.gaps: list[Gap] = []

    # Recorded pieces

    def piece(self, file_id: int) -> Piece | None:
        """Return a finished piece by its id."""
        index, channel = divmod(file_id, MAX_CHANNELS)
        found = self._piece(channel, self._timeline(self._pieces, channel).span(index))
        return found if self._exists(found) else None

    def neighbour(self, channel: int, file_id: int, step: int) -> Piece | None:
        """Return the next (+1) or previous (-1) piece of a channel."""
        place = self._timeline(self._pieces, channel).span(file_id // MAX_CHANNELS)
        at = to_epoch_ms(self._now()) if step < 0 else to_epoch_ms(self._since)
        limit = self._timeline(self._pieces, channel).at(at).number
        start = min(place.number - 1, limit) if step < 0 else max(place.number + 1, limit)
        return self._first(channel, start, step)

    def pieces(self, channel: int, begin: datetime, end: datetime, limit: int) -> list[Piece]:
        """Return up to `limit` finished pieces of a channel that share time with [begin, end)."""
        line = self._timeline(self._pieces, channel)
        span = line.at(to_epoch_ms(max(begin, self._since)))
        found: list[Piece] = []
        while len(found) < limit and span.begin_ms < to_epoch_ms(min(end, self._now())):
            piece = self._piece(channel, span)
            if self._exists(piece) and piece.end > begin:
                found.append(piece)
            span = line.span(span.number + 1)
        return found

    def nearest(self, channel: int, moment: datetime, step: int) -> Piece | None:
        """Return the first piece after (+1) or before (-1) a moment that no piece covers."""
        moment = max(moment, self._since) if step > 0 else min(moment, self._now())
        return self._first(channel, self._timeline(self._pieces, channel).at(to_epoch_ms(moment)).number, step)

    async def piece_file(self, piece: Piece) -> Path:
        """Return the MP4 of a piece."""
        cuts = self._cuts(piece.channel, to_epoch_ms(piece.begin), to_epoch_ms(piece.end))
        if len(cuts) == 1 and cuts[0].is_whole:
            return await self._in_thread(lambda: cuts[0].located().path)
        return await self._joined(cuts, self._folder(piece.channel) / f"piece-{piece.file_id}.mp4")

    async def clip_file(self, channel: int, begin: datetime, end: datetime) -> Path:
        """Return an MP4 covering [begin, end], cut outwards to keyframes."""
        first = self._timeline(self._segments, channel).at(to_epoch_ms(begin)).begin_ms
        last = self._timeline(self._segments, channel).at(to_epoch_ms(end)).end_ms
        path = self._folder(channel) / f"clip-{first}-{last}.mp4"
        return await self._joined(self._cuts(channel, first, last), path)

    def is_recorded(self, channel: int, moment: datetime) -> bool:
        """Tell whether the recording of a channel covers a moment."""
        span = self._timeline(self._pieces, channel).at(to_epoch_ms(moment))
        return self._exists(self._piece(channel, span))

    @property
    def since(self) -> datetime:
        """When recording began."""
        return self._since

    def size(self, channel: int) -> tuple[int, int]:
        """Return width and height of a channel's pictures."""
        return self._reel(channel).size

    # Stills

    async def still(self, path: str) -> bytes | None:
        """Return the JPEG an image path promises: the clock at the microseconds in its name."""
        match = _STILL_NAME.fullmatch(path.rsplit("/", 1)[-1])
        if not match:
            return None
        channel = int(match[3] or 0)
        return await self._in_thread(lambda: media.jpeg(int(match[2]) // 1000, channel=channel, zone=self._zone))

    def file_id_at(self, channel: int, moment: datetime) -> int:
        """Return the id of the file being written at a moment; image names carry it."""
        index = self._timeline(self._pieces, channel).at(to_epoch_ms(moment)).number
        return index * MAX_CHANNELS + channel

    # Live

    def live_segments(self, channel: int, count: int) -> list[Span]:
        """Return the last `count` whole segments before now."""
        line = self._timeline(self._segments, channel)
        last = line.at(to_epoch_ms(self._now())).number - 1
        return [line.span(index) for index in range(last - count + 1, last + 1)]

    async def segment_file(self, channel: int, index: int) -> Path | None:
        """Return the MPEG-TS file of a segment that has been filmed, else None."""
        span = self._timeline(self._segments, channel).span(index)
        if span.end_ms > to_epoch_ms(self._now()):
            return None
        path = self._folder(channel) / f"live-{span.begin_ms}.ts"
        (cut,) = self._cuts(channel, span.begin_ms, span.end_ms)
        return await self._made(path, lambda: media.transport_segment(cut.located(), path, start_ms=span.begin_ms))

    # Making files

    def _piece(self, channel: int, span: Span) -> Piece:
        begin, end = from_epoch_ms(span.begin_ms), from_epoch_ms(span.end_ms)
        return Piece(span.number * MAX_CHANNELS + channel, channel, begin, end, self.size(channel))

    def _exists(self, piece: Piece) -> bool:
        filmed = piece.begin >= self._since and piece.end <= self._now()
        return filmed and not any(gap.covers(piece) for gap in self.gaps)

    def _first(self, channel: int, index: int, step: int) -> Piece | None:
        line = self._timeline(self._pieces, channel)
        while True:
            piece = self._piece(channel, line.span(index))
            if self._exists(piece):
                return piece
            if piece.begin < self._since if step < 0 else piece.end > self._now():
                return None
            index += step

    def _reel(self, channel: int) -> Reel:
        return self._reels[(channel - 1) % len(self._reels)]

    def _folder(self, channel: int) -> Path:
        return self._cache / self._reel(channel).key / f"ch{channel}"

    def _timeline(self, lines: list[Timeline], channel: int) -> Timeline:
        return lines[(channel - 1) % len(lines)]

    def _cuts(self, channel: int, begin_ms: int, end_ms: int) -> list[_Wanted]:
        """Return the parts of cycle files that make up a range."""
        reel = self._reel(channel)
        whole = Timeline(reel.cycle_ms, (0,))
        cuts, span = [], whole.at(begin_ms)
        while span.begin_ms < end_ms:
            begin, end = max(begin_ms, span.begin_ms), min(end_ms, span.end_ms)
            cuts.append(_Wanted(reel, channel, span, begin - span.begin_ms, end - span.begin_ms))
            span = whole.span(span.number + 1)
        return cuts

    async def _joined(self, cuts: Iterable[_Wanted], path: Path) -> Path:
        return await self._made(path, lambda: media.join([cut.located() for cut in cuts], path))

    async def _made(self, path: Path, make: Callable[[], None]) -> Path:
        lock = self._locks.setdefault(path, asyncio.Lock())
        async with lock:
            if not await asyncio.to_thread(path.exists):
                await self._in_thread(make)
        self._locks.pop(path, None)
        return path

    async def _in_thread(self, make: Callable[[], T]) -> T:
        async with self._workers:
            return await asyncio.to_thread(make)


@dataclass(frozen=True)
class _Wanted:
    """A part of one cycle, before its file is made."""

    reel: Reel
    channel: int
    cycle: Span
    begin_ms: int
    end_ms: int

    @property
    def is_whole(self) -> bool:
        """True when the part is the whole cycle, so that its file can be served as it is."""
        return self.begin_ms == 0 and self.end_ms == self.reel.cycle_ms

    def located(self) -> media.Cut:
        """Make the cycle's file if need be and return the cut. Blocks."""
        return media.Cut(self.reel.master(self.cycle.number, self.channel), self.begin_ms, self.end_ms)
