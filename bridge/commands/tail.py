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
from bridge.config.models import BusConfig
from bridge.errors import StartError

_NAME = "vms-bridge cli"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Where to connect to what listens on every address."""


def data_dir(loaded: Loaded) -> Path:
    """Return the site's data directory."""
    return (loaded.folder / loaded.config.data_dir).absolute()


@asynccontextmanager
async def reaching(loaded: Loaded, *, may_start: bool = True) -> AsyncIterator[Connection]:
    """Yield a connection to the site's bus. Raises StartError when there is nothing stored or nobody answers.

    A server that we start holds the data directory, and no bridge can start meanwhile: whoever
    stays for long says `may_start=False` and is refused when no bridge runs.
    """
    bus, folder = loaded.config.bus, data_dir(loaded)
    if bus.servers:
        async with Connection(bus.servers, bus.username, bus.password, _NAME).opened() as connection:
            yield connection
        return
    if not (folder / "bus" / "server.json").exists():
        raise StartError(f"there is nothing in {folder} yet", "start the bridge first: vms-bridge run")
    lock = _take(folder)
    if lock is None:
        async with _running(bus, folder).opened() as connection:
            yield connection
        return
    try:
        if not may_start:
            raise StartError(f"no bridge is running on {folder}", "start it first: vms-bridge run")
        async with EmbeddedServer(bus, folder, lock) as server:
            access = server.access
            async with Connection([server.url], access.username, access.password, _NAME).opened() as connection:
                yield connection
    finally:
        lock.release()


def in_use(folder: Path) -> bool:
    """Tell whether a bridge runs on a data directory. Raises StartError if that cannot be seen."""
    if not (folder / "lock").exists():
        return False
    lock = _take(folder)
    if lock is None:
        return True
    lock.release()
    return False


def _take(folder: Path) -> Lock | None:
    """Take the data directory; None if somebody else has it. Raises StartError if it cannot be used at all."""
    lock = Lock(folder)
    try:
        lock.take()
    except StartError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return None
        raise
    return lock


def _running(bus: BusConfig, folder: Path) -> Connection:
    """Return the way to the server of the bridge that runs."""
    file = folder / "bus" / "server.json"
    known = read_json(file)
    try:
        port, password = int(known["port"]), SecretStr(known["password"])
    except (KeyError, ValueError) as error:
        raise StartError(f"{file} does not say where the bridge's NATS is", "restart the bridge") from error
    host = _ANY.get(bus.host, bus.host)
    url = f"nats://[{host}]:{port}" if ":" in host else f"nats://{host}:{port}"
    return Connection([url], "bridge", password, _NAME)
