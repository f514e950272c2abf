"""A running simulator, and clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from connectors.ts_api.simulator import Simulator, SimulatorConfig

from .client import ADMIN


@pytest.fixture(scope="session")
def footage_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of made video for the whole run: the same moment is drawn once."""
    return tmp_path_factory.mktemp("footage")


@pytest.fixture
def config(footage_cache: Path) -> SimulatorConfig:
    """A server that tells motion at once, so that nothing waits for a tick."""
    return SimulatorConfig(cache_dir=footage_cache, motion_tick=timedelta(0))


@pytest.fixture
async def sim(config: SimulatorConfig) -> AsyncIterator[Simulator]:
    """The default server, running."""
    async with Simulator(config) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's HTTP client of that server."""
    async with httpx.AsyncClient(base_url=sim.url, auth=ADMIN) as client:
        yield client
