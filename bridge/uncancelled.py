"""Keep what somebody else cancels from ending whoever asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.errors import ActionUnknownError


@contextmanager
def uncancelled() -> Iterator[None]:
    """Take it for a missing answer when something inside is cancelled, and not we.

    A connector may wait for a request that goes with its session; that must not end whoever asked for it. Raises
    ActionUnknownError.
    """
    try:
        yield
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ActionUnknownError("what it waited for was given up") from exc
