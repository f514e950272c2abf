"""Events that the log did not take are kept, handed over again, and hold up reading when they are many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from bridge.sdk import Origin, PayloadError, StoreUnavailableError, VmsEvent, kinds
from connectors.ts_api import delivery as delivery_module
from connectors.ts_api.delivery import Delivery, Letter
from tests.clock import START, VirtualClock, settle
from tests.fakes import RecordingSession


def event(number: int) -> VmsEvent:
    return VmsEvent(
        id=f"e{number}",
        type="motion.started",
        source="home/nvr1",
        subject="1",
        time=START,
        timequality="device",
        received=START,
        origin=Origin.LIVE,
        via="ws",
        data=kinds.MotionStarted(),
    )


class Store(RecordingSession):
    """A session whose store can fail in every way."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.failing: Exception | None = None
        self.at_once = False

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if self.failing is None:
            return await super().emit(events)
        if self.at_once:
            raise self.failing
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.set_exception(self.failing)
        return stored

    async def pass_time(self, seconds: float) -> None:
        assert isinstance(self.clock, VirtualClock)
        await self.clock.advance(seconds)


DOWN = StoreUnavailableError("down", timedelta(seconds=2))


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_was_not_stored_is_handed_over_again(at_once: bool) -> None:
    """After the pause the log asked for, in order, until it is taken."""
    store, delivery = Store(), Delivery()
    store.failing, store.at_once = DOWN, at_once
    retry = asyncio.create_task(delivery.retry(store))
    await delivery.put(store, [event(1)])
    await delivery.put(store, [event(2)])
    await settle()
    assert delivery.kept == 2
    await store.pass_time(2)
    assert delivery.kept == 2
    store.failing = None
    await store.pass_time(1.9)
    assert store.emitted == []
    await store.pass_time(0.1)
    assert [each.id for each in store.emitted] == ["e1", "e2"]
    assert delivery.kept == 0
    retry.cancel()


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_comes_later_is_stored_later(at_once: bool) -> None:
    """With the log back, new events wait behind those that it refused; then they go straight through again."""
    store, delivery = Store(), Delivery()
    store.failing, store.at_once = DOWN, at_once
    retry = asyncio.create_task(delivery.retry(store))
    await delivery.put(store, [event(1)])
    await settle()
    store.failing = None
    await delivery.put(store, [event(2)])
    assert (store.emitted, delivery.kept) == ([], 2)
    await settle()
    await store.pass_time(2)
    assert [each.id for each in store.emitted] == ["e1", "e2"]
    await delivery.put(store, [event(3)])
    assert [each.id for each in store.emitted] == ["e1", "e2", "e3"]
    retry.cancel()


async def test_whichever_is_refused_first_the_order_is_that_of_reading() -> None:
    """Two on their way, the later one told first; and when the first is refused again nothing overtakes it."""
    store, delivery = Store(), Delivery()
    ends: list[asyncio.Future[None]] = []

    async def slow(events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        ends.append(asyncio.get_running_loop().create_future())
        return ends[-1]

    emit, store.emit = store.emit, slow  # type: ignore[method-assign]
    for number in (1, 2):
        await delivery.put(store, [event(number)])
    for end in reversed(ends):
        end.set_exception(DOWN)
    await settle()
    retry = asyncio.create_task(delivery.retry(store))
    store.emit, store.failing, store.at_once = emit, DOWN, True  # type: ignore[method-assign]
    await settle()
    await store.pass_time(2)
    assert (store.emitted, delivery.kept) == ([], 2)
    store.failing = None
    await settle()
    await store.pass_time(2)
    assert [each.id for each in store.emitted] == ["e1", "e2"]
    retry.cancel()


async def test_what_waits_and_cannot_be_filed_holds_nobody_up() -> None:
    """It is a dead letter, and what is behind it is stored."""
    store, delivery = Store(), Delivery()
    store.failing, store.at_once = DOWN, True
    await delivery.put(store, [event(1)])
    await delivery.put(store, [event(2)])
    retry = asyncio.create_task(delivery.retry(store))
    emit = store.emit

    async def picky(events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if events[0].id == "e1":
            raise PayloadError("bad_name", "no")
        return await emit(events)

    store.emit, store.failing = picky, None  # type: ignore[method-assign]
    await settle()
    await store.pass_time(2)
    assert ([each.id for each in store.emitted], delivery.kept) == (["e2"], 0)
    assert [VmsEvent.decode(bytes(letter.message)).id for letter in store.parked] == ["e1"]  # type: ignore[arg-type]
    assert [(letter.reason, letter.error) for letter in store.parked] == [("bad_name", "no")]
    retry.cancel()


async def test_one_that_cannot_be_filed_takes_none_along_that_was_read_with_it() -> None:
    """The others are stored, in order; also if the log goes away in between."""
    store, delivery = Store(), Delivery()
    emit = store.emit

    async def picky(events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if any(each.id == "e2" for each in events):
            if len(events) > 1:
                store.failing, store.at_once = DOWN, True
            raise PayloadError("too_large", "no")
        return await emit(events)

    store.emit = picky  # type: ignore[method-assign]
    await delivery.put(store, [event(1), event(2), event(3), event(4)])
    retry = asyncio.create_task(delivery.retry(store))
    await settle()
    assert (store.emitted, delivery.kept) == ([], 4)
    store.failing = None
    await store.pass_time(2)
    assert [each.id for each in store.emitted] == ["e1", "e3", "e4"]
    assert [letter.reason for letter in store.parked] == ["too_large"]
    retry.cancel()


async def test_a_letter_that_cannot_be_stored_is_kept_like_an_event() -> None:
    """And nothing that was read later passes it."""
    store, delivery = Store(), Delivery()
    park, told = store.park, [DOWN]

    async def slow(message: str | bytes, reason: str, error: str) -> None:
        if told:
            raise told.pop()
        await park(message, reason, error)

    store.park = slow  # type: ignore[method-assign]
    await delivery.put(store, [event(1)], [Letter(b"{", "not_json", "no")])
    await delivery.put(store, [event(2)])
    assert ([each.id for each in store.emitted], store.parked, delivery.kept) == (["e1"], [], 2)
    retry = asyncio.create_task(delivery.retry(store))
    await settle()
    await store.pass_time(2)
    assert ([each.id for each in store.emitted], len(store.parked), delivery.kept) == (["e1", "e2"], 1, 0)
    retry.cancel()


@pytest.mark.parametrize("full", [False, True])
async def test_whoever_is_cancelled_while_it_waits_has_lost_nothing(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither behind another that is handing over, nor before a delivery that is full: all of it was read."""
    monkeypatch.setattr(delivery_module, "_ROOM", 1)
    store, delivery = Store(), Delivery()
    if full:
        store.failing, store.at_once = DOWN, True
        await delivery.put(store, [event(0)])
    store.hold = asyncio.Event()
    puts = [asyncio.create_task(delivery.put(store, [event(number)])) for number in (1, 2, 3)]
    await settle()
    for put in reversed(puts):
        put.cancel()
    await settle()
    assert delivery.kept == (4 if full else 3)
    store.hold, store.failing = None, None
    retry = asyncio.create_task(delivery.retry(store))
    await settle()
    await store.pass_time(2)
    assert [each.id for each in store.emitted] == ["e0", "e1", "e2", "e3"][not full :]
    retry.cancel()


async def test_a_session_that_ends_in_the_middle_loses_nothing() -> None:
    """What it was handing over is kept for the next one."""
    store, delivery = Store(), Delivery()
    store.hold = asyncio.Event()
    putting = asyncio.create_task(delivery.put(store, [event(1)]))
    await settle()
    putting.cancel()
    await settle()
    assert delivery.kept == 1


async def test_reading_waits_while_too_many_are_kept() -> None:
    """Memory is bounded; the far side's socket fills instead."""
    store, delivery = Store(), Delivery()
    store.failing = DOWN
    await delivery.put(store, [event(number) for number in range(10_000)])
    await settle()
    waiting = asyncio.create_task(delivery.put(store, [event(10_001)]))
    await settle()
    assert not waiting.done()
    store.failing = None
    retry = asyncio.create_task(delivery.retry(store))
    await settle()
    await store.pass_time(2)
    await asyncio.wait_for(waiting, 5)
    assert len(store.emitted) == 10_001
    retry.cancel()


async def test_the_next_session_hands_over_what_the_last_one_could_not() -> None:
    """The events outlive the socket they came by."""
    delivery, first, second = Delivery(), Store(), Store()
    first.failing = DOWN
    retry = asyncio.create_task(delivery.retry(first))
    await delivery.put(first, [event(1)])
    await settle()
    retry.cancel()
    await settle()
    retry = asyncio.create_task(delivery.retry(second))
    await settle()
    await second.pass_time(2)
    assert [each.id for each in second.emitted] == ["e1"]
    retry.cancel()


async def test_a_cancelled_try_loses_nothing() -> None:
    """Whoever ends the session in the middle of a try."""
    delivery, store = Delivery(), Store()
    store.failing = DOWN
    await delivery.put(store, [event(1)])
    await settle()
    store.failing, store.hold = None, asyncio.Event()
    retry = asyncio.create_task(delivery.retry(store))
    await settle()
    await store.pass_time(2)
    assert store.holding
    retry.cancel()
    await settle()
    assert delivery.kept == 1
    store.hold = None
    retry = asyncio.create_task(delivery.retry(store))
    await settle()
    await store.pass_time(1)
    assert ([each.id for each in store.emitted], delivery.kept) == (["e1"], 0)
    retry.cancel()


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_unforeseen_refusal_is_an_error_and_a_gap(at_once: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Data lost is never silent; it is not tried for ever, but looked for where it came from."""
    delivery, store = Delivery(), Store()
    store.failing, store.at_once = ValueError("too large"), at_once
    with pytest.raises(ValueError, match="too large") if at_once else nullcontext():
        await delivery.put(store, [event(1)])
    await settle()
    assert delivery.kept == 0
    assert store.gaps == [(START, START, "refused")]
    lost: list[Any] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.count for record in lost] == [1]
