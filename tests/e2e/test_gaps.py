"""A whole bridge loses its source, and itself, and misses nothing that the source can still tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from bridge.app import Registries, Running, running
from bridge.bus.pull import scan
from bridge.commands.site import actions, connectors
from bridge.config.load import load
from bridge.runtime import filling
from bridge.schema.event import Origin, VmsEvent
from connectors.ts_api.simulator import Simulator, SimulatorConfig
from connectors.ts_api.simulator.config import UserConfig
from connectors.ts_api.simulator.feed import Feed
from tests.fakes import eventually

USER, PASSWORD = "bridge", "gap-test"


@asynccontextmanager
async def simulated() -> AsyncIterator[Simulator]:
    user = UserConfig(name=USER, password=SecretStr(PASSWORD), admin=True)
    async with Simulator(SimulatorConfig(users=(user,), motion_tick=timedelta(0))) as sim:
        yield sim


@asynccontextmanager
async def bridge(folder: Path, sim: Simulator, **door: Any) -> AsyncIterator[Running]:
    """A bridge that opens a door for every plate; `door` says more of it."""
    config = {
        "site": "home",
        "data_dir": "data",
        "http": {"port": 0},
        "sources": {"nvr1": {"type": "ts-api", "url": sim.url, "username": USER, "password": PASSWORD}},
        "outputs": {"barrier": {"source": "nvr1", "channel": "1", "relay": "relay-1", "idle": "off"}},
        "doors": {"gate": {"output": "barrier", "mode": "act", "pulse": "200ms", "min_score": 0} | door},
        "safety": {"hold_off": "0s", "trusted_clocks": ["nvr1"]},
        "rules": ["rules.yaml"],
    }
    rule = {"id": "open", "when": {"kind": "plate.read"}, "then": [{"open": "gate"}]}
    folder.joinpath("bridge.yaml").write_text(json.dumps(config))
    folder.joinpath("rules.yaml").write_text(json.dumps({"rules": [rule]}))
    loaded = load(folder / "bridge.yaml", connectors())
    async with running(loaded, Registries(connectors(), actions())) as up:
        await up.listening("nvr1")
        yield up


async def stored(up: Running, kind: str) -> list[VmsEvent]:
    """Return what stands in the log."""
    found = [
        VmsEvent.decode(message.data)
        async for messages in scan(up.bus.connection, up.bus.stream("EVENTS"))
        for message in messages
    ]
    return [event for event in found if event.type == kind]


async def until_stored(up: Running, kind: str, count: int) -> list[VmsEvent]:
    """Wait until so many events of a kind are in the log."""
    found: list[VmsEvent] = []
    for _ in range(600):
        found = await stored(up, kind)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(found)} of {count} {kind}")


def opened(sim: Simulator) -> int:
    """How often the gate was opened."""
    return sum(on for _, on in sim.relay(1, "relay-1").history)


async def asked_to_open(up: Running, folder: Path) -> tuple[int, str | None]:
    """Open the door by hand; return the status and the reason of a refusal."""
    token = json.loads((folder / "data" / "api.json").read_text())["token"]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
        answer = await client.post(f"{up.http.url}/api/doors/gate/open")
    return answer.status_code, answer.json().get("reason")


@pytest.mark.timeout(120)
async def test_what_a_source_said_before_it_was_away_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves in the lock, it says when we connect. After an outage that counts again when it is said again."""
    empty = [{"entity": "nvr1/2", "attribute": "motion", "is": "off"}]
    no_limits = {"cooldown": "0s", "per_minute": 1000, "per_hour": 1000}

    async def until_answered(up: Running, *wanted: object) -> None:
        for _ in range(100):
            if (found := await asked_to_open(up, tmp_path)) == wanted:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{found} and never {wanted}")

    async with simulated() as sim, bridge(tmp_path, sim, requires=empty, **no_limits) as up:
        await until_answered(up, 200, None)
        monkeypatch.setattr(Feed, "tell_snapshot", lambda *_: None)  # it will not say how things are
        sim.disconnect()
        await until_stored(up, "source.connected", 2)
        assert await asked_to_open(up, tmp_path) == (409, "state_unknown")
        await sim.event("motionChanges", channel=2, motion=True)
        await until_answered(up, 409, "interlock")
        await sim.event("motionChanges", channel=2, motion=False)
        await until_answered(up, 200, None)


@pytest.mark.timeout(120)
async def test_what_was_missed_is_stored_and_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does what has changed meanwhile look as if it happened now."""
    monkeypatch.setattr(filling, "LATE", timedelta(seconds=5))
    async with simulated() as sim:
        await sim.event("motionChanges", channel=1, motion=True)
        async with bridge(tmp_path, sim) as up:
            await sim.event("LPR", plateNo="LIVE1", channel=1)
            await eventually(lambda: opened(sim) == 1)
            sim.faults.set("refuse")
            sim.disconnect()
            await sim.event("LPR", plateNo="MISSED1", channel=1)
            await sim.event("object", type="human", channel=1)
            await sim.event("motionChanges", channel=2, motion=True)
            await until_stored(up, "source.lost", 1)
            sim.faults.clear()
            (told,) = await until_stored(up, "source.gap", 1)
            assert told.data.fetched == {"system.log": 1, "plate.read": 1, "object.detected": 1}
            motions = await stored(up, "motion.started")
            assert [(event.subject, event.origin) for event in motions] == [
                ("1", Origin.RESYNC),
                ("2", Origin.RESYNC),
            ]
            await sim.event("motionChanges", channel=2, motion=False)
            ended = await until_stored(up, "motion.ended", 4)
            assert [event.subject for event in ended if event.origin is Origin.LIVE] == ["2"]
            assert opened(sim) == 1

        await sim.event("LPR", plateNo="MISSED2", channel=1)
        async with bridge(tmp_path, sim) as up:
            await sim.event("LPR", plateNo="LIVE2", channel=1)
            told = (await until_stored(up, "source.gap", 2))[-1]
            assert told.data.cause == "stopped"
            plates = await stored(up, "plate.read")
            assert sorted((event.data.plate, event.origin) for event in plates) == [
                ("LIVE1", Origin.LIVE),
                ("LIVE2", Origin.LIVE),
                ("MISSED1", Origin.BACKFILL),
                ("MISSED2", Origin.BACKFILL),
            ]
            assert b'vms_bridge_events_fetched_total{kind="plate.read",source="nvr1"} 1.0' in up.metrics.render()
            assert b'vms_bridge_events_twin_total{source="nvr1",via="log"}' in up.metrics.render()
