"""Make and cut the video files the simulator serves. Blocking: callers run it in a thread.

Everything is written beside its place and renamed when whole, so a reader never sees half a file.
Cutting copies packets; pictures are encoded only for the synthetic clock and for footage that is not
H.264 already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from .clock_picture import HEIGHT, WIDTH, draw

_MS = Fraction(1, 1000)
# Repeatable bytes: one encoder thread, no writer names or dates in the file.
_MP4_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}
# The muxer must not add its own delay: HLS segments are placed on the wall clock. Each segment comes from a
# fresh muxer, whose continuity counters start over; the flag tells readers so.
_TS_OPTIONS = {"mpegts_copyts": "1", "mpegts_flags": "+initial_discontinuity+resend_headers"}


@dataclass(frozen=True)
class Cut:
    """Part of a file, from a keyframe to the next cut, in milliseconds of that file."""

    path: Path
    begin_ms: int
    end_ms: int


@dataclass(frozen=True)
class Probe:
    """What a footage file holds."""

    codec: str
    width: int
    height: int
    duration_ms: int
    keyframes_ms: tuple[int, ...]


def probe(path: Path) -> Probe:
    """Read codec, size, length and keyframe times of the first video stream."""
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        keyframes, end = [], 0
        for packet in source.demux(video):
            if packet.size == 0 or packet.pts is None:
                continue
            at = _to_ms(packet.pts, packet.time_base)
            end = max(end, at + max(1, _to_ms(packet.duration or 0, packet.time_base)))
            if packet.is_keyframe:
                keyframes.append(at)
        context = video.codec_context
        return Probe(context.name, context.width, context.height, end, tuple(sorted(keyframes)))


def encode_clock(path: Path, *, channel: int, begin_ms: int, end_ms: int, fps: int, gop_ms: int, zone: tzinfo) -> None:
    """Write an H.264 MP4 whose every frame shows its own moment; a keyframe starts each `gop_ms`."""

    def write(target: OutputContainer) -> None:
        stream = _h264_stream(target, WIDTH, HEIGHT, fps, gop=fps * gop_ms // 1000)
        for number in range((end_ms - begin_ms) * fps // 1000):
            frame = draw(begin_ms + number * 1000 // fps, channel=channel, zone=zone)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))

    _write_whole(path, "mp4", _MP4_OPTIONS, write)


def transcode(source: Path, path: Path, *, gop_ms: int) -> None:
    """Write the video of any readable file as H.264 MP4 with a keyframe each `gop_ms`."""

    def write(target: OutputContainer) -> None:
        with av.open(str(source)) as container:
            video = container.streams.video[0]
            fps = round(video.average_rate or 25)
            width, height = video.codec_context.width & ~1, video.codec_context.height & ~1
            stream = _h264_stream(target, width, height, fps, gop=fps * gop_ms // 1000)
            for number, frame in enumerate(container.decode(video)):
                picture = frame.reformat(width=width, height=height, format="yuv420p")
                picture.pts, picture.time_base = number, Fraction(1, fps)
                target.mux(stream.encode(picture))
            target.mux(stream.encode(None))

    _write_whole(path, "mp4", _MP4_OPTIONS, write)


def join(cuts: Iterable[Cut], path: Path) -> None:
    """Write the cuts one after the other as one MP4, without re-encoding; it starts at time zero."""
    _write_whole(path, "mp4", _MP4_OPTIONS, lambda target: _copy(cuts, target, start_ms=0))


def transport_segment(cut: Cut, path: Path, *, start_ms: int) -> None:
    """Write one cut as an MPEG-TS segment whose time stamps begin at `start_ms`."""
    _write_whole(path, "mpegts", _TS_OPTIONS, lambda target: _copy([cut], target, start_ms=start_ms))


def jpeg(epoch_ms: int, *, channel: int, zone: tzinfo) -> bytes:
    """Return a still of the clock as JPEG."""
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    context.time_base = Fraction(1, 25)
    frame = draw(epoch_ms, channel=channel, zone=zone).reformat(format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _h264_stream(target: OutputContainer, width: int, height: int, fps: int, *, gop: int) -> VideoStream:
    # zerolatency means no B-frames: each keyframe is a clean place to cut, decode order is display order.
    options = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1", "sc_threshold": "0", "crf": "23"}
    stream = target.add_stream("libx264", rate=fps, options={**options, "g": str(gop), "keyint_min": str(gop)})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, fps)
    return stream


def _copy(cuts: Iterable[Cut], target: OutputContainer, *, start_ms: int) -> None:
    outputs: dict[str, Any] = {}
    for cut in cuts:
        with av.open(str(cut.path)) as source:
            streams = [*source.streams.video[:1], *source.streams.audio[:1]]
            if not outputs:
                outputs = {stream.type: target.add_stream_from_template(stream) for stream in streams}
            for packet in _packets_within(source, streams, cut):
                shift = Fraction(start_ms - cut.begin_ms, 1000) / packet.time_base
                packet.pts = packet.pts + round(shift) if packet.pts is not None else None
                packet.dts = packet.dts + round(shift) if packet.dts is not None else None
                packet.stream = outputs[packet.stream.type]
                target.mux(packet)
        start_ms += cut.end_ms - cut.begin_ms


def _packets_within(source: InputContainer, streams: list[Any], cut: Cut) -> Iterator[Packet[Any]]:
    for packet in source.demux(streams):
        if packet.size == 0 or packet.pts is None:
            continue
        if cut.begin_ms <= _to_ms(packet.pts, packet.time_base) < cut.end_ms:
            yield packet


def _to_ms(ticks: int, time_base: Fraction) -> int:
    return round(ticks * time_base / _MS)


def _write_whole(path: Path, form: str, options: dict[str, str], write: Callable[[OutputContainer], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".making-", delete=False) as file:
        unfinished = Path(file.name)
    try:
        with av.open(str(unfinished), "w", format=form, options=options) as target:
            write(target)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
