"""Shorten what players show of an MP4, by its edit lists; not one packet moves.

FFmpeg's muxer writes an edit list for pictures before zero, but none for pictures after the wanted end,
which have to stay because earlier pictures refer to them. ISO/IEC 14496-12, 8.6.6 (elst), 8.2.2 (mvhd),
8.3.2 (tkhd).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

_LARGEST_MOOV = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    begin: int
    end: int


def trim_shown(path: Path, shown: Fraction) -> bool:
    """Make players stop after `shown` seconds. Return False, changing nothing, if a track has no edit list.

    The file is one this package's muxer wrote. Its length and its packets stay as they are.
    """
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        place = _find_moov(file.fileno(), size)
        if place is None or place[1] > _LARGEST_MOOV:
            return False
        moov = bytearray(os.pread(file.fileno(), place[1], place[0]))
        if not _shorten(moov, shown):
            return False
        file.seek(place[0])
        file.write(moov)
    return True


def _find_moov(descriptor: int, size: int) -> tuple[int, int] | None:
    """Return offset and length of the moov box's content."""
    at = 0
    while at + 16 <= size:
        head = os.pread(descriptor, 16, at)
        length, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", head[8:])[0], 16
        if length < header:
            return None
        if kind == b"moov":
            return at + header, length - header
        at += length
    return None


def _shorten(moov: bytearray, shown: Fraction) -> bool:
    boxes = list(_boxes(moov, 0, len(moov)))
    header = next((box for box in boxes if box.kind == b"mvhd"), None)
    tracks = [box for box in boxes if box.kind == b"trak"]
    if header is None or not tracks:
        return False
    long = moov[header.begin] == 1
    scale = struct.unpack_from(">I", moov, header.begin + (20 if long else 12))[0]
    wanted = round(shown * scale)
    edits = []
    for track in tracks:
        lists = [
            inner
            for edts in _boxes(moov, track.begin, track.end)
            if edts.kind == b"edts"
            for inner in _boxes(moov, edts.begin, edts.end)
            if inner.kind == b"elst"
        ]
        if len(lists) != 1:
            return False
        edits.append(lists[0])
    for track, edit in zip(tracks, edits, strict=True):
        length = _shorten_list(moov, edit, wanted)
        for box in _boxes(moov, track.begin, track.end):
            if box.kind == b"tkhd":
                _lower(moov, box.begin, box.begin + (28 if moov[box.begin] == 1 else 20), length)
    _lower(moov, header.begin, header.begin + (24 if long else 16), wanted)
    return True


def _shorten_list(moov: bytearray, edit: _Box, wanted: int) -> int:
    """Cut the entries so that together they last at most `wanted`; return how long they last."""
    long = moov[edit.begin] == 1
    form, step = (">QQ", 20) if long else (">II", 12)
    count = struct.unpack_from(">I", moov, edit.begin + 4)[0]
    lasted = 0
    for index in range(count):
        at = edit.begin + 8 + index * step
        length, media_time = struct.unpack_from(form, moov, at)
        length = max(0, min(length, wanted - lasted))
        struct.pack_into(form, moov, at, length, media_time)
        lasted += length
    return lasted


def _lower(moov: bytearray, version_at: int, at: int, most: int) -> None:
    form = ">Q" if moov[version_at] == 1 else ">I"
    value = struct.unpack_from(form, moov, at)[0]
    struct.pack_into(form, moov, at, min(value, most))


def _boxes(data: bytearray, begin: int, end: int) -> Iterator[_Box]:
    at = begin
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8 or at + length > end:
            return
        yield _Box(bytes(kind), at + 8, at + length)
        at += length
