"""The routes for people and programs that command: doors, the kill switch, the breaker. Tokens with roles only.

`viewer` may look, `operator` may open, agree and stop, `admin` may also let go what was stopped. The
command line of this machine has a token of its own, made at each start.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.config.models import ApiClient
from bridge.errors import ActionRejectedError, StoreUnavailableError
from bridge.http.body import RefusedError, read_body
from bridge.http.limits import address_key
from bridge.http.verify import Throttle
from bridge.safety.cameras import Camera
from bridge.safety.desk import Desk
from bridge.safety.pending import Pending
from bridge.safety.reasons import Reason
from bridge.safety.site import Safety
from bridge.schema.orders import Result
from bridge.schema.units import Duration, format_duration

LOCAL = "local"
"""The client that the command line of this machine is."""
MAX_BODY = 16 * 1024
LOCK = timedelta(minutes=10)
"""How long a person has a camera that does not say."""
MAX_LOCK = timedelta(days=1)
Role = Literal["viewer", "operator", "admin"]
_RANK: dict[Role, int] = {"viewer": 0, "operator": 1, "admin": 2}
_STATUS = {"done": 200, "refused": 409, "expired": 409, "dead": 500, "unknown": 504}
"""What the end of an order is answered with. `unknown`: it was sent, and nobody can say what came of it."""
_UNKNOWN_NAMES = frozenset({Reason.UNKNOWN_DOOR.value, Reason.NOT_PENDING.value, Reason.UNKNOWN_OUTPUT.value})


class Said(BaseModel):
    """What a command may say of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str | None = Field(None, max_length=500, description="Why; kept with the command.")
    asked: AwareDatetime | None = Field(None, description="When the person asked; more than 10 s ago is not done.")
    for_: Duration | None = Field(None, alias="for", description="How long a camera is locked; at most a day.")
    person: str | None = Field(None, max_length=64, description="Who; only the command line of this machine may say.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who commands, and what they said."""

    who: str
    said: Said

    @property
    def reason(self) -> str:
        """Why, or that it was not said."""
        return self.said.reason or "not said"


Act = Callable[[Request, Caller], Awaitable[Response]]


class SafetyApi:
    """The routes of one site."""

    def __init__(
        self, clients: Mapping[str, ApiClient], local: str, desk: Desk, safety: Safety, throttle: Throttle
    ) -> None:
        self._desk, self._safety, self._throttle = desk, safety, throttle
        tokens = {name: (client.token.get_secret_value(), client.role) for name, client in clients.items()}
        known = {**tokens, LOCAL: (local, "admin")}
        self._known: list[tuple[bytes, str, Role]] = [(_digest(t), name, role) for name, (t, role) in known.items()]

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            self._route("GET", "/api/safety", "viewer", self._state),
            self._route("POST", "/api/doors/{door}/open", "operator", self._open),
            self._route("POST", "/api/doors/{door}/hold", "operator", self._hold),
            self._route("POST", "/api/doors/{door}/release", "admin", self._release),
            self._route("POST", "/api/pending/{pending}/confirm", "operator", self._confirm),
            self._route("POST", "/api/pending/{pending}/deny", "operator", self._deny),
            self._route("POST", "/api/cameras/{source}/{channel}/lock", "operator", self._lock),
            self._route("POST", "/api/cameras/{source}/{channel}/unlock", "operator", self._unlock),
            self._route("POST", "/api/kill", "operator", self._kill),
            self._route("POST", "/api/kill/reset", "admin", self._unkill),
            self._route("POST", "/api/breaker/reset", "admin", self._reset_breaker),
        ]

    def _route(self, method: str, path: str, role: Role, act: Act) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await act(request, await self._caller(request, role))
            except RefusedError as exc:
                return _said(exc.status, exc.reason, exc.message, exc.headers)
            except ActionRejectedError as exc:
                return _said(404 if exc.reason in _UNKNOWN_NAMES else 409, exc.reason, str(exc))
            except StoreUnavailableError as exc:
                wait = str(max(1, math.ceil(exc.retry_after.total_seconds())))
                return _said(503, "store_unavailable", str(exc), {"Retry-After": wait})
            except OSError as exc:
                words = f"it holds, but a restart would forget it: {exc.strerror or exc}"
                return _said(507, "not_kept", words)

        return Route(path, answer, methods=[method])

    # --- who -------------------------------------------------------------------------------------------

    async def _caller(self, request: Request, needed: Role) -> Caller:
        name, role = self._identify(request)
        if _RANK[role] < _RANK[needed]:
            raise RefusedError(403, "role", f"this needs the role {needed}; {name} is {role}")
        said = await _read(request)
        if said.person is not None and name != LOCAL:
            raise RefusedError(403, "role", "only the command line of this machine says who it is")
        return Caller(f"cli:{said.person or LOCAL}" if name == LOCAL else f"api:{name}", said)

    def _identify(self, request: Request) -> tuple[str, Role]:
        address = address_key(request.client.host) if request.client else "local"
        wait = self._throttle.wait(address)
        if wait > 0:
            raise RefusedError(
                429, "throttled", "too many wrong tokens from this address", {"Retry-After": str(math.ceil(wait))}
            )
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        offered = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        digest, found = _digest(offered), None
        for known, name, role in self._known:
            if hmac.compare_digest(known, digest):
                found = (name, role)
        if found is not None and offered:
            return found
        if offered:
            self._throttle.failed(address)
        message = "wrong token" if offered else "a token is needed"
        raise RefusedError(401, "credentials", message, {"WWW-Authenticate": 'Bearer realm="vms-bridge"'})

    # --- what --------------------------------------------------------------------------------------------

    async def _state(self, _: Request, __: Caller) -> Response:
        safety, keeper = self._safety, self._safety.doors
        doors = {
            name: {"mode": door.mode, "output": door.output, "held": _latched(await keeper.holds[name].state())}
            for name, door in keeper.doors.items()
        }
        content = {
            "kill": _latched(await safety.kill.state()),
            "breaker": _latched(await safety.breaker.state()),
            "doors": doors,
            "pending": [_waits(one) for one in keeper.pending.all()],
            "cameras": {"locked": safety.cameras.locks(), "held": safety.cameras.held()},
            "away": {str(target): orders for target, orders in safety.releases.owed().items()},
        }
        return JSONResponse(content)

    async def _open(self, request: Request, caller: Caller) -> Response:
        door = request.path_params["door"]
        said = caller.said
        return _ended(await self._desk.open(door, caller.who, reason=said.reason, asked=said.asked))

    async def _confirm(self, request: Request, caller: Caller) -> Response:
        end = await self._desk.confirm(request.path_params["pending"], caller.who, reason=caller.said.reason)
        if isinstance(end, Pending):
            return JSONResponse({"outcome": "pending", "pending": _waits(end)}, status_code=202)
        return _ended(end)

    async def _deny(self, request: Request, caller: Caller) -> Response:
        denied = self._desk.deny(request.path_params["pending"], caller.who, reason=caller.said.reason)
        return JSONResponse({"outcome": "denied", "pending": _waits(denied)})

    async def _hold(self, request: Request, caller: Caller) -> Response:
        await self._desk.hold(request.path_params["door"], caller.who, caller.reason)
        return JSONResponse({"held": True})

    async def _release(self, request: Request, caller: Caller) -> Response:
        await self._desk.unhold(request.path_params["door"], caller.who, caller.reason)
        return JSONResponse({"held": False})

    async def _lock(self, request: Request, caller: Caller) -> Response:
        span = min(caller.said.for_ or LOCK, MAX_LOCK)
        self._desk.lock(_camera(request), caller.who, span, caller.said.reason)
        return JSONResponse({"locked": True, "for": format_duration(span)})

    async def _unlock(self, request: Request, caller: Caller) -> Response:
        self._desk.unlock(_camera(request), caller.who, caller.said.reason)
        return JSONResponse({"locked": False})

    async def _kill(self, _: Request, caller: Caller) -> Response:
        await self._desk.kill(caller.who, caller.reason)
        return JSONResponse({"killed": True})

    async def _unkill(self, _: Request, caller: Caller) -> Response:
        await self._desk.unkill(caller.who, caller.reason)
        return JSONResponse({"killed": False})

    async def _reset_breaker(self, _: Request, caller: Caller) -> Response:
        await self._desk.reset_breaker(caller.who, caller.reason)
        return JSONResponse({"tripped": False})


async def _read(request: Request) -> Said:
    """Return what the body says; an empty one says nothing. Raises RefusedError."""
    if request.method == "GET" or request.headers.get("content-length", "0") == "0":
        return Said()
    try:
        return Said.model_validate_json(await read_body(request, MAX_BODY))
    except ValidationError as exc:
        first = exc.errors()[0]
        raise RefusedError(422, "bad_body", f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from exc


def _camera(request: Request) -> Camera:
    return Camera(request.path_params["source"], request.path_params["channel"])


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _latched(state: Any) -> JsonValue:
    return None if state is None else asdict(state)


def _waits(one: Pending) -> dict[str, JsonValue]:
    shown = {name: value for name, value in asdict(one).items() if name != "due"}
    content: dict[str, JsonValue] = to_jsonable_python(shown)
    return content


def _ended(result: Result) -> Response:
    return JSONResponse(result.model_dump(mode="json", exclude_none=True), status_code=_STATUS[result.outcome])


def _said(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"reason": reason, "message": message}, status_code=status, headers=dict(headers or {}))
