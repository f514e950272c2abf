"""What health shows while the simulator comes and goes, under the supervisor that really runs connectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.clock import Clock, SystemClock
from bridge.runtime.supervisor import SourceKeeper, SourceState
from bridge.schema.event import VmsEvent
from connectors.ts_api import TsApi
from connectors.ts_api.simulator import Simulator
from tests.clock import VirtualClock
from tests.fakes import RecordingSession, eventually

from .support import USER, config, context
from .test_simulator import QUICK, WAYS, simulated


class Kept:
    """A connector under a supervisor, whose waiting is ended by the test."""

    def __init__(self, sim: Simulator, clock: Clock | None = None, **values: object) -> None:
        self.virtual = VirtualClock()
        self.clock = clock or self.virtual
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

    async def flaw(self, code: str) -> str:
        """Wait until health shows a flaw of a source that is up, and return its words."""
        await eventually(lambda: self.states and code in dict(self.states[-1].flaws))
        assert self.states[-1].up
        return dict(self.states[-1].flaws)[code]

    async def wait_over(self) -> None:
        """Let the wait before the next try be over."""
        await self.virtual.until_asleep()
        await self.virtual.advance(60)

    async def gap_over(self) -> None:
        """Let the time be over after which the server's log is read again."""
        await eventually(lambda: any(wait > 60 for wait in self.virtual.waits))
        await self.virtual.advance(200)
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


# --- every trouble, in both dialects ---------------------------------------------------------------------------

_LOST: dict[str, tuple[dict[str, object], str]] = {
    "silent": ({"link_dead_after": "500ms"}, "said nothing"),
    "half_open": ({}, "no answer to pings"),
    "bad_gateway": ({}, "HTTP 502, a web page"),
}
"""A fault of the simulator, how patient the connector is, and what health says then."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", _LOST)
async def test_a_server_that_is_not_there_is_unavailable_until_it_is_back(fault: str, way: str) -> None:
    """Said in one sentence that names what was seen; nobody has to do anything when it is over."""
    patience, words = _LOST[fault]
    async with simulated() as sim:
        kept = Kept(sim, SystemClock(), **WAYS[way], **patience)
        kept.connector._server_answers_pings = True
        await kept.shows("ok")
        sim.faults.set(fault)  # type: ignore[arg-type]
        if fault == "bad_gateway":
            sim.disconnect()
        await eventually(lambda: kept.states[-1].code == "unavailable" and words in kept.states[-1].message)
        sim.faults.clear()
        await kept.shows("ok")
        await kept.end()


@pytest.mark.parametrize("way", WAYS)
async def test_a_message_that_is_cut_off_is_a_flaw_that_passes(way: str) -> None:
    """The source stays up and is degraded for an hour; health says where the message is kept."""
    patient = {"ping_interval": "3h", "ping_patience": "6h", "link_dead_after": "6h"}
    async with simulated() as sim:
        kept = Kept(sim, **{**WAYS[way], **patient})
        await kept.shows("ok")
        sim.faults.set("truncate", times=1)
        await sim.event("LPR", plateNo="11AA111")
        assert "vms-bridge dlq list" in await kept.flaw("unreadable_message")
        assert [parked.reason for parked in kept.store.parked] == ["not_json"]
        await kept.virtual.advance(1800)
        sim.disconnect()
        await kept.shows("unavailable")
        await kept.wait_over()
        await kept.shows("ok")
        assert await kept.flaw("unreadable_message")  # a new session has not read it
        await kept.virtual.advance(1700)
        await sim.event("LPR", plateNo="33CC333")
        await eventually(lambda: len(kept.store.of("plate.read")) == 1)
        assert await kept.flaw("unreadable_message")
        await kept.virtual.advance(100)
        await sim.event("LPR", plateNo="22BB222")
        await eventually(lambda: "unreadable_message" not in dict(kept.states[-1].flaws))
        await kept.end()


@pytest.mark.parametrize("way", WAYS)
async def test_a_huge_snapshot_is_no_trouble(way: str) -> None:
    """8 MiB at once, and the source stays up without a flaw."""
    async with simulated() as sim:
        sim.faults.set("big_snapshot", size=8 * 1024 * 1024)
        kept = Kept(sim, SystemClock(), **{**WAYS[way], "topics": ["channelStatus"]})
        await eventually(lambda: len(kept.store.of("channel.status")) == 144)
        assert (kept.states[-1].code, kept.states[-1].flaws) == ("ok", ())
        assert kept.store.parked == []
        await kept.end()


async def test_tokens_that_run_out_are_an_outage_of_a_moment() -> None:
    """The sockets end, the tokens are renewed, and the source is up again; never `auth`."""
    async with simulated() as sim:
        kept = Kept(sim, SystemClock(), **WAYS["v1 login"])
        await kept.shows("ok")
        sim.expire_tokens()
        await kept.shows("unavailable")
        await kept.shows("ok")
        assert "auth" not in {state.code for state in kept.states}
        await kept.end()


@pytest.mark.parametrize("way", ["v0", "v1 login"])
async def test_a_password_changed_in_the_middle_is_a_matter_of_credentials(way: str) -> None:
    """Whoever changed it finds out from health."""
    async with simulated() as sim:
        kept = Kept(sim, SystemClock(), **WAYS[way])
        await kept.shows("ok")
        sim.change_password(USER, "CANARY-another")
        message = (await kept.shows("auth")).message
        assert "does not accept the credentials" in message
        assert "CANARY" not in message
        await kept.end()


@pytest.mark.parametrize("way", WAYS)
async def test_an_unknown_topic_is_a_flaw_of_a_source_that_is_up(way: str) -> None:
    """Named, and the other topics are heard."""
    async with simulated() as sim:
        kept = Kept(sim, SystemClock(), **{**WAYS[way], "topics": ["LPR", "crowd"]})
        assert "crowd" in await kept.flaw("topics_refused")
        await kept.end()


@pytest.mark.parametrize("way", WAYS)
async def test_wrong_credentials_have_their_own_code_from_the_start(way: str) -> None:
    """Whichever credentials they are, and they are not shown."""
    wrong = {"api_key": "CANARY-wrong"} if "api_key" in WAYS[way] else {"password": "CANARY-wrong"}
    async with simulated() as sim:
        kept = Kept(sim, SystemClock(), **{**WAYS[way], **wrong})
        assert "CANARY" not in (await kept.shows("auth")).message
        await kept.end()


async def test_a_legacy_api_that_is_switched_off_is_no_trouble_if_the_other_is_there() -> None:
    """`auto` finds v1."""
    async with simulated(legacy_off=True) as sim:
        kept = Kept(sim, SystemClock())
        assert (await kept.shows("ok")).dialect == "v1"
        await kept.end()
