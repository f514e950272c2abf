"""Take the engine's head back where the log ends before it: the log was lost, cut off, or comes from an older copy.

What is written next gets numbers that the head says are decided on. It would be skipped at the next start, and might
be trimmed unread. So this is done before anything is written. It tells what is gone, and decides nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bridge.bus import stored
from bridge.bus.checkpoints import CheckpointWriter
from bridge.bus.connect import Connection
from bridge.bus.engine_store import JetEngineStore
from bridge.bus.marks import Damage
from bridge.contracts import Step

_CATCHES_UP = 5.0
"""Seconds in which a cluster whose leader has just changed may still say less than it has."""


async def rewind(
    connection: Connection, events: str, store: JetEngineStore, checkpoints: CheckpointWriter, *, alone: bool
) -> Damage | None:
    """Return what the engine had read and is there no more; None if all of it is. Raises StoreError.

    `alone`: it is one server, whose first word counts.
    """
    head, last = await store.head(), await stored.end(connection, events)
    patience = asyncio.get_running_loop().time() + (0 if alone else _CATCHES_UP)
    while head is not None and head.seq > last and asyncio.get_running_loop().time() < patience:
        await asyncio.sleep(0.5)
        last = await stored.end(connection, events)
    if head is None or head.seq <= last:
        return None
    head, _ = await store.load()  # with what is left to be copied of its last step
    if head is None or head.seq <= last:
        return None
    await checkpoints.forget_after(last)  # first: once the head is back nobody would come here again
    await store.commit(Step(replace(head, seq=last)))
    return Damage(events, last + 1, head.seq)
