"""Run the pure engine on the log: read, step, commit, acknowledge; and give it the time.

One owner a partition. What the engine decides is written fenced by the head's revision: orders and
traces, then state and head together; only then is the input acknowledged. If anything goes wrong in
between, what was decided here is dropped and made again, the same, from what is stored: the engine
is a pure function of the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from bridge.clock import Clock
from bridge.contracts import Emit, EngineStore, EventLog, Head, Logged, StateKey, Step
from bridge.crashpoint import crash_point
from bridge.errors import StoreUnavailableError
from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import BridgeTick, ListChanged, RulesChanged
from bridge.schema.orders import Order
from rules.engine import Decision, Engine
from rules.ruleset import RuleSet
from rules.trace import Trace

log = logging.getLogger(__name__)

TRACED_RATE = 64
"""Up to so many events a second every touched rule leaves a trace; under more load only firings do."""
COMMIT_MESSAGES = 900
"""A commit is closed before it grows beyond this; an atomic batch takes 1,000."""
LAZY_HEAD_EVENTS = 1000
"""Events without any decision after which the head is moved all the same, to keep a restart short."""
LAZY_HEAD_BYTES = 512 * 1024
"""The same in bytes. What lies behind the head takes room in the log: where that is small and nothing is decided,
intake would be refused because of it, and with nothing new the head would never move."""
TICK_PAUSE = 0.02
"""Seconds at least between two ticks."""


class RuleSets(Protocol):
    """Where rule sets are kept by content hash."""

    async def load(self, content_hash: str) -> RuleSet:
        """Return a rule set that was stored earlier."""
        ...


class Progress(Protocol):
    """What the host tells metrics."""

    def stepped(self, events: int, orders: Sequence[Order], seconds: float) -> None:
        """A commit was written."""
        ...


class Checkpoints(Protocol):
    """Who may take the engine's state at the place that it has reached."""

    def passed(
        self,
        seq: int,
        stamp: datetime,
        ruleset: str,
        state: Callable[[], Mapping[StateKey, Mapping[str, Any]]],
        *,
        quiet: bool,
    ) -> None:
        """Everything up to an event is decided and written; `state` gives what is remembered then."""
        ...


class Projection(Protocol):
    """Who keeps a copy of some of the engine's state for others to read."""

    def written(self, changed: Mapping[StateKey, Mapping[str, Any] | None]) -> None:
        """A commit has written these values; None was deleted."""
        ...


Traces = Callable[[Sequence[Trace]], Awaitable[None]]
"""Store traces; returns when they are synced. Storing one twice is harmless."""


class EngineHost:
    """The one that runs partition 0."""

    def __init__(
        self,
        site: str,
        log_: EventLog,
        store: EngineStore,
        rulesets: RuleSets,
        traces: Traces,
        emit: Emit,
        clock: Clock,
        progress: Progress,
        checkpoints: Checkpoints | None = None,
        projection: Projection | None = None,
    ) -> None:
        self._checkpoints, self._projection = checkpoints, projection
        self._expected: dict[str, asyncio.Future[None]] = {}
        self._came: list[str] = []
        self._site, self._log, self._store, self._rulesets = site, log_, store, rulesets
        self._traces, self._emit, self._clock, self._progress = traces, emit, clock, progress
        self._engine: Engine | None = None
        self._moved, self._awake = asyncio.Event(), asyncio.Event()
        self._written = self._unwritten = 0
        """Up to where the head is written, and bytes that were evaluated since."""
        self._second, self._now, self._before = 0.0, 0, 0
        """When the present second began, and how many events came in it and in the one before."""
        self._ahead = timedelta(0)
        """What our clock was ahead of the log's when the last event came; a jump of either is seen at the next one."""
        self.position = 0
        """Sequence of the last event that was evaluated."""
        self.ruleset = ""
        """Hash of the rules in force."""
        self.started = asyncio.Event()
        """Set once the head is ours and reading has begun."""

    def state(self) -> Mapping[StateKey, Mapping[str, Any]]:
        """Return all that is remembered now; nothing before the head is ours."""
        return self._engine.state() if self._engine is not None else {}

    def value(self, key: StateKey) -> Mapping[str, Any] | None:
        """Return one value of what is remembered now."""
        return self._engine.value(key) if self._engine is not None else None

    @property
    def changed_lists(self) -> Mapping[str, int]:
        """How many values were changed at run time, by list."""
        return self._engine.changed_lists if self._engine is not None else {}

    def wake(self) -> None:
        """Give the engine the time from here on: the log says by now that the bridge has started.

        A time in the log before that would tell the rules that somebody had listened up to it.
        """
        self._awake.set()

    def expect(self, event: str) -> asyncio.Future[None]:
        """Return what is done once the event of this id, which is about to be logged, has been decided about."""
        future = self._expected[event] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: self._expected.pop(event, None))
        return future

    async def run(self) -> None:
        """Own the partition until cancelled. Raises StaleOwnerError when somebody else has taken it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick(), name="engine[tick]")
            while True:
                try:
                    await self._own()
                except StoreUnavailableError as error:
                    log.warning("the engine cannot write and starts over", extra={"error": str(error)})
                    await self._clock.sleep(error.retry_after.total_seconds())

    async def _own(self) -> None:
        found, state = await self._store.load()
        old = found or Head(seq=0, epoch=0, ruleset="")
        # Writing the head at once, with a new epoch, is what shuts an earlier owner out.
        head = await self._store.commit(Step(head=replace(old, epoch=old.epoch + 1)))
        crash_point("engine.owned")
        rules = await self._rulesets.load(head.ruleset) if head.ruleset else RuleSet.empty()
        self.ruleset = head.ruleset
        engine = self._engine = Engine(rules, state)
        self.position, self._written, self._unwritten = head.seq, head.seq, 0
        self.started.set()
        self._moved.set()
        async for batch in self._log.read(head.seq):
            crash_point("engine.read")
            head = await self._evaluate(engine, head, batch)
            if self._checkpoints is not None:
                here, quiet = batch[-1], max(self._now, self._before) <= TRACED_RATE
                self._checkpoints.passed(here.seq, here.stamp, self.ruleset, engine.state, quiet=quiet)

    async def _evaluate(self, engine: Engine, head: Head, batch: Sequence[Logged]) -> Head:
        pending = _Pending(head)
        pending.must = batch[0].seq <= head.seq  # the log was lost under way: its numbers come again
        trace = self._quiet(len(batch))
        for logged in batch:
            if pending.size and pending.size + _weight(logged.event) >= COMMIT_MESSAGES:
                pending = _Pending(await self._commit(pending))
            await self._step(engine, pending, logged, trace)
            if pending.size >= COMMIT_MESSAGES:
                pending = _Pending(await self._commit(pending))
        self._unwritten += sum(logged.size for logged in batch)
        far = pending.head.seq - self._written >= LAZY_HEAD_EVENTS or self._unwritten >= LAZY_HEAD_BYTES
        if pending.size or far:
            return await self._commit(pending)
        # Nothing was decided: these events would decide nothing again, so the head may lag behind.
        if pending.traces:
            await self._traces(pending.traces)
            crash_point("engine.undecided")
        self._advance(pending.head.seq)
        return pending.head

    def _quiet(self, events: int) -> bool:
        """Tell whether there is time for every trace. A batch says little: load may come in small ones."""
        now = self._clock.monotonic()
        if now >= self._second + 1.0:
            self._before = self._now if now < self._second + 2.0 else 0
            self._second, self._now = now, 0
        self._now += events
        return max(self._now, self._before) <= TRACED_RATE

    async def _step(self, engine: Engine, pending: _Pending, logged: Logged, trace: bool) -> None:
        event = logged.event
        if event.type == "rules.changed" and isinstance(event.data, RulesChanged):
            rules = await self._rulesets.load(event.data.ruleset)
            crash_point("engine.adopted")
            pending.add(engine.replace_rules(rules, logged))
            pending.head = replace(pending.head, ruleset=event.data.ruleset)
            pending.must = True
            self.ruleset = event.data.ruleset
            log.info("rules changed", extra={"rules": event.data.rules, "ruleset": self.ruleset[:12]})
        refused = engine.refused
        pending.add(engine.step(logged, trace=trace))
        if engine.refused > refused:
            log.error(
                "too many values of lists are changed already; some were left out", extra={"event": logged.event.id}
            )
        if logged.event.id in self._expected:
            self._came.append(logged.event.id)
        self._ahead = event.received - logged.stamp
        pending.head = replace(pending.head, seq=logged.seq)
        pending.events += 1

    async def _commit(self, pending: _Pending) -> Head:
        began = self._clock.monotonic()
        crash_point("engine.stepped")
        # Traces are stored before the head moves: one may then be there for a decision that is made again, the
        # same, after a crash; the other way round a firing could be left without its trace.
        head = await self._store.commit(
            Step(pending.head, pending.changed, pending.orders), self._write_traces(pending.traces)
        )
        crash_point("engine.committed")
        self._written, self._unwritten = head.seq, 0
        if self._projection is not None and pending.changed:
            self._projection.written(pending.changed)
        self._advance(head.seq)
        self._progress.stepped(pending.events, pending.orders, self._clock.monotonic() - began)
        await self._log.done(head.seq)
        crash_point("engine.acked")
        return head

    async def _write_traces(self, traces: Sequence[Trace]) -> None:
        if traces:
            await self._traces(traces)
        crash_point("engine.traced")

    def _advance(self, seq: int) -> None:
        self.position = max(self.position, seq)
        self._moved.set()
        came, self._came = self._came, []
        for event in came:
            if (future := self._expected.get(event)) is not None and not future.done():
                future.set_result(None)

    # --- time -------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """When a timer is due and nothing else comes along, put the time itself into the log."""
        await self._awake.wait()
        while True:
            self._moved.clear()
            due = self._engine.next_due if self._engine else None
            if due is None:
                await self._moved.wait()
                continue
            left = due - (self._clock.now() - self._ahead)
            if await self._moves_within(max(0.0, left.total_seconds())):
                continue
            await self._publish_tick(due)
            await self._moves_within(1.0)
            await self._clock.sleep(TICK_PAUSE)

    async def _moves_within(self, seconds: float) -> bool:
        """Wait for the engine to get on, at most so long."""
        # `asyncio.wait_for` of 3.11 may swallow that we are cancelled, and the bridge would not stop.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
            return True
        return False

    async def _publish_tick(self, due: datetime) -> None:
        now = self._clock.now()
        name = stable_id("bridge.tick", self._site, due.isoformat(), now.isoformat())
        event = own_event(self._site, "bridge.tick", BridgeTick(due=due), now, id=name, origin=Origin.TIMER)
        try:
            await (await self._emit([event]))
            crash_point("engine.ticked")
        except StoreUnavailableError as error:
            log.warning("the time cannot be written down", extra={"error": str(error)})
            await self._clock.sleep(error.retry_after.total_seconds())


def _weight(event: VmsEvent) -> int:
    """Return how many values an event may change that changes many at once."""
    data = event.data
    return len(data.added) + len(data.removed) + len(data.reset) if isinstance(data, ListChanged) else 1


class _Pending:
    """What was decided since the last commit."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.changed: dict[StateKey, dict[str, Any] | None] = {}
        self.orders: list[Order] = []
        self.traces: list[Trace] = []
        self.events = 0
        self.must = False

    def add(self, decided: Decision) -> None:
        self.changed.update(decided.changed)
        self.orders.extend(decided.orders)
        self.traces.extend(decided.traces)

    @property
    def size(self) -> int:
        return len(self.changed) + len(self.orders) + self.must
