"""Watch that nothing unread can be trimmed from the log, and say no to new events before it could.

EVENTS drops its oldest messages at its limits, whoever has read them. So when what the engine has
not read takes 80 % of a limit, or the disk under it is nearly full, intake is refused: the sender
keeps the event, and nothing that was promised is lost.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.bus.connect import Connection
from bridge.clock import Clock

_log = logging.getLogger(__name__)

SHARE = 0.8
_LEAST_FREE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backlog:
    """The log and how far the engine is in it."""

    messages: int = 0
    bytes: int = 0
    max_bytes: int = -1
    first_seq: int = 0
    last_seq: int = 0
    unread: int = 0
    unread_bytes: int = 0
    """About: the unread messages are taken to be of average size."""
    oldest_unread: timedelta = timedelta(0)
    """Age of the oldest message at most; only known to be unread when everything is."""


class Guard:
    """See the module. `head` gives the sequence up to which the engine has read; None: nothing yet."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        head: Callable[[], Awaitable[int | None]],
        clock: Clock,
        disk: Path | None,
    ) -> None:
        self._connection, self._stream = connection, stream
        self._head, self._clock, self._disk = head, clock, disk
        self.backlog = Backlog()
        self.refusing: str | None = None
        """Why new events are refused; None when they are welcome."""

    async def look(self) -> None:
        """Look once. Raises StoreUnavailableError."""
        info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        self.backlog = self._measure(info, await self._head())
        reason = self._reason(info["config"]) or await asyncio.to_thread(self._disk_reason)
        if reason != self.refusing:
            if reason is None:
                _log.info("events are taken again")
            elif self.refusing is None:
                _log.error("events are refused: %s", reason)
        self.refusing = reason

    def _measure(self, info: dict[str, Any], head: int | None) -> Backlog:
        state = info["state"]
        messages, size = int(state["messages"]), int(state["bytes"])
        first, last = int(state["first_seq"]), int(state["last_seq"])
        read_to = max(head or 0, first - 1)
        unread = min(messages, max(0, last - read_to))
        age = timedelta(0)
        if unread == messages and messages:
            oldest = datetime.fromisoformat(state["first_ts"]).astimezone(UTC)
            age = max(timedelta(0), self._clock.now() - oldest)
        return Backlog(
            messages=messages,
            bytes=size,
            max_bytes=int(info["config"]["max_bytes"]),
            first_seq=first,
            last_seq=last,
            unread=unread,
            unread_bytes=size * unread // messages if messages else 0,
            oldest_unread=age,
        )

    def _reason(self, config: dict[str, Any]) -> str | None:
        backlog = self.backlog
        limit = backlog.max_bytes
        if limit > 0 and backlog.unread_bytes >= SHARE * limit:
            return f"the engine has {backlog.unread} events to read, {backlog.unread_bytes} of {limit} bytes"
        keep = int(config.get("max_age", 0)) / 1e9
        if keep and backlog.oldest_unread.total_seconds() >= SHARE * keep:
            return f"the engine has not read an event that is {backlog.oldest_unread} old"
        return None

    def _disk_reason(self) -> str | None:
        if self._disk is None:
            return None
        free = shutil.disk_usage(self._disk).free
        return f"the disk is full ({free // 1024} KiB free)" if free < _LEAST_FREE else None
