"""The data directory says its form: newer ones are refused, older ones are brought up to date in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.bus.store_format import FORMAT, STEPS, claim, format_of, site_of
from bridge.errors import StartError


def test_a_new_directory_is_ours(tmp_path: Path) -> None:
    """It says so, with the site, and claiming it again changes nothing."""
    claim(tmp_path, "home")
    first = (tmp_path / "store.json").stat().st_mtime_ns
    claim(tmp_path, "home")
    assert (format_of(tmp_path), site_of(tmp_path)) == (FORMAT, "home")
    assert (tmp_path / "store.json").stat().st_mtime_ns == first


def test_the_first_versions_data_are_taken_over(tmp_path: Path) -> None:
    """They had no such file."""
    (tmp_path / "bus").mkdir()
    assert format_of(tmp_path) == 0
    claim(tmp_path, "home")
    assert format_of(tmp_path) == FORMAT


def test_a_newer_form_is_refused(tmp_path: Path) -> None:
    """With words that help, and untouched."""
    written = json.dumps({"format": FORMAT + 1, "site": "home"})
    (tmp_path / "store.json").write_text(written)
    with pytest.raises(StartError, match=f"have format {FORMAT + 1}; this version .* reads up to {FORMAT}: run the "):
        claim(tmp_path, "home")
    assert (tmp_path / "store.json").read_text() == written


def test_steps_run_in_order_and_once(tmp_path: Path) -> None:
    """From where the directory is to where we are."""
    (tmp_path / "store.json").write_text(json.dumps({"format": 1, "site": "home"}))
    ran: list[int] = []
    steps = {number: (lambda _, number=number: ran.append(number)) for number in range(4)}
    claim(tmp_path, "home", steps=steps, newest=4)
    claim(tmp_path, "home", steps=steps, newest=4)
    assert ran == [1, 2, 3]
    assert format_of(tmp_path) == 4


def test_a_step_that_fails_is_taken_again(tmp_path: Path) -> None:
    """What was done before it is not done twice."""
    (tmp_path / "store.json").write_text(json.dumps({"format": 1, "site": "home"}))
    ran: list[int] = []

    def fails(_: Path) -> None:
        ran.append(2)
        if ran.count(2) == 1:
            raise OSError("power cut")

    steps = {1: lambda _: ran.append(1), 2: fails}
    with pytest.raises(OSError, match="power cut"):
        claim(tmp_path, "home", steps=steps, newest=3)
    claim(tmp_path, "home", steps=steps, newest=3)
    assert ran == [1, 2, 2]


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_damaged_file_is_said(tmp_path: Path, content: str) -> None:
    """Instead of taking the data for new or old ones."""
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StartError, match=r"store\.json is damaged"):
        claim(tmp_path, "home")


def test_there_is_a_step_from_every_form() -> None:
    """Otherwise the data of somebody could not be read any more."""
    assert sorted(STEPS) == list(range(FORMAT))


def test_what_the_first_version_wrote_is_taken_and_not_given_back(tmp_path: Path) -> None:
    """Since changes are records of the trail it would misread what is there: it must not be let in again."""
    (tmp_path / "store.json").write_text(json.dumps({"format": 1, "site": "home"}))
    claim(tmp_path, "home")
    assert (format_of(tmp_path) > 1, site_of(tmp_path)) == (True, "home")
