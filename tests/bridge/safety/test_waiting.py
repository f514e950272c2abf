"""Openings that wait for people: each ends once, is accounted for, and none opens late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.bus.appender import Appender
from bridge.bus.effects import write_end
from bridge.errors import ActionRejectedError, StoreUnavailableError
from bridge.safety.pending import MOST, PendingOpenings
from bridge.schema.orders import Order, Result
from tests.bridge.actions.support import make_order, plate_event, until
from tests.bridge.bus.helpers import running_bus
from tests.clock import VirtualClock, settle

WITHIN = timedelta(seconds=30)


class Book:
    """Takes the ends of waitings; `away` refuses them."""

    def __init__(self) -> None:
        self.ends: list[Result] = []
        self.away = False

    async def __call__(self, result: Result) -> None:
        if self.away:
            raise StoreUnavailableError("the store is away", timedelta(seconds=5))
        self.ends.append(result)

    @property
    def said(self) -> list[tuple[str, str | None]]:
        return [(end.outcome, end.reason) for end in self.ends]


def _order(clock: VirtualClock, number: int) -> Order:
    order = make_order(clock, "open", {"door": "main"}, number, plate_event(clock, number))
    return order.model_copy(update={"id": f"{number:08d}-order"})


@asynccontextmanager
async def telling(folder: Path, clock: VirtualClock, book: Book) -> AsyncIterator[PendingOpenings]:
    """What waits, while a bridge runs; it is cut off in the end as by a kill."""
    waiting = PendingOpenings(folder, clock)
    await waiting.load()
    task = asyncio.create_task(waiting.run(book))
    try:
        yield waiting
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _until(book: Book, count: int) -> None:
    async with asyncio.timeout(10):
        while len(book.ends) < count:  # noqa: ASYNC110 - files are written in threads
            await asyncio.sleep(0.005)


async def _written(folder: Path, count: int) -> None:
    """So many are told, and a restart would know of it: without that line it tells them once more."""
    await until(lambda: (folder / "pending.jsonl").read_text().count('"told"') == count)


async def test_a_restart_ends_what_waited_and_says_so(tmp_path: Path) -> None:
    """Nothing that waited is there after it, nothing opens; each is told once, with the order that asked for it."""
    clock, book = VirtualClock(), Book()
    async with telling(tmp_path, clock, Book()) as waiting:
        first = await waiting.ask("main", _order(clock, 1), 1, (), WITHIN)
        await waiting.ask("main", _order(clock, 2), 1, (), WITHIN)
    for _ in range(2):
        async with telling(tmp_path, clock, book) as after:
            assert after.all() == []
            with pytest.raises(ActionRejectedError, match="no such opening"):
                after.agree(first.id, "anna")
            await _written(tmp_path, 2)
    assert book.said == [("refused", "restarted")] * 2
    assert [end.causes for end in book.ends] == [(_order(clock, n).trigger.id,) for n in (1, 2)]
    assert book.ends[0].output == {"door": "main", "pending": first.id}
    assert "12AB345" not in (tmp_path / "pending.jsonl").read_text()


async def test_each_waiting_ends_as_it_ended(tmp_path: Path) -> None:
    """Agreed to, denied, or nobody agreed in time; nothing more is told of it after a restart."""
    clock, book = VirtualClock(), Book()
    async with telling(tmp_path, clock, book) as waiting:
        agreed, denied, late = [await waiting.ask("main", _order(clock, n), 1, (), WITHIN) for n in range(3)]
        waiting.agree(agreed.id, "anna")
        await waiting.ordered(agreed.id)
        await waiting.denied(denied.id, "bert")
        await _until(book, 2)
        assert [one.id for one in waiting.all()] == [late.id]
        await clock.advance(29)
        assert len(waiting.all()) == 1
        await clock.advance(1)
        await _written(tmp_path, 3)
    assert book.said == [("done", None), ("refused", "denied"), ("expired", "nobody_agreed")]
    assert book.ends[0].output["persons"] == ["anna"]
    assert str(book.ends[1].message).endswith("bert")
    async with telling(tmp_path, clock, book):
        await settle()
    assert len(book.ends) == 3


async def test_what_cannot_be_told_now_is_told_later_and_the_same(tmp_path: Path) -> None:
    """With the store away it is tried again; over a restart too, as it had ended and not as restarted."""
    clock, book = VirtualClock(), Book()
    book.away = True
    async with telling(tmp_path, clock, book) as waiting:
        await waiting.denied((await waiting.ask("main", _order(clock, 1), 1, (), WITHIN)).id, "bert")
        await clock.until_asleep()
    async with telling(tmp_path, clock, book):
        await clock.until_asleep()
        book.away = False
        await clock.advance(5)
        await _until(book, 1)
    assert book.said == [("refused", "denied")]


async def test_too_many_give_way_and_are_told(tmp_path: Path) -> None:
    """The oldest makes room."""
    clock, book = VirtualClock(), Book()
    async with telling(tmp_path, clock, book) as waiting:
        for number in range(MOST + 1):
            await waiting.ask("main", _order(clock, number), 1, (), WITHIN)
        await _until(book, 1)
        assert len(waiting.all()) == MOST
    assert book.said == [("refused", "too_many_wait")]
    assert book.ends[0].causes == (_order(clock, 0).trigger.id,)


async def test_a_file_that_cannot_be_written_keeps_nobody_waiting(tmp_path: Path) -> None:
    """People can agree all the same; only a restart would not know of it."""
    (tmp_path / "safety").write_text("a file where the folder should be")
    clock, book = VirtualClock(), Book()
    waiting = PendingOpenings(tmp_path / "safety", clock)
    one = await waiting.ask("main", _order(clock, 1), 1, (), WITHIN)
    assert waiting.agree(one.id, "anna").persons == ("anna",)
    await waiting.ordered(one.id)
    task = asyncio.create_task(waiting.run(book))
    await _until(book, 1)
    task.cancel()


async def test_the_end_of_a_waiting_is_a_record_of_the_trail(tmp_path: Path) -> None:
    """Written into the ledger once, however often it is told; the appender makes record and event of it."""
    clock = VirtualClock()
    async with telling(tmp_path, clock, Book()) as waiting:
        await waiting.ask("main", _order(clock, 1), 1, (), WITHIN)
    book = Book()
    async with telling(tmp_path, clock, book):
        await _until(book, 1)
    async with running_bus(tmp_path / "bus") as bus:
        for _ in range(2):
            await write_end(bus.effects, book.ends[0], "bridge")
        appender: Appender = bus.appender(tmp_path / "audit")
        await appender.catch_up()
        info = await bus.connection.api("STREAM.INFO.VMS-home-RESULTS", {"subjects_filter": ">"})
        assert info["state"]["subjects"] == {"vms.home.result.confirm.refused": 1}
