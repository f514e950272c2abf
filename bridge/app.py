"""The wiring: the one module that knows every part.

`running(loaded)` brings the bridge up in the order that keeps the promises, and takes it down in
reverse: what brings outputs back to idle comes up first, before anything that can fail, and needs no
bus; sources come up last, when everything that an event may need is there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.routing import Route

import bridge
from bridge.actions.endpoints import Webhooks
from bridge.actions.http_client import HttpClient
from bridge.actions.mqtt_client import MqttPublisher
from bridge.actions.runner import Runner
from bridge.alerts import Alerts
from bridge.bus import store_format
from bridge.bus.appender import Appender, host_appender
from bridge.bus.bus import Bus
from bridge.bus.command_orders import CommandOrders
from bridge.bus.datadir import Lock
from bridge.bus.effects import write_end
from bridge.bus.host import Host
from bridge.bus.letters import DeadLetterBox
from bridge.bus.server import EmbeddedServer
from bridge.bus.streams import FROM_OUTSIDE
from bridge.checkpointing import Checkpointing
from bridge.clock import Clock, SystemClock
from bridge.config.load import Loaded
from bridge.config.models import BridgeConfig
from bridge.contracts import Connector, Emit, Listens, PushFormat, SourceContext, TwinReader
from bridge.counting import EngineCounts, IntakeCounts, Observers, OrderCounts, SubscriberCounts
from bridge.engine_host import EngineHost
from bridge.errors import ActionError, StartError, StoreError
from bridge.guardian import Guardian
from bridge.http.api import SafetyApi
from bridge.http.app import HttpServer, can_listen
from bridge.http.callers import Callers
from bridge.http.letters import LettersApi
from bridge.http.lists import ListsApi
from bridge.http.repeats import Repeats
from bridge.http.rules import RulesApi
from bridge.http.schema import SchemaPage
from bridge.http.store import StoreApi
from bridge.http.verify import Throttle
from bridge.live.lists import ListDesk
from bridge.live.messages import Messages
from bridge.live.modes import ModeDesk
from bridge.live.projection import Projection
from bridge.live.reload import Reloader
from bridge.media.pool import MediaWorkers
from bridge.media.recorded import ClipMaker
from bridge.media.store import ClipStore, Retention
from bridge.placed import agreed_before, beside, broker_of, instance_of, note_agreed, port_of
from bridge.registry import Registry
from bridge.rulebook import Actions, StoredRuleSets, action_specs, compile_site, schema_of_rules
from bridge.runtime import stuck
from bridge.runtime.gaps import Ledger
from bridge.runtime.health import HealthBook, Level
from bridge.runtime.metrics import Metrics
from bridge.runtime.redact import Redactor
from bridge.runtime.report import SourceReport
from bridge.runtime.supervisor import SourceState, Supervisor
from bridge.runtime.twins import TwinMatcher
from bridge.safety.buttons import Buttons
from bridge.safety.desk import Desk
from bridge.safety.journal import write_synced
from bridge.safety.settings import Waiting
from bridge.safety.site import Safety
from bridge.safety.swaps import Swaps
from bridge.schema.event import own_event
from bridge.schema.kinds import BridgeStarted, Payload, RulesChanged, SettingChanged, SettingsChanged
from bridge.schema.orders import Result
from bridge.services import ServiceTable
from bridge.source_clocks import watch_clocks
from bridge.systems import keeping, watch_systems
from bridge.tap import Tap
from bridge.watching import Probe, StoreWatch, show
from rules.ruleset import RuleSet
from rules.trace import Trace

log = logging.getLogger(__name__)

_NAMED = 500
"""Changed settings that an event names."""


@dataclass(frozen=True, slots=True)
class Registries:
    """What can be configured: source types and actions."""

    connectors: Registry
    actions: Registry


@dataclass(frozen=True, slots=True)
class _Live:
    """What people and programs change while the bridge runs."""

    lists: ListDesk
    modes: ModeDesk


@dataclass
class Running:
    """A bridge that is up."""

    config: BridgeConfig
    bus: Bus
    server: EmbeddedServer | None
    http: HttpServer
    engine: EngineHost
    reloader: Reloader
    runner: Runner
    health: HealthBook
    metrics: Metrics
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def wait(self) -> None:
        """Return never, or raise what ended a part that the bridge cannot live without."""
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise StartError(f"{next(iter(done)).get_name()} has ended", "this is a bug: please report it with the log")

    async def listening(self, source: str, seconds: float = 30) -> None:
        """Return once a source is heard. Raises StartError if it is not within so many seconds."""
        for _ in range(int(seconds * 20)):
            if any(part.name == f"source {source}" and part.level is not Level.DOWN for part in self.health):
                return
            await asyncio.sleep(0.05)
        raise StartError(f"source {source} is not heard", "see the log for why, and whether it runs")


@asynccontextmanager
async def running(loaded: Loaded, registries: Registries, clock: Clock | None = None) -> AsyncIterator[Running]:
    """Bring the bridge up. Raises StartError or ConfigError with the cause and the cure."""
    async with AsyncExitStack() as stack:
        yield await _Start(loaded, registries, clock or SystemClock(), stack).everything()


class _Start:
    """Bringing up, one part after another; the stack takes them down in reverse."""

    actions: Actions

    def __init__(self, loaded: Loaded, registries: Registries, clock: Clock, stack: AsyncExitStack) -> None:
        self.loaded, self.config, self.registries = loaded, loaded.config, registries
        self.clock, self.stack = clock, stack
        self.metrics = Metrics(bridge.__version__)
        self.orders = OrderCounts(self.metrics)
        redactor = Redactor()
        redactor.add_all(loaded.config, *loaded.sources.values())
        self.health = HealthBook(clock, redactor.text)
        self.data_dir = beside(loaded, self.config.data_dir)
        self.tasks: list[asyncio.Task[None]] = []
        self.connectors = self._build_connectors()
        self.services = ServiceTable(self.connectors)

    async def everything(self) -> Running:
        """Start all parts."""
        await self._take_data_dir()
        alerts = await self._alerts()
        safety = await self._releases(alerts)
        rules = await asyncio.to_thread(self._rules)
        await can_listen(self.config.http)  # asked before anything is started that would have to be undone
        await asyncio.to_thread(store_format.claim, self.data_dir, self.config.site)
        instance = await asyncio.to_thread(instance_of, self.data_dir)
        await self._safety(safety)
        server, bus = await self._bus()
        intake = await bus.intake(IntakeCounts(self.metrics))
        appender = await self._subscribers(bus)
        await safety.remember(intake.known.all())
        desk = Desk(self.config.site, safety, self.clock)
        self.stack.push_async_callback(desk.aclose)
        buttons = Buttons(self.config.safety.kill_on, safety.kill, desk)
        swaps = Swaps(self.config.outputs, self.config.doors, desk)
        watchers = (safety.facts, safety.clocks, safety.own_clock, safety.causes, safety.readings, safety.cameras)
        emit = Tap(intake, [buttons.heard, swaps.heard, *(watcher.heard for watcher in watchers)])
        engine, reloader = await self._engine(bus, emit, rules)
        # Nothing but other rules comes before it: what comes first tells the engine the time, and until it knows
        # that the bridge was away it takes that time for one that it was heard through.
        started = BridgeStarted(version=bridge.__version__, instance=instance, sources=tuple(sorted(self._listening())))
        await self._say(emit, "bridge.started", started)
        engine.wake()
        desk.connect(emit, CommandOrders(bus.connection, self.config.site, bus.effects).submit)
        live = self._live(engine, reloader, emit)
        await self._reach(instance, server, emit, buttons, live)
        guardian = Guardian(
            self.config.site, self.config.safety, self.health, safety, alerts.tell,
            lambda: runner.tally.pending, self.clock,
        )  # fmt: skip
        guardian.resume(await bus.lasting(intake.known))
        emit.add(guardian.heard)
        emit.follow(stuck.KINDS, guardian.settled)
        runner = Runner(
            bus.orders, bus.effects, bus.dead, self.actions, self.services, safety.gate, self.clock, instance,
            observer=Observers(self.orders, guardian),
        )  # fmt: skip
        await self._spawn("runner", runner.run())
        matcher = self._matcher(emit)
        http = await self._http(bus, matcher, self._api(bus, desk, safety, reloader, live))
        if safety.settings.waits is not None:
            await self._say(emit, "settings.changed", _settings_changed(safety.settings.waits))
        await self._spawn("clocks", _for_ever(watch_clocks(self.connectors, safety.clocks, self.clock)))
        keep = keeping(self.data_dir, self.clock)
        await self._spawn("systems", _for_ever(watch_systems(self.connectors, keep, self.clock)))
        await self._sources(bus, matcher, safety)
        await self._spawn("guardian", guardian.run(emit))
        await self._spawn("waiting openings", safety.doors.pending.run(partial(_account, bus, instance)))
        await self._spawn("rule files", reloader.run())
        self.metrics.pending(lambda: self.orders.waiting + runner.tally.pending)
        show(self.metrics, engine, runner, safety, bus)
        self.health.register("engine")
        self.health.set("engine", Level.UP)
        self.stack.enter_context(Probe(StoreWatch(self.health, self.metrics, bus, appender, safety.settings).look))
        if self.config.mqtt is not None:
            broker = self.services.get(MqttPublisher)
            self.stack.enter_context(Probe(lambda: broker.available(guardian.able)))
        return Running(self.config, bus, server, http, engine, reloader, runner, self.health, self.metrics, self.tasks)

    # --- the parts, in order ------------------------------------------------------------------------

    def _build_connectors(self) -> dict[str, Connector]:
        built: dict[str, Connector] = {}
        for name, spec in self.loaded.specs.items():
            context = SourceContext(self.config.site, name, self.clock)
            built[name] = spec.build(self.loaded.sources[name], context)
            self.stack.push_async_callback(built[name].aclose)
        return built

    def _listening(self) -> dict[str, Listens]:
        """Return the sources that say by themselves what happens."""
        return {name: source for name, source in self.connectors.items() if isinstance(source, Listens)}

    async def _take_data_dir(self) -> None:
        self.lock = Lock(self.data_dir)
        await asyncio.to_thread(self.lock.take)
        self.stack.callback(self.lock.release)

    async def _alerts(self) -> Alerts:
        """Have somebody to tell, to the very end, what cannot be closed or what came of the last order."""
        http = HttpClient()
        self.stack.push_async_callback(http.aclose)
        webhooks = Webhooks(self.config.webhooks, http, self.clock)
        self.services.add(Webhooks, webhooks)
        alerts = Alerts(self.config.site, self.config.safety.alerts, webhooks, self.clock)
        await self._spawn("alerts", alerts.run())
        return alerts

    async def _releases(self, alerts: Alerts) -> Safety:
        """Bring back to idle what was left away from it, whatever fails after this: a start that fails waits for it."""
        safety = Safety(self.config, self.services, self.data_dir / "safety", self.clock)
        safety.releases.on_left = alerts.tell
        await safety.releases.load()
        await self._spawn("releases", safety.releases.run())
        await asyncio.sleep(0)  # it has begun: what ends it now lets it pay first
        return safety

    def _rules(self) -> RuleSet:
        self.actions = action_specs(self.registries.actions)
        return compile_site(self.loaded, self.actions)

    async def _safety(self, safety: Safety) -> None:
        """Bring up what else protects outputs, without the bus."""
        await safety.load(first=not await asyncio.to_thread(agreed_before, self.data_dir))
        await asyncio.to_thread(note_agreed, self.data_dir)
        self.stack.push_async_callback(safety.aclose)
        await self._spawn("cameras", safety.cameras.run())
        for service in (safety.releases, safety.outputs, safety.doors, safety.cameras, safety.gate):
            self.services.add(type(service), service)

    async def _bus(self) -> tuple[EmbeddedServer | None, Bus]:
        server = None
        if not self.config.bus.servers:
            server = await self.stack.enter_async_context(EmbeddedServer(self.config.bus, self.data_dir, self.lock))
        bus = await self.stack.enter_async_context(
            Bus.open(self.config.site, self.config.bus, server, clock=self.clock)
        )
        return server, bus

    async def _subscribers(self, bus: Bus) -> Appender:
        """Host what reads the bus beside the hot loops; on the way down it ends when the runner has."""
        appender = bus.appender(self.data_dir / "audit")
        host = Host.beside(bus.connection, bus.dead, SubscriberCounts(self.metrics))
        host_appender(host, self.config.site, appender)
        await _appended(appender)
        self.stack.push_async_callback(_appended, appender)
        await self._spawn("anchors", appender.anchoring())
        await self.stack.enter_async_context(host.opened())
        return appender

    async def _engine(self, bus: Bus, emit: Emit, rules: RuleSet) -> tuple[EngineHost, Reloader]:
        stored = StoredRuleSets(bus.contents, self.actions, bus.named_rules)
        await stored.store(rules)
        checkpoints = Checkpointing(bus.checkpoints(), lambda: bus.guard.backlog.first_seq)
        projection = Projection(bus.kv("lists"), bus.kv("modes"), self.clock)
        host = EngineHost(
            self.config.site, bus.event_log(), bus.engine_store, stored, tracing(bus), emit, self.clock,
            EngineCounts(self.metrics, self.orders), checkpoints, projection,
        )  # fmt: skip
        await self._spawn("checkpoints", checkpoints.run())
        task = await self._spawn("engine", host.run())
        await _first(host.started.wait(), task)
        await self._spawn("copies", projection.run(host.state))
        reloader = Reloader(self.loaded, self.actions, stored, emit, self.clock, self.health, rules)
        # What was named last decides soon, even if the engine has not come to it yet.
        named = await bus.newest_own("rules.changed")
        in_force = named.data.ruleset if named and isinstance(named.data, RulesChanged) else host.ruleset
        await reloader.begin(await stored.load(in_force) if in_force else None)
        return host, reloader

    def _live(self, engine: EngineHost, reloader: Reloader, emit: Emit) -> _Live:
        """Let people and programs change lists and the mode."""
        site, clock = self.config.site, self.clock
        lists = ListDesk(site, reloader, engine, emit, clock)
        return _Live(lists, ModeDesk(site, self.config.modes, engine, emit, clock))

    async def _reach(
        self, instance: str, server: EmbeddedServer | None, emit: Emit, buttons: Buttons, live: _Live
    ) -> None:
        """Bring up what actions reach out with."""
        self.services.add(Emit, emit)
        if self.config.mqtt is not None:
            config = broker_of(self.config.mqtt, server)
            publisher = MqttPublisher(config, self.config.site, instance, self.clock)
            if self.config.safety.kill_topic:
                publisher.listen(f"{self.config.site}/kill/set", buttons.message)
            messages = Messages(config.commands, live.lists, live.modes, self.clock)
            messages.listen(publisher.listen, self.config.site)
            self.stack.push_async_callback(messages.aclose)
            self.services.add(MqttPublisher, publisher)
            await self._spawn("mqtt", publisher.run())
        clips = self.config.clips
        folder = beside(self.loaded, clips.dir) if clips.dir else self.data_dir / "clips"
        workers = await self.stack.enter_async_context(MediaWorkers(clips.workers))
        store = ClipStore(folder, workers, self.clock, Retention(clips.keep, clips.max_bytes))
        await self.stack.enter_async_context(store)
        self.services.add(ClipMaker, ClipMaker(workers, store, self.clock))
        await self._spawn("retention", _retain(store, self.clock))

    def _api(self, bus: Bus, desk: Desk, safety: Safety, reloader: Reloader, live: _Live) -> list[Route]:
        self.token = secrets.token_urlsafe(24)
        callers = Callers(self.config.http.api, self.token, Throttle(self.clock), self.clock)

        def letters(who: str) -> DeadLetterBox:
            return DeadLetterBox(bus.connection, self.config.site, who)

        return [
            *SafetyApi(callers, desk, safety).routes(),
            *LettersApi(callers, letters, desk.tell, self.clock).routes(),
            *RulesApi(callers, reloader, desk.tell).routes(),
            *ListsApi(callers, live.lists, live.modes, self.clock).routes(),
            *StoreApi(callers, bus.accept_damage, desk.tell).routes(),
            *SchemaPage(partial(schema_of_rules, self.registries.actions)).routes(),
        ]

    async def _http(self, bus: Bus, emit: Emit, api: Sequence[Route]) -> HttpServer:
        repeats = Repeats(self.data_dir / "safety" / "pushes.jsonl", self.clock, self.config.http.longest_repeats)
        await repeats.load()
        self.stack.push_async_callback(repeats.aclose)
        server = HttpServer(
            port_of(self.loaded, self.config.http),
            site=self.config.site,
            zone=self.config.tzinfo,
            formats=push_formats(self.registries.connectors),
            emit=emit,
            park=parking(bus),
            clock=self.clock,
            observer=self.metrics,
            ready=self.health.snapshot,
            metrics=self.metrics.render,
            more=api,
            repeats=repeats,
        )
        await self.stack.enter_async_context(server)
        access = to_json({"url": server.url, "token": self.token})
        await asyncio.to_thread(write_synced, self.data_dir / "api.json", access)  # for our own command line
        return server

    def _matcher(self, emit: Emit) -> TwinMatcher:
        """Return the way into the log for what comes from outside, which may come by several ways."""
        sources = {f"{self.config.site}/{name}": spec.twins for name, spec in self.loaded.specs.items()}
        pushed = pushed_twins(self.registries.connectors)
        return TwinMatcher(emit, sources, pushed, self.metrics, twin_of=twins_of(self.config))

    async def _sources(self, bus: Bus, matcher: TwinMatcher, safety: Safety) -> None:
        listening = self._listening()
        shown = SourceReport(self.health, self.metrics)

        def report(state: SourceState) -> None:
            # At once, and not by the event of it: that may have to wait for the log, and doors must not.
            safety.clocks.link(state.source, state.up)
            safety.facts.link(state.source, state.up, state.since)
            shown(state)

        kinds = {kind for spec in self.loaded.specs.values() for kind in spec.twins}
        pushing = {client.source or name for name, client in self.config.http.push.items()}
        ledger = Ledger(matcher, bus.cursors(kinds, pushing), self.metrics)
        supervisor = Supervisor(self.config.site, matcher, parking(bus), report, self.clock, ledger)
        if listening:  # none is fine: a bridge may live on pushes alone
            await self._spawn("sources", supervisor.run(listening))

    # --- small things -------------------------------------------------------------------------------

    async def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.append(task)
        self.stack.push_async_callback(_end, task)
        return task

    async def _say(self, emit: Emit, kind: str, data: Payload) -> None:
        await (await emit([own_event(self.config.site, kind, data, self.clock.now())]))


def _settings_changed(waits: Waiting) -> SettingsChanged:
    changes = tuple(SettingChanged(setting=one.setting, was=one.was, now=one.now) for one in waits.changes[:_NAMED])
    outputs = () if waits.everything else tuple(sorted(waits.outputs))
    return SettingsChanged(confirm=waits.confirm, changes=changes, outputs=outputs)


async def _appended(appender: Appender) -> None:
    """Bring the audit trail up to date and anchor it if that can be done now; otherwise it is done later."""
    try:
        await appender.catch_up()
        await appender.anchor()
    except StoreError as error:
        log.warning("the audit trail waits", extra={"error": str(error)})


async def _account(bus: Bus, instance: str, result: Result) -> None:
    """Write down how an opening that waited for people has ended. Raises StoreUnavailableError."""
    await write_end(bus.effects, result, instance)


async def _for_ever(work: Coroutine[Any, Any, None]) -> None:
    """Do work that may have nothing to do, and then wait: its end is no failure."""
    await work
    await asyncio.Event().wait()


async def _retain(store: ClipStore, clock: Clock) -> None:
    """Remove clips that are too old or too many, every ten minutes."""
    while True:
        try:
            await store.retain()
        except ActionError as error:
            log.warning("old clips cannot be removed", extra={"error": str(error)})
        await clock.sleep(600)


def push_formats(connectors: Registry) -> list[PushFormat]:
    """Return every way of pushing that a connector knows."""
    specs = [connectors.get(name) for name in connectors.names]
    return [spec.push for spec in specs if spec.push is not None]


def pushed_twins(connectors: Registry) -> dict[str, TwinReader]:
    """Return, by kind, how pushed events are recognised when they come by another way as well."""
    specs = [connectors.get(name) for name in connectors.names]
    return {kind: reader for spec in specs if spec.push is not None for kind, reader in spec.twins.items()}


def twins_of(config: BridgeConfig) -> dict[str, set[str]]:
    """Return, by `<site>/<source>` of what is pushed, the sources by which the same may come as well."""
    named: dict[str, set[str]] = {}
    for name, client in config.http.push.items():
        others = named.setdefault(f"{config.site}/{client.source or name}", set())
        others |= {f"{config.site}/{other}" for other in client.twin_of}
    return named


def parking(bus: Bus) -> Callable[[str, str | bytes, str, str], Coroutine[Any, Any, None]]:
    """Return how messages that nobody understands are put among the dead letters."""

    async def park(source: str, message: str | bytes, reason: str, error: str) -> None:
        body = message if isinstance(message, bytes) else message.encode(errors="replace")
        await bus.dead.bury(FROM_OUTSIDE, reason, body, {"Source": source, "Error": error})

    return park


def tracing(bus: Bus) -> Callable[[Sequence[Trace]], Coroutine[Any, Any, None]]:
    """Return how traces are stored: it ends when all of them are."""

    async def write(traces: Sequence[Trace]) -> None:
        stored = [await bus.traces.write(t.rule, to_json(t.as_json()), t.id) for t in traces]
        await asyncio.gather(*stored)

    return write


async def _first(wanted: Coroutine[Any, Any, Any], task: asyncio.Task[None]) -> None:
    """Wait for something that a task brings about; raise what ended the task before that."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        task.result()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        log.debug("a part had failed before it was stopped", extra={"part": task.get_name()})
