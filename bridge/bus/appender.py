"""The one writer of the audit trail: what the ledger says has ended becomes a record and an event, and each change
of what decides, which the log has as an event, becomes a record.

Everything is read from the ledger and the log, each in its order, from where the trail ends; a delivery only says that
there may be something to read. So no order of deliveries, no repetition and no lost acknowledgement
can put a record in the wrong place, twice, or not at all. What has ended never changes in the ledger, and the log
never changes at all. Each record names how far both are in the trail, which is all there is to remember; whether the
ledger and the log are still those that are meant is looked at first (`resume`).

A record is stored only if the trail still ends where we think it does: two appenders cannot mix. The
`action.ended` event goes before its record, so the record says that both are done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pydantic import ValidationError

from bridge.bus.acks import Acks
from bridge.bus.anchors import Anchors
from bridge.bus.connect import Connection
from bridge.bus.platekeys import PlateKeys
from bridge.bus.publish import Publisher
from bridge.bus.pull import place, scan
from bridge.bus.readon import read_on
from bridge.bus.records import CHANGES, Tail, change_of, plates_of, record_of, values_of
from bridge.bus.results import action_ended, event_message
from bridge.bus.resume import End, Resume, end_of
from bridge.bus.stored import Stored, last
from bridge.bus.streams import stream_name
from bridge.bus.wire import EXPECTED_LAST, Outgoing, Received
from bridge.clock import Clock
from bridge.crashpoint import crash_point
from bridge.errors import StoreError, StoreUnavailableError
from bridge.schema.audit import GENESIS, AuditRecord, ChangeRecord, TrailRecord, digest, read_record
from bridge.schema.event import VmsEvent
from bridge.schema.orders import Effect, Result
from bridge.schema.state import BRIDGE
from bridge.schema.subjects import Subjects

if TYPE_CHECKING:
    from bridge.bus.host import Host  # FastStream takes its time, and whoever reads the trail needs none of it

_log = logging.getLogger(__name__)

BATCH = 200
"""Effect records read, and audit records written, at once."""
ANCHOR_EVERY, ANCHOR_AFTER = 60.0, 1000
"""Seconds, and records, after which an anchor is set."""
_PATIENCE = 15.0


class Make(Protocol):
    """Makes a record that follows."""

    def __call__(self, *, tail: Tail) -> TrailRecord:
        """Return the record that follows `tail`."""
        ...


class Appends(Protocol):
    """Who is told that there may be something to append."""

    async def delivered(self, effect: Effect, seq: int) -> None:
        """Take the word that an effect record stands at `seq`."""
        ...

    async def changed(self, event: VmsEvent, seq: int) -> None:
        """Take the word that a change stands at `seq` of the log."""
        ...


class Foreign(NamedTuple):
    """What ends the trail and is none of our records: nothing can follow it."""

    stream: str
    seq: int

    def __str__(self) -> str:
        return f"record {self.seq} of the audit trail is not one: somebody else has written it, and nothing is appended"

    @property
    def cure(self) -> str:
        """What a person does about it; nothing is lost meanwhile, the ledger keeps how each order ended."""
        return (
            f"stop whoever writes to the stream {self.stream}; keep a copy of message {self.seq}, then delete it: "
            f"`nats stream rmm {self.stream} {self.seq}`. What has ended since is appended with the next order"
        )


class Appender:
    """The appender of one site. Safe to call from several tasks."""

    def __init__(
        self, connection: Connection, acks: Acks, events: Publisher, site: str, folder: Path, clock: Clock
    ) -> None:
        self._connection, self._acks, self._events, self._clock = connection, acks, events, clock
        self._site, self._keys, self._anchors = site, PlateKeys(folder), Anchors(folder)
        self._subjects = Subjects(site)
        self._ledger, self._trail = stream_name(site, "ENGINE"), stream_name(site, "RESULTS")
        self._lock = asyncio.Lock()
        self._tail: Tail | None = None
        self._ended_to = self._changed_to = 0
        """How far the ledger, and the log, have been read."""
        self._said_to = 0
        """How far in the ledger the log has been told of ends, as far as that was known at the beginning."""
        self._resume = Resume(connection, site)
        self._told_ends: frozenset[End] = frozenset()
        self._told_changes: frozenset[str] = frozenset()
        """What is still to be read and is in the trail already: after a loss, or a restore."""
        self.trouble: Foreign | None = None
        """What stopped the trail until a person does something; None while it grows, or waits for the store."""

    async def delivered(self, effect: Effect, seq: int) -> None:
        """Take the word that an effect record stands at `seq`. Raises StoreError: say it again."""
        if effect.status == "ended":
            await self._appending(self._orders, lambda: seq <= self._ended_to)

    async def changed(self, event: VmsEvent, seq: int) -> None:
        """Take the word that a change stands at `seq` of the log. Raises StoreError: say it again."""
        await self._appending(self._changes, lambda: seq <= self._changed_to)

    async def catch_up(self) -> None:
        """Append all that has ended and was changed. Raises StoreError."""
        await self._appending(self._orders)
        await self._appending(self._changes)

    async def _appending(
        self, work: Callable[[Tail], Awaitable[None]], done: Callable[[], bool] = lambda: False
    ) -> None:
        async with self._lock:
            if self._tail is not None and done():
                return
            try:
                if self._tail is None:
                    self._tail = await self._begin()
                await work(self._tail)
                self.trouble = None
            except BaseException:
                self._tail = None  # in doubt: the trail itself says where it ends
                raise

    async def anchor(self) -> None:
        """Set an anchor at the present end of the trail, unless there is one. Raises StoreUnavailableError."""
        async with self._lock:
            if self._tail is not None and self._tail.n:
                await self._anchors.put(self._tail.n, self._tail.hash, self._clock.now())

    async def anchoring(self) -> None:
        """Set anchors again and again, for ever."""
        while True:
            await self._clock.sleep(ANCHOR_EVERY)
            try:
                await self.anchor()
            except StoreUnavailableError as exc:
                _log.warning("the audit trail could not be anchored", extra={"error": str(exc)})

    async def _orders(self, tail: Tail) -> None:
        """Append what has ended, and tell the log of it first."""
        subject = f"{self._subjects.root}.effect.*"
        while True:
            part = await read_on(self._connection, self._ledger, subject, self._ended_to, BATCH)
            found = [each for each in _ended(part.messages) if end_of(each.result) not in self._told_ends]
            if found:
                hashes = await self._keys.tokens([(each.result.ended, plates_of([each.effect])) for each in found])
                made = [
                    partial(record_of, each.effect, each.seq, hashes=own)
                    for each, own in zip(found, hashes, strict=True)
                ]
                tail = await self._append(tail, made, [one.effect for one in found if one.seq > self._said_to])
            self._ended_to = part.messages[-1].seq if part.messages else self._ended_to
            if not part.messages or not part.left:
                self._told_ends = frozenset()
                return

    async def _changes(self, tail: Tail) -> None:
        """Append what was changed."""
        subjects = [self._subjects.events(BRIDGE, kind) for kind in CHANGES]
        events = stream_name(self._site, "EVENTS")
        async with aclosing(scan(self._connection, events, subjects, after=self._changed_to)) as batches:
            async for batch in batches:
                for part in (batch[at : at + BATCH] for at in range(0, len(batch), BATCH)):
                    if found := [each for each in _events(part) if each[1].id not in self._told_changes]:
                        hashes = await self._keys.tokens([(event.received, values_of(event)) for _, event in found])
                        made = [
                            partial(change_of, event, seq, hashes=own)
                            for (seq, event), own in zip(found, hashes, strict=True)
                        ]
                        tail = await self._append(tail, made)
                    self._changed_to = place(part[-1].reply).seq
        self._told_changes = frozenset()

    async def _append(self, tail: Tail, made: Sequence[Make], ended: Sequence[Effect] = ()) -> Tail:
        messages: list[Outgoing] = []
        for make in made:
            record = make(tail=tail)
            body = record.encode()
            tail = tail.after(record, body)
            messages.append(Outgoing(record.filed(self._subjects), body))
        crash_point("audit.read")
        if ended:
            await (await self._events.put([self._told(effect) for effect in ended]))
        crash_point("audit.told")
        first = messages[0]._replace(headers={EXPECTED_LAST: str(tail.seq - len(messages))})
        ack = await self._acks.store([first, *messages[1:]], _PATIENCE)
        crash_point("audit.appended")
        if ack.seq != tail.seq:
            raise StoreUnavailableError("the audit trail did not grow as it should have")
        self._tail = tail
        if tail.n >= self._anchors.last + ANCHOR_AFTER:
            await self._anchors.put(tail.n, tail.hash, self._clock.now())
        return tail

    def _told(self, effect: Effect) -> Outgoing:
        """Return the event that an order has ended."""
        assert effect.result is not None  # noqa: S101 - only those that have ended come here
        hops = effect.about.hops if effect.about else None
        return event_message(self._subjects, action_ended(self._site, effect.result, hops))

    async def _begin(self) -> Tail:
        """Return where the trail ends, and get ready to read on. Raises StoreError."""
        tail = await self._load()
        self._ended_to, self._told_ends = await self._resume.ledger(tail.effect, self._clock.now())
        self._said_to = await self._resume.said()
        self._changed_to, self._told_changes = await self._resume.log(tail.change)
        return tail._replace(effect=self._ended_to, change=self._changed_to)

    async def _load(self) -> Tail:
        """Read from the trail where it ends. Raises StoreError when its last record is not one."""
        anchored = await self._anchors.load()
        info = await self._connection.api(f"STREAM.INFO.{self._trail}")
        end = int(info["state"]["last_seq"])
        found = await last(self._connection, self._trail, f"{self._subjects.root}.result.>")
        if found is None:
            age = timedelta(microseconds=info["config"]["max_age"] // 1000)
            newest = self._anchors.newest
            if newest is not None and age and newest.at < self._clock.now() - age:
                return Tail(end, newest.n, newest.hash, 0, 0)  # all of it has left by its age: the chain goes on
            self._look_at_anchor(anchored, 0)
            return Tail(end, 0, GENESIS, 0, 0)
        try:
            record = read_record(found.body)
        except ValidationError as exc:
            _log.error("the audit trail does not end with a record", extra={"seq": found.seq})
            self.trouble = Foreign(self._trail, found.seq)
            raise StoreError(f"record {found.seq} of the audit trail is not one: somebody else has written it") from exc
        self._look_at_anchor(anchored, record.n)
        return Tail(end, record.n, digest(found.body), record.effect, record.change)

    def _look_at_anchor(self, anchored: int, last_record: int) -> None:
        """Say that records are gone which were there. What ledger and log still know is appended again."""
        if anchored > last_record:
            _log.error("the audit trail ends before its last anchor", extra={"anchor": anchored, "end": last_record})


class _Ended(NamedTuple):
    """An order that has ended, and where the ledger says so."""

    seq: int
    effect: Effect
    result: Result


def _ended(messages: Sequence[Stored]) -> list[_Ended]:
    """Return the effects that have ended. What is none is skipped here: the host buries it when it is delivered."""
    found: list[_Ended] = []
    for message in messages:
        with contextlib.suppress(ValidationError):
            effect = Effect.decode(message.body)
            if effect.result is not None:
                found.append(_Ended(message.seq, effect, effect.result))
    return found


def _events(messages: Sequence[Received]) -> list[tuple[int, VmsEvent]]:
    """Return the changes with their places. What is none is skipped here too."""
    found: list[tuple[int, VmsEvent]] = []
    for message in messages:
        with contextlib.suppress(ValidationError):
            found.append((place(message.reply).seq, VmsEvent.decode(message.data)))
    return found


def host_appender(host: Host, site: str, appender: Appends) -> None:
    """Have the host tell the appender of every change in the ledger, and of every change of what decides."""
    subjects = Subjects(site)
    host.subscribe(
        "audit",
        f"{subjects.root}.effect.*",
        stream_name(site, "ENGINE"),
        Effect,
        appender.delivered,
        "Records of orders in the ledger. Those that have ended are appended to the audit trail.",
    )
    for kind in CHANGES:
        host.subscribe(
            f"audit-{kind.replace('.', '-')}",
            subjects.events(BRIDGE, kind),
            stream_name(site, "EVENTS"),
            VmsEvent,
            appender.changed,
            f"The bridge's own events {kind}. Each is appended to the audit trail.",
        )
    host.tells(
        "audit-trail",
        f"{subjects.root}.result.*.*",
        AuditRecord,
        "How each order ended, by action and outcome, each with the hash of the one before.",
    )
    host.tells(
        "audit-trail-changes",
        f"{subjects.root}.result.change.*.*",
        ChangeRecord,
        "Changes of lists, mode and rules, and commands, in one chain with how orders ended.",
    )
