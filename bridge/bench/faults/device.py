"""A relay box and a webhook receiver in one process, writing down what really happened.

Run as a module with the ledger's path; it prints its port. It speaks as much of the TS-API v0 dialect as
switching a relay needs, and appends one synced line to the ledger for each thing that reached it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit


class Ledger:
    """Append-only, synced."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()

    def write(self, **entry: object) -> None:
        line = json.dumps({"at": time.time()} | entry) + "\n"
        with self._lock:
            os.write(self._file, line.encode())
            os.fsync(self._file)


class Device(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ledger: Ledger
    tried: ClassVar[set[str]] = set()
    """What came to the busy receiver: it takes nothing the first time."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        if parts.path == "/api/info":
            self._answer({"apiVersion": "TS-API@0.9.20", "timezone": {"name": "UTC", "bias": "+00:00"}})
        elif parts.path == "/api/channel/relay":
            for action in ("on", "off"):
                for token in query.get(action, []):
                    self.ledger.write(what="relay", action=action, token=token)
            relays = [{"name": f"Relay {n}", "token": f"r{n}"} for n in range(1, 2001)]
            self._answer({"code": 0, "message": "Success"} | ({"chid": 1, "relay": relays} if "ls" in query else {}))
        else:
            self._answer({"code": -1, "message": "not here"}, status=404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.headers.get("webhook-id", "")
        if self.path == "/busy" and name not in self.tried:
            self.tried.add(name)
            self._answer({}, status=503)
            return
        self.ledger.write(what="hook", id=name, plate=json.loads(body)["data"]["plate"])
        self._answer({})

    def _answer(self, body: object, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A bridge that is killed hangs up in the middle of a request: that is the point, not an error."""


def main() -> None:
    Device.ledger = Ledger(Path(sys.argv[1]))
    server = Server(("127.0.0.1", 0), Device)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
