"""A TS-API server of a few lines that says exactly what a test wants, on a real socket.

The simulator behaves; this one does not have to. It speaks v0: HTTP answers and event sockets on one port.
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from .support import PASSWORD, USER, config, sample

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
TOPICS = ("channelStatus", "LPR", "motionChanges")
QUICK: dict[str, Any] = {
    "ping_interval": "100ms",
    "ping_patience": "100ms",
    "close_timeout": "200ms",
    "open_timeout": "2s",
    "request_timeout": "2s",
}


class FarSide:
    """The server. Attributes change how it behaves; `tests` may set them at any time."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.offered: tuple[str, ...] = TOPICS
        self.accepted: Callable[[list[str]], bool] = lambda topics: set(topics) <= set(self.offered)
        self.greets = True
        self.date: str | None = None
        self.location: str | None = None
        self.socket_status: int | None = None
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        """HTTP answers by path and query, instead of the usual ones."""
        self.sockets: dict[ServerConnection, list[str]] = {}
        self.opened: list[list[str]] = []
        self.requests: list[str] = []
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "https" if self._tls is not None else "http"
        return f"{scheme}://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    def config(self, **changes: Any) -> Any:
        """Return a configuration that reaches it, with short timers."""
        return config(url=self.url, dialect="v0", **{**QUICK, **changes})

    def wrong_password(self) -> Any:
        return self.config(password="CANARY-wrong")

    @property
    def connections(self) -> int:
        return len(self.sockets)

    async def send(self, message: bytes) -> None:
        """Say it on every socket, as a text message whatever it is."""
        for socket in list(self.sockets):
            with suppress(ConnectionClosed):
                await socket.send(message, text=True)

    async def drop(self) -> None:
        """Reset every connection."""
        for socket in list(self.sockets):
            socket.transport.abort()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FarSide]:
        """Listen until the block ends."""
        async with serve(
            self._talk,
            "127.0.0.1",
            0,
            process_request=self._answer,
            ping_interval=None,
            close_timeout=0.1,
            compression=None,
            ssl=self._tls,
            logger=logging.getLogger("tests.far_side"),  # it sees our secrets, as a server does
        ) as server:
            self._server = server
            yield self

    # --- sockets ---

    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = parse_qs(urlsplit(socket.request.path).query)
        topics = query.get("topics", [""])[0].split(",")
        self.opened.append(topics)
        if query.get("auth") != [AUTH] or not self.accepted(topics):
            socket.transport.abort()
            return
        self.sockets[socket] = topics
        try:
            if self.greets:
                await socket.send(json.dumps({"subscriberId": "x", "topics": topics}))
            async for _ in socket:
                pass
        except ConnectionClosed:
            pass
        finally:
            self.sockets.pop(socket, None)

    # --- requests ---

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request.path)
        parts = urlsplit(request.path)
        if request.path in self.answers:
            response = _response(*self.answers[request.path])
            if self.date is not None:
                response.headers["Date"] = self.date
            return response
        if parts.path == "/wsapi/subscribeEvents":
            if self.socket_status is not None:
                response = _response(self.socket_status, "text/html", b"<html>proxy</html>")
                if self.location is not None:
                    response.headers["Location"] = self.location
                return response
            return None
        if parts.path == "/api/info" and parts.query != "whoAmI":
            return _json({"apiVersion": "TS-API@0.9.20", "timezone": {"name": "UTC"}})
        if request.headers.get("Authorization") != f"Basic {AUTH}":
            return _json({"code": -1, "message": "Unauthorized"}, 401)
        if parts.path == "/api/info":
            return _json(sample("http.info.whoAmI"))
        if parse_qs(parts.query).get("what") == ["realtimeEvent"]:
            return _json(list(self.offered))
        return _json({"code": -1, "message": "Not found"}, 404)


def _json(body: Any, status: int = 200) -> Response:
    return _response(status, "application/json", json.dumps(body).encode())


def _response(status: int, kind: str, body: bytes) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, "X", headers, body)
