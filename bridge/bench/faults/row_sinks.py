"""F9: a receiver that hardly answers, beside one that does, while events come in."""

from __future__ import annotations

import time
from pathlib import Path

from .common import rank
from .ledger import Kept, Ledger, stored_plates
from .load import Load
from .outcome import Control, Outcome
from .receiver import Receiver, tell
from .site import Process, Site

RATE = 30.0
GROWTH = 50.0
"""MiB that the bridge may grow by."""
WORSE = 2.0
"""So many times slower the other receiver may be told,"""
FLOOR = 0.5
"""or so many seconds: on a busy machine twice nothing is still nothing."""
_HANGS = 12.0
"""Seconds that the one takes for each answer: whoever stands behind it waits at least as long."""


def measure(folder: Path, seconds: int, seed: int) -> Outcome:
    """Let one receiver take 12 s for each answer, for so many seconds."""
    outcome = _run(folder / "site", seconds, RATE, apart=True)
    control = _run(folder / "control", 4, RATE, apart=False)
    showed = f"p99 {control.figures['p99_beside_hanging_ms'] / 1e3:.1f} s"
    outcome.control = Control("a lane for each receiver (both behind one name)", showed, bool(control.found))
    return outcome


def _run(folder: Path, seconds: int, rate: float, *, apart: bool) -> Outcome:
    folder.mkdir()
    site, ledger = Site(folder), Ledger(folder / "acked")
    outcome = Outcome("F9", "a receiver hangs", f"{seconds} s at {rate:.0f}/s")
    with Receiver(patience=_HANGS) as receiver:
        names = ("slow", "quick") if apart else ("slow", "slow")
        steps = [tell(kind, to) for kind, to in zip(("slow", "quick"), names, strict=True)]
        site.write(
            rules=[{"id": "tell", "when": {"kind": "plate.read"}, "then": steps}],
            webhooks={"slow": receiver.config(timeout="15s"), "quick": receiver.config()},
        )
        with site.bridge() as process:
            site.wait_ready(process)
            sent = _paced(site, ledger, rate, 3, "A")
            _told(receiver, ledger, 30)
            before, memory = rank(_delays(receiver, sent), 0.99), site.rss(process)
            receiver.slow = ("slow",)
            sent = _paced(site, ledger, rate, seconds, "B")
            beside = rank(_delays(receiver, sent), 0.99)
            grown = _grown(site, process, memory)
            receiver.release()
            late = _told(receiver, ledger, 60 + seconds)
            site.stop(process)
    kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    outcome.injected, outcome.acked = ledger.offered, len(ledger.acked)
    outcome.lost, outcome.doubled = kept.lost + late, kept.doubled
    outcome.figures = {"p99_before_ms": before * 1e3, "p99_beside_hanging_ms": beside * 1e3, "grown_mib": grown}
    outcome.none_lost()
    outcome.hold(beside < _HANGS, "the other receiver stands behind the one that hangs")
    outcome.in_time(beside <= max(WORSE * before, before + FLOOR), f"the other receiver's p99 is {beside * 1e3:.0f} ms")
    outcome.hold(grown <= GROWTH, f"the bridge grew by {grown:.0f} MiB")
    return outcome


def _paced(site: Site, ledger: Ledger, rate: float, seconds: int, prefix: str) -> dict[str, float]:
    """Push at a rate; return when each plate had its yes."""
    with Load(site.http_port, ledger, batch=1, senders=3, rate=rate, most=int(rate * seconds), prefix=prefix) as load:
        load.finish(seconds * 3 + 20)
        time.sleep(1.0)  # for the last orders
    return load.sent


def _delays(receiver: Receiver, sent: dict[str, float]) -> list[float]:
    """Return the seconds from sending to telling the quick one; who was never told took very long."""
    told = {hook.plate: hook.at for hook in receiver.of("quick")}
    return [told.get(plate, at + 60.0) - at for plate, at in sent.items()]


def _told(receiver: Receiver, ledger: Ledger, seconds: float) -> int:
    """Wait until both were told of everything; return what is missing."""

    def missing() -> int:
        return sum(len(ledger.acked - {hook.plate for hook in receiver.of(kind)}) for kind in ("slow", "quick"))

    end = time.monotonic() + seconds
    while missing() and time.monotonic() < end:
        time.sleep(0.2)
    return missing()


def _grown(site: Site, process: Process, before: float) -> float:
    return max(0.0, site.rss(process) - before)
