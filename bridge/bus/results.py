"""Where things end: dead letters and traces of rules; and how events are written down."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.publish import Publisher
from bridge.bus.wire import MSG_ID, Outgoing
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent, own_event
from bridge.schema.kinds import ActionEnded
from bridge.schema.orders import Result
from bridge.schema.subjects import Subjects

_PATIENCE = 15.0
_HEADERS_ROOM = 16 * 1024
"""Bytes of a message's limit that are kept for headers."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]")
_TRUNCATED = "Vms-Full-Size"


def action_ended(site: str, result: Result, hops: int | None = None) -> VmsEvent:
    """Return the event that tells the engine how an order ended. The same result gives the same event."""
    data = ActionEnded(
        order=result.order,
        rule=result.rule,
        action=result.action,
        step=result.step,
        outcome=result.outcome,
        reason=result.reason,
        message=result.message,
        attempts=result.attempts,
        output=result.output,
    )
    name = stable_id("action.ended", site, result.order)
    cause = result.causes[-1] if result.causes else None
    return own_event(site, "action.ended", data, result.ended, id=name, correlation=cause, hops=hops or None)


class JetDeadLetters:
    """What could not be used; the contract is `DeadLetters`."""

    def __init__(self, connection: Connection, acks: Acks, site: str) -> None:
        self._connection, self._acks = connection, acks
        self._subjects = Subjects(site)

    async def bury(self, action_class: str, reason: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Store one, once however often it is buried within ten minutes; returns when it is synced.

        A body beyond what the server takes is cut, and a header tells its full size.
        Raises StoreUnavailableError.
        """
        kept = {f"Vms-{_NOT_IN_NAMES.sub('-', name)}": value[:1024] for name, value in headers.items()}
        kept[MSG_ID] = stable_id(action_class, reason, body.hex())
        limit = self._connection.max_payload - _HEADERS_ROOM
        if len(body) > limit:
            kept[_TRUNCATED] = str(len(body))
        message = Outgoing(self._subjects.dead(action_class, reason), body[:limit], kept)
        await self._acks.store([message], _PATIENCE)


class JetTraces:
    """Why rules fired, or did not: written behind the engine's back, in order."""

    def __init__(self, publisher: Publisher, site: str) -> None:
        self._publisher = publisher
        self._subjects = Subjects(site)

    async def write(self, rule: str, trace: bytes, trace_id: str | None = None) -> asyncio.Future[int]:
        """Hand over one trace; the future is done when it is synced. The same id within two minutes is stored once."""
        headers = {MSG_ID: trace_id} if trace_id else {}
        return await self._publisher.put([Outgoing(self._subjects.trace(rule), trace, headers)])


def event_message(subjects: Subjects, event: VmsEvent) -> Outgoing:
    """Return the message that stores an event.

    The duplicate id is the event's source and id together: that is what CloudEvents calls unique,
    and two systems may well count their messages from one.
    """
    return Outgoing(subjects.event(event), event.encode(), {MSG_ID: f"{event.source}/{event.id}"})
