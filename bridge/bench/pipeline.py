"""`bench pipeline`: how many events a second get from the socket to a stored order, durably.

The parts are the product's: connector, intake, log, engine, engine store. Only the runner is left
out: what orders do depends on devices. Each round measures the floor and us, one after the other,
so that both see the same machine.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bridge.app import Registries, parking, tracing
from bridge.bench.device import expected
from bridge.bench.floor import Flood, bare_server
from bridge.bench.remote import Remote, cpu_seconds, device
from bridge.bench.report import Figure, Goal, Say
from bridge.bench.site import SOURCE, Sync, many_rules, site
from bridge.bus.bus import Bus
from bridge.bus.pull import scan
from bridge.bus.server import EmbeddedServer
from bridge.clock import SystemClock
from bridge.config.load import Loaded
from bridge.contracts import Listens, SourceContext
from bridge.counting import EngineCounts, IntakeCounts, OrderCounts
from bridge.engine_host import EngineHost
from bridge.errors import StartError
from bridge.rulebook import StoredRuleSets, action_specs, compile_site
from bridge.runtime.collector import settle
from bridge.runtime.metrics import Metrics
from bridge.runtime.supervisor import SourceState, Supervisor
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import RulesChanged
from bridge.schema.subjects import Subjects
from rules.ruleset import RuleSet

GOALS: Mapping[Sync, Goal] = {"always": Goal(15_000, "value", "more"), "interval": Goal(20_000, "value", "more")}
_EVERY = 20
"""One event in so many has a rule: 5 %."""
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    events: int
    seconds: float
    own: float
    """CPU seconds of this process."""
    server: float
    """CPU seconds of nats-server."""
    sender: float
    """CPU seconds of the device."""
    size: float
    """Bytes of an event in the log."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


async def measure(registries: Registries, folder: Path, say: Say, *, count: int, rounds: int) -> list[Figure]:
    """Measure both ways of syncing. Raises StartError."""
    async with device() as remote:
        loaded = {sync: site(folder / sync, registries.connectors, remote.url, many_rules(), sync) for sync in GOALS}
        rules = compile_site(loaded["always"], action_specs(registries.actions))
        figures: list[Figure] = []
        for sync, each in loaded.items():
            ours, bare = [], []
            for number in range(rounds):
                bare.append(await _bare(each, remote, count))
                ours.append(await _ours(each, registries, rules, remote, count))
                say(f"sync {sync}, round {number + 1}: {ours[-1].rate:,.0f} events/s, floor {bare[-1].rate:,.0f}")
            figures += _figures(sync, ours, bare)
        return figures


def _figures(sync: Sync, ours: Sequence[Run], bare: Sequence[Run]) -> list[Figure]:
    """Return the medians of all rounds."""

    def both(what: str, unit: str, ours_: Sequence[float], bare_: Sequence[float], goal: Goal | None = None) -> Figure:
        return Figure(f"{what}, sync {sync}", statistics.median(ours_), unit, statistics.median(bare_), goal)

    return [
        both("socket to order", "events/s", [run.rate for run in ours], [run.rate for run in bare], GOALS[sync]),
        *(
            both(f"CPU of {name}", "us/event", [_each(run, name) for run in ours], [_each(run, name) for run in bare])
            for name in ("bridge", "nats-server", "sender")
        ),
        both("an event in the log", "bytes", [run.size for run in ours], [run.size for run in bare]),
    ]


def _each(run: Run, name: str) -> float:
    seconds = {"bridge": run.own, "nats-server": run.server, "sender": run.sender}[name]
    return seconds / run.events * 1e6


class _Meter:
    """CPU and time from its beginning to `read`."""

    def __init__(self, server: EmbeddedServer, sender: int) -> None:
        settle()  # as `run` does when all parts are up
        self._pids = (server.pid or 0, sender)
        self._cpu = [cpu_seconds(pid) or 0.0 for pid in self._pids]
        self._own, self._began = time.process_time(), time.perf_counter()

    def read(self, events: int, size: float) -> Run:
        seconds, own = time.perf_counter() - self._began, time.process_time() - self._own
        server, sender = ((cpu_seconds(pid) or 0.0) - before for pid, before in zip(self._pids, self._cpu, strict=True))
        return Run(events, seconds, own, server, sender, size)


async def _bare(loaded: Loaded, remote: Remote, count: int) -> Run:
    with tempfile.TemporaryDirectory(dir=loaded.folder) as folder:
        async with bare_server(loaded.config.bus, Path(folder)) as (server, client):
            flood = Flood(client)
            meter: list[_Meter] = []

            async def begin() -> None:
                meter.append(_Meter(server, remote.pid))
                await remote.flood(count, _EVERY)

            async with asyncio.timeout(_PATIENCE):
                await flood.run(remote.url, begin, count)
            run = meter[0].read(count, 0)
            state = (await client.jetstream().stream_info("BARE")).state
            _check(flood.orders, count)
            return Run(count, run.seconds, run.own, run.server, run.sender, state.bytes / count)


async def _ours(loaded: Loaded, registries: Registries, rules: RuleSet, remote: Remote, count: int) -> Run:
    with tempfile.TemporaryDirectory(dir=loaded.folder) as folder:
        async with _parts(loaded, registries, rules, Path(folder)) as (server, bus, host):
            name = bus.stream("EVENTS")
            before = (await bus.connection.api(f"STREAM.INFO.{name}"))["state"]
            meter = _Meter(server, remote.pid)
            await remote.flood(count, _EVERY)
            async with asyncio.timeout(_PATIENCE):
                # The last event has a rule, so its place is reached only when its order is stored.
                while host.position < before["last_seq"] + count:  # noqa: ASYNC110 - no part tells the other
                    await asyncio.sleep(0.002)
            run = meter.read(count, 0)
            state = (await bus.connection.api(f"STREAM.INFO.{name}"))["state"]
            _check(await _orders(bus), count)
            size = (state["bytes"] - before["bytes"]) / count
            return Run(count, run.seconds, run.own, run.server, run.sender, size)


def _check(orders: int, count: int) -> None:
    if orders != expected(count, _EVERY):
        raise StartError(
            f"{orders} orders from {count} events instead of {expected(count, _EVERY)}",
            "this is a bug: please report it",
        )


async def _orders(bus: Bus) -> int:
    subject = f"{Subjects(bus.site).root}.order.>"
    batches = scan(bus.connection, bus.stream("ENGINE"), [subject], headers_only=True)
    return sum([len(batch) async for batch in batches])


@asynccontextmanager
async def _parts(
    loaded: Loaded, registries: Registries, rules: RuleSet, folder: Path
) -> AsyncIterator[tuple[EmbeddedServer, Bus, EngineHost]]:
    """Bring up what lies between the socket and the order, as the application does."""
    clock, metrics, config = SystemClock(), Metrics("bench"), loaded.config
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(config.bus, folder))
        bus = await stack.enter_async_context(Bus.open(config.site, config.bus, server, clock=clock))
        emit = await bus.intake(IntakeCounts(metrics))
        stored = StoredRuleSets(bus.contents, action_specs(registries.actions))
        await stored.store(rules)
        counts = EngineCounts(metrics, OrderCounts(metrics))
        host = EngineHost(config.site, bus.event_log(), bus.engine_store, stored, tracing(bus), emit, clock, counts)
        group = await stack.enter_async_context(_tasks())
        group.append(asyncio.create_task(host.run()))
        await host.started.wait()
        host.wake()
        await (await emit([_rules_changed(config.site, rules, clock)]))
        connector = loaded.specs[SOURCE].build(loaded.sources[SOURCE], SourceContext(config.site, SOURCE, clock))
        stack.push_async_callback(connector.aclose)
        if not isinstance(connector, Listens):
            raise StartError("the source does not listen", "this is a bug: please report it")
        heard = asyncio.Event()

        def changed(state: SourceState) -> None:
            if state.up:
                heard.set()

        supervisor = Supervisor(config.site, emit, parking(bus), changed, clock)
        group.append(asyncio.create_task(supervisor.run({SOURCE: connector})))
        async with asyncio.timeout(30):
            await heard.wait()
            while host.ruleset != rules.hash or not await _quiet(bus, host):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield server, bus, host


async def _quiet(bus: Bus, host: EngineHost) -> bool:
    """Tell whether the engine has seen all there is: what the start itself wrote is not part of the measure."""
    info = await bus.connection.api(f"STREAM.INFO.{bus.stream('EVENTS')}")
    return bus.health().pending == 0 and host.position == int(info["state"]["last_seq"])


@asynccontextmanager
async def _tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _rules_changed(site_: str, rules: RuleSet, clock: SystemClock) -> VmsEvent:
    now = clock.now() - timedelta(seconds=1)
    return VmsEvent(
        id=rules.hash[:32],
        type="rules.changed",
        source=f"{site_}/bridge",
        time=now,
        timequality="device",
        received=now,
        origin=Origin.BRIDGE,
        via="bench",
        data=RulesChanged(ruleset=rules.hash, rules=len(rules.rules), previous=None),
    )
