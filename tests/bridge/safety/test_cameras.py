"""Who has a camera, for how long, and that it always goes home."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionUnavailableError
from bridge.safety.cameras import Camera
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.orders import Result
from tests.bridge.actions.support import Device, Disk, Site, make_order, plate_event, rest, running, until
from tests.clock import VirtualClock

NORTH = Camera("nvr", "1")
_number = iter(range(1, 1_000_000))


async def _goto(site: Site, preset: str, event: VmsEvent | None = None, priority: int = 0, **params: Any) -> Result:
    number = next(_number)
    event = event or plate_event(site.clock, number)
    order = make_order(site.clock, "ptz", {"preset": preset, **params}, number, event, priority=priority)
    return await site.do(order)


def _went(site: Site) -> list[str]:
    return [what.removeprefix("goto ") for _, what in site.device.ptz]


async def test_a_camera_goes_home_when_its_time_is_over(tmp_path: Path) -> None:
    """Held for 20 s, then home, once."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        result = await _goto(site, "gate", hold="20s", home="yard")
        assert (result.outcome, result.output["hold"], result.output["home"]) == ("done", "20s", "yard")
        await site.advance(19)
        assert _went(site) == ["gate"]
        await site.advance(2)
        await until(lambda: not site.cameras.held())
        await site.advance(60, step=10)
        assert _went(site) == ["gate", "yard"]


async def test_it_stays_while_the_event_lasts(tmp_path: Path) -> None:
    """A call holds the camera until it ends; the end of another call does not."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        call = plate_event(clock, 1, type="call.started", data={"caller": "gate"})
        await _goto(site, "gate", call, hold="event", home="yard")
        await site.advance(100, step=10)
        site.cameras.heard(plate_event(clock, 2, type="call.ended", subject="2", data={"caller": "door"}))
        await site.advance(1)
        assert _went(site) == ["gate"]
        site.cameras.heard(plate_event(clock, 3, type="call.ended", data={"caller": "gate"}))
        await site.advance(1)
        await until(lambda: _went(site) == ["gate", "yard"])


async def test_it_does_not_stay_for_what_is_over_already(tmp_path: Path) -> None:
    """A call that ended before the camera turned does not hold it; the end of an earlier one does not count."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        earlier = plate_event(clock, 1, type="call.ended", data={"caller": "gate"})
        site.cameras.heard(earlier)
        await site.advance(1)
        first = plate_event(clock, 2, type="call.started", data={"caller": "gate"})
        await _goto(site, "gate", first, hold="event", home="yard")
        await site.advance(30, step=10)
        assert _went(site) == ["gate"]
        site.cameras.heard(plate_event(clock, 3, type="call.ended", data={"caller": "gate"}))
        await site.advance(1)
        await until(lambda: _went(site) == ["gate", "yard"])
        second = plate_event(clock, 4, type="call.started", data={"caller": "gate"})
        site.cameras.heard(plate_event(clock, 5, type="call.ended", data={"caller": "gate"}))
        await _goto(site, "gate", second, hold="event", home="yard")
        await site.advance(1)
        await until(lambda: _went(site) == ["gate", "yard", "gate", "yard"])


async def test_an_event_that_never_ends_does_not_keep_it(tmp_path: Path) -> None:
    """`at_most` is the end of it."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        call = plate_event(clock, 1, type="call.started", data={"caller": "gate"})
        await _goto(site, "gate", call, hold="event", home="yard", at_most="1m")
        await site.advance(61, step=10)
        await until(lambda: _went(site) == ["gate", "yard"])


async def test_the_more_important_order_has_the_camera(tmp_path: Path) -> None:
    """While an alarm holds it, a plate does not turn it; an equal one does, and takes the return over."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _goto(site, "alarm", priority=10, hold="30s", home="yard")
        assert (await _goto(site, "gate")).reason == "camera_busy"
        assert (await _goto(site, "other", priority=10, hold="1m", home="street")).outcome == "done"
        await site.advance(62, step=5)
        await until(lambda: not site.cameras.held())
        assert _went(site) == ["alarm", "other", "street"]
        assert (await _goto(site, "gate")).outcome == "done"


async def test_whoever_takes_it_for_good_is_not_turned_back(tmp_path: Path) -> None:
    """A later order without `hold` ends the return that an earlier one owed."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _goto(site, "gate", hold="20s", home="yard")
        await _goto(site, "street")
        await site.advance(60, step=5)
        assert _went(site) == ["gate", "street"]


async def test_a_person_has_the_camera_before_any_rule(tmp_path: Path) -> None:
    """Locked: no preset and no move, whatever the priority; a stop always. What is owed waits for the person."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _goto(site, "gate", hold="20s", home="yard")
        await site.cameras.lock(NORTH, "anna", timedelta(minutes=5))
        refused = await _goto(site, "alarm", priority=1000)
        assert (refused.reason, "anna" in str(refused.message)) == ("camera_locked", True)
        move = await site.do(make_order(clock, "ptz", {"move": {"pan": 1}}, next(_number)))
        stop = await site.do(make_order(clock, "ptz", {"stop": True}, next(_number)))
        assert (move.reason, stop.outcome) == ("camera_locked", "done")
        await site.advance(120, step=10)
        assert "yard" not in _went(site)
        await site.cameras.unlock(NORTH)
        await site.advance(200, step=10)
        await until(lambda: _went(site)[-1] == "yard")
        assert (await _goto(site, "alarm")).outcome == "done"


async def test_who_takes_a_camera_while_another_turns_back_has_it(tmp_path: Path) -> None:
    """Three are due at once and the first is slow: a person and a new order take the others, and neither is turned."""
    clock, turning, go_on = VirtualClock(), asyncio.Event(), asyncio.Event()
    async with running(tmp_path, clock) as site:
        turned = site.device.ptz_goto

        async def slow(channel: str, preset: str) -> None:
            if (channel, preset) == ("1", "yard"):
                turning.set()
                await go_on.wait()
            await turned(channel, preset)

        site.device.ptz_goto = slow  # type: ignore[method-assign]
        for channel in "123":
            await _goto(site, "gate", channel=channel, hold="20s", home="yard")
        await clock.advance(20)
        async with asyncio.timeout(5):
            await turning.wait()
        await site.cameras.lock(Camera("nvr", "2"), "anna", timedelta(minutes=5))
        await _goto(site, "alarm", channel="3", hold="5m", home="yard")
        go_on.set()
        await until(lambda: "nvr/1" not in site.cameras.held())
        await rest()
        assert [what for what in site.device.ptz if what[1] != "goto gate"] == [
            ("3", "goto alarm"), ("1", "goto yard")
        ]  # fmt: skip
        assert site.cameras.held().keys() == {"nvr/2", "nvr/3"}


async def test_a_restart_turns_it_back(tmp_path: Path) -> None:
    """Killed while it was held: at the next start it goes home at once."""
    clock = VirtualClock()
    device = Device(clock)
    site = Site(tmp_path, clock, device=device)
    await site.start()
    await _goto(site, "gate", hold="1h", home="yard")
    await site.die()
    async with running(tmp_path, clock, Disk(), device=device) as again:
        await until(lambda: _went(again) == ["gate", "yard"])
        await until(lambda: not again.cameras.held())
    async with running(tmp_path, clock, Disk(), device=device) as third:
        await third.advance(10)
        assert _went(third) == ["gate", "yard"]


async def test_a_persons_camera_is_theirs_after_a_restart(tmp_path: Path) -> None:
    """For what is left of the time, no rule turns it and nothing turns it home; then it is free."""
    clock, device = VirtualClock(), Device(VirtualClock())
    site = Site(tmp_path, clock, device=device)
    await site.start()
    await _goto(site, "gate", hold="20s", home="yard")
    await site.cameras.lock(NORTH, "anna", timedelta(minutes=5))
    await site.cameras.lock(Camera("nvr", "2"), "bert", timedelta(minutes=1))
    await site.cameras.lock(Camera("nvr", "3"), "bert", timedelta(minutes=5))
    await site.cameras.unlock(Camera("nvr", "3"))
    await site.die()
    await clock.advance(120)  # the bridge is down
    async with running(tmp_path, clock, Disk(), device=device) as again:
        assert again.cameras.locks() == {"nvr/1": "anna"}
        refused = await _goto(again, "alarm", priority=1000)
        assert (refused.reason, "anna, for 3m" in str(refused.message)) == ("camera_locked", True)
        await again.advance(170, step=10)
        assert _went(again) == ["gate"]
        await again.advance(20, step=10)
        await until(lambda: _went(again) == ["gate", "yard"])
        assert again.cameras.locks() == {}


@pytest.mark.parametrize(("jump", "left"), [(timedelta(hours=-5), 300), (timedelta(minutes=-2), 300)])
async def test_a_clock_set_back_makes_no_lock_longer(tmp_path: Path, jump: timedelta, left: int) -> None:
    """What is left after a restart is never more than what was asked for."""
    clock = VirtualClock()
    site = Site(tmp_path, clock)
    await site.start()
    await site.cameras.lock(NORTH, "anna", timedelta(minutes=5))
    await site.die()
    clock.jump(jump)
    async with running(tmp_path, clock, Disk()) as again:
        await again.advance(left - 1, step=50)
        assert again.cameras.locks() == {"nvr/1": "anna"}
        await again.advance(1)
        assert again.cameras.locks() == {}


async def test_a_lock_that_cannot_be_written_down_holds_all_the_same(tmp_path: Path) -> None:
    """And whoever asked is told that a restart would forget it."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        (tmp_path / "cameralocks.jsonl").mkdir()
        with pytest.raises(OSError, match="directory"):
            await site.cameras.lock(NORTH, "anna", timedelta(minutes=5))
        assert (await _goto(site, "gate")).reason == "camera_locked"


async def test_a_return_is_tried_again_and_given_up_at_last(tmp_path: Path) -> None:
    """A camera that does not answer is asked a few times; then it is said, and the camera is free."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _goto(site, "gate", hold="1s", home="yard")
        site.device.answers.extend([ActionUnavailableError("busy")] * 2)
        await site.advance(10, step=0.5)
        await until(lambda: _went(site) == ["gate", "yard"])
        await _goto(site, "gate", hold="1s", home="yard")
        site.device.answers.extend([ActionUnavailableError("busy")] * 20)
        await site.advance(100, step=0.5)
        await until(lambda: not site.cameras.held())


@pytest.mark.parametrize("origin", [Origin.REPLAY, Origin.TEST])
async def test_history_holds_no_camera(tmp_path: Path, origin: Origin) -> None:
    """What is played again turns nothing."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        event = plate_event(clock, 1, origin=origin)
        assert (await _goto(site, "gate", event, hold="20s", home="yard")).reason == "not_live"
        assert (site.cameras.held(), _went(site)) == ({}, [])
