"""A site: a folder with a configuration, and a bridge in a process of its own that can be killed, stopped or cut."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .common import ROOT, FaultError, free_port, require, wait_for

PUSHER = ("gate", "s3cret-pusher")
NAME = "lab"
"""Of the site: part of every stream's name."""
Process = subprocess.Popen[bytes]


@dataclass
class Site:
    """See the module. `data` is where the bridge keeps what it must not forget."""

    folder: Path
    data: Path | None = None
    http_port: int = field(default_factory=free_port)
    lives: list[tuple[float, float]] = field(default_factory=list)
    """When each bridge was started and when it was seen dead."""

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.data or self.folder / "data"

    def write(self, rules: Sequence[Mapping[str, Any]] = (), **sections: Any) -> None:
        """Write bridge.yaml, with one client who may push, and the rules. JSON is YAML."""
        config = {
            "site": NAME,
            "data_dir": str(self.data_dir),
            "http": {
                "port": self.http_port,
                "push": {"gate": {"username": PUSHER[0], "password": PUSHER[1], "source": "gate"}},
            },
            "rules": ["rules.yaml"],
        } | sections
        (self.folder / "bridge.yaml").write_text(json.dumps(config))
        (self.folder / "rules.yaml").write_text(json.dumps({"rules": list(rules)}))

    # --- the process ------------------------------------------------------------------------------

    @contextmanager
    def bridge(self, crash_at: str | None = None, under: Sequence[str] = (), **extra: str) -> Iterator[Process]:
        """Start a bridge, `under` another program if that is named; whatever is left of it at the end is killed."""
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        environment = os.environ | {"PYTHONPATH": path} | extra
        environment.pop("VMS_BRIDGE_CRASH_AT", None)
        if crash_at:
            environment["VMS_BRIDGE_CRASH_AT"] = crash_at
        born = time.time()
        with (self.folder / "bridge.log").open("ab") as log:
            process = subprocess.Popen(
                [*under, sys.executable, "-m", "bridge", "run", "-c", str(self.folder / "bridge.yaml")],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            self.lives.append((born, time.time()))

    def wait_ready(self, process: Process, seconds: float = 90) -> float:
        """Wait until the bridge takes requests, and return how long that took; it must not die before."""

        def ready() -> bool:
            require(process.poll() is None, f"the bridge died by itself: {self.log_tail()}")
            return self.request("GET", "/healthz")[0] == 200

        return wait_for(ready, seconds, lambda: f"the bridge did not come up: {self.log_tail()}")

    def stop(self, process: Process) -> None:
        """End it as a person would. It has 30 s."""
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired as exc:
            raise FaultError(f"the bridge does not stop: {self.log_tail()}") from exc
        require(code == 0, f"the bridge ended with {code}: {self.log_tail()}")

    def server_pid(self) -> int | None:
        """Return the process id of its nats-server, if it runs."""
        return server_pid(self.data_dir)

    def power_off(self, process: Process) -> None:
        """End everything at one moment: nobody is left to tidy up after somebody else."""
        process.send_signal(signal.SIGSTOP)
        server = self.server_pid()
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)
        process.kill()
        process.wait()
        wait_for(lambda: self.server_pid() is None, 10, lambda: "nats-server does not die")

    def log_tail(self) -> str:
        """Return the end of what the bridge said."""
        return (self.folder / "bridge.log").read_text(errors="replace")[-3000:]

    def said(self, words: str) -> int:
        """Return how often the bridge said something."""
        return (self.folder / "bridge.log").read_text(errors="replace").count(words)

    # --- talking to it ----------------------------------------------------------------------------

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request; status 0 stands for no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request(method, path, body, push_headers())
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Return the bridge's own figures by name, those with several labels summed up; empty if it is not there."""
        status, text = self.request("GET", "/metrics")
        found: dict[str, float] = {}
        for line in text.decode().splitlines() if status == 200 else ():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#"):
                name = name.partition("{")[0].removeprefix("vms_bridge_")
                found[name] = found.get(name, 0.0) + float(value)
        return found

    def idle(self) -> bool:
        """Whether the bridge says that it has nothing in hand and owes nothing."""
        values = self.metrics()
        named = [v for n, v in values.items() if n in ("orders_in_hand", "releases_owed", "events_waiting")]
        require(not values or len(named) == 3, "the metrics have other names now")
        return bool(values) and not any(named)

    def rss(self, process: Process) -> float:
        """Return the MiB of memory a bridge has."""
        return _rss(process.pid)

    def server_rss(self) -> float:
        """Return the MiB of memory its nats-server has; 0 if it does not run."""
        pid = self.server_pid()
        return 0.0 if pid is None else _rss(pid)


def _rss(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def server_pid(data_dir: Path) -> int | None:
    """Return the process id of the nats-server of a data directory, if it runs."""
    try:
        pid = int((data_dir / "bus" / "nats-server.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"nats.conf" in command else None


def push_headers() -> dict[str, str]:
    """Return what a push needs to be taken."""
    token = base64.b64encode(":".join(PUSHER).encode()).decode()
    return {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
