"""Send one HTTP request to somebody outside, and believe nothing.

Every address a name stands for is checked, and again the one that is connected to, so a name that
changes between looking and connecting gains nothing. Redirects are not followed, proxies of the
environment not used, cookies not kept, and no more of an answer is read than its first 64 KiB.
What goes wrong is told without the URL: paths and queries hold secrets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

from bridge.actions.addresses import forbidden
from bridge.errors import ActionRejectedError, ActionUnavailableError

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; the rest is not waited for."""
CONNECT_TIMEOUT = 5.0
"""Seconds."""
BODY_TIMEOUT = 2.0
"""Seconds that a body is waited for; its content interests nobody."""
_HEADERS = {"User-Agent": "vms-event-bridge", "Accept": "*/*", "Accept-Encoding": "identity"}


class ForbiddenAddressError(ActionRejectedError):
    """The target is an address that we do not send to; nothing was sent."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"{host} is not allowed: {why}", "forbidden_address")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as anybody needs it."""

    status: int
    retry_after: str | None = None
    """The `Retry-After` header as it came."""


class _CheckingResolver(AbstractResolver):
    """Resolve a name and check every address it stands for: one bad one spoils all."""

    def __init__(self, resolver: AbstractResolver, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses. Raises ForbiddenAddressError, OSError."""
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            why = forbidden(each["host"], allow_private=self._allow_private)
            if why is not None:
                raise ForbiddenAddressError(host, f"it is {each['host']}, and {why}")
        return found

    async def close(self) -> None:
        """Let go of the resolver."""
        await self._resolver.close()


def _checked_socket(allow_private: bool) -> Any:
    """Return a socket factory that makes none for a forbidden address, however we came to it."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, address = info
        why = forbidden(address[0], allow_private=allow_private)
        if why is not None:
            raise ForbiddenAddressError(address[0], why)
        return socket.socket(family, kind, proto)

    return make


class HttpClient:
    """Keeps connections open, apart for targets that may be private and for each extra authority."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver
        self._transports: dict[tuple[bool, Path | None], AiohttpTransport] = {}
        self._opening = asyncio.Lock()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        *,
        timeout: timedelta,
        allow_private: bool = False,
        ca_file: Path | None = None,
    ) -> Answer:
        """Send and return the answer, whatever its status.

        Raises ActionRejectedError for a URL or address we do not send to, ActionUnavailableError
        when there was no answer.
        """
        request = _request(method, url, headers, content, timeout)
        transport = await self._transport(allow_private, ca_file)
        host = request.url.host
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await _exchange(transport, request)
        except ActionRejectedError:
            raise
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as exc:
            raise ActionUnavailableError(f"{host}: {_cause(exc)}") from exc
        except ValueError as exc:  # aiohttp's word for a header or URL that cannot be sent
            raise ActionRejectedError(f"the request to {host} cannot be sent", "bad_request") from exc

    async def aclose(self) -> None:
        """Close every connection."""
        transports, self._transports = list(self._transports.values()), {}
        for transport in transports:
            await transport.aclose()

    async def _transport(self, allow_private: bool, ca_file: Path | None) -> AiohttpTransport:
        key = (allow_private, ca_file)
        async with self._opening:
            if key not in self._transports:
                trust = await asyncio.to_thread(_trust, ca_file)
                session = self._session(allow_private, trust)
                self._transports[key] = AiohttpTransport(verify=trust, trust_env=False, client=session)
            return self._transports[key]

    def _session(self, allow_private: bool, trust: ssl.SSLContext) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=_CheckingResolver(self._resolver or aiohttp.ThreadedResolver(), allow_private),
            use_dns_cache=False,
            socket_factory=_checked_socket(allow_private),
            ssl=trust,
            limit=64,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )


def check_url(url: str) -> httpx.URL:
    """Return the URL if we send to its kind. Raises ActionRejectedError that does not repeat it."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as exc:
        raise ActionRejectedError("the URL cannot be read", "bad_url") from exc
    if parsed.scheme not in ("http", "https"):
        raise ActionRejectedError("the URL must begin with http:// or https://", "bad_url")
    if not parsed.host:
        raise ActionRejectedError("the URL has no host", "bad_url")
    if parsed.userinfo:
        raise ActionRejectedError("the URL holds a user or password; put them into `headers`", "bad_url")
    return parsed


def _request(method: str, url: str, headers: Mapping[str, str], content: bytes, timeout: timedelta) -> httpx.Request:
    seconds = timeout.total_seconds()
    limits = {"connect": CONNECT_TIMEOUT, "read": seconds, "write": seconds, "pool": seconds}
    try:
        return httpx.Request(
            method, check_url(url), headers=_HEADERS | dict(headers), content=content, extensions={"timeout": limits}
        )
    except (ValueError, UnicodeEncodeError) as exc:
        raise ActionRejectedError("a header cannot be sent", "bad_request") from exc


async def _exchange(transport: AiohttpTransport, request: httpx.Request) -> Answer:
    """Send and return the status; that counts, whatever becomes of the body."""
    response = await transport.handle_async_request(request)
    try:
        await _read(response)
    except (TimeoutError, httpx.HTTPError, aiohttp.ClientError):
        pass
    finally:
        await response.aclose()
    return Answer(response.status_code, response.headers.get("retry-after"))


async def _read(response: httpx.Response) -> None:
    """Read a short body to its end, so that the connection can be used again."""
    read = 0
    async with asyncio.timeout(BODY_TIMEOUT):
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > MAX_ANSWER:
                return


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return what we trust: the system's authorities, those that come with httpx, and the file's."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as exc:
            raise ActionRejectedError(f"the certificate file {ca_file.name} cannot be read", "bad_ca_file") from exc
    return context


def _cause(error: BaseException) -> str:
    """Say what lies at the bottom, in words of ours or the system's: the libraries' own repeat the URL.

    They also call every failure to connect a time-out.
    """
    chain = [error]
    while (deeper := chain[-1].__cause__) is not None:
        chain.append(deeper)
    for each in reversed(chain):
        if isinstance(each, ssl.SSLError) and each.__cause__ is None:
            return f"TLS failed: {getattr(each, 'verify_message', None) or each.reason or 'no reason given'}"
        if isinstance(each, TimeoutError):
            return "no answer in time"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return "the connection failed"
