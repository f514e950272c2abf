"""The disk of tests that go by the virtual clock."""

from __future__ import annotations

import pytest

from tests.bridge.actions.support import inline


@pytest.fixture
def disk_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk take no time."""
    monkeypatch.setattr("asyncio.to_thread", inline)
