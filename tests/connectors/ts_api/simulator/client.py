"""What the tests need to talk to a simulator as a client would."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect

from connectors.ts_api.simulator import DEMO_KEY, Simulator

SAMPLES = Path(__file__).parents[2] / "data" / "ts_api"
ADMIN = ("admin", "admin")
ADMIN_AUTH = base64.b64encode(b"admin:admin").decode()
KEY = {"X-API-Key": DEMO_KEY, "X-Host": "server.example:8443"}


def sample(name: str) -> Any:
    """Return a recorded message of the vendor's documents."""
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


class Socket:
    """An event socket that reads JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def read(self) -> Any:
        """Return the next message."""
        return json.loads(await self.read_text())

    async def read_text(self) -> str:
        """Return the next message as it came."""
        async with asyncio.timeout(5):
            text = await self.connection.recv()
        assert isinstance(text, str)
        return text

    async def say(self, message: Any) -> None:
        """Send a message, as JSON unless it is a text."""
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def closed(self) -> None:
        """Return when the server has ended the connection."""
        async with asyncio.timeout(5):
            await self.connection.wait_closed()

    async def is_silent(self, seconds: float = 0.1) -> bool:
        """Tell whether nothing comes for a while."""
        try:
            async with asyncio.timeout(seconds):
                await self.connection.recv()
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def v0_socket(sim: Simulator, topics: str, **parameters: Any) -> AsyncIterator[Socket]:
    """Open a v0 event socket as the administrator."""
    query = urlencode({"topics": topics, "auth": ADMIN_AUTH, **parameters}, quote_via=quote)
    async with open_path(sim, f"/wsapi/subscribeEvents?{query}") as socket:
        yield socket


@asynccontextmanager
async def v1_socket(
    sim: Simulator, topics: str = "", headers: dict[str, str] | None = None, **parameters: Any
) -> AsyncIterator[Socket]:
    """Open a v1 event socket with the demo key, or with other headers."""
    query = urlencode({"topics": topics, **parameters} if topics else parameters)
    async with open_path(sim, f"/wsapi/v1/events?{query}", KEY if headers is None else headers) as socket:
        yield socket


@asynccontextmanager
async def open_path(sim: Simulator, path: str, headers: dict[str, str] | None = None) -> AsyncIterator[Socket]:
    """Open a socket on any path."""
    url = sim.url.replace("http", "ws", 1) + path
    async with connect(
        url, additional_headers=headers, max_size=16 * 1024 * 1024, close_timeout=0.2, ping_interval=None
    ) as connection:
        yield Socket(connection)


async def token_of(sim: Simulator, user: str = "admin:admin") -> dict[str, Any]:
    """Sign in on v1 and return the answer."""
    async with httpx.AsyncClient(base_url=sim.url) as client:
        body = {"auth": base64.b64encode(user.encode()).decode()}
        answer = await client.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def differences(recorded: Any, emitted: Any, path: str = "") -> list[str]:
    """Return how the members and types of two JSON values differ; items of lists are compared as one union."""
    if isinstance(recorded, dict) and isinstance(emitted, dict):
        found = [f"{path}.{name} is missing" for name in recorded.keys() - emitted.keys()]
        found += [f"{path}.{name} is new" for name in emitted.keys() - recorded.keys()]
        for name in sorted(recorded.keys() & emitted.keys()):
            found += differences(recorded[name], emitted[name], f"{path}.{name}")
        return found
    if isinstance(recorded, list) and isinstance(emitted, list):
        if not recorded or not emitted:
            return []
        return differences(_union(recorded), _union(emitted), f"{path}[]")
    return [] if _kind(recorded) == _kind(emitted) else [f"{path}: {_kind(emitted)}, not {_kind(recorded)}"]


def _union(items: list[Any]) -> Any:
    if not all(isinstance(item, dict) for item in items):
        return items[0]
    whole: dict[str, Any] = {}
    for item in items:
        for name, value in item.items():
            if name not in whole or whole[name] is None:
                whole[name] = value
    return whole


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
