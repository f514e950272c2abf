"""What is remembered of sources survives, and the log tells what was stored of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from bridge.bus.bus import Bus
from bridge.bus.cursors import Cursors
from bridge.clock import SystemClock
from bridge.schema.kinds import SourceGap

from .helpers import NOW, event, running_bus

LONG_AGO = timedelta(hours=1)
HOME = "home/nvr1"


async def _recalled(cursors: Cursors, since: timedelta, until: timedelta = timedelta(0)) -> list[str]:
    now = SystemClock().now()
    return [e.id async for events in cursors.recall(HOME, now - since, now + until) for e in events]


async def test_a_record_survives_the_bridge(tmp_path: Path) -> None:
    """Each source has its own, whatever its name."""
    for number in range(2):
        async with running_bus(tmp_path) as bus:
            cursors = bus.cursors((), ())
            if number == 0:
                assert await cursors.load(HOME) is None
                await cursors.save(HOME, b"{}")
                await cursors.save("home/gate.1 *", b"[]")
                await cursors.save(HOME, b"1")
            assert await cursors.load(HOME) == b"1"
            assert await cursors.load("home/gate.1 *") == b"[]"


async def test_the_log_says_whether_a_gap_was_told(bus: Bus) -> None:
    """By the last one of the source, whoever else has gaps."""
    emit, cursors = await bus.intake(), bus.cursors((), ())
    gap = {"data": SourceGap(gap_from=NOW, gap_to=NOW, cause="unavailable"), "subject": None, "kind": "source.gap"}
    assert not await cursors.is_told(HOME, "e1")
    await (await emit([event(1, **gap), event(2, **gap, source="home/nvr2")]))
    assert await cursors.is_told(HOME, "e1")
    await (await emit([event(3, **gap)]))
    assert await cursors.is_told(HOME, "e3")
    assert not await cursors.is_told(HOME, "e1")


async def test_what_a_source_and_those_who_push_said_is_recalled(bus: Bus) -> None:
    """Of the kinds that may come by more ways than one, in the span."""
    emit, cursors = await bus.intake(), bus.cursors(["plate.read", "system.log"], ["lane"])
    plate = {"kind": "plate.read", "data": {"plate": "A", "plate_raw": "A"}}
    assert await _recalled(cursors, LONG_AGO) == []
    await (
        await emit(
            [
                event(1, **plate),
                event(2),
                event(3, **plate, source="home/lane"),
                event(4, **plate, source="home/nvr2"),
                event(5, "system.log", data={"log_id": "1", "log_type": 0, "began": NOW}),
            ]
        )
    )
    assert await _recalled(cursors, LONG_AGO) == ["e1", "e3", "e5"]
    assert await _recalled(cursors, -LONG_AGO) == []


async def test_recalling_lets_others_have_their_turn(bus: Bus) -> None:
    """A long log is decoded in small parts."""
    emit, cursors = await bus.intake(), bus.cursors(["plate.read"], ())
    plates = [event(n, "plate.read", data={"plate": "A", "plate_raw": "A"}) for n in range(1500)]
    await (await emit(plates))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert len(await _recalled(cursors, LONG_AGO)) == 1500
    task.cancel()
    assert turns >= 15
