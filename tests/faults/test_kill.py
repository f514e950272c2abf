"""The bridge is killed with SIGKILL, at every named point and at random ones, and the promise holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.bench.faults import row_kill
from bridge.bench.faults.check import faults
from bridge.bench.faults.common import ROOT, FaultError
from tests.faults.seed import chosen_seed

KILLS = 25
"""Of each of the two random runs."""
POINTS = row_kill.points()


def _name(scenario: row_kill.Scenario) -> str:
    return "-".join((scenario.point, str(scenario.nth), *scenario.actions))


def test_every_point_is_placed_exactly_once() -> None:
    """Each crash point is placed exactly once in the product's source, and none that is not in the table."""
    placed = [
        name
        for folder in ("bridge", "connectors", "rules")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in re.findall(r'\bcrash_point\("([^"]+)"\)', path.read_text())
    ]
    assert sorted(placed) == sorted(POINTS)
    assert len(POINTS) > 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", list(row_kill.scenarios()), ids=_name)
def test_killed_at_a_point(tmp_path: Path, scenario: row_kill.Scenario) -> None:
    """Killed at a named point and started again, the bridge keeps its promise."""
    assert faults(row_kill.at_point(tmp_path, scenario)) == []


@pytest.mark.timeout(300)
def test_a_point_that_is_not_passed_is_a_failure(tmp_path: Path) -> None:
    """A scenario that does not come to its point has shown nothing, and says so."""
    with pytest.raises(FaultError, match=r"did not die at effect\.waiting"):
        row_kill.at_point(tmp_path, row_kill.Scenario("effect.waiting", 1, row_kill.OPEN), patience=6)


def test_every_point_has_a_way() -> None:
    """The process itself comes to each point, but for those to which tests on the bus go."""
    elsewhere = {"engine.ahead", "engine.long", "engine.copied", "effect.buried"}
    assert set(POINTS) - {way.point for way in row_kill.scenarios()} == elsewhere


@pytest.mark.timeout(400)
@pytest.mark.parametrize("run", [1, 2])
def test_killed_at_random(tmp_path: Path, run: int) -> None:
    """Killed again and again at random moments, while it starts and while it works, the bridge keeps its promise."""
    assert row_kill.only_kills(tmp_path, KILLS, chosen_seed() + run).problems == []


@pytest.mark.timeout(300)
def test_without_the_effect_ledger_it_does_not(tmp_path: Path) -> None:
    """A bridge that has forgotten what it did does it again, and the checker says so."""
    control = row_kill.without_ledger(tmp_path)
    assert control.failed, control
