"""What health shows while the simulator comes and goes, under the supervisor that really runs connectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.runtime.supervisor import SourceKeeper, SourceState
from bridge.schema.event import VmsEvent
from connectors.ts_api import TsApi
from connectors.ts_api.simulator import Simulator
from tests.clock import VirtualClock
from tests.fakes import RecordingSession, eventually

from .support import config, context
from .test_simulator import QUICK, simulated


class Kept:
    """A connector under a supervisor, whose waiting is ended by the test."""

    def __init__(self, sim: Simulator, **values: object) -> None:
        self.clock = VirtualClock()
        self.store = RecordingSession()
        self.states: list[SourceState] = []
        self.connector = TsApi(config(url=sim.url, **{**QUICK, **values}), context(self.clock))
        keeper = SourceKeeper("home", "nvr1", self.connector, self._emit, self._park, self.states.append, self.clock)
        self.task = asyncio.create_task(keeper.keep())

    async def _emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        return await self.store.emit(events)

    async def _park(self, source: str, message: str | bytes, reason: str, error: str) -> None:
        await self.store.park(message, reason, error)

    async def shows(self, code: str) -> SourceState:
        """Wait until health shows it."""
        await eventually(lambda: self.states and self.states[-1].code == code)
        return self.states[-1]

    async def wait_over(self) -> None:
        """Let the wait before the next try be over."""
        await self.clock.until_asleep()
        await self.clock.advance(60)

    async def gap_over(self) -> None:
        """Let the time be over after which the server's log is read again."""
        await eventually(lambda: any(wait > 60 for wait in self.clock.waits))
        await self.clock.advance(200)
        await eventually(lambda: self.store.of("source.gap"))

    async def end(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        await self.connector.aclose()


async def test_health_says_what_is_and_what_to_do() -> None:
    """Up, lost, refused, up again: each with one sentence; one event for each change."""
    async with simulated() as sim:
        patient = {"ping_interval": "10m", "ping_patience": "1h", "link_dead_after": "1h"}
        kept = Kept(sim, topics=["LPR", "crowd"], **patient)
        up = await kept.shows("ok")
        assert up.topics == ("LPR",)
        await eventually(lambda: len(kept.states[-1].flaws) == 2)
        flaws = dict(kept.states[-1].flaws)
        assert "crowd" in flaws["topics_refused"]
        assert "s off ours" in flaws["clock_differs"]  # its clock is right, and ours is a test's

        sim.faults.set("bad_gateway")
        sim.disconnect()
        assert "connection lost" in (await kept.shows("unavailable")).message
        await kept.wait_over()
        await eventually(lambda: "HTTP 502" in kept.states[-1].message)

        sim.faults.clear()
        await kept.wait_over()
        await kept.shows("ok")
        await kept.gap_over()
        kinds = [event.type for event in kept.store.emitted if event.type.startswith("source.")]
        assert kinds == ["source.connected", "source.lost", "source.connected", "source.gap"]
        await kept.end()


async def test_a_wrong_password_and_a_missing_api_have_their_own_codes() -> None:
    """So that a person knows who must act."""
    async with simulated(legacy_off=True) as sim:
        kept = Kept(sim, dialect="v0")
        assert "Legacy API" in (await kept.shows("unsupported")).message
        await kept.end()
        kept = Kept(sim, dialect="v1", password="CANARY-wrong")
        message = (await kept.shows("auth")).message
        assert "does not accept the credentials" in message
        assert "CANARY" not in message
        await kept.end()
