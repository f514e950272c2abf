"""A TCP proxy that spoils one link: late, torn, cut, reset, dripping, or gone without a word.

    with Proxy(port, seed) as link:
        link.spoil(Toxic("reset", after=100))
        link.heal()

It runs its own event loop in a thread, so that a test can be as synchronous as it likes. What it
does by chance it does by its seed. It understands no protocol: a byte is a byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

Kind = Literal["latency", "jitter", "reset", "half_open", "slow", "slices", "cut", "refuse"]

T = TypeVar("T")
_CHUNK = 64 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)
"""With this a closed socket says RST instead of FIN."""


@dataclass(frozen=True)
class Toxic:
    """What happens to every connection, those that are open included.

    latency     every piece comes `seconds` late
    jitter      every piece comes up to `seconds` late, by chance
    reset       a connection is reset once `after` bytes have passed in one direction
    half_open   nothing passes any more, and nobody is told
    slow        `rate` bytes a second
    slices      one byte at a time
    cut         the connection ends tidily in the middle of a piece, after `after` bytes
    refuse      new connections are refused, old ones reset
    """

    kind: Kind
    seconds: float = 0.5
    after: int = 300
    rate: float = 1024.0


TOXICS: tuple[Toxic, ...] = (
    Toxic("latency", seconds=0.5),
    Toxic("jitter", seconds=0.3),
    Toxic("reset"),
    Toxic("half_open"),
    Toxic("slow"),
    Toxic("slices"),
    Toxic("cut"),
    Toxic("refuse"),
)


class Proxy:
    """A link to `target`, a port on this machine, by way of `port`."""

    def __init__(self, target: int, seed: int = 0) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self._toxic: Toxic | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self.port = 0
        self.connections = 0
        """How many connections there were so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def spoil(self, toxic: Toxic) -> None:
        """Spoil the link from now on."""
        self._call(self._turn(toxic))

    def heal(self) -> None:
        """Let everything pass again. What a half-open connection swallowed is gone, and so is the connection."""
        self._call(self._turn(None))

    # --- on the loop ------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _turn(self, toxic: Toxic | None) -> None:
        before, self._toxic = self._toxic, toxic
        if toxic is not None and toxic.kind == "refuse":
            await self._stop_listening()
            self._reset_all()
        elif self._server is None:
            await self._listen()
        if before is not None and before.kind == "half_open":
            self._reset_all()

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset_all(self) -> None:
        for link in tuple(self._links):
            link.reset()

    async def _close(self) -> None:
        await self._stop_listening()
        for _ in range(5):  # what was taken a moment ago begins, and can be ended
            await asyncio.sleep(0)
        self._reset_all()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except (OSError, asyncio.CancelledError):  # nobody is there, or we end
            writer.transport.abort()
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, reader, far_writer), self._pump(link, far_reader, writer), return_exceptions=True
            )
        finally:
            self._links.discard(link)
            link.close()

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        passed = 0
        try:
            while piece := await source.read(_CHUNK):
                passed += len(piece)
                await self._pass(link, sink, piece, passed)
            if sink.can_write_eof():
                sink.write_eof()
        except (OSError, RuntimeError):
            link.reset()

    async def _pass(self, link: _Link, sink: asyncio.StreamWriter, piece: bytes, passed: int) -> None:
        toxic = self._toxic
        match toxic.kind if toxic else None:
            case "half_open":
                return
            case "reset" if toxic and passed >= toxic.after:
                link.reset()
                return
            case "cut" if toxic and passed >= toxic.after:
                sink.write(piece[: len(piece) // 2])
                await sink.drain()
                link.close()
                return
            case "latency" | "jitter" if toxic:
                await asyncio.sleep(toxic.seconds * (1.0 if toxic.kind == "latency" else self._chance.random()))
            case "slow" | "slices" if toxic:
                await self._drip(sink, piece, toxic)
                return
        sink.write(piece)
        await sink.drain()

    async def _drip(self, sink: asyncio.StreamWriter, piece: bytes, toxic: Toxic) -> None:
        """Pass a piece in small parts; what is left when the link is healed passes at once."""
        size = 1 if toxic.kind == "slices" else max(1, int(toxic.rate / 20))
        for start in range(0, len(piece), size):
            if self._toxic is not toxic:
                sink.write(piece[start:])
                break
            sink.write(piece[start : start + size])
            await sink.drain()
            await asyncio.sleep(0 if toxic.kind == "slices" else size / toxic.rate)
        await sink.drain()


class _Link:
    """The two ends of one connection."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends
        for end in ends:  # a slice is to arrive as a slice
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        """End both with RST."""
        for end in self._ends:
            with contextlib.suppress(OSError):  # it may have ended by itself
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            end.transport.abort()

    def close(self) -> None:
        """End both tidily."""
        for end in self._ends:
            end.close()
