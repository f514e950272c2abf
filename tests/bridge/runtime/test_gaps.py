"""Gaps are filled, slice by slice, and told once whatever happens in between."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.contracts import Missed
from bridge.errors import ConnectorUnavailableError, PayloadError, StoreUnavailableError
from bridge.runtime.filling import LATE, OVERLAP, SLICE, TRIES
from bridge.runtime.gaps import MOST, Ledger, SourceGaps
from bridge.runtime.outages import Cursor, Outage
from bridge.runtime.twins import TwinMatcher
from bridge.schema.event import Origin, VmsEvent
from tests.clock import START, VirtualClock, settle

NAME = "home/nvr1"
MINUTE = timedelta(minutes=1)


def happened(number: int, **changes: Any) -> VmsEvent:
    content: dict[str, Any] = {
        "id": f"e{number}",
        "type": "plate.read",
        "source": NAME,
        "subject": "1",
        "time": START,
        "timequality": "server",
        "received": START,
        "origin": Origin.BACKFILL,
        "via": "log",
        "data": {"plate": f"P{number}", "plate_raw": f"P{number}"},
    }
    return VmsEvent.model_validate(content | changes)


class Source:
    """A source whose log says what a test wants."""

    def __init__(self) -> None:
        self.asked: list[tuple[datetime, datetime]] = []
        self.answers: list[Callable[[], Sequence[Missed]]] = []

    async def missed(self, since: datetime, until: datetime) -> AsyncIterator[Missed]:
        self.asked.append((since, until))
        for missed in self.answers.pop(0)() if self.answers else ():
            yield missed


class World:
    """What is durable, and one life of the bridge beside it."""

    def __init__(self, source: object = None) -> None:
        self.clock = VirtualClock()
        self.source = source or Source()
        self.events: list[VmsEvent] = []
        self.record: bytes | None = None
        self.records: list[Cursor] = []
        self.told: list[Outage] = []
        self.counted: list[tuple[str, int]] = []
        self.store_down = False
        self.too_large: set[str] = set()

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        self._answer()
        if self.too_large & {event.id for event in events}:
            raise PayloadError("too_large", "an event is too large")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events += events
        future.set_result(None)
        return future

    async def tell(self, outage: Outage) -> None:
        self.told.append(outage)

    async def load(self, source: str) -> bytes | None:
        self._answer()
        return self.record

    async def save(self, source: str, record: bytes) -> None:
        self._answer()
        self.record = record
        self.records.append(Cursor.model_validate_json(record))

    async def is_told(self, source: str, event: str) -> bool:
        return bool(self.told) and self.told[-1].id_for(source) == event

    async def recall(self, source: str, since: datetime, until: datetime) -> AsyncIterator[Sequence[VmsEvent]]:
        yield [event for event in self.events if since <= event.received <= until]

    def gap(self, source: str) -> None:
        self.counted.append((source, 0))

    def fetched(self, source: str, kind: str, count: int) -> None:
        self.counted.append((kind, count))

    def twin(self, source: str, via: str) -> None: ...

    def _answer(self) -> None:
        if self.store_down:
            raise StoreUnavailableError("down", timedelta(seconds=1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SourceGaps]:
        matcher = TwinMatcher(self.emit, {}, {}, self)
        gaps = SourceGaps(NAME, self.source, Ledger(matcher, self, self), self.tell, self.clock)
        task = asyncio.create_task(self._run(gaps))
        await settle()
        try:
            yield gaps
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, gaps: SourceGaps) -> None:
        await gaps.load()
        await gaps.run()

    async def outage(self, gaps: SourceGaps, seconds: float) -> None:
        gaps.lost(self.clock.now(), "unavailable")
        await self.clock.advance(seconds)
        gaps.back(self.clock.now(), ("LPR", "motionChanges"))
        await settle()


async def test_a_source_without_a_log_loses_everything_and_says_so() -> None:
    """At once: there is nothing to wait for."""
    world = World(source=object())
    async with world.running() as gaps:
        gaps.back(START, ("LPR",))
        await world.outage(gaps, 60)
    (outage,) = world.told
    gap = outage.told()
    assert (gap.gap_from, gap.gap_to, gap.cause) == (START, START + MINUTE, "unavailable")
    assert gap.lost == ("LPR", "motionChanges")
    assert world.counted == [("nvr1", 0)]


async def test_the_end_of_a_gap_is_read_twice() -> None:
    """With some overlap, and the second time when late rows are there."""
    world = World()
    assert isinstance(world.source, Source)
    one, two = happened(1), happened(2)
    world.source.answers = [
        lambda: [Missed([one], log="plates"), Missed((), unfetchable=("motionChanges", "packing"))],
        lambda: [Missed([one, two], log="plates")],
    ]
    async with world.running() as gaps:
        gaps.back(START, ("LPR",))
        await world.outage(gaps, 60)
        assert world.events == [one]
        assert world.told == []
        await world.clock.advance(LATE.total_seconds())
    until = START + MINUTE
    assert world.source.asked == [(START - OVERLAP, until), (START - OVERLAP, until + OVERLAP)]
    assert world.events == [one, two]
    gap = world.told[0].told()
    assert (gap.fetched, gap.lost) == ({"plate.read": 2}, ("motionChanges",))
    assert Cursor.model_validate_json(world.record or b"").outages == ()


async def test_without_any_log_there_is_nothing_to_wait_for() -> None:
    """The licence has none, or we may not read it: that is told at once."""
    world = World()
    assert isinstance(world.source, Source)
    world.source.answers = [lambda: [Missed((), unfetchable=("LPR", "motionChanges", "packing"))]]
    async with world.running() as gaps:
        await world.outage(gaps, 60)
        assert world.told[0].told().lost == ("LPR", "motionChanges")
    assert len(world.source.asked) == 1


async def test_a_long_gap_is_read_in_slices() -> None:
    """Each is written down, so a crash repeats one of them at most; only the end is read twice."""
    world = World()
    assert isinstance(world.source, Source)
    async with world.running() as gaps:
        gaps.back(START, ())
        await world.outage(gaps, 2.5 * 3600)
        await world.clock.advance(LATE.total_seconds())
    until = START + 2.5 * SLICE
    edges = [START, START + SLICE, START + 2 * SLICE, until]
    first = [(begin - OVERLAP, end) for begin, end in itertools.pairwise(edges)]
    assert world.source.asked == [*first, (until - SLICE - OVERLAP, until + OVERLAP)]
    reached = [cursor.outages[0].reached for cursor in world.records if cursor.outages]
    assert set(edges[1:]) <= set(reached)


async def test_history_never_looks_live() -> None:
    """Whatever the connector calls it."""
    world = World()
    assert isinstance(world.source, Source)
    world.source.answers = [lambda: [Missed([happened(1, origin=Origin.LIVE, via="ws")])]]
    async with world.running() as gaps:
        await world.outage(gaps, 5)
    assert [event.origin for event in world.events] == [Origin.BACKFILL]


async def test_a_log_that_is_away_is_asked_again() -> None:
    """What came before it failed is not stored again."""
    world = World()
    assert isinstance(world.source, Source)

    def half() -> Sequence[Missed]:
        raise ConnectorUnavailableError("HTTP 502")

    world.source.answers = [half, lambda: [Missed([happened(1)])], half, lambda: [Missed([happened(1)])]]
    async with world.running() as gaps:
        await world.outage(gaps, 60)
        await world.clock.advance(LATE.total_seconds() + 10)
    assert len(world.source.asked) == 4
    assert len(world.events) == len(world.told) == 1


@pytest.mark.parametrize("error", [ConnectorUnavailableError("HTTP 502"), ZeroDivisionError("oops")])
async def test_a_log_that_stays_away_does_not_hide_the_gap(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """It is told that everything is lost."""
    world = World()
    assert isinstance(world.source, Source)

    def fail() -> Sequence[Missed]:
        raise error

    world.source.answers = [fail] * (TRIES + 5)
    async with world.running() as gaps:
        await world.outage(gaps, 60)
        await world.clock.advance(2 * 3600)
    (outage,) = world.told
    assert outage.told().lost == ("LPR", "motionChanges")
    assert "what was missed is lost" in caplog.text


async def test_while_the_source_is_away_again_its_log_is_not_asked() -> None:
    """The next outage is another gap."""
    world = World()
    assert isinstance(world.source, Source)

    def fail() -> Sequence[Missed]:
        raise ConnectorUnavailableError("connection refused")

    async with world.running() as gaps:
        world.source.answers = [fail]
        await world.outage(gaps, 60)
        gaps.lost(world.clock.now(), "silent")
        await world.clock.advance(3600)
        assert len(world.source.asked) == 1
        gaps.back(world.clock.now(), ())
        await world.clock.advance(600)
    assert [outage.cause for outage in world.told] == ["unavailable", "silent"]
    assert [outage.until is not None for outage in world.told] == [True, True]


async def test_the_bridges_own_absence_is_a_gap() -> None:
    """From when the source was heard last to when it is heard again."""
    world = World()
    async with world.running() as gaps:
        gaps.back(START, ())
        await world.clock.advance(60)
        gaps.heard(world.clock.now())
        await settle()
    await world.clock.advance(600)
    async with world.running() as gaps:
        assert gaps.since == START + MINUTE
        gaps.lost(world.clock.now(), "unavailable")
        await world.clock.advance(30)
        gaps.back(world.clock.now(), ("LPR",))
        await world.clock.advance(600)
    (outage,) = world.told
    assert (outage.since, outage.until, outage.cause) == (START + MINUTE, START + timedelta(seconds=690), "stopped")


async def test_the_cursor_follows_lazily_and_when_told_to_stop() -> None:
    """Ten seconds behind at most, without a write for every event."""
    world = World()
    async with world.running() as gaps:
        gaps.back(START, ())
        await settle()
        for _ in range(100):
            await world.clock.advance(1)
            gaps.heard(world.clock.now())
            await settle()
        assert len(world.records) <= 15
        gaps.heard(world.clock.now())
    assert world.records[-1].heard == world.clock.now()


async def test_the_cursor_does_not_pass_what_is_not_stored() -> None:
    """Whoever dies now has not heard it."""
    world = World()
    async with world.running() as gaps:
        gaps.back(START, ())
        await settle()
        gaps.doubt(world.clock.now())
        for _ in range(5):
            await world.clock.advance(11)
            gaps.heard(world.clock.now())
            await settle()
        assert {cursor.heard for cursor in world.records} == {START}
        await world.clock.advance(11)
        gaps.heard(world.clock.now())
        await settle()
        assert world.records[-1].heard == world.clock.now()


async def test_a_log_whose_reading_cancels_itself_is_read_again() -> None:
    """The request goes with a session that ends: the gap is filled and told all the same, and so are all later ones."""
    world = World()

    class GivesUp(Source):
        async def missed(self, since: datetime, until: datetime) -> AsyncIterator[Missed]:
            if not self.asked:
                self.asked.append((since, until))
                request = asyncio.get_running_loop().create_future()
                request.cancel()
                await request
            yield Missed([happened(1)], log="plates")

    world.source = GivesUp()
    async with world.running() as gaps:
        gaps.back(START, ("LPR",))
        await world.outage(gaps, 60)
        await world.clock.advance(LATE.total_seconds() + 10)
    assert [outage.told().fetched for outage in world.told] == [{"plate.read": 1}]


async def test_a_source_that_comes_and_goes_faster_than_its_log_is_read_does_not_pile_up_gaps() -> None:
    """What waits beyond a number is one gap, so that the record stays small; all of the time is in a gap, and told."""
    world = World()

    class Slow(Source):
        async def missed(self, since: datetime, until: datetime) -> AsyncIterator[Missed]:
            await world.clock.sleep(20)
            yield Missed((), log="plates")

    world.source = Slow()
    async with world.running() as gaps:
        gaps.back(START, ("LPR",))
        flaps = 3 * MOST
        for _ in range(flaps):
            gaps.lost(world.clock.now(), "unavailable")
            await world.clock.advance(1)
            gaps.back(world.clock.now(), ("LPR",))
            await world.clock.advance(1)
        assert max(len(cursor.outages) for cursor in world.records) <= MOST + 1
        end = world.clock.now()
        await world.clock.advance(LATE.total_seconds() + 50 * flaps)
    spans = [(outage.since, outage.until) for outage in world.told]
    for second in range(flaps):
        lost = START + timedelta(seconds=2 * second)
        assert sum(since <= lost < until for since, until in spans if until) == 1
    assert spans[-1][1] == end - timedelta(seconds=1)
    assert Cursor.model_validate_json(world.record or b"").outages == ()


async def test_what_is_not_stored_when_the_source_is_lost_is_in_doubt_when_it_is_back() -> None:
    """It is tried again only then; whoever dies before that begins where it was heard."""
    world = World()
    async with world.running() as gaps:
        gaps.back(START, ())
        await world.clock.advance(30)
        gaps.doubt(world.clock.now())
        gaps.heard(world.clock.now())
        await world.outage(gaps, 3600)
        await world.clock.advance(50)
        gaps.heard(world.clock.now())
        await settle()
        assert {cursor.heard for cursor in world.records} == {START}


async def test_what_only_a_dead_process_had_is_a_gap_of_its_own() -> None:
    """The log took nothing for long, then the source was lost, then we died: the record stands at what was stored."""
    world = World()
    heard, lost = START - 30 * MINUTE, START - 10 * MINUTE
    world.record = Cursor(heard=heard, outages=(Outage(since=lost, cause="unavailable"),)).model_dump_json().encode()
    async with world.running() as gaps:
        assert gaps.since == lost
        gaps.back(START, ("LPR",))
        await world.clock.advance(600)
    spans = {(outage.since, outage.until, outage.cause) for outage in world.told}
    assert spans == {(heard, lost, "stopped"), (lost, START, "unavailable")}


async def test_what_was_heard_and_not_written_is_fetched_and_told() -> None:
    """As a gap with its own cause; spans that come while others are filled are one, and none is left out."""
    world = World()
    assert isinstance(world.source, Source)
    world.source.answers = [lambda: [Missed([happened(1)])]]
    async with world.running() as gaps:
        gaps.back(START, ("LPR",))
        gaps.missed(START - MINUTE, START, "refused")
        await settle()
        for minutes in (5, 2, 9):
            gaps.missed(START - minutes * MINUTE, START - (minutes - 1) * MINUTE, "refused")
        assert gaps.since is None
        await world.clock.advance(900)
        gaps.missed(world.clock.now(), world.clock.now(), "unread")
        await world.clock.advance(900)
    told = [(outage.since, outage.until, outage.cause) for outage in world.told]
    later = START + timedelta(seconds=900)
    assert told == [
        (START - MINUTE, START, "refused"),
        (START - 9 * MINUTE, START - MINUTE, "refused"),
        (later, later, "unread"),
    ]
    assert [outage.told().fetched for outage in world.told] == [{"plate.read": 1}, {}, {}]
    assert [outage.topics for outage in world.told] == [("LPR",)] * 3


async def test_what_was_not_written_while_the_source_is_away_is_a_gap_too() -> None:
    """It does not end the outage, nor take its topics."""
    world = World()
    async with world.running() as gaps:
        gaps.back(START, ("LPR",))
        gaps.lost(START, "unavailable")
        gaps.missed(START - MINUTE, START + MINUTE, "unread")
        assert gaps.since == START
        gaps.back(START, ("LPR", "motionChanges"))
        await world.clock.advance(900)
    assert {(outage.cause, outage.topics) for outage in world.told} == {
        ("unavailable", ("LPR", "motionChanges")),
        ("unread", ("LPR",)),
    }


async def test_a_store_that_is_away_is_waited_for() -> None:
    """At the start, while filling, and before the telling."""
    world = World()
    assert isinstance(world.source, Source)
    world.source.answers = [lambda: [Missed([happened(1)])]]
    world.store_down = True
    async with world.running() as gaps:
        await world.clock.advance(5)
        world.store_down = False
        await world.clock.advance(2)
        world.source.answers.insert(0, lambda: setattr(world, "store_down", True) or [Missed([happened(2)])])
        await world.outage(gaps, 60)
        await world.clock.advance(5)
        assert world.events == []
        world.store_down = False
        await world.clock.advance(600)
    assert [event.id for event in world.events] == ["e2", "e1"]
    assert len(world.told) == 1


async def test_an_event_that_the_log_does_not_take_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is said that one is lost."""
    world = World()
    assert isinstance(world.source, Source)
    world.too_large = {"e2"}
    world.source.answers = [lambda: [Missed([happened(n) for n in (1, 2, 3)])]]
    async with world.running() as gaps:
        await world.outage(gaps, 60)
        await world.clock.advance(600)
    assert [event.id for event in world.events] == ["e1", "e3"]
    assert world.told[0].told().refused == 1
    assert "a fetched event is lost" in caplog.text
