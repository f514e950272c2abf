"""The engine's memory: whole steps, one owner, any number of orders, and answers that never came."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.bus.bus import Bus
from bridge.bus.engine_store import MAX_CHANGES, JetEngineStore
from bridge.bus.pull import scan
from bridge.contracts import Head, StateKey, Step
from bridge.errors import StaleOwnerError, StoreUnavailableError
from bridge.schema.orders import Order
from tests.bridge.bus.helpers import CONFIG, count, event, order, running_bus, until
from tests.bridge.bus.link import Link, linked_bus

HEAD = Head(seq=1, epoch=1, ruleset="abc")


async def order_ids(bus: Bus) -> list[str]:
    """The orders that stand in the stream."""
    found = []
    async for batch in scan(bus.connection, bus.stream("ENGINE"), [f"vms.{bus.site}.order.>"]):
        found += [Order.decode(message.data).id for message in batch]
    return found


async def test_nothing_is_there_at_first(bus: Bus) -> None:
    """Before the first step there is no head and no state."""
    assert await bus.engine_store.load() == (None, {})


async def test_a_step_is_read_back_as_it_was_written(bus: Bus) -> None:
    """Head, state and orders of a step are there after it; a deleted value is not."""
    store = bus.engine_store
    one, two, odd = StateKey("r", "1"), StateKey("r", "2"), StateKey("$engine", "")
    long = StateKey("규칙", "车牌" * 100)
    head = await store.commit(
        Step(HEAD, {one: {"n": 1}, two: {"n": [1, None, "ü"]}, odd: {"t": 1.5}, long: {}}, [order(1), order(2)])
    )
    assert replace(head, revision=0) == HEAD
    assert head.revision > 0
    loaded, state = await store.load()
    assert loaded == head
    assert state == {one: {"n": 1}, two: {"n": [1, None, "ü"]}, odd: {"t": 1.5}, long: {}}
    assert await order_ids(bus) == ["o1", "o2"]
    head = await store.commit(Step(replace(head, seq=5), {one: None, long: None, two: {"n": 2}}))
    loaded, state = await store.load()
    assert loaded == head
    assert head.seq == 5
    assert state == {two: {"n": 2}, odd: {"t": 1.5}}


async def test_a_lone_head_moves(bus: Bus) -> None:
    """A step that decided nothing moves the head, once per call."""
    store, head = bus.engine_store, HEAD
    for seq in range(2, 6):
        head = await store.commit(Step(replace(head, seq=seq)))
    assert await store.head() == head
    assert head.seq == 5
    assert await count(bus, "ENGINE") == 1


async def test_a_stale_owner_writes_nothing(bus: Bus) -> None:
    """Of two owners of one head the second is refused whole: no state, no order."""
    first = bus.engine_store
    second = JetEngineStore(bus.connection, bus._acks, bus.stream("ENGINE"), "home")
    head = await first.commit(Step(HEAD))
    mine = await second.commit(Step(replace(head, epoch=2)))
    with pytest.raises(StaleOwnerError):
        await first.commit(Step(replace(head, seq=9), {StateKey("r", "k"): {"a": 1}}, [order(1)]))
    with pytest.raises(StaleOwnerError):
        await first.commit(Step(replace(head, seq=9), {}, [order(n) for n in range(2000)]))
    with pytest.raises(StaleOwnerError):
        await first.commit(Step(HEAD))
    assert await first.load() == (mine, {})
    assert await order_ids(bus) == []


async def test_the_head_waits_for_what_is_done_beside(bus: Bus) -> None:
    """Orders stand there already; if it fails, the head stays where it was, and the step can be done again."""
    store = bus.engine_store
    head = await store.commit(Step(HEAD))
    step = Step(replace(head, seq=7), {StateKey("r", "k"): {"n": 1}}, [order(1), order(2)])
    went_on = asyncio.Event()

    async def traces() -> None:
        async with asyncio.timeout(10):
            while await order_ids(bus) != ["o1", "o2"]:  # noqa: ASYNC110 - the stream signals nobody
                await asyncio.sleep(0.005)
        assert await store.load() == (head, {})
        went_on.set()
        raise StoreUnavailableError("the traces cannot be written")

    with pytest.raises(StoreUnavailableError, match="traces"):
        await store.commit(step, traces())
    assert went_on.is_set()
    assert await store.load() == (head, {})
    after = await store.commit(step)
    assert await store.load() == (after, {StateKey("r", "k"): {"n": 1}})
    assert await order_ids(bus) == ["o1", "o2"]


async def test_one_of_many_owners_wins(bus: Bus) -> None:
    """Many take over at once: exactly one head is written."""
    stores = [JetEngineStore(bus.connection, bus._acks, bus.stream("ENGINE"), "home") for _ in range(20)]
    steps = [store.commit(Step(Head(0, epoch, "x"))) for epoch, store in enumerate(stores)]
    ends = await asyncio.gather(*steps, return_exceptions=True)
    won = [end for end in ends if isinstance(end, Head)]
    assert len(won) == 1
    assert sum(isinstance(end, StaleOwnerError) for end in ends) == 19
    assert await stores[0].head() == won[0]


@pytest.mark.parametrize(
    ("changes", "orders"), [(MAX_CHANGES, 0), (0, 999), (1, 999), (998, 1500), (999, 1), (5, 2500)]
)
async def test_any_number_of_orders_fits_one_step(bus: Bus, changes: int, orders: int) -> None:
    """Orders beyond one batch go before it; the step is complete and the state is the last to move."""
    store = bus.engine_store
    head = await store.commit(Step(HEAD))
    step = Step(
        replace(head, seq=7),
        {StateKey("r", str(n)): {"n": n} for n in range(changes)},
        [order(n) for n in range(orders)],
    )
    after = await store.commit(step)
    loaded, state = await store.load()
    assert loaded == after
    assert after.seq == 7
    assert len(state) == changes
    assert await order_ids(bus) == [f"o{n}" for n in range(orders)]


async def test_a_step_cut_off_between_its_batches_can_be_done_again(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a crash after the first orders the head has not moved: the same step again gives the same orders."""
    store = bus.engine_store
    head = await store.commit(Step(HEAD))
    step = Step(replace(head, seq=7), {StateKey("r", "k"): {"n": 1}}, [order(n) for n in range(1500)])
    real, calls = bus._acks.store, 0

    async def dies(messages: Any, patience: float) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("killed")
        return await real(messages, patience)

    with monkeypatch.context() as patch:
        patch.setattr(bus._acks, "store", dies)
        with pytest.raises(RuntimeError):
            await store.commit(step)
    loaded, state = await store.load()
    assert loaded is not None
    assert (loaded.seq, state) == (1, {})
    await store.commit(replace(step, head=replace(step.head, revision=loaded.revision)))
    assert sorted(await order_ids(bus)) == sorted(f"o{n}" for n in range(1500))


LONG = 2 * MAX_CHANGES + 7
BEFORE = {StateKey("r", str(n)): {"n": n} for n in range(0, LONG, 2)} | {StateKey("other", "k"): {"stays": True}}
CHANGED = {StateKey("r", str(n)): None if n % 3 == 0 else {"now": n} for n in range(LONG)}
AFTER = {StateKey("other", "k"): {"stays": True}} | {key: value for key, value in CHANGED.items() if value is not None}


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize(
    ("point", "nth", "done"),
    [
        ("engine.ahead", 1, False),
        ("engine.ahead", 3, False),
        ("engine.long", 1, True),
        ("engine.copied", 1, True),
        ("engine.copied", 3, True),
        ("none", 1, True),
    ],
)
async def test_a_step_of_more_than_a_batch_is_whole_or_not_there(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, point: str, nth: int, done: bool
) -> None:
    """Wherever a crash cuts it off: whoever loads finds all of it, or the state before it."""
    store, passed = bus.engine_store, 0

    def dies(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == nth:
            raise Crash

    head = await store.commit(Step(HEAD, BEFORE))
    step = Step(replace(head, seq=7), CHANGED, [order(n) for n in range(1200)])
    assert len(step.changed) > 2 * MAX_CHANGES
    with monkeypatch.context() as patch:
        patch.setattr("bridge.bus.engine_store.crash_point", dies)
        with suppress(Crash):
            head = await store.commit(step)
            assert point == "none"
    again = JetEngineStore(bus.connection, bus._acks, bus.stream("ENGINE"), "home")
    loaded, state = await again.load()
    assert loaded is not None
    assert (loaded.seq, state) == ((7, AFTER) if done else (HEAD.seq, BEFORE))
    assert len(set(await order_ids(bus))) == (MAX_CHANGES if (point, nth) == ("engine.ahead", 1) else 1200)
    loaded = await again.commit(replace(step, head=replace(step.head, revision=loaded.revision)))
    assert await again.load() == (loaded, AFTER)
    assert len(set(await order_ids(bus))) == 1200
    after = await again.commit(Step(replace(loaded, seq=8), {StateKey("r", "1"): {"n": 0}}))
    assert await again.load() == (after, AFTER | {StateKey("r", "1"): {"n": 0}}), "nothing of the long step is left"


async def test_a_step_of_many_bytes_goes_in_several_batches(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred large values are as much as thousands of small ones: no batch is larger than it may be."""
    monkeypatch.setattr("bridge.bus.engine_store.MAX_BYTES", 50_000)
    monkeypatch.setattr("bridge.bus.engine_store.PART", 20_000)
    sizes: list[int] = []
    real = bus._acks.store

    async def noting(messages: Any, patience: float) -> Any:
        sizes.append(sum(message.size for message in messages))
        return await real(messages, patience)

    monkeypatch.setattr(bus._acks, "store", noting)
    changed = {StateKey("r", str(n)): {"text": "x" * 9000} for n in range(30)}
    head = await bus.engine_store.commit(Step(HEAD, changed, [order(n) for n in range(300)]))
    assert await bus.engine_store.load() == (head, changed)
    assert len(await order_ids(bus)) == 300
    assert max(sizes) < 51_000


async def test_another_owner_finishes_a_long_step_and_shuts_the_first_one_out(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes while it is copied copies it too; whoever is behind is refused, and nothing is mixed."""
    first = bus.engine_store
    second = JetEngineStore(bus.connection, bus._acks, bus.stream("ENGINE"), "home")
    head = await first.commit(Step(HEAD, BEFORE))
    copying, go_on = asyncio.Event(), asyncio.Event()
    real = JetEngineStore._copy

    async def waits(self: JetEngineStore, *what: Any) -> int:
        if self is first:
            copying.set()
            await go_on.wait()
        return await real(self, *what)

    monkeypatch.setattr(JetEngineStore, "_copy", waits)
    commit = asyncio.create_task(first.commit(Step(replace(head, seq=7), CHANGED)))
    await asyncio.wait_for(copying.wait(), 10)
    loaded, state = await second.load()
    assert loaded is not None
    assert (loaded.seq, state) == (7, AFTER)
    mine = await second.commit(Step(replace(loaded, epoch=9), {StateKey("r", "1"): {"n": 0}}))
    go_on.set()
    with pytest.raises(StaleOwnerError):
        await commit
    assert await second.load() == (mine, AFTER | {StateKey("r", "1"): {"n": 0}})


async def test_who_loads_while_the_owner_copies_a_long_step_finds_it_whole(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He would have copied it too, was shut out of that by the owner himself, and reads again."""
    first = bus.engine_store
    second = JetEngineStore(bus.connection, bus._acks, bus.stream("ENGINE"), "home")
    head = await first.commit(Step(HEAD, BEFORE))
    copying, helping, copied = asyncio.Event(), asyncio.Event(), asyncio.Event()
    real = JetEngineStore._copy

    async def waits(self: JetEngineStore, *what: Any) -> int:
        if self is first:
            copying.set()
            await helping.wait()
            revision = await real(self, *what)
            copied.set()
            return revision
        helping.set()
        await copied.wait()
        return await real(self, *what)

    monkeypatch.setattr(JetEngineStore, "_copy", waits)
    async with asyncio.timeout(30):
        commit = asyncio.create_task(first.commit(Step(replace(head, seq=7), CHANGED)))
        await copying.wait()
        loaded, state = await second.load()
        assert (loaded, state) == (await commit, AFTER)


async def test_a_lost_answer_is_read_back(tmp_path: Path) -> None:
    """The server wrote the step and its answer was lost: the commit succeeds, with the right revision, once."""
    async with linked_bus(tmp_path) as (bus, link):
        store = bus.engine_store
        head = await store.commit(Step(HEAD))
        link.swallow = True
        commit = asyncio.create_task(store.commit(Step(replace(head, seq=8), {}, [order(1)])))
        await _cut_later(link)
        after = await commit
        assert await store.load() == (after, {})
        assert await order_ids(bus) == ["o1"]
        assert await count(bus, "ENGINE") == 2, "the head and the order, which may have been written twice"
        assert (await store.commit(Step(replace(after, seq=9)))).seq == 9


async def test_a_lost_request_is_sent_again(tmp_path: Path) -> None:
    """The server never got the step: it is sent again when the connection is back."""
    async with linked_bus(tmp_path) as (bus, link):
        head = await bus.engine_store.commit(Step(HEAD))
        link.closed = True
        link.cut()
        await until(lambda: not bus.connection.connected)
        commit = asyncio.create_task(bus.engine_store.commit(Step(replace(head, seq=8), {}, [order(1)])))
        refused = link.refused
        await until(lambda: link.refused > refused)
        link.closed = False
        after = await commit
        assert await bus.engine_store.load() == (after, {})
        assert after.seq == 8
        assert await order_ids(bus) == ["o1"]


async def test_a_lost_answer_and_another_owner_is_stale(tmp_path: Path) -> None:
    """When the connection breaks and somebody else takes over meanwhile, the old owner learns it."""
    async with linked_bus(tmp_path) as (bus, link):
        await (await (await bus.intake())([event(1)]))  # that the head names, or who comes takes it back
        head = await bus.engine_store.commit(Step(HEAD))
        link.closed = True
        link.cut()
        await until(lambda: not bus.connection.connected)
        commit = asyncio.create_task(bus.engine_store.commit(Step(replace(head, seq=8), {}, [order(1)])))
        async with _direct(bus, link) as other:
            mine = await other.engine_store.commit(Step(replace(head, epoch=2)))
        link.closed = False
        with pytest.raises(StaleOwnerError):
            await commit
        assert await bus.engine_store.head() == mine
        assert await order_ids(bus) == []


async def test_a_server_that_stays_away_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience is over the commit is unknown, and says so; loading tells the truth."""
    monkeypatch.setattr("bridge.bus.fence._PATIENCE", 0.3)
    monkeypatch.setattr("bridge.bus.fence._ATTEMPT", 0.2)
    async with linked_bus(tmp_path) as (bus, link):
        head = await bus.engine_store.commit(Step(HEAD))
        link.swallow = True
        with pytest.raises(StoreUnavailableError):
            await bus.engine_store.commit(Step(replace(head, seq=8)))
        link.swallow = False
        link.cut()
        await until(lambda: not bus.connection.connected)
        await until(lambda: bus.connection.connected)
        loaded, _ = await bus.engine_store.load()
        assert loaded is not None
        assert loaded.seq == 8, "it was written, though nobody could know"


async def test_steps_survive_kills_of_the_server(tmp_path: Path) -> None:
    """The server is killed while steps are written: no step is lost, none is written in part, no order is missing."""
    async with running_bus(tmp_path) as bus:
        server, store = bus._server, bus.engine_store
        assert server is not None
        head = await store.commit(Step(HEAD))
        for seq in range(2, 62):
            if seq % 20 == 0 and server.pid is not None:
                os.kill(server.pid, signal.SIGKILL)
            changed = {StateKey("r", str(key)): {"seq": seq} for key in range(5)}
            head = await store.commit(Step(replace(head, seq=seq), changed, [order(seq)]))
        loaded, state = await store.load()
        assert loaded == head
        assert list(state.values()) == [{"seq": 61}] * 5
        assert await order_ids(bus) == [f"o{seq}" for seq in range(2, 62)]
        assert server.restarts >= 2


CHANGES = st.dictionaries(
    st.builds(StateKey, st.text(min_size=1, max_size=4), st.text(max_size=40)),
    st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=2)),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(CHANGES, min_size=1, max_size=5))
async def test_state_is_what_the_last_steps_left(bus: Bus, steps: list[dict[StateKey, dict[str, Any] | None]]) -> None:
    """Whatever the names and values: what is loaded is what a dictionary would hold."""
    store = bus.engine_store
    head, present = await store.load()
    expected = dict(present)
    now = head or HEAD
    for changed in steps:
        now = await store.commit(Step(replace(now, seq=now.seq + 1), changed))
        for key, value in changed.items():
            if value is None:
                expected.pop(key, None)
            else:
                expected[key] = value
    assert await store.load() == (now, expected)


async def _cut_later(link: Link) -> None:
    """Break the link once the server has written and said so in vain."""
    await link.dropped()
    link.swallow = False
    link.cut()


def _direct(bus: Bus, link: Link) -> AbstractAsyncContextManager[Bus]:
    """A second bus that goes around the link."""
    user, password = bus.connection._username, bus.connection._password
    there = {"servers": (f"nats://{link.target}",), "username": user, "password": password}
    return Bus.open("home", CONFIG.model_copy(update=there))
