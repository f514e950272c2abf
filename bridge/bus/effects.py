"""The effect ledger: which order is being done, was done, and how it ended; the contract is `EffectLedger`.

A claim is an insert where nothing stands; a change names the revision it replaces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from bridge.bus import fence, stored
from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.engine_store import ORDERS_KEPT
from bridge.bus.pull import scan
from bridge.bus.stored import Stored
from bridge.bus.wire import TTL, Outgoing
from bridge.contracts import Claimed
from bridge.errors import StaleOwnerError
from bridge.schema.orders import Effect, Result
from bridge.schema.subjects import Subjects

_STATUS = "Vms-Status"
"""The record's status beside it, so that the scan at start reads headers and not a month of bodies."""


async def write_end(ledger: JetEffectLedger, result: Result, executor: str) -> None:
    """Write down how something ended that the queue never gave out; the same again changes nothing.

    The audit trail and the event are made of it as of any end. Raises StoreUnavailableError.
    """
    effect = Effect(
        order=result.order,
        action_class=result.action_class,
        status="ended",
        attempt=1,
        executor=executor,
        claimed=result.ended,
        result=result,
    )
    await ledger.claim(effect)


class JetEffectLedger:
    """The ledger of one site."""

    def __init__(self, connection: Connection, acks: Acks, stream: str, site: str) -> None:
        self._connection, self._acks, self._stream = connection, acks, stream
        self._subjects = Subjects(site)

    async def claim(self, effect: Effect) -> Claimed | None:
        """Insert the first record of an order; None if there is one already. Raises StoreUnavailableError."""
        revision = await self._write(effect, 0)
        return None if revision is None else Claimed(effect, revision)

    async def find(self, order: str) -> Claimed | None:
        """Return an order's record. Raises StoreUnavailableError."""
        found = await self._read(order)
        return None if found is None else Claimed(Effect.decode(found.body), found.seq)

    async def update(self, claimed: Claimed, effect: Effect) -> Claimed:
        """Replace a record. Raises StaleOwnerError if it changed meanwhile, StoreUnavailableError."""
        revision = await self._write(effect, claimed.revision)
        if revision is None:
            raise StaleOwnerError(f"the record of order {effect.order} was changed by somebody else")
        return Claimed(effect, revision)

    async def unfinished(self) -> AsyncIterator[str]:
        """Yield the id of every order whose record has not ended. Raises StoreUnavailableError; then begin again."""
        subject = f"{self._subjects.root}.effect.*"
        async for messages in scan(self._connection, self._stream, [subject], headers_only=True):
            for message in messages:
                if message.headers.get(_STATUS) != "ended":
                    yield self._subjects.order_of(message.subject)

    async def _write(self, effect: Effect, revision: int) -> int | None:
        """Write a record if the present one is that; return the new revision, None if it is not."""
        headers = {TTL: str(int(ORDERS_KEPT.total_seconds())), _STATUS: effect.status}
        message = Outgoing(self._subjects.effect(effect.order), effect.encode(), headers)
        return await fence.write(self._connection, self._acks, self._stream, [message], revision)

    async def _read(self, order: str) -> Stored | None:
        return await stored.last(self._connection, self._stream, self._subjects.effect(order))
