"""Hold what all capabilities of one server share: its place, trust, connections, dialect, credentials.

Nothing is opened before it is needed, so building a connector does no I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

from bridge.sdk import (
    ActionRejectedError,
    ActionUnavailableError,
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
    SourceContext,
)

from . import discover
from .addresses import Host
from .auth import Credentials, FileAuth, credentials_for
from .config import TsApiConfig
from .discover import Basics
from .rest import Rest
from .tls import trust
from .wire import Wire, client


@dataclass(frozen=True, slots=True)
class Api:
    """The server as found: what it is, and how to speak to it."""

    found: Basics
    rest: Rest


class System:
    """One TS-API server. `transport` carries its requests instead of the network."""

    def __init__(
        self, config: TsApiConfig, context: SourceContext, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.config = config
        self.context = context
        self.clock = context.clock
        self.host = Host(config.url)
        self._transport = transport
        self._lock = asyncio.Lock()
        self._wire: Wire | None = None
        self._files: httpx.AsyncClient | None = None
        self._api: Api | None = None
        self._known: Api | None = None
        self._failed: ConnectorError | None = None
        self._looks = 0
        self._closed = False

    async def api(self) -> Api:
        """Return the server as it was found last; look for it if need be. Raises ConnectorError."""
        asked = self._looks
        async with self._lock:
            if self._api is not None:
                return self._api
            if self._failed is not None and self._looks != asked:
                # Somebody looked while we waited for our turn: many orders must not wait one after another.
                raise type(self._failed)(str(self._failed)) from self._failed
            return await self._look()

    async def find(self) -> Api:
        """Look at the server again: it may have been updated or reconfigured. Raises ConnectorError."""
        async with self._lock:
            return await self._look()

    def forget(self) -> None:
        """Have the next call look again, because the server no longer answers as it was found."""
        self._api = None

    async def _look(self) -> Api:
        try:
            self._api = await self._find()
        except ConnectorError as exc:
            self._failed = exc
            raise
        finally:
            self._looks += 1
        return self._api

    async def _find(self) -> Api:
        if self._closed:
            raise ConnectorUnavailableError("the connector is closed")
        if self._wire is None:
            self._wire = Wire(self.config, self.host, trust(self.config), self._transport)
        found = await discover.basics(self.config, self._wire, self.clock)
        if self._known is None or self._known.found.dialect != found.dialect:
            credentials = credentials_for(self.config, found.dialect, self._wire, self.clock)
            self._known = Api(found, Rest(self._wire, credentials, self.config.command_timeout))
        else:
            # The same credentials: a login is good for many sessions.
            self._known = Api(found, self._known.rest)
        return self._known

    async def clock_offset(self) -> timedelta | None:
        """Ask the server for the time, and say how far it is ahead of ours. Raises ConnectorError."""
        dialect = (await self.api()).found.dialect
        if self._wire is None:
            raise ConnectorUnavailableError("the connector is closed")
        return await discover.clock_offset(dialect, self._wire, self.clock)

    async def credentials(self) -> Credentials:
        """Return the credentials that fit the server's dialect. Raises ConnectorError."""
        return (await self.api()).rest.credentials

    def files(self) -> httpx.AsyncClient:
        """Return the client that fetches files: a pool of its own, so that no command waits for a download."""
        if self._files is None:
            config = self.config
            auth = FileAuth(self.credentials, self.host.netloc)
            self._files = client(
                config,
                trust(config),
                config.max_downloads,
                config.download_timeout,
                auth=auth,
                transport=self._transport,
            )
        return self._files

    async def aclose(self) -> None:
        """Log out and close every connection. Idempotent."""
        self._closed = True
        api, self._api, self._known = self._known, None, None
        wire, self._wire = self._wire, None
        files, self._files = self._files, None
        if api is not None:
            await api.rest.credentials.aclose()
        if wire is not None:
            await wire.aclose()
        if files is not None:
            await files.aclose()


class Capability:
    """What every capability is built on."""

    def __init__(self, system: System) -> None:
        self._system = system


@asynccontextmanager
async def ordered() -> AsyncIterator[None]:
    """Turn what hinders the source into what it means for an order that has not been sent yet."""
    try:
        yield
    except (ConnectorAuthError, ConnectorUnsupportedError) as exc:
        reason = "unauthorized" if isinstance(exc, ConnectorAuthError) else "missing"
        raise ActionRejectedError(str(exc), reason) from exc
    except ConnectorError as exc:
        raise ActionUnavailableError(str(exc)) from exc
