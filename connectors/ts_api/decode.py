"""Turn one TS-API message into events. Pure: no clock, no sockets, no memory of earlier messages.

What a message belongs to is decided by `classify`, what it says by the readers of `topics.py`; here
every event gets its identity, its time, its provenance and the original it was made from. A message
that cannot be used raises `PayloadError`, and nothing else is ever raised, whatever the message.

Identity. An event's id is made from the source, the topic and the part of the message that says this
one thing, so the same message gives the same ids however often it comes. The time of receipt becomes
part of it only where the message names neither a usable time nor a picture of its own; such repeats are
told apart, and `stream.py` drops those that say nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from bridge.sdk import RAW_LIMIT, Origin, PayloadError, VmsEvent, stable_id

from .draft import WRONG, DecodeContext, Draft, Message, refusal
from .times import UNTIMED, Moment
from .topics import Topic, topic
from .values import fits_subject, is_suspect, redact, text

__all__ = [
    "Control",
    "DecodeContext",
    "Decoded",
    "build",
    "classify",
    "compact",
    "decode",
    "decode_parts",
    "original",
    "understand",
]

_CONTROLS: Mapping[str, Literal["subscribed", "unsubscribed", "error"]] = {
    "subscribed": "subscribed",
    "unsubscribed": "unsubscribed",
    "error": "error",
}
_OBJECT_TYPES = frozenset({"face", "human", "vehicle"})
_MAX_PART = 256 * 1024
"""Characters of JSON behind one event; the log takes no message of a mebibyte, and no sane part comes near."""
_MAX_TOPIC = 64


@dataclass(frozen=True, slots=True)
class Control:
    """A message about the connection itself.

    `hello` is the first message of a good subscription, with the topics the server accepted; the
    others are v1's answers to a client message.
    """

    kind: Literal["hello", "subscribed", "unsubscribed", "error"]
    topics: tuple[str, ...] = ()
    subscriber: str | None = None
    message: str | None = None


class Decoded(NamedTuple):
    """What was understood of a message, and why the rest was not."""

    events: Sequence[VmsEvent]
    refused: Sequence[PayloadError] = ()


# --- what a message belongs to ---------------------------------------------------------------------------


def classify(message: Mapping[str, Any], connection_topic: str | None = None) -> Topic | Control:
    """Return the topic of a message, or the control message it is.

    `connection_topic` is for messages without `topic`: object and bodyTemperature come so. Without it
    the shape decides (R-4). Raises PayloadError `untagged` if neither tells.
    """
    control = _control(message)
    if control is not None:
        return control
    name = text(message.get("topic")) or connection_topic or _guess(message)
    if name is None:
        raise PayloadError("untagged", "the message names no topic, and its shape is none of the known ones")
    if len(name) > _MAX_TOPIC:
        raise PayloadError(WRONG, f"a topic of {len(name)} characters")
    return topic(name)


def _control(message: Mapping[str, Any]) -> Control | None:
    named = text(message.get("topic"))
    if "subscriberId" in message:
        listed = message.get("topics")
        topics = tuple(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else ()
        return Control("hello", topics, subscriber=text(message.get("subscriberId")))
    kind = message.get("type")
    if isinstance(kind, str) and kind in _CONTROLS:
        topics = (named,) if named else ()
        return Control(_CONTROLS[kind], topics, message=text(message.get("message")))
    return None


def _guess(message: Mapping[str, Any]) -> str | None:
    if "objId" not in message:
        return None
    # The English guide's bodyTemperature sample says `type: vehicle`, so this question comes first.
    if "linkedChannel" in message and "attributes" not in message:
        return "bodyTemperature"
    kind = message.get("type")
    return "object" if isinstance(kind, str) and kind.lower() in _OBJECT_TYPES else None


# --- what it says ----------------------------------------------------------------------------------------


def decode(message: Mapping[str, Any], *, context: DecodeContext) -> Sequence[VmsEvent]:
    """Return the events in a message; a control message has none.

    Raises PayloadError if nothing in it can be used. Parts that cannot be used beside others that can
    are left out; `decode_parts` tells them.
    """
    found = decode_parts(message, context=context)
    if found.refused and not found.events:
        raise found.refused[0]
    return found.events


def decode_parts(message: Mapping[str, Any], *, context: DecodeContext) -> Decoded:
    """Return the events in a message and the parts of it that were refused. Raises PayloadError, see `decode`."""
    if not isinstance(message, dict):
        raise PayloadError("not_object", "the message is no JSON object")
    found = classify(message, context.topic)
    return Decoded(()) if isinstance(found, Control) else understand(found, message, context)


def understand(found: Topic, message: Message, context: DecodeContext) -> Decoded:
    """Return the events in a message of a topic, and the parts of it that were refused. Raises PayloadError."""
    events: list[VmsEvent] = []
    refused: list[PayloadError] = []
    try:
        # A second look, too, at what a JSON reader let through: lone surrogates, NaN, endless nesting.
        plain = compact(message)
        for draft in _drafts(found, message, context):
            if isinstance(draft, PayloadError):
                refused.append(draft)
                continue
            try:
                events.append(build(found.name, draft, context, plain if draft.part is message else None))
            except PayloadError as error:
                refused.append(error)
    except RecursionError as exc:
        raise PayloadError("too_deep", "the message is nested too deeply") from exc
    return Decoded(events, refused)


def _drafts(found: Topic, message: Message, context: DecodeContext) -> Iterator[Draft | PayloadError]:
    try:
        yield from found.read(message, context)
    except ValidationError as exc:
        yield refusal(exc)
    except PayloadError as error:
        yield error


def build(name: str, draft: Draft, context: DecodeContext, plain: str | None = None) -> VmsEvent:
    """Return the event of a draft. Raises PayloadError if it cannot be filed.

    `plain` is the JSON of the draft's part, where the caller has it already.
    """
    raw = original(draft.part, plain)
    if len(raw) > _MAX_PART:
        raise PayloadError("too_large", f"one part of {len(raw)} characters")
    if draft.subject is not None and not fits_subject(draft.subject):
        raise PayloadError("bad_name", f"a code of {len(draft.subject)} characters cannot be filed")
    moment = draft.moment or Moment(context.received, "received")
    identity = draft.identity or (name, draft.kind, draft.key, raw)
    if moment.quality in UNTIMED and not draft.unique and draft.identity is None:
        identity += (context.received.isoformat(timespec="milliseconds"),)
    try:
        return VmsEvent(
            id=stable_id(context.site, context.source, *identity),
            type=draft.kind,
            source=f"{context.site}/{context.source}",
            subject=draft.subject,
            time=moment.time,
            timequality=moment.quality,
            received=context.received,
            origin=Origin.RESYNC if draft.snapshot and context.origin is Origin.LIVE else context.origin,
            via=context.via,
            principal=context.principal,
            correlation=draft.correlation,
            data=draft.data,
            raw=raw if context.keep_raw and len(raw) <= RAW_LIMIT else None,
        )
    except ValidationError as exc:
        raise refusal(exc) from exc


def compact(value: Any) -> str:
    """Return a JSON value as compact text. Raises PayloadError for what JSON cannot say."""
    try:
        found = to_json(value)
        if b"NaN" in found or b"Infinity" in found:
            from_json(found, allow_inf_nan=False)  # the writer knows numbers that JSON has not
    except ValueError as exc:
        if "depth" in str(exc):
            raise PayloadError("too_deep", "the message is nested too deeply") from exc
        raise PayloadError("bad_text", "the message holds what JSON cannot say") from exc
    return found.decode()


def original(part: Message, plain: str | None = None) -> str:
    """Return a part as compact JSON without credentials; `plain` is its JSON, where that is known."""
    plain = compact(part) if plain is None else plain
    return compact(redact(part)) if is_suspect(plain) else plain
