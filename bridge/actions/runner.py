"""Take orders, give each to its lane, and keep the queue informed while they are being carried out.

What happens to one order is the effect path's business (`path.py`), who waits for whom the lanes'.
docs/design/orders.md tells the life of an order.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Any

from bridge.actions.lanes import Concurrency, Job, Lanes
from bridge.actions.path import EffectPath
from bridge.actions.plan import plan
from bridge.actions.tally import Observer, Tally
from bridge.clock import Clock
from bridge.contracts import ActionSpec, DeadLetters, EffectLedger, OrderQueue, PendingOrder, Services
from bridge.errors import StoreError, StoreUnavailableError
from bridge.safety.gate import Gate

_LOG = logging.getLogger(__name__)

IN_PLACE = timedelta(seconds=10)
"""A retry of something urgent that is due within this keeps its place in the lane; others go back to the queue."""
HEARTBEAT = 2.0
"""Seconds between telling the queue that we are still at it; it waits for three of them."""
STOP_GRACE = 5.0
"""Seconds that tries may take to finish when the bridge stops."""
_SOON = timedelta(seconds=1)
_NO_ROOM = (0.5, 1.5)
"""Seconds, from and to, after which an order comes again that found no room,"""
_TURNED_AWAY = 500
"""and so many times longer for each so many that found none. What comes again comes before what is new: if all that
wait for one receiver came again every second, they would be all that comes."""
_AFTER_A_BUG = timedelta(seconds=30)


class Runner:
    """One of possibly several that compete for orders.

    `executor` names it in the ledger. A name that outlives the process, of which there is only one
    at a time, lets it settle at once what it left unfinished; another one's it waits out.
    """

    def __init__(
        self,
        queue: OrderQueue,
        ledger: EffectLedger,
        dead: DeadLetters,
        actions: Mapping[str, ActionSpec[Any]],
        services: Services,
        gate: Gate,
        clock: Clock,
        executor: str,
        concurrency: Concurrency = Concurrency(),  # noqa: B008 - frozen
        observer: Observer | None = None,
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._actions = actions
        self._clock = clock
        self._concurrency = concurrency
        self._in_hand: dict[str, PendingOrder] = {}
        self._outside: set[str] = set()
        """Orders that found no room."""
        self.tally = Tally(observer)
        self._path = EffectPath(ledger, dead, services, gate, clock, executor, self.tally)

    async def run(self) -> None:
        """Take and carry out orders until cancelled or until the queue ends.

        When cancelled, what is being tried gets `STOP_GRACE` to finish; the rest stays claimed and
        is settled by its class at the next start.
        """
        await self._adopt()
        async with asyncio.TaskGroup() as tasks:
            beat = tasks.create_task(self._heartbeat(), name="runner[heartbeat]")
            lanes = Lanes(tasks, self._carry_out, self._concurrency)
            orders = self._queue.take()
            try:
                async for pending in orders:
                    await self._admit(lanes, pending)
                await lanes.idle()
            finally:
                await lanes.drain(STOP_GRACE)
                beat.cancel()
                self._in_hand.clear()
                if isinstance(orders, AsyncGenerator):
                    await orders.aclose()

    async def _adopt(self) -> None:
        """Count what an earlier run has left, however long the ledger is away."""
        while True:
            try:
                async for order in self._ledger.unfinished():
                    self.tally.adopt(order)
            except StoreUnavailableError as exc:
                _LOG.warning("what is left to do cannot be read yet", extra={"error": str(exc)})
                await self._clock.sleep(max(exc.retry_after, _SOON).total_seconds())
            else:
                return

    # --- in and out of hand --------------------------------------------------------------------

    async def _admit(self, lanes: Lanes, pending: PendingOrder) -> None:
        order = pending.order
        if order.id in self._in_hand:
            await self._postpone(pending, timedelta(seconds=HEARTBEAT))
            return
        known = self.tally.taken(order)
        job = Job(pending, plan(order, self._actions), known)
        self._in_hand[order.id] = pending
        if lanes.add(job):
            self._outside.discard(order.id)
            return
        del self._in_hand[order.id]
        self._outside.add(order.id)
        longer = max(1.0, len(self._outside) / _TURNED_AWAY)
        await self._postpone(pending, timedelta(seconds=random.uniform(*_NO_ROOM) * longer))

    async def _carry_out(self, job: Job) -> None:
        """Walk the path until the order has ended or goes back to the queue."""
        try:
            while (wait := await self._walk(job)) is not None:
                if job.urgent and wait <= IN_PLACE:
                    await job.pause(wait, self._clock)
                if not job.urgent or wait > IN_PLACE or job.stopped:
                    await self._postpone(job.pending, wait)
                    return
        finally:
            self._in_hand.pop(job.order.id, None)

    async def _walk(self, job: Job) -> timedelta | None:
        try:
            return await self._path.walk(job)
        except StoreUnavailableError as exc:
            return max(exc.retry_after, _SOON)
        except StoreError:
            return _SOON
        except Exception:  # noqa: BLE001 - the edge of a supervised task: one broken order must not stop the others
            _LOG.exception("carrying out an order failed", extra={"order": job.order.id, "action": job.order.action})
            return _AFTER_A_BUG

    async def _postpone(self, pending: PendingOrder, delay: timedelta) -> None:
        try:
            await pending.later(delay)
        except StoreError:
            _LOG.warning("an order could not be put back and comes again by itself", extra={"order": pending.order.id})

    async def _heartbeat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT)
            for pending in list(self._in_hand.values()):
                try:
                    await pending.working()
                except StoreError as exc:
                    _LOG.warning("the queue does not hear that we are at work", extra={"error": str(exc)})
                    break
