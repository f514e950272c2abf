"""The demo's webhook receiver: checks the signature as any receiver should, and remembers what came."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass
class Receiver:
    """What came, by webhook id; the same id twice is one message."""

    secret: str
    received: dict[str, Any] = field(default_factory=dict)
    refused: int = 0

    async def take(self, request: Request) -> Response:
        """Accept one signed webhook."""
        body = await request.body()
        if not self._signed(request, body):
            self.refused += 1
            return Response("the signature is wrong", status_code=401)
        self.received[request.headers["webhook-id"]] = json.loads(body)
        return Response(status_code=204)

    def _signed(self, request: Request, body: bytes) -> bool:
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        stamp = f"{request.headers.get('webhook-id')}.{request.headers.get('webhook-timestamp')}."
        wanted = base64.b64encode(hmac.digest(key, stamp.encode() + body, hashlib.sha256)).decode()
        given = request.headers.get("webhook-signature", "").split(" ")
        return any(hmac.compare_digest(f"v1,{wanted}", signature) for signature in given)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: Ctrl-C is the demo's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@asynccontextmanager
async def receiving(secret: str) -> AsyncIterator[tuple[Receiver, str]]:
    """Run a receiver on a free loopback port; yields it and its URL."""
    receiver = Receiver(secret)
    application = Starlette(routes=[Route("/hook", receiver.take, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(application, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]), name="demo[receiver]")
    try:
        yield receiver, f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    finally:
        server.should_exit = True
        await task
        listener.close()
