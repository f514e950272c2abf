"""The file system forgets exactly what was not synced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.bench.faults.common import UnavailableError
from bridge.bench.faults.lossyfs import Lossy, mounted


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[Lossy]:
    """A mounted one."""
    try:
        with mounted(tmp_path) as found:
            yield found
    except UnavailableError as exc:
        pytest.skip(str(exc))


def write(path: Path, data: bytes, *, sync: bool) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def test_a_cut_keeps_what_was_synced_and_nothing_else(lossy: Lossy) -> None:
    """Synced content survives a cut, unsynced content does not, names do."""
    write(lossy.path / "a", b"kept", sync=True)
    write(lossy.path / "a", b" and lost", sync=False)
    write(lossy.path / "b", b"never synced", sync=False)
    assert (lossy.path / "a").read_bytes() == b"kept and lost"
    lossy.cut()
    assert (lossy.path / "a").read_bytes() == b"kept"
    assert (lossy.path / "b").read_bytes() == b""


def test_what_is_renamed_takes_its_unsynced_content_along(lossy: Lossy) -> None:
    """A file that is synced after it was renamed is whole after a cut; one that is not is empty."""
    for name in ("synced", "unsynced"):
        write(lossy.path / "fresh", name.encode(), sync=False)
        (lossy.path / "fresh").rename(lossy.path / name)
    write(lossy.path / "synced", b"!", sync=True)
    lossy.cut()
    assert (lossy.path / "synced").read_bytes() == b"synced!"
    assert (lossy.path / "unsynced").read_bytes() == b""


def test_a_torn_cut_keeps_a_first_part(lossy: Lossy) -> None:
    """What survives of unsynced writes is a beginning of them, and not always all or nothing."""
    lengths = set()
    for seed in range(1, 12):
        path = lossy.path / str(seed)
        for _ in range(8):
            write(path, b"0123456789", sync=False)
        lossy.cut(torn=seed)
        left = path.read_bytes()
        assert left == (b"0123456789" * 8)[: len(left)]
        lengths.add(len(left))
    assert len(lengths) > 3
