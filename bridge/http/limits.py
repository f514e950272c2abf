"""Protect the one HTTP port from slow, greedy and endless clients. No Python HTTP server does that by itself.

uvicorn keeps an idle socket, half a header or half a body for ever and reads whatever it is sent; so its protocol is
watched here: every phase of a connection has a deadline, headers and bodies have a size, and an address has a share
of the connections. What a request means is not known here.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do; seconds and bytes."""

    first_byte: float = 3.0
    """From connecting to the first byte."""
    header: float = 4.0
    """From a request's first byte to the end of its header. With `grace`, no slow client stays for ten seconds."""
    body: float = 10.0
    """From there to the end of its body."""
    min_rate: int = 1024
    """Bytes a second that a body must arrive with, once `grace` has passed."""
    grace: float = 2.0
    keep_alive: float = 15.0
    """Between two requests."""
    write: float = 10.0
    """How long the other side may let our answer lie."""
    store: float = 2.0
    """How long a push waits until its events are written down."""
    header_bytes: int = 16 * 1024
    unread_bytes: int = 1024 * 1024
    """A body's bytes on the wire, wanted or not, before we hang up. The body's own limit answers 413 long before."""
    pipeline: int = 8
    """Requests sent ahead without waiting for answers."""
    connections: int = 256
    per_address: int = 16


_LATER = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})

MAKES_WAIT = "vms_bridge.makes_wait"
"""The extension of a request's scope that `begin_waiting` finds."""

Dropped = Callable[[str], None]
"""Told why a connection was ended: one of a few words, for metrics."""


def address_key(host: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 of an IPv6 one, which one host has whole."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)


def begin_waiting(request: Request) -> None:
    """Say that the answer to a request is held back on purpose: its connection makes room if others need the place."""
    begin = request.scope.get("extensions", {}).get(MAKES_WAIT, {}).get("begin")
    if begin is not None:
        begin()


class Guest(Protocol):
    """A connection, as the gate sees it."""

    def make_room(self) -> None:
        """End it: others need the place."""
        ...


class Gate:
    """Counts connections. When all places are taken, or an address has its share, whoever only waits makes room.

    Otherwise a few hundred sockets that say nothing would keep everybody out for as long as they are suffered, and a
    few would keep out whoever wants to stop a gate from the same address: behind a proxy all have one. A client that
    has something to say has said it within milliseconds; so it is the one that has been dawdling the longest that
    goes, of the address with the most connections.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._total = 0
        self._dawdling: dict[Guest, str] = {}

    @property
    def open(self) -> int:
        """Connections there are."""
        return self._total

    def enter(self, address: str) -> HTTPStatus | None:
        """Take one more connection, or return how to refuse it."""
        if self._open[address] >= self._limits.per_address:
            if not self._made_room(guest for guest, of in self._dawdling.items() if of == address):
                return HTTPStatus.TOO_MANY_REQUESTS
        elif self.open >= self._limits.connections and not self._made_room(self._dawdling):
            return HTTPStatus.SERVICE_UNAVAILABLE
        self._open[address] += 1
        self._total += 1
        return None

    def _made_room(self, guests: Iterable[Guest]) -> bool:
        # The first of those that are equal is the one that has waited longest.
        last = max(guests, key=lambda guest: self._open[self._dawdling[guest]], default=None)
        if last is None:
            return False
        del self._dawdling[last]
        last.make_room()
        return True

    def dawdles(self, guest: Guest, address: str) -> None:
        """It is this connection's turn to send something; since when it is, does not change by sending a little."""
        self._dawdling.setdefault(guest, address)

    def serves(self, guest: Guest) -> None:
        """A whole request is there: it is our turn."""
        self._dawdling.pop(guest, None)

    def leave(self, guest: Guest, address: str) -> None:
        """One connection less."""
        self._dawdling.pop(guest, None)
        self._open[address] -= 1
        self._total -= 1
        if self._open[address] <= 0:
            del self._open[address]


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines. At most one timer runs at a time: that of the phase the connection is in."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: Limits,
        gate: Gate,
        dropped: Dropped,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.access_log = False  # it would write query strings, where TS-API devices put their passwords
        self._limits, self._gate, self._dropped = limits, gate, dropped
        self._address: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._over = False
        self._in_header, self._in_body = True, False
        self._begun = False  # a header has begun and not ended
        self._chunk = self._wire_bytes = 0
        self._body_began = 0.0
        self._body_bytes = 0

    # --- a connection's life ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, or refuse it in one line."""
        super().connection_made(transport)
        address = address_key(self.client[0]) if self.client else "local"
        refusal = self._gate.enter(address)
        if refusal is not None:
            crowd = refusal is HTTPStatus.SERVICE_UNAVAILABLE
            self._end("too_many_connections" if crowd else "too_many_from_address", refusal)
            return
        self._address = address
        self._gate.dawdles(self, address)
        self._within(self._limits.first_byte, "slow_first_byte", None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place free."""
        self._over = True
        self._cancel_timers()
        if self._address is not None:
            self._gate.leave(self, self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it is over or has become too much."""
        if self._over:
            return
        self._chunk = len(data)
        self._wire_bytes += self._chunk
        super().data_received(data)
        if self._over or self.transport.is_closing():
            return
        if self._in_header and self._wire_bytes > self._limits.header_bytes:
            self._end("large_header", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._in_body and self._wire_bytes > self._limits.unread_bytes:
            self._end("large_body", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def shutdown(self) -> None:
        """The bridge stops: what is in hand may end, what has not wholly arrived is given up; nothing was promised."""
        if self._in_body:
            self._end("stopping", HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            super().shutdown()

    def make_room(self) -> None:
        """Give the place to somebody else."""
        if self._address is not None:
            self._gate.leave(self, self._address)
            self._address = None
        self._end("made_room", None)

    # --- a request's phases -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._over:
            return
        super().on_message_begin()
        self.scope["extensions"] = {MAKES_WAIT: {"begin": self._made_to_wait}}
        self._in_header = self._begun = True
        self._within(self._limits.header, "slow_header", HTTPStatus.REQUEST_TIMEOUT)

    def on_headers_complete(self) -> None:
        """The header is there; start the request if it is of a decent size."""
        if self._over:
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.header_bytes:
            self._end("large_header", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        if len(self.pipeline) >= self._limits.pipeline:
            self._end("pipeline", None)
            return
        self._in_header, self._in_body, self._begun = False, True, False
        # What came with the header may be body already, or anything that looks like one.
        self._wire_bytes, self._body_bytes = self._chunk, 0
        self._body_began = self.loop.time()
        self._after(min(self._limits.grace, self._limits.body), self._check_body)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._over:
            return
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there; from now on it is up to us."""
        if self._over:
            return
        self._in_body = False
        self._gate.serves(self)
        self._wire_bytes = 0
        self._cancel(self._timer)
        super().on_message_complete()
        if self.cycle.response_complete and not self.pipeline:
            self._idle()

    def on_response_complete(self) -> None:
        """The answer is out; wait for the next request, or for the rest of a body that nobody wanted."""
        super().on_response_complete()
        if not self._over and not self._in_body and not self.pipeline and not self.transport.is_closing():
            self._idle()

    def _idle(self) -> None:
        if self._address is not None:
            self._gate.dawdles(self, self._address)
        if self._begun:
            return  # the next header is on its way already, and has its deadline
        self._in_header, self._wire_bytes = True, 0
        self._within(self._limits.keep_alive, "idle", None)

    def _made_to_wait(self) -> None:
        """Whoever waits for this answer has it coming, and makes room for others meanwhile."""
        if self._address is not None:
            self._gate.dawdles(self, self._address)

    def _check_body(self) -> None:
        elapsed = self.loop.time() - self._body_began
        if self.flow.read_paused:
            self._body_began += 1.0  # we are not reading at the moment: not the client's fault
        elif elapsed >= self._limits.body or self._body_bytes < elapsed * self._limits.min_rate:
            self._end("slow_body", HTTPStatus.REQUEST_TIMEOUT)
            return
        self._after(min(1.0, max(self._limits.body - elapsed, 0.01)), self._check_body)

    # --- answers that nobody fetches ----------------------------------------------------------------

    def pause_writing(self) -> None:
        """Our answer is not being read."""
        super().pause_writing()
        self._cancel(self._write_timer)
        self._write_timer = self.loop.call_later(self._limits.write, self._abort)

    def resume_writing(self) -> None:
        """It is, after all."""
        super().resume_writing()
        self._cancel(self._write_timer)

    def _abort(self) -> None:
        self._over = True
        self._dropped("slow_reader")
        self._cancel_timers()
        self.transport.abort()

    # --- timers and ends ----------------------------------------------------------------------------

    def _within(self, seconds: float, reason: str, status: HTTPStatus | None) -> None:
        self._after(seconds, lambda: self._end(reason, status))

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._cancel(self._timer)
        self._timer = self.loop.call_later(seconds, then)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    def _cancel_timers(self) -> None:
        self._cancel(self._timer)
        self._cancel(self._write_timer)
        self._unset_keepalive_if_required()

    def _end(self, reason: str, status: HTTPStatus | None) -> None:
        """Hang up, with a status if none of an answer is on its way."""
        if self._over or self.transport.is_closing():
            return
        self._over = True
        self._cancel_timers()
        if reason != "idle":
            self._dropped(reason)
        answering = self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started
        if status is not None and not answering and not self.pipeline:
            later = "retry-after: 1\r\n" if status in _LATER else ""
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            self.transport.write(f"{line}{later}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        self.transport.close()
        # Closing waits until our last words are taken, for ever if need be.
        self._write_timer = self.loop.call_later(self._limits.write, self.transport.abort)
