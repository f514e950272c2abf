"""YAML as rule files may use it: what is text stays text, and what could hurt is refused."""

from __future__ import annotations

import time

import pytest

from rules.tree import MAX_BYTES, read_tree

TAB = "not YAML: while scanning for the next token, found character '\\t' that cannot start any token"


@pytest.mark.parametrize(
    "text", ["on", "off", "yes", "No", "22:00", "0123", "12E4", "1_000", "0x1F", ".inf", "1.", "=", "2026-01-10"]
)
def test_what_people_write_as_text_stays_text(text: str) -> None:
    """Words and odd numbers are not turned into something else: a plate may look like any of them."""
    root, problems = read_tree("r.yaml", f"value: {text}\n{text}: key\n")
    assert problems == []
    assert root is not None
    assert root.value["value"] == text
    assert text in root.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-5", -5),
        ("1.5", 1.5),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'12'", "12"),
    ],
)
def test_plain_scalars_of_json_keep_their_type(text: str, value: object) -> None:
    """Numbers, true, false and null are what they look like; in quotes they are text."""
    root, _ = read_tree("r.yaml", f"value: {text}\n")
    assert root is not None
    assert root.value == {"value": value}


def test_every_value_and_key_knows_its_place() -> None:
    """Lines and columns count from one, in blocks, in flow and in quotes."""
    root, _ = read_tree("r.yaml", "a:\n  - b: {c: 1, 'd': [x, y]}\n")
    assert root is not None
    assert root.place(("a", 0, "b", "d", 1)) == (2, 24)
    assert root.place(("a", 0, "b", "d"), key=True) == (2, 15)
    assert root.place(("a", 0, "b", "nothing")) == (2, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: 2", "r.yaml:1:4: anchors (`&`) and aliases (`*`) are not allowed; quote a text like this"),
        ("a: *x", "r.yaml:1:4: anchors (`&`) and aliases (`*`) are not allowed; quote a text like this"),
        ("a: !!python/object:x 1", "r.yaml:1:4: tags (`!`) are not allowed; quote a text like this"),
        ("a: 1\nb: 2\na: 3", "r.yaml:3:1: key 'a' is here twice; first in line 1"),
        ("a: {{ x }}", "r.yaml:1:5: a key must be a plain name; quote values that start with `{` or `[`"),
        ("a: 1\n---\nb: 2", "r.yaml:2:1: a second document (`---`); one file holds one"),
        ("a: [1\nb: 2", "r.yaml:2:2: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"),
        ("a: \x07", "r.yaml:1:4: not YAML: unacceptable character #x0007: special characters are not allowed"),
        (
            "a:\n\tb: 1",
            f"r.yaml:2:1: {TAB}",
        ),
    ],
)
def test_what_is_refused_says_where_and_why(text: str, message: str) -> None:
    """Each thing that is not read has one line with its place."""
    _, problems = read_tree("r.yaml", text)
    assert [str(problem) for problem in problems] == [message]


def test_all_duplicate_keys_and_anchors_are_reported_at_once() -> None:
    """What does not stop the reading does not hide the rest."""
    _, problems = read_tree("r.yaml", "a: &x 1\na: 2\nb: *x\nb: 3\n")
    assert len(problems) == 4


BOMB = "a: &a [x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(20)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "anchors"),
        ("[" * 100_000, "nested deeper than 32 levels"),
        ("a: " + "{b: " * 50_000, "nested deeper than 32 levels"),
        ("- " * 200_000, "nested deeper than 32 levels"),
        ("# " + "x" * MAX_BYTES, "the file is larger than 1024 KiB"),
    ],
    ids=["aliases", "flow", "mappings", "block", "size"],
)
def test_a_hostile_file_is_refused_quickly(text: str, message: str) -> None:
    """Bombs and towers end in a message, not in memory or time spent."""
    began = time.monotonic()
    _, problems = read_tree("r.yaml", text)
    assert any(message in problem.message for problem in problems)
    assert time.monotonic() - began < 10


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to how much a file may hold, whatever its size."""
    monkeypatch.setattr("rules.tree.MAX_NODES", 10)
    _, problems = read_tree("r.yaml", "- 1\n" * 11)
    assert [str(problem) for problem in problems] == ["r.yaml:10:3: more than 10 values; split the file"]
