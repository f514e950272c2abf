"""What the action and safety tests share: the durable parts in memory, a device, and orders to try.

The memory survives a crash of what runs on it, as the disk and the broker do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import JsonValue

from bridge.actions import open as open_action
from bridge.actions import ptz, relay
from bridge.actions.runner import Runner
from bridge.clock import Clock
from bridge.config.models import BridgeConfig, DoorConfig, OutputConfig, SafetyConfig
from bridge.config.safety import BreakerConfig
from bridge.contracts import ActionContext, ActionParams, ActionSpec, Claimed, PtzPreset, Relay
from bridge.errors import ActionRejectedError, ActionUnknownError, StaleOwnerError, StoreUnavailableError
from bridge.safety.breaker import Breaker
from bridge.safety.clocks import SourceClocks
from bridge.safety.facts import Facts
from bridge.safety.gate import Gate, class_of
from bridge.safety.killswitch import KillSwitch
from bridge.safety.ownclock import OwnClock
from bridge.safety.site import Safety
from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import PlateRead, StateChanged
from bridge.schema.orders import ActionClass, Effect, Order, Result
from tests.clock import VirtualClock, settle

T = TypeVar("T")


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that threads or sockets bring about; at most 5 real seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what changes is not ours to signal
            await asyncio.sleep(0.001)


async def inline(function: Callable[..., T], *arguments: Any) -> T:
    """Stand in for `asyncio.to_thread`: the disk takes no time, and steps are the same in every run."""
    await asyncio.sleep(0)
    return function(*arguments)


async def rest() -> None:
    """Let everything happen that takes no time, however many steps it has."""
    for _ in range(5):
        await settle()


class Crash(BaseException):
    """The process died here."""


@dataclass
class Power:
    """Whether the process lives. A dead one reaches nothing any more."""

    on: bool = True

    def check(self) -> None:
        if not self.on:
            raise Crash


@dataclass
class Disk:
    """What survives a crash: records, dead letters, the queue."""

    effects: dict[str, Claimed] = field(default_factory=dict)
    buried: list[tuple[str, str, bytes, Mapping[str, str]]] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    acked: set[str] = field(default_factory=set)
    history: list[Effect] = field(default_factory=list)
    unavailable: bool = False

    @property
    def results(self) -> dict[str, Result]:
        """How orders have ended; the audit trail is made of this."""
        return {order: claimed.effect.result for order, claimed in self.effects.items() if claimed.effect.result}


class MemoryLedger:
    """An EffectLedger over a Disk."""

    def __init__(self, disk: Disk, power: Power) -> None:
        self._disk, self._power = disk, power

    def _reach(self) -> None:
        self._power.check()
        if self._disk.unavailable:
            raise StoreUnavailableError("the store is away")

    async def claim(self, effect: Effect) -> Claimed | None:
        await asyncio.sleep(0)
        self._reach()
        if effect.order in self._disk.effects:
            return None
        return self._put(effect, 1)

    async def find(self, order: str) -> Claimed | None:
        await asyncio.sleep(0)
        self._reach()
        return self._disk.effects.get(order)

    async def update(self, claimed: Claimed, effect: Effect) -> Claimed:
        await asyncio.sleep(0)
        self._reach()
        if self._disk.effects[effect.order].revision != claimed.revision:
            raise StaleOwnerError("changed meanwhile")
        return self._put(effect, claimed.revision + 1)

    def _put(self, effect: Effect, revision: int) -> Claimed:
        earlier = self._disk.effects.get(effect.order)
        assert earlier is None or earlier.effect.status != "ended", "what has ended was changed"
        stored = Claimed(Effect.decode(effect.encode()), revision)
        self._disk.effects[effect.order] = stored
        self._disk.history.append(stored.effect)
        return stored

    async def unfinished(self) -> AsyncIterator[str]:
        self._reach()
        for order, claimed in list(self._disk.effects.items()):
            if claimed.effect.status != "ended":
                yield order


class MemoryDead:
    """DeadLetters over a Disk."""

    def __init__(self, disk: Disk, power: Power) -> None:
        self._disk, self._power = disk, power

    async def bury(self, action_class: str, reason: str, body: bytes, headers: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        self._power.check()
        self._disk.buried.append((action_class, reason, body, dict(headers)))


class MemoryPending:
    """An order in hand."""

    def __init__(self, queue: MemoryQueue, order: Order) -> None:
        self._queue, self._order = queue, order
        self.heartbeats = 0

    @property
    def order(self) -> Order:
        return self._order

    async def done(self) -> None:
        await asyncio.sleep(0)
        self._queue.power.check()
        self._queue.disk.acked.add(self._order.id)

    async def later(self, delay: timedelta) -> None:
        await asyncio.sleep(0)
        self._queue.power.check()
        self._queue.put_later(self._order, delay)

    async def working(self) -> None:
        self._queue.power.check()
        self.heartbeats += 1


class MemoryQueue:
    """An OrderQueue over a Disk: everything not acknowledged comes at a start, and when put back."""

    def __init__(self, disk: Disk, power: Power, clock: VirtualClock) -> None:
        self.disk, self.power, self._clock = disk, power, clock
        self.delays: list[tuple[str, timedelta]] = []
        self.given: list[MemoryPending] = []
        self._ready: deque[Order] = deque(o for o in disk.orders.values() if o.id not in disk.acked)
        self._later: list[tuple[float, Order]] = []
        self._wake = asyncio.Event()
        self._ends = False

    def put(self, *orders: Order) -> None:
        for order in orders:
            self.disk.orders[order.id] = order
            self._ready.append(order)
        self._wake.set()

    def redeliver(self, order: Order) -> None:
        self._ready.append(order)
        self._wake.set()

    def put_later(self, order: Order, delay: timedelta) -> None:
        self.delays.append((order.id, delay))
        self._later.append((self._clock.monotonic() + delay.total_seconds(), order))

    def bring_due(self) -> None:
        due = [order for at, order in self._later if at <= self._clock.monotonic() + 1e-6]
        self._later = [(at, order) for at, order in self._later if at > self._clock.monotonic() + 1e-6]
        self._ready.extend(due)
        self._wake.set()

    def end(self) -> None:
        """Let `take` end, and with it the runner, when all that is ready is done."""
        self._ends = True
        self._wake.set()

    async def take(self) -> AsyncIterator[MemoryPending]:
        while True:
            while self._ready:
                pending = MemoryPending(self, self._ready.popleft())
                self.given.append(pending)
                yield pending
            if self._ends:
                return
            self._wake.clear()
            await self._wake.wait()


class Locator:
    """Services by type, sources by name."""

    def __init__(self) -> None:
        self._services: dict[type, Any] = {}
        self._sources: dict[str, Any] = {}

    def put(self, service: Any, kind: type | None = None) -> None:
        self._services[kind or type(service)] = service

    def put_source(self, name: str, source: Any) -> None:
        self._sources[name] = source

    def get(self, service: type[T]) -> T:
        if service not in self._services:
            raise ActionRejectedError(f"the site has no {service.__name__}")
        return self._services[service]

    def source(self, name: str, capability: type[T]) -> T:
        if name not in self._sources:
            raise ActionRejectedError(f"no source {name}")
        assert isinstance(self._sources[name], capability)
        return self._sources[name]


Answer = BaseException | None


class Device:
    """A VMS with relays and a camera: it notes when it did what, and answers as it is told to."""

    def __init__(self, clock: Clock, power: Power | None = None) -> None:
        self._clock, self._power = clock, power or Power()
        self.switched: list[tuple[datetime, str, bool]] = []
        self.ptz: list[tuple[str, str]] = []
        self.answers: deque[Answer] = deque()
        self.answer_off: deque[Answer] = deque()
        self.positions: dict[str, bool] = {}
        self.on_switch: Callable[[str, bool], Awaitable[None]] | None = None

    async def relays(self, channel: str) -> list[Relay]:
        return [Relay("r1", "Gate")]

    async def switch_relay(self, channel: str, relay: str, on: bool) -> None:
        await asyncio.sleep(0)
        self._power.check()
        if self.on_switch is not None:
            await self.on_switch(relay, on)
        answers = self.answers if on else self.answer_off
        answer = answers.popleft() if answers else None
        if answer is None or isinstance(answer, (TimeoutError, ActionUnknownError)):
            self.switched.append((self._clock.now(), relay, on))
            self.positions[relay] = on
        if answer is not None:
            raise answer

    async def ptz_presets(self, channel: str) -> list[PtzPreset]:
        return []

    async def _ptz(self, channel: str, what: str) -> None:
        await asyncio.sleep(0)
        self._power.check()
        answers = self.answer_off if what == "stop" else self.answers
        answer = answers.popleft() if answers else None
        if answer is None or isinstance(answer, (TimeoutError, ActionUnknownError)):
            self.ptz.append((channel, what))
        if answer is not None:
            raise answer

    async def ptz_goto(self, channel: str, preset: str) -> None:
        await self._ptz(channel, f"goto {preset}")

    async def ptz_move(self, channel: str, pan: float, tilt: float, zoom: float) -> None:
        await self._ptz(channel, f"move {pan:g} {tilt:g} {zoom:g}")

    async def ptz_stop(self, channel: str) -> None:
        await self._ptz(channel, "stop")


class InfoParams(ActionParams):
    """Parameters of the plain test action."""

    to: str = "x"


def info_spec(
    run: Callable[[InfoParams, ActionContext], Awaitable[Mapping[str, JsonValue]]], **more: Any
) -> ActionSpec[InfoParams]:
    """Return an information action named `info` that does `run`."""
    return ActionSpec(
        name="info",
        summary="Test.",
        params=InfoParams,
        action_class=more.pop("action_class", ActionClass.INFORMATION),
        run=run,
        example="info: x",
        target=lambda params, _: f"to:{params.to}",
        **more,
    )


SPECS: dict[str, ActionSpec[Any]] = {"relay": relay.SPEC, "open": open_action.SPEC, "ptz": ptz.SPEC}


def plate_event(clock: Clock, number: int = 1, **more: Any) -> VmsEvent:
    """Return a plate read just now; each number is another plate."""
    fields: dict[str, Any] = {
        "id": f"event{number}",
        "type": "plate.read",
        "source": "site/nvr",
        "subject": "1",
        "time": clock.now(),
        "timequality": "device",
        "received": clock.now(),
        "origin": Origin.LIVE,
        "via": "ws",
        "data": PlateRead(plate=f"12AB{344 + number}", plate_raw=f"12 AB {344 + number}", score=97),
    }
    return VmsEvent(**(fields | more))


def state_event(clock: Clock, entity: str, attribute: str, value: JsonValue, **more: Any) -> VmsEvent:
    """Return an event that says how something is, live and just now."""
    data = StateChanged(entity=entity, attribute=attribute, value=value)
    return plate_event(clock, **({"type": "state.changed", "data": data} | more))


def make_order(
    clock: Clock, action: str, params: Mapping[str, Any], number: int = 1, event: VmsEvent | None = None, **more: Any
) -> Order:
    """Return an order caused by a plate read just now."""
    event = event or plate_event(clock, number)
    spec = SPECS.get(action)
    action_class = ActionClass.INFORMATION
    if spec is not None:
        action_class = class_of(spec, spec.params.model_validate(dict(params)))
    fields: dict[str, Any] = {
        "id": stable_id("order", number, action),
        "rule": "a-rule",
        "rule_version": "1",
        "key": "",
        "index": 0,
        "action": action,
        "action_class": action_class,
        "params": dict(params),
        "causes": (event.id,),
        "trigger": event,
        "origin": event.origin,
        "occurred": event.time,
        "received": event.received,
        "created": clock.now(),
    }
    return Order(**(fields | more))


OUTPUTS = {
    "gate": OutputConfig(source="nvr", channel="1", relay="r1", idle="off", cooldown="0s"),
    "barrier": OutputConfig(source="nvr", channel="1", relay="r5", idle="off"),
    "failsafe": OutputConfig(source="nvr", channel="1", relay="r2", idle="on"),
    "lamp": OutputConfig(source="nvr", channel="1", relay="r3", idle="off", **{"class": "transient"}),
}
DOORS = {"main": DoorConfig(output="barrier", mode="act")}


def make_gate(folder: Path, clock: Clock, **more: Any) -> Gate:
    """Return a gate that trusts the clock of the source `nvr` and does not hold off."""
    clocks = SourceClocks(clock, timedelta(seconds=5))
    clocks.learn("nvr", timedelta(0))
    breaker = Breaker(folder, clock, BreakerConfig())
    return Gate(
        clock,
        KillSwitch(folder, clock),
        breaker,
        clocks,
        OwnClock(folder, clock),
        **({"hold_off": timedelta(0)} | more),
    )


class Known:
    """What a site is told of the state of things: each is said live, as it is set."""

    def __init__(self, facts: Facts, clock: Clock) -> None:
        self._facts, self._clock = facts, clock

    def __setitem__(self, what: tuple[str, str], value: JsonValue) -> None:
        self._facts.heard(state_event(self._clock, *what, value))


class Site:
    """One process' worth of runner, safety and stores over a disk that may outlive it."""

    def __init__(
        self,
        folder: Path,
        clock: VirtualClock,
        disk: Disk | None = None,
        *,
        actions: Mapping[str, ActionSpec[Any]] = SPECS,
        doors: Mapping[str, DoorConfig] = DOORS,
        outputs: Mapping[str, OutputConfig] = OUTPUTS,
        device: Device | None = None,
        dry_run: bool = False,
        executor: str = "bridge",
        safety: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.clock, self.disk, self.power = clock, disk or Disk(), Power()
        self.device = device or Device(clock, self.power)
        self.device._power = self.power
        self.services = Locator()
        self.services.put_source("nvr", self.device)
        limits = SafetyConfig.model_validate({"hold_off": "0s"} | (dict(safety) if safety else {}))
        config = BridgeConfig(outputs=dict(outputs), doors=dict(doors), dry_run=dry_run, safety=limits)
        self.safety = Safety(config, self.services, folder, clock)
        self.kill, self.gate, self.journal = self.safety.kill, self.safety.gate, self.safety.releases
        self.outputs, self.doors = self.safety.outputs, self.safety.doors
        self.safety.clocks.learn("nvr", timedelta(0))
        self.known = Known(self.safety.facts, clock)
        self.cameras = self.safety.cameras
        for service in (self.gate, self.journal, self.outputs, self.doors, self.cameras):
            self.services.put(service)
        self.queue = MemoryQueue(self.disk, self.power, clock)
        self.runner = Runner(
            self.queue,
            MemoryLedger(self.disk, self.power),
            MemoryDead(self.disk, self.power),
            actions,
            self.services,
            self.gate,
            clock,
            executor,
            **more,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.journal.load()
        await self.safety.load(first=True)
        parts = (self.journal.run(), self.cameras.run(), self.runner.run())
        self._tasks = [asyncio.create_task(part) for part in parts]
        await settle()

    async def stop(self) -> None:
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait((task,))

    async def die(self) -> None:
        """End as a kill -9 would: nothing that still runs reaches anything."""
        self.power.on = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, bringing back what was put off when it is due."""
        passed = 0.0
        while passed < seconds:
            now = min(step, seconds - passed)
            await self.clock.advance(now)
            await until(lambda: not any(debt.lock.locked() for debt in self.journal._debts.values()))
            self.queue.bring_due()
            await settle()
            passed += now

    async def ended(self, *orders: Order) -> list[Result]:
        """Return the results of the orders; at most 5 real seconds later."""
        await until(lambda: all(order.id in self.disk.acked for order in orders))
        return [self.disk.results[order.id] for order in orders]

    async def do(self, order: Order) -> Result:
        """Put one order in and return its end."""
        self.queue.put(order)
        return (await self.ended(order))[0]


@asynccontextmanager
async def running(folder: Path, clock: VirtualClock, disk: Disk | None = None, **more: Any) -> AsyncIterator[Site]:
    """A site that runs while the block lasts."""
    site = Site(folder, clock, disk, **more)
    await site.start()
    try:
        yield site
    finally:
        await site.stop()
