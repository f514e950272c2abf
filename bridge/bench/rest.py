"""`bench rest`: what a bridge takes while nothing happens, beside idle libraries and an empty server.

The bridge is a process of its own, as `vms-bridge run` starts it, with ten simulated systems of ten cameras. What is
counted are it and every process that it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic_core import from_json

from bridge.app import Registries
from bridge.bench.remote import cpu_seconds
from bridge.bench.report import Figure, Goal, Say
from bridge.bus import store_format
from bridge.bus.server import EmbeddedServer
from bridge.config.models import BusConfig
from bridge.errors import StartError

MEMORY, CPU = Goal(150, "value", "less"), Goal(3, "value", "less")
SOURCES, RULES = 10, 100
_SETTLES = 5.0
"""Seconds after the last source is heard until it counts as at rest."""
_PATIENCE = 60.0
_LIBRARIES = "import aiohttp, nats, pydantic, websockets, sys; print(flush=True); sys.stdin.read()"
_SIMULATOR = """
import asyncio, sys
from connectors.ts_api.simulator import SimulatorConfig, serve
cameras = [{"chid": number, "title": f"Camera {number}"} for number in range(1, 11)]
config = SimulatorConfig.model_validate({"port": 0, "channels": cameras, "lots": [], "spots": [], "call_stations": []})
asyncio.run(serve(config, lambda simulator: print(simulator.url, flush=True)))
"""
_SOURCE = '  nvr{number}: {{type: ts-api, url: "{url}", username: admin, password: admin}}\n'
_RULE = """\
  - id: rule-{number:03d}
    when: {{kind: plate.read, source: nvr{source}}}
    match: {{plate: P{number:03d}}}
    cooldown: 30s
    then: [{{emit: {{kind: custom.seen}}}}]
"""


@dataclass(frozen=True, slots=True)
class Weight:
    """Memory of some processes in MiB: all that is in it, and that divided by how many share it."""

    rss: float
    pss: float

    @classmethod
    def of(cls, pids: Iterable[int]) -> Weight:
        """Weigh processes together."""
        found = [_smaps(pid) for pid in pids]
        return cls(sum(rss for rss, _ in found) / 1024, sum(pss for _, pss in found) / 1024)


async def measure(registries: Registries, folder: Path, say: Say, *, seconds: float) -> list[Figure]:
    """Look on for so many seconds. Raises StartError."""
    floor = await _floor(folder)
    say(f"round 1, floor: {floor.rss:.0f} MiB")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        async with _started("-c", _SIMULATOR) as (_, url):
            _write(Path(name), url)
            async with _started("-m", "bridge", "run", cwd=Path(name), says=False) as (bridge, _):
                await _heard(Path(name))
                await asyncio.sleep(_SETTLES)
                pids = [bridge, *_children(bridge)]
                before = sum(map(_cpu, pids))
                await asyncio.sleep(seconds)
                busy = (sum(map(_cpu, pids)) - before) / seconds * 100
                whole, alone = Weight.of(pids), Weight.of([bridge])
    say(f"round 1, bridge: {whole.rss:.0f} MiB, {busy:.1f} % of a core")
    return [
        Figure(f"memory, {len(pids)} processes", whole.rss, "MiB", floor.rss, MEMORY),
        Figure("of it the bridge's own process", alone.rss, "MiB"),
        Figure("memory, what is shared counted once", whole.pss, "MiB", floor.pss),
        Figure("CPU", busy, "% of a core", None, CPU),
    ]


async def _floor(folder: Path) -> Weight:
    """Weigh the libraries that nobody can do without, doing nothing, and a server without a stream."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store_format.claim(Path(name), "bench")
        async with EmbeddedServer(BusConfig(), Path(name)) as server, _started("-c", _LIBRARIES) as (pid, _):
            return Weight.of([pid, server.pid or 0])


@asynccontextmanager
async def _started(*arguments: str, cwd: Path | None = None, says: bool = True) -> AsyncIterator[tuple[int, str]]:
    """Run a Python until the end; give its process id and, when it says one, its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=cwd,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _PATIENCE) if says and process.stdout else b""
        if says and not line:
            raise StartError("a process of the benchmark did not start", "this is a bug: please report it")
        yield process.pid, line.decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _write(folder: Path, url: str) -> None:
    sources = "".join(_SOURCE.format(number=number, url=url) for number in range(SOURCES))
    rules = "".join(_RULE.format(number=number, source=number % SOURCES) for number in range(RULES))
    text = f"site: bench\ndata_dir: data\nhttp: {{port: 0}}\nsources:\n{sources}rules: [rules.yaml]\n"
    (folder / "bridge.yaml").write_text(text, encoding="utf-8")
    (folder / "rules.yaml").write_text(f"rules:\n{rules}", encoding="utf-8")


async def _heard(folder: Path) -> None:
    """Return when every source is heard. Raises StartError."""
    access = folder / "data" / "api.json"
    try:
        async with asyncio.timeout(_PATIENCE), httpx.AsyncClient(trust_env=False) as client:
            while not await asyncio.to_thread(access.exists):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.2)
            url = from_json(await asyncio.to_thread(access.read_bytes))["url"]
            up = 0
            while up < SOURCES:
                await asyncio.sleep(0.2)
                lines = (await client.get(f"{url}/metrics")).text.splitlines()
                up = sum(line.startswith("vms_bridge_source_up{") and line.endswith(" 1.0") for line in lines)
    except (TimeoutError, httpx.HTTPError) as error:
        raise StartError("the bridge does not hear its sources", "run with nothing else on the machine") from error


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]


def _smaps(pid: int) -> tuple[int, int]:
    """Return resident and proportional size in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    sizes = {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return sizes["Rss"], sizes["Pss"]


def _cpu(pid: int) -> float:
    return cpu_seconds(pid) or 0.0
