"""One client's event subscription: what it gets to see, and how faults spoil it on the way.

Messages are rendered when things happen and leave in order through one writer. Handshake and snapshots
come first; message faults strike events only, so that a connection can be made at all.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

from .access import Principal
from .clock_picture import to_epoch_ms
from .faults import Fault, Faults
from .link import Link
from .parts import Filter, Message, Parts
from .render import Occurrence, events
from .snapshots import blown_up, snapshot
from .view import View

_EXPIRED = 1008
_GARBAGE = "\u0000\ufffd<<<not json>>>"


@dataclass(frozen=True)
class Outgoing:
    """A message on its way; only events can be spoiled."""

    text: str
    event: bool


class Reads(Protocol):
    """What to do with a text a client sends: nothing on v0, commands on v1."""

    def __call__(self, feed: Feed, text: str) -> None:
        """Act on one text."""
        ...


def to_json(value: Any, indent: int | None = None) -> str:
    """Write JSON as the server does: compact unless asked otherwise, never escaped."""
    separators = (",", ":") if indent is None else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)


class Feed:
    """One event socket."""

    def __init__(
        self,
        socket: WebSocket,
        parts: Parts,
        faults: Faults,
        view: View,
        principal: Principal,
        *,
        indent: int | None,
        reads: Reads,
    ) -> None:
        self.id = str(uuid4())
        self.view, self.principal, self.link = view, principal, Link.of(socket)
        self.subscriptions: dict[str, Filter] = {}
        self.sent = 0
        self._socket, self._parts, self._faults = socket, parts, faults
        self._indent, self._reads = indent, reads
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._held: str | None = None
        self._ending = asyncio.Event()
        self.link.is_quiet = lambda: faults.get("silent") is not None

    def tell(self, message: Message) -> None:
        """Queue a message that no fault spoils: handshakes, snapshots, control answers."""
        self._queue.put_nowait(Outgoing(to_json(message, self._indent), event=False))

    def subscribe(self, topic: str, wanted: Filter) -> None:
        """Add a topic, or replace its filter."""
        self.subscriptions[topic] = wanted

    def tell_snapshot(self, topic: str) -> None:
        """Queue the present state of a topic, if it has one."""
        message = snapshot(topic, self._parts, self.view, self.subscriptions[topic])
        if message is None:
            return
        fault = self._faults.use("big_snapshot") if topic == "channelStatus" else None
        self.tell(blown_up(message, fault.size) if fault else message)

    def offer(self, seen: Occurrence) -> None:
        """Queue what this client gets to see of an occurrence."""
        wanted = self.subscriptions.get(seen.topic)
        if wanted is None:
            return
        for message in events(seen, self._parts, self.view, wanted):
            self._queue.put_nowait(Outgoing(to_json(message, self._indent), event=True))

    def end(self) -> None:
        """Close the socket properly, as on token expiry."""
        self._ending.set()

    async def run(self) -> None:
        """Serve the accepted socket until either side ends it."""
        jobs = [self._write(), self._read(), self._end()]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    async def _write(self) -> None:
        while True:
            outgoing = await self._queue.get()
            for text in self._spoiled(outgoing):
                await self._socket.send_text(text)
                self.sent += 1

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                self._reads(self, message["text"])

    async def _end(self) -> None:
        """Wait until told to end, or until the token that opened the socket runs out."""
        expires = self.principal.expires if self.principal.via == "token" else None
        left = (to_epoch_ms(expires) - to_epoch_ms(self._parts.now())) / 1000 if expires else None
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._ending.wait()
        with suppress(WebSocketDisconnect):
            await self._socket.close(_EXPIRED, "token expired")

    def _spoiled(self, outgoing: Outgoing) -> list[str]:
        """Return what really goes out in place of a message."""
        if self.link.frozen or self._faults.get("silent"):
            return []
        if not outgoing.event:
            return [outgoing.text]
        texts = self._in_order(outgoing.text)
        if texts and self._faults.use("truncate"):
            texts = [text[: max(1, len(text) // 2)] for text in texts]
        duplicate: Fault | None = self._faults.use("duplicate") if texts else None
        if duplicate:
            texts = [text for text in texts for _ in range(duplicate.copies)]
        if texts and self._faults.use("garbage"):
            texts = [_GARBAGE, *texts]
        return texts

    def _in_order(self, text: str) -> list[str]:
        held, self._held = self._held, None
        if held is not None:
            return [text, held]
        if self._faults.use("reorder"):
            self._held = text
            return []
        return [text]


class Hub:
    """All event sockets."""

    def __init__(self, faults: Faults) -> None:
        self.feeds: set[Feed] = set()
        self._faults = faults
        faults.watch(self._strike)

    def publish(self, seen: Occurrence) -> None:
        """Offer an occurrence to every client."""
        for feed in list(self.feeds):
            feed.offer(seen)

    def join(self, feed: Feed) -> None:
        """Let a client hear what happens from now on."""
        self.feeds.add(feed)

    def settle(self, feed: Feed) -> None:
        """Apply the link faults in force to a client that has just connected."""
        if self._faults.use("half_open"):
            feed.link.freeze()

    def leave(self, feed: Feed) -> None:
        """Forget a client."""
        self.feeds.discard(feed)

    def _strike(self, fault: Fault) -> None:
        if fault.name == "half_open":
            for feed in self.feeds:
                feed.link.freeze()
