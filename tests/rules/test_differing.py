"""What differs in meaning between two rule files, in words."""

from __future__ import annotations

import pytest

from bridge.sdk import Known
from rules.compiler import read_meaning
from rules.differing import Difference, difference
from rules.meaning import Meaning
from rules.ruleset import Documents, SiteSettings
from tests.rules.support import ACTIONS

TEXT = """\
lists: {residents: {plates: [A1, B2, C3]}, watched: {values: [x]}}
schedules:
  night: {from: "22:00", to: "06:00"}
templates:
  gate:
    inputs: {door: door, rest: {type: duration, default: 30s}}
    rule:
      when: {kind: plate.read}
      match: {plate: {in: residents}}
      cooldown: $rest
      then: [{open: $door}]
rules:
  - {id: north, use: gate, with: {door: a}}
  - {id: south, use: gate, with: {door: b, rest: 1m}}
  - id: watch
    when: {kind: plate.read, source: [nvr1, nvr2]}
    match: {plate: [A1, B2], score: {at_least: 90}}
    during: night
    cooldown: 30s
    then:
      - mqtt: {topic: a, payload: x}
      - open: a
      - webhook: {to: b}
"""


def _meaning(text: str, table: str | None = None) -> Meaning:
    tables = {} if table is None else {"l.csv": table}
    return read_meaning(Documents({"r.yaml": text}, tables), ACTIONS, Known(), SiteSettings())


def _difference(*changes: tuple[str, str]) -> Difference:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return difference(_meaning(TEXT), _meaning(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rules:\n", "# a remark\nrules:\n"),
        ("cooldown: 30s", "description: for people\n    cooldown: 30s"),
        ("{kind: plate.read, source: [nvr1, nvr2]}", "{source: [nvr1, nvr2], kind: 'plate.read'}"),
        ("    during: night\n    cooldown: 30s\n", "    cooldown: 30000ms\n    during: night\n"),
        ("[A1, B2, C3]", "[C3, B2, A1]"),
        ("inputs: {door", "description: x\n    inputs: {door"),
    ],
)
def test_the_same_in_other_words_is_the_same(old: str, new: str) -> None:
    """Comments, order of keys, spelling, descriptions."""
    found = _difference((old, new))
    assert found.same
    assert list(found.lines()) == []


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("{wait: 3s}", "{wait: 3000ms}", True),
        ("{wait: 3s}", "{wait: 4s}", False),
        ("{wait_for: {kind: call.ended, within: 60s}}", "{wait_for: {within: 1m, kind: call.ended}}", True),
        ("{wait_for: {kind: call.ended, within: 60s}}", "{wait_for: {kind: call.ended, within: 61s}}", False),
        (
            "{wait_for: {kind: plate.read, match: {plate: [A, B]}, within: 1m}}",
            "{wait_for: {kind: plate.read, match: {plate: {in: [B, A]}}, within: 1m}}",
            True,
        ),
        ("{clip: {before: 60s, after: 1m}}", "{clip: {before: 1m, after: 60000ms}}", True),
        ("{clip: {before: 60s}}", "{clip: {before: 50s}}", False),
        ("{do: [{parallel: [[{clip: {before: 60s}}]]}]}", "{do: [{parallel: [[{clip: {before: 1m}}]]}]}", True),
        ("{open: a, on_error: [{wait: 1s}]}", "{open: a, on_error: [{wait: 1000ms}]}", True),
        ("{webhook: {to: b, with: c, wait: 60s}}", "{webhook: {to: b}, with: [c], wait: 1m}", True),
        ("{mqtt: {topic: a, payload: {open: x}}}", "{mqtt: {topic: a, payload: {open: {door: x}}}}", False),
        ("{mqtt: {topic: a, payload: {channel: [1, b]}}}", "{mqtt: {topic: a, payload: {channel: [b, 1]}}}", False),
    ],
)
def test_steps_are_compared_by_what_they_mean(old: str, new: str, same: bool) -> None:
    """Durations, waits, awaited events, and keys of every step wherever they stand; free JSON is as it is written."""
    rule = "rules: [{id: r, when: {kind: plate.read}, then: [{clip: {as: c}}, %s], on_error: [{mqtt: {topic: a}}]}]"
    found = difference(_meaning(rule % old), _meaning(rule % new))
    assert found.same is same
    assert bool(found.rewritten) is same


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[nvr1, nvr2]", "[nvr2, nvr1]"),
        ("plate: [A1, B2]", "plate: {in: [B2, A1]}"),
        ("- open: a", "- open: {door: a}"),
    ],
)
def test_what_means_the_same_though_it_is_another_version_says_so(old: str, new: str) -> None:
    """Its state begins anew, which somebody may want to know."""
    found = _difference((old, new))
    assert found.same
    assert list(found.lines()) == ["= the same in other words, though their state begins anew: watch"]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("cooldown: 30s", "cooldown: 1m", ["~ rule watch", "    cooldown: 30s → 1m"]),
        ("    cooldown: 30s\n", "", ["~ rule watch", "    cooldown: 30s → none"]),
        (
            "    cooldown: 30s\n",
            "    cooldown: 30s\n    enabled: false\n",
            ["~ rule watch", "    enabled: none → false"],
        ),
        ("at_least: 90", "at_least: 95", ["~ rule watch", "    match.score.at_least: 90 → 95"]),
        ("[A1, B2]", "[A1, D4, E5]", ["~ rule watch", "    match.plate.in: +2 −1 (added D4, E5; removed B2)"]),
        ("topic: a", "topic: b", ["~ rule watch", "    then[0].mqtt.topic: a → b"]),
        ("      - open: a\n", "", ["~ rule watch", "    then[1]: removed {open: {door: a}}"]),
        (
            "      - open: a\n",
            "      - open: a\n      - open: c\n",
            ["~ rule watch", "    then[2]: added {open: {door: c}}"],
        ),
        ("id: watch", "id: look", ["~ rule watch is now called look; its state begins anew"]),
        (
            "[A1, B2, C3]",
            "[B2, C3, D4, E5]",
            ["~ list residents: +2 −1 (added D4, E5; removed A1); touches north, south"],
        ),
        ("values: [x]", "plates: [x]", ["~ list watched: holds plates now; touches no rule"]),
        ('from: "22:00"', 'from: "21:00"', ["~ schedule night: 22:00-06:00 → 21:00-06:00; touches watch"]),
        (
            "default: 30s",
            "default: 45s",
            ["~ rule north", "    cooldown: 30s → 45s", "~ template gate: changed; touches north"],
        ),
        (
            "then: [{open: $door}]",
            "then: [{open: $door}, {webhook: {to: x}}]",
            [
                "~ rule north",
                "    then[1]: added {webhook: {to: x}}",
                "~ rule south",
                "    then[1]: added {webhook: {to: x}}",
                "~ template gate: changed; touches north, south",
            ],
        ),
        ("rest: 1m}", "rest: 2m}", ["~ rule south", "    cooldown: 1m → 2m"]),
    ],
)
def test_a_difference_is_told_in_words(old: str, new: str, lines: list[str]) -> None:
    """By rule, with the parts that changed; lists, schedules and templates with the rules they touch."""
    found = _difference((old, new))
    assert not found.same
    assert list(found.lines()) == lines


def test_rules_that_come_and_go() -> None:
    """Added and removed are said as such."""
    found = difference(Meaning(), _meaning(TEXT))
    assert found.added == ("north", "south", "watch")
    assert difference(_meaning(TEXT), Meaning()).removed == found.added
    assert found.as_json()["same"] is False


def test_terms_of_a_list_are_compared() -> None:
    """A plate that is valid for longer is a change of the list."""
    rule = "{id: r, when: {kind: plate.read}, match: {plate: {in: l}}, then: [{open: a}]}"
    text = f"lists: {{l: {{plates: l.csv}}}}\nrules: [{rule}]\n"
    old, new = "plate,valid_until\nA,2026-01-01\nB,\n", "plate,valid_until\nA,2027-01-01\nB,\n"
    found = difference(_meaning(text, old), _meaning(text, new))
    assert [part.words for part in found.lists] == ["1 on other terms (A)"]
