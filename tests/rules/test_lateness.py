"""What can never be done in time is found when the rule is read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.sdk import ActionSpec, Known
from rules.compiler import compile_rules
from rules.ruleset import Documents, SiteSettings
from tests.rules.support import ACTIONS, problems_of, rules_of

EVENT = "{kind: plate.read}"
CLOCK = "{every: '0 6 * * *', max_lateness: 30s}"


def _found(then: str, when: str = EVENT, more: str = "") -> list[str]:
    return problems_of(f"rules:\n  - id: r\n    when: {when}\n    {more}\n    then: {then}\n")


@pytest.mark.parametrize(
    ("then", "when", "more", "problems"),
    [
        ("[{wait: 11s}, {open: a}]", EVENT, "", [("5:25", "open", "11s", "10s")]),
        ("[{wait: 31s}, {ptz: a}]", EVENT, "", [("5:25", "ptz", "31s", "30s")]),
        ("[{wait: 6s}, {ptz: a}]", EVENT, "max_age: 5s", [("5:24", "ptz", "6s", "5s")]),
        ("[{wait: 11s}, {open: a}]", EVENT, "max_age: 1m", [("5:25", "open", "11s", "10s")]),
        ("[{wait: 11s}, {relay: {output: a}}]", EVENT, "", [("5:25", "relay", "11s", "10s")]),
        ("[{wait: 31s}, {open: a}]", CLOCK, "", [("5:25", "open", "31s", "30s")]),
        ("[{wait: 31s}, {ptz: a}]", CLOCK, "", [("5:25", "ptz", "31s", "30s")]),
        ("[{wait: 6s}, {wait: 5s}, {open: a}]", EVENT, "", [("5:36", "open", "11s", "10s")]),
        (
            "[{wait: 6s}, {webhook: x}, {wait: 6s}, {open: a}, {open: b}]",
            EVENT,
            "",
            [("5:50", "open", "12s", "10s"), ("5:61", "open", "12s", "10s")],
        ),
    ],
)
def test_what_comes_too_late_is_a_mistake(
    then: str, when: str, more: str, problems: list[tuple[str, str, str, str]]
) -> None:
    """All waits before it together; the message says how late it comes, and what to write instead."""
    assert _found(then, when, more) == [
        f"r.yaml:{place}: rule r: `{word}` comes {late} after the event at the earliest, and is not done for one older "
        f"than {old}; let `when` wait instead: `for`, or `absent` and `after`"
        for place, word, late, old in problems
    ]


@pytest.mark.parametrize(
    ("then", "when", "more"),
    [
        ("[{wait: 10s}, {open: a}]", EVENT, ""),
        ("[{wait: 30s}, {open: a}]", CLOCK, ""),
        ("[{wait: 1h}, {webhook: x}]", EVENT, "max_age: 5s"),
        ("[{wait: 1h}, {relay: {output: a, state: 'off'}}]", EVENT, "max_age: 5s"),
        ("[{wait: 1h, if: 'true'}, {open: a}]", EVENT, ""),
        ("[{clip: {as: c}}, {wait: 1h, with: c}, {open: a}]", EVENT, ""),
        ("[{wait_for: {kind: plate.read, within: 1h}}, {open: a}]", EVENT, ""),
    ],
)
def test_what_may_come_in_time_is_none(then: str, when: str, more: str) -> None:
    """Or has no limit, or nobody knows before the event comes."""
    assert _found(then, when, more) == []


@pytest.mark.parametrize(("wait", "late"), [("20s", False), ("21s", True)])
def test_an_action_may_take_an_older_event_than_others_of_its_class(wait: str, late: bool) -> None:
    """Its own word counts."""
    slow: ActionSpec[Any] = replace(ACTIONS["open"], max_age=timedelta(seconds=20))
    text = f"rules: [{{id: r, when: {EVENT}, then: [{{wait: {wait}}}, {{open: a}}]}}]"
    documents = Documents({"r.yaml": text}, accepted=True)  # what has no effect is told, and not refused
    rules = compile_rules(documents, {**ACTIONS, "open": slow}, Known(), SiteSettings())
    found = "".join(map(str, rules.warnings))
    assert ("is not done for one older than 20s" in found) is late


def test_each_action_that_is_never_done_is_told() -> None:
    """Not only the first of a rule."""
    found = _found("[{open: a}, {webhook: x}, {relay: b}]", "{at: '10:00'}")
    assert [("`open`" in one, "`relay`" in one) for one in found] == [(True, False), (False, True)]


@pytest.mark.parametrize("kind", ["clip.ready", "action.ended"])
def test_nothing_is_moved_for_what_the_bridge_tells_of_itself(kind: str) -> None:
    """Each step that would is told of, and why."""
    first, second = _found("[{open: a}, {webhook: x}, {relay: b}]", f"{{kind: {kind}}}")
    for found, word in ((first, "open"), (second, "relay")):
        assert found.endswith(
            f"rule r: `{word}` is never done from {kind}: the bridge tells it of itself, perhaps long after its cause, "
            "and only what a source says live or a person asks for moves something"
        )


def test_where_a_bound_comes_from_is_said_where_no_site_is_asked() -> None:
    """It is that of doors which say nothing else; an action's own bound needs no such word."""
    known = Known(door_age=timedelta(seconds=5), door_ages={"a": timedelta(seconds=5), "b": timedelta(seconds=4)})
    first, second = (
        problems_of(f"rules: [{{id: r, when: {EVENT}, then: [{{wait: 6s}}, {{open: {door}}}]}}]", known=known)
        for door in "ab"
    )
    assert [one.partition("for one older ")[2].partition(" wait")[0] for one in first + second] == [
        "than 5s (a door that says nothing else; `--config` asks the site's); let `when`",
        "than 4s; let `when`",
    ]


def _warned(*rules: str) -> list[str]:
    text = "rules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    return [str(one) for one in rules_of(text).warnings if "moves something" in str(one)]


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("[{wait_for: {kind: clip.ready, within: 5s}}, {open: a}]", True),
        ("[{wait_for: {kind: clip.ready, within: 5s}}, {do: [{webhook: x}, {relay: a}]}]", True),
        ("[{parallel: [{wait_for: {kind: clip.ready, within: 5s}}, {wait: 1s}]}, {open: a}]", True),
        ("[{wait_for: {kind: call.ended, within: 5s}}, {open: a}]", False),
        ("[{open: a}, {wait_for: {kind: clip.ready, within: 5s}}, {webhook: x}]", False),
        ("[{wait_for: {kind: clip.ready, within: 5s}}, {relay: {output: a, state: 'off'}}]", False),
        (
            "[{wait_for: {kind: clip.ready, within: 5s}, as: c}, {open: a, if: 'steps.c.outcome == \"timeout\"'}]",
            False,
        ),
    ],
)
def test_what_moves_something_after_an_answer_of_the_bridge_is_told(then: str, told: bool) -> None:
    """The door refuses it then; only where nothing came in time is it done."""
    assert ["is not done once clip.ready answered" in one for one in _warned(_rule_of("call.started", then))] == (
        [True] if told else []
    )


def test_what_to_do_instead_is_said() -> None:
    """After an answer of the bridge, and from a kind that another rule emits."""
    [answered] = _warned(_rule_of("call.started", "[{wait_for: {kind: clip.ready, within: 5s}}, {open: a}]"))
    assert answered.endswith(
        "rule r: `open` is not done once clip.ready answered the `wait_for` before it: the bridge tells that of "
        "itself, and only what a source says live or a person asks for moves something; open first, or in a rule of "
        "its own"
    )
    [emitted] = _warned(_rule_of("plate.read", "[{emit: custom.ok}]", "e"), _rule_of("custom.ok", "[{open: a}]"))
    assert emitted.endswith(
        "rule r: `open` is not done from custom.ok as rule e emits it: that is told by the bridge itself, and only "
        "what a source says live or a person asks for moves something; let the rule that emits it do this, or fire "
        "from what that fires from"
    )


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("{kind: custom.ok}", True),
        ("{kind: custom.ok, source: bridge}", True),
        ("{kind: custom.ok, source: nvr1}", False),
        ("{kind: custom.other}", False),
        ("{any: [{kind: custom.ok}, {kind: plate.read}]}", False),
        ("{kind: custom.ok, count: 3, within: 1m}", True),
    ],
)
def test_what_moves_something_from_a_kind_that_a_rule_emits_is_told(when: str, told: bool) -> None:
    """No door opens for what the bridge says itself; a system may send the same kind."""
    emits = _rule_of("plate.read", "[{emit: custom.ok}]", "e")
    opens = f"{{id: o, when: {when}, then: [{{open: a}}]}}"
    assert ["`open` is not done from custom.ok as rule e emits it" in one for one in _warned(emits, opens)] == (
        [True] if told else []
    )
    assert _warned(emits, opens.replace("open: a", "webhook: a")) == []


def _rule_of(kind: str, then: str, name: str = "r") -> str:
    return f"{{id: {name}, when: {{kind: {kind}}}, then: {then}}}"
