"""The connection to NATS: kept for ever, quick to notice that it is gone, and the one place where its errors end.

nats-py by itself gives up after 60 tries, notices a dead link after four minutes and closes for
good on any error line of the server; none of that suits a bridge.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Server
from nats.aio.subscription import Subscription
from pydantic import SecretStr
from pydantic_core import from_json, to_json

from bridge.bus.client import Client, Taker
from bridge.bus.wire import TOO_LARGE, Outgoing, Received, RefusedError, encode
from bridge.errors import StartError, StoreUnavailableError

_log = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.02, 2.0
"""Seconds between tries to reconnect: doubled, with jitter. The embedded server is back within 50 ms."""
API_TIMEOUT = 5.0
"""Seconds for one answer of the JetStream API."""
_NO_RESPONDERS = "503"

T = TypeVar("T")


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn every error of NATS into StoreUnavailableError; `doing` completes "cannot …"."""
    try:
        yield
    except (nats.errors.Error, TimeoutError, OSError) as exc:
        raise StoreUnavailableError(f"cannot {doing}: {exc or type(exc).__name__}") from exc


class Connection:
    """One connection, shared by all parts of the bus."""

    def __init__(
        self,
        servers: Sequence[str],
        username: str | None,
        password: SecretStr | None,
        name: str,
        inbox: str = "_INBOX",
    ) -> None:
        """`inbox`: where answers come to, if this user may not listen where others do."""
        self._servers, self._inbox_root = list(servers), inbox
        self._username, self._password, self._name = username, password, name
        self.client = Client()
        self._inbox = ""
        self._asked = 0
        self._waiting: dict[str, tuple[asyncio.Future[Any], Callable[[Received], Any]]] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._up = asyncio.Event()
        self._lost_at: float | None = None
        self._refused: asyncio.Future[str] | None = None
        self._closing = False
        self.last_error = ""

    @property
    def connected(self) -> bool:
        """Whether the server is there now, as far as we know."""
        return self._up.is_set()

    @property
    def lost_for(self) -> float:
        """Seconds since the connection was lost; 0 while it is there."""
        return 0.0 if self._lost_at is None else asyncio.get_running_loop().time() - self._lost_at

    async def wait_connected(self) -> None:
        """Return when the server is there."""
        await self._up.wait()

    @property
    def address(self) -> str:
        """Host and port of the server, without credentials."""
        url = self.client.connected_url
        return f"{url.hostname}:{url.port}" if url else _addresses(self._servers)

    @property
    def max_payload(self) -> int:
        """Bytes that one message may have, headers included."""
        return self.client.max_payload

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version; zeros while it is not known."""
        version = self.client.connected_server_version
        return version.major, version.minor, version.patch

    def listen(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Call `listener` with True on every reconnect and False on every loss; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @asynccontextmanager
    async def opened(self, patience: float = 10.0) -> AsyncIterator[Connection]:
        """Connect, and close at the end. Raises StartError when nobody answers within `patience` seconds."""
        await self._connect(patience)
        self._inbox = self.client.new_inbox() + "."
        try:
            await self.subscribe(self._inbox + "*", self._answered)
            yield self
        finally:
            self._closing = True
            self._fail_waiting("the connection is closed")
            with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                if self.connected:
                    await self.client.flush(timeout=2)
            await self.client.close()

    # --- talking ---------------------------------------------------------------------------------

    async def tell(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, reply: str = "") -> None:
        """Send a message. Raises StoreUnavailableError when it is certain that it will not arrive."""
        await self._send([Outgoing(subject, body, headers or {})], reply)

    async def ask(self, messages: Sequence[Outgoing], read: Callable[[Received], T]) -> asyncio.Future[T]:
        """Send messages in one piece and return the future of what `read` makes of the answer to the last.

        It fails with StoreUnavailableError when the connection is lost or nobody listens: whether
        the message arrived is not known then. It has no time limit of its own.
        """
        self._asked += 1
        token = str(self._asked)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (future, read)
        future.add_done_callback(lambda _: self._waiting.pop(token, None))
        try:
            await self._send(messages, self._inbox + token)
        except BaseException:
            future.cancel()
            raise
        return future

    async def _send(self, messages: Sequence[Outgoing], reply: str) -> None:
        """Send messages in one piece; the answer to the last goes to `reply`."""
        if not self.connected:
            raise StoreUnavailableError("the log is not connected")
        limit = self.client.max_payload
        last = len(messages) - 1
        commands: list[bytes] = []
        for place, (subject, body, headers) in enumerate(messages):
            if len(body) > limit // 2 and len(body) + _size(headers) > limit:
                # The server would not refuse it but hang up, again and again.
                raise RefusedError(TOO_LARGE, f"a message of {len(body)} bytes is more than the server takes")
            commands.append(encode(subject, body, headers, reply if place == last else ""))
        try:
            await self.client.send(b"".join(commands))
        except (nats.errors.Error, OSError) as exc:
            raise StoreUnavailableError(f"cannot reach the log: {exc or type(exc).__name__}") from exc

    async def api(self, subject: str, question: Any = None, timeout: float = API_TIMEOUT) -> dict[str, Any]:
        """Ask the JetStream API (`subject` without `$JS.API.`). Raises RefusedError or StoreUnavailableError."""
        body = b"" if question is None else to_json(question)
        future = await self.ask([Outgoing(f"$JS.API.{subject}", body)], _read_answer)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError as exc:
            raise StoreUnavailableError(f"the log did not answer within {timeout:.0f} s") from exc

    async def subscribe(self, subject: str, taker: Taker) -> Subscription:
        """Have `taker` called with every message, none dropped. Raises StoreUnavailableError."""
        with store_errors("listen to the log"):
            return await self.client.take(subject, taker)

    def _answered(self, message: Received) -> None:
        waiting = self._waiting.get(message.subject[len(self._inbox) :])
        if waiting is None or waiting[0].done():
            return
        future, read = waiting
        if message.status == _NO_RESPONDERS:
            future.set_exception(StoreUnavailableError("the log is not ready: nobody takes this subject"))
            return
        try:
            future.set_result(read(message))
        except RefusedError as exc:
            future.set_exception(exc)

    def _fail_waiting(self, why: str) -> None:
        for future, _ in list(self._waiting.values()):
            if not future.done():
                future.set_exception(StoreUnavailableError(why))
                future.exception()  # whoever waited is told; whoever went away does not matter

    # --- nats-py's callbacks ---------------------------------------------------------------------

    async def _connect(self, patience: float) -> None:
        refused = self._refused = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._dial(), name="nats connect")
        done, _ = await asyncio.wait((task, refused), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        self._refused = None
        if task in done and task.exception() is None:
            self._up.set()
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, nats.errors.Error, OSError):
            await task
        self._closing = True
        await self.client.close()
        where = _addresses(self._servers)
        if refused.done():
            raise StartError(f"NATS at {where} refuses our credentials", "correct bus.username and bus.password")
        raise StartError(f"NATS at {where} does not answer ({self.last_error})", "start it, or correct bus.servers")

    @property
    def manners(self) -> dict[str, Any]:
        """How every connection of ours behaves: it never gives up, and notices within 15 s that nobody is there."""
        return {
            "name": self._name,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 1,
            "reconnect_to_server_handler": _next_server,
            "connect_timeout": 5,
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "pending_size": 8 * 1024 * 1024,
        }

    @property
    def credentials(self) -> tuple[str, SecretStr | None] | None:
        """User name and password; None where the server asks for none."""
        return None if self._username is None else (self._username, self._password)

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers' addresses, as configured."""
        return tuple(self._servers)

    async def _dial(self) -> None:
        await self.client.connect(
            self._servers,
            inbox_prefix=self._inbox_root,
            user=self._username,
            password=self._password.get_secret_value() if self._password else None,
            **self.manners,
            error_cb=self._on_error,
            disconnected_cb=self._on_lost,
            reconnected_cb=self._on_back,
            closed_cb=self._on_closed,
        )

    async def _on_error(self, exc: Exception) -> None:
        self.last_error = str(exc) or type(exc).__name__
        if self._refused is not None and not self._refused.done() and "authorization" in self.last_error.lower():
            self._refused.set_result(self.last_error)
        _log.debug("nats: %s", self.last_error)

    async def _on_lost(self) -> None:
        if not self._up.is_set():
            return  # known already, or never there: that is said once, by who wanted to connect
        self._up.clear()
        self._lost_at = asyncio.get_running_loop().time()
        if not self._closing:
            _log.warning("the connection to NATS is lost", extra={"error": self.last_error})
        self._fail_waiting("the connection to the log was lost")
        self._tell(False)

    async def _on_back(self) -> None:
        lost_for = self.lost_for
        self._lost_at = None
        self._up.set()
        _log.info("NATS is back", extra={"address": self.address, "lost_for": round(lost_for, 3)})
        self._tell(True)

    async def _on_closed(self) -> None:
        if not self._closing and self._refused is None:
            _log.error("the connection to NATS was closed", extra={"error": self.last_error})

    def _tell(self, back: bool) -> None:
        for listener in tuple(self._listeners):
            listener(back)


def _read_answer(message: Received) -> dict[str, Any]:
    answer: dict[str, Any] = from_json(message.data)
    error = answer.get("error")
    if error is not None:
        raise RefusedError(error.get("err_code", error.get("code", 0)), error.get("description", "no reason given"))
    return answer


def _size(headers: Mapping[str, str]) -> int:
    return 16 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


def _next_server(servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
    """Choose the server that failed least, and how long to wait before trying it."""
    fewest = min(server.reconnects for server in servers)
    chosen = random.choice([server for server in servers if server.reconnects == fewest])
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(fewest, 10))
    return chosen, wait * random.uniform(0.5, 1.5)


def _addresses(servers: Sequence[str]) -> str:
    split = (urlsplit(url if "://" in url else f"nats://{url}") for url in servers)
    return ", ".join(f"{url.hostname}:{url.port or 4222}" for url in split)
