"""Read single messages of a stream, and where it ends, from its leader: a follower may be behind."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.bus.connect import Connection
from bridge.bus.wire import NO_MESSAGE, RefusedError, read_headers


class Stored(NamedTuple):
    """A message as it stands in a stream."""

    subject: str
    seq: int
    body: bytes
    headers: Mapping[str, str]


async def last(connection: Connection, stream: str, subject: str) -> Stored | None:
    """Return the last message of a subject; None if there is none. Raises StoreUnavailableError."""
    try:
        answer = await connection.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    except RefusedError as exc:
        if exc.code == NO_MESSAGE:
            return None
        raise
    return _stored(answer["message"])


async def end(connection: Connection, stream: str) -> int:
    """Return the last sequence that a stream has given. Raises StoreUnavailableError."""
    return int((await connection.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])


async def at(connection: Connection, stream: str, seq: int) -> Stored:
    """Return the message that stands at a sequence. Raises RefusedError if there is none, StoreUnavailableError."""
    return _stored((await connection.api(f"STREAM.MSG.GET.{stream}", {"seq": seq}))["message"])


def _stored(message: Mapping[str, Any]) -> Stored:
    body = base64.b64decode(message.get("data", ""))
    headers = read_headers(base64.b64decode(message.get("hdrs", "")))
    return Stored(message["subject"], int(message["seq"]), body, headers)
