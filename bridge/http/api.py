"""The routes for people and programs that command: doors, cameras, the kill switch, the breaker, clocks."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import Field, JsonValue
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.http.callers import Caller, Callers, Said
from bridge.safety.cameras import Camera
from bridge.safety.desk import Desk
from bridge.safety.pending import Pending
from bridge.safety.settings import Waiting
from bridge.safety.site import Safety
from bridge.schema.orders import Result
from bridge.schema.units import format_duration

LOCK = timedelta(minutes=10)
"""How long a person has a camera that does not say."""
MAX_LOCK = timedelta(days=1)
_STATUS = {"done": 200, "refused": 409, "expired": 409, "dead": 500, "unknown": 504}
"""What the end of an order is answered with. `unknown`: it was sent, and nobody can say what came of it."""


class Agree(Said):
    """Agree to changed settings of what moves."""

    confirm: str = Field(max_length=64, description="The change, by its number.")


class SafetyApi:
    """The routes of one site."""

    def __init__(self, callers: Callers, desk: Desk, safety: Safety) -> None:
        self._callers, self._desk, self._safety = callers, desk, safety

    def routes(self) -> list[Route]:
        """Return all routes."""
        route = self._callers.route
        return [
            route("GET", "/api/safety", "viewer", self._state),
            route("POST", "/api/doors/{door}/open", "operator", self._open),
            route("POST", "/api/doors/{door}/hold", "operator", self._hold, stops=True),
            route("POST", "/api/doors/{door}/release", "admin", self._release),
            route("POST", "/api/pending/{pending}/confirm", "operator", self._confirm),
            route("POST", "/api/pending/{pending}/deny", "operator", self._deny, stops=True),
            route("POST", "/api/cameras/{source}/{channel}/lock", "operator", self._lock),
            route("POST", "/api/cameras/{source}/{channel}/unlock", "operator", self._unlock),
            self._callers.saying("POST", "/api/settings/confirm", "admin", Agree, self._agree),
            route("POST", "/api/kill", "operator", self._kill, stops=True),
            route("POST", "/api/kill/reset", "admin", self._unkill),
            route("POST", "/api/breaker/reset", "admin", self._reset_breaker),
            route("POST", "/api/clock/accept", "admin", self._accept_clock),
            route("POST", "/api/sources/{source}/clock/accept", "admin", self._accept_source_clock),
        ]

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
            "settings": _settings(safety.settings.waits),
            "clocks": _clocks(safety),
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
        denied = await self._desk.deny(request.path_params["pending"], caller.who, reason=caller.said.reason)
        return JSONResponse({"outcome": "denied", "pending": _waits(denied)})

    async def _hold(self, request: Request, caller: Caller) -> Response:
        await self._desk.hold(request.path_params["door"], caller.who, caller.reason)
        return JSONResponse({"held": True})

    async def _release(self, request: Request, caller: Caller) -> Response:
        await self._desk.unhold(request.path_params["door"], caller.who, caller.reason)
        return JSONResponse({"held": False})

    async def _lock(self, request: Request, caller: Caller) -> Response:
        span = min(caller.said.for_ or LOCK, MAX_LOCK)
        await self._desk.lock(_camera(request), caller.who, span, caller.said.reason)
        return JSONResponse({"locked": True, "for": format_duration(span)})

    async def _unlock(self, request: Request, caller: Caller) -> Response:
        await self._desk.unlock(_camera(request), caller.who, caller.said.reason)
        return JSONResponse({"locked": False})

    async def _agree(self, _: Request, caller: Caller, said: Agree) -> Response:
        await self._desk.agree(said.confirm, caller.who, caller.reason)
        return JSONResponse({"confirmed": said.confirm})

    async def _kill(self, _: Request, caller: Caller) -> Response:
        await self._desk.kill(caller.who, caller.reason)
        return JSONResponse({"killed": True})

    async def _unkill(self, _: Request, caller: Caller) -> Response:
        await self._desk.unkill(caller.who, caller.reason)
        return JSONResponse({"killed": False})

    async def _reset_breaker(self, _: Request, caller: Caller) -> Response:
        await self._desk.reset_breaker(caller.who, caller.reason)
        return JSONResponse({"tripped": False})

    async def _accept_clock(self, _: Request, caller: Caller) -> Response:
        await self._desk.accept_clock(caller.who, caller.reason)
        return JSONResponse({"accepted": True})

    async def _accept_source_clock(self, request: Request, caller: Caller) -> Response:
        self._desk.accept_source_clock(request.path_params["source"], caller.who, caller.reason)
        return JSONResponse({"accepted": True})


def _clocks(safety: Safety) -> JsonValue:
    """Return until when our clock keeps things shut, and how many seconds each source's clock is ahead of ours."""
    until = safety.own_clock.shut_until()
    known = {name: None if ahead is None else ahead.total_seconds() for name, ahead in safety.clocks.all().items()}
    content: JsonValue = {
        "shut_until": None if until is None else until.isoformat(),
        "sources": {name: {"ahead": ahead, "opens": name not in safety.clocks.off()} for name, ahead in known.items()},
    }
    return content


def _settings(waits: Waiting | None) -> JsonValue:
    """Return what has to be agreed to; `outputs` is null where it concerns everything that moves."""
    if waits is None:
        return None
    content: JsonValue = {
        "confirm": waits.confirm,
        "changes": [asdict(change) for change in waits.changes],
        "outputs": None if waits.everything else [*sorted(waits.outputs)],
    }
    return content


def _camera(request: Request) -> Camera:
    return Camera(request.path_params["source"], request.path_params["channel"])


def _latched(state: Any) -> JsonValue:
    return None if state is None else asdict(state)


def _waits(one: Pending) -> dict[str, JsonValue]:
    shown = {name: value for name, value in asdict(one).items() if name != "due"}
    content: dict[str, JsonValue] = to_jsonable_python(shown)
    return content


def _ended(result: Result) -> Response:
    return JSONResponse(result.model_dump(mode="json", exclude_none=True), status_code=_STATUS[result.outcome])
