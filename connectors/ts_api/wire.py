"""Send one request and bring back its answer or its failure. No credentials, no retries, no decisions.

Every library error ends here. Nothing is followed, no cookie is kept, and nobody can make us read
more than the limit.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import JsonValue
from pydantic_core import from_json

from .addresses import Host, Value, query
from .config import TsApiConfig
from .failures import Failure, Kind

_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_BY_STATUS: Mapping[int, Kind] = {
    401: Kind.UNAUTHORIZED,
    403: Kind.FORBIDDEN,
    404: Kind.MISSING,
    405: Kind.MISSING,
    429: Kind.BUSY,
    502: Kind.NONSENSE,
    503: Kind.BUSY,
    504: Kind.UNANSWERED,
}
_IN_WORDS: Mapping[Kind, str] = {
    Kind.UNAUTHORIZED: "the server does not accept the credentials",
    Kind.FORBIDDEN: "the user or key lacks the right",
    Kind.MISSING: "not here: unknown path, feature not licensed, or this API is switched off",
    Kind.INVALID: "the server does not understand the request",
    Kind.NONSENSE: "no answer of a TS-API server",
    Kind.BUSY: "the server cannot take it now",
    Kind.UNANSWERED: "a proxy got no answer from the server",
    Kind.FAILED: "the server failed",
}
_MAX_WORDS = 200
_TAG = re.compile(rb"\s*<[a-zA-Z!]")


@dataclass(frozen=True, slots=True)
class Call:
    """One request. The path is the server's; a parameter of None is a bare flag."""

    path: str
    params: Mapping[str, Value] = field(default_factory=dict)
    method: str = "GET"
    body: JsonValue = None

    @property
    def what(self) -> str:
        """How to name it in messages and logs: without parameters, which may hold anything."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A usable answer: its JSON (None when it was empty), and when the server says it was given."""

    data: Any
    date: datetime | None = None


class Wire:
    """The way to one server."""

    def __init__(
        self,
        config: TsApiConfig,
        host: Host,
        tls: ssl.SSLContext | None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._config = config
        self._host = host
        self._client = client(config, tls, config.max_requests, config.request_timeout, transport=transport)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def send(
        self, call: Call, credentials: Mapping[str, str] | None = None, *, within: timedelta | None = None
    ) -> Answer | Failure:
        """Send it once; give up after `within`, or after the configured time."""
        seconds = (within or self._config.request_timeout).total_seconds()
        if self._client.is_closed:
            return Failure(Kind.UNREACHED, f"{call.what}: the connector is closed")
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(call, credentials or {})
        except _NOTHING_SENT as exc:
            return Failure(Kind.UNREACHED, f"{call.what}: cannot reach {self._host.url}: {_cause(exc)}", cause=exc)
        except TimeoutError as exc:
            return Failure(Kind.UNANSWERED, f"{call.what}: no answer within {seconds:g} s", cause=exc)
        except httpx.TimeoutException as exc:
            return Failure(Kind.UNANSWERED, f"{call.what}: no answer in time", cause=exc)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            return Failure(Kind.UNANSWERED, f"{call.what}: the connection broke: {_cause(exc)}", cause=exc)

    async def _exchange(self, call: Call, credentials: Mapping[str, str]) -> Answer | Failure:
        # The vendor's clients name the host they mean on every call; v1 refuses some calls without it.
        headers = {"X-Host": self._host.host_and_port, **credentials}
        url = self._host.url + call.path + query(call.params)
        async with self._client.stream(call.method, url, headers=headers, json=call.body) as response:
            content = await self._read(response)
        if content is None:
            return Failure(Kind.NONSENSE, f"{call.what}: the answer is longer than {self._config.answer_limit} bytes")
        if response.is_success:
            return _answer(call, response, content)
        return _failure(call, response, content)

    async def _read(self, response: httpx.Response) -> bytes | None:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > self._config.answer_limit:
                return None
        return bytes(content)


def client(
    config: TsApiConfig,
    tls: ssl.SSLContext | None,
    connections: int,
    patience: timedelta,
    *,
    auth: httpx.Auth | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return a client that follows nothing, remembers nothing, and takes nothing from the environment."""
    seconds = patience.total_seconds()
    return httpx.AsyncClient(
        auth=auth,
        transport=transport,
        verify=tls or ssl.create_default_context(),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        headers={"Accept": "application/json, */*;q=0.1", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(seconds, connect=min(seconds, config.connect_timeout.total_seconds())),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )


def _answer(call: Call, response: httpx.Response, content: bytes) -> Answer | Failure:
    date = _date(response)
    if not content.strip():
        return Answer(None, date)
    try:
        return Answer(from_json(content, allow_inf_nan=False), date)
    except ValueError as exc:
        words = "a web page instead of JSON; is `url` right?" if _TAG.match(content) else f"broken JSON: {exc}"
        return Failure(Kind.NONSENSE, f"{call.what}: the server answered {words}", response.status_code, cause=exc)


def _failure(call: Call, response: httpx.Response, content: bytes) -> Failure:
    status = response.status_code
    if response.is_redirect:
        where = urlsplit(response.headers.get("location", ""))
        place = f"{where.scheme}://{where.hostname}" if where.hostname else "another path"
        return Failure(Kind.NONSENSE, f"{call.what}: HTTP {status}, sent on to {place}; `url` must name it", status)
    kind = _BY_STATUS.get(status) or (Kind.INVALID if 400 <= status < 500 else Kind.FAILED)
    words, code = _error_body(content)
    said = f", {words!r}" if words else ", a web page" if _TAG.match(content) else ""
    return Failure(kind, f"{call.what}: {_IN_WORDS[kind]} (HTTP {status}{said})", status, code, _retry_after(response))


def _error_body(content: bytes) -> tuple[str, int | None]:
    """Return words and code of the error body `{"code":-1,"message":"..."}`."""
    try:
        body = from_json(content)
    except ValueError:
        return "", None
    if not isinstance(body, dict):
        return "", None
    words, code = body.get("message"), body.get("code")
    return words[:_MAX_WORDS] if isinstance(words, str) else "", code if isinstance(code, int) else None


def _date(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def _retry_after(response: httpx.Response) -> timedelta | None:
    text = response.headers.get("retry-after", "")
    return timedelta(seconds=min(int(text), 3600)) if re.fullmatch(r"\d{1,6}", text) else None


def _cause(exc: BaseException) -> str:
    """Return the words of the error at the bottom; the library's own say little."""
    while exc.__cause__ is not None or exc.__context__ is not None:
        exc = exc.__cause__ or exc.__context__ or exc
        if isinstance(exc, ssl.SSLCertVerificationError):
            words = getattr(exc, "verify_message", "") or exc.args[-1]
            return f"its certificate is not trusted ({words}); see ca_file and fingerprint"
    return str(exc) or type(exc).__name__
