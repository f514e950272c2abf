"""What every part of the harness needs: its one error, waiting with a bound, free ports."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[3]
"""Where the packages are, so that a started bridge is this one."""


A = TypeVar("A")
B = TypeVar("B")


class FaultError(Exception):
    """The promise is broken in a way that leaves nothing to count, or the run has shown nothing."""


class UnavailableError(Exception):
    """This machine cannot do what a row needs: no FUSE, no right to mount. The row is skipped, with the reason."""


def require(holds: bool, words: str) -> None:
    """Raise FaultError unless it holds."""
    if not holds:
        raise FaultError(words)


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str] = str) -> float:
    """Poll until the condition holds and return how long that took; FaultError with `what()` after so many seconds."""
    began = time.monotonic()
    while not condition():
        require(time.monotonic() < began + seconds, what())
        time.sleep(0.02)
    return time.monotonic() - began


def both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Do both at the same time: for a row and its control that spend their time waiting, on sites of their own."""
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(first), pool.submit(second)
        return one.result(), other.result()


def free_port() -> int:
    """Return a port that stays ours over restarts: below the range the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UnavailableError("there is no free port")


def rank(values: list[float], part: float) -> float:
    """Return the value below which `part` of the values lie; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0
