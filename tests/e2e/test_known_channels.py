"""What a system says it has while the bridge runs is what `check` knows when it does not."""

from __future__ import annotations

from pathlib import Path

from bridge.systems import told
from tests.e2e.test_gaps import bridge, simulated
from tests.fakes import eventually


async def test_a_bridge_that_ran_knows_channels_and_presets(tmp_path: Path) -> None:
    """Asked at the start and kept beside the store, readable by the bridge alone."""
    async with simulated() as sim, bridge(tmp_path, sim):
        await eventually(lambda: "nvr1" in told(tmp_path / "data", ["nvr1"]))
    known = told(tmp_path / "data", ["nvr1"])["nvr1"]
    assert {"1", "2"} <= known.channels.keys()
    assert any(known.channels.values())
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "data/systems").iterdir()] == [0o600]
