"""Who may say and hear what on the bus: one user for each role, with just the subjects it needs.

The bridge in one process is one user that may do everything, for it makes the streams. Whatever
runs apart from it, or only looks, logs in as its role. What a role may not write it cannot write
by mistake either: a connector that is fooled by a camera cannot place an order, a reader cannot
change anything.

Streams are made and changed by the bridge's own user alone. A reader may make short-lived consumers
of its own, but not touch those the engine and the runners are served by.

What this cannot do: nats-server sends an answer to whatever subject the question names, whether the
asker may publish there or not. So whoever may read a stream can have one of its messages delivered
to the subject of an order. A copy of an order changes nothing, the ledger knows it; but a role that
both writes events and reads them could forge one if its process were taken over. Roles that face
the network and need no reading (`media`, `mqtt`) therefore have none, and nobody but the runners may use the
direct gets, which answer with bodies as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bridge.bus.streams import BUCKETS, bucket_name, bucket_stream, stream_name
from bridge.schema.subjects import Subjects

Role = Literal["connectors", "engine", "actions", "media", "api", "mqtt", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)

ENGINE_READER, ORDER_READER = "engine-0", "runners"
"""Consumers that only their owners may ask, delete or acknowledge for."""

_STREAMS = ("EVENTS", "ENGINE", "RESULTS", "DLQ", "REJECTED", "TRACES", "CHECKPOINTS")
_LOOK = ("STREAM.INFO.{}", "STREAM.MSG.GET.{}")
_CONSUME = ("CONSUMER.CREATE.{}.>", "CONSUMER.INFO.{}.*", "CONSUMER.MSG.NEXT.{}.*", "CONSUMER.DELETE.{}.*")
_OWNED = (
    "CONSUMER.CREATE.*.{0}", "CONSUMER.CREATE.*.{0}.>", "CONSUMER.MSG.NEXT.*.{0}", "CONSUMER.DELETE.*.{0}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grant:
    """What a role does: subjects it writes (after `vms.<site>.`), what it reads, the consumer it owns."""

    writes: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    """Subjects among them that it does not write all the same."""
    buckets: tuple[str, ...] = ()
    """Buckets it writes to."""
    reads: tuple[str, ...] = ()
    """Streams it reads; all buckets may be read by everybody who reads anything."""
    direct: tuple[str, ...] = ()
    """Streams of which it may ask for messages as they are."""
    purges: tuple[str, ...] = ()
    """Streams from which it may delete."""
    owns: tuple[str, str] | None = None
    """Stream and name of its durable consumer."""


_PEOPLE = ("event.bridge.command.>",)
"""What speaks for people: who serves none cannot make one up."""
_RULES = ("event.bridge.rules.>", "event.bridge.settings.>")
"""What lets other rules decide, or other settings count."""

GRANTS: dict[Role, Grant] = {
    "connectors": Grant(
        writes=("event.>", "dlq.message.>"),
        never=("event.bridge.>",),  # what it says of a source is filed under that source
        buckets=("state", "cursors", "leases"),
        reads=("EVENTS",),
    ),
    "engine": Grant(
        writes=("event.bridge.>", "head.>", "state.>", "order.>", "trace.>", "checkpoint.>", "dlq.event.>"),
        never=_PEOPLE,
        buckets=("state", "lists", "modes", "rulesets"),
        reads=("EVENTS", "ENGINE", "CHECKPOINTS"),
        purges=("CHECKPOINTS",),
        owns=("EVENTS", ENGINE_READER),
    ),
    "actions": Grant(
        writes=("event.bridge.>", "event.*.clip.>", "effect.>", "result.>", "dlq.>"),
        never=(*_PEOPLE, *_RULES),
        buckets=("state", "cursors", "leases"),
        reads=("EVENTS", "ENGINE", "RESULTS"),
        direct=("ENGINE",),  # the audit trail is made of the ledger's records
        owns=("ENGINE", ORDER_READER),
    ),
    "media": Grant(writes=("event.*.clip.>",)),
    "api": Grant(
        writes=("event.>", "dlq.message.>"),
        never=(*_RULES, "event.bridge.rule.>", "event.bridge.action.>", "event.bridge.bridge.>"),
        buckets=("state", "lists", "modes"),
        reads=_STREAMS,
    ),
    "mqtt": Grant(writes=("event.*.custom.>",)),
    "reader": Grant(reads=_STREAMS),
}
"""`connectors` and `api` take events in from outside, so they write those of any source, and what nobody understood.

Of the bridge's own events each role writes those that are its business: a connector that was taken over can
say anything of cameras, and nothing of lists, rules or people.
"""


def user(role: Role) -> str:
    """Return the name a role logs in with; no user's own choice of a name is likely to be the same."""
    return f"vms-bridge/{role}"


def inbox(role: Role) -> str:
    """Return where a role gets its answers: nobody else may listen there."""
    return f"_INBOX_{role}"


def permissions(site: str, role: Role) -> dict[str, Any]:
    """Return a role's permissions in the form of nats-server's configuration."""
    grant, root = GRANTS[role], Subjects(site).root
    allow = [f"{root}.{subject}" for subject in grant.writes]
    allow += [f"$KV.{bucket_name(site, bucket)}.>" for bucket in grant.buckets]
    streams = [stream_name(site, stream) for stream in grant.reads]
    streams += [bucket_stream(site, bucket) for bucket in BUCKETS if grant.reads]
    allow += _api(verb.format(stream) for stream in streams for verb in (*_LOOK, *_CONSUME))
    allow += _api(f"DIRECT.GET.{stream_name(site, stream)}" for stream in grant.direct)
    allow += _api(f"STREAM.PURGE.{stream_name(site, stream)}" for stream in grant.purges)
    foreign = [name for name in (ENGINE_READER, ORDER_READER) if grant.owns is None or grant.owns[1] != name]
    denied = _api(verb.format(name) for name in foreign for verb in _OWNED)
    denied += [f"{root}.{subject}" for subject in grant.never]
    if grant.owns is not None:
        allow.append(f"$JS.ACK.{stream_name(site, grant.owns[0])}.{grant.owns[1]}.>")
    return {
        "publish": {"allow": allow, "deny": denied},
        "subscribe": {"allow": [f"{inbox(role)}.>"]},
    }


def _api(verbs: Iterable[str]) -> list[str]:
    return [f"$JS.API.{verb}" for verb in verbs]
