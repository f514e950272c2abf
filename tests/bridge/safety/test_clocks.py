"""When the clock of a source is believed: it was asked, over this link, before the event came, and was right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConnectorUnavailableError
from bridge.safety.clocks import ENOUGH, SourceClocks, owner
from bridge.schema.event import VmsEvent
from bridge.source_clocks import AGAIN, BREATH, LATER, watch_clocks
from tests.bridge.actions.support import make_order, plate_event, running
from tests.clock import VirtualClock, settle

S = timedelta(seconds=1)
DOOR = {"door": "main"}


def _clocks(clock: VirtualClock, *trusted: str) -> SourceClocks:
    return SourceClocks(clock, 5 * S, trusted)


class Server:
    """A source that says what its clock shows, when it answers."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.asked = 0
        self.ahead: timedelta | BaseException | None = 0 * S
        self.held: asyncio.Event | None = None

    async def clock_offset(self) -> timedelta | None:
        self.asked += 1
        said = self.ahead
        if self.held is not None:
            await self.held.wait()
        if isinstance(said, BaseException):
            raise said
        return said


@asynccontextmanager
async def _watched(server: Server, clocks: SourceClocks, clock: VirtualClock) -> AsyncIterator[None]:
    task = asyncio.create_task(watch_clocks({"nvr": server}, clocks, clock))
    await settle()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@pytest.mark.parametrize("told_while_down", [False, True])
async def test_what_was_told_counts_for_one_link(told_while_down: bool) -> None:
    """It breaks, and comes back: the source is to be asked again, whatever it said in between."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    clocks.link("nvr", False)
    clocks.link("nvr", True)
    assert clocks.learn("nvr", 0 * S)
    clocks.link("nvr", True)
    assert clocks.told("nvr")
    clocks.link("nvr", False)
    assert not clocks.told("nvr")
    if told_while_down:
        assert not clocks.learn("nvr", 0 * S)
    clocks.link("nvr", True)
    assert not clocks.told("nvr")
    assert clocks.learn("nvr", 0 * S)
    assert clocks.told("nvr")


@pytest.mark.parametrize("doubt", ["link", "future", "forget", "silent"])
def test_an_answer_to_an_older_question_tells_nothing(doubt: str) -> None:
    """It was asked before there was reason to ask again."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    clocks.learn("nvr", 0 * S)
    turn = clocks.turn("nvr")
    if doubt == "link":
        clocks.link("nvr", False)
        clocks.link("nvr", True)
    elif doubt == "future":
        clocks.heard(plate_event(clock, 1, time=clock.now() + 6 * S))
    elif doubt == "forget":
        clocks.forget("nvr")
    else:
        clocks.silent("nvr")
    assert not clocks.learn("nvr", 0 * S, turn)
    assert not clocks.told("nvr")
    assert clocks.doubt("nvr").is_set() is (doubt != "silent")
    assert clocks.learn("nvr", 0 * S, clocks.turn("nvr"))


async def test_only_what_came_after_the_answer_is_vouched_for() -> None:
    """Kept while the link was away, and told before the source could be asked: nobody knows by which clock."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    before = plate_event(clock, 1)
    await clock.advance(0.1)
    clocks.learn("nvr", 0 * S)
    after = plate_event(clock, 2)
    assert [clocks.vouches(event) for event in (before, after)] == [False, True]
    await clock.advance(60)
    clocks.learn("nvr", 5 * S)
    assert clocks.vouches(after), "it says the same as before"
    await clock.advance(60)
    clocks.learn("nvr", -2 * S)
    assert not clocks.vouches(after), "it was set since"


async def test_a_clock_that_was_put_back_is_not_believed_until_it_has_caught_up() -> None:
    """What it wrote down while it was ahead, and tells as much later, looks like now."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    clocks.learn("nvr", 3600 * S)
    assert clocks.off() == {"nvr": 3600 * S}
    await clock.advance(60)
    clocks.link("nvr", False)
    clocks.link("nvr", True)
    clocks.learn("nvr", 0 * S)
    assert clocks.off() == {"nvr": -3540 * S}
    clocks.forget()
    clocks.learn("nvr", 0 * S)
    assert clocks.off() == {"nvr": -3540 * S}, "that ours was accepted says nothing of its own"
    await clock.advance(3535)
    clocks.learn("nvr", 0 * S)
    assert clocks.off() == {}


@pytest.mark.parametrize(("ahead", "now", "error"), [(3600, -10, -10), (3600, 5, -3595), (5, 0, 0)])
def test_how_wrong_a_clock_is(ahead: float, now: float, error: float) -> None:
    """Too far from ours: by how much. As right as it must be: how far it is behind what it showed, if that is more."""
    clocks = _clocks(VirtualClock())
    for offset in (ahead, now):
        clocks.learn("nvr", offset * S)
    assert clocks.error("nvr") == error * S


@pytest.mark.parametrize("quality", ["received", "doubtful"])
def test_a_time_that_is_no_clock_s_teaches_nothing(quality: str) -> None:
    """Neither ours nor one that may be that of an earlier event."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    for number in range(ENOUGH):
        clocks.heard(plate_event(clock, number, timequality=quality))
    assert clocks.all() == {}


@pytest.mark.parametrize(
    ("told", "whose"),
    [
        ({"via": "push", "principal": "booth"}, "booth"),
        ({"via": "push", "principal": None}, "nvr"),
        ({"via": "api", "principal": "anna"}, "nvr"),
    ],
)
def test_a_time_is_read_off_the_clock_of_who_sends_it(told: dict[str, Any], whose: str) -> None:
    """Who pushes has one of its own; that a person is named says nothing of a clock."""
    assert owner(plate_event(VirtualClock(), 1, **told)) == whose


async def test_a_person_says_that_a_clock_was_put_back(tmp_path: Path) -> None:
    """Or a day in the future would shut a door for a day."""
    async with running(tmp_path, VirtualClock()) as site:
        site.safety.clocks.learn("nvr", 86_400 * S)
        site.safety.clocks.learn("nvr", 0 * S)
        for number, reason in ((1, "clock_off"), (2, "clock_unknown"), (3, None)):
            result = await site.do(make_order(site.clock, "open", DOOR, number))
            assert result.reason == reason
            if number == 1:
                site.safety.clocks.forget("nvr")
            else:
                site.safety.clocks.learn("nvr", 0 * S)


def test_who_pushes_has_a_clock_of_its_own() -> None:
    """Filed under a source that has told its clock, it is not that source's; and it cannot be asked."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    clocks.learn("nvr", 0 * S)
    pushed = plate_event(clock, 1, via="push", principal="booth")
    assert (clocks.needed_for(pushed), clocks.vouches(pushed)) == (True, False)
    clocks.heard(plate_event(clock, 2, via="push", principal="booth", time=clock.now() + 60 * S))
    assert clocks.told("nvr")
    assert not _clocks(clock, "booth").needed_for(pushed)
    assert _clocks(clock, "nvr").needed_for(pushed)


@pytest.mark.parametrize(
    "silence", [ConnectorUnavailableError("away"), KeyError("a bug"), asyncio.CancelledError(), None]
)
async def test_a_source_that_does_not_answer_any_more_has_told_nothing(silence: Any) -> None:
    """And is asked every few seconds until it does."""
    clock = VirtualClock()
    clocks, server = _clocks(clock), Server(clock)
    async with _watched(server, clocks, clock):
        assert clocks.told("nvr")
        server.ahead = silence
        await clock.advance(LATER)
        assert not clocks.told("nvr")
        server.ahead = 0 * S
        await clock.advance(AGAIN)
        assert clocks.told("nvr")
        assert server.asked == 3


async def test_a_clock_that_is_set_under_way_is_noticed_within_a_minute() -> None:
    """No message shows it: it is asked for."""
    clock = VirtualClock()
    clocks, server = _clocks(clock), Server(clock)
    async with _watched(server, clocks, clock):
        server.ahead = 3600 * S
        await clock.advance(LATER - 0.01)
        assert clocks.off() == {}
        await clock.advance(0.01)
        assert clocks.off() == {"nvr": 3600 * S}


async def test_a_source_that_is_back_is_asked_at_once() -> None:
    """And again, if that was while the answer was on its way; never more than once in a second."""
    clock = VirtualClock()
    clocks, server = _clocks(clock), Server(clock)
    async with _watched(server, clocks, clock):
        await clock.advance(10)
        clocks.link("nvr", False)
        await settle()
        assert (server.asked, clocks.told("nvr")) == (2, False)
        await clock.advance(BREATH)
        server.held = asyncio.Event()
        clocks.link("nvr", True)
        await settle()
        assert server.asked == 3
        clocks.link("nvr", False)
        clocks.link("nvr", True)
        server.held.set()
        await settle()
        assert (server.asked, clocks.told("nvr")) == (3, False)
        await clock.advance(BREATH)
        assert (server.asked, clocks.told("nvr")) == (4, True)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"via": "push", "principal": "booth", "timequality": "received"}, None),
        ({"via": "push", "principal": "booth", "timequality": "doubtful"}, "no_time"),
        ({"timequality": "received"}, "no_time"),
        ({"timequality": "doubtful"}, "no_time"),
        ({"via": "poll", "timequality": "received"}, "no_time"),
        ({"via": "push", "principal": "booth"}, "clock_unknown"),
        ({"via": "push", "principal": "right"}, None),
        ({"via": "push", "principal": "right", "timequality": "doubtful"}, "no_time"),
        ({}, None),
    ],
)
async def test_what_says_no_time_opens_only_if_it_is_pushed(
    tmp_path: Path, told: dict[str, Any], reason: str | None
) -> None:
    """Who pushes without one speaks now; what names one that cannot be opens nothing, whoever says it."""
    async with running(tmp_path, VirtualClock(), safety={"trusted_clocks": ["right"]}) as site:
        event = plate_event(site.clock, 1, **told)
        result = await site.do(make_order(site.clock, "open", DOOR, 1, event))
        assert (result.outcome, result.reason) == (("refused" if reason else "done"), reason)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("link"), st.booleans()),
        st.tuples(st.just("ask"), st.just(None)),
        st.tuples(st.just("answer"), st.sampled_from([0.0, 4.0, 6.0, 3600.0])),
        st.tuples(st.just("silence"), st.just(None)),
        st.tuples(st.just("event"), st.sampled_from([-20.0, 0.0, 4.0, 60.0])),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 30.0, 7200.0])),
    ),
    max_size=25,
)


@given(STEPS)
def test_nothing_is_vouched_for_that_came_before_the_last_doubt(steps: list[tuple[str, Any]]) -> None:
    """Of any course of things: only what came after the first answer to a question from after the last doubt."""
    clock = VirtualClock()
    clocks, events, turn = _clocks(clock), list[tuple[float, VmsEvent]](), 0
    up, doubted, asked, answered, said = True, 0.0, -1.0, -1.0, 0.0
    for what, value in steps:
        clock._move_to(clock.monotonic() + 0.001)
        now = clock.monotonic()
        if what == "link":
            clocks.link("nvr", value)
            up, doubted = value, now if value is not up else doubted
        elif what == "ask":
            turn, asked = clocks.turn("nvr"), now
        elif what == "answer" and asked >= 0:
            clocks.learn("nvr", value * S, turn)
            if up and asked > doubted:
                answered, said = answered if answered > doubted else now, value
        elif what == "silence":
            clocks.silent("nvr")
            doubted = now
        elif what == "event":
            event = plate_event(clock, len(events), time=clock.now() + value * S)
            clocks.heard(event)
            events.append((now, event))
        elif what == "pass":
            clock._move_to(now + value)
        for came, event in events:
            if clocks.vouches(event):
                assert up
                assert came > answered > doubted
                assert clocks.offset("nvr") == said * S


@pytest.mark.parametrize(
    ("told", "right"),
    [
        ((), False),
        ((0 * S,), True),
        ((5 * S,), True),
        ((-5 * S,), True),
        ((5.001 * S,), False),
        ((-5.001 * S,), False),
        ((3 * S, -2 * S), True),  # it shows as much less than before as is within the tolerance
        ((3 * S, -2.001 * S), False),
    ],
)
def test_a_glance_is_enough_for_a_clock_that_was_never_wrong(told: tuple[timedelta, ...], right: bool) -> None:
    """From the moment on at which it told so; who pushes is always looked at closely."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    for offset in told:
        clocks.learn("nvr", offset)
    assert clocks.surely(plate_event(clock)) is right
    assert not clocks.surely(plate_event(clock, received=clock.now() - 0.001 * S))
    assert not clocks.surely(plate_event(clock, source="site/other"))
    assert not clocks.surely(plate_event(clock, via="push", principal="booth"))
