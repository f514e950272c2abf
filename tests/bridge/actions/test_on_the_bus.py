"""The runner on the real bus: what the tests in memory assume of it holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bridge.actions import path as effect_path
from bridge.actions.runner import Runner
from bridge.bus import engine_store
from bridge.bus.bus import Bus
from bridge.bus.engine_store import MAX_CHANGES
from bridge.bus.pull import scan
from bridge.clock import SystemClock
from bridge.contracts import ActionContext, Head, Step
from bridge.errors import ActionUnavailableError
from bridge.schema.orders import Order
from tests.bridge.actions.support import Crash, InfoParams, Locator, info_spec, make_gate, make_order
from tests.bridge.bus.helpers import running_bus, until

CLOCK = SystemClock()
AHEAD = 50
"""Orders that do not fit the last batch of a step."""


async def _give(bus: Bus, orders: list[Order]) -> None:
    """Commit orders as the engine does."""
    head, _ = await bus.engine_store.load()
    head = head or Head(seq=0, epoch=1, ruleset="r")
    await bus.engine_store.commit(Step(head, {}, orders))


def _new_runner(bus: Bus, folder: Path, act: Any, **more: Any) -> Runner:
    spec = info_spec(act, **more)
    gate = make_gate(folder / "safety", CLOCK)
    return Runner(bus.order_queue(), bus.effects, bus.dead, {"info": spec}, Locator(), gate, CLOCK, "bridge")


@asynccontextmanager
async def _runner(bus: Bus, folder: Path, act: Any, **more: Any) -> Any:
    runner = _new_runner(bus, folder, act, **more)
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()


async def test_orders_are_done_once_each_over_retries_and_restarts(tmp_path: Path) -> None:
    """Three hundred orders for ten receivers, every seventh fails first; a second runner finds nothing left to do."""
    tries: Counter[str] = Counter()

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        tries[context.order.id] += 1
        if context.order.index % 7 == 0 and context.attempt == 1:
            raise ActionUnavailableError("busy", timedelta(milliseconds=1))
        return {"n": context.order.index}

    orders = [make_order(CLOCK, "info", {"to": f"t{n % 10}"}, n, index=n) for n in range(300)]
    async with running_bus(tmp_path) as bus:
        await _give(bus, orders)
        async with _runner(bus, tmp_path, act) as runner:
            await until(lambda: runner.tally.outcomes["info", "done"] == 300, 30)
            assert runner.tally.balanced
            assert runner.tally.pending == 0
        assert tries == {order.id: 1 + (order.index % 7 == 0) for order in orders}
        async with _runner(bus, tmp_path, act) as runner:
            more = make_order(CLOCK, "info", {}, 999, index=1)
            await _give(bus, [more])
            await until(lambda: runner.tally.outcomes["info", "done"] == 1)
        assert sum(tries.values()) == 300 + 43 + 1
        claimed = await bus.effects.find(orders[3].id)
        assert claimed is not None
        assert claimed.effect.result is not None
        assert claimed.effect.result.output == {"n": 3}


def _dying_at(point: str) -> Any:
    """Let what comes to a point die there."""

    def die(name: str) -> None:
        if name == point:
            raise Crash

    return mock.patch.object(engine_store if point.startswith("engine.") else effect_path, "crash_point", die)


async def test_a_crash_between_the_parts_of_a_step_does_no_order_twice(tmp_path: Path) -> None:
    """Orders that went ahead of the head are done at once and given again after the crash: each is done once."""
    tries: Counter[str] = Counter()

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        tries[context.order.id] += 1
        return {}

    orders = [make_order(CLOCK, "info", {"to": f"t{n % 10}"}, n) for n in range(MAX_CHANGES + AHEAD)]
    async with running_bus(tmp_path) as bus:
        with _dying_at("engine.ahead"), pytest.raises(Crash):
            await _give(bus, orders)
        async with _runner(bus, tmp_path, act) as runner:
            await until(lambda: runner.tally.outcomes["info", "done"] == AHEAD)
    async with running_bus(tmp_path) as bus:
        head, _ = await bus.engine_store.load()
        assert head is None or not head.seq, "the head has moved without all of its orders"
        await _give(bus, orders)
        async with _runner(bus, tmp_path, act) as runner:
            await until(lambda: len(tries) == len(orders) and not runner.tally.pending, 30)
    assert set(tries.values()) == {1}


async def test_a_crash_between_burying_and_ending_buries_once(tmp_path: Path) -> None:
    """An order that lies among the dead letters and has not ended ends after the crash, and lies there once."""

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        raise ActionUnavailableError("away")

    order = make_order(CLOCK, "info", {})
    async with running_bus(tmp_path) as bus:
        await _give(bus, [order])
        with _dying_at("effect.buried"), pytest.raises(BaseExceptionGroup) as died:
            await _new_runner(bus, tmp_path, act, give_up_after=timedelta(0)).run()
        assert died.group_contains(Crash)
        assert len(await _buried(bus)) == 1
        left = await bus.effects.find(order.id)
        assert left is not None
        assert left.effect.result is None
    async with running_bus(tmp_path) as bus:
        async with _runner(bus, tmp_path, act, give_up_after=timedelta(0)) as runner:
            await until(lambda: runner.tally.outcomes["info", "dead"] == 1, 40)
        assert len(await _buried(bus)) == 1


async def _buried(bus: Bus) -> list[bytes]:
    return [message.data async for batch in scan(bus.connection, bus.stream("DLQ")) for message in batch]
