"""A site whose engine runs on a real bus, makes checkpoints and keeps traces; for looking back at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.app import tracing
from bridge.bus.bus import Bus
from bridge.checkpointing import Checkpointing
from bridge.clock import SystemClock
from bridge.contracts import Emit, Logged
from bridge.engine_host import EngineHost
from bridge.past.explain import Explainer
from bridge.past.log import PastLog
from bridge.rulebook import StoredRuleSets
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import RulesChanged
from bridge.schema.orders import Order
from rules.ruleset import RuleSet, SiteSettings
from rules.trace import Trace
from tests.bridge.bus.helpers import event, running_bus, until
from tests.rules.support import ACTIONS, rules_of

HOME = SiteSettings(name="home")


class World:
    """A bus with an engine on it, as the application puts them together."""

    def __init__(self, bus: Bus, emit: Emit) -> None:
        self.bus, self.emit = bus, emit
        self.rulesets = StoredRuleSets(bus.contents, ACTIONS)
        self.traces: list[Trace] = []
        self.orders: list[Order] = []
        self.ruleset: str | None = None

    @asynccontextmanager
    async def running(self, *, checkpoints: bool = True) -> AsyncIterator[EngineHost]:
        """Run the engine, with checkpoints or without."""
        clock = SystemClock()
        write = tracing(self.bus)

        async def keep(traces: Sequence[Trace]) -> None:
            self.traces.extend(traces)
            await write(traces)

        writing = Checkpointing(self.bus.checkpoints(), lambda: 1)
        host = EngineHost(
            "home", self.bus.event_log(), self.bus.engine_store, self.rulesets, keep, self.emit, clock, self,
            writing if checkpoints else None,
        )  # fmt: skip
        tasks = [asyncio.create_task(host.run()), asyncio.create_task(writing.run())]
        await asyncio.wait_for(host.started.wait(), 5)
        host.wake()
        yield host
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def stepped(self, events: int, orders: Sequence[Order], seconds: float) -> None:
        self.orders.extend(orders)

    async def use(self, text: str) -> RuleSet:
        """Have other rules decide from here on."""
        rules = rules_of(text, site=HOME)
        await self.rulesets.store(rules)
        data = RulesChanged(ruleset=rules.hash, rules=len(rules.rules), previous=self.ruleset)
        self.ruleset = rules.hash
        await self.put(event(f"rules-{rules.hash[:8]}", "rules.changed", data=data))
        return rules

    async def put(self, *events: VmsEvent) -> None:
        """Log events."""
        await (await self.emit(list(events)))

    async def checkpoint(self, host: EngineHost, seq: int) -> None:
        """Write a checkpoint of what the engine knows after a place."""
        await until(lambda: host.position >= seq)
        engine = host._engine
        assert engine is not None
        assert host.position == seq
        stamp = await PastLog(self.bus.connection, "home").stamp(seq)
        assert stamp is not None
        await self.bus.checkpoints().write(seq, stamp, host.ruleset, engine.state())

    async def logged(self, seq: int) -> Logged:
        """Return the event at a place."""
        found = await self.log.at(seq)
        assert found is not None
        return found

    @property
    def log(self) -> PastLog:
        """The log, for reading."""
        return PastLog(self.bus.connection, "home")

    @property
    def explainer(self) -> Explainer:
        """One that looks back at it."""
        return Explainer(self.bus.connection, "home", ACTIONS)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A site with an empty log."""
    async with running_bus(folder) as bus:
        yield World(bus, await bus.intake())
