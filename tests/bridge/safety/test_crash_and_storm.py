"""What must hold at the worst moment: a crash within a pulse, the kill switch among a hundred orders, a storm."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bridge.actions import path as effect_path
from bridge.config.models import DoorConfig, OutputConfig
from bridge.crashpoint import POINTS
from bridge.safety import releases
from tests.bridge.actions.support import (
    Crash,
    Device,
    Disk,
    Site,
    inline,
    make_order,
    plate_event,
    rest,
    running,
    until,
)
from tests.clock import VirtualClock

PULSE = 2.0
ASTRAY = {"effect.waiting", "effect.found", "effect.buried", "effect.told"}
"""Where only an order comes that fails."""
STEPS = [name for name in POINTS if name.startswith(("effect.", "release.")) and name not in ASTRAY]
RUNS = int(os.environ.get("VMS_BRIDGE_RUNS", "1"))
"""How often the whole is tried; each time with other delays and at other moments."""
CHANCE = random.Random(int(os.environ.get("VMS_BRIDGE_SEED", "1")))
DELAYS = [0.5, 60.0, *(round(10 ** CHANCE.uniform(-2, 5), 2) for _ in range(2, RUNS))]
SLACK = 3.0
"""Seconds that a restart may take to switch off what it finds, on top of its own delay."""


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is virtual here, so the disk must take none of it."""
    monkeypatch.setattr(asyncio, "to_thread", inline)


@pytest.fixture
def dying() -> Iterator[dict[str, Any]]:
    """Let the process die at the point that `at` names."""
    story: dict[str, Any] = {"at": None, "site": None}

    def point(name: str) -> None:
        if name == story["at"]:
            story["at"] = None
            story["site"].power.on = False
            raise Crash

    with mock.patch.object(effect_path, "crash_point", point), mock.patch.object(releases, "crash_point", point):
        yield story


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_pulse_never_sticks(tmp_path: Path, dying: dict[str, Any], step: str, delay: float) -> None:
    """Wherever it dies and however long it is down: off within pulse + restart + 3 s, on at most once."""
    clock, disk = VirtualClock(), Disk()
    device = Device(clock)
    doors = {"main": DoorConfig(output="barrier", mode="act", pulse=f"{PULSE}s")}
    site = Site(tmp_path, clock, disk, doors=doors, device=device)
    await site.start()
    dying |= {"at": step, "site": site}
    site.queue.put(make_order(clock, "open", {"door": "main"}))
    for _ in range(40):
        await rest()
        if not site.power.on:
            break
        await clock.advance(0.1)
    assert not site.power.on, f"nobody passed {step}"
    await site.die()
    await clock.advance(delay)
    async with running(tmp_path, clock, disk, doors=doors, device=device) as again:
        for _ in range(30):
            await clock.advance(0.1)
            again.queue.bring_due()
            await rest()
        await until(lambda: not again.journal.owed())
    ons = [at for at, _, on in device.switched if on]
    assert len(ons) <= 1
    assert device.positions.get("r5", False) is False
    for on in ons:
        off = min(at for at, _, position in device.switched if not position and at >= on)
        assert (off - on).total_seconds() <= PULSE + delay + SLACK


MANY = 100


def _many(**fields: Any) -> tuple[dict[str, OutputConfig], dict[str, DoorConfig]]:
    outputs = {f"o{n}": OutputConfig(source="nvr", channel="1", relay=f"r{n}", idle="off") for n in range(MANY)}
    return outputs, {f"d{n}": DoorConfig(output=f"o{n}", mode="act", **fields) for n in range(MANY)}


@pytest.mark.parametrize("bus", ["up", "down"])
@pytest.mark.parametrize("after", [0, 1, 10, 50, *(CHANCE.randrange(MANY) for _ in range(4, RUNS))])
async def test_the_kill_switch_stops_a_hundred_orders_in_flight(tmp_path: Path, bus: str, after: int) -> None:
    """Once it is pulled nothing more leaves idle, whatever was claimed before and whether or not the bus is there."""
    clock = VirtualClock()
    outputs, doors = _many()
    safety = {"breaker": {"per_minute": 1000, "storm": 1000}}
    async with running(tmp_path, clock, outputs=outputs, doors=doors, safety=safety) as site:
        sent: list[str] = []
        enough, pulled = asyncio.Event(), False
        late: list[str] = []

        async def on_switch(relay: str, on: bool) -> None:
            if on:
                sent.append(relay)
                if pulled:
                    late.append(relay)
                if len(sent) >= after:
                    enough.set()

        site.device.on_switch = on_switch
        if after == 0:
            enough.set()
        site.queue.put(*(make_order(clock, "open", {"door": f"d{n}"}, n) for n in range(MANY)))
        await asyncio.wait_for(enough.wait(), 10)
        site.disk.unavailable = bus == "down"
        (tmp_path / "kill").touch()  # from another process
        await clock.advance(0.2)
        await rest()
        pulled = True  # what was being sent may still arrive within 200 ms
        site.disk.unavailable = False
        await clock.advance(5)
        await until(lambda: len(site.disk.acked) == MANY or clock.waits)
        await until(lambda: not late)
        assert late == []
        assert after <= len(sent)
        assert sent == [] or after > 0
        await clock.advance(30)
        await until(lambda: not site.journal.owed())
        assert not any(site.device.positions.values()), "releases pass"


@pytest.mark.parametrize("run", range(RUNS))
async def test_a_storm_at_one_door_keeps_to_its_limit_and_trips_the_breaker(tmp_path: Path, run: int) -> None:
    """Ten thousand allowed plates in a minute: one door opens as often as it may, and then the site stands still."""
    clock = VirtualClock()
    doors = {"main": DoorConfig(output="barrier", mode="act")}
    async with running(tmp_path, clock, doors=doors) as site:
        tripped: list[tuple[str, int]] = []
        site.safety.breaker.on_trip = lambda what, count: tripped.append((what, count))
        await _storm(site, 10_000, lambda n: "main")
        assert 1 <= _ons(site.device, clock.now()) <= 6
        assert tripped == [("orders", 301)]
        assert site.safety.breaker.pulled
    async with running(tmp_path, clock, Disk(), doors=doors) as again:
        await again.advance(120, step=30)
        late = await again.do(make_order(clock, "open", {"door": "main"}, 99_999))
        assert late.reason == "breaker", "latched over a restart"
        await again.safety.breaker.reset("anna", "it was a test")
        fine = await again.do(make_order(clock, "open", {"door": "main"}, 100_000))
        assert fine.outcome == "done"


@pytest.mark.parametrize("run", range(RUNS))
async def test_a_storm_over_many_doors_stops_at_the_limit_of_the_site(tmp_path: Path, run: int) -> None:
    """A hundred doors, each within its limits: the site opens twenty in a minute and then stands still."""
    clock = VirtualClock()
    outputs, doors = _many()
    async with running(tmp_path, clock, outputs=outputs, doors=doors) as site:
        await _storm(site, 200, lambda n: f"d{n % MANY}")
        assert _ons(site.device, clock.now()) == 20
        assert site.safety.breaker.pulled


async def _storm(site: Site, count: int, door: Any) -> None:
    """So many plates within a virtual minute."""
    parts = 20
    for part in range(parts):
        numbers = range(part * count // parts, (part + 1) * count // parts)
        orders = [make_order(site.clock, "open", {"door": door(n)}, n, plate_event(site.clock, n)) for n in numbers]
        site.queue.put(*orders)
        async with asyncio.timeout(60):
            while not all(order.id in site.disk.acked for order in orders):
                await asyncio.sleep(0.005)
                site.queue.bring_due()
                await site.clock.advance(0.001)
        await site.clock.advance(60 / parts - 0.1)


def _ons(device: Device, now: datetime) -> int:
    return sum(on for at, _, on in device.switched if now - at <= timedelta(seconds=70))
