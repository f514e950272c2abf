"""Files that are not what they say: refused before FFmpeg can be led astray, with a reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from bridge.errors import ActionError, ActionRejectedError, ActionUnavailableError
from bridge.media.job import Limits, PieceFile
from bridge.media.pool import MediaWorkers
from bridge.media.sniff import container_of
from tests.bridge.media.conftest import Recorder
from tests.bridge.media.footage import Footage, at, job


def huge_png(side: int) -> bytes:
    """Return a valid black PNG of side x side pixels; 30,000 a side are 0.9 GB decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(side + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _bomb() -> bytes:
    return huge_png(30_000)


REFUSED = [
    pytest.param(lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "a playlist", id="playlist"),
    pytest.param(lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "a concat script", id="concat"),
    pytest.param(_bomb, "a PNG picture", id="png-bomb"),
    pytest.param(lambda: b"\n\n <!DOCTYPE html><html>login</html>", "an HTML or XML page", id="html"),
    pytest.param(lambda: b'{"error": "not found"}', "JSON", id="json"),
    pytest.param(lambda: b"\x1f\x8b\x08" + bytes(100), "gzip data", id="gzip"),
    pytest.param(lambda: b"v=0\r\no=- 0 0 IN IP4 10.0.0.1\r\nm=video 5000 RTP/AVP 96\r\n", "not a known", id="sdp"),
    pytest.param(lambda: b"G" * 10, "not a known", id="one-ts-sync-byte"),
]


@pytest.mark.parametrize(("content", "says"), REFUSED)
async def test_what_is_no_video_is_refused_by_name(
    content: object, says: str, workers: MediaWorkers, out: Path, tmp_path: Path
) -> None:
    """The message says what came instead of a recording; the worker goes on working."""
    assert callable(content)
    piece = PieceFile(path=tmp_path / "piece.mp4", begin=at(0), end=at(10))
    piece.path.write_bytes(content())
    before = workers.pids
    with pytest.raises(ActionRejectedError, match=says):
        await workers.cut(job(out, piece, begin=1, end=3))
    with pytest.raises(ActionRejectedError, match=says):
        await workers.inspect(piece.path)
    assert workers.pids == before


async def test_a_picture_larger_than_allowed_is_refused(
    workers: MediaWorkers, recorded: Recorder, out: Path, tmp_path: Path
) -> None:
    """The header's size counts, so nothing of that size is ever decoded."""
    data = bytearray(recorded().path.read_bytes())
    where = data.rindex(b"avc1") + 4 + 24  # VisualSampleEntry: width and height, ISO/IEC 14496-12, 12.1.3
    struct.pack_into(">HH", data, where, 30_000, 30_000)
    piece = PieceFile(path=tmp_path / "piece.mp4", begin=at(0), end=at(10))
    piece.path.write_bytes(data)
    with pytest.raises(ActionRejectedError, match="30000 x 30000 are larger than allowed"):
        await workers.cut(job(out, piece, begin=1, end=3))


async def test_a_symbolic_link_is_not_followed(
    workers: MediaWorkers, recorded: Recorder, out: Path, tmp_path: Path
) -> None:
    """A piece is a file that the bridge wrote."""
    link = tmp_path / "piece.mp4"
    link.symlink_to(recorded().path)
    with pytest.raises(ActionUnavailableError, match="cannot read the recording"):
        await workers.cut(job(out, PieceFile(path=link, begin=at(0), end=at(10)), begin=1, end=3))


async def test_more_streams_than_allowed_are_refused(workers: MediaWorkers, recorded: Recorder, out: Path) -> None:
    """A file of a thousand tracks costs nothing."""
    piece = recorded(Footage(audio=True))
    with pytest.raises(ActionError, match="cannot be opened"):
        await workers.cut(job(out, piece, begin=1, end=3, limits=Limits(max_streams=1)))


@pytest.mark.parametrize("seed", range(12))
async def test_damaged_bytes_end_in_a_clip_or_an_error(
    seed: int, workers: MediaWorkers, recorded: Recorder, tmp_path: Path
) -> None:
    """Whatever bytes of a recording are damaged, the answer is a clip that exists or an error that says why."""
    data = bytearray(recorded(Footage(bframes=2, audio=True)).path.read_bytes())
    moov = data.index(b"moov")
    for step in range(40):
        at_byte = zlib.crc32(bytes([seed, step])) % len(data)
        data[at_byte] = zlib.crc32(bytes([step, seed])) & 0xFF
    for step in range(8):
        data[moov + zlib.crc32(bytes([7, seed, step])) % (len(data) - moov)] ^= 0x55
    piece = PieceFile(path=tmp_path / "piece.mp4", begin=at(0), end=at(10))
    piece.path.write_bytes(data)
    out = tmp_path / "clip.mp4"
    try:
        result = await workers.cut(job(out, piece, begin=1, end=9), timeout=20)
    except ActionError as exc:
        assert str(exc)  # noqa: PT017  (either outcome is right, one of them has to be whole)
        assert not out.exists()
    else:
        assert result.main.size == out.stat().st_size


def test_containers_are_told_by_their_first_bytes(recorded: Recorder) -> None:
    """Each container the bridge reads is recognised, and half a sync byte is not."""
    for suffix, name in {".mp4": "mov", ".ts": "mpegts", ".mkv": "matroska", ".flv": "flv"}.items():
        assert container_of(recorded(Footage(seconds=1), suffix).path.read_bytes()[:400]) == name
    assert container_of(b"") is None
    assert container_of(b"\x47") is None
