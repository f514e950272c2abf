"""Openings that wait for people: which of them are one, how long they wait, who has agreed, and how each ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionRejectedError, StartError, StoreUnavailableError
from bridge.safety import pending
from bridge.safety.pending import MOST, Pending, PendingOpenings
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.base import stable_id
from bridge.schema.kinds import CommandGiven, Outcome
from bridge.schema.orders import ActionClass, Order, Result
from tests.bridge.actions.support import make_order, plate_event, rest
from tests.clock import START, VirtualClock

MINUTE = timedelta(seconds=60)


def _order(clock: VirtualClock, number: int, **told: Any) -> Order:
    return make_order(clock, "open", {"door": "main"}, number, plate_event(clock, number, **told))


def _command(clock: VirtualClock, number: int) -> Order:
    """An opening without a plate."""
    return _order(clock, number, type="command.given", data=CommandGiven(command="open", target="main"))


async def _ask(waiting: PendingOpenings, order: Order, door: str = "main", persons: tuple[str, ...] = ()) -> Pending:
    return await waiting.ask(door, order, 2, persons, MINUTE)


async def test_what_waits_says_what_for_and_until_when(tmp_path: Path) -> None:
    """People see the door, the rule, the plate and the time that is left; they name it by the order's first digits."""
    clock = VirtualClock()
    waiting, order = PendingOpenings(tmp_path, clock), _order(clock, 1)
    await clock.advance(5)
    asked = await _ask(waiting, order, persons=("anna",))
    now = START + timedelta(seconds=5)
    assert asked == Pending(
        order.id[:8], "main", "a-rule", "12AB345", "event1", 2, ("anna",), now, now + MINUTE, order.id, 65.0
    )  # fmt: skip
    assert waiting.all() == [asked]
    assert "due" not in repr(asked)


async def test_it_waits_no_longer_than_it_was_told(tmp_path: Path) -> None:
    """A minute is a minute, on the clock that nobody sets; at its very end nobody can agree any more."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    asked = await _ask(waiting, _order(clock, 1))
    clock.jump(timedelta(hours=1))
    await clock.advance(59.999)
    assert waiting.all() == [asked]
    await clock.advance(0.001)
    assert waiting.all() == []
    with pytest.raises(ActionRejectedError, match="no such opening waits for anybody: " + asked.id):
        waiting.agree(asked.id, "anna")


async def test_a_plate_waits_once_at_each_door(tmp_path: Path) -> None:
    """Read again and again it is one question, the first; another plate or another door is another one."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    first = await _ask(waiting, _order(clock, 1))
    await clock.advance(1)
    same = _order(clock, 2, data=_order(clock, 1).trigger.data)
    assert (await _ask(waiting, same)) is first
    assert await _ask(waiting, _order(clock, 3)) is not first
    assert await _ask(waiting, _order(clock, 4, data=same.trigger.data), door="back") is not first
    assert [one.door for one in waiting.all()] == ["main", "main", "back"]


async def test_without_a_plate_the_event_tells_openings_apart(tmp_path: Path) -> None:
    """Two people who ask are two questions; the same event that comes again is not."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    first = await _ask(waiting, _command(clock, 1))
    again = _command(clock, 2).model_copy(update={"trigger": _command(clock, 1).trigger})
    assert await _ask(waiting, again) is first
    assert await _ask(waiting, _command(clock, 3)) is not first
    assert [one.plate for one in waiting.all()] == ["", ""]


async def test_the_oldest_gives_way_when_too_many_wait(tmp_path: Path) -> None:
    """A flood of openings cannot fill the memory, and the newest can always be agreed to."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    asked = [await _ask(waiting, _order(clock, number)) for number in range(MOST)]
    assert waiting.all() == asked
    newest = await _ask(waiting, _order(clock, MOST))
    assert waiting.all() == [*asked[1:], newest]


async def test_people_agree_one_by_one(tmp_path: Path) -> None:
    """In the order in which they did, each once; what was dropped waits for nobody."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    asked = await _ask(waiting, _order(clock, 1))
    assert waiting.agree(asked.id, "anna").persons == ("anna",)
    assert waiting.agree(asked.id, "bert").persons == ("anna", "bert")
    assert waiting.agree(asked.id, "anna").persons == ("anna", "bert")
    assert [one.persons for one in waiting.all()] == [("anna", "bert")]
    await waiting.ordered(asked.id)
    await waiting.ordered(asked.id)
    assert waiting.all() == []


# --- how it ends, and what a restart knows of it -----------------------------------------------------


class Book:
    """Takes the ends of waitings, after refusing as often as it is told to."""

    def __init__(self, *refusals: float) -> None:
        self.refusals = list(refusals)
        self.ends: list[Result] = []

    async def __call__(self, result: Result) -> None:
        if self.refusals:
            raise StoreUnavailableError("the store is away", timedelta(seconds=self.refusals.pop(0)))
        self.ends.append(result)


in_step = pytest.mark.usefixtures("disk_in_step")


@asynccontextmanager
async def telling(waiting: PendingOpenings, book: Book) -> AsyncIterator[None]:
    """Tell how each has ended, while the block lasts."""
    task = asyncio.create_task(waiting.run(book))
    await rest()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _file(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pending.jsonl").read_text().splitlines()]


def _write(folder: Path, *records: dict[str, Any]) -> None:
    (folder / "pending.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def _end(order: Order, outcome: Outcome, reason: Reason | None, message: str | None, **output: Any) -> Result:
    return Result(
        order=stable_id("waited", order.id), rule="a-rule", action="confirm", action_class=ActionClass.INFORMATION,
        outcome=outcome, reason=None if reason is None else reason.value, message=message, ended=START,
        causes=(order.trigger.id,), output={"door": "main", "pending": order.id[:8], **output},
    )  # fmt: skip


@in_step
async def test_an_end_says_who_and_why_and_the_file_the_same(tmp_path: Path) -> None:
    """Which door, which rule and event, who has agreed; agreed to is done, a no names who said it."""
    clock, book = VirtualClock(), Book()
    waiting, (yes, no) = PendingOpenings(tmp_path, clock), (_order(clock, 1), _order(clock, 2))
    ends = [
        _end(yes, "done", None, None, persons=["anna", "bert"]),
        _end(no, "refused", Reason.DENIED, f"{WORDS[Reason.DENIED]}: carl", persons=[]),
    ]
    async with telling(waiting, book):
        for order in (yes, no):
            await _ask(waiting, order)
        for person in ("anna", "bert"):
            waiting.agree(yes.id[:8], person)
        await waiting.ordered(yes.id[:8])
        await rest()
        await waiting.denied(no.id[:8], "carl")
        await rest()
    assert book.ends == ends
    told = [
        [{"op": "ended", "order": order.id, "result": end.model_dump(mode="json")}, {"op": "told", "order": order.id}]
        for order, end in zip((yes, no), ends, strict=True)
    ]
    asked = [
        {"op": "waits", "id": order.id[:8], "order": order.id, "door": "main", "rule": "a-rule",
         "event": order.trigger.id}
        for order in (yes, no)
    ]  # fmt: skip
    assert _file(tmp_path) == [*asked, *told[0], *told[1]]
    await PendingOpenings(tmp_path, clock).load()


@in_step
async def test_it_expires_by_itself_at_its_end(tmp_path: Path) -> None:
    """Nobody need ask: whichever is due first ends first, to the moment, and the others wait on."""
    clock, book = VirtualClock(), Book()
    waiting = PendingOpenings(tmp_path, clock)
    async with telling(waiting, book):
        assert clock.waits == []
        orders = [_order(clock, number) for number in (1, 2, 3)]
        for order, seconds in zip(orders, (30, 0.5, 60), strict=True):
            await waiting.ask("main", order, 1, (), timedelta(seconds=seconds))
        await rest()
        assert clock.waits == [0.5]
        await clock.advance(0.5)
        await rest()
        expired = _end(orders[1], "expired", Reason.NOBODY_AGREED, WORDS[Reason.NOBODY_AGREED], persons=[])
        assert book.ends == [expired.model_copy(update={"ended": START + timedelta(seconds=0.5)})]
        assert clock.waits == [29.5]
        await clock.advance(29.5)
        await rest()
        assert (len(book.ends), clock.waits) == (2, [30])


@in_step
async def test_the_oldest_of_too_many_is_told_of(tmp_path: Path) -> None:
    """That there was no place for it any more."""
    clock, book = VirtualClock(), Book()
    waiting = PendingOpenings(tmp_path, clock)
    async with telling(waiting, book):
        for number in range(MOST + 1):
            await _ask(waiting, _order(clock, number))
        await rest()
    words = WORDS[Reason.TOO_MANY_WAIT]
    assert book.ends == [_end(_order(clock, 0), "refused", Reason.TOO_MANY_WAIT, words, persons=[])]


@in_step
@pytest.mark.parametrize(("asks", "waits"), [(0.2, 1.0), (5.0, 5.0)])
async def test_what_cannot_be_told_is_told_when_the_store_is_back(tmp_path: Path, asks: float, waits: float) -> None:
    """In the order in which they ended, each once; between tries passes what it asks for, and a second at least."""
    clock, book = VirtualClock(), Book(asks)
    waiting = PendingOpenings(tmp_path, clock)
    for number in (1, 2):
        await _ask(waiting, _order(clock, number))
        await waiting.denied(_order(clock, number).id[:8], "bert")
    async with telling(waiting, book):
        assert (book.ends, clock.waits) == ([], [waits])
        await clock.advance(waits)
        await rest()
        assert [end.causes for end in book.ends] == [("event1",), ("event2",)]
        assert clock.waits == []


@in_step
async def test_a_restart_tells_what_is_left_to_tell(tmp_path: Path) -> None:
    """What waited is told to be lost, what had ended as it had, and what was told is not told again."""
    clock, book = VirtualClock(), Book()
    waiting, orders = PendingOpenings(tmp_path, clock), [_order(clock, number) for number in (1, 2, 3)]
    for order in orders:
        await _ask(waiting, order)
    await waiting.denied(orders[1].id[:8], "bert")
    await waiting.ordered(orders[2].id[:8])
    (tmp_path / "pending.jsonl").write_text(
        (tmp_path / "pending.jsonl").read_text() + json.dumps({"op": "told", "order": orders[2].id}) + "\n"
    )
    after = PendingOpenings(tmp_path, clock)
    await after.load()
    async with telling(after, book):
        assert after.all() == []
    assert book.ends == [
        _end(orders[0], "refused", Reason.RESTARTED, WORDS[Reason.RESTARTED]),
        _end(orders[1], "refused", Reason.DENIED, f"{WORDS[Reason.DENIED]}: bert", persons=[]),
    ]


@in_step
async def test_a_record_of_unknown_form_is_reported_and_the_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever another version wrote."""
    good = {"op": "waits", "id": "1", "order": "a", "door": "main", "rule": "r", "event": "e"}
    bad: list[dict[str, Any]] = [
        {}, {"op": "waits"}, {"order": "x"}, {"op": "ended", "order": "x"}, {"op": "ended", "order": "x", "result": {}},
        good | {"order": []}, {"op": "waits", "order": "x"}, good | {"order": "y", "rule": 5},
    ]  # fmt: skip
    _write(tmp_path, *bad, good, {"op": "told", "order": "nobody's"})
    clock, book = VirtualClock(), Book()
    waiting = PendingOpenings(tmp_path, clock)
    await waiting.load()
    assert [record.levelname for record in caplog.records] == ["ERROR"] * len(bad)
    async with telling(waiting, book):
        pass
    assert [end.causes for end in book.ends] == [("e",)]


@in_step
async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is long, what was told of is dropped; what waits, or is to be told, stays."""
    monkeypatch.setattr(pending, "_COMPACT_AT", 4)
    clock, book = VirtualClock(), Book()
    waiting, orders = PendingOpenings(tmp_path, clock), [_order(clock, number) for number in (1, 2, 3)]
    async with telling(waiting, book):
        for order in orders[:2]:
            await _ask(waiting, order)
        await waiting.denied(orders[0].id[:8], "bert")
        await rest()
        assert [line["op"] for line in _file(tmp_path)] == ["waits", "waits", "ended", "told"]
        await _ask(waiting, orders[2])
        assert [line["order"] for line in _file(tmp_path)] == [orders[1].id, orders[2].id]


@in_step
async def test_the_file_is_let_go_of_when_nobody_tells_any_more(tmp_path: Path) -> None:
    """As long as it runs it stays open, which spares every line the look at what is there."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    async with telling(waiting, Book()):
        await _ask(waiting, _order(clock, 1))
        assert waiting._file._descriptor is not None
    assert waiting._file._descriptor is None


async def test_what_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """Nobody would hear how those ended; the person is told which file, and what to do."""
    (tmp_path / "pending.jsonl").mkdir()
    with pytest.raises(StartError) as caught:
        await PendingOpenings(tmp_path, VirtualClock()).load()
    assert caught.value.cause == f"{tmp_path / 'pending.jsonl'} cannot be read (Is a directory)"
    assert caught.value.cure == (
        "give the bridge's user the right to read it; it says which openings waited for people"
    )


@in_step
async def test_what_was_just_being_ordered_is_not_known_after_a_crash(tmp_path: Path) -> None:
    """Its order may exist or not; one that was put back waits, and ends as what waits does."""
    clock, book = VirtualClock(), Book()
    waiting, orders = PendingOpenings(tmp_path, clock), [_order(clock, 1), _order(clock, 2)]
    for order in orders:
        await _ask(waiting, order)
        await waiting.ordering(order.id[:8])
    await waiting.not_ordered(orders[1].id[:8])
    assert [one.id for one in waiting.all()] == [orders[1].id[:8]]
    later = PendingOpenings(tmp_path, clock)
    await later.load()
    async with telling(later, book):
        pass
    assert book.ends == [
        _end(orders[0], "unknown", Reason.INTERRUPTED, WORDS[Reason.INTERRUPTED]),
        _end(orders[1], "refused", Reason.RESTARTED, WORDS[Reason.RESTARTED]),
    ]
    waits = [
        {"id": order.id[:8], "order": order.id, "door": "main", "rule": "a-rule", "event": order.trigger.id}
        for order in orders
    ]
    ops = [("waits", 0), ("ordering", 0), ("waits", 1), ("ordering", 1), ("waits", 1)]
    assert _file(tmp_path)[:5] == [{"op": op, **waits[number]} for op, number in ops]


@in_step
async def test_what_is_being_ordered_cannot_run_out_and_what_is_put_back_can(tmp_path: Path) -> None:
    """Nobody can agree to it meanwhile; what became of it is told, with who had agreed."""
    clock, book = VirtualClock(), Book()
    waiting, (lost, back) = PendingOpenings(tmp_path, clock), (_order(clock, 1), _order(clock, 2))
    async with telling(waiting, book):
        for order in (lost, back):
            await _ask(waiting, order, persons=("anna",))
            await waiting.ordering(order.id[:8])
            with pytest.raises(ActionRejectedError, match="no such opening waits"):
                await waiting.ordering(order.id[:8])
        assert waiting.all() == []
        await clock.advance(30)
        await waiting.not_ordered(back.id[:8])
        await clock.advance(30)
        await rest()
        end = START + MINUTE
        expired = _end(back, "expired", Reason.NOBODY_AGREED, WORDS[Reason.NOBODY_AGREED], persons=["anna"])
        assert book.ends == [expired.model_copy(update={"ended": end})]
        await waiting.perhaps_ordered(lost.id[:8])
        await rest()
        unknown = _end(lost, "unknown", Reason.NO_ANSWER, WORDS[Reason.NO_ANSWER], persons=["anna"])
        assert book.ends[1:] == [unknown.model_copy(update={"ended": end})]
