"""Write only if nobody else has written since, and know for certain whether one has.

The server compares and sets; but its answer can be lost, and then the write may be done, not done,
or still on its way. So each write carries a mark, is repeated behind the same fence, which makes
repeating harmless, and is looked for by its mark. Nobody takes another's write for his own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from bridge.bus import stored
from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.stored import Stored
from bridge.bus.wire import BATCH_INCOMPLETE, EXPECTED, EXPECTED_SUBJECT, Outgoing, RefusedError
from bridge.errors import StoreUnavailableError

_MARK = "Vms-Mark"
_PATIENCE = 20.0
"""Seconds to go on trying. A cluster that loses a leader pauses up to 13 s."""
_ATTEMPT = 5.0


async def write(
    connection: Connection, acks: Acks, stream: str, messages: Sequence[Outgoing], revision: int
) -> int | None:
    """Store messages atomically if the last one's subject still stands at `revision` (0: nothing stands there).

    Returns the last one's new revision, or None if somebody else has written and nothing was
    stored. Raises StoreUnavailableError when it is not known whether it is stored, or will be.
    """
    mark = secrets.token_hex(8)
    *others, last = messages
    batch = [*others, last._replace(headers={**last.headers, EXPECTED: str(revision), _MARK: mark})]
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    first = True
    while True:
        try:
            return (await acks.store(batch, _ATTEMPT)).seq
        except RefusedError as exc:
            if exc.stale and first:
                return None
            if not exc.stale and exc.code != BATCH_INCOMPLETE:
                raise
            error: StoreUnavailableError = exc
        except StoreUnavailableError as exc:
            error = exc
        first = False
        if asyncio.get_running_loop().time() >= deadline:
            raise error
        await _pause(connection)
        known, found = await _look(connection, stream, last.subject)
        if not known:
            continue
        if found is not None and found.headers.get(_MARK) == mark:
            return found.seq
        if (found.seq if found else 0) != revision:
            return None


async def write_beside(connection: Connection, acks: Acks, message: Outgoing, subject: str, revision: int) -> bool:
    """Store a message if another subject still stands at `revision`; return whether it does.

    Only for what may be stored twice: it is sent again until it is answered.
    Raises StoreUnavailableError when it is not known whether it is stored.
    """
    fenced = message._replace(headers={**message.headers, EXPECTED: str(revision), EXPECTED_SUBJECT: subject})
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        try:
            await acks.store([fenced], _ATTEMPT)
            return True
        except RefusedError as exc:
            if exc.stale:
                return False
            raise
        except StoreUnavailableError:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await _pause(connection)


async def _look(connection: Connection, stream: str, subject: str) -> tuple[bool, Stored | None]:
    """Return whether we could look, and what stands there."""
    try:
        async with asyncio.timeout(_ATTEMPT):
            return True, await stored.last(connection, stream, subject)
    except (StoreUnavailableError, TimeoutError):
        return False, None


async def _pause(connection: Connection) -> None:
    """Wait a moment, or until the server is back if it is away."""
    try:
        async with asyncio.timeout(1.0):
            await connection.wait_connected()
    except TimeoutError:
        return
    await asyncio.sleep(0.02)
