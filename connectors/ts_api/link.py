"""One event socket: open it, subscribe, hand out its messages, notice when it is dead.

Knows handshakes and frames, not what messages mean. It never reconnects and never judges a refusal:
whoever opened it does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.frames import Frame, Opcode

from bridge.sdk import Clock, ConnectorUnavailableError

from .config import TsApiConfig

_CONTROL_FRAME = 131
"""Bytes that a control frame has at most; more in one piece belongs to a message."""


_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_AT_ONCE = 100
"""Messages handed out together at most: some milliseconds of work."""


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """The library's log without its debug level, which writes out credentials in URL and headers."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the library's name
        return level > logging.DEBUG and super().isEnabledFor(level)


_log = _Quiet(logging.getLogger(__name__), {})


class _Connect(connect):
    """Follows no redirect: credentials are for one server."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """Counts what comes in, so that somebody with a clock can tell whether it is alive."""

    received = 0
    """Pieces of data, whatever they are."""
    spoken = 0
    """Signs of life that the server gives by itself: messages and its own pings, not answers to ours."""
    pongs = 0
    whole = 0
    """Messages that are here and were not taken."""

    def data_received(self, data: bytes) -> None:
        self.received += 1
        if len(data) > _CONTROL_FRAME:
            self.spoken += 1  # part of a long message, perhaps on a slow line
        super().data_received(data)

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            if event.opcode is Opcode.PONG:
                self.pongs += 1
            else:
                self.spoken += 1
            self.whole += event.fin and event.opcode in _DATA
        super().process_event(event)

    @property
    def held(self) -> bool:
        """Whether the network is not read: as many messages wait here as may."""
        return not self.transport.is_closing() and not self.transport.is_reading()

    async def take(self) -> bytes:
        """Return the next message; waits for it. Raises ConnectionClosed after the last."""
        message = await self.recv(decode=False)
        self.whole -= 1
        return message

    async def take_some(self, most: int) -> list[bytes]:
        """Return the next message and those that have come along with it. Raises as `take`."""
        messages = [await self.take()]
        with suppress(ConnectionClosed):  # the next call raises it again, and nothing is lost
            while self.whole > 0 and len(messages) < most:
                messages.append(await self.take())
        return messages


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server ended the connection before its first message. It never says why."""

    how: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """How to reach a socket: its address (a secret on v0) and the headers that go with it."""

    name: str
    topics: tuple[str, ...]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    subscriptions: Mapping[str, Mapping[str, Any]]
    """v1: what to send once connected, by topic. v0 has its topics in the address."""


class Link:
    """An event socket for some topics."""

    def __init__(
        self, config: TsApiConfig, clock: Clock, door: Door, tls: ssl.SSLContext | None, *, answers_pings: bool = False
    ) -> None:
        self._config = config
        self._clock = clock
        self._door = door
        self._tls = tls
        self._connection: _Connection | None = None
        self._pong: asyncio.Future[float] | None = None
        self._early: list[bytes] = []
        self._answers: dict[str, str | None] = {}
        self.topics = door.topics
        """What was asked for; once open, what was accepted."""
        self.refused: dict[str, str] = {}
        """Topics that the server did not take, and why."""
        self.answers_pings = answers_pings
        """Whether the server has ever answered one; known from earlier links to it, or seen here."""
        self.in_hand = 0
        """Set by the reader: messages that it has taken and not passed on."""
        self.read_until = clock.now()
        """When all that had come until then was last known to be read."""
        self._held = False

    async def open(self) -> Refusal | None:
        """Connect and subscribe. Raises ConnectorUnavailableError if the server cannot be reached."""
        try:
            async with asyncio.timeout(self._config.open_timeout.total_seconds()):
                self._connection = await self._connect()
                await self._greet(self._connection)
        except InvalidStatus as exc:
            status = exc.response.status_code
            if status < 400 or status >= 500:
                raise ConnectorUnavailableError(f"{self._door.name}: the server answered HTTP {status}") from exc
            return Refusal(f"HTTP {status}", status)
        except ConnectionClosed as exc:
            return Refusal(f"closed at once ({_closing(exc)})")
        except (InvalidMessage, ConnectionResetError, EOFError):
            return Refusal("disconnected without an answer")
        except TimeoutError as exc:
            raise ConnectorUnavailableError(f"{self._door.name}: no answer within {self._patience:g} s") from exc
        except (OSError, InvalidHandshake) as exc:
            raise ConnectorUnavailableError(f"{self._door.name}: cannot connect: {exc}") from exc
        except InvalidURI:
            # Its words hold the address, and the address holds the password.
            raise ConnectorUnavailableError(f"{self._door.name}: not an address of a socket") from None
        return None

    @property
    def _patience(self) -> float:
        return self._config.open_timeout.total_seconds()

    async def _connect(self) -> _Connection:
        config = self._config
        connection = await _Connect(
            self._door.url,
            additional_headers=dict(self._door.headers),
            compression=None,
            proxy=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=config.close_timeout.total_seconds(),
            max_size=config.message_limit,
            logger=_log,
            create_connection=_Connection,
            ssl=self._tls,
        )
        assert isinstance(connection, _Connection)  # noqa: S101 - made by create_connection above
        return connection

    # --- subscribing ---

    async def _greet(self, connection: _Connection) -> None:
        if not self._door.subscriptions:
            self._accepted(await connection.take())
            return
        for topic, filters in self._door.subscriptions.items():
            await connection.send(json.dumps({"subscribe": topic, **filters}))
        while self._answers.keys() != self._door.subscriptions.keys():
            self._note(await connection.take())
        self.refused = {topic: why for topic, why in self._answers.items() if why is not None}
        self.topics = tuple(topic for topic in self.topics if topic not in self.refused)

    def _accepted(self, message: bytes) -> None:
        """Read v0's first message: `{"subscriberId": ..., "topics": [...]}`."""
        greeting = _object(message)
        echo = greeting.get("topics")
        if "subscriberId" not in greeting:
            self._early.append(message)
        elif isinstance(echo, list) and echo:
            self.refused = {topic: "not in the server's answer" for topic in self.topics if topic not in echo}
            self.topics = tuple(topic for topic in self.topics if topic in echo)

    def _note(self, message: bytes) -> None:
        """Read one of v1's first messages: control answers, mixed with the first snapshots."""
        body = _object(message)
        kind, topic = body.get("type"), body.get("topic")
        if kind == "subscribed" and isinstance(topic, str):
            self._answers[topic] = None
        elif kind == "error" and isinstance(topic, str) and topic in self._door.subscriptions:
            self._answers[topic] = str(body.get("message", "refused"))
        elif "subscriberId" not in body:
            self._early.append(message)

    # --- being open ---

    @property
    def _open(self) -> _Connection:
        if self._connection is None:
            raise ConnectorUnavailableError(f"{self._door.name}: not open")
        return self._connection

    async def messages(self) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield the messages, those that came together at once, until the link ends.

        Raises ConnectorUnavailableError then.
        """
        connection = self._open
        early, self._early = self._early, []
        if early:
            yield early
        try:
            while True:
                yield await connection.take_some(_AT_ONCE)
        except ConnectionClosed as exc:
            raise ConnectorUnavailableError(f"{self._door.name}: the server ended it ({_closing(exc)})") from exc

    @property
    def unread(self) -> bool:
        """Whether anything has come that was not passed on."""
        connection = self._connection
        return connection is not None and (self._held or connection.held or connection.whole + self.in_hand > 0)

    async def watch(self) -> AsyncGenerator[None, None]:
        """Ping, and yield whenever the server has said something by itself since, and all of that is read.

        Raises ConnectorUnavailableError when the link is dead: a server that answers pings must go on
        doing so, and any server must say something by itself within `link_dead_after`, because it
        promises to ping every 30 s ("Event socket" of the guide). Answers to our pings do not count
        there: a server may be stuck behind a socket that works. While we hold the socket, because what was read
        cannot be passed on, nothing can be told of the link: its time begins anew when we read on.
        """
        connection, config = self._open, self._config
        heard = spoke = self._clock.monotonic()
        received, spoken = connection.received, connection.spoken
        while True:
            await self._ping(connection)
            await self._clock.sleep(config.ping_interval.total_seconds())
            now = self._clock.monotonic()
            self.answers_pings = self.answers_pings or connection.pongs > 0
            if connection.held:
                self._held, heard, spoke = True, now, now
                continue
            if not self.unread:
                self.read_until = self._clock.now()
            self._held = False
            if connection.received != received:
                received, heard = connection.received, now
            if connection.spoken != spoken:
                spoken, spoke = connection.spoken, now
                if not self.unread:
                    yield
            if self.answers_pings and now - heard >= config.ping_patience.total_seconds():
                raise ConnectorUnavailableError(f"{self._door.name}: no answer to pings for {now - heard:.1f} s")
            if now - spoke >= config.link_dead_after.total_seconds():
                raise ConnectorUnavailableError(f"{self._door.name}: the server said nothing for {now - spoke:.0f} s")

    async def _ping(self, connection: _Connection) -> None:
        """Ping, unless the last ping is still to be answered: a server that never does would pile them up."""
        if self._pong is not None and not self._pong.done():
            return
        try:
            self._pong = asyncio.ensure_future(await connection.ping())
        except ConnectionClosed as exc:
            raise ConnectorUnavailableError(f"{self._door.name}: the server ended it ({_closing(exc)})") from exc

    async def close(self) -> None:
        """End it politely within `close_timeout`, or at once. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close()
        except (WebSocketException, OSError):
            _log.debug("not closed politely")
        finally:
            connection.transport.abort()


def _object(message: bytes) -> dict[str, Any]:
    try:
        body = from_json(message)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _closing(exc: ConnectionClosed) -> str:
    """Say how it ended, without the server's free text."""
    if exc.rcvd is not None:
        return f"code {int(exc.rcvd.code)}"
    if exc.sent is not None:
        return f"by us, code {int(exc.sent.code)}"
    return "connection lost"
