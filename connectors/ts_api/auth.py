"""Prove who we are: user and password on v0, an API key or a login on v1. Never a cookie.

Tokens rotate: a refresh kills the old refresh token, so all renewals go through one lock, and
whoever comes second uses what the first one got. Secrets leave this module only inside headers
and query strings meant for the configured server.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from bridge.sdk import Clock, ConnectorAuthError

from .config import TsApiConfig
from .failures import Failure, Kind
from .values import Dialect
from .wire import Answer, Call, Wire

_LOGIN, _REFRESH, _LOGOUT = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/logout"
_RENEW_AT = 0.8
_LIFETIME = 3600.0
"""Seconds, where the server does not say; the guide's access tokens live so long."""
_AGAIN_AFTER = 30.0
"""Seconds without another login after a refused one: many orders must not lock the account."""
_FAREWELL = 1.0
"""Seconds for a logout; nobody waits longer for a courtesy."""

_log = logging.getLogger(__name__)


class Credentials:
    """What to show the server. This one shows nothing."""

    async def headers(self) -> Mapping[str, str] | Failure:
        """Return the headers that authenticate a request or a v1 socket."""
        return {}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """After a 401: tell whether there are other credentials now than those that were refused."""
        del refused
        return False

    def for_query(self) -> Mapping[str, str]:
        """Return the parameters that authenticate where no header can: v0 sockets, streams."""
        return {}

    async def aclose(self) -> None:
        """Give back what the server keeps for us."""


class Basic(Credentials):
    """User and password: as a header for requests and files, as `auth=` for v0 sockets and streams."""

    def __init__(self, username: str, password: str) -> None:
        self._encoded = encoded(username, password)

    async def headers(self) -> Mapping[str, str] | Failure:
        """Return the Basic header."""
        return {"Authorization": f"Basic {self._encoded}"}

    def for_query(self) -> Mapping[str, str]:
        """Return `auth=`."""
        return {"auth": self._encoded}


class ApiKey(Credentials):
    """A v1 API key; it does not run out by itself."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def headers(self) -> Mapping[str, str] | Failure:
        """Return the key's header."""
        return {"X-API-Key": self._key}

    def for_query(self) -> Mapping[str, str]:
        """Return `apikey=`."""
        return {"apikey": self._key}


@dataclass(frozen=True, slots=True)
class _Tokens:
    access: str
    refresh: str | None
    renew_at: float

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.access}"}


class Login(Credentials):
    """A v1 login: an access token, renewed at 80 % of its life or when the server refuses it."""

    def __init__(self, username: str, password: str, wire: Wire, clock: Clock) -> None:
        self._encoded = encoded(username, password)
        self._wire = wire
        self._clock = clock
        self._lock = asyncio.Lock()
        self._tokens: _Tokens | None = None
        self._refused: tuple[Failure, float] | None = None

    async def headers(self) -> Mapping[str, str] | Failure:
        """Return the bearer header, fresh."""
        async with self._lock:
            if self._tokens is None or self._clock.monotonic() >= self._tokens.renew_at:
                failure = await self._renew()
                if failure is not None:
                    return failure
            assert self._tokens is not None  # noqa: S101 - set by the renewal that has just succeeded
            return self._tokens.headers

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Get another token unless somebody has since; tell whether there is one."""
        async with self._lock:
            if self._tokens is not None and self._tokens.headers != refused:
                return True
            return await self._renew() is None

    def for_query(self) -> Mapping[str, str]:
        """Return `token=`."""
        return {"token": self._tokens.access} if self._tokens is not None else {}

    async def aclose(self) -> None:
        """Log out, if that is quickly done."""
        tokens, self._tokens = self._tokens, None
        if tokens is None or tokens.refresh is None:
            return
        call = Call(_LOGOUT, method="POST", body={"refreshToken": tokens.refresh})
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._wire.send(call, tokens.headers)
        except TimeoutError:
            _log.debug("logout not answered")

    async def _renew(self) -> Failure | None:
        """Refresh, or log in where that does not do. A refresh token is used once, whatever comes of it."""
        old, self._tokens = self._tokens, None
        if old is not None and old.refresh is not None:
            call = Call(_REFRESH, method="POST", body={"refreshToken": old.refresh})
            if await self._take(call) is None:
                return None
        return await self._login()

    async def _login(self) -> Failure | None:
        if self._refused is not None and self._clock.monotonic() < self._refused[1]:
            return self._refused[0]
        failure = await self._take(Call(_LOGIN, method="POST", body={"auth": self._encoded}))
        refused = failure is not None and failure.kind is Kind.UNAUTHORIZED
        self._refused = (failure, self._clock.monotonic() + _AGAIN_AFTER) if failure and refused else None
        return failure

    async def _take(self, call: Call) -> Failure | None:
        asked = self._clock.monotonic()
        answer = await self._wire.send(call)
        if isinstance(answer, Failure):
            return answer
        tokens = _tokens(answer, asked)
        if tokens is None:
            return Failure(Kind.NONSENSE, f"{call.what}: the answer holds no token")
        self._tokens = tokens
        return None


def _tokens(answer: Answer, asked: float) -> _Tokens | None:
    data = answer.data
    if not isinstance(data, dict) or not isinstance(data.get("accessToken"), str):
        return None
    life, refresh = data.get("expiresIn"), data.get("refreshToken")
    seconds = float(life) if isinstance(life, (int, float)) and life > 0 else _LIFETIME
    return _Tokens(data["accessToken"], refresh if isinstance(refresh, str) else None, asked + seconds * _RENEW_AT)


class FileAuth(httpx.Auth):
    """Credentials for a client that fetches files: for the configured server only, renewed once on a 401."""

    def __init__(self, credentials: Callable[[], Awaitable[Credentials]], netloc: str) -> None:
        self._credentials = credentials
        self._netloc = netloc

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the headers, where the request goes to our server."""
        if urlsplit(str(request.url)).netloc != self._netloc:
            yield request
            return
        credentials = await self._credentials()
        shown = await self._show(credentials, request)
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and await credentials.renew(shown):
            await self._show(credentials, request)
            yield request

    async def _show(self, credentials: Credentials, request: httpx.Request) -> Mapping[str, str]:
        headers = await credentials.headers()
        if isinstance(headers, Failure):
            raise headers.of_source()
        request.headers.update(headers)
        return headers


def credentials_for(config: TsApiConfig, dialect: Dialect, wire: Wire, clock: Clock) -> Credentials:
    """Choose what to show in a dialect. Raises ConnectorAuthError if the configuration has nothing for it."""
    by_key = config.credentials != "login" and config.api_key is not None
    if dialect == "v1" and by_key and config.api_key is not None:
        return ApiKey(config.api_key.get_secret_value())
    if config.username is None or config.password is None:
        raise ConnectorAuthError(f"the server speaks only {dialect}, which needs `username` and `password`")
    password = config.password.get_secret_value()
    if dialect == "v0":
        return Basic(config.username, password)
    return Login(config.username, password, wire, clock)


def encoded(username: str, password: str) -> str:
    """Return base64 of `user:password`; the guide names no character set, UTF-8 is what its pages are in."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()
