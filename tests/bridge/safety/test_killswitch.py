"""The kill switch: latched, visible from outside, and on when in doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.safety.killswitch import KillSwitch, Pulled
from tests.clock import START, VirtualClock


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


async def test_when_it_cannot_be_read_it_counts_as_pulled(tmp_path: Path) -> None:
    """An error other than "no such file" is no permission to switch."""
    (tmp_path / "safety").write_text("a file where the folder should be")
    assert KillSwitch(tmp_path / "safety", VirtualClock()).pulled


async def test_resetting_what_was_never_pulled_is_fine(tmp_path: Path) -> None:
    """Idempotent, also before the folder exists."""
    switch = KillSwitch(tmp_path / "safety", VirtualClock())
    await switch.reset("anna", "to be sure")
    assert not switch.pulled
