"""A video system that costs next to nothing: TS-API v0 on one port, in a process of its own.

It knows only what the benchmarks need: to be found, one event socket, the list of presets and the
way to one. It sends plate reads as fast as the reader takes them (`/bench/flood`) or at a steady rate
(`/bench/pace`), and takes the time from a frame to the command that it brought about with one
clock. It is written on bare sockets so that what is measured is the bridge, and checks no credentials.
Facts: TS-API guide 0.9.20, "Event topics" LPR, "Device control" preset.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import uvloop

CHANNELS = 50
"""Cameras that send."""
PRESETS = 20
"""Of each camera. A frame is known by camera and preset, so commands may come in any order, and 5 s late at 200/s."""
RULES = 1000
"""Plates that have a rule; see `plate`."""
_CHUNK = 50
"""Frames in one write, as a busy server sends them."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE = 8

_FRAME = (
    '{"timestamp":"%s","chid":{"chid":%d,"title":"Camera %d","displayName":"CH%d. Camera"},"deviceCode":"1-1-7",'
    '"deviceName":"B1 Parking Lot","linkedChannel":[{"chid":2,"title":"Camera2","displayName":"CH2. Camera2",'
    '"src":"http://host/watch?ch=2&when=2018%%2D06%%2D27T10%%3A42%%3A06%%2E575-05%%3A00"}],"image":"http://host/storage/e/0/0/0/39/39612.%d.1576732638241699.plate.jpg",'
    '"plateNo":"%s","score":98,"roi":{"offset":[964,560],"size":[187,51]},"topic":"LPR",'
    '"parkingLot":{"entrance":1,"exit":2},"direction":"entry"}'
)
_INFO = {
    "apiVersion": "TS-API@0.9.20",
    "siteName": base64.b64encode(b"bench").decode(),
    "timezone": {"name": "UTC", "bias": "+00:00"},
    "product": {"name": "TS-NVR", "version": "v0.35.0"},
}
_DONE = {"code": 0, "message": "Success"}


def plate(number: int, every: int) -> str:
    """Return the plate of an event: every so many-th has a rule, each of `RULES` in turn."""
    fires = number % every == every - 1
    return f"HIT{number // every % RULES:04d}" if fires else f"MISS{number % 10_000:04d}"


def expected(count: int, every: int) -> int:
    """Return how many of so many events have a rule."""
    return count // every


def message(number: int, name: str, camera: int) -> bytes:
    """Return one LPR message of v0."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return (_FRAME % (now, camera, camera, camera, number, name)).encode()


def frame(body: bytes) -> bytes:
    """Return a WebSocket text frame as a server sends it. `body` is at least 126 bytes."""
    return b"\x81\x7e" + len(body).to_bytes(2, "big") + body


class Device:
    """What all connections share."""

    def __init__(self) -> None:
        self.socket: Connection | None = None
        self.begun: dict[tuple[str, str], float] = {}
        self.times: list[float] = []
        self._sent = 0
        self._task: asyncio.Task[None] | None = None

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """Return what a request is answered with."""
        if path == "/api/info":
            return _INFO
        if path == "/api/enum":
            return ["LPR"]
        if path == "/api/channel/preset":
            return self._preset(query)
        if path == "/bench/flood":
            return self._begin(self._flood(int(query["count"]), int(query["every"])))
        if path == "/bench/pace":
            return self._begin(self._pace(int(query["count"]), float(query["rate"])))
        if path == "/bench/times":
            return self.times
        return None

    def _preset(self, query: Mapping[str, str]) -> Any:
        if "go" not in query:
            presets = [{"token": f"BENCH{number}", "name": f"Preset {number}"} for number in range(PRESETS)]
            return [{"chid": int(query["ch"]), "preset": presets, **_DONE}]
        sent = self.begun.pop((query["ch"], query["go"]), None)
        if sent is not None:
            self.times.append(time.perf_counter() - sent)
        return _DONE

    def _begin(self, work: Any) -> Any:
        self._task = asyncio.get_running_loop().create_task(work)
        return _DONE

    async def _flood(self, count: int, every: int) -> None:
        for start in range(0, count, _CHUNK):
            if self.socket is None:
                return
            await self.socket.room.wait()
            numbers = range(start, min(start + _CHUNK, count))
            first = self._sent - start
            frames = [frame(message(first + n, plate(n, every), n % CHANNELS + 1)) for n in numbers]
            self.socket.transport.write(b"".join(frames))
            self._sent += len(frames)
            await asyncio.sleep(0)

    async def _pace(self, count: int, rate: float) -> None:
        self.times.clear()
        self.begun.clear()
        began = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            if self.socket is None:
                return
            camera, name = number % CHANNELS + 1, f"BENCH{number // CHANNELS % PRESETS}"
            body = frame(message(self._sent, name, camera))
            self._sent += 1
            self.begun[str(camera), name] = time.perf_counter()
            self.socket.transport.write(body)


class Connection(asyncio.Protocol):
    """One connection: requests one after another, or the event socket."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffer = b""
        self._upgraded = False
        self.transport: asyncio.Transport
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour, not by class

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop sending."""
        if self._device.socket is self:
            self._device.socket = None

    def pause_writing(self) -> None:
        """The reader is behind."""
        self.room.clear()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self.room.set()

    def data_received(self, data: bytes) -> None:
        """Take requests; of frames only the one that ends it matters."""
        if self._upgraded:
            if data[0] & 0x0F == _CLOSE:
                self.transport.close()
            return
        self._buffer += data
        while b"\r\n\r\n" in self._buffer and not self._upgraded:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._request(head.decode("latin-1").split("\r\n"))

    def _request(self, lines: list[str]) -> None:
        url = urlsplit(lines[0].split(" ")[1])
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/wsapi/subscribeEvents":
            fields = (line.partition(":") for line in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in fields}
            self._upgrade(headers["sec-websocket-key"])
            return
        answer = self._device.answer(unquote(url.path), query)
        status = "404 Not Found" if answer is None else "200 OK"
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    def _upgrade(self, key: str) -> None:
        digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
        self._upgraded = True
        self._device.socket = self
        hello = json.dumps({"subscriberId": "bench", "topics": ["LPR"]}).encode()
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
            b"\x81" + bytes([len(hello)]) + hello
        )


async def serve() -> None:
    """Listen on a free loopback port, say which on standard output, and go on until standard input ends."""
    device = Device()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(device), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve())
