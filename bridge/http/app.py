"""The one HTTP port: pushes in, health and metrics out. Runs inside the bridge's own loop, without signal handlers.

`/healthz`, `/readyz` and `/metrics` are open to whoever reaches the port, and say nothing secret; the port is loopback
unless the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from types import TracebackType
from typing import Any, Self

from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

import bridge
from bridge.clock import Clock
from bridge.config.models import HttpConfig
from bridge.contracts import Emit, PushFormat
from bridge.errors import ConfigError, StartError
from bridge.http.limits import Gate, GuardedProtocol, Limits
from bridge.http.push import Doorkeepers, Intake, Observer, Park, PushEndpoint
from bridge.http.repeats import Repeats
from bridge.http.signature import Replays, Signers
from bridge.http.tls import context
from bridge.http.verify import Throttle, Verifier

log = logging.getLogger(__name__)

GRACE = 3.0
"""Seconds that requests in hand have to end when the bridge stops; more than a push ever takes."""

BACKLOG = 2048
"""Connections that wait to be taken: a flood must be turned away by us, not by the kernel, which lets others wait."""
AT_ONCE = 32
"""Connections that are taken in one turn of the loop (asyncio's meaning of the backlog), so that others have theirs."""

Ready = Callable[[], tuple[bool, Mapping[str, JsonValue]]]
"""Whether the bridge is ready, and all that is known about it."""


class HttpServer:
    """`async with HttpServer(...) as server:` serves until the block ends. Raises StartError when it cannot listen."""

    def __init__(
        self,
        config: HttpConfig,
        *,
        site: str,
        zone: tzinfo,
        formats: Sequence[PushFormat],
        emit: Emit,
        park: Park,
        clock: Clock,
        observer: Observer,
        ready: Ready,
        metrics: Callable[[], bytes],
        more: Sequence[Route] = (),
        limits: Limits | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        """Without `repeats` what was pushed without a time is known again until a restart."""
        self._config, self._observer = config, observer
        self._ready, self._metrics = ready, metrics
        self._limits = limits or Limits()
        if limits is None:
            self._limits = replace(self._limits, connections=config.max_connections, per_address=config.max_per_address)
        self._repeats = repeats or Repeats(None, clock, config.longest_repeats)
        self._intake = Intake(site, zone, emit, park, clock, observer, self._limits.store)
        self._app = _Counted(self._routes(formats, more), clock, observer)
        self._state = ServerState()
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._listener is None:
            raise RuntimeError("the HTTP server is not running")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        host = self._config.host
        if host in ("0.0.0.0", "::", ""):
            host = "127.0.0.1"
        scheme = "http" if self._config.tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def __aenter__(self) -> Self:
        """Listen."""
        uvicorn = Config(
            self._app,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="error",  # below that it reports what any stranger sends
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(1, round(self._limits.keep_alive)),
        )
        uvicorn.load()
        gate, loop = Gate(self._limits), asyncio.get_running_loop()

        def protocol() -> GuardedProtocol:
            return GuardedProtocol(uvicorn, self._state, self._limits, gate, self._observer.connection_dropped, loop)

        tls = await asyncio.to_thread(context, self._config.tls) if self._config.tls is not None else None
        try:
            self._listener = await loop.create_server(
                protocol,
                self._config.host,
                self._config.port,
                backlog=AT_ONCE,
                ssl=tls,
                # Connecting and not going on is the first thing that slow clients do.
                ssl_handshake_timeout=self._limits.first_byte if tls is not None else None,
            )
        except OSError as exc:
            raise _cannot_listen(exc, self._config.host, self._config.port) from exc
        for listening in self._listener.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(BACKLOG)
        log.info("listening", extra={"url": self.url})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, let the requests in hand end, then hang up."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=GRACE)
            for task in late:
                task.cancel()
            if late:
                log.warning("requests were cut off while stopping", extra={"requests": len(late)})
                await asyncio.wait(late)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self._listener.wait_closed()
        self._listener = None

    # --- routes -------------------------------------------------------------------------------------

    def _routes(self, formats: Sequence[PushFormat], more: Sequence[Route]) -> Starlette:
        clock = self._intake.clock
        keepers = Doorkeepers(
            Verifier(self._config), Signers(self._config.push), Replays(clock.now()), Throttle(clock)
        )  # fmt: skip
        routes = [
            Route("/", self._root, methods=["GET"]),
            Route("/healthz", self._alive, methods=["GET"]),
            Route("/readyz", self._readiness, methods=["GET"]),
            *more,
        ]
        if self._config.metrics:
            routes.append(Route("/metrics", self._scrape, methods=["GET"]))
        taken: set[str] = set()
        for push in formats:
            endpoint = PushEndpoint(push, self._config, self._intake, keepers, self._repeats)
            for path in push.paths:
                if path in taken:
                    raise ConfigError(f"two connectors want pushes at {path}: remove one of the two")
                taken.add(path)
                routes.append(Route(path, endpoint.__call__, methods=["POST"]))
        app = Starlette(routes=routes, exception_handlers={HTTPException: _as_json})
        app.router.redirect_slashes = False  # a redirect would send a device's credentials once more, elsewhere
        return app

    async def _root(self, _: Request) -> Response:
        paths = [route.path for route in self._starlette_routes() if route.path != "/"]
        return JSONResponse({"name": "vms-event-bridge", "version": bridge.__version__, "paths": sorted(paths)})

    def _starlette_routes(self) -> list[Route]:
        return [route for route in self._app.app.routes if isinstance(route, Route)]

    async def _alive(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})  # that this is said at all is the news: the loop turns

    async def _readiness(self, _: Request) -> Response:
        ready, detail = self._ready()
        return JSONResponse(dict(detail), status_code=200 if ready else 503)

    async def _scrape(self, _: Request) -> Response:
        return Response(self._metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Counted:
    """Counts every request by route and status, and logs it without its query."""

    def __init__(self, app: Starlette, clock: Clock, observer: Observer) -> None:
        self.app, self._clock, self._observer = app, clock, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began, status = self._clock.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_ALWAYS]}
            await send(message)

        app: ASGIApp = self.app
        try:
            await app(scope, receive, counted)
        finally:
            route = scope.get("route")
            path = route.path if isinstance(route, Route) else "other"
            self._observer.request(path, status, self._clock.monotonic() - began)
            client: Any = scope.get("client")
            fields = {"method": scope["method"], "path": path, "status": status, "address": client and client[0]}
            log.debug("request", extra=fields)


_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


async def _as_json(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    said = {404: "there is nothing here", 405: "not with this method"}.get(exc.status_code, exc.detail)
    return JSONResponse({"code": -1, "message": said}, status_code=exc.status_code, headers=exc.headers)


async def can_listen(config: HttpConfig) -> None:
    """Raise StartError if the port cannot be had now: asked before anything is started that would have to be undone."""
    try:
        bound = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, config.host, config.port, start_serving=False
        )
    except OSError as exc:
        raise _cannot_listen(exc, config.host, config.port) from exc
    bound.close()
    await bound.wait_closed()


def _cannot_listen(exc: OSError, host: str, port: int) -> StartError:
    if isinstance(exc, socket.gaierror):
        return StartError(f"the address {host!r} cannot be resolved", "set http.host to an address of this machine")
    if exc.errno == errno.EADDRINUSE:
        return StartError(f"port {port} on {host} is in use", "stop the other program or set http.port")
    if exc.errno == errno.EACCES:
        return StartError(f"port {port} on {host} needs privileges", "set http.port to a port above 1023")
    if exc.errno == errno.EADDRNOTAVAIL:
        return StartError(f"{host} is no address of this machine", "set http.host to one, or to 127.0.0.1")
    return StartError(f"cannot listen on {host} port {port}: {exc.strerror}", "check http.host and http.port")
