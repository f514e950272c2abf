"""Where footage comes from: a reel is an endless recording made of equal cycles, cut at keyframes.

A synthetic reel draws the clock, one cycle a piece. A file reel plays a real video over and over; since
packets are only copied, its pieces can begin only where the video has a keyframe, as on a real
recorder.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple, Protocol

from . import media
from .clock_picture import HEIGHT, WIDTH

# Pieces are counted from here, which keeps the vendor's integer file ids small. Older footage does not exist.
ORIGIN_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z


class Span(NamedTuple):
    """One part of the timeline, by its number since the origin; the end belongs to the next."""

    number: int
    begin_ms: int
    end_ms: int


class Timeline:
    """Map times to the spans of an endlessly repeated cycle, and back."""

    def __init__(self, cycle_ms: int, starts_ms: tuple[int, ...]) -> None:
        self._cycle_ms, self._starts = cycle_ms, starts_ms

    def at(self, epoch_ms: int) -> Span:
        """Return the span that covers a time."""
        cycle, offset = divmod(epoch_ms - ORIGIN_MS, self._cycle_ms)
        return self.span(cycle * len(self._starts) + bisect_right(self._starts, offset) - 1)

    def span(self, index: int) -> Span:
        """Return a span by its number."""
        cycle, place = divmod(index, len(self._starts))
        base = ORIGIN_MS + cycle * self._cycle_ms
        ends = (*self._starts[1:], self._cycle_ms)
        return Span(index, base + self._starts[place], base + ends[place])


class Reel(Protocol):
    """Footage for every moment of a channel."""

    @property
    def key(self) -> str:
        """A folder name that no other footage has."""
        ...

    @property
    def cycle_ms(self) -> int:
        """Length of one cycle."""
        ...

    @property
    def keyframes_ms(self) -> tuple[int, ...]:
        """Where in a cycle a cut may be made; the first is 0."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        ...

    def master(self, cycle: int, channel: int) -> Path:
        """Return the H.264 MP4 of one whole cycle, made if need be. Blocks."""
        ...


@dataclass(frozen=True)
class ClockReel:
    """The synthetic clock: every frame shows its own wall-clock time and channel."""

    cache: Path
    zone: tzinfo
    cycle_ms: int = 10_000
    gop_ms: int = 2_000
    fps: int = 25
    size: tuple[int, int] = (WIDTH, HEIGHT)

    @property
    def key(self) -> str:
        """Everything that changes the pictures; the zone shows in the digits."""
        return f"clock-{str(self.zone).replace('/', '.')}-{self.fps}-{self.gop_ms}-{self.cycle_ms}"

    @property
    def keyframes_ms(self) -> tuple[int, ...]:
        """A keyframe each group of pictures."""
        return tuple(range(0, self.cycle_ms, self.gop_ms))

    def master(self, cycle: int, channel: int) -> Path:
        """Return one drawn cycle; 0.15 s of work for 10 s of video on a small machine."""
        begin = ORIGIN_MS + cycle * self.cycle_ms
        path = self.cache / self.key / f"ch{channel}" / f"{begin}.mp4"
        if not path.exists():
            media.encode_clock(
                path,
                channel=channel,
                begin_ms=begin,
                end_ms=begin + self.cycle_ms,
                fps=self.fps,
                gop_ms=self.gop_ms,
                zone=self.zone,
            )
        return path


@dataclass(frozen=True)
class FileReel:
    """A real video, played over and over."""

    path: Path
    key: str
    cycle_ms: int
    keyframes_ms: tuple[int, ...]
    size: tuple[int, int]

    def master(self, cycle: int, channel: int) -> Path:
        """Return the file itself: every cycle is the same."""
        return self.path


def load_file(path: Path, cache: Path, *, gop_ms: int = 2_000) -> FileReel:
    """Open a footage file; what is not H.264 is encoded once into the cache. Blocks."""
    facts = media.probe(path)
    key = f"{path.stem}-{path.stat().st_size}"
    if facts.codec != "h264" or facts.keyframes_ms[:1] != (0,):
        converted = cache / "footage" / f"{key}.mp4"
        if not converted.exists():
            media.transcode(path, converted, gop_ms=gop_ms)
        path, facts = converted, media.probe(converted)
    return FileReel(path, key, facts.duration_ms, facts.keyframes_ms, (facts.width, facts.height))


def timeline(reel: Reel, at_least_ms: int) -> Timeline:
    """Group a reel's keyframes into spans of at least this length, as far as its cycle allows."""
    starts = [0]
    for keyframe in reel.keyframes_ms:
        if keyframe - starts[-1] >= at_least_ms:
            starts.append(keyframe)
    if len(starts) > 1 and reel.cycle_ms - starts[-1] < at_least_ms // 2:
        starts.pop()
    return Timeline(reel.cycle_ms, tuple(starts))
