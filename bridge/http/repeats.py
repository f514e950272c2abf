"""Know a push without a time again when it comes again, for hours and over restarts.

Such a push happens when it comes, and may open a door. But a device that missed our answer sends it again,
perhaps much later, and nothing in it tells that from the same thing happening again. So the same content
from the same client opens once: again within a minute it is the first one, with its id and its time; again
within hours it is an event of its own, because it may be one, and it is marked as doubtful, because it may
not. Doors refuse what is doubtful. What opens is written down before anybody hears of it; what cannot be
written down is doubtful too. Whoever signs names each message, so there the name tells, and not the content.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from bridge.clock import Clock
from bridge.errors import StartError
from bridge.safety.journal import JsonLines
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent

log = logging.getLogger(__name__)

SAME_WITHIN = 60.0
"""Seconds within which the same content without a time is the same happening."""
ROOM = 50_000
"""Contents remembered. Beyond that new ones are doubtful: what is remembered must not be forgotten for them."""
_COMPACT_AT = 5000
"""Lines of the file that say nothing any more."""
_UNTIMED = frozenset({"received", "doubtful"})


class Pushed(NamedTuple):
    """An event that was pushed, its original, and what else tells it from others."""

    event: VmsEvent
    raw: str
    within: timedelta
    """How long its client may send it again."""
    name: str = ""
    """Its message's own, where the client gives each one and keeps it when it sends again."""


class _Seen(NamedTuple):
    """When a content came last, and as which event."""

    event: str
    when: datetime
    at: float
    again: bool


class Repeats:
    """What was pushed without a time, by client and content."""

    def __init__(self, path: Path | None, clock: Clock, longest: timedelta, room: int = ROOM) -> None:
        """Without a path nothing is kept over a restart. Nothing is remembered for more than `longest`."""
        self._file = None if path is None else JsonLines(path)
        self._clock, self._room = clock, room
        self._longest = max(longest.total_seconds(), SAME_WITHIN)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._unwritten: dict[str, _Seen] = {}
        self._turn = asyncio.Lock()
        self._full = False

    async def load(self) -> None:
        """Remember what came before a restart. Raises StartError."""
        if self._file is None:
            return
        try:
            records = await asyncio.to_thread(self._file.load)
        except OSError as exc:
            cure = "give the bridge's user the right to read it; it keeps doors from opening twice"
            raise StartError(f"{self._file.path} cannot be read ({exc.strerror})", cure) from exc
        now, mono = self._clock.now(), self._clock.monotonic()
        found = dict(filter(None, (_read(record, now, mono) for record in records)))
        self._seen = OrderedDict(sorted(found.items(), key=lambda known: known[1].at))
        self._forget_old()

    async def aclose(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def known(self, pushed: Sequence[Pushed]) -> list[VmsEvent]:
        """Return the events as they shall be emitted, in order; those without a time are written down."""
        if all(one.event.timequality not in _UNTIMED for one in pushed):
            return [one.event for one in pushed]
        async with self._turn:
            self._forget_old()
            keyed = [(_key(one), one) for one in pushed]
            events = [(key, self._as_known(key, one)) for key, one in keyed]
            await self._write_down()
            return [_doubtful(event) if key in self._unwritten else event for key, event in events]

    def _as_known(self, key: str, one: Pushed) -> VmsEvent:
        event, now, seen = one.event, self._clock.monotonic(), self._seen.get(key)
        if not key:
            return event
        if seen is not None and now - seen.at < SAME_WITHIN:
            event = event.model_copy(update={"id": seen.event, "time": seen.when, "received": seen.when})
            return _doubtful(event) if seen.again else event
        again = seen is not None and now - seen.at < one.within.total_seconds()
        if seen is None and self._is_full():
            return _doubtful(event)
        self._seen[key] = self._unwritten[key] = _Seen(event.id, event.received, now, again)
        self._seen.move_to_end(key)
        return _doubtful(event) if again else event

    def _is_full(self) -> bool:
        full = len(self._seen) >= self._room
        if full and not self._full:
            log.error("too many pushes without a time are remembered; more of them open nothing")
        self._full = full
        return full

    def _forget_old(self) -> None:
        since = self._clock.monotonic() - self._longest
        while self._seen and next(iter(self._seen.values())).at <= since:
            key, _ = self._seen.popitem(last=False)
            self._unwritten.pop(key, None)

    # --- the file ------------------------------------------------------------------------------------

    async def _write_down(self) -> None:
        """Write what is not written yet, also of calls that were cut short; what cannot be written stays."""
        if self._file is not None and self._unwritten:
            records = [_record(key, seen) for key, seen in self._unwritten.items()]
            try:
                await asyncio.to_thread(self._append, self._file, records)
            except OSError as exc:
                log.error("pushes without a time cannot be written down and open nothing", extra={"error": str(exc)})
                return
        self._unwritten.clear()

    def _append(self, file: JsonLines, records: Sequence[Mapping[str, Any]]) -> None:
        file.append(*records)
        if file.lines > len(self._seen) + _COMPACT_AT:
            file.compact(self._remembered)

    def _remembered(self, records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the last line of each content that is remembered, also of calls that came after this one."""
        last = {str(record.get("key")): record for record in records}
        return [record for key, record in last.items() if key in self._seen]


def _key(one: Pushed) -> str:
    """Return what the same push has again; empty for one with a time, which tells by itself."""
    if one.event.timequality not in _UNTIMED:
        return ""
    return stable_id(one.event.source, one.event.principal, one.name, one.raw)


def _doubtful(event: VmsEvent) -> VmsEvent:
    return event.model_copy(update={"timequality": "doubtful"})


def _record(key: str, seen: _Seen) -> dict[str, Any]:
    return {"key": key, "event": seen.event, "at": seen.when.isoformat(), "again": seen.again}


def _read(record: Mapping[str, Any], now: datetime, mono: float) -> tuple[str, _Seen] | None:
    """Return what a line says, on this run's clock. What lies in the future was before: our clock went back."""
    try:
        when = datetime.fromisoformat(record["at"])
        ago = (now - when).total_seconds()
        seen = _Seen(str(record["event"]), when, mono - (ago if ago >= 0 else SAME_WITHIN), record["again"] is True)
        return str(record["key"]), seen
    except (KeyError, TypeError, ValueError) as exc:
        log.error("skipped a journal record of unknown form", extra={"error": str(exc)})
        return None
