"""What was missed is fetched from the server's own log: once, all of it, and told once. Over real sockets."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime

import pytest

from tests.clock import START, VirtualClock

from .outages import check, site
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
