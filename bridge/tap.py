"""Let parts look at every event as it comes in, before it is stored, without standing in its way.

What must not wait for the bus looks from here: the kill switch's button, the contact of a door. Whoever
must know what became of events follows their kinds. A watcher that fails is reported; the event goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from bridge.contracts import Emit
from bridge.schema.event import VmsEvent

_LOG = logging.getLogger(__name__)

Watcher = Callable[[VmsEvent], None]
"""Called on the event loop with each event, once; must not block."""
Follower = Callable[[VmsEvent, bool], None]
"""Called with an event that was seen before, once: whether it is stored. Until then nobody knows."""


class Tap:
    """`Emit`, seen by watchers."""

    def __init__(self, emit: Emit, watchers: Sequence[Watcher]) -> None:
        self._emit, self._watchers = emit, list(watchers)
        self._followers: list[tuple[frozenset[str], Follower]] = []

    def add(self, watcher: Watcher) -> None:
        """Let one more look."""
        self._watchers.append(watcher)

    def follow(self, kinds: frozenset[str], follower: Follower) -> None:
        """Tell somebody what becomes of events of some kinds; in the order in which they are stored."""
        self._followers.append((kinds, follower))

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        """Hand events over; see `bridge.contracts.Emit`."""
        for event in events:
            for watcher in self._watchers:
                try:
                    watcher(event)
                except Exception:  # noqa: BLE001 - the edge: whoever looks on must not stop the event
                    _LOG.exception("a watcher failed", extra={"event": event.id})
        followed = [(each, event) for kinds, each in self._followers for event in events if event.type in kinds]
        if not followed:
            return await self._emit(events)
        try:
            stored = await self._emit(events)
        except BaseException:
            _tell(followed, stored=False)
            raise
        stored.add_done_callback(partial(_settled, followed))
        return stored


_Followed = list[tuple[Follower, VmsEvent]]


def _settled(followed: _Followed, stored: asyncio.Future[None]) -> None:
    _tell(followed, stored=not stored.cancelled() and stored.exception() is None)


def _tell(followed: _Followed, *, stored: bool) -> None:
    for follower, event in followed:
        try:
            follower(event, stored)
        except Exception:  # noqa: BLE001 - as above
            _LOG.exception("a watcher failed", extra={"event": event.id})
