"""Every stream and bucket of a site in one table, made and brought up to date idempotently.

Names carry the site, so that several sites can share a cluster: `VMS-<site>-EVENTS`, and for a
bucket `KV_VMS-<site>-state`, which NATS' own tools list as the bucket `VMS-<site>-state`. A site's
name may hold what a stream's may not: everything but letters, digits and `-` becomes `_` and two
hex digits.

All retention is by limits: a work queue forgets its duplicate ids when it restarts, and an
acknowledgement is not a record of anything.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from bridge.bus.connect import Connection
from bridge.bus.wire import STREAM_NOT_FOUND, RefusedError
from bridge.config.models import BusConfig
from bridge.errors import StartError
from bridge.schema.orders import ActionClass
from bridge.schema.subjects import Subjects, escape

_log = logging.getLogger(__name__)

_MIB = 1024**2
_NANOSECONDS = 1_000_000_000
_DAY = timedelta(days=1)
_UNSAFE = re.compile(rb"[^A-Za-z0-9-]")

REJECTED_FROM = 1_000_000_000_000
"""The first number of REJECTED. Dead letters are numbered as one: below it they stand in DLQ."""
FROM_OUTSIDE = "message"
"""The class of dead letters that are messages somebody sent us and nobody understood."""
GIVEN_UP = (*(each.value for each in ActionClass), "order", "event", "record")
"""The classes of all others: orders by their own class, and what stands in our streams and cannot be read."""

BUCKETS = ("state", "lists", "modes", "cursors", "leases", "rulesets")
"""Projections for other parts to read, and rule sets by content hash. The truth is in EVENTS."""


def stream_name(site: str, stream: str) -> str:
    """Return a stream's name on the server."""
    return f"VMS-{_UNSAFE.sub(lambda m: b'_%02X' % m[0][0], site.encode()).decode()}-{stream}"


def bucket_name(site: str, bucket: str) -> str:
    """Return a bucket's name on the server; its stream is `KV_` and that."""
    return stream_name(site, bucket)


def bucket_stream(site: str, bucket: str) -> str:
    """Return the name of the stream behind a bucket."""
    return f"KV_{bucket_name(site, bucket)}"


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream as it should be."""

    name: str
    subjects: tuple[str, ...]
    why: str
    max_age: timedelta = timedelta(0)
    max_bytes: int = -1
    per_subject: int = -1
    discard: Literal["old", "new"] = "old"
    duplicates: timedelta = timedelta(minutes=2)
    rollup: bool = False
    first_seq: int = 0
    """The number of its first message, where it is not 1."""

    def config(self, replicas: int) -> dict[str, Any]:
        """Return the server's form of it: only what we decide, the rest is the server's default."""
        window = min(self.duplicates, self.max_age) if self.max_age else self.duplicates
        return {
            "name": self.name,
            "description": self.why,
            "subjects": list(self.subjects),
            "retention": "limits",
            "storage": "file",
            "num_replicas": replicas,
            "max_age": _nanoseconds(self.max_age),
            "max_bytes": self.max_bytes,
            "max_msgs_per_subject": self.per_subject,
            "discard": self.discard,
            "duplicate_window": _nanoseconds(window),
            "allow_atomic": True,
            "allow_msg_ttl": True,
            "allow_direct": True,
            "allow_rollup_hdrs": self.rollup,
            **({"first_seq": self.first_seq} if self.first_seq else {}),
        }


def table(site: str, config: BusConfig, sizes: Mapping[str, int] | None = None) -> tuple[Stream, ...]:
    """Return every stream of a site. `sizes` are the shares of a known disk; without them the wishes count."""
    subjects = Subjects(site)
    size = {"EVENTS": config.max_bytes, "RESULTS": 1024 * _MIB, "DLQ": 512 * _MIB, "TRACES": 512 * _MIB}
    size |= {"CHECKPOINTS": 512 * _MIB, "REJECTED": 128 * _MIB, **(sizes or {})}
    own = [
        Stream(
            stream_name(site, "EVENTS"),
            (f"{subjects.root}.event.>",),
            "What happened; everything the engine may look at.",
            # Without `max_age`: it would take what nobody has decided on. See `trimming`.
            max_bytes=size["EVENTS"],
            # Every id costs 320 bytes of the server's memory; longer memory is the cursors' business.
            duplicates=timedelta(minutes=10),
        ),
        Stream(
            stream_name(site, "ENGINE"),
            tuple(f"{subjects.root}.{part}.>" for part in ("head", "state", "order", "effect")),
            "The engine's position and state, its orders, and what became of them.",
            per_subject=1,
            discard="new",
        ),
        Stream(
            stream_name(site, "RESULTS"),
            (f"{subjects.root}.result.>",),
            "The end of each order: the audit trail.",
            max_age=365 * _DAY,
            max_bytes=size["RESULTS"],
        ),
        Stream(
            stream_name(site, "DLQ"),
            tuple(f"{subjects.root}.dlq.{escape(each)}.>" for each in GIVEN_UP),
            "What was given up, kept for a person to look at.",
            max_age=90 * _DAY,
            max_bytes=size["DLQ"],
            duplicates=timedelta(minutes=10),
        ),
        # After DLQ, which once had its subject. With room of its own: whoever may send us messages could otherwise
        # push out, with nonsense, the orders that were given up.
        Stream(
            stream_name(site, "REJECTED"),
            (f"{subjects.root}.dlq.{FROM_OUTSIDE}.>",),
            "What somebody sent and nobody understood, kept for a person to look at.",
            max_age=90 * _DAY,
            max_bytes=size["REJECTED"],
            duplicates=timedelta(minutes=10),
            first_seq=REJECTED_FROM,
        ),
        Stream(
            stream_name(site, "TRACES"),
            (f"{subjects.root}.trace.>",),
            "Why rules fired, or did not.",
            max_age=config.keep,
            max_bytes=size["TRACES"],
        ),
        Stream(
            stream_name(site, "CHECKPOINTS"),
            (f"{subjects.root}.checkpoint.>",),
            "What the engine knew at places of the log, for looking back.",
            # One is of no use any more when the events after it are gone, which are as old as it is.
            max_age=config.keep,
            max_bytes=size["CHECKPOINTS"],
            per_subject=1,
        ),
    ]
    buckets = [
        Stream(
            bucket_stream(site, bucket),
            (f"$KV.{bucket_name(site, bucket)}.>",),
            "",
            per_subject=1,
            discard="new",
            rollup=True,
        )
        for bucket in BUCKETS
    ]
    return (*own, *buckets)


async def ensure(connection: Connection, streams: tuple[Stream, ...], replicas: int) -> None:
    """Make the streams that are missing and change those that are different.

    Raises StartError when the server will not have one, StoreUnavailableError when it does not answer.
    """
    for name, (verb, config) in (await changes(connection, streams, replicas)).items():
        try:
            await connection.api(f"STREAM.{verb}.{name}", config)
        except RefusedError as exc:
            raise StartError(
                f"NATS refuses the stream {name} ({exc})",
                "JetStream must be on, with room for it, and nobody else may use its subjects",
            ) from exc


async def changes(
    connection: Connection, streams: tuple[Stream, ...], replicas: int
) -> dict[str, tuple[Literal["CREATE", "UPDATE"], dict[str, Any]]]:
    """Return what has to be done, by stream. Raises StoreUnavailableError."""
    todo: dict[str, tuple[Literal["CREATE", "UPDATE"], dict[str, Any]]] = {}
    for stream in streams:
        wanted = stream.config(replicas)
        try:
            present = (await connection.api(f"STREAM.INFO.{stream.name}"))["config"]
        except RefusedError as exc:
            if exc.code != STREAM_NOT_FOUND:
                raise
            todo[stream.name] = "CREATE", wanted
            continue
        different = sorted(key for key, value in wanted.items() if present.get(key, _absent(value)) != value)
        if different:
            _log.info("a stream has to change", extra={"stream": stream.name, "settings": different})
            todo[stream.name] = "UPDATE", {**present, **wanted}
    return todo


def _absent(value: Any) -> Any:
    """Return what it means that the server leaves a setting out: false, empty or nothing."""
    return type(value)()


def _nanoseconds(span: timedelta) -> int:
    return int(span.total_seconds() * _NANOSECONDS)
