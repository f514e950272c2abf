"""What goes over the wire to JetStream and what comes back, without any waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nats.js.api import Header
from pydantic_core import from_json

from bridge.errors import StoreUnavailableError

MSG_ID = Header.MSG_ID.value
TTL = Header.MSG_TTL.value
EXPECTED = Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
"""Which subject `EXPECTED` is about, where it is not the message's own; nats-py 2.16 has no name for it."""
BATCH_ID = Header.BATCH_ID.value
BATCH_SEQUENCE = Header.BATCH_SEQUENCE.value
BATCH_COMMIT = Header.BATCH_COMMIT.value

MAX_BATCH = 1000
"""Messages in one atomic batch; the server refuses more (error 10199)."""

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""Somebody else has written to the subject since. The second one comes without the sequence."""
BATCH_HAS_DUPLICATE = 10201
"""One message of the batch is stored already; the server refuses all of it and does not say which."""
BATCH_INCOMPLETE = 10176
"""The server does not know the beginning of the batch: it was restarted, or the batch took too long."""
NO_ROOM = frozenset({10023, 10077})
"""The store, or the stream, is full; it takes messages again when something was deleted."""
TOO_LARGE = 10054
"""The message is larger than the stream, or the server, takes."""
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
NO_MESSAGE = 10037


class Outgoing(NamedTuple):
    """A message to be stored."""

    subject: str
    body: bytes
    headers: Mapping[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes, about, for keeping what is in hand bounded."""
        return len(self.subject) + len(self.body) + 128


class Ack(NamedTuple):
    """The server's word that messages are stored and synced."""

    seq: int
    """Where the last one stands in its stream."""
    duplicate: bool = False
    """It stood there already."""


class RefusedError(StoreUnavailableError):
    """The server said no. `code` is JetStream's error code."""

    def __init__(self, code: int, description: str) -> None:
        self.code = code
        super().__init__(f"the log refused it: {description} ({code})")

    @property
    def stale(self) -> bool:
        """Somebody else has written to the subject since."""
        return self.code in WRONG_LAST_SEQUENCE


def parse_ack(body: bytes) -> Ack:
    """Read the answer to a publish. Raises RefusedError."""
    answer = from_json(body)
    error = answer.get("error")
    if error is not None:
        raise RefusedError(error.get("err_code", error.get("code", 0)), error.get("description", "no reason given"))
    return Ack(answer["seq"], answer.get("duplicate", False))
