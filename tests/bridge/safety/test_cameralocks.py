"""Cameras that people have: for how long, what is written down, and what a restart makes of it."""

from __future__ import annotations

import errno
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import StartError
from bridge.safety import cameralocks
from bridge.safety.cameralocks import Camera, CameraLocks
from tests.bridge.safety.meanwhile import left_while_compacting
from tests.clock import START, VirtualClock

YARD, HALL = Camera("nvr", "1"), Camera("nvr", "2")
S = timedelta(seconds=1)
pytestmark = pytest.mark.usefixtures("disk_in_step")
LOCKED: dict[str, Any] = {"op": "lock", "source": "nvr", "channel": "1", "who": "anna", "seconds": 60.0}


def _file(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "cameralocks.jsonl").read_text().splitlines()]


def _write(folder: Path, *records: dict[str, Any]) -> None:
    (folder / "cameralocks.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


async def _loaded(folder: Path, clock: VirtualClock) -> CameraLocks:
    locks = CameraLocks(folder, clock)
    await locks.load()
    return locks


async def test_a_person_has_a_camera_for_the_time_asked_for(tmp_path: Path) -> None:
    """On the clock that nobody sets; whoever locks it last has it, and who had it can still be said."""
    clock = VirtualClock()
    await clock.advance(5)
    locks = CameraLocks(tmp_path, clock)
    assert (locks.due(YARD), locks.who(YARD), locks.all()) == (0.0, "", {})
    await locks.lock(YARD, "anna", 60 * S)
    await locks.lock(HALL, "bert", 30 * S)
    clock.jump(timedelta(hours=1))
    assert (locks.due(YARD), locks.due(HALL), locks.who(HALL)) == (65.0, 35.0, "bert")
    await clock.advance(29.9)
    assert locks.all() == {"nvr/1": "anna", "nvr/2": "bert"}
    await clock.advance(0.1)
    assert (locks.all(), locks.who(HALL)) == ({"nvr/1": "anna"}, "bert")
    await locks.lock(YARD, "carl", S)
    assert (locks.all(), locks.due(YARD)) == ({"nvr/1": "carl"}, 36.0)


async def test_what_is_unlocked_nobody_has(tmp_path: Path) -> None:
    """Neither now nor after a restart; what nobody had is not written down."""
    clock = VirtualClock()
    locks = CameraLocks(tmp_path, clock)
    await locks.lock(YARD, "anna", 60 * S)
    await locks.unlock(YARD)
    await locks.unlock(HALL)
    assert (locks.due(YARD), locks.who(YARD)) == (0.0, "")
    until = (START + 60 * S).isoformat()
    assert _file(tmp_path) == [LOCKED | {"until": until}, {"op": "unlock", "source": "nvr", "channel": "1"}]
    assert (await _loaded(tmp_path, clock)).all() == {}


@pytest.mark.parametrize(
    ("passed", "due"),
    [(timedelta(0), 67.0), (20 * S, 47.0), (59.5 * S, 7.5), (60 * S, 0.0), (90 * S, 0.0), (timedelta(days=-9), 67.0)],
)
async def test_a_restart_knows_what_is_left(tmp_path: Path, passed: timedelta, due: float) -> None:
    """By the wall clock, however that was set: never more than was asked for."""
    _write(tmp_path, LOCKED | {"until": (START + 60 * S).isoformat()})
    clock = VirtualClock()
    await clock.advance(7)
    clock.jump(passed - 7 * S)
    locks = await _loaded(tmp_path, clock)
    assert locks.due(YARD) == due
    if due:
        assert locks.all() == {"nvr/1": "anna"}


async def test_a_second_restart_knows_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the file was written anew meanwhile: with the time that is left and the time that was asked for."""
    monkeypatch.setattr(cameralocks, "_COMPACT_AT", 3)
    _write(tmp_path, LOCKED | {"until": (START + 60 * S).isoformat(), "seconds": 40.0})
    clock = VirtualClock()
    locks = await _loaded(tmp_path, clock)
    await locks.lock(HALL, "bert", 5 * S)
    await clock.advance(5)
    await locks.lock(Camera("nvr", "3"), "carl", 9 * S)
    assert len(_file(tmp_path)) == 3
    await locks.unlock(Camera("nvr", "3"))
    assert _file(tmp_path) == [LOCKED | {"until": (START + 40 * S).isoformat(), "seconds": 40.0}]
    assert (await _loaded(tmp_path, clock)).due(YARD) == 40.0


async def test_a_lock_that_comes_while_the_file_is_shortened_stays_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if who had it shortened has gone away meanwhile, and waits for the disk no more."""
    monkeypatch.undo()  # the disk takes its time
    monkeypatch.setattr(cameralocks, "_COMPACT_AT", 1)
    clock = VirtualClock()
    locks = await _loaded(tmp_path, clock)
    await locks.lock(YARD, "anna", 60 * S)
    async with left_while_compacting(monkeypatch, locks.lock(YARD, "bert", 60 * S)):
        await locks.lock(HALL, "carl", 60 * S)
    assert (await _loaded(tmp_path, clock)).all() == {"nvr/1": "bert", "nvr/2": "carl"}


async def test_what_cannot_be_written_down_holds_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a restart; the person is told."""

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    locks = CameraLocks(tmp_path, VirtualClock())
    monkeypatch.setattr(locks._file, "append", full)
    with pytest.raises(OSError, match="No space left"):
        await locks.lock(YARD, "anna", 60 * S)
    assert locks.all() == {"nvr/1": "anna"}
    with pytest.raises(OSError, match="No space left"):
        await locks.unlock(YARD)
    assert locks.all() == {}


async def test_a_record_of_unknown_form_is_reported_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read of a camera leaves it to the rules; the last that is said of one counts."""
    good = LOCKED | {"until": (START + 60 * S).isoformat()}
    hall = good | {"channel": "2"}
    bad: list[dict[str, Any]] = [
        {}, {"op": "lock", "source": "nvr"}, hall | {"until": 5}, hall | {"until": "then"}, hall | {"seconds": None},
        {"source": "nvr", "channel": "2"},
    ]  # fmt: skip
    _write(tmp_path, hall, *bad, good | {"who": "bert"}, good)
    locks = await _loaded(tmp_path, VirtualClock())
    assert locks.all() == {"nvr/1": "anna"}
    assert [record.levelname for record in caplog.records] == ["ERROR"] * len(bad)


async def test_locks_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """Rules would turn cameras that people have; the person is told which file, and what to do."""
    (tmp_path / "cameralocks.jsonl").mkdir()
    with pytest.raises(StartError) as caught:
        await _loaded(tmp_path, VirtualClock())
    assert caught.value.cause == f"{tmp_path / 'cameralocks.jsonl'} cannot be read (Is a directory)"
    assert caught.value.cure == "give the bridge's user the right to read it; it says which cameras people have"


async def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    """The folder can be moved away."""
    locks = CameraLocks(tmp_path, VirtualClock())
    await locks.lock(YARD, "anna", S)
    assert locks._file._descriptor is not None
    await locks.aclose()
    assert locks._file._descriptor is None
