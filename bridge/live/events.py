"""What is changed while the bridge runs becomes an event of the bridge's own, with who wanted it."""

from __future__ import annotations

import asyncio
from datetime import datetime

from bridge.contracts import Emit
from bridge.errors import StoreUnavailableError
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import Payload

STORED_WITHIN = 3.0
"""Seconds that a change may take to be written down, before it is refused."""


def change_event(site: str, kind: str, data: Payload, at: datetime, who: str | None, via: str = "api") -> VmsEvent:
    """Return the event of a change; `who` is the person or client that asked for it, by `via`."""
    event = own_event(site, kind, data, at)
    if who is None:
        return event
    return event.model_copy(update={"origin": Origin.COMMAND, "via": via, "principal": who})


async def stored(emit: Emit, event: VmsEvent) -> None:
    """Write an event down; returns when it is synced. Raises StoreUnavailableError."""
    try:
        async with asyncio.timeout(STORED_WITHIN):
            await (await emit([event]))
    except TimeoutError as exc:
        raise StoreUnavailableError("it cannot be written down now") from exc
