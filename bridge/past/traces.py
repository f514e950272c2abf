"""Read the traces that were kept when rules decided: every firing, and of the rest what the load of then allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json, to_json

from bridge.bus import stored
from bridge.bus.connect import Connection
from bridge.bus.pull import scan
from bridge.bus.streams import stream_name
from bridge.bus.wire import Received
from bridge.errors import PayloadError
from bridge.schema.subjects import Subjects

MOST = 50_000
"""Traces read on after a place, to find what else came of an event there."""
_SLACK = timedelta(seconds=1)
"""Traces are stored after the event, by the same server's clock."""

Trace = Mapping[str, Any]
"""As it was stored: `rules.trace.Trace.as_json`."""


class KeptTraces:
    """The stored traces of a site. Every method raises StoreUnavailableError."""

    def __init__(self, connection: Connection, site: str) -> None:
        self._connection, self._stream = connection, stream_name(site, "TRACES")
        self._subjects = Subjects(site)

    async def between(self, first: int, last: int, since: datetime, rule: str | None = None) -> list[Trace]:
        """Return the traces of places `first` to `last` of the log, each once; `since` is when `first` was stored."""
        found: dict[str, Trace] = {}
        async with aclosing(self._from(since, rule)) as batches:
            async for batch in batches:
                beyond = 0
                for trace in _read(batch):
                    if first <= trace["seq"] <= last:
                        found[trace["id"]] = trace
                    beyond += trace["seq"] > last
                if beyond == len(batch):  # in the order of the log, but for steps that a crash made be done again
                    break
        return list(found.values())

    async def about(self, event: str, since: datetime, rule: str | None = None) -> list[Trace]:
        """Return the traces that name an event as what decided, of later places too: timers, steps that waited."""
        found: dict[str, Trace] = {}
        needle, seen = to_json(event), 0
        async with aclosing(self._from(since, rule)) as batches:
            async for batch in batches:
                for trace in _read([message for message in batch if needle in message.data]):
                    if trace["event"] == event:
                        found[trace["id"]] = trace
                seen += len(batch)
                if seen >= MOST:
                    break
        return list(found.values())

    async def names(self, rule: str) -> bool:
        """Tell whether a trace of that rule was kept."""
        for subject in _subject(self._subjects, rule):
            return await stored.last(self._connection, self._stream, subject) is not None
        return False

    def _from(self, since: datetime, rule: str | None) -> Any:
        subjects = [] if rule is None else _subject(self._subjects, rule)
        return scan(self._connection, self._stream, subjects, since=since - _SLACK)


def _subject(subjects: Subjects, rule: str) -> list[str]:
    try:
        return [subjects.trace(rule)]
    except PayloadError:
        return []


def _read(messages: list[Received]) -> Iterator[Trace]:
    for message in messages:
        try:
            trace = from_json(message.data)
            yield {**trace, "seq": int(trace["seq"]), "id": str(trace["id"]), "event": trace["event"]}
        except (ValueError, KeyError, TypeError):
            continue  # not one of ours, or damaged: what it said is computed again
