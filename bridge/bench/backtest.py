"""`bench backtest`: how many stored events a second old and new rules decide about, reading them included.

A log is filled with the product's own events and rules; each round then reads it twice, one after the
other: the floor only reads and decodes, the back-test also decides twice, and compares.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from bridge.app import Registries
from bridge.bench.remote import cpu_seconds
from bridge.bench.report import Figure, Goal, Say
from bridge.bus import roles, store_format
from bridge.bus.acks import Acks
from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.datadir import read_json
from bridge.bus.server import EmbeddedServer
from bridge.bus.wire import Outgoing
from bridge.config.models import BusConfig
from bridge.contracts import Known
from bridge.errors import StartError
from bridge.past.backtest import Backtest
from bridge.past.log import PastLog
from bridge.rulebook import StoredRuleSets, action_specs
from bridge.runtime.collector import settle
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import PlateRead, RulesChanged
from bridge.schema.subjects import Subjects
from rules.compiler import compile_rules
from rules.ruleset import Documents, RuleSet, SiteSettings

SITE = "bench"
RULES = 100
EVERY = 20
"""One event in so many fires a rule."""
CHANGED = 10
"""Rules that the new set has otherwise."""
_BATCH = 1000
_PATIENCE = 60.0
_RULE = """\
  - id: plate-{number:04d}
    when: {{kind: plate.read, source: nvr1}}
    match: {{plate: HIT{number:04d}, score: {{at_least: {score}}}}}
    per: plate
    cooldown: 1ms
    then: [{{ptz: {{preset: gate}}}}]
"""


async def measure(registries: Registries, folder: Path, say: Say, *, count: int, rounds: int) -> list[Figure]:
    """Measure. Raises StartError."""
    actions = action_specs(registries.actions)
    old, new = (
        compile_rules(_documents(changed), actions, Known(), SiteSettings(name=SITE)) for changed in (0, CHANGED)
    )
    config = BusConfig(sync=timedelta(minutes=2), max_bytes=8 * 1024**3)
    floors: list[_Run] = []
    ours: list[_Run] = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store_format.claim(Path(place), SITE)
        async with EmbeddedServer(config, Path(place)) as server, Bus.open(SITE, config, server) as bus:
            await StoredRuleSets(bus.contents, actions).store(old)
            size = await _fill(bus, old, count)
            say(f"{count:,} events stored, {size / count:,.0f} bytes each")
            settle()
            secret = SecretStr(read_json(Path(place) / "bus" / "server.json")["roles"]["reader"])
            link = Connection([server.url], roles.user("reader"), secret, "bench", roles.inbox("reader"))
            async with link.opened() as connection:
                for number in range(rounds):
                    meter = _Meter(server)
                    await _floor(connection, count)
                    floors.append(meter.read(count))
                    meter = _Meter(server)
                    report = await Backtest(connection, SITE, actions).run(new, datetime(2020, 1, 1, tzinfo=UTC))
                    ours.append(meter.read(count))
                    _check(report.events, count + 1)
                    say(f"round {number + 1}: {ours[-1].rate:,.0f} events/s, floor {floors[-1].rate:,.0f}")
            fired = sum(one.old for one in report.rules.values())
            lost = sum(one.lost for one in report.rules.values())
    _check(fired, count // EVERY)
    _check(lost, sum(1 for number in range(count // EVERY) if number % RULES < CHANGED))

    def both(what: str, unit: str, of: Callable[[_Run], float], goal: Goal | None = None) -> Figure:
        return Figure(what, statistics.median(map(of, ours)), unit, statistics.median(map(of, floors)), goal)

    return [
        both(f"back-test, {RULES} rules", "events/s", lambda run: run.rate, Goal(20_000, "value", "more")),
        both("CPU of the back-test", "us/event", lambda run: run.own),
        both("CPU of nats-server", "us/event", lambda run: run.server),
        Figure("events", count, "events"),
        Figure("firings of the old rules", fired, "firings"),
        Figure("an event in the log", size / count, "bytes"),
    ]


class _Run(NamedTuple):
    """What one run took, for an event."""

    rate: float
    """Events a second."""
    own: float
    """CPU of this process in us."""
    server: float


class _Meter:
    """Time and CPU from its beginning to `read`."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._pid = server.pid or 0
        self._server = cpu_seconds(self._pid) or 0.0
        self._own, self._began = time.process_time(), time.perf_counter()

    def read(self, count: int) -> _Run:
        seconds, own = time.perf_counter() - self._began, time.process_time() - self._own
        server = (cpu_seconds(self._pid) or 0.0) - self._server
        return _Run(count / seconds, own / count * 1e6, server / count * 1e6)


def _documents(changed: int) -> Documents:
    rules = (_RULE.format(number=number, score=100 if number < changed else 90) for number in range(RULES))
    return Documents({"bench.yaml": "rules:\n" + "".join(rules)})


async def _floor(connection: Connection, count: int) -> None:
    """Read and decode everything."""
    log, seen = PastLog(connection, SITE), 0
    async with aclosing(log.read(0, (await log.ends()).last)) as batches:
        async for batch in batches:
            seen += len(batch)
    _check(seen, count + 1)


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise StartError(f"{found:,} instead of {wanted:,}", "this is a bug: please report it")


# --- the log --------------------------------------------------------------------------------------------


async def _fill(bus: Bus, rules: RuleSet, count: int) -> float:
    """Store the rules' beginning and so many events; return the bytes that the events take."""
    acks, subjects = Acks(bus.connection), Subjects(SITE)
    now = datetime.now(UTC)
    changed = own_event(SITE, "rules.changed", RulesChanged(ruleset=rules.hash, rules=RULES), now, id="rules")
    await acks.store([Outgoing(subjects.event(changed), changed.encode())], _PATIENCE)
    name = bus.stream("EVENTS")
    before = (await bus.connection.api(f"STREAM.INFO.{name}"))["state"]["bytes"]
    batch: list[Outgoing] = []
    for event in _events(count, now):
        # A header as long as the event's id: the server would keep a million ids in memory for ten minutes.
        batch.append(Outgoing(subjects.event(event), event.encode(), {"Vms-Same-Id": f"{event.source}/{event.id}"}))
        if len(batch) == _BATCH:
            await acks.store(batch, _PATIENCE)
            batch = []
    if batch:
        await acks.store(batch, _PATIENCE)
    return float((await bus.connection.api(f"STREAM.INFO.{name}"))["state"]["bytes"] - before)


def _events(count: int, now: datetime) -> Iterator[VmsEvent]:
    """Make reads of plates, 0.2 s apart, as the TS-API connector makes them."""
    begin = now - timedelta(seconds=count / 5)
    for number in range(count):
        fires = number % EVERY == EVERY - 1
        plate = f"HIT{number // EVERY % RULES:04d}" if fires else f"MISS{number % 10_000:04d}"
        moment = begin + timedelta(seconds=number / 5)
        data = PlateRead(plate=plate, plate_raw=plate, score=97, direction="entry", device=f"LPR{number % 50:02d}")
        yield VmsEvent(
            id=f"{number:032x}", type="plate.read", source=f"{SITE}/nvr1", subject=str(number % 50), time=moment,
            timequality="device", received=moment, origin=Origin.LIVE, via="ws", data=data,
        )  # fmt: skip
