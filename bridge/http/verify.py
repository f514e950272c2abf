"""Find out who is pushing, and slow down whoever guesses.

TS-API devices know HTTP Basic and `?auth=` (base64 of `user:password`, often without padding, with `+` where a space
arrives); newer ones `X-API-Key`, Bearer, `?apikey=` and `?token=`. Compared are digests of equal length, against every
client, in constant time: an answer's timing tells nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Mapping
from urllib.parse import parse_qs

from bridge.clock import Clock
from bridge.config.models import HttpConfig, PushClient

FAILURES = 10
"""Wrong credentials a minute from one address; more are answered 429 without being looked at."""
WINDOW = 60.0
HOLD_BACK = 1.0
"""Seconds before one more wrong guess is answered, where a right one is listened to all the same."""
MAX_ADDRESSES = 10_000


class Verifier:
    """Knows the clients of the configuration."""

    def __init__(self, config: HttpConfig) -> None:
        self._clients = config.push
        self._query = {"auth", "token", "apikey"} if config.allow_query_auth else {"auth"}
        self._digests: list[tuple[bytes, str]] = []
        for name, client in config.push.items():
            self._digests.extend((_digest(secret), name) for secret in _secrets_of(name, client))

    def client(self, name: str) -> PushClient:
        """Return a client's configuration."""
        return self._clients[name]

    def identify(self, headers: Mapping[str, str], query: str) -> tuple[str | None, bool]:
        """Return the client's name or None, and whether credentials were offered at all."""
        offered = self._offered(headers, query)
        if offered is None:
            return None, False
        digest, found = _digest(offered), None
        for known, name in self._digests:
            if hmac.compare_digest(known, digest):
                found = name
        return found, True

    def _offered(self, headers: Mapping[str, str], query: str) -> bytes | None:
        """Return the first credentials there are: headers before the query."""
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return b"pair:" + _pair(value)
        if scheme.lower() == "bearer":
            return b"token:" + value.strip().encode("latin-1", "replace")
        if "x-api-key" in headers:
            return b"token:" + headers["x-api-key"].strip().encode("latin-1", "replace")
        try:
            given = parse_qs(query, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            return None
        for name in ("auth", "token", "apikey"):
            if name in given and name in self._query:
                text = given[name][0]
                return b"pair:" + _pair(text) if name == "auth" else b"token:" + text.encode(errors="replace")
        return None


class Throttle:
    """Remembers who guessed wrong, for a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return the seconds this address has to wait before it may try again; 0 if it may."""
        times = self._failures.get(address)
        if times is None or len(times) < FAILURES:
            return 0.0
        return max(0.0, times[0] + WINDOW - self._clock.monotonic())

    async def hold_back(self) -> None:
        """Wait before a wrong guess is answered."""
        await self._clock.sleep(HOLD_BACK)

    def failed(self, address: str) -> None:
        """Note a wrong guess. The address seen longest ago is forgotten when there are very many."""
        self._failures.setdefault(address, deque(maxlen=FAILURES)).append(self._clock.monotonic())
        self._failures.move_to_end(address)
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)


def _secrets_of(name: str, client: PushClient) -> set[bytes]:
    secrets = set()
    if client.password is not None:
        pair = f"{client.username or name}:{client.password.get_secret_value()}"
        secrets.add(b"pair:" + pair.encode())
        with contextlib.suppress(UnicodeEncodeError):
            # Which bytes a device sends for ä is said nowhere; older ones send latin-1.
            secrets.add(b"pair:" + pair.encode("latin-1"))
    if client.token is not None:
        secrets.add(b"token:" + client.token.get_secret_value().encode())
    return secrets


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _pair(text: str) -> bytes:
    """Return `user:password` from base64 as devices send it: `+` turned to a space, padding lost or escaped."""
    clean = text.strip().replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(clean + "=" * (-len(clean) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
