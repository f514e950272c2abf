"""Start the device as a process of its own and tell it what to send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bridge.errors import StartError

_TICKS = os.sysconf("SC_CLK_TCK")


class Remote:
    """The device, from outside."""

    def __init__(self, url: str, pid: int, client: httpx.AsyncClient) -> None:
        self.url, self.pid, self._client = url, pid, client

    async def flood(self, count: int, every: int) -> None:
        """Have it send events as fast as they are taken; every so many-th has a rule."""
        await self._tell("/bench/flood", count=count, every=every)

    async def pace(self, count: int, rate: float) -> None:
        """Have it send events at a steady rate, each of which should bring about a command."""
        await self._tell("/bench/pace", count=count, rate=rate)

    async def times(self, count: int, patience: float) -> list[float]:
        """Wait for so many commands, at most `patience` seconds; return the seconds from frame to command of those."""
        end = time.monotonic() + patience
        times: list[float] = []
        while len(times) < count and time.monotonic() < end:
            await asyncio.sleep(0.25)
            times = await self._tell("/bench/times")
        return times

    async def _tell(self, path: str, **query: float) -> Any:
        answer = await self._client.get(path, params=query)
        return answer.raise_for_status().json()


@asynccontextmanager
async def device() -> AsyncIterator[Remote]:
    """Run the device. Raises StartError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge.bench.device",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise StartError("the device has no output", "this is a bug: please report it")
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        if not line:
            raise StartError("the device did not start", "run `python -m bridge.bench.device` to see why")
        url = json.loads(line)["url"]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield Remote(url, process.pid, client)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time a process has used so far; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS
