"""Every guard guards: its scenario is refused with it, and moves something without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.safety import gate, guards, outputs
from bridge.safety.doors import DoorKeeper
from bridge.schema.orders import Result
from tests.bridge.actions.support import Site, make_order, plate_event, running
from tests.bridge.safety.scenarios import DOORS, ENOUGH, GATE, OUTPUTS, Scenario
from tests.clock import VirtualClock

TABLES = {"gate": GATE, "doors": DOORS, "outputs": OUTPUTS}
HOME = {"gate": (gate, "GUARDS"), "doors": (guards, "DOOR_GUARDS"), "outputs": (outputs, "OUTPUT_GUARDS")}
CASES = [
    pytest.param(table, scenario, id=f"{table}-{scenario.guard}-{scenario.reason}-{n}")
    for table, scenarios in TABLES.items()
    for n, scenario in enumerate(scenarios)
]


def _table(name: str) -> tuple[Callable[..., Any], ...]:
    module, attribute = HOME[name]
    return tuple(getattr(module, attribute))


async def _play(folder: Path, scenario: Scenario) -> tuple[Result, int]:
    """Return how the order ended, and how often it moved something."""
    clock = VirtualClock()
    async with running(folder, clock, doors=scenario.doors, outputs=scenario.outputs, **scenario.site) as site:
        order = await scenario.act(site)
        before = _moved(site)
        result = await site.do(order)
        return result, _moved(site) - before


def _moved(site: Site) -> int:
    return sum(on for _, _, on in site.device.switched) + len(site.device.ptz)


@pytest.mark.parametrize(("table", "scenario"), CASES)
async def test_what_a_guard_refuses_does_not_move(tmp_path: Path, table: str, scenario: Scenario) -> None:
    """Each scenario ends with its guard's reason, and the device hears nothing."""
    result, moved = await _play(tmp_path, scenario)
    assert (result.reason, moved) == (scenario.reason, 0)
    assert result.outcome in ("refused", "expired")


@pytest.mark.parametrize(("table", "scenario"), CASES)
async def test_without_its_guard_it_would_have_moved(
    tmp_path: Path, table: str, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remove one guard, and its scenario moves something: no guard stands there for nothing."""
    module, attribute = HOME[table]
    left = tuple(guard for guard in _table(table) if guard.__name__ != scenario.guard)
    assert len(left) == len(_table(table)) - 1
    monkeypatch.setattr(module, attribute, left)
    if table != "gate":  # some of them are asked once more right before sending
        monkeypatch.setattr(guards, scenario.guard, lambda asked: None)
    result, moved = await _play(tmp_path, scenario)
    assert (result.outcome, moved) == ("done", 1)


@pytest.mark.parametrize("scenario", ENOUGH)
async def test_two_readings_or_one_and_a_second_factor_open(tmp_path: Path, scenario: Scenario) -> None:
    """The reading that was missing makes the difference, by the same reader, soon and sure enough."""
    result, moved = await _play(tmp_path, scenario)
    assert (result.outcome, moved) == ("done", 1)


@pytest.mark.parametrize("table", TABLES)
def test_every_guard_has_a_scenario(table: str) -> None:
    """Whoever adds a guard shows what it is for."""
    assert {guard.__name__ for guard in _table(table)} == {scenario.guard for scenario in TABLES[table]}


MUTANTS: dict[str, tuple[type, str, dict[str, Any], str]] = {
    "who must agree": (DoorKeeper, "_people_agree", {"mode": "confirm"}, "needs_confirmation"),
    "two people": (DoorKeeper, "_people_agree", {"persons": 2}, "needs_confirmation"),
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_people_are_needed_where_the_door_says_so(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the question it opens; with it, it waits."""
    owner, method, door, reason = MUTANTS[name]
    scenario = Scenario(name, reason, _plain, door=door)
    result, moved = await _play(tmp_path / "with", scenario)
    assert (result.reason, moved) == (reason, 0)

    async def everybody_agrees(*_: Any) -> None:
        pass

    monkeypatch.setattr(owner, method, everybody_agrees)
    result, moved = await _play(tmp_path / "without", scenario)
    assert (result.outcome, moved) == ("done", 1)


async def _plain(site: Site) -> Any:
    return make_order(site.clock, "open", {"door": "main"}, 1, plate_event(site.clock, 1))


async def test_a_rule_cannot_go_round_a_door(tmp_path: Path) -> None:
    """A door's output is no relay for rules: `on` and `pulse` are refused, `off` is always done."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        on = await site.do(make_order(clock, "relay", {"output": "barrier"}, 1))
        off = await site.do(make_order(clock, "relay", {"output": "barrier", "state": "off"}, 2))
        assert (on.reason, off.outcome, _moved(site)) == ("door_output", "done", 0)
        site.outputs._doors.clear()
        without = await site.do(make_order(clock, "relay", {"output": "barrier"}, 3))
        assert (without.outcome, _moved(site)) == ("done", 1)


async def test_what_can_hurt_nobody_has_no_limits(tmp_path: Path) -> None:
    """A lamp may be switched again and again, but not while the bridge starts or the kill switch is pulled."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        for number in range(30):
            order = make_order(clock, "relay", {"output": "lamp", "state": "on"}, number)
            assert (await site.do(order)).outcome == "done"
        await site.kill.pull("anna", "smoke")
        last = await site.do(make_order(clock, "relay", {"output": "lamp", "state": "on"}, 99))
    assert last.reason == "kill_switch"
