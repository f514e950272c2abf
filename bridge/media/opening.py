"""Open a media file the safe way, and put what PyAV raises into the bridge's words. Runs in a worker process.

The demuxer is chosen by the file's first bytes and may open no other file; limits are checked before
anything is decoded. Whatever opens media does it here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
import av.error

from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.job import Limits
from bridge.media.sniff import HEAD, container_of, looks_like

if TYPE_CHECKING:
    from av.container import InputContainer

_PROBE_DECODERS: Final = {"mov": "none", "mpegts": "aac", "flv": "aac", "matroska": "none"}
"""Decoders for FFmpeg to look for streams with: MP4 says all in its header, ADTS audio has to be tried."""


def head_of(path: Path) -> bytes:
    """Return the first bytes of a regular file; a symbolic link at the end of the path is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:  # noqa: PTH123  (the descriptor is what makes O_NOFOLLOW count)
        return file.read(HEAD)


def open_media(path: Path, limits: Limits, *, probe_with: str | None = None) -> InputContainer:
    """Open a video file with the demuxer its first bytes call for.

    Raises:
        ActionRejectedError: it is no video file, or has too many streams or too large a picture.
        ActionUnavailableError: it is empty, cut short or broken; another copy may be better.
    """
    try:
        head = head_of(path)
    except OSError as exc:
        raise ActionUnavailableError(f"cannot read the recording: {exc.strerror}") from exc
    if not head:
        raise ActionUnavailableError("the recording is empty")
    if (container := container_of(head)) is None:
        raise ActionRejectedError(f"the recording is {looks_like(head)}", "not_video")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": av.format.ContainerFormat(container, "r").name,
        "codec_whitelist": probe_with or _PROBE_DECODERS[container],
        "max_streams": str(limits.max_streams),
        "fflags": "+genpts",
    }
    with media_errors("the recording cannot be opened"):
        opened = av.open(f"file:{path}", format=container, container_options=options)
    try:
        _check_pictures(opened, limits)
    except ActionRejectedError:
        opened.close()
        raise
    return opened


def _check_pictures(container: InputContainer, limits: Limits) -> None:
    for stream in container.streams.video:
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > limits.max_pixels:
            raise ActionRejectedError(f"pictures of {width} x {height} are larger than allowed", "too_large")


@contextmanager
def media_errors(what: str) -> Iterator[None]:
    """Translate what PyAV raises: a broken file is worth another try, memory and disk say so."""
    try:
        yield
    except MemoryError as exc:
        raise ActionRejectedError(f"{what}: it needs more memory than a media worker may use", "too_large") from exc
    except (av.error.FFmpegError, OSError) as exc:
        raise ActionUnavailableError(f"{what}: {exc.strerror or type(exc).__name__}") from exc
    except (ValueError, ArithmeticError) as exc:
        raise ActionUnavailableError(f"{what}: {type(exc).__name__}") from exc
