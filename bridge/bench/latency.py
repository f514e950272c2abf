"""`bench latency`: how long it takes from a frame on the socket to the command at the video system.

The whole application runs, as `vms-bridge run` runs it. The device takes both times with its own
clock. Floor and bridge take turns, so that both see the same machine.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bridge.app import Registries, running
from bridge.bench.device import CHANNELS
from bridge.bench.floor import answering, bare_server
from bridge.bench.remote import Remote, device
from bridge.bench.report import Figure, Goal, Say
from bridge.bench.site import SOURCE, one_rule, site
from bridge.runtime.collector import settle

GOALS = {50: Goal(3, "ratio", "less"), 99: Goal(5, "ratio", "less")}
RATE = 200.0
"""Events a second."""
_WARM = 4 * CHANNELS
"""Events before the measure: every camera's presets are known then, and every connection is open."""
_PATIENCE = 5.0
"""Seconds to wait for the last commands. One that has not come by then counts as having taken so long."""


async def measure(registries: Registries, folder: Path, say: Say, *, count: int, rounds: int) -> list[Figure]:
    """Measure `count` events in each round. Raises StartError."""
    ours: list[float] = []
    bare: list[float] = []
    async with device() as remote:
        for number in range(rounds):
            bare += await _bare(folder, registries, remote, count)
            say(f"round {number + 1}, floor: {_words(bare)}")
            ours += await _ours(folder, registries, remote, count)
            say(f"round {number + 1}, bridge: {_words(ours)}")
    return [
        Figure(f"frame to command, p{part}", percentile(ours, part), "ms", percentile(bare, part), GOALS[part])
        for part in GOALS
    ] + [
        Figure("frame to command, slowest", max(ours) * 1e3, "ms", max(bare) * 1e3),
        Figure("commands not there after 5 s", ours.count(_PATIENCE), "commands", bare.count(_PATIENCE)),
    ]


def percentile(times: Sequence[float], part: int) -> float:
    """Return a percentile of times in seconds, in milliseconds."""
    return statistics.quantiles(times, n=100, method="inclusive")[part - 1] * 1e3


def _words(times: Sequence[float]) -> str:
    return f"p50 {percentile(times, 50):.2f} ms, p99 {percentile(times, 99):.2f} ms"


async def _paced(remote: Remote, count: int) -> list[float]:
    settle()  # as `run` does when all parts are up
    for events in (_WARM, count):
        await remote.pace(events, RATE)
        times = await remote.times(events, events / RATE + _PATIENCE)
    return times + [_PATIENCE] * (count - len(times))


async def _bare(folder: Path, registries: Registries, remote: Remote, count: int) -> list[float]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        loaded = site(Path(name), registries.connectors, remote.url, one_rule(), "always")
        async with (
            bare_server(loaded.config.bus, Path(name) / "data") as (_, client),
            answering(client, remote.url),
        ):
            return await _paced(remote, count)


async def _ours(folder: Path, registries: Registries, remote: Remote, count: int) -> list[float]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        loaded = site(Path(name), registries.connectors, remote.url, one_rule(), "always")
        async with running(loaded, registries) as bridge:
            await bridge.listening(SOURCE)
            return await _paced(remote, count)
