"""The demo's folder: written anew each time, and never over a site that is somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.bus.datadir import Lock
from bridge.demo.folder import prepare
from bridge.errors import StartError


def _prepare(folder: Path) -> Path:
    return prepare(folder, simulator_url="http://sim", receiver_url="http://office", secret="whsec_eA==", zone="UTC")


def test_what_an_earlier_demo_decided_is_forgotten_and_its_clips_stay(tmp_path: Path) -> None:
    """Or a demo that is played again at once would find its rules resting."""
    _prepare(tmp_path)
    for name in ("data/bus/stream", "data/safety/journal", "clips/one.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("earlier")
    _prepare(tmp_path)
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"lock"}
    assert (tmp_path / "clips/one.mp4").exists()


def test_a_demo_that_runs_is_left_alone(tmp_path: Path) -> None:
    """Its data are in use."""
    _prepare(tmp_path)
    lock = Lock(tmp_path / "data")
    lock.take()
    (tmp_path / "data" / "mark").touch()
    with pytest.raises(StartError, match="in use"):
        _prepare(tmp_path)
    lock.release()
    assert (tmp_path / "data" / "mark").exists()


def test_a_site_of_somebodys_own_is_refused(tmp_path: Path) -> None:
    """Neither its configuration nor its data are touched."""
    (tmp_path / "bridge.yaml").write_text("site: home\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mark").touch()
    with pytest.raises(StartError, match="no demo's"):
        _prepare(tmp_path)
    assert (tmp_path / "bridge.yaml").read_text() == "site: home\n"
    assert (tmp_path / "data" / "mark").exists()
