"""After a restore: nothing moves, and what a backup says of the state of things says nothing to doors."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.config.models import BridgeConfig
from bridge.safety import restored
from bridge.safety.facts import UNKNOWN
from bridge.safety.killswitch import KillSwitch
from bridge.safety.site import Safety
from bridge.schema.state import Told
from tests.bridge.actions.support import Locator
from tests.clock import START, VirtualClock

S = timedelta(seconds=1)
TICK = timedelta.resolution
AIRLOCK = ("airlock/1", "motion")


async def _knows(folder: Path, heard: timedelta) -> object:
    """What doors know at a start of something that was heard so long after START."""
    safety = Safety(BridgeConfig(), Locator(), folder, VirtualClock())
    await safety.remember({AIRLOCK: Told("off", None, START + heard)})
    return safety.facts.get(*AIRLOCK)


async def test_the_kill_switch_is_pulled_and_says_why(tmp_path: Path) -> None:
    """Whoever asks reads of which moment the data are."""
    await restored.stop(tmp_path, START - 3600 * S, VirtualClock())
    kill = KillSwitch(tmp_path, VirtualClock())
    said = await kill.state()
    assert said is not None
    assert (said.principal, f"{START - 3600 * S:%H:%M:%S} UTC" in said.reason) == ("restore", True)


async def test_who_had_pulled_it_before_the_backup_still_has(tmp_path: Path) -> None:
    """Their reason stands."""
    kill = KillSwitch(tmp_path, VirtualClock())
    await kill.pull("anna", "smoke")
    await restored.stop(tmp_path, START, VirtualClock())
    said = await kill.state()
    assert said is not None
    assert said.principal == "anna"


@pytest.mark.parametrize("backup", [-3600 * S, 3600 * S], ids=["earlier", "by a clock that is ahead"])
async def test_doors_know_only_what_was_heard_after_the_restore(tmp_path: Path, backup: timedelta) -> None:
    """At every start from then on; whichever of both clocks is ahead."""
    assert await _knows(tmp_path, -60 * S) == "off"
    await restored.stop(tmp_path, START + backup, VirtualClock())
    since = max(backup, 0 * S)
    assert await _knows(tmp_path, since - TICK) is UNKNOWN
    assert await _knows(tmp_path, since) == "off"
    assert json.loads((tmp_path / restored.FILE).read_text()) == {
        "since": (START + since).isoformat(),
        "backup": (START + backup).isoformat(),
    }


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"since": "soon"}', b'{"since": 7}'])
async def test_a_note_that_cannot_be_read_counts_as_a_restore_just_now(tmp_path: Path, content: bytes) -> None:
    """Unknown keeps a door shut."""
    (tmp_path / restored.FILE).write_bytes(content)
    assert await _knows(tmp_path, 3600 * S) is UNKNOWN
