"""Keep what is remembered of sources in the `cursors` bucket, and find in the log what was stored of them.

A `bridge.runtime.outages.CursorStore` in form; the record itself is bytes here, and not understood.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from bridge.bus import stored
from bridge.bus.connect import Connection
from bridge.bus.kv import Bucket, key_of
from bridge.bus.pull import place, scan
from bridge.bus.wire import NO_MESSAGE, RefusedError
from bridge.schema.event import VmsEvent
from bridge.schema.subjects import Subjects

_AT_ONCE = 100
"""Events decoded before others get their turn."""
_CLOCKS = timedelta(minutes=1)
"""By which the server's clock may differ from ours."""


class Cursors:
    """Records by source, and what the log has of them. Every method raises StoreUnavailableError."""

    def __init__(
        self,
        connection: Connection,
        bucket: Bucket,
        events: str,
        subjects: Subjects,
        kinds: Iterable[str],
        pushing: Iterable[str],
    ) -> None:
        """`kinds` are recalled, of a source itself and of the sources `pushing`."""
        self._connection, self._bucket, self._events, self._subjects = connection, bucket, events, subjects
        self._kinds, self._pushing = sorted(kinds), frozenset(pushing)

    async def load(self, source: str) -> bytes | None:
        """Return a record; None if there is none."""
        entry = await self._bucket.get(_key(source))
        return entry.value if entry else None

    async def save(self, source: str, record: bytes) -> None:
        """Replace a record; returns when that is synced."""
        await self._bucket.put(_key(source), record)

    async def is_told(self, source: str, event: str) -> bool:
        """Tell whether the last `source.gap` of a source in the log has that id."""
        subject = self._subjects.events(_name(source), "source.gap").removesuffix("*") + "_"
        found = await stored.last(self._connection, self._events, subject)
        try:
            return found is not None and VmsEvent.decode(found.body).id == event
        except ValidationError:
            return False

    async def recall(self, source: str, since: datetime, until: datetime) -> AsyncIterator[Sequence[VmsEvent]]:
        """Yield what was logged in a span, by our clock, of a source and of those that push."""
        names = sorted({_name(source), *self._pushing})
        subjects = [self._subjects.events(name, kind) for name in names for kind in self._kinds]
        first = await self._first_after(since - _CLOCKS)
        if first is None or not subjects:
            return
        async for messages in scan(self._connection, self._events, subjects, after=first - 1):
            for start in range(0, len(messages), _AT_ONCE):
                part = (_decoded(message.data) for message in messages[start : start + _AT_ONCE])
                yield [event for event in part if event is not None]
                await asyncio.sleep(0)  # others have live events to see to
            if place(messages[-1].reply).stamp > until + _CLOCKS:
                return

    async def _first_after(self, time: datetime) -> int | None:
        """Return the sequence of the first event that was stored after a time; None if there is none."""
        question = {"start_time": time.astimezone(UTC).isoformat(), "next_by_subj": f"{self._subjects.root}.event.>"}
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._events}", question)
        except RefusedError as exc:
            if exc.code == NO_MESSAGE:
                return None
            raise
        return int(answer["message"]["seq"])


def _key(source: str) -> str:
    return key_of("source", _name(source))


def _name(source: str) -> str:
    return source.partition("/")[2]


def _decoded(body: bytes) -> VmsEvent | None:
    try:
        return VmsEvent.decode(body)
    except ValidationError:  # the engine's reader puts it among the dead letters
        return None
