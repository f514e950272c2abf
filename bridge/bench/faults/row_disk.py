"""F5: somebody else fills the disk while events come in, and later makes room again. Nobody helps the bridge."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .common import UnavailableError, both, free_port, wait_for
from .ledger import Kept, Ledger, program, stored_plates
from .load import Load
from .outcome import Control, Outcome
from .site import Site

DISK_MB = 64
REFUSAL = 2.0
"""Seconds until a sender hears that its event is not taken."""
BACK = 10.0
"""Seconds from room on the disk to the next yes."""
_SLACK = 0.5
"""Seconds for two busy cores and the way there and back."""


def measure(folder: Path, times: int, seed: int) -> Outcome:
    """Fill the disk so many times."""
    outcome, control = both(lambda: _filled(folder, times, seed), lambda: _control(folder))
    outcome.control = control
    return outcome


def _filled(folder: Path, times: int, seed: int) -> Outcome:
    outcome = Outcome("F5", f"the disk ({DISK_MB} MB) is full", f"{times} times")
    with small_disk(folder) as disk:
        site, ledger = Site(folder, data=disk / "data"), Ledger(folder / "acked")
        site.write()
        with site.bridge() as process:
            site.wait_ready(process)
            with Load(site.http_port, ledger, batch=1, rate=100.0) as load:
                _fill_and_free(outcome, site, load, disk, times, random.Random(seed))
            site.stop(process)
        kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    outcome.count(ledger, kept)
    outcome.none_lost()
    return outcome


def _fill_and_free(
    outcome: Outcome, site: Site, load: Load, disk: Path, times: int, chance: random.Random, patience: float = 30
) -> None:
    refusals: list[float] = []
    backs: list[float] = []
    for _ in range(times):
        enough, before = load.acked + 200, len(load.statuses)
        wait_for(lambda enough=enough: load.acked >= enough, 30, lambda: f"no yes: {site.log_tail()}")  # type: ignore[misc]
        _fill(disk)
        wait_for(lambda before=before: len(load.statuses) > before + 3, 30, lambda: "a full disk is not refused")  # type: ignore[misc]
        time.sleep(chance.uniform(0.5, 3))
        (disk / "fill").unlink()
        freed = time.monotonic()
        with contextlib.suppress(Exception):
            wait_for(lambda freed=freed: load.first_yes_after(freed) is not None, patience)  # type: ignore[misc]
        backs.append(load.first_yes_after(freed) or patience)
        outcome.hold(backs[-1] < patience, f"it takes no events {patience:.0f} s after there was room again")
        answers = load.statuses[before:]
        refusals += [took for _, _, took in answers]
        wrong = {status for _, status, _ in answers} - {503}
        outcome.hold(not wrong, f"a full disk is answered with {wrong}")
    outcome.figures = {"refusal_max_s": max(refusals), "back_max_s": max(backs), "refusals": len(refusals)}
    outcome.hold(load.retry_after == len(load.statuses), "a refusal does not say when to come again")
    outcome.in_time(max(refusals) <= REFUSAL + _SLACK, f"a refusal took {max(refusals):.1f} s")
    outcome.in_time(max(backs) <= BACK, f"it took {max(backs):.1f} s to take events again")


def _fill(disk: Path) -> None:
    """Use up every byte."""
    file = os.open(disk / "fill", os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while os.write(file, bytes(65536)):
            pass
    with contextlib.suppress(OSError):
        while os.write(file, b"x" * 512):
            pass
    os.close(file)


def _control(folder: Path) -> Control:
    """The same with a nats-server that nobody looks after, and that knows nothing of the size of its disk."""
    place = folder / "control"
    place.mkdir()
    outcome = Outcome("F5", "", "")
    with small_disk(place) as disk, _plain_server(place, disk) as port:
        site, ledger = Site(place), Ledger(place / "acked")
        site.write(bus={"servers": [f"nats://127.0.0.1:{port}"], "replicas": 1, "max_bytes": "32MiB"})
        with site.bridge() as process:
            site.wait_ready(process)
            # One at a time: the server survives a batch that it has no room for, and not a single message.
            with Load(site.http_port, ledger, batch=1, senders=1, rate=50.0) as load:
                _fill_and_free(outcome, site, load, disk, 1, random.Random(1), BACK + 2)
    return Control(
        "the embedded server's quotas and supervision", "; ".join(outcome.found) or "nothing", bool(outcome.found)
    )


@contextmanager
def _plain_server(folder: Path, disk: Path) -> Iterator[int]:
    port = free_port()
    jetstream = {"store_dir": str(disk / "store"), "sync_interval": "always", "max_file_store": 10 * 2**30}
    (folder / "plain.conf").write_text(json.dumps({"port": port, "host": "127.0.0.1", "jetstream": jetstream}))
    with (folder / "plain.log").open("wb") as log:
        process = subprocess.Popen([program(), "-c", folder / "plain.conf"], stderr=log, stdout=log)
    try:
        wait_for(lambda: _listens(port), 10, lambda: "nats-server does not start")
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk. Raises UnavailableError where we may not."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"this machine lets us mount nothing: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
