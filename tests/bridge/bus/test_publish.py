"""The publisher: order, duplicates, batches and their fallback, bounds, and a server that does not answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.bus.acks import Acks
from bridge.bus.bus import Bus
from bridge.bus.publish import Publisher
from bridge.bus.pull import scan
from bridge.bus.window import Group, Limits, RecentIds, Window
from bridge.bus.wire import BATCH_ID, MSG_ID, Outgoing, RefusedError
from bridge.errors import StoreUnavailableError
from tests.bridge.bus.helpers import count, running_bus, until
from tests.bridge.bus.link import Link, linked_bus
from tests.clock import settle

SUBJECT = "vms.home.event.nvr1.motion.started.1"


def message(name: str, body: bytes = b"{}") -> Outgoing:
    """A message with an id."""
    return Outgoing(SUBJECT, body, {MSG_ID: name})


def messages(*numbers: int) -> list[Outgoing]:
    """Messages with ids."""
    return [message(f"m{number}") for number in numbers]


async def stored_ids(bus: Bus) -> list[str]:
    """The ids in the log, in its order."""
    ids = []
    async for batch in scan(bus.connection, bus.stream("EVENTS")):
        ids += [(found.headers or {})[MSG_ID] for found in batch]
    return ids


async def store(publisher: Publisher, group: Sequence[Outgoing]) -> int:
    """Put and wait."""
    return await (await publisher.put(group))


async def test_order_is_kept_whoever_waits_for_what(bus: Bus) -> None:
    """Groups of many sizes from one task stand in the log as they were put, and each future tells its place."""
    publisher, expected, futures = bus._events, [], []
    for number in range(300):
        group = messages(*range(len(expected), len(expected) + number % 7))
        expected += [found.headers[MSG_ID] for found in group]
        futures.append((await publisher.put(group), len(expected)))
    for future, end in futures:
        assert await future in (end, 0)
    assert await stored_ids(bus) == expected
    assert publisher.totals.stored == len(expected)
    assert publisher.pending == 0


async def test_a_lone_message_goes_alone_and_many_go_as_one_batch(bus: Bus) -> None:
    """When idle there is no batch; what waits behind a write goes out as one atomic batch."""
    await store(bus._events, messages(1))
    await asyncio.gather(*[await bus._events.put(messages(number)) for number in range(2, 30)])
    batches = []
    async for batch in scan(bus.connection, bus.stream("EVENTS")):
        batches += [(found.headers or {}).get(BATCH_ID) for found in batch]
    assert batches[0] is None
    assert len(set(batches[2:])) == 1
    assert batches[2] is not None


async def test_a_duplicate_is_stored_once(bus: Bus) -> None:
    """The same id again, in the same group, under way, or stored before, is a yes without a second copy."""
    first = await bus._events.put(messages(1, 1, 2))
    again = await bus._events.put(messages(2))
    await asyncio.gather(first, again)
    await store(bus._events, messages(1, 2, 3))
    assert await stored_ids(bus) == ["m1", "m2", "m3"]
    assert bus._events.totals.duplicates == 4
    assert bus._events.totals.fallbacks == 0, "the server never had to refuse a batch for it"


async def test_a_batch_with_a_forgotten_duplicate_falls_back_to_single_messages(bus: Bus) -> None:
    """An id that only the server remembers refuses the batch; the others are stored all the same, in order."""
    await store(bus._events, messages(1))
    acks = bus._acks
    async with Publisher(bus.connection, acks, "fresh") as fresh:
        await store(fresh, messages(*range(12)))
        assert fresh.totals.fallbacks == 1
        assert (fresh.totals.stored, fresh.totals.duplicates) == (11, 1)
    assert await stored_ids(bus) == ["m1", "m0", *(f"m{number}" for number in range(2, 12))]


async def test_a_message_that_is_too_large_does_not_take_others_with_it(bus: Bus) -> None:
    """One message beyond the server's limit is refused; its neighbours are stored and the connection lives."""
    big = await bus._events.put([message("big", b"x" * (bus.connection.max_payload - 10))])
    small = await bus._events.put(messages(1, 2))
    with pytest.raises(RefusedError, match="more than the server takes"):
        await big
    await small
    assert await stored_ids(bus) == ["m1", "m2"]
    assert bus.connection.connected


async def test_memory_in_hand_is_bounded(tmp_path: Path) -> None:
    """With the server stopped, `put` waits once the bound is reached, and goes on when it answers again."""
    async with running_bus(tmp_path, limits=Limits(pending=20, batch=10)) as bus:
        assert bus._server is not None
        pid = bus._server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            futures = [await bus._events.put(messages(number)) for number in range(20)]
            waiting = asyncio.create_task(bus._events.put(messages(20)))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            assert bus._events.pending == 20
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.gather(*futures)
        await (await waiting)
        assert await stored_ids(bus) == [f"m{number}" for number in range(21)]


async def test_a_lost_acknowledgement_is_asked_for_again(tmp_path: Path) -> None:
    """When the connection breaks after the server stored a batch, it is sent again and stands there once."""
    async with linked_bus(tmp_path) as (bus, link):
        await store(bus._events, messages(0))
        link.swallow = True
        futures = [await bus._events.put(messages(number)) for number in range(1, 40)]
        async with running_link(link, bus):
            await asyncio.gather(*futures)
        assert await stored_ids(bus) == [f"m{number}" for number in range(40)]
        assert bus._events.totals.fallbacks >= 1


class running_link:  # noqa: N801 - reads as a statement
    """Break the link once the server has stored something and said so in vain, and let answers through again."""

    def __init__(self, link: Link, bus: Bus) -> None:
        self._link, self._bus = link, bus

    async def __aenter__(self) -> None:
        await self._link.dropped()
        self._link.swallow = False
        self._link.cut()

    async def __aexit__(self, *_: object) -> None:
        """Nothing to do."""


async def test_silence_is_refused_after_a_while(tmp_path: Path) -> None:
    """A server that is connected and says nothing: the sender hears so when the patience is over."""
    limits = Limits(patience=0.6, resend=0.2)
    async with linked_bus(tmp_path, limits=limits) as (bus, link):
        link.swallow = True
        future = await bus._events.put(messages(1))
        with pytest.raises(StoreUnavailableError, match="did not answer"):
            await future
        assert bus._events.totals.refused == 1
        link.swallow = False
        link.cut()
        await settle()
        await until(lambda: bus.connection.connected)
        assert await store(bus._events, messages(2)) > 0


async def test_nothing_overtakes_what_was_refused(tmp_path: Path) -> None:
    """What came after it, what waits for room and what is handed over before its sender knows: all are refused."""
    limits = Limits(patience=0.6, resend=0.2, pending=2)
    async with linked_bus(tmp_path, limits=limits) as (bus, link):
        link.swallow = True
        first = await bus._events.put(messages(1))
        before = bus._events.refusals
        second = await bus._events.put(messages(2))
        third = asyncio.create_task(bus._events.put(messages(3)))
        asked: list[asyncio.Task[asyncio.Future[int]]] = []
        put = bus._events.put
        first.add_done_callback(lambda _: asked.append(asyncio.create_task(put(messages(4)))))
        for future in (first, second):
            with pytest.raises(StoreUnavailableError, match="did not answer"):
                await future
        with pytest.raises(StoreUnavailableError, match="did not answer"):
            await third
        with pytest.raises(StoreUnavailableError):
            await asked[0]
        link.swallow = False
        link.cut()
        await settle()
        await until(lambda: bus.connection.connected)
        with pytest.raises(StoreUnavailableError):
            await put(messages(5), before)
        for number in range(1, 6):
            assert await store(bus._events, messages(number)) > 0
        assert await stored_ids(bus) == [f"m{number}" for number in range(1, 6)]


async def test_a_long_outage_refuses_at_once(tmp_path: Path) -> None:
    """Gone for longer than the bound: everything in hand is refused and new messages are refused without waiting."""
    async with linked_bus(tmp_path, limits=Limits(outage=0.3)) as (bus, link):
        link.closed = True
        link.cut()
        await until(lambda: not bus.connection.connected)
        futures = [await bus._events.put(messages(number)) for number in range(3)]
        for future in futures:
            with pytest.raises(StoreUnavailableError, match="not been reachable"):
                await future
        with pytest.raises(StoreUnavailableError):
            await store(bus._events, messages(9))
        assert bus._events.pending == 0
        assert not bus.health().ok
        link.closed = False
        await until(lambda: bus.connection.connected)
        await store(bus._events, messages(0))
        assert await stored_ids(bus) == ["m0"]


async def test_a_short_outage_is_not_noticed(tmp_path: Path) -> None:
    """A break shorter than the bound costs time and nothing else."""
    async with linked_bus(tmp_path) as (bus, link):
        for number in range(30):
            future = await bus._events.put(messages(number))
            if number % 10 == 5:
                link.cut()
            await future
        assert await stored_ids(bus) == [f"m{number}" for number in range(30)]


async def test_a_full_stream_refuses_cleanly(bus: Bus) -> None:
    """A store without room is a refusal at once, not a timeout; with room it takes messages again."""
    name = bus.stream("EVENTS")
    config = (await bus.connection.api(f"STREAM.INFO.{name}"))["config"]
    await bus.connection.api(f"STREAM.UPDATE.{name}", {**config, "max_bytes": 4096, "discard": "new"})
    with pytest.raises(StoreUnavailableError, match="maximum bytes exceeded"):
        await store(bus._events, [message("full", b"x" * 8000)])
    await bus.connection.api(f"STREAM.UPDATE.{name}", config)
    await store(bus._events, [message("full", b"x" * 8000)])
    assert await count(bus, "EVENTS") == 1


async def test_what_is_in_hand_is_stored_before_the_end(tmp_path: Path) -> None:
    """Leaving the bus waits for what was taken over."""
    async with running_bus(tmp_path) as bus:
        futures = [await bus._events.put(messages(number)) for number in range(50)]
    assert all(future.done() and future.exception() is None for future in futures)


async def test_batches_are_all_or_nothing(bus: Bus) -> None:
    """One impossible message in an atomic batch leaves nothing of the batch in the log."""
    acks: Acks = bus._acks
    fence = {"Nats-Expected-Last-Subject-Sequence": "77"}
    bad = [*messages(1, 2), Outgoing(SUBJECT + "x", b"", fence)]
    with pytest.raises(RefusedError) as caught:
        await acks.store(bad, 5)
    assert caught.value.stale
    assert await count(bus, "EVENTS") == 0
    with pytest.raises(ValueError, match="do not fit"):
        await acks.send_batch(messages(*range(1001)))


def test_recent_ids_are_bounded_and_keep_the_latest() -> None:
    """At least the last n are known, never more than twice as many."""
    recent = RecentIds(10)
    for number in range(1000):
        recent.add(str(number))
        assert all(str(known) in recent for known in range(max(0, number - 9), number + 1))
    assert sum(str(number) in recent for number in range(1000)) <= 20


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.lists(st.integers(0, 8), max_size=5)),
            st.tuples(st.just("store"), st.integers(0, 3)),
            st.tuples(st.just("refuse"), st.integers(0, 3)),
        ),
        max_size=30,
    )
)
def test_every_group_is_settled_exactly_by_its_own_messages(steps: list[tuple[str, object]]) -> None:
    """Whatever comes in whatever order: a group succeeds if all its ids were stored, fails if one was refused."""

    async def play() -> None:
        window = Window(Limits(batch=4, recent=100))
        groups: list[tuple[Group, set[str]]] = []
        stored: set[str] = set()
        place = 0
        for action, what in steps:
            if action == "put":
                assert isinstance(what, list)
                group = Group(len(what))
                groups.append((group, {f"m{number}" for number in what}))
                window.take(messages(*what), group)
                continue
            entries = window.next()
            for entry in entries:
                place += 1
                if action == "store":
                    window.stored(entry, place)
                    stored.add(str(entry.name))
                else:
                    window.refuse([entry], StoreUnavailableError("no"))
        for group, ids in groups:
            if group.future.done() and group.future.exception() is None:
                assert ids <= stored
        window.refuse_all(StoreUnavailableError("end"))
        assert len(window) == 0
        assert all(group.future.done() for group, _ in groups)

    asyncio.run(play())
