"""How much memory a process takes while it works: looked at all the time, judged by halves.

What a process takes at the end says little: caches fill to their bounds, tables double, and half of them is thrown
away again. What is flat has had its most in the first half; what leaks has it at the end, however long one looks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

_EVERY = 1.0
"""Seconds between two looks."""


class Watch:
    """Look at `read()`, which gives MiB, from entering until leaving."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)
        self.seen: list[float] = []
        """What was seen, in order."""

    def __enter__(self) -> Self:
        self.seen.append(self._read())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seen.append(self._read())

    @property
    def grown(self) -> float:
        """MiB more at the end than at the beginning."""
        return self.seen[-1] - self.seen[0]

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            self.seen.append(self._read())


def grown_late(seen: Sequence[float]) -> float:
    """Return by how much the most of the second half is above the most of the first; below: nothing has grown."""
    half = (len(seen) + 1) // 2
    return max(0.0, max(seen[half:], default=0.0) - max(seen[:half], default=0.0))
