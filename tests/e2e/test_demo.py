"""The main job, as a user runs it: one command, everything real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(120)
def test_the_demo_plays_once_and_everything_happens(tmp_path: Path) -> None:
    """Events become clips, PTZ moves, relay pulses, MQTT messages and webhooks; the exit code says so."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--once", "--json", "--dir", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["complete"]
    assert summary["actions"]["open"] == {"done": 1, "expired": 1}
    assert summary["webhooks"]["refused"] == 0
    assert summary["clips"]
    for clip in summary["clips"]:
        assert clip["complete"]
        assert Path(clip["path"]).stat().st_size > 10_000
