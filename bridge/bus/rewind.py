"""Take the engine's head back where the log ends before it: the log was lost, cut off, or comes from an older copy.

What is written next gets numbers that the head says are decided on. It would be skipped at the next start, and might
be trimmed unread. So this is done before anything is written. It tells what is gone, and decides nothing.
"""

from __future__ import annotations

from dataclasses import replace

from bridge.bus import stored
from bridge.bus.checkpoints import CheckpointWriter
from bridge.bus.connect import Connection
from bridge.bus.engine_store import JetEngineStore
from bridge.bus.marks import Damage
from bridge.contracts import Step


async def rewind(
    connection: Connection, events: str, store: JetEngineStore, checkpoints: CheckpointWriter
) -> Damage | None:
    """Return what the engine had read and is there no more; None if all of it is. Raises StoreError."""
    head = await store.head()
    if head is None or head.seq <= (last := await stored.end(connection, events)):
        return None
    head, _ = await store.load()  # with what is left to be copied of its last step
    if head is None or head.seq <= last:
        return None
    await checkpoints.forget_after(last)  # first: once the head is back nobody would come here again
    await store.commit(Step(replace(head, seq=last)))
    return Damage(events, last + 1, head.seq)
