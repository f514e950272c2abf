"""A YAML file is read without surprises, and every mistake in it has a place."""

from __future__ import annotations

import contextlib
import time
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.errors import ConfigError
from bridge.yamlcheck import problems_from_validation
from bridge.yamlfile import MAX_BYTES, dotted, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("22:00", "22:00"),
        ("2026-01-10", "2026-01-10"),
        ("007", "007"),
        ("12E45", "12E45"),
        ("1.", "1."),
        ("=", "="),
        ("NULL", "NULL"),
        ("True", "True"),
        ("1" * 19, "1" * 19),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        (".inf", ".inf"),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        ("1.5e3", 1500.0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_a_plain_word_means_what_it_looks_like(text: str, value: object) -> None:
    """Only true, false, null and plain numbers are anything but text."""
    found = parse_yaml(f"key: {text}\n")
    assert found.problems == []
    assert found.value == {"key": value}
    assert type(found.value["key"]) is type(value)


def test_keys_are_always_text() -> None:
    """`on:` and `1:` are the keys "on" and "1"."""
    assert parse_yaml("on: 1\n1: 2\ntrue: 3\n").value == {"on": 1, "1": 2, "true": 3}


def test_every_part_has_its_place() -> None:
    """Values and keys are found again; what is missing is placed where it would belong."""
    found = parse_yaml("a:\n  - b: 1\n    'c': [x, y]\n")
    assert found.position(("a", 0, "c", 1)) == (3, 14)
    assert found.position(("a", 0, "c"), key=True) == (3, 5)
    assert found.position(("a", 0, "nothing")) == (2, 5)
    assert found.position(()) == (1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: a: stands twice; it is already in line 1"),
        ("a: &x 1\n", "f:1:4: a: anchors are not allowed; quote the text, or remove &x"),
        ("&x a: 1\n", "f:1:1: a: anchors are not allowed; quote the text, or remove &x"),
        ("a: {b: *x}\n", "f:1:8: a.b: aliases are not allowed; quote the text, or write out *x"),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here; a file holds one"),
        ("a: !include b.yaml\n", "f:1:4: a: the tag !include is not known here; quote the text"),
        ("a: {{ x }}\n", "f:1:5: a: a key must be a single word; quote a value that starts with `{`"),
        ("a: !!python/object:os.system {}\n", "the tag tag:yaml.org,2002:python/object:os.system is not known here"),
        ("? [a, b]\n: 1\n", "f:1:3: a key must be a single word"),
    ],
)
def test_what_is_refused_is_named_and_the_rest_is_read(text: str, said: str) -> None:
    """A small mistake leaves the rest readable, so that all mistakes can be told at once."""
    problems = parse_yaml(text, "f").problems
    assert any(said in str(p) for p in problems), problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "f:2:2: is not YAML: while parsing a flow sequence expected ',' or ']', but got ':'"),
        (
            "a: {b: ${B}}\n",
            (
                "f:1:9: is not YAML: while parsing a flow mapping expected ',' or '}', but got '{'; "
                'within { } and [ ] write "${NAME}" in quotes'
            ),
        ),
        ("a:\n\tb: 2\n", "f:2:1: is not YAML: a tab where only spaces may indent"),
        ("a: 1\nb: \x00\n", "f:2:4: holds a character that YAML does not allow"),
        ("a" * (MAX_BYTES + 1), "f: is larger than 1024 KiB; split it"),
    ],
)
def test_what_is_not_yaml_stops_with_one_sentence(text: str, said: str) -> None:
    """There is nothing to go on with, and the place is known."""
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert [str(p) for p in caught.value.problems] == [said]


def test_small_mistakes_before_the_end_are_told_with_it() -> None:
    """What stops the reading does not hide what was wrong before."""
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: &x 1\na: 2\nb: *x\nc: [1\nd: 2\n", "f")
    assert len(caught.value.problems) == 4


BOMB = "a: &a [x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(20)
)


def test_a_bomb_is_defused() -> None:
    """Each alias is a mistake and stands for nothing."""
    found = parse_yaml(BOMB)
    assert len(found.problems) == 21 + 20 * 9
    assert found.value["b"] == [None] * 9


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: " + "{b: " * 50_000, "- " * 200_000], ids=["flow", "mappings", "block"]
)
def test_a_tower_is_refused_quickly(text: str) -> None:
    """It ends in a message, not in memory or time spent."""
    began = time.process_time()
    with pytest.raises(ConfigError, match="nested deeper than 32 levels"):
        parse_yaml(text)
    assert time.process_time() - began < 10


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to how much a file may hold, whatever its size."""
    monkeypatch.setattr("bridge.yamlfile.MAX_NODES", 10)
    with pytest.raises(ConfigError) as caught:
        parse_yaml("- 1\n" * 11, "f")
    assert [str(problem) for problem in caught.value.problems] == ["f:10:3: more than 10 values; split the file"]


def test_a_file_that_cannot_be_read_says_why(tmp_path) -> None:
    """Missing, a folder, not UTF-8: one sentence each."""
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: Zürich".encode("latin-1"))
    for path, said in [
        (tmp_path / "none.yaml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (latin, "is not UTF-8 text; save it as UTF-8"),
    ]:
        with pytest.raises(ConfigError) as caught:
            read_yaml(path)
        assert caught.value.problems[0].message == said


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is data or a ConfigError."""
    with contextlib.suppress(ConfigError):
        parse_yaml(text)


def test_tags_and_text_hooks_give_values_and_say_what_is_wrong() -> None:
    """What a caller's hook refuses is a problem at that place."""

    def shout(text: str) -> str:
        if text == "bad":
            raise ValueError("is bad")
        return text.upper()

    found = parse_yaml("a: x\nb: bad\nc: !echo y\nd: 3\n", "f", scalar=shout, tags={"!echo": lambda t: t * 2})
    assert found.value == {"a": "X", "b": "bad", "c": "yy", "d": 3}
    assert [str(p) for p in found.problems] == ["f:2:4: b: is bad"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mode: Literal["observe", "confirm", "act"] = "observe"
    size: int = Field(1, ge=1, le=9)
    sync: Literal["always"] | bool = "always"
    kind: str = Field("x", alias="class", pattern="^x+$")


class _Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    parts: dict[str, _Part] = {}
    more: list[_Part] | None = None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parts: {}\n", "f:1:1: name: is required"),
        ("name: [1]\n", "f:1:7: name: must be text, not a list"),
        ("name: x\npart: 1\n", "f:2:1: unknown key 'part'; did you mean 'parts'?"),
        ("name: x\nparts: 3\n", "f:2:8: parts: must be keys and values, not a number"),
        ("name: x\nparts: {size: {mod: act}}\n", "f:2:16: parts.size: unknown key 'mod'; did you mean 'mode'?"),
        ("name: x\nmore: [{}, {clas: x}]\n", "f:2:13: more[1]: unknown key 'clas'; did you mean 'class'?"),
        (
            "name: x\nparts: {a: {mode: at}}\n",
            "f:2:19: parts.a.mode: must be 'observe', 'confirm' or 'act'; did you mean 'act'?",
        ),
        ("name: x\nparts: {a: {size: ten}}\n", "f:2:19: parts.a.size: must be a whole number, not text"),
        ("name: x\nparts: {a: {size: 10}}\n", "f:2:19: parts.a.size: must be at most 9"),
        ("name: x\nparts: {a: {size: }}\n", "f:2:13: parts.a.size: must be a whole number, not nothing"),
        (
            "name: x\nparts: {a: {sync: never}}\n",
            "f:2:19: parts.a.sync: must be 'always' or must be true or false, not text",
        ),
        ("name: x\nparts: {a: {class: y}}\n", "f:2:20: parts.a.class: must be some x"),
    ],
)
def test_what_the_model_refuses_is_said_in_words_with_its_place(text: str, said: str) -> None:
    """Each mistake is one line for a person, and no value that could be a secret is repeated."""
    found = parse_yaml(text, "f")
    with pytest.raises(ValidationError) as caught:
        _Whole.model_validate(found.value)
    problems = problems_from_validation(caught.value, found, _Whole, patterns={"^x+$": "must be some x"})
    assert [str(p) for p in problems] == [said]


def test_a_part_validated_alone_keeps_its_place_in_the_file() -> None:
    """`at` says where the part stands."""
    found = parse_yaml("deep:\n  part:\n    siz: 1\n", "f")
    with pytest.raises(ValidationError) as caught:
        _Part.model_validate(found.value["deep"]["part"])
    (problem,) = problems_from_validation(caught.value, found, _Part, at=("deep", "part"), where=lambda p: dotted(p))
    assert str(problem) == "f:3:5: deep.part: unknown key 'siz'; did you mean 'size'?"
