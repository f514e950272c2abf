"""What `doctor` says: one finding a line, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but a promise is weaker than it could be."""
    PROBLEM = "problem"
    """The bridge will not start, or will not do its work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    about: str
    message: str
    cure: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it for scripts."""
        return {"verdict": str(self.verdict), "about": self.about, "message": self.message, "cure": self.cure}


def ok(about: str, message: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, about, message)


def warning(about: str, message: str, cure: str) -> Finding:
    """A promise is weaker than it could be."""
    return Finding(Verdict.WARNING, about, message, cure)


def problem(about: str, message: str, cure: str) -> Finding:
    """It will not work."""
    return Finding(Verdict.PROBLEM, about, message, cure)
