"""What a row of the fault table found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .ledger import Kept, Ledger


@dataclass(frozen=True)
class Control:
    """The same with a guard taken away: if that passes too, the row has shown nothing."""

    without: str
    showed: str
    failed: bool
    """As it must."""


@dataclass
class Outcome:
    """One row."""

    row: str
    fault: str
    size: str
    injected: int = 0
    acked: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    """Actuations: late, twice, or an output left on."""
    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What did not hold, in words; empty: the row passes, if its control failed."""
    slow: list[str] = field(default_factory=list)
    """What took longer than it may, in words. Only the long form judges it: that is run with nothing else beside it."""
    control: Control | None = None
    tests: int = 0
    """How many tests of the source tree make up the row; its sizes are theirs."""
    seconds: float = 0.0
    skipped: str = ""
    """Why this machine cannot do it."""

    def hold(self, holds: bool, words: str) -> None:
        """Note a problem unless it holds."""
        if not holds:
            self.problems.append(words)

    def in_time(self, holds: bool, words: str) -> None:
        """Note that something was slow unless it holds."""
        if not holds:
            self.slow.append(words)

    def judge_time(self) -> None:
        """Let what was slow be a problem too."""
        self.problems, self.slow = self.found, []

    @property
    def found(self) -> list[str]:
        """All that did not hold: what a control must have some of."""
        return [*self.problems, *self.slow]

    def count(self, ledger: Ledger, kept: Kept) -> None:
        """Take over what was promised and what of it is there."""
        self.injected, self.acked = ledger.offered, len(ledger.acked)
        self.lost, self.doubled = kept.lost, kept.doubled

    def none_lost(self) -> None:
        """Note what is lost or doubled."""
        self.hold(self.lost == 0, f"{self.lost} of {self.acked} promised events are lost")
        self.hold(self.doubled == 0, f"{self.doubled} events are stored twice")
        self.hold(self.acked > 0, "nothing was promised: the run has shown nothing")

    @property
    def passed(self) -> bool:
        """Whether everything held and the control did not."""
        return not self.skipped and not self.problems and (self.control is None or self.control.failed)

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        control = self.control
        return {
            "row": self.row,
            "fault": self.fault,
            "size": self.size,
            "injected": self.injected,
            "acked": self.acked,
            "lost": self.lost,
            "doubled": self.doubled,
            "wrong": self.wrong,
            "tests": self.tests,
            "figures": {name: float(f"{value:.4g}") for name, value in self.figures.items()},
            "problems": list(self.problems),
            "slow": list(self.slow),
            "control": control and {"without": control.without, "showed": control.showed, "failed": control.failed},
            "passed": self.passed,
            "skipped": self.skipped or None,
            "seconds": round(self.seconds, 1),
        }
