"""Look into a media file: its streams, whether it plays, a picture of it.

Runs in a worker process. A file plays when every packet can be read in order and its first keyframe
decodes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, cast

import av

from bridge.errors import ActionUnavailableError
from bridge.media.job import Inspection, InspectJob, StreamInfo, Thumbnail, ThumbnailJob
from bridge.media.opening import media_errors, open_media
from bridge.media.source import VIDEO_CODECS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MOST_PACKETS_TO_A_PICTURE: Final = 300
"""A decoder that has shown nothing after so many packets will not."""


def inspect(job: InspectJob) -> Inspection:
    """Return what is in the file; a thorough look fails unless the file plays.

    Raises:
        ActionUnavailableError: it cannot be read, or does not play.
        ActionRejectedError: it is no video file, or breaks a limit.
    """
    with open_media(job.path, job.limits) as container, media_errors("the file cannot be read"):
        frames = keyframes = None
        if job.thorough:
            frames, keyframes = _read_all(container)
        return Inspection(
            format=container.format.name,
            size=job.path.stat().st_size,
            duration=container.duration / av.time_base if container.duration is not None else None,
            streams=tuple(map(_stream_info, container.streams)),
            frames=frames,
            keyframes=keyframes,
        )


def thumbnail(job: ThumbnailJob) -> Thumbnail:
    """Write a JPEG of the first keyframe at or after the asked time, or of the last one before it.

    Raises:
        ActionUnavailableError: no picture can be decoded.
    """
    with open_media(job.path, job.limits) as container, media_errors("no picture can be decoded"):
        frame = _keyframe_at(container, _video(container), job.at)
        picture = _scaled(frame, job.max_width)
        job.out.write_bytes(_jpeg(picture))
        return Thumbnail(path=job.out, width=picture.width, height=picture.height, at=frame.time or 0.0)


def _read_all(container: InputContainer) -> tuple[int, int]:
    video = _video(container)
    frames = keyframes = 0
    decoded = False
    last: int | None = None
    for packet in container.demux(video):
        if not packet.size:
            continue
        if packet.is_corrupt:
            raise ActionUnavailableError("the file is cut short")
        if packet.dts is not None and last is not None and packet.dts <= last:
            raise ActionUnavailableError("the file's time stamps go back")
        last = packet.dts if packet.dts is not None else last
        frames += 1
        keyframes += packet.is_keyframe
        if not decoded and frames <= _MOST_PACKETS_TO_A_PICTURE:
            decoded = bool(packet.decode())
    if not decoded and not video.codec_context.decode(None):
        raise ActionUnavailableError("the file's first picture does not decode")
    return frames, keyframes


def _video(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if stream.codec_context is not None and stream.codec_context.name in VIDEO_CODECS:
            # With more threads a decoder gives its first picture late, and uses more memory.
            stream.codec_context.thread_count = 1
            return stream
    raise ActionUnavailableError("the file has no H.264 or H.265 video")


def _stream_info(stream: Stream) -> StreamInfo:
    context = cast(Any, stream.codec_context)
    length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
    rate = getattr(stream, "average_rate", None) or getattr(context, "sample_rate", None)
    return StreamInfo(
        kind=stream.type,
        codec=context.name if context is not None else "unknown",
        width=getattr(context, "width", None),
        height=getattr(context, "height", None),
        rate=float(rate) if rate else None,
        duration=float(length) if length is not None else None,
    )


def _keyframe_at(container: InputContainer, video: VideoStream, at: float) -> VideoFrame:
    """Decode the first keyframe shown at or after `at` seconds, else the last before it."""
    base = video.time_base
    wanted = round(at / base) if base else 0
    container.seek(wanted, stream=video)
    video.codec_context.skip_frame = "NONKEY"
    last: VideoFrame | None = None
    for frame in container.decode(video):
        last = frame
        if frame.pts is not None and frame.pts >= wanted:
            return frame
    if last is None:
        raise ActionUnavailableError("the file has no picture that can be decoded")
    return last


def _scaled(frame: VideoFrame, max_width: int) -> VideoFrame:
    width = min(frame.width, max_width)
    height = max(2, round(frame.height * width / frame.width / 2) * 2)
    return frame.reformat(width=max(2, width // 2 * 2), height=height, format="yuvj420p")


def _jpeg(frame: VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
