"""The fault table: which rows there are, how large they are in each form, and how they are run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import (
    row_clock,
    row_disk,
    row_kill,
    row_links,
    row_load,
    row_power,
    row_server,
    row_sinks,
    row_suite,
    row_timers,
)
from .common import FaultError, UnavailableError
from .outcome import Outcome

Measure = Callable[[Path, int, int], Outcome]
"""A folder, a size, a seed."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    fault: str
    measure: Measure
    short: int
    """Its size in the short form: half a minute at most."""
    release: int
    large: Measure | None = None
    """What the long form runs, where more than the size is larger."""
    named: bool = False
    """Left out of the short form unless it is asked for by name."""


_SOME_LINKS = partial(row_links.measure, kinds=("latency", "half_open", "slices", "refuse"))
"""What every toxic alone shows takes minutes: these four show that it is late, dead, torn and gone."""

ROWS: Mapping[str, Row] = {
    "F1": Row("the bridge is killed at random", row_kill.at_random, 2, 200),
    "F2": Row(
        "the bridge is killed at every named point", row_kill.at_some_points, 3, 2, row_kill.at_points, named=True
    ),
    "F3": Row("nats-server is killed or ended", row_server.measure, 3, 100),
    "F4": Row("the power is cut", row_power.measure, 1, 30, partial(row_power.measure, events=34_500)),
    "F5": Row("the disk is full", row_disk.measure, 1, 10),
    "F7": Row("every link is bad in every way", _SOME_LINKS, 1, 10, row_links.measure, named=True),
    "F8": Row("the clock jumps", row_clock.measure, 2, 24, named=True),
    "F9": Row("a receiver hangs", row_sinks.measure, 4, 600, named=True),
    "C2": Row("timers run out over kills", row_timers.measure, 60, 20_000, named=True),
    "L1": Row("a steady load", row_load.steady, 10, 600, named=True),
    "L2": Row("a burst, stopped in the middle", row_load.burst, 5_000, 50_000, named=True),
    "L4": Row("the disk is slow", row_power.slow_sync, 3, 60, named=True),
    **{
        suite.row: Row(suite.fault, suite.measure, short, release, named=True)
        for suite, short, release in (
            (row_suite.HISTORY, 50, 50_000),
            (row_suite.GUARDS, 1, 1),
            (row_suite.PULSE, 2, 50),
            (row_suite.KILL_SWITCH, 4, 50),
            (row_suite.STORM, 1, 5),
            (row_suite.OUTAGES, 10, 100),
            (row_suite.MALFORMED, 2_000, 200_000),
            (row_suite.FLOOD, 200, 2_000),
            (row_suite.INJECTION, 1, 1),
            (row_suite.BOMBS, 1, 1),
            (row_suite.SECRETS, 1, 1),
            (row_suite.TRAIL, 600, 20_000),
        )
    },
}
_AT_ONCE = 4
"""Rows of the short form that run beside each other: most of their time is waiting."""


def run(
    names: Sequence[str], folder: Path, seed: int, *, release: bool, say: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Run rows: at their release sizes one after the other, in short some at once."""
    with ThreadPoolExecutor(1 if release else _AT_ONCE) as pool:
        tasks = [pool.submit(_one, name, folder, seed, release, say) for name in names]
        return [task.result() for task in tasks]


def short_rows() -> list[str]:
    """Return the rows that the short form runs when none are named."""
    return [name for name, row in ROWS.items() if not row.named]


def _one(name: str, folder: Path, seed: int, release: bool, say: Callable[[str], None]) -> Outcome:
    row = ROWS[name]
    size = row.release if release else row.short
    measure = row.large or row.measure if release else row.measure
    say(f"{name}: {row.fault}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}-", ignore_cleanup_errors=True) as place:
        try:
            outcome = measure(Path(place), size, seed)
            if release:
                outcome.judge_time()
        except UnavailableError as exc:
            outcome = Outcome(name, row.fault, str(size), skipped=str(exc))
        except FaultError as exc:
            outcome = Outcome(name, row.fault, str(size), problems=[str(exc)])
    outcome.seconds = time.monotonic() - began
    say(f"{name}: {verdict(outcome)} in {outcome.seconds:.0f} s")
    return outcome


def verdict(outcome: Outcome) -> str:
    """Return in one or two words how a row ended."""
    if outcome.skipped:
        return f"skipped ({outcome.skipped})"
    if outcome.problems:
        return "FAILED"
    return "passed" if outcome.passed else "shows nothing: its control passed too"
