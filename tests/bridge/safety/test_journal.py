"""The file that does not forget: torn, damaged, full and read-only."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from bridge.safety import journal
from bridge.safety.journal import JsonLines, write_synced


def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    """Also in a folder that did not exist, readable by nobody else; one line each, that a person can read."""
    path = tmp_path / "data" / "safety" / "x.jsonl"
    file = JsonLines(path)
    assert (file.load(), file.lines) == ([], 0)
    file.append({"a": 1, "c": [2, 3]})
    file.append({"b": "ü ü\n"})
    file.close()
    again = JsonLines(path)
    assert (again.load(), again.lines) == ([{"a": 1, "c": [2, 3]}, {"b": "ü ü\n"}], 2)
    assert path.read_text("utf-8") == '{"a":1,"c":[2,3]}\n{"b":"ü ü\\n"}\n'
    assert _modes(path) == [0o600, 0o700]


def _modes(path: Path) -> list[int]:
    return [each.stat().st_mode & 0o777 for each in (path, path.parent)]


def test_a_whole_file_is_put_in_place_at_once(tmp_path: Path) -> None:
    """Also in a folder that did not exist, readable by nobody else, and over what a crash left half written."""
    path = tmp_path / "data" / "safety" / "kill"
    write_synced(path, b"first")
    assert (path.read_bytes(), _modes(path)) == (b"first", [0o600, 0o700])
    (path.parent / ".kill.new").write_bytes(b"longer than what is to be written")
    write_synced(path, b"second")
    assert path.read_bytes() == b"second"
    assert [each.name for each in path.parent.iterdir()] == ["kill"]


def test_a_whole_file_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, name, folder: after a power cut there is the old file or the new one, never half of it."""
    done: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(str(Path(f"/proc/self/fd/{fd}").readlink())) or sync(fd))
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append("replace") or replace(path, to))
    write_synced(tmp_path / "kill", b"x")
    assert done == [str(tmp_path / ".kill.new"), "replace", str(tmp_path)]


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
    file.append({"a": 2}, {"b": 3})
    file.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = JsonLines(path)
    assert again.load() == [{"a": 1}, {"a": 2}]
    again.append({"c": 3})
    assert JsonLines(path).load() == [{"a": 1}, {"a": 2}, {"c": 3}]


def test_a_damaged_line_is_skipped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bit rot in one line does not take the others with it."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n\n{"b":\xff}\n[1]\n{"c":3}\n')
    assert JsonLines(path).load() == [{"a": 1}, {"c": 3}]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_full_disk_raises_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is cut off again; when there is room, writing goes on."""
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    file.append({"a": 1})
    file.append({"a": 2})
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 5:
            return write(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.append({"long": "enough"})
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n'
    monkeypatch.undo()
    file.append({"b": 2})
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n{"b":2}\n'


def test_compaction_keeps_what_it_is_told_to_and_what_comes_meanwhile(tmp_path: Path) -> None:
    """From reading to the new file nobody else writes; a failure leaves all as it was."""
    file = JsonLines(tmp_path / "x.jsonl")
    file.append(*({"n": number} for number in range(5)))
    late = threading.Thread(target=lambda: file.append({"late": 1}))

    def odd(records: list[dict[str, int]]) -> list[dict[str, int]]:
        late.start()
        late.join(0.1)
        assert late.is_alive()
        return [record for record in records if record["n"] % 2]

    file.compact(odd)
    late.join(10)
    assert (file.load(), file.lines) == ([{"n": 1}, {"n": 3}, {"late": 1}], 3)
    with pytest.raises(TypeError):
        file.compact(lambda records: [{"no": object()}, *records])
    assert file.load() == [{"n": 1}, {"n": 3}, {"late": 1}]


def test_what_is_appended_after_a_failed_compaction_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file has its name, and then the folder cannot be synced: the old one is no file any more."""
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    file.append({"n": 1}, {"n": 2})

    def many(folder: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(journal, "sync_dir", many)
    with pytest.raises(OSError, match="Too many open files"):
        file.compact(lambda records: records[1:])
    monkeypatch.undo()
    file.append({"n": 3})
    assert JsonLines(path).load() == [{"n": 2}, {"n": 3}]


def test_what_compacting_keeps_is_all_there_is(tmp_path: Path) -> None:
    """Compaction replaces the file as one; appending goes on in the new one."""
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    for number in range(5):
        file.append({"n": number})
    file.compact(lambda records: records[3:])
    file.append({"n": 5}, {"n": 6})
    assert path.read_bytes() == b'{"n":3}\n{"n":4}\n{"n":5}\n{"n":6}\n'
    assert file.lines == 4
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]
