"""Real MQTT brokers for the tests: Debian's Mosquitto and the embedded nats-server's listener."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

Kind = Literal["mosquitto", "nats-server"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary(kind: Kind) -> str:
    if kind == "nats-server":
        return str(Path(sysconfig.get_path("scripts")) / "nats-server")
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail("this test needs a real Mosquitto: install the Debian package `mosquitto` (.ci/run does)")
    return found


def _config(kind: Kind, port: int, folder: Path) -> str:
    if kind == "mosquitto":
        return f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
    store = folder / "js"
    return (
        f'server_name: test\nlisten: "127.0.0.1:-1"\njetstream {{ store_dir: "{store}" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}" }}\n'
    )


@dataclass
class Broker:
    """A broker that can go away and come back on the same port."""

    kind: Kind
    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "broker.conf"
        config.write_text(_config(self.kind, self.port, self.folder))
        self.process = await asyncio.create_subprocess_exec(
            _binary(self.kind), "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await self.until_it_listens()

    async def until_it_listens(self) -> None:
        async with asyncio.timeout(10):
            while not await self._listens():  # noqa: ASYNC110 - another process begins to listen when it does
                await asyncio.sleep(0.02)

    async def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, f"{self.kind} ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@asynccontextmanager
async def broker(kind: Kind, folder: Path) -> AsyncIterator[Broker]:
    """A running broker."""
    served = Broker(kind, folder / kind, free_port())
    await served.start()
    try:
        yield served
    finally:
        await served.stop()
