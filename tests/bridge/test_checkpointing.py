"""When the engine's state becomes a checkpoint: by events, by time, at new rules; and only when there is time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from bridge.checkpointing import EVERY, INTERVAL, LATEST, SHORTEST, Checkpointing, State
from bridge.errors import StoreUnavailableError
from tests.bridge.bus.helpers import NOW, until

SECOND = timedelta(seconds=1)


class Store:
    """Remembers what was written."""

    def __init__(self, newest: tuple[int, datetime, str] | None = None) -> None:
        self.written: list[int] = []
        self.pruned: list[int] = []
        self.fails = False
        self._newest = newest

    async def newest(self) -> tuple[int, datetime, str] | None:
        return self._newest

    async def write(self, seq: int, stamp: datetime, ruleset: str, state: State) -> None:
        if self.fails:
            self.fails = False
            raise StoreUnavailableError("no room")
        self.written.append(seq)

    async def prune(self, first: int) -> None:
        self.pruned.append(first)


class Site:
    """Checkpointing, with the steps that a host makes."""

    def __init__(self, store: Store, writing: Checkpointing) -> None:
        self.store, self._writing = store, writing

    async def passed(self, seq: int, after: timedelta, *, rules: str = "r", quiet: bool = True) -> list[int]:
        self._writing.passed(seq, NOW + after, rules, dict, quiet=quiet)
        for _ in range(4):
            await asyncio.sleep(0)
        return self.store.written


@asynccontextmanager
async def site(newest: tuple[int, datetime, str] | None = (10, NOW, "r")) -> AsyncIterator[Site]:
    store = Store(newest)
    writing = Checkpointing(store, lambda: 5)
    task = asyncio.create_task(writing.run())
    await asyncio.sleep(0)
    yield Site(store, writing)
    task.cancel()
    await asyncio.wait([task])


async def test_the_first_one_and_one_at_every_change_of_rules() -> None:
    """Those are the places that people look back to."""
    async with site(None) as one:
        assert await one.passed(1, SECOND) == [1]
        assert await one.passed(2, SECOND) == [1]
        assert await one.passed(3, SECOND, rules="new") == [1, 3]
        assert one.store.pruned == [5, 5]


async def test_a_restart_alone_is_no_reason() -> None:
    """The last one counts, whoever wrote it."""
    async with site() as one:
        assert await one.passed(11, SECOND) == []


async def test_by_events_but_not_in_a_rush_and_by_time() -> None:
    """So many events, not more often than every ten minutes; or six hours."""
    async with site() as one:
        assert await one.passed(10 + EVERY, SHORTEST - SECOND) == []
        assert await one.passed(9 + EVERY, SHORTEST) == []
        assert await one.passed(10 + EVERY, SHORTEST) == [10 + EVERY]
        assert await one.passed(11 + EVERY, SHORTEST + INTERVAL - SECOND) == [10 + EVERY]
        assert await one.passed(12 + EVERY, SHORTEST + INTERVAL) == [10 + EVERY, 12 + EVERY]


async def test_it_waits_for_a_quiet_moment_but_not_for_ever() -> None:
    """Under load it comes when the load is over, or ten minutes later."""
    async with site() as one:
        assert await one.passed(11, INTERVAL, quiet=False) == []
        assert await one.passed(12, INTERVAL + LATEST - SECOND, quiet=False) == []
        assert await one.passed(13, INTERVAL + LATEST, quiet=False) == [13]
        assert await one.passed(14, 3 * INTERVAL, quiet=False) == [13]
        assert await one.passed(15, 3 * INTERVAL + SECOND) == [13, 15]


async def test_what_could_not_be_written_is_tried_again() -> None:
    """With the state of then; the engine is not told."""
    async with site(None) as one:
        one.store.fails = True
        assert await one.passed(1, SECOND) == []
        await until(lambda: one.store.pruned)
        assert await one.passed(2, SECOND) == [2]
