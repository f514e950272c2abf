"""The rows of the fault table at the sizes that fit into every run, each with the control that must fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.bench.faults import row_disk, row_power, row_server
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
