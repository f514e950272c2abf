"""A site in simulated time for the tests of back-filling: simulator, bridge and a log that survives the bridge.

The list of what happened is kept by whoever makes it happen, here, and shares nothing with the product.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from bridge.runtime.gaps import Ledger
from bridge.runtime.supervisor import SourceState, Supervisor
from bridge.runtime.twins import TwinMatcher
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import SourceGap
from connectors.ts_api import SPEC, TsApi
from connectors.ts_api.push import PUSH
from connectors.ts_api.simulator import Simulator, SimulatorConfig
from connectors.ts_api.simulator.config import ApiKeyConfig, UserConfig
from tests.clock import VirtualClock
from tests.fakes import eventually

from .support import API_KEY, PASSWORD, USER, config, context

SOURCE = "home/nvr1"
PATIENT: dict[str, Any] = {
    "ping_interval": "10m",
    "ping_patience": "30d",
    "link_dead_after": "30d",
    "close_timeout": "200ms",
    "open_timeout": "5s",
    "request_timeout": "5s",
}
"""Simulated hours pass faster than any answer comes, so links are not judged by time here."""


class DurableLog:
    """What is stored, whatever becomes of the bridge; strict: it forgives no event twice."""

    def __init__(self) -> None:
        self.events: list[VmsEvent] = []
        self.records: dict[str, bytes] = {}
        self.history: list[bytes] = []
        self.twins: Counter[str] = Counter()

    def of(self, kind: str) -> list[VmsEvent]:
        return [event for event in self.events if event.type == kind]


class Process:
    """One life of the bridge. What it does after its death has no effect."""

    def __init__(self, log: DurableLog, clock: VirtualClock, url: str, **values: Any) -> None:
        self.log, self.clock, self.dead = log, clock, False
        self.states: list[SourceState] = []
        self.dies_after: int | None = None
        """Stored events after which it dies."""
        connector = SPEC.build(config(url=url, **{**PATIENT, **values}), context(clock))
        assert isinstance(connector, TsApi)
        self.connector = connector
        self.matcher = TwinMatcher(self.emit, {SOURCE: SPEC.twins}, SPEC.twins, self, twin_of={"home/lane": [SOURCE]})
        ledger = Ledger(self.matcher, self, self)
        supervisor = Supervisor("home", self.matcher, self.park, self.states.append, clock, ledger)
        self.task = asyncio.create_task(supervisor.run({"nvr1": connector}), name="bridge")

    @property
    def up(self) -> bool:
        return bool(self.states) and self.states[-1].up

    async def kill(self) -> None:
        """End it as kill -9 does: nothing is said or written any more."""
        self.dead = True
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await self.connector.aclose()

    # --- the log it writes to ---

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.dead:
            return future
        for event in events:
            self.log.events.append(event)
            if self.dies_after is not None and event.origin is Origin.BACKFILL:
                self.dies_after -= 1
                if self.dies_after == 0:
                    self.dead = True
                    return future
        future.set_result(None)
        return future

    async def park(self, source: str, message: str | bytes, reason: str, error: str) -> None:
        raise AssertionError(f"{reason}: {error}: {message!r}")

    async def load(self, source: str) -> bytes | None:
        return self.log.records.get(source)

    async def save(self, source: str, record: bytes) -> None:
        if not self.dead:
            self.log.history.append(record)
            self.clock.jump(timedelta(microseconds=1))  # writing takes time, in the real world
            self.log.records[source] = record

    async def is_told(self, source: str, event: str) -> bool:
        gaps = self.log.of("source.gap")
        return bool(gaps) and gaps[-1].id == event

    async def recall(self, source: str, since: datetime, until: datetime) -> AsyncIterator[Sequence[VmsEvent]]:
        yield [event for event in self.log.events if since <= event.received <= until and event.type in SPEC.twins]

    # --- what it counts ---

    def gap(self, source: str) -> None: ...

    def fetched(self, source: str, kind: str, count: int) -> None: ...

    def twin(self, source: str, via: str) -> None:
        self.log.twins[via] += 1


@dataclass
class Truth:
    """What happened, by whoever made it happen."""

    reads: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    """Readings by plate, and whether somebody listened."""
    objects: set[str] = field(default_factory=set)
    """Marks of the objects seen."""
    lines: set[int] = field(default_factory=set)
    """Marks of the lines of the system log."""
    incidents: dict[int, int] = field(default_factory=dict)
    """Row and last state of the incidents."""
    motion: int = 0
    """Changes that somebody could hear."""
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)


class Site:
    """The simulated site. Every method that makes something happen notes it."""

    def __init__(self, sim: Simulator, clock: VirtualClock, seed: int, **values: Any) -> None:
        self.sim, self.clock, self.truth, self.log = sim, clock, Truth(), DurableLog()
        self.random = random.Random(seed)
        self._values = values
        self._marks = 0
        self._moving = False
        self.listening = False
        self.process = self.start()

    def start(self) -> Process:
        return Process(self.log, self.clock, self.sim.url, **self._values)

    def mark(self) -> int:
        self._marks += 1
        return self._marks

    # --- what happens ---

    async def read(self, plate: str | None = None, **values: Any) -> str:
        plate = plate or f"AB{self.mark():05d}"
        self.truth.reads[plate].append(self.listening)
        await self.sim.event("LPR", plateNo=plate, channel=1, **values)
        return plate

    async def push(self, plate: str, reader: str) -> None:
        """Have a reader push a plate to the bridge as well, as it was recognised this moment."""
        body = json.dumps({"topic": "LPR", "src": reader, "plateNo": plate, "when": self.clock.now().isoformat()})
        items = PUSH.decode(
            body.encode(), site="home", source="lane", principal="lane", received=self.clock.now(), zone=UTC
        )
        await (await self.process.matcher([item.event for item in items if item.event is not None]))

    async def see(self, **values: Any) -> None:
        mark = str(100_000 + self.mark())
        self.truth.objects.add(mark)
        kind = self.random.choice(["face", "human", "vehicle"])
        await self.sim.event("object", type=kind, objId=int(mark), attributes={"colors": [mark]}, **values)

    async def line(self) -> None:
        mark = self.mark()
        self.truth.lines.add(mark)
        await self.sim.event("systemEvent", code=30, param={"mark": mark})

    async def incident(self) -> int:
        await self.sim.event("systemEvent", code=40, param={"droppedFrames": self.mark(), "ongoing": True})
        return self.sim.log.events[-1].id

    async def grow(self, row: int, *, ongoing: bool) -> None:
        state = self.truth.incidents[row] = self.mark()
        await self.sim.event("systemEvent", id=row, param={"droppedFrames": state, "ongoing": ongoing})

    async def move(self) -> None:
        self._moving = not self._moving
        self.truth.motion += self.listening
        await self.sim.event("motionChanges", channel=2, motion=self._moving)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in which nothing happens."""
        await self.clock.advance(seconds)
        if self.listening:
            await self.heard()

    async def heard(self) -> None:
        """Wait until all that somebody could hear was heard."""
        for feed in self.sim.feeds:
            await eventually(lambda feed=feed: feed._queue.empty())
        await asyncio.sleep(0.005)

    async def life(self, seconds: float, happenings: int) -> None:
        """Let time pass, and things happen at random moments of it."""
        moments = sorted(self.random.uniform(0, seconds) for _ in range(happenings))
        incident: int | None = None
        passed = 0.0
        for moment in moments:
            await self.pass_time(moment - passed)
            passed = moment
            what = self.random.randrange(8)
            if what < 3:
                plate = await self.read()
                for _ in range(self.random.choice([0, 0, 1, 3])):
                    step = min(3.0, seconds - passed)
                    passed += step
                    await self.pass_time(step)
                    await self.read(plate)
            elif what < 5:
                late = not self.listening and self.random.random() < 0.3
                await self.see(quiet=late, age="20s" if late else "0s")
            elif what == 5:
                await self.line()
            elif what == 6:
                await self.move()
            elif incident is None:
                incident = await self.incident()
            else:
                await self.grow(incident, ongoing=self.random.random() < 0.7)
        await self.pass_time(max(0.0, seconds - passed))

    # --- outages ---

    async def connected(self) -> None:
        """Wait until the source is heard, letting the waits between tries be over."""
        async with asyncio.timeout(20):
            while not (self.process.up and self.sim.feeds):
                if not self.process.up:
                    await self.clock.advance(5)
                await asyncio.sleep(0.01)
        self.listening = True

    async def break_link(self) -> None:
        """End the sockets, and let nobody in."""
        await self.heard()
        self.listening = False
        self.sim.faults.set("refuse")
        self.sim.faults.set("bad_gateway")
        self.sim.disconnect(self.random.choice(["reset", "close", "torn"]))
        await eventually(lambda: not self.process.up)

    async def mend_link(self) -> None:
        self.sim.faults.clear("refuse")
        self.sim.faults.clear("bad_gateway")
        await self.connected()

    async def outage(self, seconds: float, happenings: int) -> None:
        began = self.clock.now()
        await self.break_link()
        await self.life(seconds, happenings)
        await self.mend_link()
        self.truth.outages.append((began, self.clock.now()))

    async def restart(self, seconds: float, happenings: int) -> None:
        """The bridge dies and comes back later."""
        began = self.clock.now()
        await self.heard()
        self.listening = False
        await self.process.kill()
        await self.life(seconds, happenings)
        self.process = self.start()
        await self.connected()
        self.truth.outages.append((began, self.clock.now()))

    async def gaps_told(self, count: int | None = None) -> list[SourceGap]:
        """Wait until so many gaps are told (all), letting the time pass until logs are read again."""
        wanted = len(self.truth.outages) if count is None else count
        async with asyncio.timeout(60):
            while len(self.log.of("source.gap")) < wanted:
                await self.clock.advance(20)
                await asyncio.sleep(0.02)
        return [event.data for event in self.log.of("source.gap") if isinstance(event.data, SourceGap)]


@asynccontextmanager
async def site(
    clock: VirtualClock, seed: int = 1, settings: dict[str, Any] | None = None, **values: Any
) -> AsyncIterator[Site]:
    """A site whose source is heard; `settings` are the simulator's, `values` the source's."""
    given: dict[str, Any] = {
        "users": (UserConfig(name=USER, password=SecretStr(PASSWORD), admin=True),),
        "api_keys": (ApiKeyConfig(id="k", key=SecretStr(API_KEY), permissions=("*",)),),
        "motion_tick": timedelta(0),
        "unlicensed": frozenset(),
        **(settings or {}),
    }
    async with Simulator(SimulatorConfig(**given), now=clock.now) as sim:
        here = Site(sim, clock, seed, **values)
        try:
            await here.connected()
            yield here
        finally:
            await here.process.kill()


def check(here: Site) -> None:
    """Hold the log against what happened: each happening once, each outage one gap, no false edge."""
    log, truth = here.log, here.truth
    ids = Counter((event.source, event.id) for event in log.events)
    assert [name for name, count in ids.items() if count > 1] == []

    plates = Counter(event.data.plate for event in log.of("plate.read"))  # type: ignore[attr-defined]
    assert plates == {plate: max(1, sum(heard)) for plate, heard in truth.reads.items()}
    objects = Counter(event.data.colors[0] for event in log.of("object.detected") if event.data.colors)  # type: ignore[attr-defined]
    assert objects == dict.fromkeys(truth.objects, 1)
    missed = [row for row in here.sim.log.objects if any(b <= row.begin <= e for b, e in truth.outages)]
    found = Counter(event.data.image.rpartition("/")[2] for event in log.of("object.detected"))  # type: ignore[attr-defined]
    assert {row.image.rpartition("/")[2] for row in missed} <= found.keys()
    assert set(found.values()) <= {1}
    _check_lines(here)

    gaps = [event.data for event in log.of("source.gap") if isinstance(event.data, SourceGap)]
    assert len(gaps) == len(truth.outages)
    for gap, (began, ended) in zip(gaps, truth.outages, strict=True):
        assert gap.gap_from <= began + timedelta(seconds=1)
        assert ended - timedelta(seconds=10) <= gap.gap_to <= ended  # the wait before a try is over in steps
    _check_edges(here)


def _check_lines(here: Site) -> None:
    rows = here.log.of("system.log")
    marks = Counter(event.data.param["mark"] for event in rows if "mark" in event.data.param)  # type: ignore[attr-defined]
    assert marks == dict.fromkeys(here.truth.lines, 1)
    states = Counter((event.data.log_id, event.data.param.get("droppedFrames")) for event in rows)  # type: ignore[attr-defined]
    for row, state in here.truth.incidents.items():
        assert states[str(row), state] == 1
    known = {event.data.log_id for event in rows}  # type: ignore[attr-defined]
    began = min((event.received for event in here.log.events), default=here.clock.now())
    assert {str(row.id) for row in here.sim.log.events if row.type == 0 and row.begin > began} <= known


def _check_edges(here: Site) -> None:
    edges = [event for event in here.log.events if event.type.startswith("motion.") and event.origin is Origin.LIVE]
    assert len(edges) == here.truth.motion
    assert all(
        event.origin in (Origin.RESYNC, Origin.BRIDGE)
        for event in here.log.events
        if event.type.startswith(("channel.", "recording.", "parking.", "call."))
    )
    past = [event for event in here.log.events if event.via == "log"]
    assert {event.origin for event in past} <= {Origin.BACKFILL}
    counted: Counter[str] = Counter()
    for event in here.log.of("source.gap"):
        counted += Counter(event.data.fetched)  # type: ignore[attr-defined]
    assert counted == Counter(event.type for event in past)
