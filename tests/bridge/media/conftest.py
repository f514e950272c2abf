"""Footage is recorded once a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bridge.media.job import PieceFile
from bridge.media.pool import MediaWorkers
from tests.bridge.media.footage import Footage, record

Recorder = Callable[..., PieceFile]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Return `recorded(footage, suffix)`, which gives the same file for the same footage."""
    folder = tmp_path_factory.mktemp("footage")
    made: dict[tuple[Footage, str], PieceFile] = {}

    def give(footage: Footage | None = None, suffix: str = ".mp4") -> PieceFile:
        wanted = footage or Footage()
        key = (wanted, suffix)
        if key not in made:
            made[key] = record(folder / f"{len(made)}{suffix}", wanted)
        return made[key]

    return give


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return where a clip goes."""
    return tmp_path / "clip.mp4"


@pytest.fixture
async def workers() -> AsyncIterator[MediaWorkers]:
    """Return a pool of one warm worker."""
    async with MediaWorkers(1, warm=True) as pool:
        yield pool
