"""Old events leave the log here, once they have been decided on.

The server could drop them by their age (`max_age`). But it does so whoever has read them, and as the first thing at its
start: a bridge that was off for longer than `bus.keep` would have lost what it had said yes to before it could read a
word. So the log has no age there, and what is older than `keep` and behind the engine's head is taken out by us.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

from bridge.bus.connect import Connection
from bridge.bus.pull import place, scan
from bridge.clock import Clock

_log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two looks."""


class Trimmer:
    """See the module. `head` gives the sequence up to which the engine has decided; None: nothing yet."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        head: Callable[[], Awaitable[int | None]],
        keep: timedelta,
        clock: Clock,
    ) -> None:
        self._connection, self._stream, self._head = connection, stream, head
        self._keep, self._clock = keep, clock

    async def trim(self) -> None:
        """Take out what is old and decided. Raises StoreUnavailableError."""
        info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        state = info["state"]
        first, last = int(state["first_seq"]), int(state["last_seq"])
        # The stamps are the server's. A clock of ours that is ahead must not make everything old.
        before = min(self._clock.now(), datetime.fromisoformat(info["ts"])) - self._keep
        if not state["messages"] or datetime.fromisoformat(state["first_ts"]) >= before:
            return
        left = min(await self._since(before, last), (await self._head() or 0) + 1)
        if left > first:
            await self._connection.api(f"STREAM.PURGE.{self._stream}", {"seq": left})
            _log.debug("old events have left the log", extra={"first": first, "last": left - 1})

    async def _since(self, moment: datetime, last: int) -> int:
        """Return the first sequence that was stored at a moment or after it."""
        async with aclosing(scan(self._connection, self._stream, since=moment, headers_only=True)) as batches:
            async for batch in batches:
                return place(batch[0].reply).seq
        return last + 1
