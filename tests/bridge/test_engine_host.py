"""The engine on the log: what it decides is stored once, whoever dies in between, and time passes for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.bus import streams
from bridge.bus.bus import Bus
from bridge.clock import Clock, SystemClock
from bridge.contracts import Emit
from bridge.engine_host import LAZY_HEAD_BYTES, LAZY_HEAD_EVENTS, TRACED_RATE, EngineHost
from bridge.errors import StaleOwnerError, StoreUnavailableError
from bridge.rulebook import StoredRuleSets
from bridge.schema.event import Origin
from bridge.schema.kinds import BridgeStarted, RulesChanged
from bridge.schema.orders import Order
from rules.ruleset import RuleSet, SiteSettings
from rules.trace import Trace
from tests.bridge.bus.helpers import CONFIG, NOW, event, running_bus, until
from tests.clock import VirtualClock
from tests.rules.support import ACTIONS, rules_of

HOME = SiteSettings(name="home")
TELL = """
rules:
  - id: tell
    when: {kind: motion.started}
    then:
      - webhook: backoffice
"""
ONCE = """
  - id: once
    when: {kind: motion.started}
    cooldown: 1h
    then:
      - webhook: backoffice
"""


class World:
    """A bus, an engine host on it, and what both left behind."""

    def __init__(self, bus: Bus, emit: Emit) -> None:
        self.bus, self.emit = bus, emit
        self.rulesets = StoredRuleSets(bus.contents, ACTIONS)
        self.traces: list[Trace] = []
        self.stepped = 0

    def stepped_(self, events: int) -> None:
        self.stepped += events

    async def keep_traces(self, traces: Sequence[Trace]) -> None:
        self.traces.extend(traces)

    def host(self, clock: Clock) -> EngineHost:
        return EngineHost(
            "home",
            self.bus.event_log(),
            self.bus.engine_store,
            self.rulesets,
            self.keep_traces,
            self.emit,
            clock,
            _Progress(self),
        )

    @asynccontextmanager
    async def running(self, clock: Clock | None = None, *, awake: bool = True) -> AsyncIterator[EngineHost]:
        host = self.host(clock or SystemClock())
        task = asyncio.create_task(host.run())
        await asyncio.wait_for(host.started.wait(), 5)
        if awake:
            host.wake()
        yield host
        task.cancel()
        await asyncio.wait([task])

    async def use(self, rules: RuleSet) -> None:
        await self.rulesets.store(rules)
        await self.put(
            event(rules.hash, "rules.changed", data=RulesChanged(ruleset=rules.hash, rules=len(rules.rules)))
        )

    async def put(self, *events: object) -> None:
        await (await self.emit(list(events)))  # type: ignore[arg-type]

    async def orders(self, count: int) -> list[Order]:
        """Return the orders in the store, once there are so many."""
        found: dict[str, Order] = {}
        taking = self.bus.orders.take()
        async with asyncio.timeout(10):
            while len(found) < count:
                pending = await anext(taking)
                found[pending.order.id] = pending.order
        await taking.aclose()  # type: ignore[attr-defined]
        return list(found.values())


class _Wrong(SystemClock):
    """A clock that is ahead of the log's, or behind it."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


class _Progress:
    def __init__(self, world: World) -> None:
        self._world = world

    def stepped(self, events: int, orders: Sequence[Order], seconds: float) -> None:
        self._world.stepped_(events)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_bus(tmp_path) as bus:
        yield World(bus, await bus.intake())


async def test_an_event_becomes_the_order_that_its_rule_asks_for(world: World) -> None:
    """By the rules that the log named before it; and the firing leaves a trace."""
    async with world.running() as host:
        await world.put(event(1))
        await world.use(rules_of(TELL, site=HOME))
        await world.put(event(2))
        (order,) = await world.orders(1)
        assert order.rule == "tell"
        assert order.causes == ("e2",)
        await until(lambda: host.position >= 3)
        assert [trace.event for trace in world.traces if trace.fired] == ["e2"]


async def test_under_load_only_firings_leave_traces(world: World) -> None:
    """However small the pieces are in which it comes: writing down why not must not make it worse."""
    async with world.running(VirtualClock()) as host:
        await world.use(rules_of(TELL + ONCE, site=HOME))
        for number in range(TRACED_RATE):
            await world.put(event(number))
            await until(lambda number=number: host.position >= number + 2)  # type: ignore[misc]
        told = [trace.event for trace in world.traces if trace.rule == "once" and not trace.fired]
        assert (len(told), told[0], told[-1]) == (TRACED_RATE - 2, "e1", f"e{TRACED_RATE - 2}")
        assert [trace.event for trace in world.traces if trace.fired][-1] == f"e{TRACED_RATE - 1}"


async def test_what_was_decided_is_not_decided_again_after_a_restart(world: World) -> None:
    """The head says how far it is, and the rules in force are read back by their content."""
    async with world.running() as host:
        await world.use(rules_of(TELL, site=HOME))
        await world.put(event(1), event(2))
        await until(lambda: host.position >= 3)
    world.stepped = 0
    async with world.running() as host:
        await world.put(event(3))
        await until(lambda: host.position >= 4)
        assert world.stepped == 1
        orders = await world.orders(3)
        assert sorted(order.causes[0] for order in orders) == ["e1", "e2", "e3"]
        assert host.ruleset


async def test_events_that_nothing_comes_of_do_not_write_the_head_each(world: World) -> None:
    """It lags behind, and a restart reads them once more without any effect."""
    async with world.running() as host:
        before = await world.bus.engine_store.head()
        await world.put(*[event(n, "vendor.event", data={"topic": "x"}) for n in range(20)])
        await until(lambda: host.position >= 20)
        after = await world.bus.engine_store.head()
        assert before is not None
        assert after is not None
        assert after.seq == before.seq == 0
        await world.put(*[event(n, "vendor.event", data={"topic": "x"}) for n in range(20, LAZY_HEAD_EVENTS + 20)])
        await until(lambda: host.position >= LAZY_HEAD_EVENTS + 20)
        moved = await world.bus.engine_store.head()
        assert moved is not None
        assert moved.seq >= LAZY_HEAD_EVENTS


async def test_the_head_does_not_lag_by_more_than_a_little_of_the_log(world: World) -> None:
    """A few large events of which nothing comes must not take the room of a small log until a thousand have come."""
    async with world.running() as host:
        large = LAZY_HEAD_BYTES // 60_000 + 1
        said = {"data": {"topic": "x"}, "raw": "x" * 60_000}
        await world.put(*[event(n, "vendor.event", **said) for n in range(large)])
        await until(lambda: host.position >= large)
        moved = await world.bus.engine_store.head()
        assert moved is not None
        assert 0 < moved.seq <= large


async def test_a_log_that_was_lost_is_read_from_its_new_beginning_after_every_start(tmp_path: Path) -> None:
    """The head knows places that are no more: what gets their numbers is decided on all the same, and not trimmed."""
    async with running_bus(tmp_path) as bus:
        world = World(bus, await bus.intake())
        async with world.running() as host:
            await world.use(rules_of(TELL, site=HOME))
            await world.put(*[event(n) for n in range(9)])
            await until(lambda: host.position == 10)
        await bus.checkpoints().write(9, NOW, host.ruleset, {})
        await bus.connection.api(f"STREAM.DELETE.{bus.stream('EVENTS')}")
    async with running_bus(tmp_path) as bus:
        assert (await bus.checkpoints().all()).checkpoints == []
        world = World(bus, await bus.intake())
        async with world.running() as host:
            await world.put(event(20, "vendor.event", data={"topic": "x"}))
            await until(lambda: host.position >= 2)  # behind the hole, that is told
        await world.put(event(21))
        await bus.guard.look()
        assert bus.guard.backlog.unread > 0
    async with running_bus(tmp_path) as bus:
        world = World(bus, await bus.intake())
        async with world.running():
            assert [order.causes[0] for order in await world.orders(10)][-1] == "e21"


async def test_a_log_that_is_lost_under_way_takes_the_head_back_with_it(world: World) -> None:
    """Also where nothing comes of what is new: its numbers are below those that the head knows."""
    async with world.running() as host:
        await world.use(rules_of(TELL, site=HOME))
        await world.put(*[event(n) for n in range(9)])
        await until(lambda: host.position == 10)
        await world.bus.connection.api(f"STREAM.DELETE.{world.bus.stream('EVENTS')}")
        await streams.ensure(world.bus.connection, streams.table("home", CONFIG), 1)
        async with asyncio.timeout(40):  # if nobody tells it, the reader notices by the silence
            while (head := await world.bus.engine_store.head()) is None or head.seq >= 10:
                await world.put(event(f"new-{asyncio.get_running_loop().time()}", "vendor.event", data={"topic": "x"}))
                await asyncio.sleep(0.05)


async def test_a_newer_owner_shuts_the_older_one_out(world: World) -> None:
    """The older one's next decision is refused as a whole, and it ends."""
    await world.use(rules_of(TELL, site=HOME))
    first = world.host(SystemClock())
    old = asyncio.create_task(first.run())
    await until(lambda: first.position >= 1)
    async with world.running() as second:
        await world.put(event(1))
        await until(lambda: second.position >= 2)
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(old, 10)
        assert caught.group_contains(StaleOwnerError)
        assert len(await world.orders(1)) == 1


async def test_time_passes_when_nothing_else_happens(world: World) -> None:
    """A step that waits for another one goes at its deadline, through a tick in the log."""
    rules = """
    rules:
      - id: tell
        when: {kind: motion.started}
        then:
          - clip: {before: 1s, after: 1s, as: film}
          - webhook: {to: backoffice, with: film, wait: 300ms}
    """
    async with world.running():
        await world.use(rules_of(rules, site=HOME))
        now = datetime.now(UTC)
        await world.put(event(1, time=now, received=now))
        clip, webhook = await world.orders(2)
        assert (clip.action, webhook.action) == ("clip", "webhook")
        assert webhook.steps["film"].outcome == "pending"
        assert webhook.created - clip.created >= timedelta(milliseconds=300)


async def test_no_time_passes_before_the_log_says_that_the_bridge_has_started(world: World) -> None:
    """What was due while the bridge was away is looked at only when the rules can know that it was."""
    rules = """
    rules:
      - id: alone
        when: {absent: {kind: motion.ended}, after: {kind: motion.started}, within: 100ms}
        then: [{webhook: backoffice}]
    """
    async with world.running(awake=False) as host:
        await world.use(rules_of(rules, site=HOME))
        await world.put(event(1))
        await until(lambda: host.position == 2)
    await asyncio.sleep(0.1)  # the bridge is away when it is due
    async with world.running(awake=False) as host:
        started = BridgeStarted(version="1", instance="i")
        await world.put(event("start", "bridge.started", source="home/bridge", origin=Origin.BRIDGE, data=started))
        host.wake()
        await until(lambda: any(trace.outcome != "unmet" for trace in world.traces))
    [trace] = [trace for trace in world.traces if trace.outcome != "unmet"]
    assert (trace.outcome, trace.seen) == ("inconclusive", "the bridge was not running all the while")


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=-1)])
async def test_a_clock_of_ours_that_is_wrong_changes_nothing(world: World, ahead: timedelta) -> None:
    """Timers go by the log's clock: not late because ours is behind it, and no flood of ticks because ours is ahead."""
    rules = """
    rules:
      - id: tell
        when: {kind: motion.started}
        then:
          - clip: {before: 1s, after: 1s, as: film}
          - webhook: {to: backoffice, with: film, wait: 2s}
    """
    clock = _Wrong(ahead)
    async with world.running(clock) as host:
        await world.use(rules_of(rules, site=HOME))
        await world.put(event(1, time=clock.now(), received=clock.now()))
        clip, webhook = await world.orders(2)
        assert webhook.created - clip.created >= timedelta(seconds=2)
        assert host.position < 8


async def test_a_store_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost and nothing decided twice: the engine starts over from what is stored."""
    commit = world.bus.engine_store.commit
    fails = iter([True, True])

    async def flaky(step: object, beside: Awaitable[None] | None = None) -> object:
        if beside is not None:
            await beside
        if step.orders and next(fails, False):  # type: ignore[attr-defined]
            raise StoreUnavailableError("the disk is full", timedelta(milliseconds=10))
        return await commit(step)  # type: ignore[arg-type]

    monkeypatch.setattr(world.bus.engine_store, "commit", flaky)
    async with world.running():
        await world.use(rules_of(TELL, site=HOME))
        await world.put(event(1))
        (order,) = await world.orders(1)
        assert order.causes == ("e1",)
        assert next(fails, False) is False


async def test_an_event_may_let_more_firings_go_on_than_a_batch_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the store fails in the middle of it: each goes on once, and nothing of them is left."""
    rules = """
    rules:
      - id: tell
        when: {kind: motion.started}
        then:
          - wait_for: {kind: motion.ended, within: 1h}
          - webhook: backoffice
    """
    many, failed = 70, asyncio.Event()

    def fails(name: str) -> None:
        if name == "engine.long" and not failed.is_set():
            failed.set()
            raise StoreUnavailableError("the disk is full", timedelta(milliseconds=10))

    monkeypatch.setattr("bridge.bus.engine_store.MAX_CHANGES", 20)
    monkeypatch.setattr("bridge.bus.engine_store.crash_point", fails)
    async with world.running() as host:
        await world.use(rules_of(rules, site=HOME))
        await world.put(*[event(number) for number in range(many)])
        await until(lambda: host.position >= many + 1)
        waiting = [key for key in host.state() if key.rule == "$firing/tell"]
        assert len(waiting) == many
        await world.put(event(many, "motion.ended"))
        orders = await world.orders(many)
        assert {order.causes[1] for order in orders} == {f"e{number}" for number in range(many)}
        await until(lambda: host.position >= many + 2)
        assert failed.is_set()
        _, state = await world.bus.engine_store.load()
        assert {key.rule for key in state} == {"$state"}
