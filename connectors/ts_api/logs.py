"""Read the server's own logs page by page: plates, objects, events.

The position `at` counts from an end that moves while rows arrive, so every query has fixed bounds
and ascending order. Rows may still shift between pages; ids tell them apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from bridge.sdk import ConnectorUnavailableError, Origin, PayloadError

from .addresses import Value
from .decode import DecodeContext
from .recordings import stamp
from .rows import Log, Page, read_page
from .system import System
from .values import Dialect
from .wire import Call

_QUERY: Mapping[tuple[Dialect, Log], tuple[str, Mapping[str, Value]]] = {
    ("v0", "events"): ("/api/find", {"what": "eventLog"}),
    ("v0", "plates"): ("/api/find", {"what": "carNo"}),
    ("v0", "objects"): ("/api/find", {"what": "object"}),
    ("v1", "events"): ("/api/v1/event/log", {}),
    ("v1", "plates"): ("/api/v1/lpr/log", {}),
    ("v1", "objects"): ("/api/v1/object/log", {}),
}
_PAGE = 50
"""Rows asked for at once: what every server gives; the largest number is not documented."""
_PAGES = 10_000
"""Pages after which the log is taken to have no end."""


async def pages(system: System, log: Log, since: datetime, until: datetime, **filters: Value) -> AsyncIterator[Page]:
    """Yield the pages of a log between two times, oldest first. Raises ConnectorError."""
    api = await system.api()
    path, fixed = _QUERY[api.found.dialect, log]
    params: dict[str, Value] = {**fixed, "timeBegin": stamp(since), "timeEnd": stamp(until), "sort": "asc", **filters}
    if system.config.language is not None:
        params["lang"] = system.config.language
    context = DecodeContext(
        site=system.context.site,
        source=system.context.name,
        received=system.clock.now(),
        dialect=api.found.dialect,
        zone=api.found.zone,
        origin=Origin.BACKFILL,
        via="log",
        keep_raw=system.config.keep_raw,
    )
    at = 0
    for _ in range(_PAGES):
        answer = await api.rest.query(Call(path, {**params, "at": at, "maxCount": _PAGE}))
        try:
            page = read_page(log, answer, context=context)
        except PayloadError as exc:
            raise ConnectorUnavailableError(f"GET {path}: {exc}") from exc
        yield page
        at += page.count
        if page.count == 0 or at >= page.total:
            return
    raise ConnectorUnavailableError(f"GET {path}: the log has no end")
