"""One server and one bus a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.bus.bus import Bus
from tests.bridge.bus.helpers import running_bus


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    """A bus on an embedded server of its own."""
    async with running_bus(tmp_path) as running:
        yield running
