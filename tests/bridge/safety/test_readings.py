"""Readings of plates: by which reader, how far apart, and for how long they are remembered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.config.models import DoorConfig
from bridge.safety.readings import KEPT, Readings
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import CallStarted, PlateRead
from tests.bridge.actions.support import plate_event
from tests.clock import VirtualClock

S = timedelta(seconds=1)


def _readings(clock: VirtualClock, reads: int = 2) -> Readings:
    return Readings([DoorConfig(output="a"), DoorConfig(output="b", reads=reads)], clock)


def _read(clock: VirtualClock, number: int, score: float | None = 95, **told: Any) -> VmsEvent:
    data = PlateRead(plate="12AB345", plate_raw="12 AB 345", score=score)
    return plate_event(clock, number, **({"data": data} | told))


async def test_other_readings_of_the_plate_by_the_reader_are_found() -> None:
    """With how far each is from this one, by the reader's clock or ours, whichever says more, and how sure it was."""
    clock = VirtualClock()
    await clock.advance(1000)
    readings = _readings(clock)
    readings.heard(_read(clock, 1, 91))
    readings.heard(_read(clock, 2, 92, time=clock.now() - 30 * S))
    readings.heard(_read(clock, 3, None, time=clock.now() + 30 * S))
    await clock.advance(4)
    this = _read(clock, 4)
    readings.heard(this)
    assert readings.like(this) == [(4 * S, 91), (34 * S, 92), (26 * S, None)]


@pytest.mark.parametrize(
    "told",
    [
        {"subject": "2"},
        {"source": "site/other"},
        {"data": PlateRead(plate="34CD567", plate_raw="34 CD 567", score=95)},
        {"origin": Origin.BACKFILL},
        {"timequality": "doubtful"},
        {"type": "call.started", "data": CallStarted(caller="app")},
        {"id": "event2"},
    ],
)
def test_nothing_else_counts_as_a_reading(told: dict[str, Any]) -> None:
    """Another lane, another plate, what is filled in later or may be older, and the same reading that comes twice."""
    clock = VirtualClock()
    readings = _readings(clock)
    readings.heard(_read(clock, 1, **told))
    assert readings.like(_read(clock, 2)) == []


def test_what_is_no_reading_has_none_like_it() -> None:
    """A call at the same reader."""
    clock = VirtualClock()
    readings = _readings(clock)
    readings.heard(_read(clock, 1))
    assert readings.like(_read(clock, 2, type="call.started", data=CallStarted(caller="app"))) == []


def test_a_reading_that_comes_twice_is_one() -> None:
    """The same event, heard live and once more."""
    clock = VirtualClock()
    readings = _readings(clock)
    for _ in range(2):
        readings.heard(_read(clock, 1))
    assert readings.like(_read(clock, 2)) == [(0 * S, 95)]


async def test_a_minute_is_remembered() -> None:
    """To its very end, as long as the process may have run; no door looks further back."""
    clock = VirtualClock()
    await clock.advance(1000)
    readings = _readings(clock)
    for number in (1, 2):
        readings.heard(_read(clock, number))
        await clock.advance(KEPT.total_seconds() / 2)
    readings.heard(_read(clock, 3))
    this = _read(clock, 9)
    assert [apart for apart, _ in readings.like(this)] == [60 * S, 30 * S, 0 * S]
    await clock.advance(0.5)
    readings.heard(_read(clock, 4))
    assert len(readings.like(this)) == 3


def test_nothing_is_remembered_where_no_door_asks() -> None:
    """One reading is enough for every door: plates are not kept for nothing."""
    clock = VirtualClock()
    readings = _readings(clock, reads=1)
    readings.heard(_read(clock, 1))
    assert readings.like(_read(clock, 2)) == []
