"""Take events into the log; the contract is `Emit`.

Every event that anybody emits passes here: it is compared with the known state, which it updates,
gets its subject, and is written in order. A yes is a synced write. It decides nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol

from bridge.bus.guard import Guard
from bridge.bus.publish import Publisher
from bridge.bus.results import event_message
from bridge.bus.state_book import Learnt, StateBook
from bridge.bus.wire import Outgoing
from bridge.clock import Clock
from bridge.errors import PayloadError, StoreUnavailableError
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.state import BRIDGE, facts
from bridge.schema.subjects import Subjects

_log = logging.getLogger(__name__)

What = Literal["stored", "unchanged", "refused"]
"""What became of an event: in the log (or there already), dropped because a snapshot said nothing new, not taken."""

LARGEST = 1024 * 1024 - 16 * 1024
"""Bytes of one event: NATS' limit of a message, less the headers."""

_ALWAYS = frozenset({"bridge.started", "rules.changed", "settings.changed"})
"""What the bridge says at its start. It is taken also while the engine has too much to read: without it nobody would
read. It is little, and what is left of the log's room is for such."""


class IntakeCounters(Protocol):
    """Where intake counts."""

    def count(self, what: What, source: str, kind: str, number: int) -> None:
        """Count events of one source and kind; `source` is the source's own name."""
        ...


class _NoCounters:
    def count(self, what: What, source: str, kind: str, number: int) -> None:
        """Count nothing."""


class JetIntake:
    """`Emit` on the log."""

    def __init__(
        self,
        publisher: Publisher,
        book: StateBook,
        guard: Guard,
        site: str,
        counters: IntakeCounters | None,
        clock: Clock,
    ) -> None:
        self._publisher, self._book, self._guard, self._clock = publisher, book, guard, clock
        self._counters = counters or _NoCounters()
        self._subjects = Subjects(site)

    @property
    def known(self) -> StateBook:
        """What is known of the state of things."""
        return self._book

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        """Take the events over in order; returns as soon as there is room.

        The future is done when all are synced and raises StoreUnavailableError when they could not
        be; that is raised at once where none of them is taken. Raises PayloadError for an event that is
        too large or has a name that cannot be filed; then none of them was taken.
        """
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        messages = [self._message(event) for event in events]
        refusals = self._publisher.refusals
        try:
            if not all(event.type in _ALWAYS and event.source_name == BRIDGE for event in events):
                await self._guard.admit(sum(message.size for message in messages))
        except StoreUnavailableError:
            self._count("refused", events)
            raise
        taken: list[VmsEvent] = []
        wanted: list[Outgoing] = []
        learnt: Learnt = []
        now = self._clock.now()
        for event, message in zip(events, messages, strict=True):
            known = event.origin is Origin.RESYNC and self._book.knows(facts(event))
            news = self._book.learn(event, now)
            if known:
                self._count("unchanged", [event])
                continue
            learnt += news
            taken.append(event)
            wanted.append(message)
        # Nothing is awaited between the book and the queue, so both have the same order.
        try:
            stored = await self._publisher.put(wanted, refusals)
        except BaseException:
            self._book.doubt(learnt)
            self._count("refused", taken)
            raise
        stored.add_done_callback(lambda done: self._settled(done, taken, learnt, outcome))
        return outcome

    def _message(self, event: VmsEvent) -> Outgoing:
        message = event_message(self._subjects, event)
        if len(message.body) > LARGEST and event.raw is not None:
            message = event_message(self._subjects, event.model_copy(update={"raw": None}))
        if len(message.body) > LARGEST:
            raise PayloadError("too_large", f"an event of {len(message.body)} bytes is more than {LARGEST}")
        return message

    def _settled(
        self, stored: asyncio.Future[int], taken: Sequence[VmsEvent], learnt: Learnt, outcome: asyncio.Future[None]
    ) -> None:
        if stored.cancelled():
            return
        error = stored.exception()
        if error is not None:
            self._book.doubt(learnt)
            self._refused(taken, error, outcome)
            return
        self._book.stored(learnt, stored.result())
        self._count("stored", taken)
        if not outcome.done():
            outcome.set_result(None)

    def _refused(self, events: Sequence[VmsEvent], error: BaseException, outcome: asyncio.Future[None]) -> None:
        self._count("refused", events)
        if not outcome.done():
            outcome.set_exception(error)
            outcome.exception()  # a connector may look at it later, or not at all: it is counted here

    def _count(self, what: What, events: Sequence[VmsEvent]) -> None:
        for (source, kind), number in Counter([(event.source, event.type) for event in events]).items():
            self._counters.count(what, source.partition("/")[2], kind, number)
