"""The event sockets of both dialects: who gets in, how they are refused, and what a client may say.

v0 authenticates every socket by itself (a cookie session does not help), accepts all topics or none,
and then listens to nobody. v1 adds and drops topics while connected and answers with control messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket

from .access import Principal
from .call import indent, numbers, principal_v1, view_of
from .feed import Feed, to_json
from .levels import FIRST_V1, Level, offered_topics
from .link import Link
from .parts import Filter, Message
from .world import World

_POLICY = 1008
_MESSAGES = {401: "Unauthorized", 403: "Forbidden", 404: "Not found", 503: "Service unavailable"}
_LEGACY_OFF = "Legacy API (v0) is disabled. Please use /api/v1/ endpoints."


class EventSockets:
    """Endpoints for `/wsapi/subscribeEvents`, `/api/subscribeEvents` and `/wsapi/v1/events`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def v0(self, socket: WebSocket) -> None:
        """Serve a v0 socket."""
        if self._world.legacy_off:
            await _deny(socket, 404, _LEGACY_OFF)
            return
        if await self._refused_by_fault(socket):
            return
        principal = self._principal_v0(socket)
        topics = [topic for topic in socket.query_params.get("topics", "").split(",") if topic]
        if principal is None or not topics or not set(topics) <= set(self._offered(v1=False)):
            await self._refuse(socket, self._world.config.refusal)
            return
        feed = self._feed(socket, principal, v1=False)
        await socket.accept()
        feed.tell({"subscriberId": feed.id, "topics": topics})
        # One request line of the guide asks for body temperature as a type of object.
        for topic in self._with_hidden_topic(socket, topics):
            feed.subscribe(topic, _filter_v0(socket, topic, principal))
            feed.tell_snapshot(topic)
        await self._serve(feed)

    async def v1(self, socket: WebSocket) -> None:
        """Serve a v1 socket."""
        if self._world.level < Level.parse(FIRST_V1):
            await _deny(socket, 404, "Not found")
            return
        if await self._refused_by_fault(socket):
            return
        principal = principal_v1(self._world, socket)
        if principal is None or not principal.may("remote"):
            await _deny(socket, 403 if principal else 401)
            return
        feed = self._feed(socket, principal, v1=True)
        await socket.accept()
        topics = [topic for topic in socket.query_params.get("topics", "").split(",") if topic]
        feed.tell({"subscriberId": feed.id, "topics": [t for t in topics if t in self._offered(v1=True)]})
        for topic in topics:
            self._subscribe(feed, topic, _filter_v1(socket, principal), announce=False)
        await self._serve(feed)

    async def unknown(self, socket: WebSocket) -> None:
        """Refuse an upgrade on any other path."""
        await _deny(socket, 404)

    def _feed(self, socket: WebSocket, principal: Principal, *, v1: bool) -> Feed:
        view = view_of(self._world, socket, v1=v1)
        reads = self._command if v1 else _ignore
        world = self._world
        return Feed(socket, world.parts, world.faults, view, principal, indent=indent(socket), reads=reads)

    async def _serve(self, feed: Feed) -> None:
        hub = self._world.hub
        hub.join(feed)
        try:
            hub.settle(feed)
            await feed.run()
        finally:
            hub.leave(feed)

    def _offered(self, *, v1: bool) -> list[str]:
        return offered_topics(self._world.level, v1=v1, unlicensed=self._world.unlicensed)

    def _principal_v0(self, socket: WebSocket) -> Principal | None:
        query = socket.query_params
        if query.get("auth"):
            return self._world.access.by_auth(query["auth"])
        return self._world.access.by_session(query.get("session", ""))

    def _with_hidden_topic(self, socket: WebSocket, topics: list[str]) -> Iterable[str]:
        types = socket.query_params.get("objectType", "").split(",")
        hidden = "object" in topics and "bodyTemperature" in types and "bodyTemperature" not in topics
        return [*topics, "bodyTemperature"] if hidden else topics

    # Refusals

    async def _refused_by_fault(self, socket: WebSocket) -> bool:
        fault = self._world.faults.use("refuse", path=socket.url.path)
        if fault:
            await self._refuse(socket, fault.mode)
        return fault is not None

    async def _refuse(self, socket: WebSocket, how: str) -> None:
        if how == "drop":
            Link.of(socket).vanish()
        elif how == "close":
            await socket.accept()
            await socket.close(_POLICY)
        else:
            await _deny(socket, int(how))

    # What v1 clients say

    def _command(self, feed: Feed, text: str) -> None:
        try:
            command = json.loads(text)
        except ValueError:
            feed.tell({"type": "error", "message": "invalid JSON"})
            return
        if not isinstance(command, dict):
            feed.tell({"type": "error", "message": "unknown command"})
        elif isinstance(command.get("subscribe"), str):
            self._subscribe(feed, command["subscribe"], _filter_of(command, feed.principal), announce=True)
        elif isinstance(command.get("unsubscribe"), str):
            topic = command["unsubscribe"]
            feed.subscriptions.pop(topic, None)
            feed.tell({"type": "unsubscribed", "topic": topic})
        else:
            feed.tell({"type": "error", "message": "unknown command"})

    def _subscribe(self, feed: Feed, topic: str, wanted: Filter, *, announce: bool) -> None:
        if topic not in self._offered(v1=True):
            feed.tell({"type": "error", "topic": topic, "message": "unknown topic"})
            return
        feed.subscribe(topic, wanted)
        if announce:
            feed.tell({"type": "subscribed", "topic": topic})
        feed.tell_snapshot(topic)


def _ignore(feed: Feed, text: str) -> None:
    """Do with a v0 client's words what the server does: nothing."""


async def _deny(socket: WebSocket, status: int, message: str = "") -> None:
    body = to_json({"code": -1, "message": message or _MESSAGES[status]})
    await socket.send_denial_response(Response(body, status, media_type="application/json"))


def _filter_v0(socket: WebSocket, topic: str, principal: Principal) -> Filter:
    """Read v0's parameters; the one `ch` means parking lots for parkingCount."""
    given = numbers(socket, "ch")
    asked = frozenset(given) if given is not None else None
    kinds = frozenset(word for word in socket.query_params.get("objectType", "").split(",") if word)
    return Filter(
        channels=asked if topic in ("channelStatus", "motionChanges") else None,
        lots=asked if topic == "parkingCount" else None,
        types=kinds or None,
        allowed=principal.channels,
    )


def _filter_v1(socket: WebSocket, principal: Principal) -> Filter:
    lists = {name: numbers(socket, name) for name in ("ch", "lot", "spot")}
    kinds = [word for word in socket.query_params.get("objectTypes", "").split(",") if word]
    return _filter_of({**lists, "objectTypes": kinds or None}, principal)


def _filter_of(command: Message, principal: Principal) -> Filter:
    """Read the filters of a v1 subscription; arrays, where the query string has lists."""
    return Filter(
        channels=_numbers(command.get("ch")),
        lots=_numbers(command.get("lot")),
        spots=_numbers(command.get("spot")),
        types=_words(command.get("objectTypes")),
        allowed=principal.channels,
    )


def _numbers(value: Any) -> frozenset[int] | None:
    return frozenset(item for item in value if isinstance(item, int)) if isinstance(value, list) else None


def _words(value: Any) -> frozenset[str] | None:
    return frozenset(map(str, value)) if isinstance(value, list) else None
