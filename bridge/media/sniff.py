"""Tell a video container by its first bytes, so that the demuxer is chosen here and never guessed.

FFmpeg guesses a demuxer from content and name, and some of its demuxers (playlists, concat scripts, image
sequences) open other files. Whatever is not in this short table is refused before FFmpeg sees it.
"""

from __future__ import annotations

HEAD = 400
"""Bytes of a file's beginning that `container_of` wants."""

_TS_PACKET = 188
_TS_SYNC = 0x47
_MP4_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"sidx"})
_SAID = {
    b"#EXTM3U": "a playlist",
    b"ffconcat": "a concat script",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"<": "an HTML or XML page",
    b"{": "JSON",
    b"[": "JSON",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip data",
}


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's demuxer (`mov`, `mpegts`, `flv`, `matroska`) for such a beginning, or None."""
    if head[4:8] in _MP4_BOXES:
        return "mov"
    if head[:1] and head[0] == _TS_SYNC and all(byte == _TS_SYNC for byte in head[:HEAD:_TS_PACKET]):
        return "mpegts" if len(head) > _TS_PACKET else None
    if head[:4] == b"FLV\x01":
        return "flv"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    return None


def looks_like(head: bytes) -> str:
    """Say what a refused file is, for the message: `a playlist`, `empty`, `not a known video format`."""
    if not head:
        return "empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((what for start, what in _SAID.items() if text.startswith(start)), "not a known video format")
