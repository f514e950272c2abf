"""The engine's memory: how far it is, its state, and the orders it gave; the contract is `EngineStore`.

A step is written only if the head is still the one it began with, and its last message is the new
head: state is in one atomic batch with it, a few orders are written before. So state and head move
together or not at all, no head is there without its orders, and of two owners one is refused.

A step of more than one batch (a thousand deadlines at once, a rule with many keys that changes) is laid
out beside the state first; then one head says that it counts, and only then it is copied to its places.
Whoever finds such a head after a crash copies what is left: it is whole or not there, like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import suppress
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
"""Messages beside the head in one batch. A step may have any number of changes and orders."""
MAX_BYTES = 8 * 1024 * 1024
"""Of one batch: more may take longer than a try lasts."""
PART = 512 * 1024
"""Bytes of what is laid out in one message; a value that is larger has one for itself."""
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
        self._parts = f"{self._subjects.root}.state.{partition}._step."

    async def load(self) -> tuple[Head | None, Mapping[StateKey, dict[str, Any]]]:
        """Return the head and all state as of that head, where need be after copying what is left of a long step.

        Raises StoreUnavailableError.
        """
        while True:
            found = await self._read_head()
            if found is not None and (parts := _parts_of(found)):
                with suppress(StaleOwnerError):  # somebody else copies it as well
                    await self._copy(_decode_head(found), await self._read_parts(parts), found.seq, parts)
                continue
            state = await self._scan_state()
            if found == await self._read_head():  # otherwise somebody wrote while we read
                return (None if found is None else _decode_head(found)), state

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
        known to be written: then `load` tells.
        """
        changes = [self._change(key, value) for key, value in step.changed.items()]
        orders = [self._order(order) for order in step.orders]
        few, many = (orders, []) if len(orders) <= FEW else ([], orders)
        await self._write_few(few, step.head.revision, beside or _nothing())
        if few:
            crash_point("engine.ordered")
        head = step.head
        ahead, rest = _divided(changes, many)
        if ahead:
            head = await self._write_ahead(head, ahead)
        if _fits(changes):
            revision = await self._write([*changes, *rest], head, head.revision)
        else:
            revision = await self._write_long(step.changed, changes, head)
        return replace(head, revision=revision)

    # --- writing ---------------------------------------------------------------------------------

    async def _write_few(self, orders: Sequence[Outgoing], revision: int, beside: Awaitable[None]) -> None:
        """Write orders, each by itself, if the head is still there, and do something else at the same time."""
        fenced = (
            fence.write_beside(self._connection, self._acks, order, self._head_subject, revision) for order in orders
        )
        *still, _ = await asyncio.gather(*fenced, beside)
        if not all(still):
            raise _stale()

    async def _write_ahead(self, head: Head, messages: Sequence[Outgoing]) -> Head:
        """Write messages under the head that stands there; return the new head with the new fence."""
        found = await self._read_head()
        if (found.seq if found else 0) != head.revision:
            raise _stale()
        stands, revision = _decode_head(found) if found else Head(seq=0, epoch=0, ruleset=""), head.revision
        for batch in _batches(messages):
            revision = await self._write(batch, stands, revision)
            crash_point("engine.ahead")
        return replace(head, revision=revision)

    async def _write_long(
        self, changed: Mapping[StateKey, Mapping[str, JsonValue] | None], changes: Sequence[Outgoing], head: Head
    ) -> int:
        """Write more changes than go into one batch; return the head's new revision."""
        parts = [Outgoing(self._part_subject(number), body) for number, body in enumerate(_laid_out(changed))]
        head = await self._write_ahead(head, parts)
        revision = await self._write([], head, head.revision, parts=len(parts))
        crash_point("engine.long")
        return await self._copy(head, changes, revision, len(parts))

    async def _copy(self, head: Head, changes: Sequence[Outgoing], revision: int, parts: int) -> int:
        """Copy a long step to where its values belong; then it is one like others. Return the head's new revision."""
        for batch in _batches(changes):
            revision = await self._write(batch, head, revision, parts=parts)
            crash_point("engine.copied")
        revision = await self._write([], head, revision)
        for batch in _batches([Outgoing(self._part_subject(number), b"", _KEEP_TOMBSTONE) for number in range(parts)]):
            revision = await self._write(batch, head, revision)
        return revision

    async def _write(self, messages: Sequence[Outgoing], head: Head, revision: int, *, parts: int = 0) -> int:
        """Write messages and the head behind them, if the head's revision is that; return the new one.

        `parts`: of a long step that counts from here on, and is not copied yet.
        """
        batch = [*messages, Outgoing(self._head_subject, _encode_head(head, parts))]
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
                if message.data and not message.subject.startswith(self._parts):
                    rule, key, value = from_json(message.data)
                    state[StateKey(rule, key)] = value
        return state

    async def _read_parts(self, count: int) -> list[Outgoing]:
        """Return the changes of a long step that is not copied yet. Raises StoreError if one is missing."""
        changes: list[Outgoing] = []
        for number in range(count):
            part = await stored.last(self._connection, self._stream, self._part_subject(number))
            if part is None or not part.body:
                raise StoreError(f"part {number} of the engine's last step is missing")
            changes += [self._change(StateKey(rule, key), value) for rule, key, value in from_json(part.body)]
        return changes

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

    def _part_subject(self, number: int) -> str:
        return f"{self._parts}{number}"

    def _order(self, order: Order) -> Outgoing:
        return Outgoing(self._subjects.order(order.id, self._partition), order.encode(), _KEEP_ORDER)


async def _nothing() -> None:
    """Be done."""


def _stale() -> StaleOwnerError:
    return StaleOwnerError("somebody else has moved the engine's head")


def _fits(messages: Sequence[Outgoing]) -> bool:
    """Tell whether messages go into one batch with the head."""
    return len(messages) <= MAX_CHANGES and sum(message.size for message in messages) <= MAX_BYTES


def _divided(changes: Sequence[Outgoing], orders: Sequence[Outgoing]) -> tuple[Sequence[Outgoing], Sequence[Outgoing]]:
    """Return the orders that go ahead, and those that go into one batch with the changes and the head."""
    first, count, size = len(orders), len(changes), sum(message.size for message in changes)
    while first and count < MAX_CHANGES and size + orders[first - 1].size <= MAX_BYTES:
        first, count, size = first - 1, count + 1, size + orders[first - 1].size
    return orders[:first], orders[first:]


def _batches(messages: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Divide messages into batches that fit."""
    batch: list[Outgoing] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == MAX_CHANGES or size + message.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message.size
    if batch:
        yield batch


def _laid_out(changed: Mapping[StateKey, Mapping[str, JsonValue] | None]) -> Iterator[bytes]:
    """Return changes in few messages, to be copied from there."""
    texts: list[bytes] = []
    size = 0
    for key, value in changed.items():
        text = to_json([key.rule, key.key, value])
        if texts and size + len(text) > PART:
            yield b"[" + b",".join(texts) + b"]"
            texts, size = [], 0
        texts.append(text)
        size += len(text)
    yield b"[" + b",".join(texts) + b"]"


def _encode_head(head: Head, parts: int) -> bytes:
    content = {"seq": head.seq, "epoch": head.epoch, "ruleset": head.ruleset}
    return to_json({**content, "parts": parts} if parts else content)


def _parts_of(message: Stored) -> int:
    """Return how many parts of a long step are not copied yet."""
    return int(from_json(message.body).get("parts", 0))


def _decode_head(message: Stored) -> Head:
    content = from_json(message.body)
    return Head(content["seq"], content["epoch"], content["ruleset"], message.seq)
