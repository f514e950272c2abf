"""The protections of a site, put together: each sees what its configuration says, and all see the same."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import BridgeConfig
from bridge.errors import ActionRejectedError
from bridge.safety.latch import Pulled
from bridge.safety.site import Safety
from bridge.schema.event import VmsEvent
from tests.bridge.actions.support import SPECS, Device, Locator, make_order, plate_event, state_event
from tests.clock import START, VirtualClock

OUTPUT = {"source": "nvr", "channel": "1", "relay": "r1", "idle": "off"}
DOOR = {"output": "gate", "mode": "act"}


def _config(**said: Any) -> BridgeConfig:
    return BridgeConfig.model_validate({"safety": {"hold_off": "0s"}} | said)


class Yard:
    """A site that is safe, and its device."""

    def __init__(self, folder: Path, **said: Any) -> None:
        self.clock = VirtualClock()
        self.device, services = Device(self.clock), Locator()
        services.put_source("nvr", self.device)
        self.safety = Safety(_config(**said), services, folder, self.clock)

    def verdict(self, event: VmsEvent | None = None) -> str | None:
        """What the gate says to a relay that is to be switched on."""
        spec = SPECS["relay"]
        params = {"output": "gate", "state": "on"}
        order = make_order(self.clock, "relay", params, 1, event)
        reason = self.safety.gate.check(order, spec, spec.params.model_validate(params)).reason
        return None if reason is None else reason.value


async def test_the_gate_sees_every_latch_and_every_clock_of_the_site(tmp_path: Path) -> None:
    """As each is pulled, learned or doubted; and lets through what nothing speaks against."""
    yard = Yard(tmp_path)
    await yard.safety.load(first=True)
    assert yard.verdict() == "clock_unknown"
    yard.safety.clocks.learn("nvr", timedelta(seconds=2))
    assert yard.verdict() is None
    await yard.safety.kill.pull("anna", "smoke")
    assert yard.verdict() == "kill_switch"
    await yard.safety.kill.reset("anna", "air is clear")
    await yard.safety.breaker.pull("breaker", "too much")
    assert yard.verdict() == "breaker"
    assert all(each.is_relative_to(tmp_path) for each in (yard.safety.kill._path, yard.safety.breaker._path))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"dry_run": True}, "dry_run"),
        ({"safety": {"hold_off": "5s"}}, "starting"),
        ({"safety": {"hold_off": "0s", "clock_tolerance": "1s"}}, "clock_off"),
        ({"safety": {"hold_off": "0s", "clock_tolerance": "1s", "trusted_clocks": ["nvr"]}}, None),
    ],
)
async def test_the_gate_goes_by_what_is_configured(tmp_path: Path, said: dict[str, Any], reason: str | None) -> None:
    """That nothing moves, for how long it holds off after a start, how far clocks may be off, and whose are right."""
    yard = Yard(tmp_path, **said)
    await yard.safety.load(first=True)
    yard.safety.clocks.learn("nvr", timedelta(seconds=2))
    assert yard.verdict() == reason
    await yard.clock.advance(5)
    assert yard.verdict() == (None if reason == "starting" else reason)


async def test_nothing_moves_while_a_change_for_all_of_it_waits(tmp_path: Path) -> None:
    """Until somebody agrees; then all of it does."""
    await Yard(tmp_path).safety.load(first=True)
    yard = Yard(tmp_path, safety={"hold_off": "0s", "clock_tolerance": "9s"})
    await yard.safety.load(first=True)
    yard.safety.clocks.learn("nvr", timedelta(0))
    assert yard.verdict() == "unconfirmed"
    assert yard.safety.settings.waits is not None
    await yard.safety.settings.agree(yard.safety.settings.waits.confirm, "anna", "measured")
    assert yard.verdict() is None


async def test_our_own_clock_speaks_for_what_it_has_heard(tmp_path: Path) -> None:
    """What was heard before it was set opens nothing."""
    yard = Yard(tmp_path)
    await yard.safety.load(first=True)
    yard.safety.clocks.learn("nvr", timedelta(0))
    event = plate_event(yard.clock, 1)
    yard.safety.own_clock.heard(event)
    yard.clock.jump(timedelta(hours=-1))
    yard.safety.own_clock.heard(plate_event(yard.clock, 2))
    assert yard.verdict(event) == "clock_stepped"


@pytest.mark.parametrize(
    ("said", "moves"),
    [
        ({}, False),
        ({"outputs": {"gate": OUTPUT}}, True),
        ({"outputs": {"gate": OUTPUT}, "doors": {"main": DOOR}}, True),
    ],
)
def test_a_site_without_outputs_moves_nothing(tmp_path: Path, said: dict[str, Any], moves: bool) -> None:
    """Then nobody need be told that a clock keeps anything shut."""
    assert Yard(tmp_path, **said).safety.moves is moves


async def test_a_door_and_its_output_share_what_they_know(tmp_path: Path) -> None:
    """Its openings, its debts, its breaker, what was read, its facts and its changes; all of it in one folder."""
    door = DOOR | {"reads": 2, "cooldown": "0s", "requires": [{"entity": "yard", "attribute": "light", "is": "on"}]}
    yard = Yard(tmp_path, outputs={"gate": OUTPUT | {"cooldown": "0s"}}, doors={"main": door})
    safety = yard.safety
    await safety.load(first=True)
    safety.facts.heard(state_event(yard.clock, "yard", "light", "off"))
    order = make_order(yard.clock, "open", {"door": "main"}, 1)

    async def refused() -> str:
        with pytest.raises(ActionRejectedError) as caught:
            await safety.doors.open("main", order, lambda: None)
        return caught.value.reason or ""

    assert await refused() == "few_reads"
    again = plate_event(yard.clock, 9, data=order.trigger.data)
    safety.readings.heard(again)
    assert await refused() == "interlock"
    safety.facts.heard(state_event(yard.clock, "yard", "light", "on"))
    assert await refused() == "no_journal"
    assert safety.openings.others("gate", make_order(yard.clock, "open", {"door": "main"}, 2)) == []
    assert safety.openings.file.path == tmp_path / "doors.jsonl"
    assert safety.doors.pending.all() == []
    await safety.doors.holds["main"].pull("anna", "it is painted")
    assert await refused() == "hold"
    assert await safety.doors.holds["main"].state() == Pulled("anna", "it is painted", START.isoformat())
    assert (tmp_path / "holds" / "main").exists()
    await safety.aclose()
    assert safety.openings.file._descriptor is None


async def test_what_is_loaded_is_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    """Of every part: openings, cameras and what waited for people; debts by themselves, since they come before."""
    target = '{"kind":"relay","source":"nvr","channel":"1","relay":"r1"}'
    at = START.isoformat()
    opening = f'{{"op":"open","output":"gate","order":"o","event":"e","at":"{at}"}}'
    (tmp_path / "releases.jsonl").write_text(f'{{"op":"arm","id":"o1","target":{target}}}\n')
    (tmp_path / "doors.jsonl").write_text(opening + "\n")
    (tmp_path / "cameras.jsonl").write_text('{"op":"hold","source":"nvr","channel":"7","home":"yard"}\n')
    waited = '{"op":"waits","id":"1","order":"a","door":"main","rule":"r","event":"e"}'
    (tmp_path / "pending.jsonl").write_text(waited + "\n")
    yard = Yard(tmp_path)
    await yard.safety.load(first=True)
    assert yard.safety.releases.owed() == {}
    await yard.safety.releases.load()
    assert [str(target) for target in yard.safety.releases.owed()] == ["relay/nvr/1/r1"]
    assert len(yard.safety.openings.others("gate", make_order(yard.clock, "open", {"door": "main"}))) == 1
    assert yard.safety.cameras.held() == {"nvr/7": ""}
    assert list(yard.safety.doors.pending._untold) == ["a"]


def test_what_a_restart_would_forget_is_told_of(tmp_path: Path) -> None:
    """Of everything that stops something."""
    safety = Yard(tmp_path).safety
    assert safety.unwritten() == []
    safety.own_clock.unwritten = True
    assert safety.unwritten() == [safety.own_clock]
