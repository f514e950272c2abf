"""The kill switch: latched, visible from outside, and on when in doubt."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from bridge.safety import latch
from bridge.safety.killswitch import KillSwitch, Pulled
from tests.clock import START, VirtualClock, settle


async def test_it_is_latched_over_a_restart(tmp_path: Path) -> None:
    """Another process on the same directory sees who pulled it and why."""
    await KillSwitch(tmp_path / "safety", VirtualClock()).pull("anna", "smoke")
    later = KillSwitch(tmp_path / "safety", VirtualClock())
    assert later.pulled
    assert await later.state() == Pulled("anna", "smoke", START.isoformat())
    await later.reset("bert", "all clear")
    assert not later.pulled
    assert await later.state() is None


async def test_a_file_made_by_hand_pulls_it(tmp_path: Path) -> None:
    """`touch safety/kill` is enough, and removing the file resets it."""
    switch = KillSwitch(tmp_path, VirtualClock())
    (tmp_path / "kill").touch()
    assert switch.pulled
    assert await switch.state() == Pulled("not said", "not said", "not said")
    (tmp_path / "kill").unlink()
    assert not switch.pulled


async def test_it_holds_although_it_cannot_be_written(tmp_path: Path) -> None:
    """A full disk does not keep anybody from stopping the gate; that a restart would forget is said."""
    blocked = tmp_path / "safety"
    blocked.write_text("a file where the folder should be")
    switch = KillSwitch(blocked, VirtualClock())
    with pytest.raises(OSError, match="safety"):
        await switch.pull("anna", "smoke")
    assert switch.pulled


async def test_it_holds_while_it_is_being_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes its time, or takes nothing, leaves nobody in front of a gate that moves."""
    switch, seen = KillSwitch(tmp_path, VirtualClock()), []

    def full(*_: object) -> None:
        seen.append(switch.pulled)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(latch, "write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        await switch.pull("anna", "smoke")
    assert (seen, switch.pulled) == ([True], True)
    assert await switch.state() == Pulled("anna", "smoke", START.isoformat())
    await switch.reset("bert", "all clear")
    assert not switch.pulled


async def test_who_pulls_it_while_it_is_being_reset_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reset on a slow disk does not take away what was pulled after it was asked for; over a restart neither."""
    switch, begun, go_on, written = KillSwitch(tmp_path, VirtualClock()), *(threading.Event() for _ in range(3))
    await switch.pull("anna", "smoke")
    remove, write = switch._remove, latch.write_synced

    def slowly() -> None:
        begun.set()
        assert go_on.wait(5)
        remove()

    def in_its_time(path: Path, content: bytes) -> None:
        assert written.wait(5)
        write(path, content)

    monkeypatch.setattr(switch, "_remove", slowly)
    monkeypatch.setattr(latch, "write_synced", in_its_time)
    resetting = asyncio.create_task(switch.reset("bert", "all clear"))
    assert await asyncio.to_thread(begun.wait, 5)
    pulling = asyncio.create_task(switch.pull("carl", "a child"))
    await settle()
    go_on.set()
    await resetting
    assert switch.pulled
    written.set()
    await pulling
    assert switch.pulled
    assert await KillSwitch(tmp_path, VirtualClock()).state() == Pulled("carl", "a child", START.isoformat())
    await switch.reset("bert", "all clear")
    assert not switch.pulled


async def test_what_could_not_be_written_is_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever clears the disk and restarts must not have reset it."""
    switch = KillSwitch(tmp_path, VirtualClock())
    await switch.write_again()
    assert not switch.unwritten

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(latch, "write_synced", full)
    for write in (switch.pull("anna", "smoke"), switch.write_again()):
        with pytest.raises(OSError, match="No space left"):
            await write
    assert (switch.unwritten, KillSwitch(tmp_path, VirtualClock()).pulled) == (True, False)
    monkeypatch.undo()
    await switch.write_again()
    assert not switch.unwritten
    assert await KillSwitch(tmp_path, VirtualClock()).state() == Pulled("anna", "smoke", START.isoformat())


async def test_what_was_reset_meanwhile_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the disk looks again when it is free."""
    switch = KillSwitch(tmp_path, VirtualClock())
    await switch._writing.acquire()
    pulling = asyncio.create_task(switch.pull("anna", "smoke"))
    await settle()
    again = asyncio.create_task(switch.write_again())
    await asyncio.wait_for(again, 5)
    switch._unwritten = None
    switch._writing.release()
    await pulling
    assert not switch.pulled


async def test_a_reset_that_fails_leaves_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is gone, but its folder cannot be synced: whoever was told that the reset failed relies on it."""
    switch = KillSwitch(tmp_path, VirtualClock())
    await switch.pull("anna", "smoke")

    def many(_: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(latch, "sync_dir", many)
    other = KillSwitch(tmp_path / "other", VirtualClock())
    (tmp_path / "other").mkdir()
    for each in (switch, other):
        with pytest.raises(OSError, match="Too many open files"):
            await each.reset("bert", "all clear")
    assert not other.pulled, "it was not on"
    assert await switch.state() == Pulled("bert", "the reset failed", START.isoformat())
    monkeypatch.undo()
    await switch.reset("bert", "all clear")
    assert not switch.pulled


async def test_once_written_down_the_file_alone_says_it(tmp_path: Path) -> None:
    """Whoever removes the file has reset it, also for the process that pulled it."""
    switch = KillSwitch(tmp_path, VirtualClock())
    await switch.pull("anna", "smoke")
    (tmp_path / "kill").unlink()
    assert not switch.pulled


async def test_the_log_says_who_pulled_which_latch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing else is left, the log of the service is read."""
    switch = KillSwitch(tmp_path, VirtualClock())
    await switch.pull("anna", "smoke")
    await switch.reset("bert", "all clear")
    said = [[getattr(record, name) for name in ("latch", "principal", "reason")] for record in caplog.records]
    assert said == [["kill switch", "anna", "smoke"], ["kill switch", "bert", "all clear"]]


async def test_when_it_cannot_be_read_it_counts_as_pulled(tmp_path: Path) -> None:
    """An error other than "no such file" is no permission to switch."""
    (tmp_path / "safety").write_text("a file where the folder should be")
    assert KillSwitch(tmp_path / "safety", VirtualClock()).pulled


async def test_resetting_what_was_never_pulled_is_fine(tmp_path: Path) -> None:
    """Idempotent, also before the folder exists."""
    switch = KillSwitch(tmp_path / "safety", VirtualClock())
    await switch.reset("anna", "to be sure")
    assert not switch.pulled
