"""F3: nats-server is killed or told to end, again and again, while events come in."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import time
from pathlib import Path

from .common import require, wait_for
from .ledger import Kept, Ledger, program, stored_plates
from .load import Load
from .outcome import Control, Outcome
from .site import Site

RECOVERY = 5.0
"""Seconds from the server's end to the next yes."""


def measure(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill or end the server so many times."""
    outcome = _run(folder, kills, seed)
    control = _run(folder, 1, seed, forgetful=True)
    showed = f"{control.lost} of {control.acked} lost, back after {control.figures['recovery_max_s']:.1f} s"
    without = "a server that forgets its newest block and takes 6 s to come back"
    outcome.control = Control(without, showed, control.lost > 0 and bool(control.found))
    return outcome


def _run(folder: Path, kills: int, seed: int, *, forgetful: bool = False) -> Outcome:
    chance = random.Random(seed)
    place = folder / ("control" if forgetful else "site")
    place.mkdir()
    site, ledger = Site(place), Ledger(place / "acked")
    site.write(bus={"binary": str(_forgetful(place)) if forgetful else "auto"})
    outcome = Outcome("F3", "nats-server is killed or ended", f"{kills} times")
    recoveries: list[float] = []
    with site.bridge() as process:
        site.wait_ready(process)
        with Load(site.http_port, ledger, batch=20) as load:
            for _ in range(kills):
                enough = load.acked + 100
                wait_for(lambda enough=enough: load.acked >= enough, 30, lambda: "no yes")  # type: ignore[misc]
                time.sleep(chance.uniform(0, 0.3))
                recoveries.append(_end_server(site, load, chance.choice((signal.SIGKILL, signal.SIGTERM))))
        site.stop(process)
    kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    outcome.count(ledger, kept)
    outcome.figures = {"recovery_max_s": max(recoveries), "recovery_mean_s": sum(recoveries) / kills}
    outcome.none_lost()
    outcome.in_time(max(recoveries) <= RECOVERY, f"the longest recovery took {max(recoveries):.1f} s")
    return outcome


def _end_server(site: Site, load: Load, number: signal.Signals) -> float:
    """End the server and return the seconds until the next yes after its end."""
    pid = site.server_pid()
    require(pid is not None, f"nats-server does not run: {site.log_tail()}")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid or 0, number)
    wait_for(lambda: site.server_pid() != pid, 15, lambda: "nats-server does not end")
    ended = time.monotonic()
    wait_for(lambda: load.first_yes_after(ended) is not None, 30, lambda: f"it does not recover: {site.log_tail()}")
    return load.first_yes_after(ended) or 0.0


def _forgetful(folder: Path) -> Path:
    """Write a nats-server that loses the newest block of the events whenever it starts, as a bad disk might."""
    path, data = folder / "nats-server", folder / "data" / "bus"
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -c ] && [ -e {data}/jetstream ]; then sleep 6\n'
        f"  newest=$(find {data} -path '*-EVENTS/msgs/*.blk' | sort -V | tail -1)\n"
        '  if [ -n "$newest" ]; then rm -f "$newest" "$(dirname "$newest")/index.db"; fi\n'
        "fi\n"
        f'exec {shlex.quote(program())} "$@"\n'
    )
    path.chmod(0o755)
    return path
