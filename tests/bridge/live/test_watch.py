"""When changed files are read: once they are at rest, whichever way an editor writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.live.watch import RESTLESS, Rest, look_at


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a date in the past, so that writing it again shows."""
    path = tmp_path / "rules.yaml"
    path.write_text("rules: []\n")
    os.utime(path, ns=(1, 1))
    return path


def test_what_was_read_is_not_read_again(file: Path) -> None:
    """However often one looks."""
    rest = Rest(look_at([file]))
    assert [rest.changed(look_at([file])) for _ in range(3)] == [False] * 3


def test_a_file_is_read_when_two_looks_in_a_row_agree(file: Path) -> None:
    """While it is being written it is left alone; once it is read it is at rest."""
    rest = Rest(look_at([file]))
    file.write_text("rules:\n")
    assert not rest.changed(look_at([file]))
    file.write_text("rules:\n  - id: a\n")
    assert not rest.changed(look_at([file]))
    assert rest.changed(look_at([file]))
    rest.read(look_at([file]))
    assert not rest.changed(look_at([file]))


def test_another_file_under_the_same_name_is_a_change(file: Path) -> None:
    """An editor that writes beside it and renames may give the same size and date, and another file."""
    rest = Rest(look_at([file]))
    beside = file.with_suffix(".tmp")
    beside.write_text(file.read_text())
    os.utime(beside, ns=(1, 1))
    beside.replace(file)
    assert not rest.changed(look_at([file]))
    assert rest.changed(look_at([file]))


def test_a_file_that_goes_and_one_that_comes_are_changes(file: Path) -> None:
    """Also one that was looked for and was not there."""
    other = file.with_name("residents.csv")
    rest = Rest(look_at([file, other]))
    other.write_text("plate\n")
    assert not rest.changed(look_at([file, other]))
    assert rest.changed(look_at([file, other]))
    rest.read(look_at([file, other]))
    file.unlink()
    assert not rest.changed(look_at([file, other]))
    assert rest.changed(look_at([file, other]))


def test_a_file_that_never_rests_is_read_all_the_same(file: Path) -> None:
    """After some looks."""
    rest, answers = Rest(look_at([file])), []
    for number in range(RESTLESS):
        file.write_text("rules: []\n" + "#" * (number + 1))
        answers.append(rest.changed(look_at([file])))
    assert answers == [False] * (RESTLESS - 1) + [True]
