"""The runner alone, on a path that answers from a list: when each order comes again, and what the queue hears."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.actions import runner as runner_module
from bridge.actions.lanes import Concurrency, Job
from bridge.actions.runner import HEARTBEAT, Runner
from bridge.contracts import ActionContext
from bridge.errors import StoreError, StoreUnavailableError
from bridge.schema.orders import ActionClass, Effect, Order
from tests.bridge.actions.support import (
    Disk,
    Locator,
    MemoryDead,
    MemoryLedger,
    MemoryPending,
    MemoryQueue,
    Power,
    info_spec,
    make_gate,
    make_order,
    rest,
)
from tests.bridge.actions.test_path import Watcher
from tests.clock import VirtualClock

S = timedelta(seconds=1)
MOVING = ActionClass.TRANSIENT


class Queue(MemoryQueue):
    """A queue that notes when nobody takes from it any more, and that may refuse to listen."""

    left = False
    deaf = False

    async def take(self) -> AsyncIterator[MemoryPending]:
        try:
            async for pending in super().take():
                yield pending
        finally:
            self.left = True

    def put_later(self, order: Order, delay: timedelta) -> None:
        if self.deaf:
            raise StoreError("the queue is away")
        super().put_later(order, delay)


class Stand:
    """A runner and all that it needs; `answers` are what each walk along the path comes to, None unless said."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.clock, self.disk, power = VirtualClock(), Disk(), Power()
        self.queue = Queue(self.disk, power, self.clock)
        self.ledger, self.watcher = MemoryLedger(self.disk, power), Watcher()
        self.walked: list[Job] = []
        self.services = Locator()
        self.contexts: list[ActionContext] = []
        self.answers: defaultdict[str, list[Any]] = defaultdict(list)
        self.runner = Runner(
            self.queue, self.ledger, MemoryDead(self.disk, power), {"info": info_spec(self._act)}, self.services,
            make_gate(folder, self.clock), self.clock, "me", observer=self.watcher, **more,
        )  # fmt: skip
        self.walk, self.runner._path.walk = self.runner._path.walk, self._walk  # type: ignore[method-assign]

    async def _act(self, _: Any, context: ActionContext) -> dict[str, Any]:
        self.contexts.append(context)
        return {}

    async def _walk(self, job: Job) -> timedelta | None:
        self.walked.append(job)
        answers = self.answers[job.order.id]
        answer = answers.pop(0) if answers else None
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        elif isinstance(answer, Exception):
            raise answer
        elif answer is not None:
            return answer  # type: ignore[no-any-return]
        return await self.walk(job)

    def order(self, number: int, *answers: Any, moving: bool = False, to: str = "x") -> Order:
        made = make_order(self.clock, "info", {"to": to}, number)
        self.runner._actions = {"info": info_spec(self._act, action_class=MOVING if moving else made.action_class)}
        made = made.model_copy(update={"action_class": MOVING} if moving else {})
        self.answers[made.id] = list(answers)
        return made

    async def put(self, *orders: Order) -> None:
        self.queue.put(*orders)
        await rest()

    @property
    def delays(self) -> list[timedelta]:
        return [delay for _, delay in self.queue.delays]


@asynccontextmanager
async def stand(folder: Path, **more: Any) -> AsyncIterator[Stand]:
    """A runner at work while the block lasts."""
    made = Stand(folder, **more)
    task = asyncio.create_task(made.runner.run())
    await rest()
    try:
        async with asyncio.timeout(10):
            yield made
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_whoever_counts_hears_of_each_order(tmp_path: Path) -> None:
    """That it was taken, and how it ended; an order that an earlier run left is known, and not new."""
    async with stand(tmp_path) as at:
        order = at.order(1)
        await at.put(order)
        assert at.watcher.heard == [("taken", order.id), ("ended", order.id, "done")]
        assert not at.walked[0].known
    later = Stand(tmp_path)
    order = later.order(2, 3 * S)
    left = {"order": order.id, "action_class": order.action_class, "status": "started", "executor": "me"}
    await later.ledger.claim(Effect(**left, attempt=1, claimed=order.created))
    later.queue.put(order)
    later.queue.end()
    await later.runner.run()
    assert (later.walked[0].known, later.watcher.heard, later.runner.tally.injected) == (True, [], 1)


async def test_what_an_order_needs_is_at_hand(tmp_path: Path) -> None:
    """The services, for the action; the dead letters, for what cannot be read."""
    async with stand(tmp_path) as at:
        await at.put(at.order(1), at.order(2).model_copy(update={"action": "later"}))
        assert [context.services for context in at.contexts] == [at.services]
        assert [reason for _, reason, _, _ in at.disk.buried] == ["unknown_action"]


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (7 * S, 7 * S),
        (StoreUnavailableError("away", 4 * S), 4 * S),
        (StoreUnavailableError("away", S / 5), S),
        (StoreError("changed"), S),
        (KeyError("a bug"), 30 * S),
    ],
)
async def test_what_can_wait_waits_in_the_queue(tmp_path: Path, answer: Any, wait: timedelta) -> None:
    """As long as the path says, or the store; longer after a bug. Then it comes again and is taken up."""
    async with stand(tmp_path) as at:
        order = at.order(1, answer)
        await at.put(order)
        assert at.queue.delays == [(order.id, wait)]
        await at.clock.advance(wait.total_seconds())
        at.queue.bring_due()
        await rest()
        assert [job.known for job in at.walked] == [False, True]
        assert at.disk.acked == {order.id}


async def test_what_moves_something_keeps_its_place_for_a_while(tmp_path: Path) -> None:
    """For ten seconds, on the clock; what would take longer goes back to the queue, and who comes next is next."""
    async with stand(tmp_path) as at:
        first, second = at.order(1, 10 * S, 10.001 * S, moving=True), at.order(2, moving=True)
        await at.put(first, second)
        assert (at.delays, [job.order.id for job in at.walked]) == ([], [first.id])
        assert 10.0 in at.clock.waits
        await at.clock.advance(9.9)
        assert len(at.walked) == 1
        await at.clock.advance(0.1)
        assert at.queue.delays == [(first.id, 10.001 * S)]
        assert [job.order.id for job in at.walked] == [first.id, first.id, second.id]
        assert at.disk.acked == {second.id}


async def test_a_stop_puts_back_what_pauses(tmp_path: Path) -> None:
    """With the time it would still have waited; and nobody takes from the queue any more."""
    async with stand(tmp_path) as at:
        order = at.order(1, 5 * S, moving=True)
        await at.put(order)
        assert not at.queue.left
    assert (at.queue.delays, at.queue.left, len(at.walked)) == ([(order.id, 5 * S)], True, 1)
    assert at.runner._in_hand == {}
    assert len(asyncio.all_tasks()) == 1


async def test_the_runner_ends_with_its_queue(tmp_path: Path) -> None:
    """When all that was taken has ended, and not before; its heartbeat ends with it."""
    at, free = Stand(tmp_path), asyncio.Event()
    at.queue.put(at.order(1, free))
    at.queue.end()
    running = asyncio.create_task(at.runner.run())
    await rest()
    assert not running.done()
    free.set()
    await asyncio.wait_for(running, 5)
    assert len(at.disk.acked) == 1


async def test_a_stop_waits_only_so_long_for_what_is_being_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is cut off, and comes again at the next start; each task says whose it is."""
    monkeypatch.setattr(runner_module, "STOP_GRACE", 0.01)
    at = Stand(tmp_path)
    running = asyncio.create_task(at.runner.run())
    await at.put(at.order(1, asyncio.Event(), to="away"))
    assert {task.get_name() for task in asyncio.all_tasks()} >= {"runner[heartbeat]", "runner[to:away]"}
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), at.disk.acked, at.runner._in_hand) == (True, set(), {})


async def test_any_iterator_will_do_for_a_queue(tmp_path: Path) -> None:
    """What cannot be closed is left as it is."""

    class Given:
        def __init__(self, queue: Queue) -> None:
            self.orders = queue.take()

        def __aiter__(self) -> Given:
            return self

        async def __anext__(self) -> MemoryPending:
            return await anext(self.orders)

    at = Stand(tmp_path)
    at.queue.put(at.order(1))
    at.queue.end()
    given = Given(at.queue)
    at.runner._queue.take = lambda: given  # type: ignore[method-assign]
    await asyncio.wait_for(at.runner.run(), 5)
    assert len(at.disk.acked) == 1


async def test_an_order_that_is_in_hand_is_not_taken_twice(tmp_path: Path) -> None:
    """The queue brings it again when it has not heard of us: it comes later, and ends once."""
    async with stand(tmp_path) as at:
        free = asyncio.Event()
        order = at.order(1, free)
        await at.put(order, order)
        assert at.queue.delays == [(order.id, HEARTBEAT * S)]
        free.set()
        await rest()
        assert (len(at.walked), at.disk.acked) == (1, {order.id})
        await at.put(order)
        assert len(at.walked) == 2  # it is in hand no more


async def test_what_finds_no_room_comes_again_the_later_the_more_there_is_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About a second, for every five hundred that found none; who has found room does not count any more."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 1.0

    monkeypatch.setattr(runner_module, "_TURNED_AWAY", 2)
    monkeypatch.setattr("random.uniform", uniform)
    async with stand(tmp_path, concurrency=Concurrency(per_target=1, in_hand=2)) as at:
        free = asyncio.Event()
        orders = [at.order(n, free, to=f"t{n}") for n in range(7)]
        await at.put(*orders)
        assert at.delays == [S, S, 1.5 * S, 2 * S, 2.5 * S]
        assert asked == [(0.5, 1.5)] * 5
        assert list(at.runner._in_hand) == [order.id for order in orders[:2]]
        free.set()
        await rest()
        free.clear()
        await at.put(*orders[2:5])
        assert at.delays[5:] == [1.5 * S]
        assert list(at.runner._in_hand) == [order.id for order in orders[2:4]]
        free.set()


async def test_the_queue_hears_of_what_is_in_hand_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every two seconds; while it cannot be told, the rest of that round is spared it, and the next one comes."""
    heard: list[tuple[float, str]] = []
    away: list[float] = [4.0]

    async def working(pending: MemoryPending) -> None:
        heard.append((at.clock.monotonic(), pending.order.id))
        if at.clock.monotonic() in away:
            raise StoreError("the queue is away")

    monkeypatch.setattr(MemoryPending, "working", working)
    async with stand(tmp_path) as at:
        one, two = asyncio.Event(), asyncio.Event()
        first, second = at.order(1, one), at.order(2, two)
        await at.put(first, second, at.order(3))
        await at.clock.advance(1.9)
        assert heard == []
        await at.clock.advance(4.1)
        assert heard == [(2.0, first.id), (2.0, second.id), (4.0, first.id), (6.0, first.id), (6.0, second.id)]
        one.set()
        await rest()
        await at.clock.advance(2)
        assert heard[5:] == [(8.0, second.id)]
        two.set()


async def test_an_order_that_cannot_be_put_back_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It comes again by itself; a person who asks why is told which one it was."""
    async with stand(tmp_path) as at:
        at.queue.deaf = True
        lost = at.order(1, 7 * S)
        await at.put(lost, at.order(2))
        assert (at.delays, len(at.disk.acked)) == ([], 1)
        assert vars(caplog.records[-1])["order"] == lost.id


async def test_a_bug_on_the_path_is_told_and_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the order and its action."""
    async with stand(tmp_path) as at:
        broken = at.order(1, KeyError("oops"))
        await at.put(broken, at.order(2))
        assert len(at.disk.acked) == 1
        said = vars(next(record for record in caplog.records if record.exc_info))
        assert (said["order"], said["action"]) == (broken.id, "info")
