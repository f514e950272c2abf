"""Every path the server knows, in one table a dialect, and the faults that strike any REST answer.

The export socket (`/wsapi/dataExport`, `/wsapi/v1/export`) belongs into `sockets_of`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC
from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import rest_auth, rest_control, rest_enum, rest_find, rest_info, rest_input, rest_system, rest_vod
from .call import Call, Handler, principal_v0, principal_v1, refusal, v0, v1
from .sockets import EventSockets
from .world import World

_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_CONTROL_PATH = "/_sim"


def application(world: World, control: list[BaseRoute]) -> ASGIApp:
    """Return the whole server as one ASGI application; `control` are the routes under `/_sim`."""
    routes = [*control, *sockets_of(world), *files_of(world), *v1_of(world), *v0_of(world)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
    return _RestFaults(app, world)


def sockets_of(world: World) -> list[BaseRoute]:
    """Return the WebSocket paths; the guide uses both v0 spellings."""
    sockets = EventSockets(world)
    return [
        WebSocketRoute("/wsapi/subscribeEvents", sockets.v0),
        WebSocketRoute("/api/subscribeEvents", sockets.v0),
        WebSocketRoute("/wsapi/v1/events", sockets.v1),
        WebSocketRoute("/{path:path}", sockets.unknown),
    ]


def files_of(world: World) -> list[BaseRoute]:
    """Return the paths of files, which take the credentials of either dialect."""
    return [
        _file(world, "/storage/{path:path}", rest_vod.storage),
        _file(world, "/event-storage/{path:path}", rest_vod.event_storage),
        _file(world, "/download/{name}", rest_find.download),
        _file(world, "/hls/{stream}/index.m3u8", rest_vod.playlist),
        _file(world, "/hls/{stream}/{number:int}.ts", rest_vod.segment),
    ]


def v0_of(world: World) -> list[BaseRoute]:
    """Return the v0 paths (TS-API guide 0.9.20)."""
    return [
        v0(world, "/api/info", rest_info.info, public=True),
        v0(world, "/api/auth", rest_auth.session, public=True),
        v0(world, "/api/enum", rest_enum.enum),
        v0(world, "/api/status", rest_info.status),
        v0(world, "/api/system", rest_system.system),
        v0(world, "/api/find", rest_find.find),
        v0(world, "/api/vod", rest_vod.vod),
        v0(world, "/api/channel/ptz", rest_control.ptz),
        v0(world, "/api/channel/preset", rest_control.preset_v0),
        v0(world, "/api/channel/relay", rest_control.relay_v0),
        v0(world, "/api/channel/aux", rest_control.aux_v0),
        v0(world, "/api/channel/reboot", rest_control.reboot),
        v0(world, "/api/channel/info", rest_info.channel_info),
        v0(world, "/api/channel", rest_input.add_channels, "POST"),
        v0(world, "/api/channel/{chids}", rest_input.delete_channels, "DELETE"),
        v0(world, "/api/push", rest_input.push, "POST"),
        v0(world, "/api/event/trigger", rest_input.trigger, "PUT"),
        v0(world, "/api/event-videos/trigger", rest_input.trigger, "PUT"),
        v0(world, "/api/{path:path}", _nothing, "GET", "POST", "PUT", "DELETE", public=True),
    ]


def v1_of(world: World) -> list[BaseRoute]:
    """Return the v1 paths (v1 guide 1.1.0)."""
    root = "/api/v1"
    camera = root + "/channel/{chid:int}"
    return [
        v1(world, root + "/info", rest_info.info),
        v1(world, root + "/auth", rest_auth.blocked),
        v1(world, root + "/auth/login", rest_auth.login, "POST"),
        v1(world, root + "/auth/refresh", rest_auth.refresh, "POST"),
        v1(world, root + "/auth/logout", rest_auth.logout, "POST"),
        v1(world, root + "/auth/apikey", rest_auth.create_key, "POST", needs="settings", admin=True),
        v1(world, root + "/auth/apikey", rest_auth.list_keys, needs="settings", admin=True),
        v1(world, root + "/auth/apikey/{id}", rest_auth.revoke_key, "DELETE", needs="settings", admin=True),
        v1(world, root + "/channel", rest_enum.channels, needs="remote"),
        v1(world, root + "/channel", rest_input.add_channels, "POST", needs="settings"),
        v1(world, root + "/channel/status", rest_info.channel_status, needs="remote"),
        v1(world, root + "/channel/info", rest_info.channel_info, needs="remote"),
        v1(world, camera + "/info", rest_info.channel_info, needs="remote"),
        v1(world, camera + "/ptz", rest_control.ptz),
        v1(world, camera + "/preset", rest_control.presets_v1),
        v1(world, camera + "/preset", rest_control.add_preset_v1, "POST"),
        v1(world, camera + "/preset/{token}", rest_control.set_preset_v1, "PUT"),
        v1(world, camera + "/preset/{token}", rest_control.remove_preset_v1, "DELETE"),
        v1(world, camera + "/preset/{token}/go", rest_control.go_to_preset_v1),
        v1(world, camera + "/relay", rest_control.relays_v1),
        v1(world, camera + "/relay/{token}", rest_control.relay_v1, "PUT"),
        v1(world, camera + "/aux/{token}", rest_control.aux_v1, "PUT"),
        v1(world, camera + "/reboot", rest_control.reboot, "POST"),
        v1(world, root + "/channel/{chids}", rest_input.delete_channels, "DELETE", needs="settings"),
        v1(world, root + "/vod", rest_vod.vod, needs="remote"),
        v1(world, root + "/recording/days", rest_find.recorded_days, needs="playback"),
        v1(world, root + "/recording/minutes", rest_find.recorded_minutes_v1, needs="playback"),
        v1(world, root + "/event/type", rest_enum.event_types, needs="remote"),
        v1(world, root + "/event/realtime", rest_enum.realtime_events, needs="remote"),
        v1(world, root + "/event/log", rest_find.event_log, needs="playback"),
        v1(world, root + "/event/trigger", rest_input.trigger, "PUT", feature="eventBackup"),
        v1(world, root + "/lpr/source", rest_enum.plate_sources, needs="remote", feature="lpr"),
        v1(world, root + "/lpr/log", rest_find.plate_log, needs="playback", feature="lpr"),
        v1(world, root + "/lpr/similar", rest_find.similar_plates, needs="playback", feature="lpr"),
        v1(world, root + "/object/type", rest_enum.object_types, needs="remote", feature="object"),
        v1(world, root + "/object/attr", rest_enum.object_attributes, needs="remote", feature="object"),
        v1(world, root + "/object/log", rest_find.object_log, needs="playback", feature="object"),
        v1(world, root + "/parking/lot", rest_enum.parking_lots, needs="remote", feature="parking"),
        v1(world, root + "/parking/lot/status", rest_enum.parking_lot_status, needs="remote", feature="parking"),
        v1(world, root + "/parking/spot", rest_enum.parking_spots, needs="remote", feature="parking"),
        v1(world, root + "/parking/spot/status", rest_enum.parking_spot_status, needs="remote", feature="parking"),
        v1(world, root + "/emergency", rest_enum.call_stations, needs="remote", feature="emergency"),
        v1(world, root + "/system/info", rest_system.info, needs="remote"),
        v1(world, root + "/system/health", rest_system.health, needs="remote"),
        v1(world, root + "/system/hddsmart", rest_system.hddsmart, needs="remote"),
        v1(world, root + "/system/restart", rest_system.restart, "POST", needs="settings"),
        v1(world, root + "/system/reboot", rest_system.reboot, "POST", needs="settings"),
        v1(world, root + "/push", rest_input.push, "POST", feature="push"),
        v1(world, root + "/{path:path}", _nothing, "GET", "POST", "PUT", "DELETE"),
    ]


async def _nothing(call: Call) -> Response:
    raise HTTPException(404, "Not found")


def _file(world: World, path: str, handler: Handler) -> Route:
    """Return the route of files: Basic and `auth=` as on v0, tokens and keys as on v1."""

    async def serve(request: Request) -> Response:
        principal = principal_v1(world, request) or principal_v0(world, request)
        if principal is None:
            challenge = {"WWW-Authenticate": 'Basic realm="TS-API"'}
            return Response(status_code=401, headers=challenge)
        response = await handler(Call(world, request, v1=False, principal=principal))
        assert isinstance(response, Response)  # noqa: S101 -- file handlers return nothing else
        return response

    return Route(path, serve, methods=["GET"])


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101 -- registered for nothing else
    return refusal(request, exc.status_code, exc.detail)


class _RestFaults:
    """Strikes REST answers before they are made; sockets and the control paths stay out of it.

    Every answer carries the server's own idea of the time.
    """

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app, self._world = app, world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http":
            send = self._dated(send)
        if scope["type"] == "http" and not path.startswith(_CONTROL_PATH):
            delay = self._world.faults.use("delay", path=path)
            if delay:
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay.wait.total_seconds()):
                        await self._world.stopping.wait()
            if self._world.faults.use("bad_gateway", path=path):
                await HTMLResponse(_BAD_GATEWAY, 502)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _dated(self, send: Send) -> Send:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self._world.now().astimezone(UTC), usegmt=True)
                message["headers"] = [*message.get("headers", ()), (b"date", date.encode())]
            await send(message)

        return dated
