"""A small HTTP server with the faults recorders have; it answers on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class File:
    """One file, and how it is served. Lists are used up one a request; then all goes well."""

    data: bytes
    content_type: str = "video/mp4"
    etag: str | None = '"1"'
    breaks: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the body."""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True
    hang: bool = False
    """Send the head, then nothing."""


@dataclass
class Web:
    """The server: what it serves, and what it was asked."""

    files: dict[str, File] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0
    busy: int = 0
    most_busy: int = 0

    def url(self, name: str) -> str:
        """Return a file's address."""
        return f"http://127.0.0.1:{self.port}/{name}?token=canary-secret"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.busy -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        name = head[0].split(" ")[1].lstrip("/").partition("?")[0]
        asked = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.requests.append((name, asked))
        file = self.files.get(name)
        if file is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        status = file.statuses.pop(0) if file.statuses else 200
        start = self._start(file, asked) if status == 200 else 0
        body = file.data[start:]
        lines = [f"HTTP/1.1 {206 if start else status} X", f"Content-Type: {file.content_type}", "Connection: close"]
        lines += [f"{key}: {value}" for key, value in file.headers.items()]
        if file.length:
            lines.append(f"Content-Length: {len(body)}")
        if file.etag:
            lines.append(f"ETag: {file.etag}")
        if start:
            lines.append(f"Content-Range: bytes {start}-{len(file.data) - 1}/{len(file.data)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        if file.hang:
            await reader.read()
            return
        writer.write(body[: file.breaks.pop(0)] if file.breaks else body)
        await writer.drain()

    def _start(self, file: File, asked: dict[str, str]) -> int:
        wanted = asked.get("range", "")
        if not wanted or not file.ranges:
            return 0
        if "if-range" in asked and asked["if-range"] != file.etag:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))


@asynccontextmanager
async def web(**files: File) -> AsyncIterator[Web]:
    """Serve files under their names on a free port of the loopback."""
    served = Web(dict(files))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()
