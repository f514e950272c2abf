"""How tests run when they judge mutants, and what came of it: a pytest plugin and a table. See docs/mutation.md.

As a plugin (`-p tests.mutation`) it makes every run alike and short: hypothesis tries the same
examples each time, fewer of them, and does not look for the smallest one that fails.
`python -m tests.mutation` prints the figures of the last run and the mutants that are alive.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

os.environ.setdefault("HISTORIES", "700")
os.environ.setdefault("FLOWS", "60")

settings.register_profile(
    "mutation",
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

_FATES = {0: "alive", 5: "alive", 33: "alive", 1: "killed", 3: "killed", 2: "untried", None: "untried"}
"""From the exit codes that mutmut writes down; whatever else there is, is a run that was stopped for its length."""


def _fate(code: int | None) -> str:
    return _FATES.get(code, "too long")


def report(mutants: Path) -> list[str]:
    """Return a line for each module that was tried, then the name of each mutant that is alive."""
    lines, alive = [], []
    for meta in sorted(mutants.rglob("*.py.meta")):
        codes: dict[str, int | None] = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        count = Counter(map(_fate, codes.values()))
        if tried := len(codes) - count["untried"]:
            module = str(meta.relative_to(mutants)).removesuffix(".meta")
            lines.append(f"{module:32}{tried:9}{count['killed']:9}{count['too long']:9}{count['alive']:9}")
            alive += [name for name, code in codes.items() if _fate(code) == "alive"]
    return [f"{'':32}{'tried':>9}{'killed':>9}{'too long':>9}{'alive':>9}", *lines, *alive]


if __name__ == "__main__":
    sys.stdout.write("\n".join(report(Path("mutants"))) + "\n")
