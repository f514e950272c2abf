"""The engine's memory: how far it is, its state, and the orders it gave; the contract is `EngineStore`.

A step is written only if the head is still the one it began with, and its last message is the new
head: state is in one atomic batch with it, a few orders are written before. So state and head move
together or not at all, no head is there without its orders, and of two owners one is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from bridge.bus import fence, stored
from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.pull import scan
from bridge.bus.stored import Stored
from bridge.bus.wire import FEW, MAX_BATCH, TTL, Outgoing
from bridge.contracts import Head, StateKey, Step
from bridge.crashpoint import crash_point
from bridge.errors import PayloadError, StaleOwnerError, StoreError
from bridge.schema.base import stable_id
from bridge.schema.orders import Order
from bridge.schema.subjects import Subjects

MAX_CHANGES = MAX_BATCH - 1
"""State values that one step may change: they and the head go into one batch. Orders may be any number."""
ORDERS_KEPT = timedelta(days=30)
"""After this orders leave by themselves; effects are written later and so leave later."""

_KEEP_ORDER = {TTL: str(int(ORDERS_KEPT.total_seconds()))}
_KEEP_TOMBSTONE = {TTL: "3600"}
"""An empty message stands for a deleted value until it leaves; the value itself it replaced at once."""


class JetEngineStore:
    """Head, state and orders of one partition."""

    def __init__(self, connection: Connection, acks: Acks, stream: str, site: str, partition: int = 0) -> None:
        self._connection, self._acks, self._stream = connection, acks, stream
        self._subjects, self._partition = Subjects(site), partition
        self._head_subject = self._subjects.head(partition)

    async def load(self) -> tuple[Head | None, Mapping[StateKey, dict[str, Any]]]:
        """Return the head and all state as of that head. Raises StoreUnavailableError."""
        while True:
            before = await self.head()
            state = await self._scan_state()
            after = await self.head()
            if before == after:  # otherwise somebody wrote while we read
                return after, state

    async def head(self) -> Head | None:
        """Return the head as it stands; None before the first step. Raises StoreUnavailableError."""
        found = await self._read_head()
        return None if found is None else _decode_head(found)

    async def commit(self, step: Step, beside: Awaitable[None] | None = None) -> Head:
        """Write the step, fenced by `step.head.revision`; return the new head. State moves with the head or not at all.

        `beside` is done at the same time as the first of it, and before the head moves. Few orders go
        ahead of the head, each by itself behind the same fence: whoever waits for them need not wait
        for an atomic batch. So do orders beyond one batch. After a crash in between they are written
        again, as their ids come from their causes.
        Raises StaleOwnerError when somebody else has written; StoreUnavailableError when it is not
        known to be written: then `load` tells. Raises StoreError for more than MAX_CHANGES changes.
        """
        if len(step.changed) > MAX_CHANGES:
            raise StoreError(f"{len(step.changed)} changes do not fit one step of {MAX_CHANGES}: take fewer events")
        changes = [self._change(key, value) for key, value in step.changed.items()]
        orders = [self._order(order) for order in step.orders]
        revision = step.head.revision
        few = orders if len(orders) <= FEW else []
        await self._write_few(few, revision, beside or _nothing())
        if few:
            crash_point("engine.ordered")
            orders = []
        room = MAX_CHANGES - len(changes)
        if len(orders) > room:
            revision, orders = await self._write_ahead(revision, orders, room)
        revision = await self._write([*changes, *orders], step.head, revision)
        return replace(step.head, revision=revision)

    # --- writing ---------------------------------------------------------------------------------

    async def _write_few(self, orders: Sequence[Outgoing], revision: int, beside: Awaitable[None]) -> None:
        """Write orders, each by itself, if the head is still there, and do something else at the same time."""
        fenced = (
            fence.write_beside(self._connection, self._acks, order, self._head_subject, revision) for order in orders
        )
        *still, _ = await asyncio.gather(*fenced, beside)
        if not all(still):
            raise _stale()

    async def _write_ahead(self, revision: int, orders: list[Outgoing], room: int) -> tuple[int, list[Outgoing]]:
        """Write the orders that do not fit beside the changes; return the new fence and the rest."""
        found = await self._read_head()
        if (found.seq if found else 0) != revision:
            raise _stale()
        head = _decode_head(found) if found else Head(seq=0, epoch=0, ruleset="")
        ahead, rest = orders[: len(orders) - room], orders[len(orders) - room :]
        for part in _parts(ahead, MAX_CHANGES):
            revision = await self._write(part, head, revision)
            crash_point("engine.ahead")
        return revision, rest

    async def _write(self, messages: Sequence[Outgoing], head: Head, revision: int) -> int:
        """Write messages and the head behind them, if the head's revision is that; return the new one."""
        batch = [*messages, Outgoing(self._head_subject, _encode_head(head))]
        written = await fence.write(self._connection, self._acks, self._stream, batch, revision)
        if written is None:
            raise _stale()
        return written

    # --- reading ---------------------------------------------------------------------------------

    async def _read_head(self) -> Stored | None:
        return await stored.last(self._connection, self._stream, self._head_subject)

    async def _scan_state(self) -> dict[StateKey, dict[str, Any]]:
        state: dict[StateKey, dict[str, Any]] = {}
        pattern = f"{self._subjects.root}.state.{self._partition}.>"
        async for messages in scan(self._connection, self._stream, [pattern]):
            for message in messages:
                if message.data:
                    rule, key, value = from_json(message.data)
                    state[StateKey(rule, key)] = value
        return state

    # --- messages --------------------------------------------------------------------------------

    def _change(self, key: StateKey, value: Mapping[str, JsonValue] | None) -> Outgoing:
        subject = self._state_subject(key)
        if value is None:
            return Outgoing(subject, b"", _KEEP_TOMBSTONE)
        return Outgoing(subject, to_json([key.rule, key.key, value]))

    def _state_subject(self, key: StateKey) -> str:
        """Return where a value stands. A name that is empty or too long for a subject is told apart by its hash."""
        try:
            return self._subjects.state(key.rule, key.key, self._partition)
        except PayloadError:
            return f"{self._subjects.root}.state.{self._partition}._long.{stable_id(key.rule, key.key)}"

    def _order(self, order: Order) -> Outgoing:
        return Outgoing(self._subjects.order(order.id, self._partition), order.encode(), _KEEP_ORDER)


async def _nothing() -> None:
    """Be done."""


def _stale() -> StaleOwnerError:
    return StaleOwnerError("somebody else has moved the engine's head")


def _parts(messages: Sequence[Outgoing], size: int) -> Iterator[Sequence[Outgoing]]:
    for start in range(0, len(messages), size):
        yield messages[start : start + size]


def _encode_head(head: Head) -> bytes:
    return to_json({"seq": head.seq, "epoch": head.epoch, "ruleset": head.ruleset})


def _decode_head(message: Stored) -> Head:
    content = from_json(message.body)
    return Head(content["seq"], content["epoch"], content["ruleset"], message.seq)
