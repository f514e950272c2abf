"""The file that does not forget: torn, damaged, full and read-only."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bridge.safety import journal
from bridge.safety.journal import JsonLines


def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    """Also in a folder that did not exist, readable by nobody else."""
    path = tmp_path / "safety" / "x.jsonl"
    file = JsonLines(path)
    assert file.load() == []
    file.append({"a": 1})
    file.append({"b": "ü\n"})
    file.close()
    assert JsonLines(path).load() == [{"a": 1}, {"b": "ü\n"}]
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_line_is_synced_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced after each write, and the folder once when the file is new."""
    done: list[str] = []
    write, sync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, data: done.append("write") or write(fd, data))
    monkeypatch.setattr(os, "fsync", lambda fd: done.append("sync") or sync(fd))
    file = JsonLines(tmp_path / "x.jsonl")
    file.append({"a": 1})
    assert done == ["sync", "sync", "write", "sync"]
    file.append({"a": 2})
    assert done[4:] == ["write", "sync"]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, cut: int) -> None:
    """A power cut in the middle of a line loses that line and no other."""
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    file.append({"a": 1})
    file.append({"b": 2})
    file.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = JsonLines(path)
    assert again.load() == [{"a": 1}]
    again.append({"c": 3})
    assert JsonLines(path).load() == [{"a": 1}, {"c": 3}]


def test_a_damaged_line_is_skipped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bit rot in one line does not take the others with it."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":\xff}\n[1]\n{"c":3}\n')
    assert JsonLines(path).load() == [{"a": 1}, {"c": 3}]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_full_disk_raises_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is cut off again; when there is room, writing goes on."""
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    file.append({"a": 1})
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 5:
            return write(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.append({"long": "enough"})
    monkeypatch.undo()
    file.append({"b": 2})
    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n'


def test_rewrite_keeps_what_it_is_given(tmp_path: Path) -> None:
    """Compaction replaces the file as one; appending goes on in the new one."""
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    for number in range(5):
        file.append({"n": number})
    file.rewrite([{"n": 4}])
    file.append({"n": 5})
    assert JsonLines(path).load() == [{"n": 4}, {"n": 5}]
    assert file.lines == 2
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]
