"""One simulated server for the tests that only ask it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.commands.helpers import ROOT, going


@pytest.fixture(scope="package")
def server() -> Iterator[dict[str, Any]]:
    """Address and credentials of a running simulator."""
    with going("simulate", "ts-api", "--port", "0", "--json", cwd=ROOT) as program:
        yield json.loads(program.line("url"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for a site."""
    return tmp_path
