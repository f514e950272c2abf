"""Write packets of one or more pieces into one MP4 file, without decoding, on a wall-clock timeline.

Runs in a worker process. Zero of the file's timeline is `origin`; a picture taken three seconds later is
shown at three seconds, also after a hole. Pictures before `origin` get negative times, which the muxer
turns into an edit list.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import av

from bridge.errors import ActionRejectedError
from bridge.media.editlist import trim_shown
from bridge.media.job import Limits, Part, Span
from bridge.media.opening import media_errors
from bridge.media.source import Signature, Source
from bridge.media.walltime import SECOND, from_micros, micros_to_ticks, ticks_to_micros

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

WRITING: Final = "the clip cannot be written"
_HOLE: Final = 1 * SECOND
"""Pictures further apart than this, and than three usual distances, have a hole between them."""
_BEFORE_ALL: Final = -(1 << 62)


@dataclass(slots=True)
class Track:
    """One output stream and the shift that puts the current piece's time stamps on the timeline."""

    stream: Any
    time_base: Fraction = Fraction(1, SECOND)
    shift: int = 0
    reached: int = _BEFORE_ALL
    """The last dts written (video) or the end of the last packet (audio), in `time_base`."""

    def attach(self, time_base: Fraction, shift: int) -> None:
        """Go on with packets of another piece."""
        if self.reached != _BEFORE_ALL and time_base != self.time_base:
            self.reached = -(-self.reached * self.time_base // time_base)
        self.time_base, self.shift = time_base, shift


@dataclass(slots=True)
class Pictures:
    """What was taken from one piece: presentation times on the timeline, and the clock to read them by."""

    origin: int
    time_base: Fraction
    stamps: list[int] = field(default_factory=list)

    def spans(self) -> list[tuple[int, int]]:
        """Return the wall-clock stretches with pictures, in µs; pictures far apart have a hole between."""
        if not self.stamps:
            return []
        stamps, usual = sorted(self.stamps), self.usual()
        steps = _steps(stamps)
        hole = max(3 * usual, micros_to_ticks(_HOLE, self.time_base))
        spans, begin = [], stamps[0]
        for stamp, step in zip(stamps, steps, strict=False):
            if step > hole:
                spans.append((begin, stamp + usual))
                begin = stamp + step
        spans.append((begin, stamps[-1] + usual))
        return [(self._wall(first), self._wall(last)) for first, last in spans]

    def usual(self) -> int:
        """Return the usual distance of two pictures; 1/25 s where there is only one."""
        steps = _steps(sorted(self.stamps))
        return int(median(steps)) if steps else micros_to_ticks(SECOND // 25, self.time_base)

    def _wall(self, ticks: int) -> int:
        return self.origin + ticks_to_micros(ticks, self.time_base)


def _steps(stamps: list[int]) -> list[int]:
    return [after - before for before, after in pairwise(stamps)]


class CopiedPart:
    """One file in the making. `reached` is the wall-clock end of what was written, µs."""

    def __init__(self, out: Path, source: Source, origin: int, limits: Limits, budget: int) -> None:
        self.reached = origin
        self._out, self._origin, self._limits, self._budget = out, origin, limits, budget
        self._signature = source.signature
        self._written = 0
        self._keyframes = 0
        self._pictures: list[Pictures] = []
        with media_errors(WRITING):
            self._container: OutputContainer = av.open(
                f"file:{out}", "w", format="mp4", container_options={"movflags": "faststart"}
            )
            self._video = Track(self._video_stream(self._container, source))
            self._audio = (
                Track(self._container.add_stream_from_template(source.audio, opaque=True)) if source.audio else None
            )
            self._container.start_encoding()

    def _video_stream(self, container: OutputContainer, source: Source) -> VideoStream:
        return container.add_stream_from_template(source.video, opaque=True)

    def accepts(self, signature: Signature) -> bool:
        """Return whether a piece with these parameters can go on in this file."""
        return self._signature.accepts(signature)

    def attach(self, source: Source, slip: int) -> None:
        """Go on with another piece, its pictures `slip` µs later than its clock says."""
        offset = source.begin + slip - self._origin
        self._pictures.append(Pictures(self._origin - slip, source.time_base))
        self._slip = slip
        self._video.attach(source.time_base, micros_to_ticks(offset, source.time_base) - source.first)
        if self._audio is not None and source.audio is not None and source.audio.time_base is not None:
            base = source.audio.time_base
            first = round(source.first * source.time_base / base)
            self._audio.attach(base, micros_to_ticks(offset, base) - first)

    def video(self, packet: Packet[Any]) -> None:
        """Write one video packet; its decoding time is moved up where a join would make it go back."""
        track = self._video
        pts, dts = (packet.pts or 0) + track.shift, (packet.dts or 0) + track.shift
        if dts <= track.reached:
            dts = track.reached + 1
        pts = max(pts, dts)
        track.reached = dts
        packet.pts, packet.dts = pts, dts
        self._pictures[-1].stamps.append(pts)
        self._keyframes += packet.is_keyframe
        self._mux(packet, track)

    def audio(self, packet: Packet[Any]) -> None:
        """Write one audio packet; one that mostly repeats the time of the last is dropped."""
        track = self._audio
        if track is None:
            return
        pts, length = (packet.pts or 0) + track.shift, packet.duration or 0
        if pts < track.reached - length // 2:
            return
        pts = max(pts, track.reached)
        track.reached = pts + max(length, 1)
        packet.pts = packet.dts = pts
        self._mux(packet, track)

    def _mux(self, packet: Packet[Any], track: Track) -> None:
        self._written += packet.size
        if self._written > self._budget:
            raise ActionRejectedError(f"the clip is larger than {self._limits.max_bytes} bytes", "too_large")
        packet.stream = track.stream
        self._container.mux_one(packet)

    def detach(self) -> list[tuple[int, int]]:
        """End the current piece; return the wall-clock spans (µs) of its pictures."""
        spans = self._pictures[-1].spans()
        if spans:
            self.reached = spans[-1][1] + self._slip
        return spans

    def finish(self, shown_end: int | None) -> Part:
        """Close the file, hash it and say what is in it."""
        with media_errors(WRITING):
            self._container.close()
        begin, end = self._origin, self.reached
        first = min(min(each.stamps) * each.time_base for each in self._pictures if each.stamps)
        last = max(max(each.stamps) * each.time_base for each in self._pictures if each.stamps)
        if (
            shown_end is not None
            and begin < shown_end < end
            and trim_shown(self._out, Fraction(shown_end - begin, SECOND))
        ):
            end = shown_end
        return self._facts(begin, end, first, last)

    def _facts(self, begin: int, end: int, first: Fraction, last: Fraction) -> Part:
        base = self._video.time_base
        audio = self._signature.audio
        with self._out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Part(
            path=self._out,
            size=self._out.stat().st_size,
            sha256=digest,
            covered=Span(begin=from_micros(begin), end=from_micros(end)),
            duration=(end - begin) / SECOND,
            lead=max(0.0, float(-first)),
            codec=self._signature.codec,
            width=self._signature.width,
            height=self._signature.height,
            audio=audio[0] if audio else None,
            frames=sum(len(each.stamps) for each in self._pictures),
            keyframes=self._keyframes,
            pts_first=round(first / base),
            pts_last=round(last / base),
            time_base=str(base),
        )

    def abort(self) -> None:
        """Close the file in whatever state it is; the caller removes it."""
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError, ValueError):
            return
