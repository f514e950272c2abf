"""Footage is recorded once a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.media.job import PieceFile
from tests.bridge.media.footage import Footage, record


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Footage], PieceFile]:
    """Return `recorded(footage)`, which gives the same file for the same footage."""
    folder = tmp_path_factory.mktemp("footage")
    made: dict[Footage, PieceFile] = {}

    def give(footage: Footage) -> PieceFile:
        if footage not in made:
            made[footage] = record(folder / f"{len(made)}.mp4", footage)
        return made[footage]

    return give
