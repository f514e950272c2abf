"""A site with one door a plate, so that every opening at the device names the event that caused it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from tests.faults.check import MAX_AGE, Push

ROOT = Path(__file__).resolve().parents[2]
PUSHER = ("gate", "s3cret-pusher")
BOTH = ("open", "webhook")


def free_port() -> int:
    """Return a port that stays ours over restarts: below the range the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str] = str) -> None:
    """Poll until the condition holds; fail with `what()` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@dataclass
class Site:
    """A folder with a configuration, a device beside it, and a bridge that can be killed."""

    folder: Path
    doors: int
    actions: Sequence[str] = BOTH
    http_port: int = field(default_factory=free_port)
    pushes: list[Push] = field(default_factory=list)
    lives: list[tuple[float, float]] = field(default_factory=list)
    """When each bridge was started and when it was seen dead."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when nothing need be pushed any more."""

    @property
    def ledger(self) -> Path:
        return self.folder / "device.ledger"

    def write(self, device_port: int) -> None:
        """Write bridge.yaml and the rules: plate P<n> opens door d<n> and tells the receiver."""
        numbers = range(1, self.doors + 1)
        config = {
            "site": "lab",
            "data_dir": "data",
            "http": {
                "port": self.http_port,
                "push": {"gate": {"username": PUSHER[0], "password": PUSHER[1], "source": "gate"}},
            },
            "sources": {
                "box": {
                    "type": "ts-api",
                    "url": f"http://127.0.0.1:{device_port}",
                    "dialect": "v0",
                    "username": "admin",
                    "password": "admin",
                }
            },
            "safety": {"hold_off": "0s", "trusted_clocks": ["gate"], "breaker": {"per_minute": 10_000}},
            "outputs": {
                f"o{n}": {"source": "box", "channel": "1", "relay": f"r{n}", "idle": "off", "class": "actuating"}
                for n in numbers
            },
            "doors": {
                f"d{n}": {
                    "output": f"o{n}",
                    "mode": "act",
                    "pulse": "300ms",
                    "max_age": f"{MAX_AGE:g}s",
                    "min_score": 0,
                }
                for n in numbers
            },
            "webhooks": {"office": {"url": f"http://127.0.0.1:{device_port}/hook", "allow_private": True}},
            "rules": ["rules.yaml"],
        }
        rules = {
            "rules": [
                {
                    "id": f"open-{n}",
                    "when": {"kind": "plate.read"},
                    "match": {"plate": f"P{n}"},
                    "then": [
                        action
                        for action in ({"open": f"d{n}"}, {"webhook": {"to": "office"}})
                        if set(action) <= set(self.actions)
                    ],
                }
                for n in numbers
            ]
        }
        # JSON is YAML.
        (self.folder / "bridge.yaml").write_text(json.dumps(config))
        (self.folder / "rules.yaml").write_text(json.dumps(rules))

    # --- the device -------------------------------------------------------------------------------

    @contextmanager
    def device(self) -> Iterator[int]:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("device.py")), str(self.ledger)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def happened(self) -> list[dict[str, object]]:
        """Return what the device's ledger holds; the last line may be half written."""
        if not self.ledger.exists():
            return []
        lines = self.ledger.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    # --- the bridge -------------------------------------------------------------------------------

    @contextmanager
    def bridge(self, crash_at: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Start a bridge; whatever is left of it at the end is killed."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("VMS_BRIDGE_CRASH_AT", None)
        if crash_at:
            environment["VMS_BRIDGE_CRASH_AT"] = crash_at
        born = time.time()
        with (self.folder / "bridge.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "run", "-c", str(self.folder / "bridge.yaml")],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            self.lives.append((born, time.time()))

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request; status 0 stands for no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        token = base64.b64encode(":".join(PUSHER).encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def wait_ready(self, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
        """Wait until the bridge takes requests; it must not die before."""

        def ready() -> bool:
            assert process.poll() is None, f"the bridge died by itself: {self.log_tail()}"
            return self.request("GET", "/healthz")[0] == 200

        wait_for(ready, seconds, lambda: f"the bridge did not come up: {self.log_tail()}")

    def idle(self) -> bool:
        """Whether the bridge says that it has nothing in hand and owes nothing."""
        status, text = self.request("GET", "/metrics")
        lines = [line.split() for line in text.decode().splitlines() if not line.startswith("#")]
        values = {line[0].partition("{")[0]: float(line[1]) for line in lines if len(line) == 2}
        named = [v for n, v in values.items() if n.endswith(("orders_in_hand", "releases_owed", "events_waiting"))]
        assert status == 0 or len(named) == 3, "the metrics have other names now"
        return status == 200 and not any(named)

    def log_tail(self) -> str:
        return (self.folder / "bridge.log").read_text(errors="replace")[-3000:]

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, self.log_tail()

    # --- the injector -----------------------------------------------------------------------------

    def push(self, *, age: timedelta = timedelta(0), seconds: float = 60) -> None:
        """Push the next plate until it is acknowledged; each try is the same message, as a device repeats it."""
        plate = f"P{len(self.pushes) + 1}"
        when = datetime.now(UTC) - age
        body = json.dumps({"topic": "LPR", "src": "F00001", "plateNo": plate, "when": when.isoformat()}).encode()
        pushed = Push(plate, when.timestamp(), age.total_seconds())
        self.pushes.append(pushed)

        def tried() -> bool:
            pushed.acked = self.request("POST", "/api/push", body)[0] == 200
            return pushed.acked or self.over.is_set()

        wait_for(tried, seconds, lambda: f"{plate} is never acknowledged")


class Pusher:
    """Pushes in the background, one after the other, as many as it is allowed; a killed bridge does not stop it."""

    def __init__(self, site: Site, ages: Sequence[timedelta]) -> None:
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
        self._allowed.release(count)

    def finish(self) -> None:
        """Return when everything is acknowledged."""
        assert self._work is not None
        self._work.result(90)

    def _run(self) -> None:
        for age in self._ages:
            self._allowed.acquire()
            if self._site.over.is_set():
                return
            self._site.push(age=age)
