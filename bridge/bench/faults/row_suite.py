"""The rows that are tests of the source tree at a larger size: history, guards, outages, hostile input.

They need no broken process or disk, so they are ordinary tests; every one brings its own negative control
along. Here they are only run at their release sizes and counted. An installed bridge has no tests: skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from .common import ROOT, FaultError, UnavailableError
from .outcome import Outcome

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-o", "timeout=0")
_NO_TESTS = 5
"""What pytest ends with when nothing fits."""


@dataclass(frozen=True)
class Suite:
    """Tests that show one thing."""

    row: str
    fault: str
    tests: Sequence[str]
    """Paths below the tree, as pytest takes them."""
    only: str = ""
    """What `-k` chooses among them."""
    what: str = ""
    """What the size counts: histories, requests. Without it all tests have one size."""
    variable: str = ""
    """The environment variable that gives the size."""
    shares: int = 1
    """Processes among which the size is split, each with a seed of its own."""

    def measure(self, folder: Path, size: int, seed: int) -> Outcome:
        """Run the tests at a size."""
        if not (ROOT / self.tests[0]).exists():
            raise UnavailableError("it needs the source tree with its tests")
        each = -(-size // self.shares)
        with ThreadPoolExecutor(self.shares) as pool:
            runs = [pool.submit(self._run, folder / f"{share}.xml", each, seed + share) for share in range(self.shares)]
            counts = [run.result() for run in runs]
        outcome = Outcome(self.row, self.fault, f"{each * self.shares:,} {self.what}" if self.what else "all")
        outcome.tests = sum(tests for tests, _ in counts)
        outcome.problems = [name for _, failed in counts for name in failed]
        outcome.hold(outcome.tests > 0 or bool(outcome.problems), "every test was skipped: the run has shown nothing")
        return outcome

    def _run(self, report: Path, size: int, seed: int) -> tuple[int, list[str]]:
        """Return how many tests passed, and the names of those that did not."""
        chosen = ["-k", self.only] if self.only else []
        done = subprocess.run(
            [*_PYTEST, f"--hypothesis-seed={seed}", "--junitxml", str(report), *chosen, *self.tests],
            cwd=ROOT,
            env=os.environ | ({self.variable: str(size)} if self.variable else {}) | {"VMS_BRIDGE_SEED": str(seed)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            words = "chose no test" if done.returncode == _NO_TESTS else done.stdout[-300:] + done.stderr[-300:]
            raise FaultError(f"{self.row}: pytest {words}")
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - written by the line above
        failed = [_words(case, ill) for case in cases if (ill := _ill(case)) is not None]
        skipped = sum(case.find("skipped") is not None for case in cases)
        return len(cases) - len(failed) - skipped, failed


def _ill(case: ElementTree.Element) -> ElementTree.Element | None:
    return next((part for part in case if part.tag in ("failure", "error")), None)


def _words(case: ElementTree.Element, ill: ElementTree.Element) -> str:
    return f"{case.get('name')}: {' '.join((ill.get('message') or '').split())[:300]}"


_SAFETY, _STORM = "tests/bridge/safety/", "tests/bridge/safety/test_crash_and_storm.py"

HISTORY = Suite(
    "S1",
    "outages, replays, skewed clocks, restarts in any order",
    [f"{_SAFETY}test_history.py"],
    what="histories",
    variable="VMS_BRIDGE_HISTORIES",
    shares=2,
)
GUARDS = Suite("S2", "every guard of a door is taken away once", [f"{_SAFETY}test_guards.py"])
PULSE = Suite(
    "S3",
    "the bridge dies at each step of a pulse",
    [_STORM],
    only="pulse",
    what="delays at each step",
    variable="VMS_BRIDGE_RUNS",
)
KILL_SWITCH = Suite(
    "S4",
    "the kill switch is pulled under load",
    [f"{_SAFETY}test_killswitch.py", _STORM],
    only="kill",
    what="moments, bus up and down",
    variable="VMS_BRIDGE_RUNS",
)
STORM = Suite(
    "S5", "10,000 allowed plates in a minute", [_STORM], only="a_storm", what="storms", variable="VMS_BRIDGE_RUNS"
)
OUTAGES = Suite(
    "G1",
    "a source is away at random, its log grows and shifts",
    ["tests/connectors/ts_api/test_backfill.py"],
    what="outages",
    variable="VMS_BRIDGE_OUTAGES",
)
MALFORMED = Suite(
    "X1",
    "requests are malformed",
    ["tests/security/test_malformed.py"],
    what="requests",
    variable="VMS_BRIDGE_REQUESTS",
)
FLOOD = Suite(
    "X2",
    "clients are slow, large, deep or compressed",
    ["tests/bridge/http/test_flood.py"],
    what="sockets",
    variable="VMS_BRIDGE_SLOW_SOCKETS",
)
INJECTION = Suite("X4", "texts try to be more than texts", ["tests/security/test_injection.py"])
BOMBS = Suite("X5", "patterns, expressions and YAML try to take for ever", ["tests/security/test_bombs.py"])
SECRETS = Suite("X6", "marked secrets are looked for everywhere", ["tests/security/test_canaries.py"])
TRAIL = Suite(
    "X8",
    "the audit trail is tampered with",
    ["tests/bridge/schema/test_audit.py"],
    what="attempts",
    variable="VMS_BRIDGE_TAMPERINGS",
)
