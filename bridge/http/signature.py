"""Verify pushes that are signed as Standard Webhooks 1.0 says, and let each of them count once.

The signature covers `webhook-id`, `webhook-timestamp` and the body. A request that somebody recorded and sends again
is recognised: by its time stamp when it is old, by its id when it is not. What was seen is remembered for as long as
a time stamp is good; when that is more than fits, the oldest time stamps stop being good instead. Nothing is
remembered over a restart, so nothing that was stamped before it is taken: senders stamp every try anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from heapq import heappop, heappush
from typing import NamedTuple

from pydantic import SecretStr

from bridge.config.models import PushClient

TOLERANCE = 300.0
"""Seconds that a time stamp is good (Standard Webhooks 1.0, "Verifying webhook authenticity")."""
AHEAD = 10.0
"""Seconds that a sender's clock may be ahead of ours. Less than the standard allows: what is stamped ahead is not older
than a restart, after which nobody remembers that it was taken."""
MAX_REMEMBERED = 100_000
MAX_ID = 256
MAX_SIGNATURES = 16
"""Signatures in one header: one for each secret while they are being changed."""

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Signed(NamedTuple):
    """What the three headers say; nothing of it is proven yet."""

    id: str
    timestamp: float
    stamp: str
    """The time stamp as it was written, which is what was signed."""
    signatures: tuple[bytes, ...]


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request claims to be signed."""
    return "webhook-signature" in headers


def read(headers: Mapping[str, str]) -> Signed | None:
    """Return what the headers say, or None if they cannot be right."""
    message, stamp, signatures = (headers.get(name, "").strip() for name in _HEADERS)
    if not 0 < len(message) <= MAX_ID or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return None
    return Signed(message, float(stamp), stamp, tuple(_values(signatures)))


def _values(header: str) -> Iterator[bytes]:
    for part in header.split()[:MAX_SIGNATURES]:
        version, _, value = part.partition(",")
        if version == "v1":
            try:
                yield base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                continue


class Signers:
    """The clients that sign."""

    def __init__(self, clients: Mapping[str, PushClient]) -> None:
        self._keys = [
            (name, _key(secret))
            for name, client in clients.items()
            for secret in (*((client.secret,) if client.secret else ()), *client.secrets)
        ]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def who(self, signed: Signed, body: bytes) -> str | None:
        """Return whose signature it is. Every key and signature is compared, whatever the first ones say."""
        content = b".".join((signed.id.encode("latin-1", "replace"), signed.stamp.encode(), body))
        found = None
        for name, key in self._keys:
            expected = hmac.new(key, content, hashlib.sha256).digest()
            for given in signed.signatures:
                if hmac.compare_digest(expected, given):
                    found = name
        return found


def _key(secret: SecretStr) -> bytes:
    return base64.b64decode(secret.get_secret_value().removeprefix("whsec_"))


class Verdict(Enum):
    """What a signed request is, given those before it."""

    NEW = "new"
    DONE = "done"
    """It was taken already; say yes again."""
    IN_HAND = "in_hand"
    """The same one is being stored at this moment."""
    STALE = "stale"
    """Its time stamp is too old, too new, or older than what is remembered."""


class Replays:
    """Which signed requests there were."""

    def __init__(self, started: datetime, most: int = MAX_REMEMBERED) -> None:
        self._floor, self._most = started.timestamp(), most
        self._seen: dict[bytes, Verdict] = {}
        self._order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def claim(self, client: str, signed: Signed, now: datetime) -> Verdict:
        """Return what it is; after NEW, `settle` must follow."""
        self._forget(now.timestamp() - TOLERANCE)
        age = now.timestamp() - signed.timestamp
        if not -AHEAD <= age <= TOLERANCE or signed.timestamp < int(self._floor):
            return Verdict.STALE
        key = _digest(client, signed)
        if key in self._seen:
            return self._seen[key]
        self._seen[key] = Verdict.IN_HAND
        return Verdict.NEW

    def settle(self, client: str, signed: Signed, *, taken: bool) -> None:
        """Say what became of a new one: a request that could not be stored may come again."""
        key = _digest(client, signed)
        if not taken:
            self._seen.pop(key, None)
            return
        self._seen[key] = Verdict.DONE
        heappush(self._order, (signed.timestamp, key))
        while len(self._order) > self._most:
            self._forget_oldest()

    def _forget(self, before: float) -> None:
        while self._order and self._order[0][0] < before:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Its time stamp, and all before, are good no more; also if our clock goes back to where they would be."""
        stamp, oldest = heappop(self._order)
        self._seen.pop(oldest, None)
        self._floor = max(self._floor, stamp + 1)


def _digest(client: str, signed: Signed) -> bytes:
    return hashlib.sha256(f"{client}\0{signed.id}".encode()).digest()[:16]
