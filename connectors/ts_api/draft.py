"""What lies between a message and its events: where the message came from, and what a reader made of it.

A reader says what happened, to whom, and which part of the message said so. Identity, time, provenance
and the kept original are added in one place, `decode.py`, alike for every topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from pydantic import ValidationError

from bridge.sdk import Origin, Payload, PayloadError, kinds, stable_id

from .times import Moment, read
from .values import Dialect, channels, redact

MISSING, WRONG = "missing_field", "bad_field"
"""Reasons a part is refused: a member that is needed is not there, or says something impossible."""

MAX_PARTS = 10_000
"""Channels, lots or plates in one message; the largest servers have some hundreds."""

Message = Mapping[str, Any]


@dataclass(slots=True)
class DecodeContext:
    """What a message does not say about itself; whoever reads many of one connection fills it in for each.

    `topic` is the connection's, for messages without one. `snapshot` says that this message is the
    first of a topic whose first message is the present state. `codes` names the table of status codes,
    where the connection has shown another than its dialect's. `zone` is for times without offset.
    """

    site: str
    source: str
    received: datetime
    dialect: Dialect = "v0"
    topic: str | None = None
    zone: tzinfo = UTC
    snapshot: bool = False
    codes: Dialect | None = None
    origin: Origin = Origin.LIVE
    via: str = "ws"
    principal: str | None = None
    keep_raw: bool = True

    def moment(self, value: Any) -> Moment | None:
        """Return the moment a member names: None if it is not there; the receipt, in doubt, if it names none."""
        return None if value is None else read(value, self.zone) or self.doubtful()

    def doubtful(self) -> Moment:
        """Return the moment of what says when, but not so that it can be: 1970, nonsense, one of two hours."""
        return Moment(self.received, "doubtful")

    def time(self, value: Any) -> datetime | None:
        """Return the time a member names, for times besides the event's own."""
        moment = read(value, self.zone)
        return moment.time if moment else None

    def correlation(self, *parts: object) -> str:
        """Return what ties the parts of one happening at this source together."""
        return stable_id(self.site, self.source, *parts)


class Draft(NamedTuple):
    """One thing that happened. `part` is the message with nothing in it but this; `key` tells equal parts apart."""

    kind: str
    subject: str | None
    data: Payload
    part: Message
    moment: Moment | None
    snapshot: bool = False
    correlation: str | None = None
    key: str = ""
    identity: tuple[object, ...] | None = None
    """What the id is made of, where the same thing may come in other words; otherwise the whole part."""
    unique: bool = False
    """The part cannot come twice for different happenings, even without a time of its own."""


Drafted = Draft | PayloadError
Reader = Callable[[Message, DecodeContext], Iterator[Drafted]]
"""Reads one topic. A part that cannot be used is yielded as an error, and the others go on."""


def need(value: Any, name: str, message: Message) -> Any:
    """Return a value that must be there. Raises PayloadError."""
    if value is None:
        reason = MISSING if message.get(name) is None else WRONG
        raise PayloadError(reason, f"{name} is {'missing' if reason == MISSING else 'not usable'}")
    return value


def each(parts: Any, name: str, read_part: Callable[[int, Message], Drafted]) -> Iterator[Drafted]:
    """Yield what each part of an array says; the member must be there and be an array."""
    if not isinstance(parts, list):
        raise PayloadError(MISSING if parts is None else WRONG, f"{name} is not an array")
    if len(parts) > MAX_PARTS:
        raise PayloadError("too_many_items", f"{name} has {len(parts)} parts; at most {MAX_PARTS} in one message")
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            yield PayloadError(WRONG, f"{name}[{index}] is not an object")
            continue
        try:
            yield read_part(index, part)
        except ValidationError as exc:
            yield refusal(exc)
        except PayloadError as error:
            yield PayloadError(error.reason, f"{name}[{index}]: {error}")


def part_of(message: Message, name: str, part: Message) -> Message:
    """Return the message with nothing in one of its arrays but this part, and no other structures around it."""
    return {
        member: [part] if member == name else value
        for member, value in message.items()
        if member == name or not isinstance(value, dict | list)
    }


def refusal(exc: ValidationError) -> PayloadError:
    """Say which field of a payload is wrong, and not what it holds."""
    first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    return PayloadError(WRONG, f"{where}: {first['msg']}")


def opaque(topic: str, message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Pass on what has no kind of its own: packing, vehicleTracking, a word newer than this table (R-15)."""
    named = channels(message.get("chid")) or channels(message.get("channel"))
    data = kinds.VendorEvent(topic=topic, body=redact(message))
    moment = context.moment(message.get("timestamp"))
    yield Draft("vendor.event", named[0] if len(named) == 1 else None, data, message, moment)
