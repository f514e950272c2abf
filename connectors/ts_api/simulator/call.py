"""One HTTP call: who makes it, what it asks, how the answer is written. Both dialects' handlers work on
this.

A handler takes a `Call` and returns JSON values or a response. What every handler needs (credentials,
permissions, licences, parameter parsing, error bodies) is decided here, once a dialect.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from .access import Principal, basic_auth
from .config import Permission
from .feed import to_json
from .levels import FIRST_V1, Feature, Level
from .parts import Filter
from .times import parse_duration, parse_time
from .view import View
from .world import World

_FIRST_V1 = Level.parse(FIRST_V1)
_MAX_BODY = 16 * 1024 * 1024


@dataclass
class Call:
    """A request as handlers see it."""

    world: World
    request: Request
    v1: bool
    principal: Principal | None

    @cached_property
    def view(self) -> View:
        """Return how this client sees the server."""
        return view_of(self.world, self.request, v1=self.v1)

    @property
    def client(self) -> Principal:
        """Return the client of a call that needs one."""
        if self.principal is None:
            raise HTTPException(401, "authentication required")
        return self.principal

    def has(self, name: str) -> bool:
        """Tell whether a parameter is given, with or without a value."""
        return name in self.request.query_params

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter as text."""
        return self.request.query_params.get(name, default)

    def flag(self, name: str) -> bool:
        """Read a flag: the key alone, `=true` or `=1`."""
        return flag(self.request, name)

    def number(self, name: str, default: int) -> int:
        """Read a whole number; 400 when it is none."""
        value = self.text(name)
        if not value:
            return default
        try:
            return int(value)
        except ValueError:
            raise HTTPException(400, f"{name} must be a number") from None

    def numbers(self, name: str) -> list[int] | None:
        """Read a comma-separated list of numbers; None when absent or empty."""
        found = numbers(self.request, name)
        if found is None and self.text(name):
            raise HTTPException(400, f"{name} must be numbers separated by commas")
        return found

    def words(self, name: str) -> list[str] | None:
        """Read a comma-separated list of words; None when absent or empty."""
        return [word for word in self.text(name).split(",") if word] or None

    def time(self, name: str) -> datetime | None:
        """Read a time in any accepted form; 400 when it is none."""
        value = self.text(name)
        if not value:
            return None
        try:
            return parse_time(value, self.world.zone)
        except ValueError:
            raise HTTPException(400, f"{name} is not a time") from None

    def needed_time(self, name: str) -> datetime:
        """Read a time that must be given; 400 otherwise."""
        moment = self.time(name)
        if moment is None:
            raise HTTPException(400, f"{name} is required")
        return moment

    def need_x_host(self) -> None:
        """Refuse a v1 call without the X-Host header, on the paths where the vendor requires it."""
        if self.v1 and self.world.config.require_x_host and "x-host" not in self.request.headers:
            raise HTTPException(400, "X-Host header is required")

    def duration(self, name: str, default: timedelta) -> timedelta:
        """Read a duration; 400 when it is none."""
        try:
            return parse_duration(self.text(name)) if self.text(name) else default
        except ValueError:
            raise HTTPException(400, f"{name} is not a duration") from None

    def channels(self) -> Filter:
        """Return the `ch` filter together with the client's own limits."""
        asked = self.numbers("ch")
        allowed = self.principal.channels if self.principal else None
        return Filter(channels=frozenset(asked) if asked is not None else None, allowed=allowed)

    async def json(self) -> Any:
        """Read the body as JSON; 400 when it is none."""
        body = b""
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                raise HTTPException(413, "body too large")
        try:
            return json.loads(body)
        except ValueError:
            raise HTTPException(400, "invalid JSON") from None

    async def json_object(self) -> dict[str, Any]:
        """Read the body as a JSON object; 400 when it is none."""
        value = await self.json()
        if not isinstance(value, dict):
            raise HTTPException(400, "a JSON object is expected")
        return value


Handler = Callable[[Call], Awaitable[Any]]


def flag(request: HTTPConnection, name: str) -> bool:
    """Read a flag of a request: the key alone, `=true` or `=1`."""
    return request.query_params.get(name, "false").lower() in ("", "true", "1")


def numbers(request: HTTPConnection, name: str) -> list[int] | None:
    """Read a comma-separated list of numbers; None when absent, empty or not numbers."""
    try:
        return [int(part) for part in request.query_params.get(name, "").split(",") if part] or None
    except ValueError:
        return None


def indent(request: HTTPConnection) -> int | None:
    """Read `indent=0..8`, which pretty-prints any answer."""
    value = request.query_params.get("indent", "")
    return min(int(value), 8) if value.isdigit() else None


def view_of(world: World, request: HTTPConnection, *, v1: bool) -> View:
    """Return how a client sees the server; X-Host, where given, is the host of absolute addresses."""
    host = request.headers.get("x-host") or request.headers.get("host", "localhost")
    lang = request.query_params.get("lang", "").replace("_", "-")
    return world.view(v1=v1, host=host, lang=lang, verbose=flag(request, "verbose"))


def principal_v0(world: World, request: HTTPConnection) -> Principal | None:
    """Check v0 credentials on HTTP: Basic, `auth=`, or the session cookie."""
    basic = basic_auth(request.headers.get("authorization", ""))
    if basic is not None:
        return world.access.by_auth(basic)
    if "auth" in request.query_params:
        return world.access.by_auth(request.query_params["auth"])
    return world.access.by_session(request.cookies.get(world.config.cookie, ""))


def principal_v1(world: World, request: HTTPConnection) -> Principal | None:
    """Check v1 credentials: API key or bearer token, in a header or in the query."""
    key = request.headers.get("x-api-key") or request.query_params.get("apikey")
    if key:
        return world.access.by_key(key, request.client.host if request.client else "")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token if scheme.lower() == "bearer" else request.query_params.get("token", "")
    return world.access.by_token(token) if token else None


def answer(value: Any, request: HTTPConnection, status: int = 200) -> Response:
    """Write an answer as JSON."""
    return Response(to_json(value, indent(request)), status, media_type="application/json; charset=utf-8")


def refusal(request: HTTPConnection, status: int, message: str) -> Response:
    """Write an error body: v1's form, used on v0 as well."""
    return answer({"code": -1, "message": message}, request, status)


def v0(world: World, path: str, handler: Handler, *methods: str, public: bool = False) -> Route:
    """Return a v0 route: 404 when switched off, 401 without credentials unless public."""

    async def serve(request: Request) -> Response:
        if world.legacy_off:
            message = "Legacy API (v0) is disabled. Please use /api/v1/ endpoints."
            return refusal(request, 404, message)
        call = Call(world, request, v1=False, principal=principal_v0(world, request))
        if call.principal is None and not public:
            return refusal(request, 401, "authentication required")
        return _written(await handler(call), request)

    return Route(path, serve, methods=list(methods) or ["GET"])


def v1(
    world: World,
    path: str,
    handler: Handler,
    *methods: str,
    needs: Permission | None = None,
    feature: Feature | None = None,
    admin: bool = False,
) -> Route:
    """Return a v1 route: 404 below 1.0.0 or without the licence, 401, 403, then the handler."""

    async def serve(request: Request) -> Response:
        if world.level < _FIRST_V1 or feature in world.unlicensed:
            return refusal(request, 404, "Not found")
        call = Call(world, request, v1=True, principal=principal_v1(world, request))
        if needs is not None:
            if call.principal is None:
                return refusal(request, 401, "Unauthorized")
            if not call.principal.may(needs) or (admin and not _is_admin(call.principal)):
                return refusal(request, 403, "Forbidden")
        return _written(await handler(call), request)

    return Route(path, serve, methods=list(methods) or ["GET"])


def _is_admin(principal: Principal) -> bool:
    return principal.admin or (principal.via == "apikey" and principal.may("settings"))


def _written(value: Any, request: Request) -> Response:
    return value if isinstance(value, Response) else answer(value, request)
