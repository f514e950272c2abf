"""The order queue: each order until it is done, not more in hand than allowed, again when asked."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from bridge.bus.bus import Bus
from bridge.bus.orders import JetOrderQueue, JetPendingOrder
from bridge.bus.pull import scan
from bridge.bus.wire import Outgoing
from bridge.contracts import Head, PendingOrder, Step
from tests.bridge.bus.helpers import order, running_bus, until


async def give(bus: Bus, *numbers: int) -> None:
    """Orders from the engine."""
    head = await bus.engine_store.head() or Head(0, 1, "r")
    await bus.engine_store.commit(Step(head, {}, [order(number) for number in numbers]))


@asynccontextmanager
async def taking(queue: JetOrderQueue) -> AsyncIterator[AsyncIterator[JetPendingOrder]]:
    """The queue's orders."""
    async with asyncio.timeout(30), aclosing(queue.take()) as orders:  # type: ignore[type-var]
        yield orders


async def test_orders_come_oldest_first_and_once(bus: Bus) -> None:
    """Orders that are done do not come again, not even to the next reader."""
    await give(bus, 1, 2)
    await give(bus, 3)
    async with taking(bus.orders) as orders:
        for number in (1, 2, 3):
            pending: PendingOrder = await anext(orders)
            assert pending.order == order(number)
            await pending.working()
            await pending.done()
    info = {}
    async with asyncio.timeout(5):
        while info.get("num_ack_pending", 1):
            info = await bus.connection.api(f"CONSUMER.INFO.{bus.stream('ENGINE')}.runners")
    await give(bus, 4)
    async with taking(bus.order_queue()) as orders:
        assert (await anext(orders)).order.id == "o4"


async def test_an_order_comes_again_later(bus: Bus) -> None:
    """`later` brings it back after the delay, and others pass it meanwhile."""
    await give(bus, 1, 2)
    loop = asyncio.get_running_loop()
    async with taking(bus.orders) as orders:
        first = await anext(orders)
        await first.later(timedelta(seconds=0.3))
        began = loop.time()
        await (await anext(orders)).done()
        again = await anext(orders)
        assert again.order.id == "o1"
        assert loop.time() - began > 0.2


async def test_not_more_than_allowed_is_in_hand(bus: Bus) -> None:
    """With three in hand the fourth waits until one is answered."""
    await give(bus, *range(10))
    queue = bus.order_queue(in_hand=3)
    async with taking(queue) as orders:
        held = [await anext(orders) for _ in range(3)]
        assert queue.in_hand == 3
        waiting = asyncio.ensure_future(anext(orders))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        info = await bus.connection.api(f"CONSUMER.INFO.{bus.stream('ENGINE')}.runners")
        assert info["num_ack_pending"] == 3, "the rest is not even fetched: others may have it"
        await held[1].done()
        assert (await waiting).order.id == "o3"


async def test_two_runners_share_the_orders(bus: Bus) -> None:
    """Each order goes to one of two queues."""
    await give(bus, *range(40))
    seen: list[str] = []

    async def runner() -> None:
        async with taking(bus.order_queue(in_hand=1)) as orders:
            async for pending in orders:
                seen.append(pending.order.id)
                await pending.done()
                await asyncio.sleep(0)

    runners = [asyncio.create_task(runner()) for _ in range(2)]
    await until(lambda: len(seen) >= 40)
    for task in runners:
        task.cancel()
    await asyncio.gather(*runners, return_exceptions=True)
    assert sorted(seen) == sorted(f"o{number}" for number in range(40))


async def test_what_is_no_order_is_buried(bus: Bus) -> None:
    """A message that is no order goes to the dead letters and does not stop the others."""
    await bus._acks.store([Outgoing("vms.home.order.0.bad", b"{}")], 5)
    await give(bus, 1)
    async with taking(bus.orders) as orders:
        assert (await anext(orders)).order.id == "o1"
    dead = [message async for batch in scan(bus.connection, bus.stream("DLQ")) for message in batch]
    assert [message.data for message in dead] == [b"{}"]


async def test_unanswered_orders_survive_a_kill_of_the_server(tmp_path: Path) -> None:
    """Orders that were not done come again after the server was killed; an idle reader goes on by itself."""
    async with running_bus(tmp_path) as bus:
        server = bus._server
        assert server is not None
        assert server.pid is not None
        await give(bus, 1)
        async with taking(bus.orders) as orders:
            await (await anext(orders)).done()
            waiting = asyncio.ensure_future(anext(orders))
            await asyncio.sleep(0)
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: server.restarts == 1 and bus.connection.connected)
            await give(bus, 2)
            seen = {(await waiting).order.id}
            while "o2" not in seen:  # o1 may come again: acknowledgements are not the truth
                seen.add((await anext(orders)).order.id)
