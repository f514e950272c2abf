"""Read a pushed body without trusting it: how long, what it claims to be, and how the JSON in it is built.

An array is judged item by item, so that one bad plate cannot keep an emergency call out. What the items mean is up to
the vendor's decoder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from bridge.errors import PayloadError
from bridge.schema.limits import PUSH_DEPTH, PUSH_ITEMS, PUSH_KEYS, PUSH_TEXT

_TYPES = re.compile(r"application/(?:json|[\w.-]+\+json|x-www-form-urlencoded)|text/(?:json|plain)", re.IGNORECASE)
"""What JSON is sent as: besides its own type, the form type of a plain `curl -d`, and text from simple devices."""

_BAD_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class RefusedError(Exception):
    """A request that is answered with this status, without its items being looked at.

    `reason` is a short code from a fixed list, for the sender and for metrics.
    """

    def __init__(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.reason, self.message, self.headers = status, reason, message, headers or {}
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Flaw:
    """An item that must not reach a decoder: its JSON, a short reason, and words."""

    raw: str
    reason: str
    message: str


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, counted while it arrives. Raises RefusedError, or ClientDisconnect when nobody is left."""
    check_type(request)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


async def drain(request: Request, limit: int) -> None:
    """Read what nobody wants, so that the answer arrives before the connection ends; no more than the limit."""
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > limit:
                return
    except ClientDisconnect:
        return


def check_type(request: Request) -> None:
    """Refuse what cannot be plain JSON. Raises RefusedError."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise RefusedError(415, "encoded", "send the body as it is, without Content-Encoding")
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    if kind.strip() and not _TYPES.fullmatch(kind.strip()):
        raise RefusedError(415, "content_type", "send JSON, with Content-Type: application/json")
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", rest, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise RefusedError(415, "charset", "send JSON as UTF-8")


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, "too_large", f"the body is larger than {limit} bytes")


def sound_items(body: bytes) -> tuple[bytes | None, list[Flaw]]:
    """Return the part of a body that a decoder may see (None if nothing is left), and what was taken out.

    Raises PayloadError when it is not JSON, or not an object or array of objects.
    """
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as exc:
        raise PayloadError("too_deep", f"the JSON is nested deeper than {PUSH_DEPTH} levels") from exc
    except UnicodeDecodeError as exc:
        raise PayloadError("not_utf8", "the body is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        at = f"line {exc.lineno}, column {exc.colno}"
        raise PayloadError("not_json", f"the body is not JSON: {exc.msg} at {at}") from exc
    except ValueError as exc:
        raise PayloadError("not_json", f"the body is not JSON: {exc}") from exc
    return _sorted_out(text, value)


def _sorted_out(text: str, value: Any) -> tuple[bytes | None, list[Flaw]]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise PayloadError("empty", "the array is empty")
    if len(items) > PUSH_ITEMS:
        raise PayloadError("too_many_items", f"the array has more than {PUSH_ITEMS} items")
    flaws, good = [], []
    for item in items:
        found = _flaw(item)
        if found is None:
            good.append(item)
        else:
            flaws.append(Flaw(_dump(item), *found))
    if not flaws:
        return text.encode(), []
    return json.dumps(good, ensure_ascii=False).encode() if good else None, flaws


def _flaw(item: Any) -> tuple[str, str] | None:
    """Return why an item must not go further: a reason code and words."""
    if not isinstance(item, dict):
        return "not_object", "an item must be a JSON object"
    keys = 0
    for value, depth in _walk(item):
        if depth > PUSH_DEPTH:
            return "too_deep", f"nested deeper than {PUSH_DEPTH} levels"
        if isinstance(value, dict):
            keys += len(value)
            if keys > PUSH_KEYS:
                return "too_many_keys", f"more than {PUSH_KEYS} keys"
            if isinstance(value, _Repeated):
                return "duplicate_key", "a key stands twice in one object"
        elif isinstance(value, str):
            if len(value) > PUSH_TEXT:
                return "long_string", f"a text longer than {PUSH_TEXT} characters"
            if _BAD_TEXT.search(value):
                return "bad_text", "a text with control characters or half a character"
    return None


def _walk(item: Any) -> Iterator[tuple[Any, int]]:
    """Yield every value and key below, with its depth; not recursive, for it is not known yet how deep it goes."""
    left: list[tuple[Any, int]] = [(item, 1)]
    while left:
        value, depth = left.pop()
        yield value, depth
        if depth > PUSH_DEPTH:
            continue
        if isinstance(value, dict):
            left += ((key, depth) for key in value)
            left += ((below, depth + 1) for below in value.values())
        elif isinstance(value, list):
            left += ((below, depth + 1) for below in value)


class _Repeated(dict[str, Any]):
    """An object in which a key stood twice. Senders and decoders disagree which of the two counts."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _Repeated(value)


def _dump(item: Any) -> str:
    try:
        return json.dumps(item)
    except RecursionError:  # read on a shallower stack than it is written on
        return '"(too deep to be written)"'


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value
