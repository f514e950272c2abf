"""What leaves the log by its age: what has been decided on. What has not been stays, however long nobody was there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import pull, trimming
from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.marks import FILE, Damage
from bridge.bus.pull import place, scan
from bridge.bus.trimming import Trimmer
from bridge.clock import SystemClock
from bridge.contracts import Head, Step
from bridge.schema.kinds import LogHole
from tests.bridge.bus.helpers import CONFIG, count, event, running_bus, until


async def _log(bus: Bus) -> dict[int, datetime]:
    """What is in the log: numbers, and when each was stored."""
    batches = scan(bus.connection, bus.stream("EVENTS"), headers_only=True)
    return {(at := place(message.reply)).seq: at.stamp async for batch in batches for message in batch}


async def _store(bus: Bus, *numbers: int) -> None:
    """Put events into the log, one after the other."""
    intake = await bus.intake()
    for number in numbers:
        await (await intake([event(number)]))


class _At(SystemClock):
    """A clock that stands."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at


def _trimmer(bus: Bus, head: int | None, keep: timedelta, now: datetime) -> Trimmer:
    async def decided() -> int | None:
        return head

    return Trimmer(bus.connection, bus.stream("EVENTS"), decided, keep, _At(now))


async def test_what_is_old_and_decided_on_leaves(bus: Bus) -> None:
    """What is old and not decided on stays, and what is decided on and not old."""
    await _store(bus, 1, 2, 3, 4, 5)
    stamps, keep = await _log(bus), timedelta(microseconds=1)
    for head in (None, 0):
        await _trimmer(bus, head, keep, datetime.now(UTC)).trim()
    assert list(await _log(bus)) == [1, 2, 3, 4, 5]
    await _trimmer(bus, 5, keep, stamps[3] + keep).trim()
    assert list(await _log(bus)) == [3, 4, 5]
    await _trimmer(bus, 4, keep, datetime.now(UTC)).trim()
    assert list(await _log(bus)) == [5]
    for _ in range(2):  # the second one finds nothing
        await _trimmer(bus, 9, keep, datetime.now(UTC)).trim()
    assert await _log(bus) == {}
    await _store(bus, 6)
    assert list(await _log(bus)) == [6]


async def test_a_clock_that_is_ahead_makes_nothing_old(bus: Bus) -> None:
    """The stamps are the server's, and so is the time that they are compared with."""
    await _store(bus, 1, 2)
    await _trimmer(bus, 2, timedelta(hours=1), datetime.now(UTC) + timedelta(days=365)).trim()
    assert list(await _log(bus)) == [1, 2]


async def test_what_was_accepted_is_there_after_any_time_away(tmp_path: Path) -> None:
    """A bridge that was off for longer than events are kept reads at its start what it had said yes to."""
    short = CONFIG.model_copy(update={"keep": timedelta(seconds=1)})
    async with running_bus(tmp_path, short) as bus:
        await _store(bus, 1, 2, 3)
        await bus.engine_store.commit(Step(Head(1, 1, "r")))
        gone = max((await _log(bus)).values()) + short.keep
    await until(lambda: datetime.now(UTC) > gone)
    async with running_bus(tmp_path, short) as bus:
        assert bus.damage == ()
        async with aclosing(bus.event_log("test").read(1)) as log:
            assert [one.event.id for one in await anext(log)] == ["e2", "e3"]


async def test_the_bus_trims_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the engine's head, and by the span that is configured."""
    monkeypatch.setattr(trimming, "EVERY", 0.05)
    short = CONFIG.model_copy(update={"keep": timedelta(milliseconds=100)})
    async with running_bus(tmp_path, short) as bus:
        await _store(bus, 1, 2, 3)
        await bus.engine_store.commit(Step(Head(2, 1, "r")))
        async with asyncio.timeout(30):
            while list(await _log(bus)) != [3]:  # noqa: ASYNC110 - the log is not ours to signal
                await asyncio.sleep(0.02)
    async with running_bus(tmp_path, short) as bus:
        assert bus.damage == ()


async def test_a_hole_before_the_engine_is_told_at_the_start(tmp_path: Path) -> None:
    """Not with the next event, which may never come; and once."""
    async with running_bus(tmp_path) as bus:
        await _store(bus, 1, 2, 3, 4)
        await bus.engine_store.commit(Step(Head(1, 1, "r")))
        await bus.connection.api(f"STREAM.PURGE.{bus.stream('EVENTS')}", {"seq": 4})
    (tmp_path / FILE).unlink()  # what it was noted by otherwise
    async with running_bus(tmp_path) as bus:
        assert bus.damage == (Damage(bus.stream("EVENTS"), 2, 3),)
        async with aclosing(bus.event_log("test").read(1)) as log:
            told = [one.event for one in await anext(log)]
        assert [one.type for one in told] == ["motion.started", "log.hole"]
        assert told[1].data == LogHole(first_missing=2, last_missing=3)
        assert await count(bus, "EVENTS") == 2


async def test_who_reads_what_is_trimmed_comes_to_an_end(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server goes on saying that there is more; whoever waits for it would wait for ever."""
    stream, made, purges = bus.stream("EVENTS"), pull.create_consumer, asyncio.TaskGroup()
    intake = await bus.intake()

    async def made_and_trimmed(connection: Connection, *what: Any) -> dict[str, Any]:
        info = await made(connection, *what)
        purges.create_task(connection.api(f"STREAM.PURGE.{stream}", {"seq": last}))
        return info

    monkeypatch.setattr(pull, "create_consumer", made_and_trimmed)
    async with asyncio.timeout(30), purges:
        for number in range(30):
            await (await intake([event(f"{number}-{each}") for each in range(3)]))
            last = number * 3 + 3
            assert last in await _log(bus)
