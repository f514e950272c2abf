"""The one writer of the audit trail: what the ledger says has ended becomes a record and an event.

Everything is read from the ledger, in its order, from where the trail ends; a delivery only says that
there may be something to read. So no order of deliveries, no repetition and no lost acknowledgement
can put a record in the wrong place, twice, or not at all. What has ended never changes in the ledger.

A record is stored only if the trail still ends where we think it does: two appenders cannot mix. The
`action.ended` event goes before its record, so the record says that both are done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue, ValidationError

from bridge.bus.acks import Acks
from bridge.bus.anchors import Anchors
from bridge.bus.connect import Connection
from bridge.bus.platekeys import PlateKeys
from bridge.bus.publish import Publisher
from bridge.bus.readon import read_on
from bridge.bus.results import action_ended, event_message
from bridge.bus.stored import Stored, last
from bridge.bus.streams import stream_name
from bridge.bus.wire import EXPECTED_LAST, Outgoing
from bridge.clock import Clock
from bridge.crashpoint import crash_point
from bridge.errors import StoreError, StoreUnavailableError
from bridge.schema.audit import GENESIS, AuditRecord, digest
from bridge.schema.orders import Effect, Result
from bridge.schema.subjects import Subjects

if TYPE_CHECKING:
    from bridge.bus.host import Host  # FastStream takes its time, and whoever reads the trail needs none of it

_log = logging.getLogger(__name__)

BATCH = 200
"""Effect records read, and audit records written, at once."""
ANCHOR_EVERY, ANCHOR_AFTER = 60.0, 1000
"""Seconds, and records, after which an anchor is set."""
_PATIENCE = 15.0
_SHORT = 4
"""A plate of fewer characters is not looked for in texts: too much else would look like it."""


class Tail(NamedTuple):
    """Where the trail ends."""

    seq: int
    """The last sequence of the stream, which the next write must name."""
    n: int
    hash: str
    effect: int
    """The effect record that the last one was made of: our position."""


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
        self._read = 0
        self.trouble: Foreign | None = None
        """What stopped the trail until a person does something; None while it grows, or waits for the store."""

    async def delivered(self, effect: Effect, seq: int) -> None:
        """Take the word that an effect record stands at `seq`. Raises StoreError: say it again."""
        if effect.status == "ended":
            await self.catch_up(seq)

    async def catch_up(self, seq: int | None = None) -> None:
        """Append everything that has ended, unless that was done up to `seq`. Raises StoreError."""
        async with self._lock:
            if seq is not None and self._tail is not None and seq <= self._read:
                return
            try:
                while await self._some():
                    pass
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

    async def _some(self) -> bool:
        """Append what follows, as much as goes at once; tell whether there is more."""
        if self._tail is None:
            self._tail = await self._load()
            self._read = self._tail.effect
        part = await read_on(self._connection, self._ledger, f"{self._subjects.root}.effect.*", self._read, BATCH)
        if not part.messages:
            return False
        if found := _ended(part.messages):
            self._tail = await self._append(self._tail, found)
            if self._tail.n >= self._anchors.last + ANCHOR_AFTER:
                await self._anchors.put(self._tail.n, self._tail.hash, self._clock.now())
        self._read = part.messages[-1].seq
        return part.left > 0

    async def _append(self, tail: Tail, ended: Sequence[tuple[int, Effect]]) -> Tail:
        hashes = await self._keys.hashes(e.about.plate for _, e in ended if e.about and e.about.plate)
        messages: list[Outgoing] = []
        events: list[Outgoing] = []
        for seq, effect in ended:
            record = record_of(effect, seq, tail, hashes)
            body = record.encode()
            tail = Tail(tail.seq + 1, record.n, digest(body), seq)
            messages.append(Outgoing(self._subjects.result(record.action, record.outcome), body))
            if effect.result is not None:
                hops = effect.about.hops if effect.about else None
                events.append(event_message(self._subjects, action_ended(self._site, effect.result, hops)))
        crash_point("audit.read")
        await (await self._events.put(events))
        crash_point("audit.told")
        first = messages[0]._replace(headers={EXPECTED_LAST: str(tail.seq - len(messages))})
        ack = await self._acks.store([first, *messages[1:]], _PATIENCE)
        crash_point("audit.appended")
        if ack.seq != tail.seq:
            raise StoreUnavailableError("the audit trail did not grow as it should have")
        return tail

    async def _load(self) -> Tail:
        """Read from the trail where it ends. Raises StoreError when its last record is not one."""
        anchored = await self._anchors.load()
        info = await self._connection.api(f"STREAM.INFO.{self._trail}")
        end = int(info["state"]["last_seq"])
        found = await last(self._connection, self._trail, f"{self._subjects.root}.result.>")
        if found is None:
            self._look_at_anchor(anchored, 0)
            return Tail(end, 0, GENESIS, 0)
        try:
            record = AuditRecord.decode(found.body)
        except ValidationError as exc:
            _log.error("the audit trail does not end with a record", extra={"seq": found.seq})
            self.trouble = Foreign(self._trail, found.seq)
            raise StoreError(f"record {found.seq} of the audit trail is not one: somebody else has written it") from exc
        self._look_at_anchor(anchored, record.n)
        return Tail(end, record.n, digest(found.body), record.effect)

    def _look_at_anchor(self, anchored: int, last_record: int) -> None:
        """Say that records are gone which were there. What the ledger still knows is appended again, the same."""
        if anchored > last_record:
            _log.error("the audit trail ends before its last anchor", extra={"anchor": anchored, "end": last_record})


def _ended(messages: Sequence[Stored]) -> list[tuple[int, Effect]]:
    """Return the effects that have ended. What is none is skipped here: the host buries it when it is delivered."""
    found: list[tuple[int, Effect]] = []
    for message in messages:
        with contextlib.suppress(ValidationError):
            effect = Effect.decode(message.body)
            if effect.result is not None:
                found.append((message.seq, effect))
    return found


def host_appender(host: Host, site: str, delivered: Callable[[Effect, int], Awaitable[None]]) -> None:
    """Have the host tell the appender of every change in the ledger."""
    host.subscribe(
        "audit",
        f"{Subjects(site).root}.effect.*",
        stream_name(site, "ENGINE"),
        Effect,
        delivered,
        "Records of orders in the ledger. Those that have ended are appended to the audit trail.",
    )
    host.tells(
        "audit-trail",
        f"{Subjects(site).root}.result.*.*",
        AuditRecord,
        "How each order ended, by action and outcome, each with the hash of the one before.",
    )


def record_of(effect: Effect, seq: int, tail: Tail, hashes: dict[str, str]) -> AuditRecord:
    """Return the record that follows `tail`, its plate replaced by its keyed hash. Pure."""
    result, about = effect.result, effect.about
    if result is None:
        raise ValueError("an order that has not ended has no result")
    plate = about.plate if about else None
    if about is not None and plate is not None:
        about = about.model_copy(update={"plate": hashes[plate]})
    fields = {name: getattr(result, name) for name in Result.model_fields}
    if plate is not None:
        fields["message"] = _without(result.message, plate, hashes[plate])
        fields["output"] = _without(result.output, plate, hashes[plate])
    return AuditRecord(**fields, n=tail.n + 1, prev=tail.hash, effect=seq, about=about)


def _without(value: JsonValue, plate: str, token: str) -> JsonValue:
    """Return a value in which a plate's hash stands for the plate."""
    if isinstance(value, str):
        return value.replace(plate, token) if len(plate) >= _SHORT else value
    if isinstance(value, list):
        return [_without(item, plate, token) for item in value]
    if isinstance(value, dict):
        return {_swapped(name, plate, token): _without(item, plate, token) for name, item in value.items()}
    return value


def _swapped(name: str, plate: str, token: str) -> str:
    return name.replace(plate, token) if len(plate) >= _SHORT else name
