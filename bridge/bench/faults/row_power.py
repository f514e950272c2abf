"""F4 and L4: the power goes while events come in, and a disk that takes its time to sync."""

from __future__ import annotations

import random
import time
from pathlib import Path

from .common import rank, wait_for
from .ledger import Kept, Ledger, stored_plates
from .load import Load
from .lossyfs import Lossy, mounted
from .outcome import Control, Outcome
from .site import Site

SLOW_SYNC = 0.005
"""Seconds."""
START = 30.0
"""Seconds until a bridge takes requests again on a disk that was cut off, with up to a million events in the log."""
RATE = 300.0
"""Events a second that a slow disk must hold."""
P99 = 0.5
"""Seconds from sending a push to its yes."""


def measure(folder: Path, cuts: int, seed: int, events: int = 1_500) -> Outcome:
    """Cut the power so many times, each after about so many events more."""
    outcome = _cuts(folder / "always", cuts, seed, events, "always")
    control = _cuts(folder / "interval", 1, seed, min(events, 3_000), "2m")
    showed = f"{control.lost} of {control.acked} lost"
    outcome.control = Control("sync always (nats-server's own default, 2 minutes, instead)", showed, control.lost > 0)
    return outcome


def _cuts(folder: Path, cuts: int, seed: int, events: int, sync: str) -> Outcome:
    folder.mkdir()
    chance = random.Random(seed)
    outcome = Outcome("F4", "the power is cut", f"{cuts} cuts")
    with mounted(folder) as lossy:
        site, ledger = Site(folder, data=lossy.path / "data"), Ledger(folder / "acked")
        site.write(bus={"sync": sync})
        starts = [_one_life(site, ledger, lossy, chance, events, life) for life in range(cuts)]
        # The control loses even its streams: what a bridge makes of that is what is compared.
        with site.bridge() as process:
            starts.append(site.wait_ready(process))
            site.stop(process)
        kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    outcome.count(ledger, kept)
    outcome.figures = {"start_max_s": max(starts)}
    outcome.none_lost()
    outcome.in_time(max(starts) <= START, f"a start took {max(starts):.1f} s")
    return outcome


def _one_life(site: Site, ledger: Ledger, lossy: Lossy, chance: random.Random, events: int, life: int) -> float:
    """Start a bridge, let events come in, cut; every second cut is a torn one. Return how long the start took."""
    with site.bridge() as process:
        start = site.wait_ready(process)
        with Load(site.http_port, ledger, batch=50, senders=3, prefix=f"L{life}X") as load:
            enough = len(ledger.acked) + int(events * chance.uniform(0.7, 1.3))
            wait_for(lambda: len(ledger.acked) >= enough, 300, lambda: f"no yes: {site.log_tail()}")
            time.sleep(chance.uniform(0, 0.05))
            site.power_off(process)
            load.over()
    lossy.cut(torn=chance.randrange(1, 2**31) if life % 2 else 0)
    return start


def slow_sync(folder: Path, seconds: int, seed: int) -> Outcome:
    """Push at a steady rate onto a disk that takes 5 ms to sync."""
    outcome = _paced(folder / "site", seconds, SLOW_SYNC)
    control = _paced(folder / "control", 2, 0.1)
    showed = f"p99 {control.figures['p99_ms']:.0f} ms, {control.figures['rate']:.0f}/s"
    outcome.control = Control("a disk that is fast enough (100 ms a sync)", showed, bool(control.found))
    return outcome


def _paced(folder: Path, seconds: int, sync_seconds: float) -> Outcome:
    folder.mkdir()
    count = int(RATE * seconds)
    outcome = Outcome("L4", "a disk that takes 5 ms to sync", f"{seconds} s at {RATE:.0f}/s")
    with mounted(folder, sync_seconds) as lossy:
        site, ledger = Site(folder, data=lossy.path / "data"), Ledger(folder / "acked")
        site.write()
        with site.bridge() as process:
            site.wait_ready(process)
            began = time.monotonic()
            with Load(site.http_port, ledger, batch=5, senders=12, rate=RATE, most=count) as load:
                load.finish(seconds * 3 + 10)
                took = time.monotonic() - began
            site.stop(process)
        kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    outcome.count(ledger, kept)
    rate, p99 = len(ledger.acked) / took, rank(load.took, 0.99)
    outcome.figures = {"rate": rate, "p50_ms": rank(load.took, 0.5) * 1e3, "p99_ms": p99 * 1e3}
    outcome.none_lost()
    outcome.in_time(rate >= RATE * 0.95, f"{rate:.0f} events a second instead of {RATE:.0f}")
    outcome.in_time(p99 <= P99, f"p99 is {p99 * 1e3:.0f} ms")
    return outcome
