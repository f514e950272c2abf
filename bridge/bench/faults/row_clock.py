"""F8: the machine's clock jumps under a running bridge, and people stand at the door meanwhile.

The bridge runs under libfaketime, which moves its wall clock and nothing else; nats-server keeps
the true time. Whoever comes while the clock is wrong by more than an opening may be old is not let
in, also when his own time is as old as the clock is slow, so that only the jump gives him away.
Whoever comes when a clock that was set back is right again is let in; after one that was set
forward nobody is before every moment that came twice is over. Timers are never early.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from .check import MAX_AGE
from .common import ROOT, UnavailableError, both, wait_for
from .doors import DoorSite
from .ledger import stored_plates
from .outcome import Control, Outcome
from .receiver import Receiver, tell
from .site import Process

JUMPS = (-3600.0, 3600.0, -300.0, 86_400.0, -86_400.0, 2 * MAX_AGE)
"""Seconds that the clock is set forward or back."""
WAIT = 2.0
"""Seconds of the timer that each visitor sets off."""
LATE = 10.0
_LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"
_EARLY = """\
# libfaketime 0.9.10 answers EINVAL to the absolute clock_nanosleep that time.sleep is made of.
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
_AGAIN = 20.0
"""Seconds within which a bridge whose clock is right again must let people in."""


def measure(folder: Path, jumps: int, seed: int) -> Outcome:
    """Let the clock jump so many times, and back each time."""
    chance = random.Random(seed)
    ahead = [JUMPS[n % len(JUMPS)] * chance.uniform(0.9, 1.0) for n in range(jumps)]
    # Without a jump the same visitor is let in: that is what the rule keeps out.
    outcome, control = both(lambda: _run(folder / "site", sorted(ahead)), lambda: _run(folder / "control", [0.0]))
    showed = f"{control.wrong} let in"
    outcome.control = Control("the jump of the clock (a visitor who must not be let in is)", showed, control.wrong > 0)
    return outcome


def _run(folder: Path, jumps: Sequence[float]) -> Outcome:
    folder.mkdir()
    library = next(iter(sorted(Path("/").glob(_LIBRARY.removeprefix("/")))), None)
    if library is None:
        raise UnavailableError("libfaketime is not installed (the package faketime)")
    clock = folder / "clock"
    _set(clock, 0)
    site = DoorSite(folder, doors=100)
    outcome = Outcome("F8", "the clock jumps", f"{len(jumps)} jumps")
    (folder / "early").mkdir()
    (folder / "early" / "sitecustomize.py").write_text(_EARLY)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(folder / "early"), str(ROOT), *(entry for entry in sys.path if entry)]),
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    back: list[float] = []
    with site.device() as port, Receiver(slow=("first",), patience=60) as receiver:
        site.write_doors(port)
        _with_timers(site, receiver)
        with site.bridge(**environment) as process:
            site.wait_ready(process)
            back.append(_until_let_in(site))
            for jump in jumps:
                _set(clock, jump)
                _visitor(site, jump)
                if jump < 0:
                    _visitor(site, jump, old=True)
                _settled(site, process)
                _set(clock, 0)
                if jump > 0:
                    # Set right is set back, too: every moment comes a second time, and no age can be told.
                    _visitor(site, 0)
                else:
                    back.append(_until_let_in(site))
            _timed_out(receiver, site)
            receiver.release()
            _settled(site, process)
            site.stop(process)
    _judge(outcome, site, receiver, stored_plates(site.data_dir), back)
    return outcome


def _set(clock: Path, offset: float) -> None:
    fresh = clock.with_suffix(".new")
    fresh.write_text(f"{offset:+.3f}\n")
    fresh.replace(clock)


def _with_timers(site: DoorSite, receiver: Receiver) -> None:
    """Let every visitor set off a timer too."""
    config = json.loads((site.folder / "bridge.yaml").read_text())
    config["webhooks"] |= {"slow": receiver.config(timeout="15s"), "quick": receiver.config()}
    (site.folder / "bridge.yaml").write_text(json.dumps(config))
    rules = [
        rule | {"then": rule["then"][:1]} for rule in json.loads((site.folder / "rules.yaml").read_text())["rules"]
    ]
    steps = [
        tell("first", "slow", **{"as": "first"}),
        tell("second", "quick", **{"with": "first", "wait": f"{WAIT:g}s"}),
    ]
    rules.append({"id": "timer", "when": {"kind": "plate.read"}, "then": steps})
    (site.folder / "rules.yaml").write_text(json.dumps({"rules": rules}))


def _visitor(site: DoorSite, jump: float, *, old: bool = False) -> None:
    """Let somebody come: just now, or as long ago as the clock was set back, so that it seems to be now."""
    age = timedelta(seconds=-jump) if old else timedelta(0)
    site.untrusted.add(f"P{len(site.pushes) + 1}")
    site.push(age=age)


def _settled(site: DoorSite, process: Process) -> None:
    wait_for(lambda: process.poll() is not None or site.metrics().get("events_waiting") == 0, 20)
    time.sleep(1.0)  # what was decided has reached the device by then: the sleep is the pulse and a bit


def _until_let_in(site: DoorSite) -> float:
    """Let people come until one is let in; return how long that took."""
    began = time.monotonic()
    while True:
        site.push()
        token = site.pushes[-1].plate.replace("P", "r")
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            if any(entry.get("token") == token and entry.get("action") == "on" for entry in site.happened()):
                return time.monotonic() - began
            time.sleep(0.1)
        if time.monotonic() - began > _AGAIN:
            return _AGAIN


def _timed_out(receiver: Receiver, site: DoorSite) -> None:
    end = time.monotonic() + LATE + WAIT
    wanted = {push.plate for push in site.pushes}
    while wanted - {hook.plate for hook in receiver.of("second")} and time.monotonic() < end:
        time.sleep(0.1)


def _judge(outcome: Outcome, site: DoorSite, receiver: Receiver, plates: list[str], back: list[float]) -> None:
    opened = {str(e["token"]).replace("r", "P") for e in site.happened() if e.get("action") == "on"}
    acked = {push.plate for push in site.pushes if push.acked}
    came = {push.plate: push.when + push.age for push in site.pushes}
    rang = {hook.plate: hook.at for hook in reversed(receiver.of("second"))}
    early = [plate for plate, at in rang.items() if at < came[plate] + WAIT - 0.05]
    never = acked - set(rang)
    wrongly = opened & site.untrusted
    outcome.injected, outcome.acked = len(site.pushes), len(acked)
    outcome.lost, outcome.doubled = len(acked - set(plates)), len(plates) - len(set(plates))
    outcome.wrong = len(wrongly)
    outcome.figures = {"opened": len(opened), "trusted_again_max_s": max(back)}
    outcome.none_lost()
    outcome.hold(not wrongly, f"{sorted(wrongly)} were let in while the clock was wrong")
    outcome.hold(not early, f"{len(early)} timers ran out early")
    outcome.hold(not never, f"{len(never)} timers never ran out")
    outcome.hold(max(back) < _AGAIN, f"nobody is let in within {_AGAIN:.0f} s of the clock's being right again")
