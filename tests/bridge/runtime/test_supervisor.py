"""Sources are kept listened to: one event when they go, one when they are back, and no hammering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contracts import Session
from bridge.errors import ConnectorAuthError, ConnectorUnavailableError, StoreUnavailableError
from bridge.runtime.gaps import Ledger
from bridge.runtime.outages import Cursor, Forgetful
from bridge.runtime.supervisor import QUICK, SLOW, SourceState, Supervisor, wait_before_retry
from bridge.schema.event import VmsEvent, own_event
from bridge.schema.kinds import BridgeHeartbeat, BridgeStarted
from tests.clock import START, VirtualClock, settle


class Scripted:
    """A connector whose sessions are functions, one after another; the last one repeats."""

    def __init__(self, *sessions: Callable[[Session], object]) -> None:
        self.sessions = list(sessions)
        self.count = 0

    async def run(self, session: Session) -> None:
        step = self.sessions[min(self.count, len(self.sessions) - 1)]
        self.count += 1
        result = step(session)
        if asyncio.iscoroutine(result):
            await result


def fail(error: Exception) -> Callable[[Session], object]:
    def session(_: Session) -> None:
        raise error

    return session


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.events: list[VmsEvent] = []
        self.states: list[SourceState] = []
        self.parked: list[tuple[str, str]] = []
        self.store_down = 0
        self.store_wait = timedelta(seconds=1)

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.store_down:
            self.store_down -= 1
            raise StoreUnavailableError("the bus is away", self.store_wait)
        self.events.extend(events)
        future.set_result(None)
        return future

    async def park(self, source: str, message: str | bytes, reason: str, error: str) -> None:
        self.parked.append((source, reason))

    @asynccontextmanager
    async def running(self, connector: Scripted) -> AsyncIterator[None]:
        supervisor = Supervisor("home", self.emit, self.park, self.states.append, self.clock)
        task = asyncio.create_task(supervisor.run({"nvr1": connector}))
        await settle()
        yield
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.events]


async def listen(session: Session) -> None:
    session.ready(topics=["LPR"], dialect="v1", version="1.1.0")
    await asyncio.get_running_loop().create_future()


async def listen_then_break(session: Session) -> None:
    session.ready(topics=["LPR"])
    await session.clock.sleep(10)
    raise ConnectorUnavailableError("connection reset")


async def test_a_source_that_answers_is_announced_once() -> None:
    """`source.connected`, and health says so."""
    world = World()
    async with world.running(Scripted(listen)):
        assert world.kinds == ["source.connected"]
        assert world.events[0].data.topics == ("LPR",)  # type: ignore[attr-defined]
        assert world.states[-1].up


async def test_what_happened_first_is_written_first() -> None:
    """The log is away while the source comes and goes: `source.lost` is not overtaken, or its state would be wrong."""
    world = World()
    world.store_down, world.store_wait = 4, timedelta(seconds=3)  # until 9 s after the start; it breaks at 10 s
    async with world.running(Scripted(listen_then_break, listen)):
        await world.clock.advance(100)
        assert world.kinds[:3] == ["source.connected", "source.lost", "source.connected"]


async def test_an_outage_is_one_lost_one_connected_and_one_gap() -> None:
    """However many tries it takes, and the gap runs from when the source was last heard."""
    world = World()
    down = fail(ConnectorUnavailableError("refused"))
    async with world.running(Scripted(listen_then_break, down, down, down, listen)):
        await world.clock.advance(200)
        assert world.kinds == ["source.connected", "source.lost", "source.connected", "source.gap"]
        gap = world.events[-1].data
        assert gap.gap_from == START  # type: ignore[attr-defined]
        assert gap.gap_to > START + timedelta(seconds=10)  # type: ignore[attr-defined]
        assert gap.cause == "unavailable"  # type: ignore[attr-defined]


async def test_events_that_waited_say_nothing_of_the_link_as_it_is_now() -> None:
    """The source was heard when they were read, and the gap begins then."""
    world = World()

    async def late(session: Session) -> None:
        session.ready(topics=["LPR"])
        read = session.clock.now()
        await session.clock.sleep(300)
        await session.emit([own_event("home", "bridge.started", BridgeStarted(version="1", instance="a"), read)])
        raise ConnectorUnavailableError("no answer to pings")

    async with world.running(Scripted(late, listen)):
        await world.clock.advance(400)
    (gap,) = (event.data for event in world.events if event.type == "source.gap")
    assert gap.gap_from == START  # type: ignore[attr-defined]


async def test_what_nobody_has_taken_when_the_bridge_stops_was_not_heard() -> None:
    """The log is slow, and the bridge is stopped meanwhile: the gap of the next start begins before what is lost."""
    world, records = World(), list[Cursor]()

    class Remembers(Forgetful):
        async def save(self, source: str, record: bytes) -> None:
            records.append(Cursor.model_validate_json(record))

    async def full(events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        return await (asyncio.Event().wait() if events[0].type == "bridge.heartbeat" else world.emit(events))

    async def hears(session: Session) -> None:
        session.ready(topics=["LPR"])
        await session.clock.sleep(300)
        session.heard()
        await session.clock.sleep(5)
        beat = BridgeHeartbeat(sources_up=1, sources_down=0, pending_orders=0)
        await session.emit([own_event("home", "bridge.heartbeat", beat, session.clock.now())])

    ledger = replace(Ledger.forgetful(world.emit), cursors=Remembers())
    supervisor = Supervisor("home", full, world.park, world.states.append, world.clock, ledger)
    task = asyncio.create_task(supervisor.run({"nvr1": Scripted(hears)}))
    await settle()
    await world.clock.advance(305)
    task.cancel()
    await asyncio.wait([task])
    assert records[-1].heard == START + timedelta(seconds=300)


async def test_a_session_that_cancels_itself_is_one_that_ended() -> None:
    """It waits for a request that is given up: the source is listened to again, as after any other end."""
    world = World()

    async def gives_up(session: Session) -> None:
        session.ready(topics=["LPR"])
        request = asyncio.get_running_loop().create_future()
        request.cancel()
        await request

    async with world.running(Scripted(gives_up, listen)):
        await world.clock.advance(10)
        assert world.kinds[:3] == ["source.connected", "source.lost", "source.connected"]


async def test_what_is_not_written_down_is_shown_and_made_up_for() -> None:
    """In health for an hour, whatever sessions end meanwhile; and as a gap."""
    world = World()

    async def loses(session: Session) -> None:
        session.ready(topics=["LPR"])
        session.missed(START - timedelta(seconds=5), START, "refused")
        await session.clock.sleep(1800)
        raise ConnectorUnavailableError("reset")

    async def listens(session: Session) -> None:
        session.ready(topics=["LPR"])
        while True:
            await session.clock.sleep(60)
            session.heard()

    async with world.running(Scripted(loses, listens)):
        await world.clock.advance(2000)
        assert world.states[-1].flaws == (
            ("not_written", "not all that came from 11:59:55 to 12:00:00 UTC was written down"),
        )
        await world.clock.advance(2000)
        assert (world.states[-1].up, world.states[-1].flaws) == (True, ())
    gaps = [event.data for event in world.events if event.type == "source.gap"]
    assert [gap.cause for gap in gaps] == ["refused", "unavailable"]  # type: ignore[attr-defined]


async def test_a_source_that_never_answered_is_reported_once() -> None:
    """One `source.lost` for a start without the source, not one a try."""
    world = World()
    async with world.running(Scripted(fail(ConnectorUnavailableError("refused")))):
        await world.clock.advance(300)
        assert world.kinds == ["source.lost"]
        assert not world.states[-1].up


async def test_refused_credentials_are_tried_slowly() -> None:
    """A wrong password must not lock the account."""
    world = World()
    connector = Scripted(fail(ConnectorAuthError("401")))
    async with world.running(connector):
        await world.clock.advance(SLOW[0] / 2 - 1)
        assert connector.count == 1
        assert world.states[-1].code == "auth"
        await world.clock.advance(3600)
        assert connector.count <= 3600 / (SLOW[1] / 2) + 5


async def test_a_connector_with_a_bug_does_not_take_the_others_along(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged with the trace, and it is tried again slowly."""
    world = World()
    connector = Scripted(fail(ZeroDivisionError("oops")), listen)
    async with world.running(connector):
        assert world.states[-1].code == "bug"
        await world.clock.advance(SLOW[0])
        assert world.states[-1].up
    assert "ZeroDivisionError" in caplog.text


async def test_what_is_said_waits_for_the_bus() -> None:
    """An outage is reported even if the bus is away at that moment."""
    world = World()
    world.store_down = 3
    async with world.running(Scripted(listen)):
        assert world.kinds == []
        await world.clock.advance(10)
        assert world.kinds == ["source.connected"]


async def test_flaws_show_without_ending_the_session() -> None:
    """A refused topic degrades; a new session starts clean."""
    world = World()

    async def flawed(session: Session) -> None:
        session.ready(topics=["LPR"])
        session.degraded("topic_refused", "packing is not offered")
        session.degraded("topic_refused", "packing is not offered")
        await listen_then_break(session)

    async with world.running(Scripted(flawed, listen)):
        assert world.states[-1].flaws == (("topic_refused", "packing is not offered"),)
        await world.clock.advance(30)
        assert world.states[-1].up
        assert world.states[-1].flaws == ()


async def test_parked_messages_carry_their_source() -> None:
    """What cannot be understood is filed, and counts as a sign of life."""
    world = World()

    async def garbled(session: Session) -> None:
        session.ready()
        await session.park("{", "not_json", "unterminated")
        await asyncio.get_running_loop().create_future()

    async with world.running(Scripted(garbled)):
        assert world.parked == [("nvr1", "not_json")]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_and_stay_bounded(attempt: int, fraction: float) -> None:
    """Never more than the longest, never less than half the first."""
    for bounds in (QUICK, SLOW):
        wait = wait_before_retry(attempt, bounds, fraction)
        assert bounds[0] / 2 <= wait <= bounds[1]
