"""The durable side as one object: everything the rest of the bridge reads from or writes to.

`async with Bus.open(site, config, server) as bus:` connects, brings the streams up to date and
starts the writers. What needs a name or a callback of its own is made by a method; what there is
one of is an attribute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from bridge.bus import existing, stored, streams, trimming
from bridge.bus.acks import Acks
from bridge.bus.appender import Appender
from bridge.bus.checkpoints import CheckpointWriter
from bridge.bus.connect import Connection
from bridge.bus.consume import JetEventLog, OnHole
from bridge.bus.cursors import Cursors
from bridge.bus.effects import JetEffectLedger
from bridge.bus.engine_store import JetEngineStore
from bridge.bus.guard import Backlog, Guard
from bridge.bus.intake import IntakeCounters, JetIntake
from bridge.bus.kv import Bucket, Contents
from bridge.bus.losses import Losses
from bridge.bus.marks import EVERY, MARKED, Damage, Marks
from bridge.bus.orders import JetOrderQueue
from bridge.bus.publish import Publisher
from bridge.bus.pull import scan
from bridge.bus.results import JetDeadLetters, JetTraces, event_message
from bridge.bus.rewind import rewind
from bridge.bus.server import EmbeddedServer
from bridge.bus.state_book import StateBook
from bridge.bus.trimming import Trimmer
from bridge.bus.window import Limits, Totals
from bridge.clock import Clock, SystemClock
from bridge.config.models import BusConfig
from bridge.errors import StartError, StoreUnavailableError
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent, own_event
from bridge.schema.kinds import LogHole, RulesChanged
from bridge.schema.subjects import NONE, Subjects, escape

_log = logging.getLogger(__name__)

_FLUSH_EVERY = 1.0
_RECENT_TRACES = 4096
"""Ids of traces remembered: only an engine that starts over writes some of them again, its last step's."""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """How the durable side is."""

    ok: bool
    connected: bool
    address: str
    server_version: str
    embedded: bool
    restarts: int
    """Of the embedded server."""
    trouble: str | None
    """What is wrong, in words."""
    refusing: str | None
    """Why new events are refused."""
    backlog: Backlog
    pending: int
    """Events in hand, not stored yet."""
    totals: Totals


class Bus:
    """See the module. Use `Bus.open`."""

    def __init__(
        self,
        site: str,
        connection: Connection,
        stack: AsyncExitStack,
        *,
        server: EmbeddedServer | None,
        clock: Clock,
        limits: Limits | None,
    ) -> None:
        self.site, self.connection = site, connection
        self._server, self._clock, self._stack = server, clock, stack
        self._acks = Acks(connection)
        self._subjects = Subjects(site)
        self._events = Publisher(connection, self._acks, "EVENTS", limits)
        few = replace(limits or Limits(), recent=_RECENT_TRACES)
        self._trace_writer = Publisher(connection, self._acks, "TRACES", few)
        engine = self.stream("ENGINE")
        self.engine_store = JetEngineStore(connection, self._acks, engine, site)
        self.effects = JetEffectLedger(connection, self._acks, engine, site)
        self.dead = JetDeadLetters(connection, self._acks, site)
        self.orders = self.order_queue()
        self.traces = JetTraces(self._trace_writer, site)
        self.contents = Contents(connection, self._acks, site)
        disk = server.directory if server else None
        self._losses = Losses(server.directory.parent if server else None)
        self.guard = Guard(connection, self.stream("EVENTS"), self._events, self._head_seq, disk)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        site: str,
        config: BusConfig,
        server: EmbeddedServer | None = None,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        guard_interval: float = 1.0,
    ) -> AsyncIterator[Bus]:
        """Connect to the embedded server, or to `config.servers`. Raises StartError."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(_connection(site, config, server).opened())
            await _prepare(connection, site, config, server)
            bus = cls(site, connection, stack, server=server, clock=clock or SystemClock(), limits=limits)
            await bus._losses.load()
            found: list[Damage] = []
            if server is not None:
                found = await bus._mark(server.directory.parent, config.keep)
            found += await bus._rewind(found)
            await stack.enter_async_context(bus._events)
            await stack.enter_async_context(bus._trace_writer)
            await bus._report_damage(found)
            await bus.guard.look()
            await bus._report_unread_hole()
            await stack.enter_async_context(_every(guard_interval, bus.guard.look, "bus guard"))
            trimmer = Trimmer(connection, bus.stream("EVENTS"), bus._head_seq, config.keep, bus._clock)
            await stack.enter_async_context(_every(trimming.EVERY, trimmer.trim, "old events"))
            yield bus

    def stream(self, name: str) -> str:
        """Return the server's name of one of our streams: `EVENTS`."""
        return streams.stream_name(self.site, name)

    async def intake(self, counters: IntakeCounters | None = None) -> JetIntake:
        """Return the way into the log, its state book loaded. Raises StoreUnavailableError."""
        book = StateBook(self.connection, self._acks, self.kv("state"), self.stream("EVENTS"))
        await book.load()
        self._stack.push_async_callback(_quietly, book.flush)
        await self._stack.enter_async_context(_every(_FLUSH_EVERY, book.flush, "state book"))
        return JetIntake(self._events, book, self.guard, self.site, counters, self._clock)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What the store has lost, as far as nobody has accepted it: found at a start, or as a hole while reading."""
        return self._losses.known

    async def accept_damage(self) -> tuple[Damage, ...]:
        """Take it that somebody knows of the damage, and return it. Raises OSError if a restart brings it back."""
        return await self._losses.accept()

    async def newest_own(self, kind: str) -> VmsEvent | None:
        """Return the newest event of a kind that the bridge itself wrote, whether the engine has come to it or not.

        Raises StoreUnavailableError.
        """
        subject = self._subjects.events("bridge", kind).removesuffix("*") + NONE
        found = await stored.last(self.connection, self.stream("EVENTS"), subject)
        return None if found is None else VmsEvent.decode(found.body)

    async def lasting(self, book: StateBook) -> list[VmsEvent]:
        """Return the events that began what goes on by the book, as far as the log has them.

        Raises StoreUnavailableError.
        """
        began: list[VmsEvent] = []
        for entity, kind in book.lasting():
            source, _, channel = entity.partition("/")
            subject = self._subjects.events(source, kind).removesuffix("*") + escape(channel or None)
            found = await stored.last(self.connection, self.stream("EVENTS"), subject)
            if found is not None:
                began.append(VmsEvent.decode(found.body))
        return began

    async def named_rules(self) -> set[str]:
        """Return the hashes of all rule sets that decided, or will decide, about an event that is still in the log.

        Raises StoreUnavailableError.
        """
        found: set[str] = set()
        subject = self._subjects.events("bridge", "rules.changed")
        async for batch in scan(self.connection, self.stream("EVENTS"), [subject]):
            for message in batch:
                data = VmsEvent.decode(message.data).data
                if isinstance(data, RulesChanged):
                    found |= {data.ruleset, *([data.previous] if data.previous else [])}
        return found

    def cursors(self, kinds: Iterable[str], pushing: Iterable[str]) -> Cursors:
        """Return what is remembered of sources; `kinds` may come by more ways than one, also from who is `pushing`."""
        return Cursors(self.connection, self.kv("cursors"), self.stream("EVENTS"), self._subjects, kinds, pushing)

    def event_log(self, name: str = "engine-0", on_hole: OnHole | None = None) -> JetEventLog:
        """Return the log for one reader. Without `on_hole`, a hole becomes a `log.hole` event."""
        return JetEventLog(self.connection, self.stream("EVENTS"), name, self.dead, on_hole or self._report_hole)

    def order_queue(self, in_hand: int = 512) -> JetOrderQueue:
        """Return a reader of the orders, which shares them with every other one."""
        subject = f"{self._subjects.root}.order.>"
        return JetOrderQueue(self.connection, self.stream("ENGINE"), subject, self.dead, in_hand=in_hand)

    def appender(self, folder: Path) -> Appender:
        """Return the writer of the audit trail; `folder` holds its anchors and the keys of plates."""
        return Appender(self.connection, self._acks, self._events, self.site, folder, self._clock)

    def checkpoints(self) -> CheckpointWriter:
        """Return the writer of the engine's checkpoints."""
        return CheckpointWriter(self.connection, self._acks, self.site)

    def kv(self, bucket: str) -> Bucket:
        """Return one of the buckets `streams.BUCKETS`."""
        return Bucket(self.connection, self._acks, self.site, bucket)

    def health(self) -> BusHealth:
        """Say how it is, from what is known; asks nobody."""
        trouble = self._server.trouble if self._server else None
        connected = self.connection.connected
        if not connected and trouble is None:
            trouble = f"NATS is not reachable: {self.connection.last_error or 'no reason known'}"
        return BusHealth(
            ok=connected and trouble is None and self.guard.refusing is None,
            connected=connected,
            address=self.connection.address,
            server_version=".".join(map(str, self.connection.version)),
            embedded=self._server is not None,
            restarts=self._server.restarts if self._server else 0,
            trouble=trouble,
            refusing=self.guard.refusing,
            backlog=self.guard.backlog,
            pending=self._events.pending,
            totals=self._events.totals,
        )

    async def _mark(self, folder: Path, keep: timedelta) -> list[Damage]:
        """Return what the store has lost since it was noted last, and note from now on how far it is."""
        table = [self.stream(name) for name in MARKED]
        marks = Marks(folder, self.connection, table, {self.stream("EVENTS"): keep}, self._clock)
        found = await marks.check()
        await self._losses.add(found)
        self._stack.push_async_callback(_quietly, marks.note)  # once everything that writes has ended
        await self._stack.enter_async_context(_every(EVERY, marks.note, "store marks"))
        return found

    async def _rewind(self, found: Sequence[Damage]) -> list[Damage]:
        """Take the engine's head back to the end of the log; return what is lost, unless that was found already."""
        events, alone = self.stream("EVENTS"), self._server is not None
        lost = await rewind(self.connection, events, self.engine_store, self.checkpoints(), alone=alone)
        known = lost is None or any(each.stream == events and each.last >= lost.first for each in found)
        return [] if lost is None or known else [lost]

    async def _report_damage(self, found: Iterable[Damage]) -> None:
        for damage in found:
            if damage.stream == self.stream("EVENTS"):
                await self._report_hole(damage.first, damage.last)

    async def _report_unread_hole(self) -> None:
        """Tell of what was trimmed before the engine came to it, without waiting for the next event."""
        head, first = await self._head_seq(), self.guard.backlog.first_seq
        if head is not None and head + 1 < first:
            _log.error("events were trimmed before they were read", extra={"first": head + 1, "last": first - 1})
            await self._report_hole(head + 1, first - 1)

    async def _head_seq(self) -> int | None:
        head = await self.engine_store.head()
        return head.seq if head else None

    async def _report_hole(self, first: int, last: int) -> None:
        await self._losses.add([Damage(self.stream("EVENTS"), first, last)])
        hole = LogHole(first_missing=first, last_missing=last)
        name = stable_id("log.hole", self.site, first, last)
        event = own_event(self.site, "log.hole", hole, self._clock.now(), id=name)
        await (await self._events.put([event_message(self._subjects, event)]))


def _connection(site: str, config: BusConfig, server: EmbeddedServer | None) -> Connection:
    name = f"vms-bridge {site}"
    if server is not None:
        return Connection([server.url], server.access.username, server.access.password, name)
    if not config.servers:
        raise StartError("there is no NATS to connect to", "set bus.servers, or let the bridge start its own")
    return Connection(config.servers, config.username, config.password, name)


async def _prepare(connection: Connection, site: str, config: BusConfig, server: EmbeddedServer | None) -> None:
    """Bring the server's streams up to date. Raises StartError."""
    if server is None:
        existing.new_enough(connection)
    table = streams.table(site, config, server.room.streams if server else None)
    with existing.jetstream(connection):
        await streams.ensure(connection, table, 1 if server else config.replicas)
    if server is not None:
        await asyncio.to_thread(server.settled)


@asynccontextmanager
async def _every(seconds: float, work: Callable[[], Awaitable[None]], name: str) -> AsyncIterator[None]:
    """Do something again and again beside the rest; an outage of the log is waited out."""

    async def run() -> None:
        while True:
            await asyncio.sleep(seconds)
            await _quietly(work)

    task = asyncio.create_task(run(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _quietly(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except StoreUnavailableError as exc:
        _log.debug("put off: %s", exc)
    except Exception:  # noqa: BLE001 - the edge of a background task: it must go on, and say what happened
        _log.exception("background work failed")
