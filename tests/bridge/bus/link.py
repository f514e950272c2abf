"""A TCP link to the server that can lose what the server says, hold everything back, or break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.bus.bus import Bus
from bridge.bus.server import EmbeddedServer
from bridge.config.models import BusConfig
from tests.bridge.bus.helpers import CONFIG, until

_ACKNOWLEDGED = b'"seq":'
"""In every answer to a write to a stream, and in no other that our tests bring about."""


class Link:
    """A proxy on a port of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._pairs: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.swallow = False
        """Drop what the server says from now on."""
        self.closed = False
        """Break every new connection at once."""
        self.refused = 0
        """Connections that were broken at once."""
        self._swallowed = b""

    @property
    def url(self) -> str:
        """Where to connect."""
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def target(self) -> str:
        """The server behind."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Link:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in self._pairs:
            writer.transport.abort()

    async def dropped(self, count: int = 1) -> None:
        """Return when the server has said of so many writes that they are stored, or refused, and nobody heard it."""
        await until(lambda: self._swallowed.count(_ACKNOWLEDGED) >= count)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pairs.add(writer)
        if self.closed:
            self.refused += 1
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection(self._host, self._port)
        self._pairs.add(there)
        for task in (
            asyncio.create_task(self._pump(reader, there, False)),
            asyncio.create_task(self._pump(there_reader, writer, True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if back and self.swallow:
                    self._swallowed += data
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def linked_bus(data_dir: Path, config: BusConfig = CONFIG, **options: Any) -> AsyncIterator[tuple[Bus, Link]]:
    """A bus whose connection goes through a `Link`."""
    async with (
        EmbeddedServer(config, data_dir) as server,
        Link(server.access.host, server.access.port) as link,
    ):
        through = config.model_copy(
            update={
                "servers": (link.url,),
                "username": server.access.username,
                "password": server.access.password,
            }
        )
        async with Bus.open("home", through, **options) as bus:
            yield bus, link
