"""Take pushed events: who is it, is it sound, what does it say, is it written down; only then answer 200.

The answer is a receipt: an empty 200 means that every good item is stored and synced and every bad one is parked. Until
then the sender keeps it. TS-API devices send again on anything else, so repeats are expected and harmless: ids are
made from the content, and what carries no time is recognised by `repeats.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
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
from bridge.http.repeats import Pushed, Repeats
from bridge.http.signature import Replays, Signed, Signers, Verdict, is_signed, read
from bridge.http.verify import Throttle, Verifier
from bridge.schema.event import VmsEvent

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Doorkeepers:
    """What all formats' routes share about who may push."""

    verifier: Verifier
    signers: Signers
    replays: Replays
    throttle: Throttle


class PushEndpoint:
    """One format's routes."""

    def __init__(
        self, push: PushFormat, config: HttpConfig, intake: Intake, keepers: Doorkeepers, repeats: Repeats
    ) -> None:
        self._format, self._config, self._intake = push, config, intake
        self._keepers, self._repeats = keepers, repeats

    async def __call__(self, request: Request) -> Response:
        """Answer one push."""
        name, body = "", None
        try:
            address = self._admit(request)
            if is_signed(request.headers) and self._keepers.signers:
                body = await read_body(request, self._config.max_body)
                name, signed = self._signer(request, address, body)
                return await self._once(name, signed, body)
            name = self._who(request, address)
            body = await read_body(request, self._config.max_body)
            return await self._take(name, self._client(name), body)
        except RefusedError as refusal:
            self._intake.observer.refused(name or "?", refusal.reason)
            if body is None and refusal.status != 413:
                await drain(request, self._config.max_body)
            return _answer(refusal.status, refusal.message, headers=refusal.headers, reason=refusal.reason)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody

    # --- who it is ------------------------------------------------------------------------------------

    def _admit(self, request: Request) -> str:
        """Return the address it comes from, if anything is taken from there at the moment."""
        if "origin" in request.headers:
            # Cameras have none. A page in somebody's browser must not push with credentials the browser remembers.
            raise RefusedError(403, "browser", "browsers may not push")
        address = address_key(request.client.host) if request.client else "local"
        wait = self._keepers.throttle.wait(address)
        if wait > 0:
            message = "too many wrong credentials from this address"
            raise RefusedError(429, "throttled", message, {"Retry-After": str(math.ceil(wait))})
        return address

    def _who(self, request: Request, address: str) -> str:
        name, offered = self._keepers.verifier.identify(request.headers, _query(request))
        if name is not None:
            return name
        challenge = {"WWW-Authenticate": 'Basic realm="vms-bridge", charset="UTF-8"'}
        if not offered:
            raise RefusedError(401, "no_credentials", "credentials are needed", challenge)
        self._guessed(request, address)
        raise RefusedError(401, "wrong_credentials", "wrong credentials", challenge)

    def _signer(self, request: Request, address: str, body: bytes) -> tuple[str, Signed]:
        signed = read(request.headers)
        name = self._keepers.signers.who(signed, body) if signed is not None else None
        if name is None or signed is None:
            self._guessed(request, address)
            raise RefusedError(401, "wrong_signature", "no client of ours has signed this")
        return name, signed

    def _guessed(self, request: Request, address: str) -> None:
        self._keepers.throttle.failed(address)
        log.warning("a push with wrong credentials", extra={"address": address, "path": request.scope["path"]})

    def _client(self, name: str) -> PushClient:
        return self._keepers.verifier.client(name)

    # --- what it says ---------------------------------------------------------------------------------

    async def _once(self, name: str, signed: Signed, body: bytes) -> Response:
        """Take a signed request, if it is not one that was taken before."""
        verdict = self._keepers.replays.claim(name, signed, self._intake.clock.now())
        if verdict is Verdict.STALE:
            raise RefusedError(401, "stale", "the time stamp is too old or too new; sign it again")
        if verdict is Verdict.IN_HAND:
            raise RefusedError(409, "in_hand", "the same request is being stored", {"Retry-After": "1"})
        if verdict is Verdict.DONE:
            self._intake.observer.refused(name, "repeated")
            return Response(status_code=200)
        taken = False
        try:
            answer = await self._take(name, self._client(name), body, signed.id)
            taken = answer.status_code < _OURS
            return answer
        finally:
            self._keepers.replays.settle(name, signed, taken=taken)

    async def _take(self, name: str, client: PushClient, body: bytes, message: str = "") -> Response:
        """Take a body; `message` is its own name, where the client signs."""
        source = client.source or name
        items = [_within_scope(item, client) for item in self._items(name, source, client, body)]
        good = [Pushed(item.event, item.raw, client.repeats, message) for item in items if item.event is not None]
        try:
            async with asyncio.timeout(self._intake.patience):
                await self._store(source, await self._repeats.known(good), items)
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

    async def _store(self, source: str, events: Sequence[VmsEvent], items: Sequence[PushItem]) -> None:
        """Return when the good items are synced and the bad ones parked. The good ones do not wait for the bad."""
        stored = await self._intake.emit(events) if events else None
        for item in items:
            if item.event is None:
                reason, error = item.reason or "unknown", item.error or "cannot be understood"
                self._intake.observer.parked(source, reason)
                fields = {"source": source, "reason": reason, "error": error}
                log.warning("a pushed item could not be understood", extra=fields)
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
        return _answer(503, "cannot be stored now; send it again", headers=headers, reason=reason)


def _query(request: Request) -> str:
    """Return the query as it came. `request.url` cannot be asked: it fails on bytes that are not UTF-8."""
    query: bytes = request.scope["query_string"]
    return query.decode(errors="replace")


def _receipt(items: Sequence[PushItem]) -> Response:
    """Return the answer to items that are all dealt with: 200 if any was good, so that the sender goes on."""
    bad = [(item.reason or "unknown", item.error or "") for item in items if item.event is None]
    if len(bad) < len(items):
        return Response(status_code=200)
    if items and all(reason in _FORBIDDEN for reason, _ in bad):
        return _answer(403, "this client may not push this", bad, reason="out_of_scope")
    return _answer(400, "no item is valid", bad, reason="no_valid_item")


def _bad(body: bytes, reason: str, message: str) -> PushItem:
    return PushItem(None, body.decode(errors="replace"), reason, message)


_OURS = 500
"""Statuses from here on are our fault: the sender comes again."""
_FORBIDDEN = frozenset({"forbidden_topic", "forbidden_channel"})


def _within_scope(item: PushItem, client: PushClient) -> PushItem:
    """Return the item, or why this client may not send it. A topic is the vendor's word or our kind."""
    event = item.event
    if event is None:
        return item
    if client.topics is not None and event.type not in client.topics:
        topic = _topic(item.raw)
        if topic not in client.topics:
            message = f"this client may not push {topic or event.type}"
            return PushItem(None, item.raw, "forbidden_topic", message)
    if client.channels is not None and event.subject not in client.channels:
        message = f"this client may not speak for {event.subject or 'the whole system'}"
        return PushItem(None, item.raw, "forbidden_channel", message)
    return item


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
    status: int,
    message: str,
    items: Sequence[tuple[str, str]] = (),
    headers: dict[str, str] | None = None,
    *,
    reason: str,
) -> Response:
    """Return an error as TS-API v1 writes them, with a reason for programs, and the reason of each item."""
    said: dict[str, Any] = {"code": -1, "reason": reason, "message": message}
    if items:
        said["items"] = [{"reason": reason, "message": text} for reason, text in items]
    return JSONResponse(said, status_code=status, headers=headers)
