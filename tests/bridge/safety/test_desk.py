"""The desk: each command does what it says, at once or as an order, and is written down with who asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import DoorConfig
from bridge.errors import ActionRejectedError, StoreUnavailableError
from bridge.safety import desk as desk_module
from bridge.safety.cameras import Camera
from bridge.safety.desk import MAX_AGE, RULE, STORED_WITHIN, Desk
from bridge.safety.pending import Pending
from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import BreakerTripped, CommandGiven
from bridge.schema.orders import ActionClass, Order, Result
from tests.bridge.actions.support import Site, make_order, running, until
from tests.clock import START, VirtualClock, settle

CAMERA = Camera("nvr", "1")
S = timedelta(seconds=1)


class Log:
    """`Emit` into memory. With `away` it refuses; with `silent` it never says whether it has stored anything."""

    def __init__(self) -> None:
        self.events: list[VmsEvent] = []
        self.away: list[StoreUnavailableError] = []
        self.silent = False

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.away:
            stored.set_exception(self.away.pop(0))
        elif not self.silent:
            self.events.extend(events)
            stored.set_result(None)
        return stored

    def said(self) -> list[CommandGiven]:
        return [event.data for event in self.events if isinstance(event.data, CommandGiven)]


class Office:
    """A desk over a site that runs."""

    def __init__(self, site: Site) -> None:
        self.site, self.log = site, Log()
        self.orders: list[Order] = []
        self.answers = True
        self.desk = Desk("site", site.safety, site.clock)

    def connect(self) -> None:
        self.desk.connect(self.log, self._submit)

    async def _submit(self, order: Order) -> Result | None:
        self.orders.append(order)
        return await self.site.do(order) if self.answers else None

    async def waits(self, number: int = 1) -> Pending:
        """An opening that a rule asked for and people must agree to."""
        result = await self.site.do(make_order(self.site.clock, "open", {"door": "main"}, number))
        waits = self.site.doors.pending.all()[-1]
        assert result.reason == "needs_confirmation"
        assert result.message == f"people must agree to it first: {waits.id}, within 1m"
        return waits


@asynccontextmanager
async def office(folder: Path, **door: Any) -> AsyncIterator[Office]:
    doors = {"main": DoorConfig(**({"output": "barrier", "mode": "act"} | door))}
    async with running(folder, VirtualClock(), doors=doors) as site:
        place = Office(site)
        place.connect()
        try:
            yield place
        finally:
            await place.desk.aclose()


def _alone(folder: Path) -> tuple[Desk, Log, VirtualClock]:
    """A desk over a site of which nothing runs: whoever sleeps on the clock is the desk."""
    clock = VirtualClock()
    return Desk("site", Site(folder, clock).safety, clock), Log(), clock


async def _never(_: Order) -> Result | None:
    raise AssertionError("nothing was to be opened")


# --- doors -----------------------------------------------------------------------------------------


async def test_to_open_is_an_event_and_an_order_that_names_it(tmp_path: Path) -> None:
    """Who, what and why are in the log before the order, which is worth nothing ten seconds later."""
    async with office(tmp_path) as place:
        result = await place.desk.open("main", "anna", reason="a delivery")
        [event], [order] = place.log.events, place.orders
    assert result.outcome == "done"
    given = CommandGiven(command="open", target="main", persons=("anna",), reason="a delivery")
    assert event == VmsEvent(
        id=event.id, type="command.given", source="site/bridge", time=START, timequality="received", received=START,
        origin=Origin.COMMAND, via="api", principal="anna", data=given,
    )  # fmt: skip
    assert order == Order(
        id=stable_id("command", event.id), rule=RULE, rule_version="1", key="main", index=0, action="open",
        action_class=ActionClass.ACTUATING, params={"door": "main"}, causes=(event.id,), trigger=event,
        origin=Origin.COMMAND, occurred=START, received=START, created=START, expires=START + MAX_AGE,
    )  # fmt: skip


@pytest.mark.parametrize(("early", "expires"), [(4, 6), (-4, 10)])
async def test_what_was_asked_for_earlier_is_worth_less(tmp_path: Path, early: float, expires: float) -> None:
    """The clock of whoever asks may take from the ten seconds and never add to them."""
    async with office(tmp_path) as place:
        await place.desk.open("main", "anna", asked=START - early * S)
        [order] = place.orders
    assert (order.trigger.time, order.trigger.timequality) == (START - early * S, "device")
    assert order.expires == START + expires * S


async def test_two_commands_are_two_events(tmp_path: Path) -> None:
    """Who asks twice is not taken for one who was heard twice."""
    async with office(tmp_path) as place:
        for _ in range(2):
            await place.desk.open("main", "anna")
    assert len({event.id for event in place.log.events} | {order.id for order in place.orders}) == 4


async def test_no_door_opens_before_the_log_is_there(tmp_path: Path) -> None:
    """The store first, because what is not written down did not happen; but a door that is not is named at once."""
    desk, log, _ = _alone(tmp_path)
    with pytest.raises(StoreUnavailableError, match=r"^the bridge is still starting$"):
        await desk.open("main", "anna")
    for late in (desk.open("mian", "anna"), desk.hold("mian", "anna", "x"), desk.unhold("mian", "anna", "x")):
        with pytest.raises(ActionRejectedError, match="no such door is configured"):
            await late
    assert log.events == []


async def test_a_command_that_is_not_written_down_in_time_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits at the gate is told within seconds, and no order is left behind for later."""
    desk, log, _ = _alone(tmp_path)
    desk.connect(log, _never)
    log.silent = True
    assert STORED_WITHIN == 3
    monkeypatch.setattr(desk_module, "STORED_WITHIN", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailableError, match=r"^the command cannot be written down now$"):
            await desk.open("main", "anna")


async def test_an_opening_that_nobody_carried_out_is_no_success(tmp_path: Path) -> None:
    """No runner took it before it expired: the person must know that it will not open later."""
    async with office(tmp_path) as place:
        place.answers = False
        with pytest.raises(StoreUnavailableError, match=r"^nobody carried it out in time; it will not be done later$"):
            await place.desk.open("main", "anna")


# --- people who agree --------------------------------------------------------------------------------


async def test_two_people_agree_to_an_opening(tmp_path: Path) -> None:
    """The first is written down and waits; with the second it opens, in the name of both."""
    async with office(tmp_path, persons=2) as place:
        waits = await place.waits()
        still = await place.desk.confirm(waits.id, "anna", reason="I know him")
        assert isinstance(still, Pending)
        assert (still.persons, place.orders) == (("anna",), [])
        await until(lambda: place.log.events)
        done = await place.desk.confirm(waits.id, "bert", reason="so do I")
        assert isinstance(done, Result)
        assert (done.outcome, place.site.doors.pending.all()) == ("done", [])
    both = {"command": "confirm", "target": "main", "pending": waits.id}
    assert place.log.said() == [
        CommandGiven(**both, persons=("anna",), reason="I know him"),
        CommandGiven(**both, persons=("anna", "bert"), reason="so do I"),
    ]
    assert [event.principal for event in place.log.events] == ["anna", "bert"]
    assert place.orders[0].trigger == place.log.events[1]


async def test_what_cannot_be_written_down_waits_on(tmp_path: Path) -> None:
    """Enough people agreed while the log was away: they are told, nothing has ended, and with the log back it opens."""
    async with office(tmp_path, mode="confirm") as place:
        waits = await place.waits()
        place.log.away = [StoreUnavailableError("disk full")]
        with pytest.raises(StoreUnavailableError, match="disk full"):
            await place.desk.confirm(waits.id, "anna")
        assert [one.id for one in place.site.doors.pending.all()] == [waits.id]
        assert (await _ends_of(place), place.orders) == ([], [])
        done = await place.desk.confirm(waits.id, "anna")
        assert isinstance(done, Result)
        assert (done.outcome, len(place.orders)) == ("done", 1)
        assert await _ends_of(place) == [("done", None)]


async def test_who_goes_away_before_it_is_ordered_leaves_it_waiting(tmp_path: Path) -> None:
    """The disk is slow and the request is cut off: nothing is ordered, it waits on, and somebody else can agree."""
    async with office(tmp_path, mode="confirm") as place:
        waits, openings = await place.waits(), place.site.doors.pending
        async with openings._writing:
            cut_off = asyncio.create_task(place.desk.confirm(waits.id, "anna"))
            await until(lambda: not openings.all())
            cut_off.cancel()
            await settle()
        with pytest.raises(asyncio.CancelledError):
            await cut_off
        assert ([one.id for one in openings.all()], place.log.events, place.orders) == ([waits.id], [], [])
        done = await place.desk.confirm(waits.id, "bert")
        assert isinstance(done, Result)
        assert (done.outcome, len(place.orders)) == ("done", 1)
        assert await _ends_of(place) == [("done", None)]


@pytest.mark.parametrize("error", [StoreUnavailableError("no answer"), asyncio.CancelledError()])
async def test_where_nobody_knows_whether_it_was_ordered_it_is_not_ordered_again(
    tmp_path: Path, error: BaseException
) -> None:
    """The order may be in the log: the waiting ends unknown, and nobody can agree to it once more."""
    async with office(tmp_path, mode="confirm") as place:
        waits = await place.waits()

        async def lost(_: Order) -> Result | None:
            with pytest.raises(ActionRejectedError, match="no such opening waits"):
                await place.desk.confirm(waits.id, "bert")
            raise error

        place.desk.connect(place.log, lost)
        with pytest.raises(type(error)):
            await place.desk.confirm(waits.id, "anna")
        with pytest.raises(ActionRejectedError, match="no such opening waits"):
            await place.desk.confirm(waits.id, "anna")
        assert await _ends_of(place) == [("unknown", "no_answer")]


async def test_a_waiting_that_is_ordered_and_takes_too_long_has_ended(tmp_path: Path) -> None:
    """Its order exists: what comes of that is told of the order."""
    async with office(tmp_path, mode="confirm") as place:
        waits = await place.waits()
        place.answers = False
        with pytest.raises(StoreUnavailableError, match="nobody carried it out in time"):
            await place.desk.confirm(waits.id, "anna")
        assert await _ends_of(place) == [("done", None)]


async def _ends_of(place: Office) -> list[tuple[str, str | None]]:
    """How what waited for people has ended so far."""
    told: list[Result] = []

    async def account(result: Result) -> None:
        told.append(result)

    task = asyncio.create_task(place.site.doors.pending.run(account))
    await until(lambda: not place.site.doors.pending._untold)
    task.cancel()
    await asyncio.wait([task])
    return [(result.outcome, result.reason) for result in told]


async def test_a_person_says_no_to_one_opening(tmp_path: Path) -> None:
    """That one waits no longer; another one still does."""
    async with office(tmp_path, mode="confirm") as place:
        first, second = await place.waits(1), await place.waits(2)
        assert await place.desk.deny(second.id, "anna", reason="I do not know him") == second
        assert place.site.doors.pending.all() == [first]
        with pytest.raises(ActionRejectedError, match="no such opening waits for anybody: " + second.id):
            await place.desk.deny(second.id, "anna")
        await until(lambda: place.log.events)
        [end] = place.site.doors.pending._untold.values()
        assert (end.reason, end.message) == ("denied", "it waited for people, and one said no: anna")
    assert place.log.said() == [
        CommandGiven(command="deny", target="main", persons=("anna",), reason="I do not know him", pending=second.id)
    ]


# --- what stops, and lets go again ---------------------------------------------------------------------


async def test_whatever_stops_something_is_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each command with its name, what it is about, who gave it and why; the latches say who and why as well."""
    desk, log, _ = _alone(tmp_path)
    desk.connect(log, _never)
    safety, why = desk._safety, "smoke"
    await desk.hold("main", "anna", why)
    await desk.kill("bert", why)
    states = [await latch.state() for latch in (safety.doors.holds["main"], safety.kill)]
    assert [(state.principal, state.reason) for state in states if state] == [("anna", why), ("bert", why)]
    await safety.breaker.pull("bridge", "a storm")
    await desk.unhold("main", "anna", why)
    await desk.unkill("bert", why)
    await desk.reset_breaker("cleo", why)
    assert not (safety.doors.holds["main"].pulled)
    assert not (safety.kill.pulled)
    assert not (safety.breaker.pulled)
    off = [record for record in caplog.records if record.message == "a latch is off"]
    assert [(record.latch, record.principal, record.reason) for record in off] == [  # type: ignore[attr-defined]
        ("hold of main", "anna", why),
        ("kill switch", "bert", why),
        ("breaker", "cleo", why),
    ]
    await desk.lock(CAMERA, "anna", 60 * S, why)
    assert safety.cameras.locks() == {"nvr/1": "anna"}
    await desk.unlock(CAMERA, "anna", why)
    assert safety.cameras.locks() == {}
    safety.clocks.learn("nvr", 6 * S)
    safety.clocks.learn("other", 7 * S)
    desk.accept_source_clock("nvr", "anna", why)
    assert safety.clocks.all() == {"other": 7 * S}
    await desk.accept_clock("anna", why)
    assert safety.clocks.all() == {}
    await settle()
    assert [(said.command, said.target, said.persons) for said in log.said()] == [
        ("hold", "main", ("anna",)),
        ("kill", None, ("bert",)),
        ("unhold", "main", ("anna",)),
        ("unkill", None, ("bert",)),
        ("reset_breaker", None, ("cleo",)),
        ("lock", "nvr/1", ("anna",)),
        ("unlock", "nvr/1", ("anna",)),
        ("accept_clock", "nvr", ("anna",)),
        ("accept_clock", None, ("anna",)),
    ]
    assert {said.reason for said in log.said()} == {why}


async def test_to_agree_to_a_change_counts_and_is_written_down(tmp_path: Path) -> None:
    """By the number of the change that waits; a guess is refused and leaves nothing in the log."""
    desk, log, _ = _alone(tmp_path)
    desk.connect(log, _never)
    settings = desk._safety.settings
    (tmp_path / "settings.json").write_text('{"agreed": {}}')
    await settings.load(first=False)
    assert settings.waits is not None
    with pytest.raises(ActionRejectedError, match="the change that waits is"):
        await desk.agree("0" * 12, "anna", "a guess")
    number = settings.waits.confirm
    await desk.agree(number, "anna", "the new lanes")
    assert settings.waits is None
    said = json.loads((tmp_path / "settings.json").read_text())
    assert (said["principal"], said["reason"]) == ("anna", "the new lanes")
    await settle()
    assert log.said() == [CommandGiven(command="agree", target=number, persons=("anna",), reason="the new lanes")]


async def test_what_was_refused_is_written_down_with_how(tmp_path: Path) -> None:
    """A reload, say, that changed nothing."""
    desk, log, _ = _alone(tmp_path)
    desk.connect(log, _never)
    desk.tell("reload", "1a2b", ("anna",), "new rules", outcome="refused")
    await settle()
    assert log.said() == [
        CommandGiven(command="reload", target="1a2b", persons=("anna",), reason="new rules", outcome="refused")
    ]


async def test_a_source_that_nobody_knows_has_no_clock(tmp_path: Path) -> None:
    """A name that was mistyped accepts nothing, and the right one is named."""
    desk, log, _ = _alone(tmp_path)
    desk.connect(log, _never)
    with pytest.raises(ActionRejectedError, match=r"such a source: unknown source 'nvr2'; did you mean 'nvr'\?$"):
        desk.accept_source_clock("nvr2", "anna", "NTP")
    await settle()
    assert log.events == []


async def test_a_stop_that_a_restart_would_forget_is_written_down_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: it holds, the person is told, and the log knows of it."""
    desk, log, clock = _alone(tmp_path)
    desk.connect(log, _never)
    clock.jump(-3600 * S)
    assert not desk._safety.own_clock.trusted()
    desk._safety.clocks.learn("nvr", 3600 * S)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bridge.safety.latch.write_synced", full)
    monkeypatch.setattr("bridge.safety.ownclock.write_synced", full)
    for command in (desk.kill("anna", "smoke"), desk.accept_clock("anna", "NTP")):
        with pytest.raises(OSError, match="No space left"):
            await command
    await settle()
    assert desk._safety.kill.pulled
    assert desk._safety.clocks.all() == {}
    assert [said.command for said in log.said()] == ["kill", "accept_clock"]


# --- what is written down later ------------------------------------------------------------------------


async def test_what_was_done_before_the_log_was_there_is_told_first(tmp_path: Path) -> None:
    """In the order in which it was done, once, with the time at which it was done."""
    desk, log, clock = _alone(tmp_path)
    for who in ("anna", "bert"):
        await desk.kill(who, "smoke")
        await clock.advance(1)
    desk.connect(log, _never)
    desk.connect(log, _never)
    await settle()
    assert [(event.principal, event.time) for event in log.events] == [("anna", START), ("bert", START + S)]


@pytest.mark.parametrize(("asked", "waits"), [(7, 7), (0.2, 1)])
async def test_what_cannot_be_written_down_is_tried_again(tmp_path: Path, asked: float, waits: float) -> None:
    """After as long as the store asks for, but not in a hurry; until it is there, and then never again."""
    desk, log, clock = _alone(tmp_path)
    desk.connect(log, _never)
    log.away = [StoreUnavailableError("away", asked * S) for _ in range(2)]
    await desk.kill("anna", "smoke")
    for _ in range(2):
        await settle()
        assert (clock.waits, log.events) == ([waits], [])
        assert "tell[command.given]" in {task.get_name() for task in asyncio.all_tasks()}
        await clock.advance(waits)
    await settle()
    assert ([said.command for said in log.said()], clock.waits, desk._telling) == (["kill"], [], set())


async def test_closing_leaves_nobody_behind(tmp_path: Path) -> None:
    """What could not be told by then is let go: no task outlives the desk."""
    desk, log, clock = _alone(tmp_path)
    await desk.aclose()
    desk.connect(log, _never)
    log.away = [StoreUnavailableError("away")]
    await desk.kill("anna", "smoke")
    await settle()
    await desk.aclose()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("tell")] == []
    await clock.advance(10)
    assert log.events == []


async def test_a_breaker_that_trips_is_an_event_of_the_bridge(tmp_path: Path) -> None:
    """It names what was counted, how many there were and in how long; no person did it."""
    desk, log, _ = _alone(tmp_path)
    desk.connect(log, _never)
    desk._safety.breaker._orders.most = 2
    for number in range(2):
        await desk._safety.breaker.asked(f"o{number}")
    with pytest.raises(ActionRejectedError, match="breaker"):
        await desk._safety.breaker.asked("o2")
    await settle()
    [event] = log.events
    assert event == VmsEvent(
        id=event.id, type="breaker.tripped", source="site/bridge", time=START, timequality="received", received=START,
        origin=Origin.BRIDGE, via="bridge", data=BreakerTripped(scope="site orders", openings=3, within=60),
    )  # fmt: skip
