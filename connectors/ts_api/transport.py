"""Keep connections to one server and send each request exactly once.

aiohttp does the sending, which costs a quarter of httpx' own transport. It has two habits that would be
dangerous here: it sends a GET again when a kept connection breaks under it, and on v0 a GET opens gates; and
its errors, as they come out of `httpx_aiohttp`, do not tell "never connected" from "cut off after sending",
which decides whether an order may be tried again. Both end in `_once`. Nothing else is decided here.
"""

from __future__ import annotations

import ssl
from datetime import timedelta

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

_IDLE = timedelta(seconds=5)
"""How long a connection is kept that nobody uses. Servers hang up after 5 s or more."""


def transport(tls: ssl.SSLContext | None, connections: int) -> httpx.AsyncBaseTransport:
    """Return the way to one server over at most so many connections; it needs a running loop from its first use."""

    trusted = tls or ssl.create_default_context()

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=trusted,
            limit=connections,
            keepalive_timeout=_IDLE.total_seconds(),
            resolver=aiohttp.ThreadedResolver(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            middlewares=(_once,),
        )

    return AiohttpTransport(verify=trusted, trust_env=False, client=session)


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send, and say in httpx' words what went wrong: aiohttp passes those on and does not send again."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
        raise httpx.ConnectError(str(exc)) from exc
    except aiohttp.ServerTimeoutError as exc:
        raise httpx.ReadTimeout(str(exc)) from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise httpx.RemoteProtocolError(str(exc)) from exc
