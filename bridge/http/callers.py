"""Who asks over HTTP, and what of it they may: tokens with roles. The way of every route that commands or looks.

`viewer` may look, `operator` may open, agree and stop, `admin` may also let go what was stopped. The
command line of this machine has a token of its own, made at each start.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.clock import Clock
from bridge.config.models import ApiClient
from bridge.errors import ActionRejectedError, StoreError, StoreUnavailableError
from bridge.http.body import RefusedError, read_body
from bridge.http.limits import address_key, begin_waiting
from bridge.http.verify import Throttle
from bridge.safety.desk import MAX_AGE
from bridge.safety.reasons import Reason
from bridge.schema.units import Duration

LOCAL = "local"
"""The client that the command line of this machine is."""
MAX_BODY = 16 * 1024
Role = Literal["viewer", "operator", "admin"]
_RANK: dict[Role, int] = {"viewer": 0, "operator": 1, "admin": 2}
_UNKNOWN_NAMES = frozenset(
    reason.value for reason in (Reason.UNKNOWN_DOOR, Reason.NOT_PENDING, Reason.UNKNOWN_OUTPUT, Reason.UNKNOWN_SOURCE)
) | {"unknown_list", "unknown_mode"}


class Said(BaseModel):
    """What a command may say of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str | None = Field(None, max_length=500, description="Why; kept with the command.")
    asked: AwareDatetime | None = Field(
        None, description="When the person asked; more than 10 s ago, or ahead, is not done."
    )
    for_: Duration | None = Field(None, alias="for", description="How long a camera is locked; at most a day.")
    person: str | None = Field(None, max_length=64, description="Who; only the command line of this machine may say.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who commands, and what they said."""

    who: str
    said: Said
    lists: frozenset[str] | None = None
    """The lists that they may change; None: all."""

    @property
    def reason(self) -> str:
        """Why, or that it was not said."""
        return self.said.reason or "not said"


Act = Callable[[Request, Caller], Awaitable[Response]]
S = TypeVar("S", bound=Said)
ActOn = Callable[[Request, Caller, S], Awaitable[Response]]


class Callers:
    """Everybody who has a token at one site."""

    def __init__(self, clients: Mapping[str, ApiClient], local: str, throttle: Throttle, clock: Clock) -> None:
        self._throttle, self._clock = throttle, clock
        tokens = {name: (client.token.get_secret_value(), client.role) for name, client in clients.items()}
        known = {**tokens, LOCAL: (local, "admin")}
        self._known: list[tuple[bytes, str, Role]] = [(_digest(t), name, role) for name, (t, role) in known.items()]
        self._lists = {name: frozenset(one.lists) for name, one in clients.items() if one.lists is not None}

    def route(self, method: str, path: str, role: Role, act: Act, *, stops: bool = False) -> Route:
        """Return a route for callers of at least this role. What is refused is answered as JSON with its reason.

        `stops`: it stops something, so a right token passes though others guess from the same address, and it is
        done however long ago it was asked for.
        """

        async def plainly(request: Request, caller: Caller, _: Said) -> Response:
            return await act(request, caller)

        return self.saying(method, path, role, Said, plainly, stops=stops)

    def saying(
        self,
        method: str,
        path: str,
        role: Role,
        body: type[S],
        act: Callable[[Request, Caller, S], Awaitable[Response]],
        *,
        stops: bool = False,
    ) -> Route:
        """Return a route whose body says more; the same otherwise."""

        async def answer(request: Request) -> Response:
            try:
                caller, said = await self._caller(request, role, body, stops)
                return await act(request, caller, said)
            except RefusedError as exc:
                return _said(exc.status, exc.reason, exc.message, exc.headers)
            except ActionRejectedError as exc:
                return _said(404 if exc.reason in _UNKNOWN_NAMES else 409, exc.reason, str(exc))
            except StoreUnavailableError as exc:
                wait = str(max(1, math.ceil(exc.retry_after.total_seconds())))
                return _said(503, "store_unavailable", str(exc), {"Retry-After": wait})
            except StoreError as exc:
                return _said(500, "store", str(exc))
            except OSError as exc:
                words = f"it holds, but a restart would forget it: {exc.strerror or exc}"
                return _said(507, "not_kept", words)

        return Route(path, answer, methods=[method])

    async def _caller(self, request: Request, needed: Role, body: type[S], stops: bool) -> tuple[Caller, S]:
        name, role = await self._identify(request, needed if stops else None)
        if _RANK[role] < _RANK[needed]:
            raise RefusedError(403, "role", f"this needs the role {needed}; {name} is {role}")
        said = await _read(request, body)
        if said.person is not None and name != LOCAL:
            raise RefusedError(403, "role", "only the command line of this machine says who it is")
        if not stops and said.asked is not None:
            _in_time(said.asked, self._clock.now())
        if name == LOCAL:
            return Caller(f"cli:{said.person or LOCAL}", said), said
        return Caller(f"api:{name}", said, self._lists.get(name)), said

    async def _identify(self, request: Request, stops: Role | None) -> tuple[str, Role]:
        """Return whose token it is. An address that guesses is not listened to, unless it `stops` with a right one."""
        address = address_key(request.client.host) if request.client else "local"
        wait = self._throttle.wait(address)
        throttled = RefusedError(
            429, "throttled", "too many wrong tokens from this address", {"Retry-After": str(math.ceil(wait))}
        )
        if wait > 0 and stops is None:
            raise throttled
        found = self._owner(request)
        if found is not None and (wait <= 0 or _RANK[found[1]] >= _RANK[stops or "admin"]):
            return found
        if wait > 0:  # what else it is nobody learns from here
            begin_waiting(request)
            await self._throttle.hold_back()
            raise throttled
        offered = _offered(request)
        if offered:
            self._throttle.failed(address)
        message = "wrong token" if offered else "a token is needed"
        raise RefusedError(401, "credentials", message, {"WWW-Authenticate": 'Bearer realm="vms-bridge"'})

    def _owner(self, request: Request) -> tuple[str, Role] | None:
        """Compare with every token, whichever it is, so that the time it takes tells nothing."""
        offered = _offered(request)
        digest, found = _digest(offered), None
        for known, name, role in self._known:
            if hmac.compare_digest(known, digest):
                found = (name, role)
        return found if offered else None


def _offered(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")


def _in_time(asked: datetime, now: datetime) -> None:
    """Refuse what was asked for too long ago: on a slow way something later may have passed it, such as a stop."""
    if abs(now - asked) > MAX_AGE:
        seconds = (now - asked).total_seconds()
        words = f"{seconds:.0f} s ago" if seconds > 0 else f"{-seconds:.0f} s ahead of our clock"
        raise RefusedError(409, Reason.EXPIRED, f"it was asked for {words}; at most {MAX_AGE.total_seconds():.0f} s")


async def _read(request: Request, body: type[S]) -> S:
    """Return what the body says; an empty one says nothing. Raises RefusedError."""
    try:
        if request.method == "GET" or request.headers.get("content-length", "0") == "0":
            return body()
        return body.model_validate_json(await read_body(request, MAX_BODY))
    except ValidationError as exc:
        first = exc.errors()[0]
        raise RefusedError(422, "bad_body", f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from exc


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _said(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"reason": reason, "message": message}, status_code=status, headers=dict(headers or {}))
