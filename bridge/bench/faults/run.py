"""The fault table: which rows there are, how large they are in each form, and how they are run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import row_clock, row_disk, row_kill, row_links, row_load, row_power, row_server, row_sinks, row_timers
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
    """Its size in the short form; 0: only in the long one."""
    release: int
    large: Measure | None = None
    """What the long form runs, where more than the size is larger."""


ROWS: Mapping[str, Row] = {
    "F1": Row("the bridge is killed at random", row_kill.at_random, 2, 200),
    "F2": Row("the bridge is killed at every named point", row_kill.at_points, 0, 2),
    "F3": Row("nats-server is killed or ended", row_server.measure, 3, 100),
    "F4": Row("the power is cut", row_power.measure, 1, 30, partial(row_power.measure, events=34_500)),
    "F5": Row("the disk is full", row_disk.measure, 1, 10),
    "F7": Row("every link is bad in every way", row_links.measure, 0, 10),
    "F8": Row("the clock jumps", row_clock.measure, 0, 24),
    "F9": Row("a receiver hangs", row_sinks.measure, 0, 600),
    "C2": Row("timers run out over kills", row_timers.measure, 0, 20_000),
    "L1": Row("a steady load", row_load.steady, 0, 600),
    "L2": Row("a burst, stopped in the middle", row_load.burst, 0, 50_000),
    "L4": Row("the disk is slow", row_power.slow_sync, 0, 60),
}
_AT_ONCE = 3
"""Rows of the short form that run beside each other: most of their time is waiting."""


def run(
    names: Sequence[str], folder: Path, seed: int, *, release: bool, say: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Run rows: at their release sizes one after the other, in short some at once."""
    with ThreadPoolExecutor(1 if release else _AT_ONCE) as pool:
        tasks = [pool.submit(_one, name, folder, seed, release, say) for name in names]
        return [task.result() for task in tasks]


def short_rows() -> list[str]:
    """Return the rows that the short form runs."""
    return [name for name, row in ROWS.items() if row.short]


def _one(name: str, folder: Path, seed: int, release: bool, say: Callable[[str], None]) -> Outcome:
    row = ROWS[name]
    size = row.release if release else row.short or 1
    measure = row.large or row.measure if release else row.measure
    say(f"{name}: {row.fault}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}-", ignore_cleanup_errors=True) as place:
        try:
            outcome = measure(Path(place), size, seed)
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
