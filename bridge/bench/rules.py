"""`bench rules`: what an event costs the engine with 10 to 10,000 rules, and what many rules and keys cost at start.

The engine alone, without bus: each event reaches five rules through the index, one in twenty fires one.
Beside it in the same run stand a bare loop over all rules, and CEL over all of them. What 100,000 keys
take is measured in a process of its own, on a real nats-server (`bridge.bench.keys`).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import cel
import yaml

from bridge.app import Registries
from bridge.bench.keys import SITE, Weight, weigh
from bridge.bench.report import Figure, Goal, Say
from bridge.contracts import Known, Logged
from bridge.rulebook import Actions, action_specs
from bridge.runtime.collector import settle
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import PlateRead
from rules.compiler import compile_rules
from rules.engine import Engine
from rules.load import load_documents
from rules.ruleset import Documents, RuleSet, SiteSettings

SIZES = (10, 100, 1_000, 10_000)
TOUCHED = 5
"""Rules that an event reaches."""
EVERY = 20
"""One event in so many fires a rule."""
FILES = 4
"""Of the 10,000 rules; a file may have 2 MiB."""
_SCORES = (95, 96, 97, 98, 99)
_RULE = """\
  - id: plate-{plate:04d}-{score}
    when: {{kind: plate.read, source: nvr1}}
    match: {{plate: P{plate:04d}, score: {{at_least: {score}}}}}
    per: plate
    cooldown: 1ms
    then: [{{ptz: {{preset: gate}}}}]
"""


class Bare(NamedTuple):
    """A rule, as a loop over all of them asks it."""

    kind: str
    source: str
    plate: str
    score: int
    id: str


async def measure(
    registries: Registries,
    folder: Path,
    say: Say,
    *,
    count: int,
    rounds: int,
    keys: int,
    sizes: Sequence[int] = SIZES,
) -> list[Figure]:
    """Measure. Raises StartError."""
    actions = action_specs(registries.actions)
    load, parse = _load(folder, actions, sizes[-1])
    say(f"{sizes[-1]:,} rules loaded and compiled: {load.seconds:.2f} s ({load.cpu:.2f} s of CPU)")
    sets = {size: compile_rules(_documents(size), actions, Known(), SiteSettings(name=SITE)) for size in sizes}
    settle()
    costs: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for size, rules in sets.items():
            for name, value in _round(rules, size, count).items():
                costs.setdefault((name, size), []).append(value)
        median = {size: statistics.median(costs["engine", size]) for size in sizes}
        say(f"round {number + 1}: " + ", ".join(f"{size:,} rules {median[size]:.1f} us" for size in sizes))
    empty, full = await weigh(folder, 0), await weigh(folder, keys)
    say(f"{keys:,} keys: {full.mib:.0f} MiB, loaded in {full.seconds:.1f} s")
    medians = {name: statistics.median(found) for name, found in costs.items()}
    return [*_figures(medians, sizes), *_start(sizes[-1], load, parse, empty, full, keys)]


def _figures(cost: dict[tuple[str, int], float], sizes: Sequence[int]) -> list[Figure]:
    found = []
    for size in sizes:
        goal = Goal(10, "value", "less") if size == 1_000 else None
        loop = cost["bare loop", size]
        found.append(Figure(f"an event, {size:,} rules, {TOUCHED} touched", cost["engine", size], "us", loop, goal))
        found.append(Figure(f"the same with every trace, {size:,} rules", cost["traced", size], "us"))
        found.append(Figure(f"CEL over all {size:,} rules", cost["CEL", size], "us", loop))
    first, last = (cost["engine", size] for size in (sizes[0], sizes[-1]))
    growth = Figure(f"growth from {sizes[0]} to {sizes[-1]:,} rules", last, "us", first, Goal(2, "ratio", "less"))
    return [*found, growth]


def _start(rules: int, load: Took, parse: Took, empty: Weight, full: Weight, keys: int) -> list[Figure]:
    small = Goal(300, "value", "less")
    return [
        Figure(f"load and compile {rules:,} rules", load.seconds, "s", parse.seconds, Goal(5, "value", "less")),
        Figure("CPU of it", load.cpu, "s", parse.cpu),
        Figure(f"memory with {keys:,} live keys, nats-server too", full.mib, "MiB", empty.mib, small),
        Figure("of it nats-server", full.server_mib, "MiB", empty.server_mib),
        Figure(f"load {keys:,} live keys at start", full.seconds, "s", full.read_seconds, Goal(5, "value", "less")),
    ]


# --- rules ----------------------------------------------------------------------------------------------


def _texts(size: int, files: int = 1) -> list[str]:
    plates = range(size // TOUCHED)
    share = -(-len(plates) // files)
    lots = [plates[at : at + share] for at in range(0, len(plates), share)]
    return ["rules:\n" + "".join(_RULE.format(plate=p, score=s) for p in lot for s in _SCORES) for lot in lots]


def _documents(size: int) -> Documents:
    return Documents({f"{number}.yaml": text for number, text in enumerate(_texts(size, FILES if size > 1000 else 1))})


class Took(NamedTuple):
    """How long something took, and how much of that this process worked."""

    seconds: float
    cpu: float


def _took(work: Callable[[], object]) -> Took:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - began, time.process_time() - cpu)


def _load(folder: Path, actions: Actions, size: int) -> tuple[Took, Took]:
    """Return what it takes from files to rules that decide, and to read the YAML of them alone, by libyaml."""
    place = folder / "rules"
    place.mkdir(exist_ok=True)
    texts = _texts(size, FILES)
    paths = [place / f"{number}.yaml" for number in range(FILES)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")

    def whole() -> None:
        rules = compile_rules(load_documents(paths, place), actions, Known(), SiteSettings(name=SITE))
        Engine(rules, {}).step(_event(0, 0, fires=True))

    return _took(whole), _took(lambda: [list(yaml.parse(text, yaml.CSafeLoader)) for text in texts])


# --- events ---------------------------------------------------------------------------------------------

_BEGIN = datetime(2026, 1, 5, 12, tzinfo=UTC)


def _event(number: int, plate: int, *, fires: bool) -> Logged:
    moment, name = _BEGIN + timedelta(milliseconds=10 * number), f"P{plate:04d}"
    data = PlateRead(plate=name, plate_raw=name, score=95 if fires else 90, direction="entry", device="LPR01")
    event = VmsEvent(
        id=f"{number:032x}", type="plate.read", source=f"{SITE}/nvr1", subject="1", time=moment, timequality="device",
        received=moment, origin=Origin.LIVE, via="ws", data=data,
    )  # fmt: skip
    return Logged(number + 1, moment, event)


def _events(size: int, count: int) -> list[Logged]:
    chance = random.Random(size)
    return [_event(n, chance.randrange(size // TOUCHED), fires=n % EVERY == EVERY - 1) for n in range(count)]


# --- one round ------------------------------------------------------------------------------------------


def _round(rules: RuleSet, size: int, count: int) -> dict[str, float]:
    """Return the median time of an event in us, by who decides."""
    events = _events(size, count)
    source, plates = f"{SITE}/nvr1", [f"P{plate:04d}" for plate in range(size // TOUCHED)]
    bare = [Bare("plate.read", source, plate, score, "x") for plate in plates for score in _SCORES]
    programs = [cel.compile(f'plate == "{rule.plate}" && score >= {rule.score}') for rule in bare]
    quiet, traced = (Engine(rules, {}) for _ in range(2))
    few = max(5, min(count, 200_000 // size))
    return {
        "engine": _median(lambda logged: quiet.step(logged, trace=False), events),
        "traced": _median(lambda logged: traced.step(logged), events),
        "bare loop": _median(lambda logged: _loop(bare, logged.event), events[:few]),
        "CEL": _median(lambda logged: _cel(programs, logged.event), events[: max(5, few // 40)]),
    }


def _median(decide: Callable[[Logged], object], events: Sequence[Logged]) -> float:
    times = []
    for logged in events:
        began = time.perf_counter_ns()
        decide(logged)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1000


def _loop(rules: Sequence[Bare], event: VmsEvent) -> list[str]:
    data = event.data
    assert isinstance(data, PlateRead)  # noqa: S101 - our own events
    kind, source, plate, score = event.type, event.source, data.plate, data.score or 0
    return [r.id for r in rules if r.kind == kind and r.source == source and r.plate == plate and score >= r.score]


def _cel(programs: Sequence[cel.Program], event: VmsEvent) -> list[int]:
    data = event.data
    assert isinstance(data, PlateRead)  # noqa: S101 - our own events
    context = cel.Context({"plate": data.plate, "score": data.score})
    return [number for number, program in enumerate(programs) if program.execute(context) is True]
