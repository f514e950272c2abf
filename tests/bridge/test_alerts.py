"""Telling people: for as long as it takes, with one id and the time of when it was said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.actions.endpoints import Delivery
from bridge.alerts import KEPT, Alerts
from bridge.errors import ActionRejectedError, ActionUnavailableError
from tests.bridge.actions.support import rest
from tests.clock import START, VirtualClock


class Phones:
    """Two receivers; the first takes nothing while it is down."""

    def __init__(self) -> None:
        self.down: Exception | None = None
        self.got: dict[str, list[Delivery]] = {"phone": [], "desk": []}
        self.tries: list[str] = []

    async def send(self, delivery: Delivery) -> int:
        to = str(delivery.to)
        if to == "phone" and self.down is not None:
            self.tries.append(delivery.id)
            raise self.down
        self.got[to].append(delivery)
        return 200

    def texts(self, name: str) -> list[str]:
        return [json.loads(delivery.body)["text"] for delivery in self.got[name]]


class World:
    """Alerts to two receivers, on a clock that stands still."""

    def __init__(self) -> None:
        self.clock, self.phones = VirtualClock(), Phones()
        self.alerts = Alerts("site", ("phone", "desk"), self.phones, self.clock)  # type: ignore[arg-type]


@asynccontextmanager
async def telling(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.alerts.run())
    await rest()
    yield
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    "error", [ActionUnavailableError("away"), ActionRejectedError("404", "rejected"), KeyError("bug")]
)
async def test_a_receiver_that_was_away_for_hours_is_told(error: Exception) -> None:
    """A minute after it is back, once, under one id, with the time of when it was said; others at once."""
    world = World()
    async with telling(world):
        world.phones.down = error
        world.alerts.tell("the gate is open")
        await rest()
        assert world.phones.texts("desk") == ["the gate is open"]
        await world.clock.advance(12)
        assert len(world.phones.tries) == 3
        await world.clock.advance(3 * 3600)
        assert (len(world.phones.tries), len(set(world.phones.tries))) == (183, 1)
        world.phones.down = None
        await world.clock.advance(60)
        [told] = world.phones.got["phone"]
        assert (told.id, json.loads(told.body)["at"]) == (world.phones.tries[0], START.isoformat())
        await world.clock.advance(600)
        assert len(world.phones.got["phone"]) == 1
        assert world.clock.waits == []


async def test_the_oldest_of_too_many_is_given_up_aloud(caplog: pytest.LogCaptureFixture) -> None:
    """Memory is bounded; the newest tell how it is now."""
    world = World()
    async with telling(world):
        world.phones.down = ActionUnavailableError("away")
        for number in range(KEPT + 2):
            world.alerts.tell(f"alarm {number}")
            await rest()
        given_up = [record for record in caplog.records if record.message == "nobody could be told"]
        assert [record.__dict__["alert"] for record in given_up] == ["alarm 0", "alarm 1"]
        world.phones.down = None
        await world.clock.advance(60)
        assert world.phones.texts("phone") == [f"alarm {number}" for number in range(2, KEPT + 2)]
        assert len(world.phones.texts("desk")) == KEPT + 2


async def test_what_is_told_before_anything_can_be_sent_is_sent_then() -> None:
    """An order that a crash cut off ends as the bridge comes up, before there is anybody to tell it."""
    world = World()
    world.alerts.tell("open of gate ended unknown")
    async with telling(world):
        assert world.phones.texts("phone") == world.phones.texts("desk") == ["open of gate ended unknown"]


async def test_what_is_told_last_is_told_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that is cut off as the bridge stops ends unknown; that has a moment, what nobody takes has not."""
    world, asked, answer = World(), asyncio.Event(), asyncio.Event()
    world.phones.down = ActionUnavailableError("away")
    send = world.phones.send

    async def slowly(delivery: Delivery) -> int:
        if delivery.to == "desk":
            asked.set()
            await answer.wait()
        return await send(delivery)

    monkeypatch.setattr(world.phones, "send", slowly)
    task = asyncio.create_task(world.alerts.run())
    await rest()
    world.alerts.tell("open of gate ended unknown")
    task.cancel()
    await asyncio.wait_for(asked.wait(), 5)
    assert not task.done()
    answer.set()
    await asyncio.wait([task])
    assert (world.phones.texts("phone"), world.phones.texts("desk")) == ([], ["open of gate ended unknown"])


async def test_what_is_untold_at_the_end_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The log is the last to hear of it."""
    world = World()
    world.phones.down = ActionUnavailableError("away")
    async with telling(world):
        world.alerts.tell("the gate is open")
        await world.clock.advance(300)
    said = [record.message for record in caplog.records]
    assert said.count("nobody could be told yet; it is tried every minute") == 1
    assert said.count("an alert was not taken") == 3
    assert said[-1] == "nobody could be told"
