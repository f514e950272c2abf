"""A site with one door a plate, so that every opening at the device names the event that caused it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from .check import MAX_AGE, Push
from .common import ROOT, FaultError, wait_for
from .site import Site

BOTH = ("open", "webhook")
WATCHERS: Sequence[Mapping[str, Any]] = (
    {
        "id": "unmet",
        "when": {"kind": "action.ended"},
        "if": "event.data.attempts > 100",
        "shadow": True,
        "then": [{"webhook": "office"}],
    },
    {
        "id": "alone",
        "when": {"absent": {"kind": "call.ended"}, "after": {"kind": "plate.read"}, "within": "1s"},
        "shadow": True,
        "then": [{"webhook": "office"}],
    },
)
"""Rules that do nothing: one leaves traces where nothing was decided, one waits for the time alone."""


@dataclass
class DoorSite(Site):
    """A site with a relay box and a receiver beside it. Plate P<n> opens door d<n> and tells the receiver."""

    doors: int = 1
    actions: Sequence[str] = BOTH
    receiver: str = "hook"
    """Where it is told: `hook`, or `busy`, which takes nothing the first time."""
    watchers: Sequence[Mapping[str, Any]] = ()
    """More rules."""
    pushes: list[Push] = field(default_factory=list)
    untrusted: set[str] = field(default_factory=set)
    """Plates that came while the clock was wrong: none of them may be let in."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when nothing need be pushed any more."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ledger(self) -> Path:
        """What the device writes down."""
        return self.folder / "device.ledger"

    def write_doors(self, device_port: int) -> None:
        """Write bridge.yaml and the rules."""
        numbers = range(1, self.doors + 1)
        self.write(
            rules=[
                {
                    "id": f"open-{n}",
                    "when": {"kind": "plate.read"},
                    "match": {"plate": f"P{n}"},
                    "then": [step for name, step in _steps(n).items() if name in self.actions],
                }
                for n in numbers
            ]
            + [*self.watchers],
            sources={
                "box": {
                    "type": "ts-api",
                    "url": f"http://127.0.0.1:{device_port}",
                    "dialect": "v0",
                    "username": "admin",
                    "password": "admin",
                }
            },
            # Doors open as soon as the bridge is back, so that every kill has something in hand.
            safety={"hold_off": "0s", "trusted_clocks": ["gate"], "breaker": {"per_minute": 10_000}},
            outputs={
                f"o{n}": {"source": "box", "channel": "1", "relay": f"r{n}", "idle": "off", "class": "actuating"}
                for n in numbers
            },
            doors={f"d{n}": _door(n) for n in numbers},
            webhooks={"office": {"url": f"http://127.0.0.1:{device_port}/{self.receiver}", "allow_private": True}},
        )

    @contextmanager
    def device(self) -> Iterator[int]:
        """Run the relay box and the receiver; gives their port."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge.bench.faults.device", str(self.ledger)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        if process.stdout is None:
            raise FaultError("the device has no output")
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def happened(self) -> list[dict[str, Any]]:
        """Return what the device's ledger holds; the last line may be half written."""
        if not self.ledger.exists():
            return []
        lines = self.ledger.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def push(self, *, age: timedelta = timedelta(0), seconds: float = 120) -> None:
        """Push the next plate until it is acknowledged; each try is the same message, as a device repeats it."""
        when = datetime.now(UTC) - age
        with self._lock:
            plate = f"P{len(self.pushes) + 1}"
            pushed = Push(plate, when.timestamp(), age.total_seconds())
            self.pushes.append(pushed)
        body = json.dumps({"topic": "LPR", "src": "F00001", "plateNo": plate, "when": when.isoformat()}).encode()

        def tried() -> bool:
            pushed.acked = self.request("POST", "/api/push", body)[0] == 200
            return pushed.acked or self.over.is_set()

        wait_for(tried, seconds, lambda: f"{plate} is never acknowledged")


class Pusher:
    """Pushes in the background, one after the other, as many as it is allowed; a killed bridge does not stop it."""

    def __init__(self, site: DoorSite, ages: Sequence[timedelta]) -> None:
        self._site, self._ages = site, ages
        self._allowed = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(1)
        self._work: Future[None] | None = None

    def __enter__(self) -> Self:
        self._work = self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._site.over.set()
        self.allow(len(self._ages))
        self._pool.shutdown()

    def allow(self, count: int) -> None:
        """Let it push so many more."""
        self._allowed.release(count)

    def finish(self, seconds: float = 90) -> None:
        """Return when everything is acknowledged."""
        if self._work is not None:
            self._work.result(seconds)

    def _run(self) -> None:
        """The first car comes when the bridge is there: how long it takes to come up must not make that one late."""
        site = self._site
        wait_for(lambda: site.over.is_set() or site.request("GET", "/healthz")[0] == 200, 300)
        for age in self._ages:
            self._allowed.acquire()
            if self._site.over.is_set():
                return
            self._site.push(age=age)


def _steps(number: int) -> dict[str, dict[str, Any]]:
    """Return what each action does; nobody has the recordings for a clip, so that is refused."""
    return {
        "open": {"open": f"d{number}"},
        "webhook": {"webhook": {"to": "office"}},
        "clip": {"clip": {"before": "1s", "after": "0s"}},
    }


def _door(number: int) -> dict[str, Any]:
    return {"output": f"o{number}", "mode": "act", "pulse": "300ms", "max_age": f"{MAX_AGE:g}s", "min_score": 0}
