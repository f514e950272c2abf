"""Draw a moment as a picture, and read the moment back from a picture.

Footage made from these pictures proves by its own pixels what time it shows, whatever container, time
stamps or cuts it went through. A person reads the large digits; `read` reads the block code above them,
which has the time, the channel and a checksum and survives H.264 at any sane quality and scaling to
other sizes. It refuses to guess: a picture without a valid code reads as `None`.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import NamedTuple

from av import VideoFrame

WIDTH, HEIGHT = 640, 360

_BLACK, _WHITE = 16, 235  # studio range: what a decoder gives back without clipping
_THRESHOLD = 126

# The code: 72 cells, most significant bit first: 48 bits epoch milliseconds, 8 bits channel, 16 bits CRC.
# Cells are 24 px, three 8 px transform blocks a side, so that compression noise stays at their edges.
_CELL, _COLUMNS, _ROWS = 24, 24, 3
_CODE_X, _CODE_Y = 32, 24
_CRC_SEED = 0x5A5A  # an even grey picture must not pass as moment zero

_TIME_X, _TIME_Y, _TIME_SCALE = 32, 128, 8
_DATE_X, _DATE_Y, _DATE_SCALE = 32, 216, 4
_BAR_Y, _BAR_HEIGHT, _BAR_WIDTH, _BAR_PERIOD_MS = 304, 24, 32, 4000

# 5 x 7 dots a glyph, one number a line, bit 4 is the left dot.
_GLYPHS: dict[str, tuple[int, ...]] = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ":": (0, 4, 4, 0, 4, 4, 0),
    ".": (0, 0, 0, 0, 0, 4, 4),
    "-": (0, 0, 0, 31, 0, 0, 0),
    "+": (0, 4, 4, 31, 4, 4, 0),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "H": (17, 17, 17, 31, 17, 17, 17),
    " ": (0, 0, 0, 0, 0, 0, 0),
}


class Reading(NamedTuple):
    """What a picture says: milliseconds since 1970 in UTC, and the channel that filmed it."""

    epoch_ms: int
    channel: int


def draw(epoch_ms: int, *, channel: int = 0, zone: tzinfo = UTC) -> VideoFrame:
    """Return a 640x360 yuv420p frame showing `epoch_ms`; `zone` is the wall clock of the digits only."""
    luma = bytearray(_background())
    _draw_code(luma, epoch_ms, channel)
    local = datetime.fromtimestamp(epoch_ms // 1000, UTC).astimezone(zone)
    _draw_text(luma, f"{local:%H:%M:%S}.{epoch_ms % 1000:03d}", _TIME_X, _TIME_Y, _TIME_SCALE)
    _draw_text(luma, f"{local:%Y-%m-%d %z} CH{channel:02d}", _DATE_X, _DATE_Y, _DATE_SCALE)
    _draw_bar(luma, epoch_ms)
    frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane, data in zip(frame.planes, (bytes(luma), *_tint(channel)), strict=True):
        plane.update(_padded(data, plane.width, plane.line_size))
    return frame


def read(frame: VideoFrame) -> int | None:
    """Return the epoch milliseconds a picture shows, or None when it carries no valid code."""
    reading = read_code(frame)
    return reading.epoch_ms if reading else None


def read_code(frame: VideoFrame) -> Reading | None:
    """Return time and channel of a picture of any size and format, or None when it carries no valid code."""
    grey = frame.reformat(width=WIDTH, height=HEIGHT, format="gray8")
    plane = grey.planes[0]
    pixels, stride = bytes(plane), plane.line_size
    value = 0
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            value = value << 1 | _cell_is_white(pixels, stride, row, column)
    data = value.to_bytes(_COLUMNS * _ROWS // 8, "big")
    if _checksum(data[:-2]) != data[-2:]:
        return None
    return Reading(int.from_bytes(data[:6], "big"), data[6])


def _checksum(payload: bytes) -> bytes:
    return binascii.crc_hqx(payload, _CRC_SEED).to_bytes(2, "big")


def _cell_is_white(pixels: bytes, stride: int, row: int, column: int) -> bool:
    """Vote with the middle 8x8 pixels of a cell; its rim is where codecs smear."""
    left = _CODE_X + column * _CELL + 8
    top = _CODE_Y + row * _CELL + 8
    total = sum(sum(pixels[y * stride + left : y * stride + left + 8]) for y in range(top, top + 8))
    return total > _THRESHOLD * 64


@cache
def _background() -> bytes:
    """A grey ramp, so that scaling and colour range mistakes are visible to the eye."""
    return b"".join(bytes([48 + y * 32 // HEIGHT]) * WIDTH for y in range(HEIGHT))


@cache
def _tint(channel: int) -> tuple[bytes, bytes]:
    """Chroma planes of one even colour a channel, to tell channels apart at a glance."""
    size = WIDTH // 2 * (HEIGHT // 2)
    return bytes([96 + channel * 37 % 64]) * size, bytes([96 + channel * 53 % 64]) * size


def _blit(luma: bytearray, x: int, y: int, line: bytes, height: int) -> None:
    for top in range(y, y + height):
        start = top * WIDTH + x
        luma[start : start + len(line)] = line


def _cells(bits: Sequence[bool], size: int) -> bytes:
    return b"".join(_square(bit, size) for bit in bits)


@cache
def _square(bit: bool, size: int) -> bytes:
    return bytes([_WHITE if bit else _BLACK]) * size


def _draw_code(luma: bytearray, epoch_ms: int, channel: int) -> None:
    payload = epoch_ms.to_bytes(6, "big") + bytes([channel & 0xFF])
    value = int.from_bytes(payload + _checksum(payload), "big")
    bits = [bool(value >> shift & 1) for shift in range(_COLUMNS * _ROWS - 1, -1, -1)]
    for row in range(_ROWS):
        line = _cells(bits[row * _COLUMNS : (row + 1) * _COLUMNS], _CELL)
        _blit(luma, _CODE_X, _CODE_Y + row * _CELL, line, _CELL)


@cache
def _glyph_line(glyph: str, line: int, scale: int) -> bytes:
    dots = _GLYPHS[glyph][line]
    return _cells([bool(dots >> shift & 1) for shift in (4, 3, 2, 1, 0)] + [False], scale)


def _draw_text(luma: bytearray, text: str, x: int, y: int, scale: int) -> None:
    for line in range(7):
        dots = b"".join(_glyph_line(glyph, line, scale) for glyph in text)
        _blit(luma, x, y + line * scale, dots, scale)


def _draw_bar(luma: bytearray, epoch_ms: int) -> None:
    """A block that sweeps the lower edge, so that the eye sees dropped or frozen frames."""
    x = (epoch_ms % _BAR_PERIOD_MS) * (WIDTH - _BAR_WIDTH) // _BAR_PERIOD_MS
    _blit(luma, x, _BAR_Y, _square(True, _BAR_WIDTH), _BAR_HEIGHT)


def _padded(data: bytes, width: int, line_size: int) -> bytes:
    """Fit rows to the frame's own line length; equal on common platforms, not guaranteed."""
    if width == line_size:
        return data
    rows = (data[start : start + width] for start in range(0, len(data), width))
    return b"".join(row.ljust(line_size, b"\0") for row in rows)


def to_epoch_ms(moment: datetime) -> int:
    """Return the whole milliseconds since 1970 of an aware time."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def from_epoch_ms(epoch_ms: int) -> datetime:
    """Return the UTC time of milliseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
