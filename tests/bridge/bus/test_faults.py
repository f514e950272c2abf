"""kill -9 of the server under load, against a ledger of what was promised that shares no code with the bus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from bridge.bus.bus import Bus
from bridge.bus.server import EmbeddedServer
from bridge.errors import StoreUnavailableError
from tests.bridge.bus.helpers import CONFIG, event, until

KILLS = 6


async def _promised(bus: Bus, promised: set[str], stop: asyncio.Event) -> None:
    """Emit from eight connectors at once and note every id that got a yes."""
    intake = await bus.intake()

    async def connector(number: int) -> None:
        count = 0
        while not stop.is_set():
            group = [
                event(f"{number}-{count + offset}", subject=str(number)) for offset in range(random.randint(1, 30))
            ]
            count += len(group)
            for _ in range(50):  # as a sender does: again, with the same ids, until there is a yes
                try:
                    await (await intake(group))
                except StoreUnavailableError:
                    await asyncio.sleep(0.05)
                else:
                    promised.update(entry.id for entry in group)
                    break

    await asyncio.gather(*(connector(number) for number in range(8)))


async def test_no_promised_event_is_missing_after_kills_of_the_server(tmp_path: Path) -> None:
    """The server is killed again and again under load: every id that was promised is in the log, once, in order."""
    promised: set[str] = set()
    stop = asyncio.Event()
    async with EmbeddedServer(CONFIG, tmp_path) as server, Bus.open("home", CONFIG, server) as bus:
        load = asyncio.create_task(_promised(bus, promised, stop))
        for kill in range(KILLS):
            mark = len(promised) + 500
            await until(lambda mark=mark: len(promised) >= mark)  # type: ignore[misc]
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda kill=kill: server.restarts == kill + 1)  # type: ignore[misc]
        stop.set()
        await load
        totals = bus.health().totals
    stored = await _stored(tmp_path)
    assert len(promised) > KILLS * 500
    assert promised <= set(stored), f"{len(promised - set(stored))} promised events are missing"
    assert len(stored) == len(set(stored)), "an event stands there twice"
    for number in range(8):
        own = [int(name.partition("-")[2]) for name in stored if name.startswith(f"e{number}-")]
        assert own == sorted(own), "one sender's events are out of order"
    assert totals.stored <= len(stored)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets us mount nothing: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def test_a_full_disk_refuses_quickly_loses_nothing_and_heals_by_itself(small_disk: Path) -> None:
    """Filled by somebody else: refusals within 2 s; with room again it takes events within 10 s, all promised there."""
    promised: set[str] = set()
    data_dir = small_disk / "data"
    async with EmbeddedServer(CONFIG, data_dir) as server, Bus.open("home", CONFIG, server) as bus:
        intake = await bus.intake()

        async def offer(name: str) -> bool:
            try:
                await (await intake([event(name, raw="x" * 2000)]))
            except StoreUnavailableError:
                return False
            promised.add(f"e{name}")
            return True

        assert all([await offer(f"before{number}") for number in range(100)])
        fill = os.open(small_disk / "fill", os.O_CREAT | os.O_WRONLY)
        with contextlib.suppress(OSError):
            while os.write(fill, b"x" * 4096):
                pass
        os.close(fill)
        loop = asyncio.get_running_loop()
        number = 0
        while True:
            number, began = number + 1, loop.time()
            if not await offer(f"full{number}"):
                break
        assert loop.time() - began < 2.5
        (small_disk / "fill").unlink()
        async with asyncio.timeout(10):
            while not await offer("after"):  # noqa: ASYNC110 - a sender tries again
                await asyncio.sleep(0.05)
    assert promised <= set(await _stored(data_dir))


async def _stored(data_dir: Path) -> list[str]:
    """The ids in the log, read with NATS' own client from a freshly started server."""
    async with EmbeddedServer(CONFIG, data_dir) as server:
        client = await nats.connect(
            server.url, user=server.access.username, password=server.access.password.get_secret_value()
        )
        found: list[str] = []
        subscription = await client.jetstream().pull_subscribe("", stream="VMS-home-EVENTS", durable="checker")
        left = (await subscription.consumer_info()).num_pending or 0
        while left > 0:
            for message in await subscription.fetch(min(left, 500), timeout=10):
                found.append(json.loads(message.data)["id"])
                await message.ack()
                left -= 1
        await client.close()
        return found
