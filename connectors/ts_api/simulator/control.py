"""The control paths under `/_sim/`: what a test or a demo does to the simulator over HTTP. Loopback
clients only.

| call | does |
| --- | --- |
| `GET /_sim/` | state in short: level, sockets, faults, scenario, channels |
| `POST /_sim/events` | let something happen: one object or a list, `{"topic": "LPR", "plateNo": "12AB345"}` |
| `GET /_sim/faults` | faults in force, and what each name means |
| `PUT /_sim/faults/{name}` | set a fault; the body may limit it: `{"times": 1, "lasts": "5s"}` |
| `DELETE /_sim/faults[/{name}]` | clear one fault, or all |
| `GET /_sim/calls`, `DELETE` | device commands received; forget them |
| `GET /_sim/relays` | every relay with state and history |
| `GET /_sim/sockets` | event sockets connected |
| `DELETE /_sim/sockets[?how=reset\\|close\\|torn]` | end them |
| `POST /_sim/tokens/expire[?refresh]` | make v1 tokens invalid now |
| `POST /_sim/gaps` | lose a recording: `{"begin": "...", "end": "...", "channel": 1}` |
| `PATCH /_sim/server` | change `apiVersion`, `legacyOff`, `unlicensed` |
| `POST /_sim/scenario` | play one: `{"name": "demo"}` or `{"yaml": "..."}`, with `"speed": 4` |
| `GET /_sim/scenario` | how far it is |
| `POST /_sim/reset` | back to the start |
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bridge.sdk import ConfigError

from .course import UnknownThingError
from .faults import MEANINGS, Fault
from .happenings import HAPPENING
from .levels import Feature, Level
from .scenario import parse, shipped

if TYPE_CHECKING:
    from .server import Simulator

_SCENARIO_NAME = r"^[a-z0-9-]+$"
Answer = Callable[["Simulator", Request], Awaitable[Any]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class _GapBody(_Body):
    begin: AwareDatetime
    end: AwareDatetime
    channel: int | None = None


class _ServerBody(_Body):
    api_version: str | None = None
    legacy_off: bool | None = None
    unlicensed: frozenset[Feature] | None = None


class _ScenarioBody(_Body):
    name: str | None = Field(None, pattern=_SCENARIO_NAME)
    yaml: str | None = None
    speed: float = Field(1, gt=0)


def control_routes(simulator: Simulator) -> list[BaseRoute]:
    """Return the routes under `/_sim` of one simulator."""
    table: list[tuple[str, str, Answer]] = [
        ("GET", "/", _state),
        ("POST", "/events", _events),
        ("GET", "/faults", _faults),
        ("PUT", "/faults/{name}", _set_fault),
        ("DELETE", "/faults", _clear_faults),
        ("DELETE", "/faults/{name}", _clear_faults),
        ("GET", "/calls", _calls),
        ("DELETE", "/calls", _forget_calls),
        ("GET", "/relays", _relays),
        ("GET", "/sockets", _sockets),
        ("DELETE", "/sockets", _disconnect),
        ("POST", "/tokens/expire", _expire),
        ("POST", "/gaps", _gap),
        ("PATCH", "/server", _change_server),
        ("POST", "/scenario", _play),
        ("GET", "/scenario", _playing),
        ("POST", "/reset", _reset),
    ]
    return [_route(simulator, method, f"/_sim{path}", answer) for method, path, answer in table]


def _route(simulator: Simulator, method: str, path: str, answer: Answer) -> Route:
    async def serve(request: Request) -> Response:
        if not _is_local(request):
            return JSONResponse({"error": "loopback clients only"}, 403)
        try:
            return JSONResponse(to_jsonable_python(await answer(simulator, request)))
        except ValidationError as exc:
            problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in exc.errors()]
            return JSONResponse({"error": problems}, 400)
        except ConfigError as exc:
            return JSONResponse({"error": [str(problem) for problem in exc.problems]}, 400)
        except (UnknownThingError, ValueError) as exc:
            return JSONResponse({"error": [str(exc)]}, 400)

    return Route(path, serve, methods=[method])


def _is_local(request: Request) -> bool:
    """Tell whether both the client and the name it used are loopback: a web page elsewhere can fake neither."""
    client = request.client.host if request.client else ""
    name = request.url.hostname or ""
    try:
        near = ipaddress.ip_address(client).is_loopback
        return near and (name == "localhost" or ipaddress.ip_address(name).is_loopback)
    except ValueError:
        return False


async def _body(request: Request) -> Any:
    text = await request.body()
    return json.loads(text) if text.strip() else {}


async def _state(simulator: Simulator, request: Request) -> Any:
    world = simulator.world
    return {
        "apiVersion": str(world.level),
        "legacyOff": world.legacy_off,
        "unlicensed": sorted(world.unlicensed),
        "sockets": len(simulator.feeds),
        "faults": [fault.name for fault in world.faults.active()],
        "scenario": await _playing(simulator, request),
        "calls": len(simulator.calls),
        "rows": {
            "events": len(world.log.events),
            "plates": len(world.log.plates),
            "objects": len(world.log.objects),
        },
        "channels": {chid: channel.code for chid, channel in world.site.channels.items()},
    }


async def _events(simulator: Simulator, request: Request) -> Any:
    body = await _body(request)
    happened = [HAPPENING.validate_python(item) for item in (body if isinstance(body, list) else [body])]
    for what in happened:
        simulator.world.happen(what)
    return {"happened": len(happened)}


async def _faults(simulator: Simulator, request: Request) -> Any:
    return {"active": simulator.faults.active(), "known": MEANINGS}


async def _set_fault(simulator: Simulator, request: Request) -> Any:
    wanted = {**await _body(request), "name": request.path_params["name"]}
    return simulator.faults.set(Fault.model_validate(wanted))


async def _clear_faults(simulator: Simulator, request: Request) -> Any:
    name = request.path_params.get("name")
    if name is not None and name not in MEANINGS:
        raise ValueError(f"no fault {name}; there are {', '.join(sorted(MEANINGS))}")
    simulator.faults.clear(name)
    return {"active": simulator.faults.active()}


async def _calls(simulator: Simulator, request: Request) -> Any:
    return simulator.calls


async def _forget_calls(simulator: Simulator, request: Request) -> Any:
    simulator.calls.clear()
    return []


async def _relays(simulator: Simulator, request: Request) -> Any:
    return [
        {"channel": channel.chid, "token": relay.token, "name": relay.name, "on": relay.on, "history": relay.history}
        for channel in simulator.site.channels.values()
        for relay in channel.relays.values()
    ]


async def _sockets(simulator: Simulator, request: Request) -> Any:
    return [
        {
            "id": feed.id,
            "dialect": "v1" if feed.view.v1 else "v0",
            "user": feed.principal.name,
            "topics": sorted(feed.subscriptions),
            "sent": feed.sent,
            "frozen": feed.link.frozen,
        }
        for feed in simulator.feeds
    ]


async def _disconnect(simulator: Simulator, request: Request) -> Any:
    how = request.query_params.get("how", "reset")
    if how not in ("reset", "close", "torn"):
        raise ValueError("how: reset, close or torn")
    return {"disconnected": simulator.disconnect(how)}  # type: ignore[arg-type]  # checked above


async def _expire(simulator: Simulator, request: Request) -> Any:
    return {"expired": simulator.expire_tokens(refresh="refresh" in request.query_params)}


async def _gap(simulator: Simulator, request: Request) -> Any:
    gap = _GapBody.model_validate(await _body(request))
    simulator.lose_recording(gap.begin, gap.end, gap.channel)
    return {"gaps": len(simulator.world.recorder.gaps)}


async def _change_server(simulator: Simulator, request: Request) -> Any:
    wanted, world = _ServerBody.model_validate(await _body(request)), simulator.world
    if wanted.api_version is not None:
        world.level = Level.parse(wanted.api_version)
    if wanted.legacy_off is not None:
        world.legacy_off = wanted.legacy_off
    if wanted.unlicensed is not None:
        world.unlicensed = wanted.unlicensed
    return await _state(simulator, request)


async def _play(simulator: Simulator, request: Request) -> Any:
    wanted = _ScenarioBody.model_validate(await _body(request))
    if wanted.yaml is not None:
        text, name = wanted.yaml, "scenario"
    else:
        path = shipped(wanted.name or "demo")
        if not path.exists():
            raise ValueError(f"no scenario {wanted.name} comes with the simulator")
        text, name = path.read_text(encoding="utf-8"), path.name
    simulator.play(parse(text, name), wanted.speed)
    return await _playing(simulator, request)


async def _playing(simulator: Simulator, request: Request) -> Any:
    player = simulator.player
    if player is None:
        return None
    return {"name": player.scenario.name, "done": player.done, "total": player.total, "note": player.note}


async def _reset(simulator: Simulator, request: Request) -> Any:
    simulator.reset()
    return await _state(simulator, request)
