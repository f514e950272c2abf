"""What was missed is fetched from the server's own log: once, all of it, and told once. Over real sockets."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from bridge.sdk import Origin
from connectors.ts_api.simulator.config import ApiKeyConfig
from tests.clock import START, VirtualClock
from tests.fakes import eventually

from .outages import SOURCE, Site, check, site
from .support import API_KEY
from .test_simulator import WAYS

OUTAGES = int(os.environ.get("VMS_BRIDGE_OUTAGES", "10"))
"""How many random outages; 100 is the long form."""
SEED = int(os.environ.get("VMS_BRIDGE_SEED", "20260110"))
LAST_SUMMER_NIGHT = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
"""Half past midnight in New York; at 06:00 UTC its clocks go back from 02:00 to 01:00."""


@pytest.mark.parametrize("way", WAYS)
async def test_random_outages_lose_nothing_and_double_nothing(way: str) -> None:
    """One second to two hours, rows growing and arriving while they are read, now and then a restart."""
    here_and_there = random.Random(f"{SEED} {way}")
    async with site(VirtualClock(START), SEED, **WAYS[way]) as here:
        here.sim.faults.set("growing_log")
        for _ in range(-(-OUTAGES // len(WAYS))):
            if here_and_there.random() < 0.5:
                here.sim.faults.set("late_rows", wait="60s")
            else:
                here.sim.faults.clear("late_rows")
            await here.life(here_and_there.uniform(1, 600), 5)
            length = here_and_there.choice([1, 30, 600, 7200]) * here_and_there.uniform(0.5, 1)
            happenings = min(120, 3 + int(length / 20))
            if here_and_there.random() < 0.25:
                await here.restart(length, happenings)
            else:
                await here.outage(length, happenings)
            if here_and_there.random() < 0.5:
                await here.gaps_told()
        await here.gaps_told()
        check(here)


@pytest.mark.parametrize("way", WAYS)
async def test_the_night_the_clocks_go_back(way: str) -> None:
    """The hour that comes twice is told apart, and nothing of it is lost or doubled."""
    async with site(VirtualClock(LAST_SUMMER_NIGHT), SEED, **WAYS[way]) as here:
        for length in (3000, 1500, 1200, 3300):
            await here.outage(length, 30)
            await here.life(60, 5)
            await here.gaps_told()
        check(here)
        rows = {row.plate_no: row.begin for row in here.sim.log.plates}
        for event in here.log.of("plate.read"):
            if event.via == "log":
                assert abs((event.time - rows[event.data.plate]).total_seconds()) < 1  # type: ignore[attr-defined]


async def test_live_events_do_not_wait_for_what_was_missed() -> None:
    """Doors open while the log is still being read."""
    async with site(VirtualClock(START), dialect="v0") as here:
        await here.break_link()
        missed = [await here.read() for _ in range(3)]
        await here.clock.advance(30)
        here.sim.faults.set("delay", path="/api/find", wait="1s")
        await here.mend_link()
        plate = await here.read()
        await eventually(lambda: plate in _plates(here))
        assert not set(missed) & set(_plates(here))
        here.sim.faults.clear("delay")
        here.truth.outages.append((here.clock.now(), here.clock.now()))
        await here.gaps_told()
        assert sorted(_plates(here)) == sorted([*missed, plate])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [1, 4, 9, 30])
async def test_a_crash_while_filling_changes_nothing(way: str, after: int) -> None:
    """The next process goes on: each event once, one gap, and it has counted what the first one fetched."""
    async with site(VirtualClock(START), after, **WAYS[way]) as here:
        await here.life(60, 6)
        here.process.dies_after = after
        await here.outage(900, 40)
        await eventually(lambda: here.process.dead)
        await here.process.kill()
        here.listening = False
        await here.clock.advance(700)  # longer than the store itself knows ids
        began = here.clock.now() - timedelta(seconds=700)
        here.process = here.start()
        await here.connected()
        here.truth.outages.append((began, here.clock.now()))
        await here.gaps_told()
        check(here)
        assert [gap.cause for gap in await here.gaps_told()] == ["unavailable", "stopped"]


async def test_a_crash_before_the_telling_is_told_once() -> None:
    """The event was stored, the record that it was not."""
    async with site(VirtualClock(START), dialect="v0") as here:
        await here.outage(60, 5)
        await here.gaps_told()
        here.log.records[SOURCE] = next(one for one in reversed(here.log.history) if b'"complete":true' in one)
        await here.restart(30, 2)
        await here.gaps_told()
        check(here)


async def test_an_outage_that_outlives_the_bridge_is_one() -> None:
    """The source was away before, while and after the bridge was."""
    async with site(VirtualClock(START), dialect="v0") as here:
        began = here.clock.now()
        await here.break_link()
        await here.life(100, 5)
        await here.process.kill()
        await here.life(100, 5)
        here.process = here.start()
        await here.clock.advance(30)
        await here.life(100, 5)
        await here.mend_link()
        here.truth.outages.append((began, here.clock.now()))
        (gap,) = await here.gaps_told()
        assert gap.cause == "unavailable"
        check(here)


async def test_a_start_without_anything_missed_says_so() -> None:
    """A bridge that was away for a minute in which nothing happened has a gap like any other."""
    async with site(VirtualClock(START), dialect="v0") as here:
        await here.life(600, 20)
        await here.restart(60, 0)
        (gap,) = await here.gaps_told()
        assert (gap.cause, gap.fetched) == ("stopped", {})
        assert "motionChanges" in gap.lost
        assert "LPR" in gap.topics
        assert "LPR" not in gap.lost


async def test_the_first_start_is_no_gap() -> None:
    """Nobody was listening to anything before."""
    async with site(VirtualClock(START), dialect="v0") as here:
        await here.life(400, 10)
        assert here.log.of("source.gap") == []
        check(here)


@pytest.mark.parametrize("way", WAYS)
async def test_a_car_that_waits_is_read_again_when_the_link_is_back(way: str) -> None:
    """Its stay is known from the log already, and yet the new reading opens the door: it is live."""
    async with site(VirtualClock(START), **WAYS[way]) as here:
        began = here.clock.now()
        await here.break_link()
        plate = await here.read()
        await here.clock.advance(5)
        await here.read(plate)
        await here.clock.advance(4)
        await here.mend_link()
        here.truth.outages.append((began, here.clock.now()))
        await eventually(lambda: _plates(here) == [plate])
        await here.read(plate)
        await eventually(lambda: len(_plates(here)) == 2)
        await here.gaps_told()
        assert [(event.via, event.origin) for event in here.log.of("plate.read")] == [
            ("log", Origin.BACKFILL),
            ("ws", Origin.LIVE),
        ]


@pytest.mark.parametrize("way", WAYS)
async def test_a_car_that_was_there_before_the_gap_is_not_new(way: str) -> None:
    """Its row has grown in the gap; it is the same stay."""
    async with site(VirtualClock(START), **WAYS[way]) as here:
        plate = await here.read()
        await here.heard()
        began = here.clock.now()
        await here.break_link()
        await here.clock.advance(6)
        await here.read(plate)
        await here.clock.advance(4)
        await here.mend_link()
        here.truth.outages.append((began, here.clock.now()))
        await here.gaps_told()
        check(here)
        assert _plates(here) == [plate]


@pytest.mark.parametrize("way", WAYS)
async def test_pushed_heard_and_fetched_is_one(way: str) -> None:
    """A reader that pushes to the server and to us: one plate, whichever ways it takes."""
    async with site(VirtualClock(START), **WAYS[way]) as here:
        code = "1-1-1"
        heard = await here.read()
        await here.heard()
        await here.push(heard, code)
        early = f"AB{here.mark():05d}"
        await here.push(early, code)
        here.truth.reads[early]
        await here.sim.event("LPR", plateNo=early, channel=1)
        await here.heard()
        began = here.clock.now()
        await here.break_link()
        missed = await here.read(seenFor="0s")
        await here.push(missed, code)
        await here.clock.advance(30)
        await here.mend_link()
        here.truth.outages.append((began, here.clock.now()))
        await here.gaps_told()
        assert Counter(_plates(here)) == {heard: 1, early: 1, missed: 1}
        assert here.log.twins["push"] == 1


async def test_rows_that_expire_while_they_are_read_take_no_other_along() -> None:
    """Retention moves all positions; what is still there is found."""
    async with site(VirtualClock(START), dialect="v0") as here:
        began = here.clock.now()
        await here.break_link()
        for _ in range(300):
            await here.read()
            await here.clock.advance(1)
        here.sim.faults.set("shrinking_log", copies=12)
        await here.mend_link()
        here.truth.outages.append((began, here.clock.now()))
        (gap,) = await here.gaps_told()
        here.sim.faults.clear("shrinking_log")
        left = {row.plate_no for row in here.sim.log.plates}
        assert left <= set(_plates(here))
        assert len(_plates(here)) == len(set(_plates(here)))
        assert gap.log_begins.keys() >= {"plates"}


async def test_what_the_server_does_not_show_is_told_as_lost() -> None:
    """A key without the right to play back; the live events come all the same."""
    weak = (ApiKeyConfig(id="k", key=SecretStr(API_KEY), permissions=("remote",)),)
    async with site(VirtualClock(START), settings={"api_keys": weak}, **WAYS["v1 key"]) as here:
        await here.outage(60, 5)
        (gap,) = await here.gaps_told()
        assert set(gap.topics) == set(gap.lost)
        assert gap.fetched == {}


async def test_a_log_that_is_away_for_a_while_is_asked_again() -> None:
    """The socket is back before the rest of the server."""
    async with site(VirtualClock(START), dialect="v0") as here:
        began = here.clock.now()
        await here.break_link()
        await here.life(60, 5)
        here.sim.faults.set("bad_gateway", path="/api/find", times=_MANY)
        here.sim.faults.clear("refuse")
        await here.connected()
        async with asyncio.timeout(60):
            while _refused(here) < 5:
                await here.clock.advance(20)
                await asyncio.sleep(0.005)
        assert not here.log.of("source.gap")
        here.sim.faults.clear("bad_gateway")
        here.truth.outages.append((began, began))
        await here.gaps_told()
        assert len(here.log.of("source.gap")) == 1
        assert {plate for plate, heard in here.truth.reads.items() if not any(heard)} <= set(_plates(here))


_MANY = 1000


def _refused(here: Site) -> int:
    """How often the server has turned away who asked for its log."""
    fault = here.sim.faults.get("bad_gateway")
    assert fault is not None
    assert fault.times is not None
    return _MANY - fault.times


def _plates(here: Site) -> list[str]:
    return [event.data.plate for event in here.log.of("plate.read")]  # type: ignore[attr-defined]
