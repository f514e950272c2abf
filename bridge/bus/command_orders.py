"""Orders that people give, put beside those of the engine; runners see no difference.

Not fenced by the engine's head: a person's order depends on no state of the engine, and its id is
written once or not at all.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.wire import EXPECTED, TTL, Outgoing
from bridge.contracts import EffectLedger
from bridge.schema.orders import Order, Result
from bridge.schema.subjects import Subjects

KEPT = timedelta(days=30)
ENDS_WITHIN = 25.0
"""Seconds after which whoever asked is told that it has not ended."""
_PATIENCE = 3.0
_LOOK = 0.05


class CommandOrders:
    """The way from the desk to the runners."""

    def __init__(self, connection: Connection, site: str, effects: EffectLedger, partition: int = 0) -> None:
        self._acks = Acks(connection)
        self._subjects, self._effects, self._partition = Subjects(site), effects, partition

    async def submit(self, order: Order) -> Result | None:
        """Store an order and return its end; None if it has not ended in time. Raises StoreUnavailableError."""
        headers = {TTL: str(int(KEPT.total_seconds())), EXPECTED: "0"}
        message = Outgoing(self._subjects.order(order.id, self._partition), order.encode(), headers)
        await self._acks.store([message], _PATIENCE)
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                return await self._end(order.id)
        except TimeoutError:
            return None

    async def _end(self, order: str) -> Result:
        while True:
            found = await self._effects.find(order)
            if found is not None and found.effect.result is not None:
                return found.effect.result
            await asyncio.sleep(_LOOK)
