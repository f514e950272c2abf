"""Read what devices push in TS-API's format: plates and emergency calls, as a TS server would take them.

One object or an array of mixed topics. A part that cannot be used is handed back with its reason and
does not hold up the others: a bad plate must not block an emergency call. A body that cannot be read
as JSON at all, or holds nothing, raises. Facts: TS-API guide 0.9.20, "Push"; v1 guide 1.1.0, the same.

What comes is from anybody with a token, so it is bounded before it is looked at: nesting, members,
texts, and none of the things that readers of JSON disagree about.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from bridge.sdk import (
    PUSH_DEPTH,
    PUSH_ITEMS,
    PUSH_KEYS,
    PUSH_TEXT,
    RAW_LIMIT,
    PayloadError,
    PushFormat,
    PushItem,
)

from .decode import build, compact, original
from .draft import WRONG, DecodeContext, Draft, Message, need, refusal
from .read_places import call, is_call
from .read_sightings import plate_correlation, plate_read
from .times import Moment
from .values import channels, code, text

FUTURE = timedelta(days=1)
"""A `when` further ahead than this is a device without a clock (R-22)."""

_LINE_BREAKS = frozenset("\t\r\n")


class _Doubled(dict[str, Any]):
    """An object that named a member twice: readers disagree which one counts, so neither does."""


def decode_push(
    body: bytes, *, site: str, source: str, principal: str | None, received: datetime, zone: tzinfo
) -> Sequence[PushItem]:
    """Return what a pushed body holds, item by item, in order; see the module.

    `zone` is for a `when` without offset. Raises PayloadError when the body as a whole cannot be read.
    """
    context = DecodeContext(site=site, source=source, received=received, zone=zone, via="push", principal=principal)
    return [_item(item, context) for item in _items(body)]


# --- the body --------------------------------------------------------------------------------------------


def _items(body: bytes) -> list[Any]:
    parsed = _parse(body)
    listed = parsed if isinstance(parsed, list) else [parsed]
    if not listed:
        raise PayloadError("empty", "the body is an empty array")
    if len(listed) > PUSH_ITEMS:
        raise PayloadError("too_many_items", f"the body holds {len(listed)} items; at most {PUSH_ITEMS} at once")
    if not isinstance(parsed, dict | list):
        raise PayloadError("not_object", "the body is neither an object nor an array of objects")
    return listed


def _parse(body: bytes) -> Any:
    plain = body.removeprefix(b"\xef\xbb\xbf")
    try:
        # The strict reader first: it refuses lone surrogates, NaN, bad UTF-8 and endless nesting. It
        # keeps the last of doubled members silently, which only the second one tells.
        from_json(plain, allow_inf_nan=False)
        return json.loads(plain, object_pairs_hook=_object)
    except (ValueError, RecursionError) as exc:
        raise PayloadError("not_json", "the body is not valid JSON") from exc


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Doubled(found)


# --- one item --------------------------------------------------------------------------------------------


def _item(item: Any, context: DecodeContext) -> PushItem:
    try:
        message = _bounded(item)
        event = build("push", _draft(message, context), context)
    except ValidationError as exc:
        return _refused(item, refusal(exc))
    except PayloadError as error:
        return _refused(item, error)
    return PushItem(event, original(message))


def _refused(item: Any, error: PayloadError) -> PushItem:
    try:
        raw = original(item)
    except (PayloadError, RecursionError):
        raw = "null"
    return PushItem(None, raw[:RAW_LIMIT], error.reason, str(error))


def _bounded(item: Any) -> Message:
    """Return the item with its texts in NFC. Raises PayloadError for what is out of bounds."""
    if not isinstance(item, dict):
        raise PayloadError("not_object", "the item is no JSON object")
    left = [PUSH_KEYS]
    bounded: Message = _walk(item, 1, left)
    compact(bounded)
    return bounded


def _walk(value: Any, depth: int, left: list[int]) -> Any:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict | list):
        return value
    if depth > PUSH_DEPTH:
        raise PayloadError("too_deep", f"the item is nested deeper than {PUSH_DEPTH}")
    if isinstance(value, _Doubled):
        raise PayloadError("duplicate_key", "the item names a member twice")
    left[0] -= len(value)
    if left[0] < 0:
        raise PayloadError("too_many_keys", f"the item has more than {PUSH_KEYS} members")
    if isinstance(value, list):
        return [_walk(part, depth + 1, left) for part in value]
    return {_text(name): _walk(part, depth + 1, left) for name, part in value.items()}


def _text(value: str) -> str:
    if len(value) > PUSH_TEXT:
        raise PayloadError("long_string", f"the item holds a text of {len(value)} characters; at most {PUSH_TEXT}")
    if any(unicodedata.category(char) == "Cc" and char not in _LINE_BREAKS for char in value):
        raise PayloadError("bad_text", "the item holds control characters")
    return unicodedata.normalize("NFC", value)


def _draft(message: Message, context: DecodeContext) -> Draft:
    topic = need(text(message.get("topic")), "topic", message)
    read = _TOPICS.get(topic)
    if read is None:
        raise PayloadError("unknown_topic", f"nothing is pushed under the topic {topic[:40]!r}")
    src = need(code(message.get("src")), "src", message)
    return read(message, src, _when(message.get("when"), context), context)


def _when(value: Any, context: DecodeContext) -> Moment | None:
    """Return when the sender says it happened; None, and so the receipt, if it says nothing of it.

    What it says and cannot be is the receipt as well, but marked: the event counts, and opens nothing.
    """
    moment = context.moment(value)
    return moment if moment is None or moment.time <= context.received + FUTURE else context.doubtful()


def _plate(message: Message, src: str, moment: Moment | None, context: DecodeContext) -> Draft:
    """Read a pushed LPR. `score` and `direction` are not in the guide; a reader that knows them may say so."""
    data = plate_read(message, context.time(message.get("timeBegin")), src)
    data = data.model_copy(update={"linked_channels": channels(message.get("camera"))})
    return Draft(
        "plate.read",
        src,
        data,
        message,
        moment,
        correlation=plate_correlation(data, context),
        identity=_identity(context, moment, "LPR", src, data.plate_raw),
    )


def _call(message: Message, src: str, moment: Moment | None, context: DecodeContext) -> Draft:
    event = need(text(message.get("event")), "event", message)
    if not is_call(event):
        raise PayloadError(WRONG, "event is neither callStart nor callEnd")
    draft = call(event, src, channels(message.get("camera")), message, context, moment)
    return draft._replace(identity=_identity(context, moment, "emergencyCall", src, event))


def _identity(context: DecodeContext, moment: Moment | None, *content: str) -> tuple[object, ...]:
    """Return what makes a push itself: who says what happened when, or without a time that can be, when it came."""
    when = (moment.time if moment else context.received).isoformat(timespec="milliseconds")
    return ("push", context.principal or "", *content, when)


_TOPICS: Mapping[str, Callable[[Message, str, Moment | None, DecodeContext], Draft]] = {
    "LPR": _plate,
    "emergencyCall": _call,
}

PUSH = PushFormat(paths=("/api/push", "/api/v1/push"), decode=decode_push)
"""TS-API's push, as a device that pushes to a TS server already sends it."""
