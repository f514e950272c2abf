"""Find the newest few messages of a stream, backwards in spans that double. Changes nothing, leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime

from bridge.bus.connect import Connection
from bridge.bus.pull import place, scan
from bridge.bus.wire import Received

SPAN = 2000
"""Sequences read at first when looking backwards."""


async def newest(
    connection: Connection,
    stream: str,
    subject: str,
    limit: int,
    *,
    end: int | None = None,
    since: datetime | None = None,
    takes: Callable[[Received], bool] = lambda _: True,
) -> list[Received]:
    """Return the newest messages on a subject, oldest first. Raises StoreUnavailableError.

    Only those up to the sequence `end`, stored since then, and that `takes` says yes to. No consumer is left behind.
    """
    state = (await connection.api(f"STREAM.INFO.{stream}"))["state"]
    # The first of a stream that was never written to is 0, and no message has that number.
    first, last = max(1, state["first_seq"]), state["last_seq"] if end is None else end
    found: list[Received] = []
    span = SPAN
    while last >= first and len(found) < limit:
        begin = max(first, last - span + 1)
        read = await _between(connection, stream, subject, begin, last)
        fresh = [m for m in read if since is None or place(m.reply).stamp >= since]
        found = ([m for m in fresh if takes(m)] + found)[-limit:]
        if len(fresh) < len(read):
            break  # what is before is older still
        last, span = begin - 1, span * 2
    return found


async def _between(connection: Connection, stream: str, subject: str, begin: int, end: int) -> list[Received]:
    found: list[Received] = []
    async with aclosing(scan(connection, stream, [subject], after=begin - 1)) as batches:
        async for batch in batches:
            found += [message for message in batch if place(message.reply).seq <= end]
            if place(batch[-1].reply).seq >= end:
                break
    return found
