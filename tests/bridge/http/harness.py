"""A real server on a free port, and a log that does what a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any

from pydantic import SecretStr
from starlette.routing import Route

from bridge.clock import Clock, SystemClock
from bridge.config.models import HttpConfig, PushClient
from bridge.contracts import PushFormat, PushItem
from bridge.errors import PayloadError, StoreUnavailableError
from bridge.http.app import HttpServer
from bridge.http.limits import Limits
from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import PlateRead

BOOTH = ("booth", "pass:word")
CLIENT = PushClient(password=SecretStr(BOOTH[1]), token=SecretStr("tsapi_key_123"))


def decode(
    body: bytes, *, site: str, source: str, principal: str | None, received: datetime, zone: tzinfo
) -> Sequence[PushItem]:
    """Read `{"topic": …, "plate": …, "at": …}`, one or many."""
    value = json.loads(body)
    if value == {"crash": True}:
        raise KeyError("a bug")
    if value == {"refuse": True}:
        raise PayloadError("no_good", "the whole is no good")
    return [_item(item, f"{site}/{source}", principal, received, zone) for item in _listed(value)]


def _listed(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value]


def _item(item: dict[str, Any], source: str, principal: str | None, received: datetime, zone: tzinfo) -> PushItem:
    raw = json.dumps(item)
    plate = item.get("plate")
    if not isinstance(plate, str):
        return PushItem(None, raw, "no_plate", "there is no plate")
    at = datetime.fromisoformat(item["at"]).replace(tzinfo=zone).astimezone(UTC) if "at" in item else None
    event = VmsEvent(
        id=stable_id(source, plate, at or received),
        type="plate.read",
        source=source,
        subject=item.get("at_"),
        time=at or received,
        timequality="server" if at else "received",
        received=received,
        origin=Origin.LIVE,
        via="push",
        principal=principal,
        data=PlateRead(plate=plate, plate_raw=plate),
    )
    return PushItem(event, raw)


FORMAT = PushFormat(paths=("/push", "/v1/push"), decode=decode)


class Log:
    """Takes events and parked items; counts what the server says of itself."""

    def __init__(self) -> None:
        self.batches: list[list[VmsEvent]] = []
        self.parked: list[tuple[str, str, str, str]] = []
        self.seen: list[tuple[str, str]] = []
        self.requests: list[tuple[str, int]] = []
        self.refuses = False
        self.park_refuses = False
        self.held: asyncio.Event | None = None
        self.futures: list[asyncio.Future[None]] = []
        self.hold_futures = False
        self.arrived = asyncio.Event()
        self.asked = asyncio.Event()
        self.dropped = asyncio.Event()

    @property
    def events(self) -> list[VmsEvent]:
        return [event for batch in self.batches for event in batch]

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        self.asked.set()
        if self.refuses:
            raise StoreUnavailableError("the bus is away")
        if self.held is not None:
            await self.held.wait()
        self.batches.append(list(events))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if not self.hold_futures:
            future.set_result(None)
        self.arrived.set()
        return future

    async def park(self, source: str, message: str | bytes, reason: str, error: str, /) -> None:
        if self.park_refuses:
            raise StoreUnavailableError("the bus is away")
        self.parked.append((source, str(message), reason, error))

    def request(self, route: str, status: int, seconds: float) -> None:
        self.requests.append((route, status))

    def refused(self, source: str, reason: str) -> None:
        self.seen.append((source, reason))

    def parked_(self, source: str, reason: str) -> None:
        self.seen.append((source, reason))

    def connection_dropped(self, reason: str) -> None:
        self.seen.append(("connection", reason))
        self.dropped.set()


class Counters:
    """The observer side of a Log."""

    def __init__(self, log: Log) -> None:
        self.request, self.refused = log.request, log.refused
        self.parked, self.connection_dropped = log.parked_, log.connection_dropped


@asynccontextmanager
async def serving(
    log: Log,
    *,
    clients: dict[str, PushClient] | None = None,
    formats: Sequence[PushFormat] = (FORMAT,),
    limits: Limits | None = None,
    clock: Clock | None = None,
    ready: tuple[bool, dict[str, Any]] = (True, {"status": "ready"}),
    scraped: bytes = b"up 1\n",
    more: Sequence[Route] = (),
    **config: Any,
) -> AsyncIterator[HttpServer]:
    """Serve on a free port until the block ends."""
    settings = HttpConfig(push={"booth": CLIENT} if clients is None else clients, **{"port": 0, **config})
    server = HttpServer(
        settings,
        site="yard",
        zone=UTC,
        formats=formats,
        emit=log.emit,
        park=log.park,
        clock=clock or SystemClock(),
        observer=Counters(log),
        ready=lambda: ready,
        metrics=lambda: scraped,
        more=more,
        limits=limits,
    )
    async with server:
        yield server
