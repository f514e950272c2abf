"""What goes over the wire to JetStream and what comes back, without any waiting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from nats.js.api import Header
from pydantic_core import from_json

from bridge.errors import StoreUnavailableError

MSG_ID = Header.MSG_ID.value
TTL = Header.MSG_TTL.value
EXPECTED = Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value
EXPECTED_LAST = Header.EXPECTED_LAST_SEQUENCE.value
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
"""Which subject `EXPECTED` is about, where it is not the message's own; nats-py 2.16 has no name for it."""
BATCH_ID = Header.BATCH_ID.value
BATCH_SEQUENCE = Header.BATCH_SEQUENCE.value
BATCH_COMMIT = Header.BATCH_COMMIT.value

FEW = 8
"""Messages up to which each by itself, all in flight at once, is quicker than an atomic batch: the server makes a store
of its own for each batch, with folders, files and syncs, which takes as long as ten plain messages."""
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
HEADERS_TOO_LARGE = 10097
"""Its headers are."""
OF_THE_MESSAGE = frozenset({TOO_LARGE, HEADERS_TOO_LARGE})
"""Refusals that are for the message itself: it would be refused at any time. All others are for the moment."""
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
NO_MESSAGE = 10037


_BREAK = re.compile(r"[\r\n]")


class Outgoing(NamedTuple):
    """A message to be stored."""

    subject: str
    body: bytes
    headers: Mapping[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes, about, for keeping what is in hand bounded."""
        return len(self.subject) + len(self.body) + 128


class Received(NamedTuple):
    """A message as it came."""

    subject: str
    reply: str
    data: bytes
    head: bytes = b""
    """The headers as they came; most readers never look at them."""

    @property
    def status(self) -> str:
        """The server's own word about a request, `404`; empty for a message that somebody sent."""
        return self.head[9:12].decode() if self.head[8:9] == b" " else ""

    @property
    def words(self) -> str:
        """What the server says beside the status."""
        return self.head[12:].partition(b"\r\n")[0].strip().decode(errors="replace") if self.status else ""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, read anew at each look."""
        return read_headers(self.head)


class Ack(NamedTuple):
    """The server's word that messages are stored and synced."""

    seq: int
    """Where the last one stands in its stream."""
    duplicate: bool = False
    """It stood there already."""


def read_headers(head: bytes) -> dict[str, str]:
    """Read `NATS/1.0` and one `Name: value` a line."""
    lines = head.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name: value.strip() for name, _, value in pairs}


def encode(subject: str, body: bytes, headers: Mapping[str, str], reply: str = "") -> bytes:
    """Return the protocol lines that publish a message (NATS client protocol, PUB and HPUB).

    A line break in a header becomes a space; one in a subject is an error of ours, ValueError: it
    would let whoever named something send lines of his own.
    """
    to = f"{subject} {reply}" if reply else subject
    if not subject or not to.isprintable() or to.count(" ") != bool(reply):
        raise ValueError(f"not a subject: {to!r}")
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(body), body)
    lines = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in headers.items()])
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to.encode(), len(head), len(head) + len(body), head, body)


def _one_line(value: str) -> str:
    return value if value.isprintable() else _BREAK.sub(" ", value)


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
