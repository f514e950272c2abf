"""The breaker: stops everything when the site behaves as no site does, and stays so until a person resets it.

Two things trip it: more openings in a minute than the whole site may ever need, and a storm of
orders that ask for one, however few of them the doors let through. Latched over restarts.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bridge.clock import Clock
from bridge.config.safety import BreakerConfig
from bridge.safety.latch import Latch
from bridge.safety.reasons import Reason, refusal

_LOG = logging.getLogger(__name__)
WINDOW = 60.0
"""Seconds over which is counted."""

OnTrip = Callable[[str, int], None]
"""`tripped(what, count)`: told once, when it trips; what is `openings` or `orders`."""


class _Rate:
    """How many different orders there were within the window."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._times: deque[tuple[float, str]] = deque()
        self._orders: set[str] = set()

    def over(self, order: str, now: float) -> bool:
        """Count an order, once however often it tries; return whether there are now too many."""
        while self._times and now - self._times[0][0] >= WINDOW:
            self._orders.discard(self._times.popleft()[1])
        if order not in self._orders:
            self._orders.add(order)
            self._times.append((now, order))
        return len(self._times) > self.most

    def clear(self) -> None:
        self._times.clear()
        self._orders.clear()


class Breaker(Latch):
    """The breaker of one bridge: the file `safety/breaker` in its data directory."""

    def __init__(self, folder: Path, clock: Clock, config: BreakerConfig, on_trip: OnTrip | None = None) -> None:
        super().__init__(folder / "breaker", clock, "breaker")
        self._openings = _Rate(config.per_minute)
        self._orders = _Rate(config.storm)
        self.on_trip = on_trip

    async def asked(self, order: str) -> None:
        """Count an order that asks for an opening. Raises ActionRejectedError when that is one too many."""
        await self._count("orders", self._orders, order)

    async def opens(self, order: str) -> None:
        """Count an opening, before it is sent. Raises ActionRejectedError when that is one too many."""
        await self._count("openings", self._openings, order)

    async def reset(self, principal: str, reason: str) -> None:
        """Let things be switched again, counting from nothing. Raises OSError, and then it stays tripped."""
        await super().reset(principal, reason)
        self._openings.clear()
        self._orders.clear()

    async def _count(self, what: str, rate: _Rate, order: str) -> None:
        over = rate.over(order, self._clock.monotonic())
        if self.pulled:
            raise refusal(Reason.BREAKER)
        if over:
            await self._trip(what, rate.most)
            raise refusal(Reason.BREAKER, f"more than {rate.most} {what} a minute")

    async def _trip(self, what: str, most: int) -> None:
        _LOG.error("the breaker has tripped; a person must reset it", extra={"counted": what, "most": most})
        if self.on_trip is not None:
            self.on_trip(what, most + 1)
        try:
            await self.pull("bridge", f"more than {most} {what} a minute")
        except OSError:  # it holds in memory, and `pull` has said that a restart would forget it
            return
