"""Who waits for whom: lanes alone, with work that a test ends by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from bridge.actions.lanes import Concurrency, Job, Lanes
from bridge.actions.plan import Plan, Unusable
from bridge.safety.reasons import Reason
from bridge.schema.orders import ActionClass
from tests.bridge.actions.support import Disk, InfoParams, MemoryPending, MemoryQueue, Power, info_spec, make_order
from tests.clock import VirtualClock, settle

ACTING, RELEASING, TELLING = ActionClass.ACTUATING, ActionClass.RELEASING, ActionClass.INFORMATION
_DAY = timedelta(days=1)


async def _unused(*_: Any) -> dict[str, Any]:
    raise AssertionError("lanes do not act")


def _job(number: int, target: str = "a", action_class: ActionClass = TELLING) -> Job:
    clock = VirtualClock()
    order = make_order(clock, "info", {}, number).model_copy(update={"id": f"{target}{number}"})
    planned = Plan(info_spec(_unused), InfoParams(), action_class, target)
    return Job(MemoryPending(MemoryQueue(Disk(), Power(), clock), order), planned, known=False)


class Bench:
    """Lanes that note what has begun and what has ended."""

    def __init__(self, tasks: asyncio.TaskGroup, limits: Concurrency) -> None:
        self.lanes = Lanes(tasks, self._work, limits)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def _work(self, job: Job) -> None:
        self.begun.append(job.order.id)
        self._ends[job.order.id] = asyncio.Event()
        await self._ends[job.order.id].wait()
        self.ended.append(job.order.id)

    async def add(self, *jobs: Job) -> list[bool]:
        taken = [self.lanes.add(job) for job in jobs]
        await settle()
        return taken

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settle()

    async def end_all(self) -> None:
        while len(self.ended) < len(self.begun):
            await self.end(*self.begun)


@asynccontextmanager
async def bench(**limits: int) -> AsyncIterator[Bench]:
    """A bench whose work is all ended when the block ends."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        made = Bench(tasks, Concurrency(**limits))
        yield made
        await made.end_all()


async def test_what_moves_something_is_done_one_after_another_at_each_target() -> None:
    """In the order it came; another target does not wait for it, and neither does what only tells."""
    async with bench(per_target=1, running=1) as at:
        moving = [_job(n, action_class=ACTING) for n in (1, 2, 3)]
        assert await at.add(*moving, _job(4, "b", ACTING), _job(5)) == [True] * 5
        assert sorted(at.begun) == ["a1", "a5", "b4"]
        await at.end("a1")
        assert at.begun[3:] == ["a2"]
        assert await at.add(_job(6, action_class=ACTING)) == [True]
        await at.end("a2", "a3")
        assert at.begun[3:] == ["a2", "a3", "a6"]


async def test_a_few_at_once_for_each_target() -> None:
    """Never more, also when some have ended and others come; the next begins as soon as one has ended."""
    async with bench(per_target=2) as at:
        await at.add(*[_job(n) for n in (1, 2, 3)], _job(4, "b"))
        assert at.begun == ["a1", "a2", "b4"]
        await at.end("a1")
        assert at.begun[3:] == ["a3"]
        await at.end("a2")
        await at.add(_job(5), _job(6), _job(7))
        assert at.begun[4:] == ["a5"]
        await at.end("a3")
        assert at.begun[5:] == ["a6"]


async def test_so_many_at_once_of_all_targets() -> None:
    """What can wait shares the places; what moves something needs none."""
    async with bench(running=2) as at:
        await at.add(*[_job(n, target) for n, target in enumerate("abc")], _job(9, "z", ACTING))
        assert at.begun == ["a0", "b1", "z9"]
        await at.end("z9")
        assert at.begun == ["a0", "b1", "z9"]
        await at.end("b1")
        assert at.begun[3:] == ["c2"]


async def test_there_is_no_room_for_more_than_so_many_that_can_wait() -> None:
    """Being done or waiting, of all targets together; what moves something always has room."""
    async with bench(running=1, per_target=1, in_hand=8) as at:
        assert await at.add(*[_job(n, f"t{n % 5}") for n in range(9)]) == [True] * 8 + [False]
        assert await at.add(*[_job(n, "m", ACTING) for n in range(20)]) == [True] * 20
        await at.end("m0", "t00")
        assert await at.add(_job(10, "x"), _job(11, "y")) == [True, False]
        await at.end("m1", "t11", "m2")
        assert await at.add(_job(12, "z"), _job(13, "y")) == [True, False]


async def test_one_target_does_not_take_all_the_room() -> None:
    """A quarter of it may wait for one; what is being done does not count as waiting, and another target has room."""
    assert Concurrency(in_hand=3).waiting == 1
    async with bench(per_target=1, in_hand=8) as at:
        await at.add(_job(0))
        assert await at.add(*[_job(n) for n in range(1, 4)]) == [True, True, False]
        assert await at.add(_job(4, "b"), _job(5, action_class=ACTING)) == [True, True]
        await at.end("a0")
        assert await at.add(_job(6), _job(7)) == [True, False]


async def test_a_release_supersedes_what_came_before_it_at_its_target() -> None:
    """What is being done and what waits, but no other release, no other target, and nothing that comes later."""
    async with bench() as at:
        jobs = [_job(n, "b" if n == 3 else "a", ACTING) for n in range(1, 5)]
        first, second = _job(5, action_class=RELEASING), _job(6, action_class=RELEASING)
        await at.add(*jobs[:3], _job(7))
        await at.add(first)
        assert [job.superseded for job in jobs] == [True, True, False, False]
        await jobs[0].pause(_DAY, VirtualClock())  # it does not wait for its next try any more
        await at.add(jobs[3])
        assert not jobs[3].superseded
        await at.add(second)
        assert [job.superseded for job in (*jobs, first, second)] == [True, True, False, True, False, False]
        await at.end("a1")
        assert at.begun[3:] == ["a2"]  # the work itself says what becomes of it


@pytest.mark.parametrize("wakes", [Job.supersede, Job.stop])
async def test_a_pause_ends_with_its_time_or_when_there_is_nothing_to_wait_for(wakes: Any) -> None:
    """Whichever is first, and then nothing of it is left waiting."""
    clock, job = VirtualClock(), _job(1)
    pausing = asyncio.create_task(job.pause(2 * _DAY, clock))
    await clock.until_asleep()
    assert clock.waits == [2 * 86_400]
    await clock.advance(2 * 86_400 - 1)
    assert not pausing.done()
    await clock.advance(1)
    assert pausing.done()
    pausing = asyncio.create_task(job.pause(_DAY, clock))
    await clock.until_asleep()
    wakes(job)
    await settle()
    assert (pausing.done(), clock.waits) == (True, [])
    assert (job.superseded, job.stopped) == (wakes is Job.supersede, wakes is Job.stop)
    assert len(asyncio.all_tasks()) == 1


async def test_idle_is_when_nothing_is_left_to_do() -> None:
    """Of all lanes, also what was added meanwhile; a target that nothing is done for is forgotten."""
    async with bench() as at:
        await asyncio.wait_for(at.lanes.idle(), 5)
        await at.add(_job(1), _job(2, "b", ACTING))
        idle = asyncio.create_task(at.lanes.idle())
        await at.end("a1")
        await at.add(_job(3, "c"))
        await at.end("b2")
        assert not idle.done()
        assert {task.get_name() for task in at.lanes._workers} == {"runner[c]"}
        await at.end("c3")
        assert idle.done()
        assert (at.lanes._lanes, at.lanes._workers) == ({}, set())


async def test_draining_lets_end_what_is_being_done_and_begins_nothing() -> None:
    """Nobody pauses any more, and what waited is let go of."""
    async with bench(per_target=1, in_hand=4) as at:
        doing, moving = _job(1), _job(2, "b", ACTING)
        await at.add(doing, _job(3), moving, _job(4, "b", ACTING))
        draining = asyncio.create_task(at.lanes.drain(60.0))
        await settle()
        assert (doing.stopped, moving.stopped, draining.done()) == (True, True, False)
        await at.end("a1", "b2")
        await draining
        assert (at.begun, at.ended) == (["a1", "b2"], ["a1", "b2"])
        assert await at.add(*[_job(n, f"t{n}") for n in range(5)]) == [True] * 4 + [False]


async def test_draining_cuts_off_what_takes_too_long() -> None:
    """Each that is late; with nothing to do there is nothing to wait for."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        at = Bench(tasks, Concurrency())
        await at.lanes.drain(60.0)
        await at.add(_job(1), _job(2, "b", ACTING))
        await at.lanes.drain(0.001)
    assert (at.begun, at.ended) == (["a1", "b2"], [])
    assert at.lanes._workers == set()


async def test_what_cannot_be_read_moves_nothing() -> None:
    """It has a lane of its own, shared by all of its kind."""
    job = _job(1, action_class=ACTING)
    job.planned = Unusable(Reason.UNKNOWN_ACTION, "later")
    assert (job.target, job.action_class, job.urgent) == ("unusable", TELLING, False)
