"""Which commit is running, where that can be known: in a checkout, not in an installed package."""

from __future__ import annotations

import subprocess
from pathlib import Path

_PATIENCE = 10.0
_CODE = ":(top)*.py"
"""Not the pages: those change with each row that is published."""


def revision(source: Path | None = None) -> str | None:
    """Return the commit that `source` (this package) is checked out from; `…-dirty` if code was changed since.

    None where there is no git, no checkout, or one of something else that this only lies in.
    """
    here = source or Path(__file__).resolve().parent
    if not _git(here, "ls-files", "--", "."):
        return None
    commit = _git(here, "rev-parse", "--short=12", "HEAD")
    changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", _CODE)
    return f"{commit}-dirty" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
