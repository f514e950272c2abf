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
from .transport import transport as direct

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
_HEADERS = {
    "User-Agent": "vms-event-bridge",
    "Accept": "application/json, */*;q=0.1",
    "Accept-Encoding": "identity",
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
        # Not through httpx' client: it logs every address, keeps cookies, and costs as much again.
        self._transport = transport or direct(tls, config.max_requests)
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        await self._transport.aclose()

    async def send(
        self, call: Call, credentials: Mapping[str, str] | None = None, *, within: timedelta | None = None
    ) -> Answer | Failure:
        """Send it once; give up after `within`, or after the configured time."""
        seconds = (within or self._config.request_timeout).total_seconds()
        if self._closed:
            return Failure(Kind.UNREACHED, f"{call.what}: the connector is closed")
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(call, credentials or {}, seconds)
        except _NOTHING_SENT as exc:
            return Failure(Kind.UNREACHED, f"{call.what}: cannot reach {self._host.url}: {_cause(exc)}", cause=exc)
        except TimeoutError as exc:
            return Failure(Kind.UNANSWERED, f"{call.what}: no answer within {seconds:g} s", cause=exc)
        except httpx.TimeoutException as exc:
            return Failure(Kind.UNANSWERED, f"{call.what}: no answer in time", cause=exc)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            return Failure(Kind.UNANSWERED, f"{call.what}: the connection broke: {_cause(exc)}", cause=exc)

    async def _exchange(self, call: Call, credentials: Mapping[str, str], seconds: float) -> Answer | Failure:
        # The vendor's clients name the host they mean on every call; v1 refuses some calls without it.
        headers = {**_HEADERS, "X-Host": self._host.host_and_port, **credentials}
        url = self._host.url + call.path + query(call.params)
        limits = _limits(self._config, seconds).as_dict()
        request = httpx.Request(call.method, url, headers=headers, json=call.body, extensions={"timeout": limits})
        response = await self._transport.handle_async_request(request)
        try:
            content = await self._read(response)
        finally:
            await response.aclose()
        if content is None:
            return Failure(Kind.NONSENSE, f"{call.what}: the answer is longer than {self._config.answer_limit} bytes")
        if response.is_success:
            return _answer(call, response, content)
        return _failure(call, response, content)

    async def _read(self, response: httpx.Response) -> bytes | None:
        content = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > self._config.answer_limit:
                    return None
        except _NOTHING_SENT as exc:  # what the library calls a connection that broke under the answer
            raise httpx.ReadError(str(exc)) from exc
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
    return httpx.AsyncClient(
        auth=auth,
        transport=transport or direct(tls, connections),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        headers=_HEADERS,
        timeout=_limits(config, patience.total_seconds()),
    )


def _limits(config: TsApiConfig, seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, config.connect_timeout.total_seconds()))


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
