"""A video system in this process that sends plates on an event socket, as TS-API v0 has it, and knows what it sent.

Facts: TS-API guide 0.9.20, "Event topics" LPR.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

_ANSWERS: dict[str, Any] = {
    "/api/info": {
        "apiVersion": "TS-API@0.9.20",
        "siteName": base64.b64encode(b"faults").decode(),
        "timezone": {"name": "UTC", "bias": "+00:00"},
        "product": {"name": "TS-NVR", "version": "v0.35.0"},
    },
    "/api/enum": ["LPR"],
}
_EVENTS = "/wsapi/subscribeEvents"


class VideoSystem:
    """See the module. It answers pings, as `websockets` does by itself."""

    def __init__(self, pause: float = 0.5) -> None:
        self._pause = pause
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="video system", daemon=True)
        self._server: Server | None = None
        self.sent: list[str] = []
        """Every plate that was handed to a socket; whether it got through, nobody here knows."""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _start(self) -> None:
        self._server = await serve(
            self._socket, "127.0.0.1", 0, process_request=self._request, close_timeout=1, ping_interval=None
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _request(self, _connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == _EVENTS:
            return None
        answer = _ANSWERS.get(path)
        status = HTTPStatus.OK if answer is not None else HTTPStatus.NOT_FOUND
        body = json.dumps(answer if answer is not None else {"code": -1, "message": "not here"}).encode()
        length = str(len(body))
        headers = Headers({"Content-Type": "application/json", "Content-Length": length, "Connection": "close"})
        return Response(status.value, status.phrase, headers, body)

    async def _socket(self, connection: ServerConnection) -> None:
        try:
            await connection.send(json.dumps({"subscriberId": "faults", "topics": ["LPR"]}))
            while True:
                plate = f"W{len(self.sent):06d}"
                self.sent.append(plate)
                await connection.send(_read(plate))
                await asyncio.sleep(self._pause)
        except ConnectionClosed:
            return


def _read(plate: str) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    camera = {"chid": 1, "title": "Gate", "displayName": "CH1. Gate"}
    return json.dumps({"topic": "LPR", "timestamp": now, "chid": camera, "plateNo": plate, "score": 98})
