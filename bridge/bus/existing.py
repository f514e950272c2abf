"""A nats-server that is not ours: whether the bridge can live on it. `run` and `doctor` ask the same here.

Whether such a server syncs what it writes is nowhere in what it tells a client; `SYNC` says what it must be set to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bridge.bus import binary, streams
from bridge.bus.connect import Connection
from bridge.config.models import BusConfig
from bridge.errors import StartError, StoreUnavailableError

SYNC = (
    (
        "whether it syncs each write cannot be seen from here; a stock nats-server does so every 2 minutes, "
        "and a power cut then loses events that were acknowledged"
    ),
    "set `sync_interval: always` in its `jetstream` section, or `bus.replicas: 3` on a cluster of three machines",
)
"""What weakens the promise, and what keeps it."""
LARGEST_MESSAGE = 1024 * 1024
"""Bytes of a message that it must take, headers included: events and orders are made to fit that."""
SAFE_COPIES = 3
"""So many copies survive a power cut of one machine without being synced."""


async def examine(connection: Connection, site: str, config: BusConfig) -> None:
    """Look whether `run` would take this server; changes nothing there. Raises StartError."""
    new_enough(connection)
    with jetstream(connection):
        await streams.changes(connection, streams.table(site, config, None), config.replicas)


def new_enough(connection: Connection) -> None:
    """Raise StartError for a server with known holes, or one that does not take every message of ours."""
    if connection.version < binary.OLDEST:
        oldest = ".".join(map(str, binary.OLDEST))
        raise StartError(f"NATS at {connection.address} is older than {oldest}", "upgrade it")
    if connection.max_payload < LARGEST_MESSAGE:
        # An event beyond it would be sent again for ever, with all of its source behind it.
        raise StartError(
            f"NATS at {connection.address} takes no message of more than {connection.max_payload} bytes",
            f"set `max_payload` there to {LARGEST_MESSAGE} (1MB, its default) or more",
        )


@contextmanager
def jetstream(connection: Connection) -> Iterator[None]:
    """Turn a JetStream that does not answer, or that this user may not use, into a StartError."""
    try:
        yield
    except StoreUnavailableError as exc:
        raise StartError(f"NATS at {connection.address} has no JetStream ({exc})", "turn JetStream on there") from exc
