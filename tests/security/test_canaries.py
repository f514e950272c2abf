"""Secrets that are marked are found nowhere but where they belong, after a bridge has used and refused all of them.

Everything that a bridge leaves behind is searched: its log at debug level, its whole data directory with every stream,
its metrics and health, the command lines of its processes, what commands print, and a backup. The controls show that
the search finds what is there, and that without the redaction it would have found some.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest

from tests.bridge.commands.helpers import ROOT, cli, environment

SIMULATOR = """
import asyncio, json, sys
from connectors.ts_api.simulator.config import SimulatorConfig
from connectors.ts_api.simulator.server import serve
config = SimulatorConfig.model_validate_json(sys.stdin.readline())
asyncio.run(serve(config, lambda it: print(it.url, flush=True)))
"""
LOUD = """
import bridge.runtime.log
bridge.runtime.log._QUIET.clear()

import logging
from bridge.http.push import PushEndpoint
admit = PushEndpoint._admit

def careless(self, request):
    logging.warning("%s with %s", request.url, dict(request.headers), extra={"headers": dict(request.headers)})
    return admit(self, request)

PushEndpoint._admit = careless

from bridge.cli import main
"""
"""The bridge with every library saying all it knows, and a careless line in the log for each push."""
NO_REDACTION = """
from bridge.runtime.redact import Redactor
Redactor.text = lambda self, text: text
Redactor.value = lambda self, value, name="", depth=0: value
"""
OWN_FILES = frozenset({"bus/nats.conf", "bus/server.json"})
"""Where the embedded server's passwords have to be; mode 0600."""


def free_port() -> int:
    """Return a port that nobody has: below the range the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str] = str) -> None:
    """Poll until the condition holds; fail with `what()` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def canaries() -> dict[str, str]:
    """A marked secret for each place that one may stand in."""
    names = (
        "vms", "vms-wrong", "vms-away", "push", "token", "listener", "header", "path", "query", "guess", "told",
    )  # fmt: skip
    made = {name: f"canary-{name}-{secrets.token_hex(8)}" for name in names}
    made["api-key"] = f"tsapi_key_{secrets.token_hex(12)}"
    made["signer"] = "whsec_" + base64.b64encode(f"canary-signer-{secrets.token_hex(8)}".encode()).decode()
    made["hook"] = "whsec_" + base64.b64encode(f"canary-hook-{secrets.token_hex(8)}".encode()).decode()
    return made


def forms(secret: str) -> set[bytes]:
    """A secret as it may look on the way: in base64 at each offset, escaped, in hex; and the key behind `whsec_`."""
    plain = {secret.encode()}
    if secret.startswith("whsec_"):
        plain |= {secret.removeprefix("whsec_").encode(), base64.b64decode(secret.removeprefix("whsec_"))}
    found = set()
    for text in plain:
        found |= {text, text.hex().encode(), quote(text, safe="").encode(), quote_plus(text).encode()}
        for offset in range(3):
            # What stands before decides how base64 comes out; the ends, which depend on the neighbours, are left off.
            encoded = base64.b64encode(b"x" * offset + text)
            found.add(encoded[4 if offset else 0 : len(encoded) - 4])
    return found


def hits(marked: dict[str, str], texts: dict[str, bytes]) -> list[str]:
    """Where which secret was found."""
    return [
        f"{name} in {where}"
        for where, text in texts.items()
        for name, secret in marked.items()
        if any(form in text for form in forms(secret))
    ]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes webhooks."""

    got: list[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.got.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def receiver() -> Iterator[tuple[int, list[dict[str, str]]]]:
    got: list[dict[str, str]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("R", (Receiver,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def simulator(marked: dict[str, str]) -> Iterator[str]:
    config = {
        "users": [{"name": "admin", "password": marked["vms"], "admin": True}],
        "api_keys": [{"id": "key", "key": marked["api-key"]}],
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SIMULATOR],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(config) + "\n")
        process.stdin.flush()
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


def write(folder: Path, marked: dict[str, str], vms: str, hook_port: int, port: int) -> None:
    """A site that uses every secret, and some that fail."""
    source = {"type": "ts-api", "url": vms, "username": "admin"}
    config = {
        "site": "lab",
        "log": {"level": "debug", "format": "json"},
        "bus": {"mqtt": {"port": 0, "password": marked["listener"]}},
        "mqtt": {"broker": "embedded"},
        "http": {
            "port": port,
            "allow_query_auth": True,
            "push": {
                "gate": {"password": marked["push"], "token": marked["token"]},
                "signer": {"secret": marked["signer"]},
            },
        },
        "sources": {
            "nvr1": {**source, "password": marked["vms"], "dialect": "v0"},
            "nvr2": {"type": "ts-api", "url": vms, "api_key": marked["api-key"]},
            "wrong": {**source, "password": marked["vms-wrong"]},
            "away": {**source, "url": f"http://127.0.0.1:{free_port()}", "password": marked["vms-away"]},
        },
        "webhooks": {
            "office": {
                "url": f"http://127.0.0.1:{hook_port}/{marked['path']}?token={marked['query']}",
                "secret": marked["hook"],
                "headers": {"X-Office": marked["header"], "Authorization": f"Bearer {marked['header']}"},
                "allow_private": True,
            },
            "gone": {
                "url": f"http://127.0.0.1:{free_port()}/{marked['path']}?token={marked['query']}",
                "secret": marked["hook"],
                "allow_private": True,
            },
        },
        "rules": ["rules.yaml"],
    }
    then = [{"webhook": {"to": "office"}}, {"webhook": {"to": "gone"}}, {"mqtt": {"topic": "plates", "payload": "x"}}]
    (folder / "rules.yaml").write_text(
        json.dumps({"rules": [{"id": "tell", "when": {"kind": "plate.read"}, "then": then}]})
    )
    path = folder / "bridge.yaml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))


@contextmanager
def bridge(folder: Path, program: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "bridge.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *program, "run", "-c", "bridge.yaml"],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def use(folder: Path, marked: dict[str, str], port: int, got: list[dict[str, str]]) -> dict[str, bytes]:
    """Push with right and wrong secrets in every form, until everything was used; return what the bridge says."""
    url = f"http://127.0.0.1:{port}"
    log = folder / "bridge.log"

    def up() -> bool:
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(up, 40, lambda: log.read_text()[-3000:])
    wait_for(lambda: b'"source": "wrong"' in log.read_bytes() or b'"wrong"' in log.read_bytes(), 30)
    item = {"topic": "LPR", "src": "1", "plateNo": "MARKER1"}
    guess, told = marked["guess"], marked["told"]
    pair = base64.b64encode(f"gate:{marked['push']}".encode()).decode()
    wrong = base64.b64encode(f"gate:{guess}".encode()).decode()
    with httpx.Client(base_url=url) as client:
        for number, kind in enumerate(
            (
                {"params": {"auth": pair}},
                {"params": {"token": marked["token"]}},
                {"headers": {"X-API-Key": marked["token"]}},
                {"auth": ("gate", marked["push"])},
            )
        ):
            pushed = item | {"plateNo": f"MARKER{number}"}
            assert client.post("/api/push", json=pushed, **kind).status_code == 200, kind
        for kind in (
            {"params": {"auth": wrong}},
            {"params": {"token": guess}},
            {"params": {"apikey": guess}},
            {"headers": {"X-API-Key": guess}},
            {"headers": {"Cookie": f"session={guess}"}, "auth": ("gate", guess)},
            {"headers": {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": f"v1,{guess}"}},
        ):
            assert client.post("/api/push", json=item, **kind).status_code == 401, kind
        # A device that tells a secret in what it sends: an address with credentials, and one that is parked.
        address = f"rtsp://admin:{told}@10.0.0.9/live?auth={told}"
        for body in (
            {**item, "plateNo": "MARKER9", "link": address, "password": told},
            {"topic": "x", "password": told},
        ):
            client.post("/api/push", json=body, auth=("gate", marked["push"]))
        client.get("/nothing", params={"auth": wrong})
        wait_for(lambda: len(got) >= 5, 30, lambda: f"{len(got)} webhooks; {log.read_text()[-3000:]}")
        return {"metrics": client.get("/metrics").content, "readyz": client.get("/readyz").content}


def command_lines(process: subprocess.Popen[bytes]) -> bytes:
    """Of the bridge and everything it started."""
    found = b""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if entry.name == str(process.pid) or parents == str(process.pid):
                found += (entry / "cmdline").read_bytes() + b"\n"
        except OSError:
            continue
    return found


def data_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and str(path.relative_to(folder)) not in OWN_FILES
    }


def test_marked_secrets_are_found_nowhere(tmp_path: Path) -> None:
    """Not one hit; and the same search finds the plates, and the secrets in the files that are theirs."""
    marked, port = canaries(), free_port()
    with receiver() as (hook_port, got), simulator(marked) as vms:
        write(tmp_path, marked, vms, hook_port, port)
        with bridge(tmp_path, ["-c", LOUD + "main()"]) as process:
            said = use(tmp_path, marked, port, got)
            said["command lines"] = command_lines(process)
            assert b"nats-server" in said["command lines"]
            shown = cli("events", "--all", "--json", cwd=tmp_path)
            saved = cli("backup", "saved", cwd=tmp_path)
            doctor = cli("doctor", "--json", cwd=tmp_path)
            for done in (shown, saved, doctor):
                said[" ".join(done.args[3:])] = (done.stdout + done.stderr).encode()
            assert saved.returncode == 0, saved.stderr
    assert {headers["x-office"] for headers in got} == {marked["header"]}, "the secrets were really used"
    data = data_files(tmp_path / "data")
    said |= {f"backup/{name}": content for name, content in data_files(tmp_path / "saved").items()}
    said |= data | {"log": (tmp_path / "bridge.log").read_bytes()}
    assert hits(marked, said) == []
    # The controls: the search reads what is there.
    assert any(b"MARKER1" in content for name, content in data.items() if name.endswith(".blk"))
    assert b"MARKER1" in said["events --all --json"]
    own = {name: (tmp_path / "data" / name).read_bytes() for name in OWN_FILES}
    assert hits({"listener": marked["listener"]}, own)
    assert len(hits(marked, {"configuration": (tmp_path / "bridge.yaml").read_bytes()})) >= 12
    shutil.rmtree(tmp_path / "data")


def test_without_redaction_some_would_be_found(tmp_path: Path) -> None:
    """The same bridge with the redaction taken out says secrets in its log."""
    marked, port = canaries(), free_port()
    with receiver() as (hook_port, got), simulator(marked) as vms:
        write(tmp_path, marked, vms, hook_port, port)
        with bridge(tmp_path, ["-c", LOUD + NO_REDACTION + "main()"]):
            use(tmp_path, marked, port, got)
    assert hits(marked, {"log": (tmp_path / "bridge.log").read_bytes()})


@pytest.mark.parametrize("way", [lambda s: s, lambda s: quote(s, safe=""), lambda s: s.encode().hex()])
def test_the_search_knows_every_form(way: Any) -> None:
    """Also within something longer that is base64."""
    secret = "canary ä/+?&=1234567890"
    assert hits({"it": secret}, {"there": way(secret).encode()})
    for before in ("", "a:", "ab:", "abc:"):
        hidden = base64.b64encode(f"{before}{secret}:behind".encode())
        assert hits({"it": secret}, {"there": b"..." + hidden + b"..."})
    assert not hits({"it": secret}, {"there": os.urandom(4096)})
