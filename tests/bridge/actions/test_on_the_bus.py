"""The runner on the real bus: what the tests in memory assume of it holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bridge.actions.runner import Runner
from bridge.bus.bus import Bus
from bridge.clock import SystemClock
from bridge.contracts import ActionContext, Head, Step
from bridge.errors import ActionUnavailableError
from bridge.schema.orders import Order
from tests.bridge.actions.support import InfoParams, Locator, info_spec, make_gate, make_order
from tests.bridge.bus.helpers import running_bus, until

CLOCK = SystemClock()


async def _give(bus: Bus, orders: list[Order]) -> None:
    """Commit orders as the engine does."""
    head, _ = await bus.engine_store.load()
    head = head or Head(seq=0, epoch=1, ruleset="r")
    await bus.engine_store.commit(Step(head, {}, orders))


@asynccontextmanager
async def _runner(bus: Bus, folder: Path, act: Any) -> Any:
    spec = info_spec(act)
    gate = make_gate(folder / "safety", CLOCK)
    runner = Runner(bus.order_queue(), bus.effects, bus.dead, {"info": spec}, Locator(), gate, CLOCK, "bridge")
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
