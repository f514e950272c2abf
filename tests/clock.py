"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)


class VirtualClock:
    """A `bridge.clock.Clock` that stands still until `advance`."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._slept = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        self._slept.set()
        await future

    @property
    def waits(self) -> list[float]:
        """Seconds that each sleeper still has to wait, shortest first."""
        return sorted(due - self._elapsed for due, _, future in self._sleepers if not future.done())

    async def until_asleep(self, count: int = 1) -> None:
        """Return once so many are sleeping; at most 5 real seconds later."""
        async with asyncio.timeout(5):
            while len(self.waits) < count:
                self._slept.clear()
                await self._slept.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its own moment.

        Whoever is about to sleep falls asleep first: he has worked out how long from the time before.
        """
        await settle()
        end = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._move_to(due)
            if not future.done():
                future.set_result(None)
            await settle()
        self._move_to(end)
        await settle()

    def jump(self, delta: timedelta) -> None:
        """Set the wall clock without time passing, as NTP or a person does."""
        self._now += delta

    def _move_to(self, elapsed: float) -> None:
        self._now += timedelta(seconds=elapsed - self._elapsed)
        self._elapsed = elapsed


async def settle() -> None:
    """Let every task run that can, and the tasks that those let run, for some rounds of the loop."""
    ready = getattr(asyncio.get_running_loop(), "_ready", (None,))  # asyncio's own loop tells that nothing is left
    for _ in range(20):
        await asyncio.sleep(0)
        if not ready:
            return
