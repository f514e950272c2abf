"""The durable parts: the log, the engine's store, the ledger of effects, and where the rest goes.

The bus implements them; engine and runner use them and know nothing of NATS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import JsonValue

from bridge.schema.event import VmsEvent
from bridge.schema.orders import Effect, Order


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as it stands in the log: its place, and the log's own clock."""

    seq: int
    stamp: datetime
    event: VmsEvent
    size: int = 0
    """Bytes that it takes there, about; 0 where nobody counts."""


@dataclass(frozen=True, slots=True, order=True)
class StateKey:
    """Where a value of engine state belongs. Rules starting with `$` are the engine's own."""

    rule: str
    key: str


@dataclass(frozen=True, slots=True)
class Head:
    """How far the engine is, and by which rules. `epoch` counts owners."""

    seq: int
    epoch: int
    ruleset: str
    revision: int = 0
    """The store's revision of this record; the fence. Not part of the record."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine step decided."""

    head: Head
    changed: Mapping[StateKey, Mapping[str, JsonValue] | None] = field(default_factory=dict)
    orders: Sequence[Order] = ()


class EngineStore(Protocol):
    """Head, state and orders of one partition."""

    async def load(self) -> tuple[Head | None, Mapping[StateKey, dict[str, Any]]]:
        """Return the head and all state."""
        ...

    async def commit(self, step: Step, beside: Awaitable[None] | None = None) -> Head:
        """Write the step, fenced by `step.head.revision`; return the new head.

        Head and state are written whole or not at all; orders may stand there before the head has moved, and
        are then given again, the same. `beside` is done at the same time, and before the head moves.
        Raises StaleOwnerError when somebody else has written, StoreUnavailableError when nobody could.
        """
        ...


class EventLog(Protocol):
    """The durable log, read in order."""

    def read(self, after: int) -> AsyncIterator[Sequence[Logged]]:
        """Yield batches of events after a sequence: what is there at once, at most about 500; waits when idle.

        A message that is not an event is parked as a dead letter and skipped.
        """
        ...

    async def done(self, seq: int) -> None:
        """Say that everything up to `seq` is committed; a hint for the broker, not the truth."""
        ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """A ledger record and the revision that changing it must name."""

    effect: Effect
    revision: int


class EffectLedger(Protocol):
    """Which order is being done, was done, and how it ended. The truth about effects."""

    async def claim(self, effect: Effect) -> Claimed | None:
        """Insert the first record of an order; None if there is one already."""
        ...

    async def find(self, order: str) -> Claimed | None:
        """Return an order's record."""
        ...

    async def update(self, claimed: Claimed, effect: Effect) -> Claimed:
        """Replace a record. Raises StaleOwnerError if it changed meanwhile."""
        ...

    def unfinished(self) -> AsyncIterator[str]:
        """Yield the id of every order whose record has not ended."""
        ...


class OrderQueue(Protocol):
    """Orders to be done, oldest first, at least once each."""

    def take(self) -> AsyncIterator[PendingOrder]:
        """Yield orders as they come; at most a bounded number is in hand."""
        ...


class PendingOrder(Protocol):
    """One order in hand."""

    @property
    def order(self) -> Order:
        """What to do."""
        ...

    async def done(self) -> None:
        """It has ended and is recorded; do not bring it again."""
        ...

    async def later(self, delay: timedelta) -> None:
        """Bring it again after the delay."""
        ...

    async def working(self) -> None:
        """Still at it; do not bring it to anybody else yet."""
        ...


class DeadLetters(Protocol):
    """Where things go that cannot be used; inspected by hand."""

    async def bury(self, action_class: str, reason: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Store one; returns when it is synced."""
        ...
