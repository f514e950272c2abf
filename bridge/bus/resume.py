"""Where the audit trail goes on: what its records say of the ledger and of the log, held against what is there.

The last records name how far both are in the trail. But a ledger or a log that was lost begins to count anew, and
one from an older copy gives numbers again that are in the trail already: then they say nothing. So what they name is
looked for. Where it is not there all of it is read again, and what the trail has told of it is left out. An
order that has ended once more, at another time, is told once more: that is what happened.

The log hears of an end before the trail has its record. So after a crash, or a loss of the trail, it knows of ends that
the trail does not: up to which one, it says itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from bridge.bus import stored
from bridge.bus.connect import Connection
from bridge.bus.engine_store import ORDERS_KEPT
from bridge.bus.newest import newest as newest_of
from bridge.bus.pull import scan
from bridge.bus.streams import stream_name
from bridge.bus.wire import NO_MESSAGE, RefusedError
from bridge.schema.audit import AuditRecord, ChangeRecord, TrailRecord, read_record
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import ActionEnded
from bridge.schema.orders import Effect, Result
from bridge.schema.state import BRIDGE
from bridge.schema.subjects import NONE, Subjects

_log = logging.getLogger(__name__)

_LOOKED_AT = 1000
"""Ends that the log was told of last, to look for one that the ledger knows too: after a restore some are too new."""
_LEAVING = timedelta(days=1)
"""How long before effect records leave by themselves one that is not there may have left."""

End = tuple[str, datetime]
_Key = TypeVar("_Key")


def end_of(result: Result) -> End:
    """Return what is told once of an order: which one, and when it ended."""
    return result.order, result.ended


class Start(NamedTuple, Generic[_Key]):
    """Where to read on."""

    after: int
    """The last sequence that is in the trail."""
    told: frozenset[_Key] = frozenset()
    """What comes behind that and is in it all the same."""


class Resume:
    """The places of one site's trail in its ledger and its log. Reads, writes nothing."""

    def __init__(self, connection: Connection, site: str) -> None:
        self._connection, self._subjects = connection, Subjects(site)
        self._trail, self._ledger, self._log = (stream_name(site, name) for name in ("RESULTS", "ENGINE", "EVENTS"))
        self._ends = f"{self._subjects.root}.result.*.*"
        self._said = self._subjects.events(BRIDGE, "action.ended").removesuffix("*") + NONE
        self._changes = f"{self._subjects.root}.result.change.*.*"

    async def ledger(self, said: int, now: datetime) -> Start[End]:
        """Return where to read on in the ledger; `said` is what the trail's last record names.

        Raises StoreUnavailableError.
        """
        newest = await self._newest(self._ends)
        if not isinstance(newest, AuditRecord):
            return Start(said if said <= await self._last(self._ledger) else 0)
        if await self._in_ledger(newest, now):
            return Start(newest.effect)
        _say(self._ledger, newest.effect)
        since = now - ORDERS_KEPT - _LEAVING
        told = [end_of(record) async for record in self._records(self._ends, since) if isinstance(record, AuditRecord)]
        return Start(0, frozenset(told))

    async def log(self, said: int) -> Start[str]:
        """Return where to read on in the log, likewise; told are ids of events. Raises StoreUnavailableError."""
        newest = await self._newest(self._changes)
        if not isinstance(newest, ChangeRecord):
            return Start(said if said <= await self._last(self._log) else 0)
        if await self._in_log(newest):
            return Start(newest.change)
        _say(self._log, newest.change)
        told = [record.event async for record in self._records(self._changes) if isinstance(record, ChangeRecord)]
        return Start(0, frozenset(told))

    async def said(self) -> int:
        """Return up to where in the ledger the log was told how orders have ended; 0 if nobody knows.

        Raises StoreUnavailableError.
        """
        newest_said = await stored.last(self._connection, self._log, self._said)
        if newest_said is None:
            return 0
        if found := await self._stands(newest_said.body):
            return found
        for message in reversed(await newest_of(self._connection, self._log, self._said, _LOOKED_AT)):
            if found := await self._stands(message.data):
                return found
        return 0

    async def _stands(self, said: bytes) -> int:
        """Return where the ledger has the end that an event tells of; 0 if it has not."""
        with contextlib.suppress(ValidationError):
            event = VmsEvent.decode(said)
            if isinstance(event.data, ActionEnded):
                found = await stored.last(self._connection, self._ledger, self._subjects.effect(event.data.order))
                result = Effect.decode(found.body).result if found else None
                if found is not None and result is not None and result.ended == event.time:
                    return found.seq
        return 0

    async def _in_ledger(self, record: AuditRecord, now: datetime) -> bool:
        """Whether the ledger is the one that a record was made of: what has ended stands there until it leaves."""
        if await self._last(self._ledger) < record.effect:
            return False
        found = await stored.last(self._connection, self._ledger, self._subjects.effect(record.order))
        if found is None:
            return record.ended < now - ORDERS_KEPT + _LEAVING
        return found.seq == record.effect

    async def _in_log(self, record: ChangeRecord) -> bool:
        """Whether the log is the one that a record was made of, as far as its limits have left what shows it."""
        if await self._last(self._log) < record.change:
            return False
        try:
            found = await stored.at(self._connection, self._log, record.change)
        except RefusedError as exc:
            if exc.code == NO_MESSAGE:
                return True
            raise
        with contextlib.suppress(ValidationError):
            return VmsEvent.decode(found.body).id == record.event
        return False

    async def _last(self, stream: str) -> int:
        return await stored.end(self._connection, stream)

    async def _newest(self, subject: str) -> TrailRecord | None:
        found = await stored.last(self._connection, self._trail, subject)
        return None if found is None else _record(found.body)

    async def _records(self, subject: str, since: datetime | None = None) -> AsyncIterator[TrailRecord]:
        async for batch in scan(self._connection, self._trail, [subject], since=since):
            for message in batch:
                if record := _record(message.data):
                    yield record


def _say(stream: str, read: int) -> None:
    _log.error(
        "what the audit trail was made of is gone: all that is there is read", extra={"stream": stream, "read": read}
    )


def _record(body: bytes) -> TrailRecord | None:
    """Return what stands there, if it is a record: whether the trail may go on behind one is not for us to say."""
    with contextlib.suppress(ValidationError):
        return read_record(body)
    return None
