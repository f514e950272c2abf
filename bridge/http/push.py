"""Take pushed events: who is it, is it sound, what does it say, is it written down; only then answer 200.

The answer is a receipt: an empty 200 means that every good item is stored and synced and every bad one is parked. Until
then the sender keeps it. TS-API devices send again on anything else, so repeats are expected and harmless: ids are
made from the content, and an item that carries no time is recognised by its content for a minute.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from bridge.clock import Clock
from bridge.config.models import HttpConfig, PushClient
from bridge.contracts import Emit, PushFormat, PushItem
from bridge.errors import PayloadError, StoreUnavailableError
from bridge.http.body import RefusedError, drain, read_body, sound_items
from bridge.http.limits import address_key
from bridge.http.verify import Throttle, Verifier
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent

log = logging.getLogger(__name__)

SAME_WITHIN = 60.0
"""Seconds within which the same content without a time is the same happening."""
MAX_REMEMBERED = 4096


class Park(Protocol):
    """File a message that could not be used; returns when it is stored. Raises StoreUnavailableError."""

    async def __call__(self, source: str, message: str | bytes, reason: str, error: str, /) -> None:
        """Take it over."""
        ...


class Observer(Protocol):
    """Counts what happens; reasons and routes are from short lists."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        ...

    def refused(self, source: str, reason: str) -> None:
        """A push was not taken."""
        ...

    def parked(self, source: str, reason: str) -> None:
        """An item was parked."""
        ...

    def connection_dropped(self, reason: str) -> None:
        """A connection was ended by our limits."""
        ...


@dataclass(frozen=True, slots=True)
class Intake:
    """What pushes are handed on to, and what is needed to understand them."""

    site: str
    zone: tzinfo
    emit: Emit
    park: Park
    clock: Clock
    observer: Observer
    patience: float
    """Seconds until a sender is told to come again; it keeps the event better than we could."""


class Recent:
    """Events without a time of their own, by content: the same again is the first one, not another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, VmsEvent]] = OrderedDict()

    def same(self, event: VmsEvent, raw: str) -> VmsEvent:
        """Return the event to emit: the one that came first with this content, or this one."""
        if event.timequality != "received":
            return event
        now, key = self._clock.monotonic(), stable_id(event.source, raw)
        while self._seen and next(iter(self._seen.values()))[0] + SAME_WITHIN <= now:
            self._seen.popitem(last=False)
        if key not in self._seen:
            self._seen[key] = (now, event)
            if len(self._seen) > MAX_REMEMBERED:
                self._seen.popitem(last=False)
        return self._seen[key][1]


class PushEndpoint:
    """One format's routes."""

    def __init__(
        self,
        push: PushFormat,
        config: HttpConfig,
        intake: Intake,
        verifier: Verifier,
        throttle: Throttle,
        recent: Recent,
    ) -> None:
        self._format, self._config, self._intake = push, config, intake
        self._verifier, self._throttle, self._recent = verifier, throttle, recent

    async def __call__(self, request: Request) -> Response:
        """Answer one push."""
        name = ""
        try:
            name = self._who(request)
            body = await read_body(request, self._config.max_body)
            return await self._take(name, self._verifier.client(name), body)
        except RefusedError as refusal:
            self._intake.observer.refused(name or "?", str(refusal.status))
            if refusal.status != 413:
                await drain(request, self._config.max_body)
            return _answer(refusal.status, refusal.message, headers=refusal.headers)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody

    def _who(self, request: Request) -> str:
        if "origin" in request.headers:
            # Cameras have none. A page in somebody's browser must not push with credentials the browser remembers.
            raise RefusedError(403, "browsers may not push")
        address = address_key(request.client.host) if request.client else "local"
        wait = self._throttle.wait(address)
        if wait > 0:
            message = "too many wrong credentials from this address"
            raise RefusedError(429, message, {"Retry-After": str(math.ceil(wait))})
        name, offered = self._verifier.identify(request.headers, request.url.query)
        if name is not None:
            return name
        if offered:
            self._throttle.failed(address)
            log.warning("a push with wrong credentials", extra={"address": address, "path": request.url.path})
        message = "wrong credentials" if offered else "credentials are needed"
        raise RefusedError(401, message, {"WWW-Authenticate": 'Basic realm="vms-bridge", charset="UTF-8"'})

    async def _take(self, name: str, client: PushClient, body: bytes) -> Response:
        source = client.source or name
        items = [_within_scope(item, client.topics) for item in self._items(name, source, client, body)]
        try:
            async with asyncio.timeout(self._intake.patience):
                await self._store(source, items)
        except (StoreUnavailableError, TimeoutError) as exc:
            return self._later(source, exc)
        return _receipt(items)

    def _items(self, name: str, source: str, client: PushClient, body: bytes) -> list[PushItem]:
        """Return what the body holds, good and bad; a body that cannot be read is one bad item."""
        try:
            sound, flaws = sound_items(body)
            items = self._decode(name, source, client, sound) if sound is not None else []
        except PayloadError as exc:
            return [_bad(body, exc.reason, str(exc))]
        except Exception as exc:
            # The edge to vendor code. What it stumbles over is kept and refused, or the sender repeats it for ever.
            log.exception("a push decoder failed in an unforeseen way", extra={"source": source})
            return [_bad(body, "decoder_bug", f"{type(exc).__name__} in the decoder")]
        return [*items, *(PushItem(None, flaw.raw, flaw.reason, flaw.message) for flaw in flaws)]

    def _decode(self, name: str, source: str, client: PushClient, body: bytes) -> Sequence[PushItem]:
        zone = ZoneInfo(client.zone) if client.zone else self._intake.zone
        site, received = self._intake.site, self._intake.clock.now()
        return self._format.decode(body, site=site, source=source, principal=name, received=received, zone=zone)

    async def _store(self, source: str, items: Sequence[PushItem]) -> None:
        """Return when the good items are synced and the bad ones parked. The good ones do not wait for the bad."""
        events = [self._recent.same(item.event, item.raw) for item in items if item.event is not None]
        stored = await self._intake.emit(events) if events else None
        for item in items:
            if item.event is None:
                reason, error = item.reason or "unknown", item.error or "cannot be understood"
                self._intake.observer.parked(source, reason)
                await self._intake.park(source, item.raw, reason, error)
        if stored is not None:
            await _synced(stored)

    def _later(self, source: str, exc: StoreUnavailableError | TimeoutError) -> Response:
        if isinstance(exc, TimeoutError):
            reason, wait, detail = "store_slow", self._intake.patience, "no acknowledgement in time"
        else:
            reason, wait, detail = "store_unavailable", exc.retry_after.total_seconds(), str(exc)
        self._intake.observer.refused(source, reason)
        log.warning("a push could not be stored", extra={"source": source, "reason": reason, "detail": detail})
        headers = {"Retry-After": str(max(1, math.ceil(wait)))}
        return _answer(503, "cannot be stored now; send it again", headers=headers)


def _receipt(items: Sequence[PushItem]) -> Response:
    """Return the answer to items that are all dealt with: 200 if any was good, so that the sender goes on."""
    bad = [(item.reason or "unknown", item.error or "") for item in items if item.event is None]
    if len(bad) < len(items):
        return Response(status_code=200)
    if items and all(reason == _FORBIDDEN for reason, _ in bad):
        return _answer(403, "this client may not push these topics", bad)
    return _answer(400, "no item is valid", bad)


def _bad(body: bytes, reason: str, message: str) -> PushItem:
    return PushItem(None, body.decode(errors="replace"), reason, message)


_FORBIDDEN = "forbidden_topic"


def _within_scope(item: PushItem, topics: tuple[str, ...] | None) -> PushItem:
    """Return the item, or why this client may not send it. A topic is the vendor's word or our kind."""
    if item.event is None or topics is None or item.event.type in topics:
        return item
    topic = _topic(item.raw)
    if topic in topics:
        return item
    return PushItem(None, item.raw, _FORBIDDEN, f"this client may not push {topic or item.event.type}")


def _topic(raw: str) -> str | None:
    try:
        value: Any = json.loads(raw)
    except ValueError:
        return None
    topic = value.get("topic") if isinstance(value, dict) else None
    return topic if isinstance(topic, str) else None


async def _synced(stored: asyncio.Future[None]) -> None:
    """Wait for the log's promise without taking it from others who wait for the same batch."""
    stored.add_done_callback(_heard)
    try:
        await asyncio.shield(stored)
    except asyncio.CancelledError:
        if stored.cancelled():  # not we, the log was stopped
            raise StoreUnavailableError("the event log is stopping") from None
        raise


def _heard(stored: asyncio.Future[None]) -> None:
    """Take note of a late failure: the sender was told to come again, nobody else needs to know."""
    if not stored.cancelled():
        stored.exception()


def _answer(
    status: int, message: str, items: Sequence[tuple[str, str]] = (), headers: dict[str, str] | None = None
) -> Response:
    """Return an error as TS-API v1 writes them, with the reason of each item."""
    said: dict[str, Any] = {"code": -1, "message": message}
    if items:
        said["items"] = [{"reason": reason, "message": text} for reason, text in items]
    return JSONResponse(said, status_code=status, headers=headers)
