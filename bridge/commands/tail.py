"""Reach what a site has stored: through the bridge that runs, or through a server started for the look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from bridge.bus.connect import Connection
from bridge.bus.datadir import Lock, read_json
from bridge.bus.server import EmbeddedServer
from bridge.config.load import Loaded
from bridge.errors import StartError


def data_dir(loaded: Loaded) -> Path:
    """Return the site's data directory."""
    return (loaded.folder / loaded.config.data_dir).absolute()


@asynccontextmanager
async def reaching(loaded: Loaded) -> AsyncIterator[Connection]:
    """Yield a connection to the site's bus. Raises StartError when there is nothing stored or nobody answers."""
    bus, folder = loaded.config.bus, data_dir(loaded)
    if bus.servers:
        async with Connection(bus.servers, bus.username, bus.password, "vms-bridge cli").opened() as connection:
            yield connection
        return
    if not (folder / "bus" / "server.json").exists():
        raise StartError(f"there is nothing in {folder} yet", "start the bridge first: vms-bridge run")
    lock = Lock(folder)
    try:
        lock.take()
    except StartError:
        known = read_json(folder / "bus" / "server.json")
        url = f"nats://127.0.0.1:{known['port']}"
        async with Connection([url], "bridge", SecretStr(known["password"]), "vms-bridge cli").opened() as connection:
            yield connection
        return
    try:
        async with EmbeddedServer(bus, folder, lock) as server:
            password = server.access.password
            async with Connection([server.url], server.access.username, password, "vms-bridge cli").opened() as found:
                yield found
    finally:
        lock.release()
