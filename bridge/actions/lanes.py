"""Who waits for whom: one lane for each target, so that a slow receiver holds up nobody but itself.

What moves something runs one after another in its lane, in the order it came; a release overtakes
the retries of what it undoes. The rest runs a few at once for each target and bounded in all.
Knows nothing of ledgers or devices.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from bridge.actions.plan import Plan, Unusable
from bridge.clock import Clock
from bridge.contracts import PendingOrder
from bridge.schema.orders import ActionClass, Order

URGENT = frozenset({ActionClass.ACTUATING, ActionClass.RELEASING, ActionClass.TRANSIENT})
"""Classes that are done strictly one after another for each target, and never queue behind the others."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How much is done at once. What moves something is outside all three."""

    running: int = 64
    """Orders being tried at the same time."""
    per_target: int = 8
    """Of these, for one target."""
    in_hand: int = 384
    """Orders tried or waiting for their turn; more go back to the queue for a moment.

    Must be less than what the queue gives out at once (512), or nothing urgent could come through.
    """

    @property
    def waiting(self) -> int:
        """How many may wait for one target, so that no single one takes all the room."""
        return max(self.in_hand // 4, 1)


@dataclass(slots=True, eq=False)
class Job:
    """An order on its way through a lane."""

    pending: PendingOrder
    planned: Plan | Unusable
    known: bool
    """Whether this process had it in hand before."""
    superseded: bool = False
    stopped: bool = False
    """The bridge stops: no more waiting for the next try."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def order(self) -> Order:
        """What to do."""
        return self.pending.order

    @property
    def target(self) -> str:
        """What it is for."""
        return self.planned.target if isinstance(self.planned, Plan) else "unusable"

    @property
    def action_class(self) -> ActionClass:
        """How it may fail; an order that cannot be read moves nothing."""
        return self.planned.action_class if isinstance(self.planned, Plan) else ActionClass.INFORMATION

    @property
    def urgent(self) -> bool:
        """Whether it moves something."""
        return self.action_class in URGENT

    def supersede(self) -> None:
        """A later order takes back what this one would do; it must not be tried again."""
        self.superseded = True
        self._woken.set()

    def stop(self) -> None:
        """Do not wait for the next try any more; it is made after the next start."""
        self.stopped = True
        self._woken.set()

    async def pause(self, delay: timedelta, clock: Clock) -> None:
        """Wait for the next try, or until superseded or stopped."""
        sleeping = asyncio.ensure_future(clock.sleep(delay.total_seconds()))
        waking = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()


@dataclass(slots=True, eq=False)
class _Lane:
    waiting: deque[Job] = field(default_factory=deque)
    doing: list[Job] = field(default_factory=list)
    workers: int = 0


class Lanes:
    """The lanes of one runner. `work` does one job and does not raise."""

    def __init__(self, tasks: asyncio.TaskGroup, work: Callable[[Job], Awaitable[None]], limits: Concurrency) -> None:
        self._tasks = tasks
        self._work = work
        self._limits = limits
        self._lanes: dict[tuple[bool, str], _Lane] = {}
        self._slots = asyncio.Semaphore(limits.running)
        self._workers: set[asyncio.Task[None]] = set()
        self._patient = 0

    def add(self, job: Job) -> bool:
        """Take a job over; False when there is no room for one more that can wait."""
        key = (job.urgent, job.target)
        lane = self._lanes.get(key) or _Lane()
        if not job.urgent:
            if self._patient >= self._limits.in_hand or len(lane.waiting) >= self._limits.waiting:
                return False
            self._patient += 1
        self._lanes[key] = lane
        if job.action_class is ActionClass.RELEASING:
            for earlier in (*lane.doing, *lane.waiting):
                if earlier.action_class is not ActionClass.RELEASING:
                    earlier.supersede()
        lane.waiting.append(job)
        if lane.workers < (1 if job.urgent else self._limits.per_target):
            lane.workers += 1
            worker = self._tasks.create_task(self._serve(key, lane), name=f"runner[{job.target}]")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return True

    async def idle(self) -> None:
        """Wait until nothing is left to do."""
        while self._workers:
            await asyncio.wait(self._workers)

    async def drain(self, grace: float) -> None:
        """Give what is being done `grace` seconds, start nothing new, and cut off the rest."""
        for lane in self._lanes.values():
            for job in lane.doing:
                job.stop()
            while lane.waiting:
                self._let_go(lane.waiting.pop())
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=grace)
            for worker in late:
                worker.cancel()

    async def _serve(self, key: tuple[bool, str], lane: _Lane) -> None:
        try:
            while lane.waiting:
                job = lane.waiting.popleft()
                lane.doing.append(job)
                try:
                    await self._do(job)
                finally:
                    lane.doing.remove(job)
                    self._let_go(job)
        finally:
            lane.workers -= 1
            if not lane.workers:
                del self._lanes[key]

    async def _do(self, job: Job) -> None:
        if job.urgent:
            await self._work(job)
        else:
            async with self._slots:
                await self._work(job)

    def _let_go(self, job: Job) -> None:
        if not job.urgent:
            self._patient -= 1
