"""See that files have changed, and when they have come to rest. Looks at names and dates, never inside.

Editors write in many ways: into the file, beside it and then rename, remove and create. So a file is
told apart by everything its folder says of it, and a change counts when two looks in a row agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

Seen = Mapping[str, tuple[int, ...] | None]
"""What files look like, by path; None for one that is not there."""
RESTLESS = 10
"""Looks after which files that never rest are taken as they are; only what is valid as a whole ever counts."""


def look_at(paths: Iterable[Path]) -> Seen:
    """Return what some files look like now."""
    return {str(path): _look(path) for path in paths}


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Rest:
    """Tells a change that has come to rest from one that is under way. Begins with what was read."""

    def __init__(self, read: Seen) -> None:
        self._read = self._last = read
        self._restless = 0

    def read(self, seen: Seen) -> None:
        """Take this as what was read."""
        self._read = self._last = seen
        self._restless = 0

    def changed(self, seen: Seen) -> bool:
        """Tell whether something is to be read that has not been, and is at rest."""
        same, self._last = seen == self._last, seen
        if seen == self._read:
            self._restless = 0
            return False
        self._restless += 1
        return same or self._restless >= RESTLESS
