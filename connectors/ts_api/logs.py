"""Read the server's own logs page by page: plates, objects, events.

The position `at` counts from an end that moves while rows arrive, so every query has fixed bounds
and ascending order. Rows still shift between pages. One that arrives late moves the others on: some
come twice, which harms nobody, and it is found by the next reading. One that goes away (retention, a
row that merges) moves the others back, and would take a row out of sight: so each page begins with
the end of the one before, and where nothing of that is found, reading steps back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from bridge.sdk import ConnectorUnavailableError, Origin, PayloadError

from .addresses import Value
from .decode import DecodeContext
from .recordings import stamp
from .rows import Log, Page, Row, read_page
from .system import Api, System
from .values import Dialect
from .wire import Call

_QUERY: Mapping[tuple[Dialect, Log], tuple[str, Mapping[str, Value]]] = {
    ("v0", "events"): ("/api/find", {"what": "eventLog", "type": 0}),
    ("v0", "plates"): ("/api/find", {"what": "carNo"}),
    ("v0", "objects"): ("/api/find", {"what": "object"}),
    ("v1", "events"): ("/api/v1/event/log", {"type": 0}),
    ("v1", "plates"): ("/api/v1/lpr/log", {}),
    ("v1", "objects"): ("/api/v1/object/log", {}),
}
"""Of the event log only what the systemEvent topic carries: type 0, the system log (guide 0.9.20, "systemEvent")."""
_PAGE = 50
"""Rows asked for at once: what every server gives; the largest number is not documented."""
_OVERLAP = 5
"""Rows of a page that the next one begins with."""
_MOST_WASTED = 100
"""Requests in a row that bring nothing new, or step back: such a log cannot be followed."""
_ASKS = 20_000
"""Requests for one reading: a million rows in an hour are none of ours."""
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


async def pages(system: System, log: Log, since: datetime, until: datetime) -> AsyncIterator[Page]:
    """Yield the pages of a log between two times, oldest first; a row may be in two. Raises ConnectorError."""
    api = await system.api()
    at, step, tail = 0, _PAGE, frozenset[str]()
    before, wasted = frozenset[str](), 0
    for _ in range(_ASKS):
        if wasted == _MOST_WASTED:
            break
        page = await _ask(system, api, log, since, until, at, _PAGE)
        places = frozenset(row.place for row in page.rows)
        if at and tail and not page.refused and not tail & places:
            # What lay before us is gone, so what we want lies before `at`.
            at, step, wasted = max(0, at - step), step * 2, wasted + 1
            continue
        yield page
        if page.last:
            return
        wasted = wasted + 1 if places <= before and not page.refused else 0
        at, step, before = at + max(1, page.count - _OVERLAP), _PAGE, places
        tail = frozenset(row.place for row in page.rows[-_OVERLAP:])
    path, _ = _QUERY[api.found.dialect, log]
    raise ConnectorUnavailableError(f"GET {path}: the log has no end, or its pages do not turn")


async def oldest(system: System, log: Log, until: datetime) -> Row | None:
    """Return the oldest row that a log has; None if it has none before a time. Raises ConnectorError."""
    page = await _ask(system, await system.api(), log, _BEGINNING, until, 0, 1)
    return next(iter(page.rows), None)


async def _ask(system: System, api: Api, log: Log, since: datetime, until: datetime, at: int, count: int) -> Page:
    path, fixed = _QUERY[api.found.dialect, log]
    params: dict[str, Value] = {**fixed, "timeBegin": stamp(since), "timeEnd": stamp(until), "sort": "asc"}
    if system.config.language is not None:
        params["lang"] = system.config.language
    answer = await api.rest.query(Call(path, {**params, "at": at, "maxCount": count}))
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
    try:
        return read_page(log, answer, context=context, span=(since, until))
    except PayloadError as exc:
        raise ConnectorUnavailableError(f"GET {path}: {exc}") from exc
