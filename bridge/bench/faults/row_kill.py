"""F1 and F2: the bridge is killed, at random moments and at every named point, with doors and receivers beside it."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from .check import Seen, faults, off_late
from .common import ROOT, FaultError, both, require, wait_for
from .doors import BOTH, WATCHERS, DoorSite, Pusher
from .ledger import Kept, purge
from .outcome import Control, Outcome
from .site import NAME, Process
from .streams import Streams

FRESH, STALE, OLD = timedelta(0), timedelta(seconds=45), timedelta(minutes=5)
PER_LIFE = 3
"""Pushes that are made at most for each random kill."""
OPEN, TELL, CLIP = ("open",), ("webhook",), ("clip",)
WAYS: Mapping[str, Sequence[tuple[int, tuple[str, ...]] | tuple[int, tuple[str, ...], str]]] = {
    # The engine passes its points when it adopts the rules, before any push, and again for each push.
    "engine": ((1, BOTH), (2, BOTH)),
    "engine.owned": ((1, BOTH),),
    "engine.read": ((1, BOTH), (3, BOTH)),
    "engine.adopted": ((1, BOTH),),
    "rules.stored": ((1, BOTH),),
    "engine.ordered": ((1, BOTH),),
    "engine.undecided": ((1, OPEN),),
    "engine.ticked": ((1, TELL),),
    # The effect path is walked by doors and by webhooks, so each is tried alone.
    "effect": ((1, OPEN), (1, TELL)),
    "effect.armed": ((1, OPEN),),
    "effect.waiting": ((1, TELL, "busy"),),
    "effect.found": ((1, TELL, "busy"),),
    "effect.told": ((1, CLIP),),
    "release": ((1, OPEN),),
    # The trail begins with the change of rules at the first start, while the first orders may be on their way.
    "audit": ((1, BOTH), (2, BOTH)),
    # A thousand orders from one event, and three days of tries: tests go there on a real bus, without the process.
    "engine.ahead": (),
    "engine.long": (),
    "engine.copied": (),
    "effect.buried": (),
}
"""The ways to a point, or to the points of a part."""
ONCE = {"effect.claimed": 0, "effect.armed": 0, "effect.acted": 1}
"""Where dying leaves it open whether the door was opened, and how often it was."""


class Scenario(NamedTuple):
    """Where to die, at which passing of it, what the rules do, and who is told."""

    point: str
    nth: int
    actions: tuple[str, ...]
    receiver: str = "hook"


def points() -> list[str]:
    """Return the names of all points, read from the source and not imported."""
    source = (ROOT / "bridge" / "crashpoint.py").read_text()
    table = re.search(r"^POINTS.*?= \((.*?)^\)", source, re.MULTILINE | re.DOTALL)
    if table is None:
        raise FaultError("the table of crash points is not where it was")
    return re.findall(r'"([a-z.]+)"', table[1])


def scenarios() -> Iterator[Scenario]:
    """Yield every way to every point."""
    for point in points():
        ways = WAYS[point] if point in WAYS else WAYS[point.partition(".")[0]]
        yield from (Scenario(point, *way) for way in ways)


# --- F1 ------------------------------------------------------------------------------------------


def at_random(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill the bridge at so many random moments."""
    outcome, control = both(lambda: only_kills(folder, kills, seed), lambda: without_ledger(folder))
    outcome.control = control
    return outcome


def only_kills(folder: Path, kills: int, seed: int) -> Outcome:
    """Do that without the control."""
    chance = random.Random(seed)
    ages = [chance.choice((FRESH, FRESH, FRESH, STALE, OLD)) for _ in range(kills * PER_LIFE)]
    site = DoorSite(_made(folder / "site"), doors=len(ages))
    with site.device() as port, Pusher(site, ages) as pusher:
        site.write_doors(port)
        for _ in range(kills):
            pusher.allow(PER_LIFE)
            with site.bridge() as process:
                _live(site, process, chance)
        seen = drained(site, pusher)
    outcome = _judged(Outcome("F1", "the bridge is killed at random", f"{kills} kills"), seen)
    opened = sum(bool(seen.relay(push.plate, "on")) for push in seen.pushes)
    outcome.figures = {"opened": opened, "at_the_device": len(seen.device)}
    outcome.hold(opened > len(ages) // 10, "hardly anything was opened: the run has shown nothing")
    return outcome


def _live(site: DoorSite, process: Process, chance: random.Random) -> None:
    """Return at a random moment: once in four times while it starts, else while it works."""
    if chance.random() < 0.25:
        moment = chance.uniform(0, 2.0)
    else:
        site.wait_ready(process)
        moment = chance.uniform(0, 0.6)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
        raise FaultError(f"the bridge died by itself: {site.log_tail()}")


# --- F2 ------------------------------------------------------------------------------------------


def at_points(folder: Path, times: int, seed: int) -> Outcome:
    """Kill the bridge at every point, so many times each."""
    return _at_points(folder, [(number, scenario) for number in range(times) for scenario in scenarios()])


def at_some_points(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill the bridge so many times, at points that the seed chooses."""
    return _at_points(folder, [(0, scenario) for scenario in random.Random(seed).sample(list(scenarios()), kills)])


def _at_points(folder: Path, tries: Sequence[tuple[int, Scenario]]) -> Outcome:
    total = Outcome("F2", "the bridge is killed at every named point", "")
    total.size = f"{len(tries)} kills at {len({scenario.point for _, scenario in tries})} points"
    for number, scenario in tries:
        place = _made(folder / f"{number}-{scenario.point}-{scenario.nth}-{'-'.join(scenario.actions)}")
        _judged(total, at_point(place, scenario))
    total.control = without_ledger(folder)
    return total


def at_point(folder: Path, scenario: Scenario, patience: float = 120) -> Seen:
    """Have the bridge killed at a point, start it again, and return what was seen of it in both lives.

    Raises FaultError when it has not come there after `patience` seconds.
    """
    point, nth, actions, receiver = scenario
    site = DoorSite(folder, doors=3, actions=actions, receiver=receiver, watchers=WATCHERS)
    with site.device() as port, Pusher(site, (FRESH, OLD, FRESH)) as pusher:
        site.write_doors(port)
        # Alone, so that it is the first order that dies there; else with others on their way.
        pusher.allow(1 if actions == OPEN else 3)
        _dies(site, f"{point}:{nth}", patience)
        pusher.allow(2)
        seen = drained(site, pusher)
    if actions == OPEN:
        times = ONCE.get(point)
        ended = seen.outcomes("P1", "open")
        require(ended == ["done" if times is None else "unknown"], f"{point}: P1 ended with {ended}")
        require(len(seen.relay("P1", "on")) == (1 if times is None else times), f"{point}: P1 opened otherwise")
        require(seen.outcomes("P2", "open") == ["expired"], f"{point}: P2 was too old, and did not expire")
        require(seen.outcomes("P3", "open") == ["done"], f"{point}: P3 did not end well")
    return seen


def _dies(site: DoorSite, where: str, patience: float = 120) -> None:
    with site.bridge(where) as process:
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired as exc:
            raise FaultError(f"it did not die at {where}: {site.log_tail()}") from exc
        require(code == -signal.SIGKILL, f"it ended with {code} at {where}: {site.log_tail()}")


# --- both ----------------------------------------------------------------------------------------


def drained(site: DoorSite, pusher: Pusher) -> Seen:
    """Start a bridge, let it do what is left, and return what was seen of the site in all its lives."""
    with site.bridge() as process:
        site.wait_ready(process)
        pusher.finish(30 + len(site.pushes))
        streams = Streams(site.data_dir)
        expected = {(push.plate, action) for push in site.pushes for action in site.actions}

        def done() -> bool:
            require(process.poll() is None, f"the bridge died by itself: {site.log_tail()}")
            streams.refresh()
            told = sum(event["type"] == "action.ended" for event in streams.events)
            return len(streams.results) >= len(expected) <= told and site.idle()

        wait_for(done, 45, lambda: f"{len(streams.results)} of {len(expected)} results; {site.log_tail()}")
        streams.refresh()
        site.stop(process)
    return Seen(site.pushes, site.happened(), streams.events, streams.results, site.lives, site.actions)


def without_ledger(folder: Path) -> Control:
    """Empty the effect ledger while the bridge lies dead between doing and recording: the checker must complain."""
    site = DoorSite(_made(folder / "control"), doors=3, actions=("open",))
    with site.device() as port, Pusher(site, (FRESH, OLD, FRESH)) as pusher:
        site.write_doors(port)
        pusher.allow(1)
        _dies(site, "effect.acted:1")
        purge(site.data_dir, "ENGINE", f"vms.{NAME}.effect.>")
        pusher.allow(2)
        found = [fault for fault in faults(drained(site, pusher)) if "switched on" in fault]
    return Control("the effect ledger", "; ".join(found) or "nothing", bool(found))


def _judged(outcome: Outcome, seen: Seen) -> Outcome:
    kept = Kept.compare([push.plate for push in seen.pushes if push.acked], [e["data"]["plate"] for e in seen.reads])
    outcome.injected += len(seen.pushes)
    outcome.acked += sum(push.acked for push in seen.pushes)
    outcome.lost += kept.lost
    outcome.doubled += kept.doubled
    found = faults(seen)
    outcome.wrong += sum("switched on" in fault or "let in" in fault or "stays on" in fault for fault in found)
    outcome.problems += found
    for words in off_late(seen):
        outcome.in_time(False, words)
    return outcome


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
