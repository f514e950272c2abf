"""A clip part that holds exactly the window: pictures are decoded and encoded again, sound is copied.

Runs in a worker process. Costs a hundred times what copying costs, so only on request.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import av

from bridge.errors import ActionUnavailableError
from bridge.media.job import Limits, Part
from bridge.media.part import CopiedPart, Pictures
from bridge.media.source import Source
from bridge.media.walltime import SECOND, micros_to_ticks

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_TIME_BASE: Final = Fraction(1, 90_000)
_ENCODER: Final = {"preset": "veryfast", "crf": "20"}
_PIXELS: Final = frozenset({"yuv420p", "yuvj420p"})


class EncodedPart(CopiedPart):
    """A part that encodes the pictures of the window and nothing else."""

    def __init__(self, out: Path, source: Source, origin: int, end: int, limits: Limits, budget: int) -> None:
        self._stop = micros_to_ticks(end - origin, _TIME_BASE)
        self._held: VideoFrame | None = None
        context = source.video.codec_context
        self._decoder = cast("VideoCodecContext", av.CodecContext.create(context.name, "r"))
        self._decoder.extradata = context.extradata
        super().__init__(out, source, origin, limits, budget)
        self._shown = Pictures(origin, _TIME_BASE)

    def _video_stream(self, container: OutputContainer, source: Source) -> VideoStream:
        rate = source.video.average_rate or Fraction(25)
        context = source.video.codec_context
        stream = container.add_stream("libx264", rate=rate, options=dict(_ENCODER))
        stream.width, stream.height = context.width, context.height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.gop_size = max(1, round(rate * 2))
        stream.codec_context.thread_count = 2
        return stream

    def video(self, packet: Packet[Any]) -> None:
        """Decode one packet and encode the pictures that come out."""
        track = self._video
        pts, dts = (packet.pts or 0) + track.shift, (packet.dts or 0) + track.shift
        self._pictures[-1].stamps.append(pts)
        packet.pts = round(pts * track.time_base / _TIME_BASE)
        packet.dts = round(dts * track.time_base / _TIME_BASE)
        packet.time_base = _TIME_BASE
        for frame in self._decoder.decode(packet):
            self._picture(frame)

    def audio(self, packet: Packet[Any]) -> None:
        """Copy sound of the window."""
        track = self._audio
        if track is not None and (packet.pts or 0) + track.shift + (packet.duration or 0) > 0:
            super().audio(packet)

    def _picture(self, frame: VideoFrame) -> None:
        """Encode a picture of the window; the last one before it is shown from zero on."""
        if frame.pts is None or frame.pts >= self._stop:
            return
        held, self._held = self._held, None
        if frame.pts < 0:
            self._held = frame
            return
        if held is not None and frame.pts > 0:
            held.pts = 0
            self._encode(held)
        self._encode(frame)

    def _encode(self, frame: VideoFrame) -> None:
        stamp = frame.pts or 0
        if self._shown.stamps and stamp <= self._shown.stamps[-1]:
            return
        if frame.format.name not in _PIXELS:
            frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = stamp, _TIME_BASE
        frame.pict_type = av.video.frame.PictureType.NONE
        self._shown.stamps.append(stamp)
        for packet in self._video.stream.encode(frame):
            self._mux_encoded(packet)

    def _mux_encoded(self, packet: Packet[Any]) -> None:
        self._keyframes += packet.is_keyframe
        self._mux(packet, self._video)

    def finish(self, shown_end: int | None) -> Part:
        """Encode what the decoder and the encoder still hold, then close the file."""
        for frame in self._decoder.decode(None):
            self._picture(frame)
        if self._held is not None:
            self._held.pts = 0
            self._encode(self._held)
        if not self._shown.stamps:
            raise ActionUnavailableError("the recording could not be decoded")
        for packet in self._video.stream.encode(None):
            self._mux_encoded(packet)
        self._pictures = [self._shown]
        self._video.time_base = _TIME_BASE
        self.reached = self._origin + round(
            min(self._stop, self._shown.stamps[-1] + self._shown.usual()) * _TIME_BASE * SECOND
        )
        self._signature = replace(self._signature, codec="h264")
        return super().finish(None)
