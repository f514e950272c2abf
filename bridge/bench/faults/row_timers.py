"""C2: timers run out while the bridge is killed, and while what they wait for ends at the same moment.

For a plate that races, the second step goes when the first has ended, at the latest after `WAIT`, and the first is
answered just about then or never; in long runs most plates only wait that long. Either way the second goes exactly
once, never before its time.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from .common import both, rank
from .ledger import Kept, Ledger, stored_plates
from .load import Load
from .outcome import Control, Outcome
from .receiver import Receiver, tell
from .site import Site

WAIT = 6.0
"""Seconds."""
LATE = 2.0
"""Seconds that a timer may be late (p99), while a bridge is there."""
_CLOCKS = 0.05
RATE = 100.0
"""Timers that are set in a second,"""
RACES = 1_000
"""of these at most so many that race with what they wait for,"""
WAVE = 2_000
"""and how many before the bridge is killed."""
_RESTARTS = 3


def measure(folder: Path, timers: int, seed: int) -> Outcome:
    """Let so many timers run out, over three kills."""
    outcome, control = both(
        lambda: _run(folder / "site", timers, seed, _RESTARTS),
        lambda: _run(folder / "control", 20, seed, 1, forget=True),
    )
    showed = "; ".join(control.found)
    outcome.control = Control("its memory (the data directory is new after the kill)", showed, bool(control.found))
    return outcome


def _run(folder: Path, timers: int, seed: int, restarts: int, *, forget: bool = False) -> Outcome:
    folder.mkdir()
    chance = random.Random(seed)
    site, ledger = Site(folder), Ledger(folder / "acked")
    waves = -(-timers // WAVE)
    outcome = Outcome("C2", "timers run out over kills", f"{timers} timers, {restarts * waves} kills")
    away: list[tuple[float, float]] = []
    sent: dict[str, float] = {}
    with Receiver(slow=("first",), patience=60) as receiver:
        _write(site, receiver)
        for wave in range(waves):
            count = min(WAVE, timers - wave * WAVE)
            receiver.hold()
            with site.bridge() as process:
                site.wait_ready(process)
                sent |= _push(site, ledger, count, wave, max(1, timers // RACES))
                _rest(min(time.time() + 1.0, max(sent.values())))
                site.power_off(process)
            if forget:
                site.data = folder / "another"
                _write(site, receiver)
            lives = [chance.uniform(0.5, 2.5) for _ in range(restarts - 1)]
            away += _restart(site, receiver, ledger, max(sent.values()), lives)
    kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    outcome.count(ledger, kept)
    _judge(outcome, receiver, sent, away)
    return outcome


def _restart(
    site: Site, receiver: Receiver, ledger: Ledger, last: float, lives: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Start a bridge for each life of so many seconds and kill it, then one until all is told; yield the absences."""
    for life in (*lives, None):
        down = time.time()
        with site.bridge() as process:
            site.wait_ready(process)
            yield down, time.time()
            if life is not None:
                time.sleep(life)
                site.power_off(process)
                continue
            _rest(last + WAIT + 1)
            _all_told(receiver, ledger, 20)
            receiver.release()
            site.stop(process)


def _write(site: Site, receiver: Receiver) -> None:
    races = [
        tell("first", "slow", **{"as": "first"}),
        tell("second", "quick", **{"with": "first", "wait": f"{WAIT:g}s"}),
    ]
    waits = [{"wait": f"{WAIT:g}s"}, tell("second", "quick")]
    each = {"when": {"kind": "plate.read"}, "per": "plate"}
    site.write(
        rules=[
            {**each, "id": "races", "match": {"plate": {"glob": "R*"}}, "then": races},
            {**each, "id": "waits", "match": {"plate": {"glob": "W*"}}, "then": waits},
        ],
        webhooks={"slow": receiver.config(timeout="15s"), "quick": receiver.config()},
    )


def _push(site: Site, ledger: Ledger, timers: int, wave: int, nth_races: int) -> dict[str, float]:
    def name(prefix: str, sender: int, number: int) -> str:
        return f"{'R' if number % nth_races == 0 else 'W'}{prefix}{sender}X{number:06d}"

    with Load(site.http_port, ledger, 2, 5, RATE, timers, prefix=f"{wave:02d}", name=name) as load:
        load.finish(10 + 3 * timers / RATE)
    return load.sent


def _rest(until: float) -> None:
    time.sleep(max(0.0, until - time.time()))


def _all_told(receiver: Receiver, ledger: Ledger, seconds: float) -> None:
    end = time.monotonic() + seconds
    while ledger.acked - {hook.plate for hook in receiver.of("second")} and time.monotonic() < end:
        time.sleep(0.1)


def _judge(outcome: Outcome, receiver: Receiver, sent: dict[str, float], away: list[tuple[float, float]]) -> None:
    ids: defaultdict[str, set[str]] = defaultdict(set)
    first: dict[str, float] = {}
    for hook in receiver.of("second"):
        ids[hook.plate].add(hook.id)
        first.setdefault(hook.plate, hook.at)
    early = [plate for plate, at in first.items() if at < sent[plate] + WAIT - _CLOCKS]
    late = [_lateness(sent[plate] + WAIT, at, away) for plate, at in first.items()]
    never = set(sent) - set(first)
    twice = [plate for plate, names in ids.items() if len(names) > 1]
    outcome.wrong = len(never) + len(twice) + len(early)
    outcome.figures = {"late_p50_s": rank(late, 0.5), "late_p99_s": rank(late, 0.99)}
    outcome.none_lost()
    outcome.hold(not never, f"{len(never)} timers never ran out")
    outcome.hold(not twice, f"{len(twice)} ran out twice")
    outcome.hold(not early, f"{len(early)} ran out early")
    outcome.in_time(rank(late, 0.99) <= LATE, f"p99 of lateness is {rank(late, 0.99):.1f} s")


def _lateness(due: float, at: float, away: list[tuple[float, float]]) -> float:
    """Return how late it was, from when there was a bridge with time to do it."""
    for down, back in away:
        if down - LATE <= due < back:
            due = back
    return max(0.0, at - due)
