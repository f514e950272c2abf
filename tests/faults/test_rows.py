"""The rows of the fault table at the sizes that fit into every run, each with the control that must fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.bench.faults import row_clock, row_disk, row_links, row_load, row_power, row_server, row_sinks, row_timers
from bridge.bench.faults.common import UnavailableError
from bridge.bench.faults.outcome import Outcome
from tests.faults.seed import chosen_seed


def passes(row: Callable[[Path, int, int], Outcome], folder: Path, size: int) -> None:
    """Run a row; a machine that cannot is skipped with the reason."""
    try:
        outcome = row(folder, size, chosen_seed())
    except UnavailableError as exc:
        pytest.skip(str(exc))
    print(outcome.as_json())
    assert outcome.problems == []
    assert outcome.control is None or outcome.control.failed, outcome.control


@pytest.mark.timeout(180)
def test_the_server_is_killed(tmp_path: Path) -> None:
    """F3: killed or told to end ten times under load, the server is back within 5 s and nothing promised is lost."""
    passes(row_server.measure, tmp_path, 10)


@pytest.mark.timeout(180)
def test_the_power_is_cut(tmp_path: Path) -> None:
    """F4: three power cuts under load lose nothing that was promised; with NATS' own setting for syncs they do."""
    passes(row_power.measure, tmp_path, 3)


@pytest.mark.timeout(120)
def test_the_disk_is_slow(tmp_path: Path) -> None:
    """L4: 300 events a second are held on a disk that takes 5 ms to sync."""
    passes(row_power.slow_sync, tmp_path, 5)


@pytest.mark.timeout(180)
def test_the_disk_is_full(tmp_path: Path) -> None:
    """F5: refused within 2 s, taken again within 10 s of room, twice; a server that nobody looks after stays dead."""
    passes(row_disk.measure, tmp_path, 2)


@pytest.mark.timeout(300)
def test_the_links_are_bad(tmp_path: Path) -> None:
    """F7: eight toxics on four links: nothing lost, every outage seen, a half-open socket within 10 s."""
    passes(row_links.measure, tmp_path, 1)


@pytest.mark.timeout(180)
def test_the_clock_jumps(tmp_path: Path) -> None:
    """F8: nobody is let in by a clock that is wrong, everybody again when it is right; timers are never early."""
    passes(row_clock.measure, tmp_path, 4)


@pytest.mark.timeout(180)
def test_a_receiver_hangs(tmp_path: Path) -> None:
    """F9: the other receiver is told as quickly as before, memory does not grow, and nothing is lost."""
    passes(row_sinks.measure, tmp_path, 8)


@pytest.mark.timeout(180)
def test_timers_run_out_over_kills(tmp_path: Path) -> None:
    """C2: each exactly once over three kills, never early, at most 2 s late while there is a bridge."""
    passes(row_timers.measure, tmp_path, 100)


@pytest.mark.timeout(120)
def test_a_steady_load(tmp_path: Path) -> None:
    """L1: 1,000 events a second through 100 rules: every event is stored, every order made and carried out."""
    passes(row_load.steady, tmp_path, 5)


@pytest.mark.timeout(180)
def test_a_burst_with_a_stop_in_the_middle(tmp_path: Path) -> None:
    """L2: everything is stored and done, and nobody is let in too late because of it."""
    passes(row_load.burst, tmp_path, 10_000)
