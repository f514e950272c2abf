"""A site with one door a plate, so that every opening at the device names the event that caused it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PUSHER = ("gate", "s3cret-pusher")
MAX_AGE = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """A folder with a configuration, a device beside it, and a bridge that can be killed."""

    folder: Path
    doors: int
    http_port: int = field(default_factory=free_port)
    acked: list[str] = field(default_factory=list)
    old: set[str] = field(default_factory=set)
    pushed_at: dict[str, float] = field(default_factory=dict)
    _next: int = 0

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
            "outputs": {
                f"o{n}": {"source": "box", "channel": "1", "relay": f"r{n}", "idle": "off", "class": "actuating"}
                for n in numbers
            },
            "doors": {f"d{n}": {"output": f"o{n}", "mode": "act", "pulse": "300ms", "min_score": 0} for n in numbers},
            "webhooks": {"office": {"url": f"http://127.0.0.1:{device_port}/hook", "allow_private": True}},
            "rules": ["rules.yaml"],
        }
        rules = {
            "rules": [
                {
                    "id": f"open-{n}",
                    "when": {"kind": "plate.read"},
                    "match": {"plate": f"P{n}"},
                    "then": [{"open": f"d{n}"}, {"webhook": {"to": "office"}}],
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

    def happened(self, what: str) -> list[dict[str, object]]:
        if not self.ledger.exists():
            return []
        entries = [json.loads(line) for line in self.ledger.read_text().splitlines()]
        return [entry for entry in entries if entry["what"] == what]

    # --- the bridge -------------------------------------------------------------------------------

    def start(self, crash_at: str | None = None) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("VMS_BRIDGE_CRASH_AT", None)
        if crash_at:
            environment["VMS_BRIDGE_CRASH_AT"] = crash_at
        with (self.folder / "bridge.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bridge", "run", "-c", str(self.folder / "bridge.yaml")],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )

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

    def wait_ready(self, process: subprocess.Popen[bytes], seconds: float = 30) -> bool:
        """Wait until the bridge takes pushes; False if it died first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            if self.request("GET", "/healthz")[0] == 200:
                return True
            time.sleep(0.05)
        raise AssertionError(f"the bridge did not come up: {self.log_tail()}")

    def log_tail(self) -> str:
        return (self.folder / "bridge.log").read_text(errors="replace")[-3000:]

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, self.log_tail()

    # --- the injector -----------------------------------------------------------------------------

    def push(self, *, age: timedelta = timedelta(0), tries: int = 200) -> str | None:
        """Push the next plate until it is acknowledged; each try is the same message, as a device repeats it."""
        self._next += 1
        plate = f"P{self._next}"
        when = datetime.now(UTC) - age
        body = json.dumps({"topic": "LPR", "src": "F00001", "plateNo": plate, "when": when.isoformat()}).encode()
        if age > timedelta(seconds=MAX_AGE):
            self.old.add(plate)
        self.pushed_at[plate] = when.timestamp()
        for _ in range(tries):
            if self.request("POST", "/api/push", body)[0] == 200:
                self.acked.append(plate)
                return plate
            time.sleep(0.02)
        return None
