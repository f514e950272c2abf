"""A door that goes by a channel number is held when the number means another camera."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import DoorConfig, OutputConfig
from bridge.safety import latch
from bridge.safety.desk import Desk
from bridge.safety.swaps import Swaps
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import ChannelSwapped
from tests.bridge.actions.support import Site, plate_event, until
from tests.clock import VirtualClock, settle

OUTPUTS = {"gate": OutputConfig(source="nvr", channel="1", relay="r1", idle="off")}


def _state(channel: str) -> dict[str, Any]:
    return {"entity": f"nvr/{channel}", "attribute": "motion", "is": "off"}


DOORS = {
    "relay": DoorConfig(output="gate"),
    "requires": DoorConfig(output="gate", requires=(_state("2"),)),
    "blocks": DoorConfig(output="gate", blocks=(_state("3"),)),
    "confirmed": DoorConfig(output="gate", confirmed_by=_state("4")),
    "second": DoorConfig(output="gate", second_factor=_state("5")),
}


def _site(folder: Path) -> tuple[Site, Swaps]:
    site = Site(folder, VirtualClock(), doors=DOORS, outputs=OUTPUTS)
    return site, Swaps(OUTPUTS, DOORS, Desk("site", site.safety, site.clock))


def _swap(site: Site, one: str, other: str, **told: Any) -> VmsEvent:
    fields = {"type": "channel.swapped", "subject": one, "data": ChannelSwapped(other=other)} | told
    return plate_event(site.clock, 1, **fields)


def _held(site: Site) -> set[str]:
    return {name for name, hold in site.doors.holds.items() if hold.pulled}


@pytest.mark.parametrize(
    ("one", "other", "held"),
    [
        ("1", "9", set(DOORS)),
        ("9", "2", {"requires"}),
        ("3", "4", {"blocks", "confirmed"}),
        ("5", "9", {"second"}),
        ("8", "9", set()),
    ],
)
async def test_a_swap_holds_the_doors_that_go_by_it(tmp_path: Path, one: str, other: str, held: set[str]) -> None:
    """By their relay, or by what they ask for; until a person lets go."""
    site, swaps = _site(tmp_path)
    swaps.heard(_swap(site, one, other))
    await until(lambda: {path.name for path in (tmp_path / "holds").glob("*")} == held)
    await settle()
    assert _held(site) == held
    for name in held:
        said = await site.doors.holds[name].state()
        assert said is not None
        assert (said.principal, f"nvr/{one} and nvr/{other}" in said.reason) == ("event:nvr", True)


@pytest.mark.parametrize(
    "told",
    [
        {"origin": Origin.REPLAY},
        {"origin": Origin.TEST},
        {"source": "site/other"},
        {"type": "channel.renamed", "data": {"name": "yard"}},
        {"type": "channel.added", "data": {}},
    ],
)
async def test_nothing_else_holds_a_door(tmp_path: Path, told: dict[str, Any]) -> None:
    """Neither what is played again, nor another system's channels, nor another name for a camera, nor a new camera."""
    site, swaps = _site(tmp_path)
    swaps.heard(_swap(site, "1", "9", **told))
    await settle()
    assert _held(site) == set()


async def test_it_holds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As whatever a person stops."""
    site, swaps = _site(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(latch, "write_synced", full)
    swaps.heard(_swap(site, "2", "9"))
    await until(lambda: not swaps._holding)
    assert _held(site) == {"requires"}
