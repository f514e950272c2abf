"""A webhook receiver in this process: it notes what reached it, answers at once, or lets some wait."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Hook(NamedTuple):
    """One delivery: what for, whose, under which id, and when on the wall clock."""

    kind: str
    plate: str
    id: str
    at: float


class Receiver:
    """Takes `{"kind", "plate"}`. `slow` names the kinds that get no answer before `release`, or before `patience`."""

    def __init__(self, slow: tuple[str, ...] = (), patience: float = 12.0) -> None:
        self.slow, self.patience = slow, patience
        self.hooks: list[Hook] = []
        self._free = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def config(self, port: int | None = None, **more: Any) -> dict[str, Any]:
        """Return the configuration of a webhook to it, by way of another port if one is named."""
        return {"url": f"http://127.0.0.1:{port or self.port}/hook", "allow_private": True} | more

    def of(self, kind: str) -> list[Hook]:
        """Return the deliveries of a kind."""
        return [hook for hook in list(self.hooks) if hook.kind == kind]

    def hold(self) -> None:
        """Let the slow kinds wait, from now on again."""
        self._free.clear()

    def release(self) -> None:
        """Answer everybody, from now on at once."""
        self._free.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        hook = Hook(body["kind"], body["plate"], handler.headers.get("webhook-id", ""), time.time())
        if hook.kind in self.slow:
            self._free.wait(self.patience)
        self.hooks.append(hook)
        handler.send_response(200)
        handler.send_header("content-length", "0")
        handler.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A bridge that is killed, or a link that is cut, hangs up in the middle: that is the point, not an error."""


def tell(kind: str, to: str, **step: Any) -> dict[str, Any]:
    """Return the step of a rule that tells a receiver."""
    return {"webhook": {"to": to, "body": {"kind": kind, "plate": "{{ event.data.plate }}"}}} | step
