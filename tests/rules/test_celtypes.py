"""What can never come of an expression: form by form, in its words."""

from __future__ import annotations

import json

import pytest

from bridge.sdk import Known
from tests.rules.support import problems_of

SITE = Known(sources=frozenset({"nvr1"}), modes=frozenset({"home", "night"}))
ASKS = "event.data.score > 1.0"
NUMBER, TEXT, BOOL, LIST, MAPPING = "a number", "text", "true or false", "a list", "a mapping"


def _said(condition: str, kind: str = "plate.read") -> list[str]:
    """Return what is said of an expression of a step, without its place."""
    then = f"[{{webhook: x, as: a}}, {{webhook: x, with: a, if: {json.dumps(condition)}}}]"
    found = problems_of(f"rules: [{{id: r, when: {{kind: {kind}}}, then: {then}}}]", known=SITE)
    return [one.partition("`if`: ")[2] for one in found]


@pytest.mark.parametrize(
    ("one", "word", "other"),
    [
        (f"({ASKS} ? 1 : 2)", NUMBER, TEXT),
        ("false", BOOL, NUMBER),
        ("true", BOOL, NUMBER),
        (f"({ASKS} && true)", BOOL, NUMBER),
        (f"!({ASKS})", BOOL, NUMBER),
        ("key", TEXT, NUMBER),
        ("rule", TEXT, NUMBER),
        ("steps", MAPPING, TEXT),
        ("steps.a", MAPPING, TEXT),
        ("event", MAPPING, TEXT),
        ("event.data", MAPPING, TEXT),
        ("{'a': 1, 'b': 2}", MAPPING, TEXT),
        ("{}", MAPPING, TEXT),
        ("[1]", LIST, TEXT),
        ("event.data.linked_channels.map(c, 1)", LIST, NUMBER),
        ("event.data.linked_channels.filter(c, true)", LIST, NUMBER),
        ("event.data.linked_channels.exists(c, true)", BOOL, NUMBER),
    ],
)
def test_what_a_part_is(one: str, word: str, other: str) -> None:
    """It is never equal to anything of another type, on either side."""
    value = {"text": "'x'", "a number": "3"}[other]
    assert _said(f"{one} == {value}") == [f"`{one}` is {word} and `{value}` is {other}: they are never equal"]
    assert len(_said(f"{value} != {one}")) == 1


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (f"({ASKS} ? 1 : 'x') == 'b'", None),
        (f"({ASKS} ? 1 : 2) + 1.0 > 1.0", "1.0"),
        (f"({ASKS} ? 1 : 2.0) + 1.0 > 1.0", None),
        (f"({ASKS} ? 1.0 : 2.0) + 1.0 > 1.0", None),
        ("1 < 2 == 3", "is a number: they are never equal"),
        ("event.origin.contains('li')", None),
        ("event.data.plate.size() > 3", None),
        ("event.type == 'plate.read'", None),
        ("state('rules/a/recording', 'recording') == 'on'", None),
        ("state('rules/a', 'recording') == 'on'", None),
        ("state('bridge', key) == 3", None),
        ("state(key, 'recording') == 'on'", None),
        ("event.data.plate == null || null == event.data.score", None),
    ],
)
def test_what_comes_of_a_form(condition: str, said: str | None) -> None:
    """Nothing is said where it may be either."""
    found = _said(condition)
    assert [said in one for one in found] == [True] if said else found == []


def test_what_is_said_is_all_that_is_said() -> None:
    """Only of a text that there is another word for it; of a name that there is not, nothing else."""
    looks = "and `in` looks into a list"
    assert _said("'1' in event.data.score") == [f"`event.data.score` is a number, {looks}"]
    assert _said("'1' in event.data.plate") == [
        f"`event.data.plate` is text, {looks}; for a part of a text write `contains`"
    ]
    assert [one.partition(";")[0] for one in _said("keys == 3")] == ["unknown name 'keys'"]
    for name in ("keys", "event.subjects"):
        assert "never equal" not in "".join(_said(f"{name} == 3"))


def test_a_mode_is_one_of_the_site() -> None:
    """In the event that tells of a change, too; where nobody knows its modes, any may be."""
    said = "unknown mode 'nihgt'; did you mean 'night'?"
    for field in ("mode", "previous"):
        assert _said(f"event.data.{field} == 'nihgt'", "mode.changed") == [
            f"`event.data.{field}` is never 'nihgt': {said}"
        ]
        assert _said(f"event.data.{field} == 'night'", "mode.changed") == []
