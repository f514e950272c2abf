"""Read the few bytes of a transport stream that demuxers keep to themselves: parameter sets and program tables.

A transport stream carries the parameter sets in front of every keyframe, so a camera that is set to another
resolution shows here and nowhere else. ITU-T H.264, 7.3.1 and H.265, 7.3.1: NAL unit types 7 and 33; no
start code occurs inside a unit.
"""

from __future__ import annotations

import re
from typing import Final

_TS_PACKET: Final = 188
_LOOK_AT: Final = 2048
"""Bytes at the beginning of a keyframe; parameter sets come before the picture."""

_SPS: Final = {
    "h264": re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67](.+?)(?=\x00\x00[\x00\x01]|$)", re.DOTALL),
    "hevc": re.compile(rb"\x00\x00\x01\x42[\x00-\x07](.+?)(?=\x00\x00[\x00\x01]|$)", re.DOTALL),
}


def picture_parameters(codec: str, data: bytes) -> bytes | None:
    """Return the sequence parameter set in the bytes, without its header, or None."""
    pattern = _SPS.get(codec)
    match = pattern.search(data[:_LOOK_AT]) if pattern is not None else None
    return match[1] if match else None


def stream_tables(head: bytes) -> bytes:
    """Return the packets at the beginning of a transport stream that come before its first media packet.

    They are its program tables: ISO/IEC 13818-1, 2.4.3.2 and 2.4.3.6.
    """
    for at in range(0, len(head) - _TS_PACKET + 1, _TS_PACKET):
        packet = head[at : at + _TS_PACKET]
        begins, adapted = packet[1] & 0x40, packet[3] & 0x20
        payload = 5 + packet[4] if adapted else 4
        if begins and packet[payload : payload + 3] == b"\x00\x00\x01":
            return head[:at]
    return b""
