"""What is kept in a file and watched over, alone: with a clock that stands still and a device that does as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from tests.bridge.actions.support import Device, Locator, rest
from tests.clock import VirtualClock


class Keeper(Protocol):
    """Remembers over restarts what it has to bring back, and does it while it runs."""

    async def load(self) -> None:
        """Remember."""
        ...

    async def run(self) -> None:
        """Watch until cancelled."""
        ...


class BareYard:
    """A clock, and the device `nvr`."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.device, self.services = Device(self.clock), Locator()
        self.services.put_source("nvr", self.device)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and all happen that is due."""
        await self.clock.advance(seconds)
        await rest()


@asynccontextmanager
async def keeping(keeper: Keeper) -> AsyncIterator[None]:
    """Let it remember, and watch while the block lasts."""
    await keeper.load()
    task = asyncio.create_task(keeper.run())
    await rest()
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.wait([task])
