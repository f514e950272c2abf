"""Reach what a site has stored: through the bridge that runs, or through a server started for the look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from bridge.bus import store_format
from bridge.bus.connect import Connection
from bridge.bus.datadir import Lock, read_json
from bridge.bus.roles import Role, inbox, user
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
async def reaching(loaded: Loaded, *, may_start: bool = True, role: Role | None = None) -> AsyncIterator[Connection]:
    """Yield a connection to the site's bus. Raises StartError when there is nothing stored or nobody answers.

    A server that we start holds the data directory, and no bridge can start meanwhile: whoever
    stays for long says `may_start=False` and is refused when no bridge runs. `role` logs in with no
    more rights than that role has; a command that only looks is a `reader`. On servers of the user's
    own the rights are those of the user it was given.
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
        async with _running(bus, folder, role).opened() as connection:
            yield connection
        return
    try:
        if not may_start:
            raise StartError(f"no bridge is running on {folder}", "start it first: vms-bridge run")
        store_format.claim(folder, loaded.config.site)
        async with EmbeddedServer(bus, folder, lock), _running(bus, folder, role).opened() as connection:
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


def _running(bus: BusConfig, folder: Path, role: Role | None) -> Connection:
    """Return the way to the server that runs on a data directory."""
    file = folder / "bus" / "server.json"
    known = read_json(file)
    try:
        port = int(known["port"])
        password = SecretStr(known["roles"][role] if role else known["password"])
    except (KeyError, TypeError, ValueError) as error:
        raise StartError(f"{file} does not say where the bridge's NATS is", "restart the bridge") from error
    host = _ANY.get(bus.host, bus.host)
    url = f"nats://[{host}]:{port}" if ":" in host else f"nats://{host}:{port}"
    if role is None:
        return Connection([url], "bridge", password, _NAME)
    return Connection([url], user(role), password, _NAME, inbox(role))
