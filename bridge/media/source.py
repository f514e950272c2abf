"""One recorded piece: its packets from any moment on, and its time stamps on the wall clock.

Runs in a worker process. Nothing is decoded here, and no packet is changed but for time stamps it lacks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
import av.error

from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.job import Limits
from bridge.media.opening import media_errors, open_media
from bridge.media.paramset import picture_parameters, stream_tables
from bridge.media.walltime import SECOND, micros_to_ticks, ticks_to_micros

if TYPE_CHECKING:
    from fractions import Fraction

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

VIDEO_CODECS: Final = frozenset({"h264", "hevc"})
AUDIO_CODECS: Final = frozenset({"aac"})

_TABLES_WITHIN: Final = 188 * 100
"""Where in a transport stream its first tables are looked for."""

_SEEK_BACK: Final = (0, 5 * SECOND, 30 * SECOND)
"""How far before the asked time to seek, in turn, when the demuxer landed behind it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What must be equal for two pieces to go into one track each of one file."""

    codec: str
    width: int
    height: int
    extradata: bytes | None
    audio: tuple[str, int, int, bytes | None] | None

    def accepts(self, other: Signature) -> bool:
        """Return whether a file begun with these parameters can take such a piece; silence it can."""
        same_video = (self.codec, self.width, self.height, self.extradata) == (
            other.codec,
            other.width,
            other.height,
            other.extradata,
        )
        return same_video and other.audio in (self.audio, None)


@dataclass(frozen=True, slots=True)
class Split:
    """Where the parameters change inside a file: the byte, and the moment (µs) of the first picture after."""

    position: int
    moment: int


class Source:
    """One opened piece. Times in µs since 1970, `ticks` in the video stream's units."""

    def __init__(self, path: Path, begin: int, end: int, index: int, limits: Limits) -> None:
        self.index = index
        self.begin = begin
        self._path, self._limits = path, limits
        self._opened: InputContainer | None = None
        self.broken: str | None = None
        """Why reading stopped before the end of the file, if it did."""
        self.split: Split | None = None
        """Where reading stopped because the camera's parameters change there."""
        self.repaired = 0
        """Video packets that came without time stamps."""
        self._last: int | None = None
        self._reopen()
        try:
            with media_errors("the recording cannot be read"):
                self.time_base: Fraction = self.video.time_base or _no_clock()
                self.first = self._first_ticks()
                self._parameters = self._described()
        except (ActionRejectedError, ActionUnavailableError):
            self.close()
            raise
        self.end = self._end(end)

    def close(self) -> None:
        """Close the file."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _reopen(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = open_media(self._path, self._limits)
        try:
            self.video: VideoStream = self._pick_video()
            self.audio: AudioStream | None = self._pick_audio()
        except ActionRejectedError:
            self.close()
            raise
        self._touched = False

    @property
    def container(self) -> InputContainer:
        """Return the open file."""
        if self._opened is None:
            raise ActionUnavailableError("the recording is closed")
        return self._opened

    @property
    def left_out(self) -> list[str]:
        """Return the streams that a clip does not take, in words."""
        taken = {self.video.index, self.audio.index if self.audio else None}
        return [_name(stream) for stream in self.container.streams if stream.index not in taken]

    @property
    def signature(self) -> Signature:
        """Return the parameters that decide whether this piece continues a file."""
        context = self.video.codec_context
        audio = None
        if self.audio is not None:
            sound = self.audio.codec_context
            audio = (sound.name, sound.sample_rate or 0, sound.channels or 0, sound.extradata)
        return Signature(context.name, context.width, context.height, context.extradata, audio)

    def ticks(self, micros: int) -> int:
        """Return the time stamp of the picture taken at this moment."""
        return self.first + micros_to_ticks(micros - self.begin, self.time_base)

    def micros(self, ticks: int) -> int:
        """Return the moment a picture with this time stamp was taken."""
        return self.begin + ticks_to_micros(ticks - self.first, self.time_base)

    def packets(self, at: int | None = None) -> Iterator[Packet[Stream]]:
        """Yield packets from a keyframe at or before the moment `at` on; None is the start of the file.

        A file that breaks off ends the packets and sets `broken`.
        """
        target = None if at is None or at <= self.begin else self.ticks(at)
        for back in _SEEK_BACK if target is not None else ():
            wanted = (target or 0) - micros_to_ticks(back, self.time_base)
            if wanted <= self.first:
                break
            head, rest = self._from(wanted)
            if self.split is not None and self.split.moment <= (at or 0):
                return iter(())
            if head and head[-1].is_keyframe and _pts(head[-1]) <= (target or 0):
                return chain(head, rest)
        return self._from(None)[1]

    def _from(self, ticks: int | None) -> tuple[list[Packet[Stream]], Iterator[Packet[Stream]]]:
        """Seek and read up to the first keyframe; None reads all from the start of the file."""
        self.broken = self.split = None
        try:
            if ticks is not None:
                self.container.seek(ticks, stream=self.video)
            elif self._touched:
                # Not every demuxer can seek to its first packet: its dts is below the lowest pts.
                self._reopen()
            self._touched = True
        except (av.error.FFmpegError, ActionUnavailableError) as exc:
            self.broken = f"it cannot be searched ({type(exc).__name__})"
            return [], iter(())
        packets = self._demux()
        if ticks is None:
            return [], packets
        head = []
        for packet in packets:
            head.append(packet)
            if packet.stream_index == self.video.index and packet.is_keyframe:
                break
        return head, packets

    def _demux(self) -> Iterator[Packet[Stream]]:
        streams = (self.video,) if self.audio is None else (self.video, self.audio)
        whole_file = self.container.format.name.startswith("mov")
        video = self.video.index
        try:
            for packet in self.container.demux(*streams):
                if packet.is_corrupt and whole_file:
                    # An MP4 packet is only marked so when the file ends inside it.
                    self.broken = "it is cut short"
                    return
                if packet.size:
                    if packet.pts is None or packet.dts is None:
                        self._repair(packet)
                    elif packet.stream_index == video:
                        self._last = packet.dts
                        if self._parameters is not None and packet.is_keyframe and self._changes(packet):
                            return
                    yield packet
        except (av.error.FFmpegError, OSError) as exc:
            self.broken = exc.strerror or type(exc).__name__

    def _described(self) -> bytes | None:
        """Return the parameter set the file begins with, where they are repeated and so can change."""
        if self.container.format.name != "mpegts":
            return None
        context = self.video.codec_context
        return picture_parameters(context.name, context.extradata or b"")

    def _changes(self, packet: Packet[Stream]) -> bool:
        """Note a split if a keyframe comes with other parameters than the file's."""
        new = picture_parameters(self.video.codec_context.name, bytes(packet))
        if new in (None, self._parameters) or packet.pos is None:
            return False
        self.split = Split(packet.pos, self.micros(_pts(packet)))
        return True

    def write_rest(self, path: Path) -> int:
        """Write what comes after the split as a file of its own; return the moment it begins.

        The tables at the beginning of the stream go in front, without them a demuxer waits for the next ones.
        """
        if self.split is None:
            raise ValueError("there is no split")
        with self._path.open("rb") as source, path.open("xb") as rest:
            rest.write(stream_tables(source.read(_TABLES_WITHIN)))
            source.seek(self.split.position)
            shutil.copyfileobj(source, rest, 1024**2)
        return self.split.moment

    def _repair(self, packet: Packet[Stream]) -> None:
        """Give a packet the time stamps it lacks: those of the packet before, one step on."""
        if packet.stream_index != self.video.index:
            packet.pts = packet.dts = packet.pts if packet.pts is not None else packet.dts
            return
        self.repaired += 1
        if packet.dts is None:
            step = packet.duration or micros_to_ticks(SECOND // 25, self.time_base)
            packet.dts = packet.pts if self._last is None else self._last + step
        if packet.pts is None:
            packet.pts = packet.dts
        self._last = packet.dts

    def first_keyframe(self) -> int | None:
        """Return when the first keyframe was taken, or None if there is none."""
        for packet in self.packets():
            if packet.stream_index == self.video.index and packet.is_keyframe:
                return self.micros(_pts(packet))
        return None

    def _pick_video(self) -> VideoStream:
        for stream in self.container.streams.video:
            still = stream.disposition & av.stream.Disposition.attached_pic
            if not still and stream.codec_context is not None and stream.codec_context.name in VIDEO_CODECS:
                return stream
        found = ", ".join(map(_name, self.container.streams)) or "no streams"
        raise ActionRejectedError(f"the recording has no H.264 or H.265 video: {found}", "not_video")

    def _pick_audio(self) -> AudioStream | None:
        usable = (
            each
            for each in self.container.streams.audio
            if each.codec_context is not None
            and each.codec_context.name in AUDIO_CODECS
            and each.codec_context.sample_rate
        )
        return next(usable, None)

    def _first_ticks(self) -> int:
        if self.video.start_time is not None:
            return self.video.start_time
        self._touched = True
        for packet in self.container.demux(self.video):
            if packet.pts is not None:
                return packet.pts
        raise ActionUnavailableError("the recording has no pictures")

    def _end(self, claimed: int) -> int:
        if self.video.duration:
            return self.begin + ticks_to_micros(self.video.duration, self.time_base)
        if self.container.duration:
            return self.begin + self.container.duration
        return claimed


def _pts(packet: Packet[Stream]) -> int:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return stamp if stamp is not None else 0


def _name(stream: Stream) -> str:
    context = stream.codec_context
    return f"{stream.type} {context.name}" if context is not None else stream.type


def _no_clock() -> Fraction:
    raise ActionUnavailableError("the recording's video has no time base")
