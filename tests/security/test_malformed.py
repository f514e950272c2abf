"""Whatever is sent to the HTTP port, the answer is the sender's fault or his receipt, and says why.

Requests are made from a seed and handed to the application in its own process; bytes that are hardly HTTP go over real
sockets. `VMS_BRIDGE_REQUESTS=200000` is the long form, `VMS_BRIDGE_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import secrets
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from bridge.config.models import PushClient
from bridge.http.app import HttpServer
from connectors.ts_api.push import PUSH
from tests.bridge.http.harness import Log, serving
from tests.security.hostile import texts

REQUESTS = int(os.environ.get("VMS_BRIDGE_REQUESTS", "20000"))
SEED = int(os.environ.get("VMS_BRIDGE_SEED", "0")) or secrets.randbits(32)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CLIENTS = {
    "gate": PushClient(password=SecretStr("right"), token=SecretStr("token-right")),
    "narrow": PushClient(token=SecretStr("token-narrow"), topics=("LPR",), channels=("1",)),
    "signer": PushClient(secret=SecretStr(SECRET)),
}
TEXTS = texts()
ALLOWED = {200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 431}
PATHS = (
    "/api/push",
    "/api/v1/push",
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/push/",
    "/x",
    "/%00",
    "//",
    "/api/../x",
)


class Maker:
    """Makes requests out of a random source."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self) -> tuple[dict[str, Any], list[bytes]]:
        """An ASGI scope, and the body in pieces."""
        pick = self._random.choice
        body = self._body()
        headers = [(b"host", b"h"), *self._credentials(body)]
        if self._random.random() < 0.8:
            headers.append(
                (b"content-type", pick((b"application/json", b"text/plain", b"", b"application/cloudevents+json")))
            )
        while self._random.random() < 0.25:
            headers.append((pick(HEADERS), self._latin()))
        path = pick(PATHS) if self._random.random() < 0.15 else pick(PATHS[:2])
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST" if self._random.random() < 0.95 else pick(("GET", "PUT", "OPTIONS", "HEAD", "BREW")),
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": self._query(),
            "root_path": "",
            "headers": headers,
            "server": ("127.0.0.1", 80),
            "client": (f"10.{self._random.randrange(256)}.{self._random.randrange(256)}.1", 1),
            "state": {},
        }
        cut = self._random.randrange(len(body) + 1)
        return scope, [body[:cut], body[cut:]]

    def _credentials(self, body: bytes) -> list[tuple[bytes, bytes]]:
        pair = base64.b64encode(b"gate:right")
        kind = self._random.randrange(10)
        if kind < 5:
            return [(b"authorization", b"Basic " + pair)]
        if kind == 5:
            return [(b"x-api-key", self._random.choice((b"token-right", b"token-narrow")))]
        if kind == 6:
            return [(b"authorization", self._latin())]
        if kind == 7:
            now, name = datetime.now(UTC), f"m{self._random.randrange(50)}"
            try:
                signature = Webhook(SECRET).sign(name, now, body.decode())
            except UnicodeDecodeError:
                return []
            signed = {
                "webhook-id": name,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": signature,
            }
            if self._random.random() < 0.3:
                signed[self._random.choice(list(signed))] = self._random.choice(TEXTS)
            return [(key.encode(), value.encode("latin-1", "replace")) for key, value in signed.items()]
        if kind == 8:
            return [(self._random.choice(HEADERS[:5]), self._latin()) for _ in range(3)]
        return []

    def _query(self) -> bytes:
        if self._random.random() < 0.8:
            return b""
        return (
            self._random.choice((b"auth=", b"token=", b"auth=Z2F0ZTpyaWdodA&", b"&&&=&", b"a" * 5000)) + self._latin()
        )

    def _latin(self) -> bytes:
        return self._random.choice(TEXTS).encode("latin-1", "replace")

    def _body(self) -> bytes:
        kind = self._random.randrange(12)
        if kind == 0:
            return self._random.randbytes(self._random.randrange(300))
        if kind == 1:
            return self._random.choice(TEXTS).encode(errors="replace")
        if kind == 2:
            return self._random.choice(BODIES)
        value = [self._item() for _ in range(self._random.randrange(4))] if kind == 3 else self._item()
        text = json.dumps(value).encode()
        if kind == 4:
            at = self._random.randrange(len(text))
            return text[:at] + self._random.randbytes(1) + text[at + self._random.randrange(2) :]
        return text

    def _item(self) -> Any:
        item: dict[str, Any] = {
            "topic": self._random.choice(("LPR", "emergencyCall")),
            "src": "1",
            "plateNo": "A",
            "event": "callStart",
        }
        for _ in range(self._random.randrange(4)):
            item[self._random.choice(KEYS)] = self._value(0)
        if self._random.random() < 0.2:
            item.pop(self._random.choice(list(item)))
        return item

    def _value(self, depth: int) -> Any:
        kind = self._random.randrange(9)
        if kind < 3:
            return self._random.choice(TEXTS)
        if kind < 5:
            return self._random.choice(ODD)
        if depth > 4:
            return None
        if kind < 7:
            return [self._value(depth + 1) for _ in range(self._random.randrange(4))]
        return {self._random.choice(TEXTS): self._value(depth + 1) for _ in range(self._random.randrange(4))}


HEADERS = (
    b"authorization", b"x-api-key", b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"content-type",
    b"content-encoding", b"content-length", b"transfer-encoding", b"origin", b"cookie", b"expect", b"host",
    b"x-forwarded-for", b"upgrade", b"range",
)  # fmt: skip
KEYS = ("topic", "src", "plateNo", "event", "when", "timeBegin", "camera", "device", "score", "x", "", "__proto__")
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 2**63, -(2**70), 10**400, 1.5, "", "0", "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+14:00", "2026-02-30T25:61:61", "2026-03-29T02:30:00", "1,2,3", "1," * 500, [], {}, [[]],
    "\ud800", "\u0000", "LPR", "callEnd",
)  # fmt: skip
BODIES = (
    b"", b" ", b"null", b"[]", b"{}", b"[{}]", b"[" * 5000, b"[" * 500 + b"]" * 500,
    b'{"a":' * 500 + b"1" + b"}" * 500, b'{"topic":"LPR","topic":"LPR","src":"1"}', b"NaN", b"[1e999]", b"-",
    b'"\\ud800"', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"[" + b"{}," * 1000 + b"{}]",
    b'{"' + b"a" * 5000 + b'":1}', b'{"x":"' + b"b" * 5000 + b'"}', b"x" * 300_000, b"1" * 5000,
    b"\x1f\x8b\x08\x00", b"topic=LPR&src=1", b"<xml/>", b'{"topic":"LPR","src":"1","plateNo":"\\u0000"}',
)  # fmt: skip


async def _ask(server: HttpServer, scope: dict[str, Any], pieces: list[bytes]) -> tuple[int, bytes]:
    """Hand a request to the application as the protocol does."""
    waiting = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await server._app(scope, receive, send)
    assert sent[0]["type"] == "http.response.start"
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_no_request_is_our_fault() -> None:
    """Never a 5xx; a refused push says its reason, which is counted; what was taken is 200 with nothing in it."""
    print(f"seed {SEED}, {REQUESTS} requests")
    maker, log = Maker(SEED), Log()
    seen: Counter[tuple[int, str]] = Counter()
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        for number in range(REQUESTS):
            scope, pieces = maker.request()
            before = len(log.seen)
            status, body = await _ask(server, scope, pieces)
            about = f"seed {SEED}, request {number}: {scope} {pieces} gave {status} {body!r}"
            assert status in ALLOWED, about
            reason = ""
            if scope["path"] in PUSH.paths and scope["method"] == "POST":
                if status == 200:
                    assert body == b"", about
                else:
                    reason = json.loads(body)["reason"]
                    assert len(log.seen) > before, about
            seen[status, reason] += 1
            if len(log.batches) > 1000:
                log.batches.clear()
                log.parked.clear()
                log.requests.clear()
                log.seen.clear()
    print(seen.most_common())
    assert seen[200, ""] > REQUESTS * 0.1, "some of them must be good"
    assert len({status for status, _ in seen}) >= 6


WIRE = (
    b"", b"\r\n", b"\x00" * 50, b"\x16\x03\x01\x02\x00", b"GET", b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/0.9\r\n\r\n", b"GET  /  HTTP/1.1\r\n\r\n",
    b"POST /api/push HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: 1e9\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nA\0: x\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    b"GET http://evil/ HTTP/1.1\r\n\r\n",
    b"POST /api/push?auth=\xdf HTTP/1.1\r\nHost: h\r\n\r\n", b"GET * HTTP/1.1\r\n\r\n", b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET / HTTP/1.1\nHost: h\n\n",
    b"POST /api/push HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
)  # fmt: skip


async def test_no_bytes_are_our_fault() -> None:
    """What is hardly HTTP, and what was HTTP until bytes of it changed: 4xx or hung up on; the port lives on."""
    source, log = random.Random(SEED), Log()
    whole = b"POST /api/push HTTP/1.1\r\nHost: h\r\nX-API-Key: token-right\r\n"
    whole += b"Content-Length: 44\r\nConnection: close\r\n\r\n"
    whole += b'{"topic":"LPR","src":"1","plateNo":"ABC123"}'
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        assert (await _raw(server, whole)).startswith(b"HTTP/1.1 200")
        changed = [*WIRE]
        for _ in range(min(REQUESTS // 10, 2000)):
            sent = bytearray(whole)
            for _ in range(source.randrange(1, 5)):
                at = source.randrange(len(sent))
                sent[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
            changed.append(bytes(sent))
        for sent in changed:
            answer = await _raw(server, sent)
            for line in answer.split(b"\r\n"):
                if line.startswith(b"HTTP/1.1 "):
                    assert int(line.split()[1]) in ALLOWED | {100}, (sent, answer)
        assert (await _raw(server, whole, "127.0.0.2")).startswith(b"HTTP/1.1 200")


async def _raw(server: HttpServer, sent: bytes, address: str = "127.0.0.1") -> bytes:
    """Send bytes and say that there are no more; return what comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0))
    got = b""
    with suppress(ConnectionError):
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(15):
            while part := await reader.read(65536):
                got += part
    writer.transport.abort()
    return got
