"""What was promised and what is there, and the comparison of the two."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from .common import UnavailableError, wait_for
from .site import NAME, server_pid

_BATCH = 500


@dataclass
class Ledger:
    """What the injector offered, and what of it was answered with a yes; every yes is on paper before it counts."""

    path: Path
    offered: int = 0
    acked: set[str] = field(default_factory=set)

    def yes(self, names: Collection[str]) -> None:
        """Write down that these were promised."""
        with self.path.open("a", encoding="ascii") as file:
            file.write("\n".join(names) + "\n")
        self.acked.update(names)


@dataclass(frozen=True)
class Kept:
    """How many of the promised are lost, and how many are there more than once."""

    lost: int
    doubled: int

    @classmethod
    def compare(cls, promised: Collection[str], stored: Collection[str]) -> Kept:
        """Compare names that were promised with names as they are stored."""
        there = Counter(stored)
        lost = sum(name not in there for name in promised)
        return cls(lost, sum(times - 1 for times in there.values()))


def program() -> str:
    """Return where nats-server is."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise UnavailableError("there is no nats-server to read with")
    return found


def stored(data_dir: Path, stream: str = "EVENTS") -> list[dict[str, Any]]:
    """Return everything in a stream of a site whose bridge is not running, read with a server of our own."""
    with own_server(data_dir):
        return asyncio.run(_read(data_dir, stream))


def stored_plates(data_dir: Path) -> list[str]:
    """Return the plate of every plate that was read, as they are stored."""
    return [event["data"]["plate"] for event in stored(data_dir) if event["type"] == "plate.read"]


@contextmanager
def own_server(data_dir: Path) -> Iterator[None]:
    """Run a nats-server on what the bridge left, with the configuration that it left."""
    # One that a killed bridge left ends by itself, a moment later.
    wait_for(lambda: server_pid(data_dir) is None, 60, lambda: "the bridge's nats-server still runs")
    process = subprocess.Popen(
        [program(), "-c", data_dir / "bus" / "nats.conf"],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        lines = iter(process.stderr or ())
        if not any("Server is ready" in line for line in lines):
            raise UnavailableError("nats-server does not start on what the bridge left")
        yield
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


async def connect(data_dir: Path) -> Client:
    """Log in to the server of a site."""
    who = json.loads((data_dir / "bus" / "server.json").read_text())
    return await nats.connect(
        f"nats://127.0.0.1:{who['port']}", user="bridge", password=who["password"], allow_reconnect=False
    )


async def _read(data_dir: Path, stream: str) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body, _ in await messages(data_dir, stream)]


async def messages(data_dir: Path, stream: str, subject: str = "") -> list[tuple[str, bytes, float]]:
    """Return subject, body and time of every message that a running server has in a stream."""
    client = await connect(data_dir)
    found: list[tuple[str, bytes, float]] = []
    try:
        reader = await client.jetstream().pull_subscribe(
            subject,
            stream=f"VMS-{NAME}-{stream}",
            config=ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL),
        )
        left = (await reader.consumer_info()).num_pending or 0
        while left > 0:
            for message in await reader.fetch(min(left, _BATCH), timeout=5):
                found.append((message.subject, message.data, message.metadata.timestamp.timestamp()))
                left -= 1
    except nats.errors.TimeoutError as exc:
        raise UnavailableError(f"{stream} cannot be read") from exc
    finally:
        await client.close()
    return found


def purge(data_dir: Path, stream: str, subject: str) -> None:
    """Take messages out of a stream of a site whose bridge is not running."""

    async def work() -> None:
        client = await connect(data_dir)
        await client.jetstream().purge_stream(f"VMS-{NAME}-{stream}", subject=subject)
        await client.close()

    with own_server(data_dir):
        asyncio.run(work())
