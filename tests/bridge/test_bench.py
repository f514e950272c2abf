"""The benchmarks run from the command line and say what they found in one form; how fast is not tested."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.bench.device import expected, plate
from bridge.bench.latency import percentile
from bridge.bench.report import Figure, Goal

ROW = {"what", "value", "unit", "floor", "ratio", "goal", "met"}
GOALS = {
    "pipeline": {"socket to order, sync always": "≥ 15000", "socket to order, sync interval": "≥ 20000"},
    "backtest": {"back-test, 100 rules": "≥ 20000"},
    "rules": {
        "an event, 1,000 rules, 5 touched": "≤ 10",
        "growth from 10 to 1,000 rules": "≤ 2 × floor",
        "load and compile 1,000 rules": "≤ 5",
        "memory with 2,000 live keys, nats-server too": "≤ 300",
        "load 2,000 live keys at start": "≤ 5",
    },
    "latency": {"frame to command, p50": "≤ 3 × floor", "frame to command, p99": "≤ 5 × floor"},
}


async def bench(name: str, folder: Path, patience: float = 60) -> tuple[Any, str]:
    """Run a benchmark in its smallest form; return its JSON and what it said meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "bench", name, "--json", "--events", "200", "--dir", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    stdout, stderr = await asyncio.wait_for(process.communicate(), patience)
    assert process.returncode == 0, stderr.decode()
    return json.loads(stdout), stderr.decode()


@pytest.mark.parametrize("name", GOALS)
async def test_a_benchmark_prints_its_figures_beside_a_floor(name: str, tmp_path: Path) -> None:
    """`bench <name> --json` prints one object: figures with floor, ratio and goal, and the machine."""
    found, said = await bench(name, tmp_path)
    assert found.keys() == {"bench", "results", "machine"}
    assert found["bench"] == name
    assert all(row.keys() == ROW for row in found["results"])
    assert {row["what"]: row["goal"] for row in found["results"] if row["goal"]} == GOALS[name]
    judged = [row for row in found["results"] if row["goal"]]
    assert all(row["value"] > 0 and row["floor"] > 0 and row["met"] in (True, False) for row in judged)
    assert found["machine"]["cores"] == os.cpu_count()
    assert "round 1" in said
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib is refused in async functions


@pytest.mark.timeout(180)
async def test_a_bridge_at_rest_is_weighed_with_all_its_processes(tmp_path: Path) -> None:
    """Its own and nats-server's when no clip was made; what they share counts once in the smaller figure."""
    found, _ = await bench("rest", tmp_path, 150)
    whole, own, shared, cpu = found["results"]
    assert [row["goal"] for row in found["results"]] == ["≤ 150", None, None, "≤ 3"]
    assert whole["what"] == "memory, 2 processes"
    assert whole["value"] > own["value"] > 0
    assert whole["value"] > shared["value"] > shared["floor"] > 0
    assert cpu["unit"] == "% of a core"
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib is refused in async functions


def test_a_goal_of_a_value_and_one_of_a_ratio() -> None:
    """A goal says whether it is reached, by the value itself or by its ratio to the floor."""
    assert Figure("rate", 15_000, "events/s", 30_000, Goal(15_000, "value", "more")).met is True
    assert Figure("rate", 14_999, "events/s", 1, Goal(15_000, "value", "more")).met is False
    assert Figure("time", 3, "ms", 1, Goal(3, "ratio", "less")).met is True
    assert Figure("time", 3.1, "ms", 1, Goal(3, "ratio", "less")).met is False
    assert Figure("time", 1, "ms", None, Goal(3, "ratio", "less")).met is None
    assert Figure("size", 1, "bytes").met is None


def test_one_event_in_twenty_has_a_rule_and_the_last_is_one_of_them() -> None:
    """The end of a run can be told from the last event, because it brings about an order."""
    hits = [number for number in range(200) if plate(number, 20).startswith("HIT")]
    assert len(hits) == expected(200, 20) == 10
    assert hits[-1] == 199


def test_percentiles_are_milliseconds() -> None:
    """Times come in seconds and are told in milliseconds."""
    assert percentile([number / 1000 for number in range(101)], 50) == pytest.approx(50)
    assert percentile([number / 1000 for number in range(101)], 99) == pytest.approx(99)
