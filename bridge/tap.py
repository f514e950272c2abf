"""Let parts look at every event as it comes in, before it is stored, without standing in its way.

What must not wait for the bus looks from here: the kill switch's button, the contact of a door. A
watcher that fails is reported; the event goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from bridge.contracts import Emit
from bridge.schema.event import VmsEvent

_LOG = logging.getLogger(__name__)

Watcher = Callable[[VmsEvent], None]
"""Called on the event loop with each event, once; must not block."""


class Tap:
    """`Emit`, seen by watchers."""

    def __init__(self, emit: Emit, watchers: Sequence[Watcher]) -> None:
        self._emit, self._watchers = emit, list(watchers)

    def add(self, watcher: Watcher) -> None:
        """Let one more look."""
        self._watchers.append(watcher)

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        """Hand events over; see `bridge.contracts.Emit`."""
        for event in events:
            for watcher in self._watchers:
                try:
                    watcher(event)
                except Exception:  # noqa: BLE001 - the edge: whoever looks on must not stop the event
                    _LOG.exception("a watcher failed", extra={"event": event.id})
        return await self._emit(events)
