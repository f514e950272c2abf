"""Nothing opens for a likeness: what is refused, and what is told of rules that lead from one to a move."""

from __future__ import annotations

import pytest

from tests.rules.support import problems_of, rules_of


@pytest.mark.parametrize(
    ("step", "refused"),
    [
        ("open: main-gate", True),
        ("relay: siren", True),
        ('relay: {output: siren, state: "off"}', False),
        ("ptz: gate", False),
        ("clip: {}", False),
        ("webhook: x", False),
    ],
)
@pytest.mark.parametrize(
    "when",
    [
        "when: {kind: plate.read}, match: {plate: {like: 12AB345}}",
        "when: {sequence: [{kind: plate.read, match: {plate: {like: 12AB345}}}, {kind: motion.started}], within: 5s}",
        "when: {kind: plate.read, for: 5s, until: {kind: plate.read, match: {plate: {like: 12AB345}}}}",
    ],
)
def test_nothing_is_moved_for_a_plate_that_is_only_like_one(when: str, step: str, refused: bool) -> None:
    """Doors open on exact matches alone, wherever in the rule the likeness stands."""
    problems = problems_of(f"rules:\n  - {{id: r, {when}, then: [{{clip: {{}}}}, {{{step}}}]}}")
    expected = "moves or starts something, and `like` lets pass what only looks like it; match exactly for this"
    assert [expected in problem for problem in problems] == [True] * refused, problems


_ALIKE = "when: {kind: plate.read}, match: {plate: {like: {list: watch}}}"
_VALUE = "value: '{{ event.data.plate }}'"


def _around(*rules: str) -> tuple[list[str], list[str]]:
    """Return what is refused about rules, and what is warned of."""
    lists = ", ".join(f"{name}: {{plates: [X1]}}" for name in "abc")
    text = f"lists: {{watch: {{plates: [12AB345]}}, {lists}}}\nrules:\n"
    text += "".join(f"  - {{{rule}}}\n" for rule in rules)
    if problems := problems_of(text):
        return problems, []
    return [], [str(one) for one in rules_of(text).warnings if "lets pass what" in str(one)]


def _in(name: str, then: str, rule: str = "opens", word: str = "in") -> str:
    return f"id: {rule}, when: {{kind: plate.read}}, match: {{plate: {{{word}: {name}}}}}, then: [{then}]"


def _opening(when: str) -> str:
    return f"id: opens, when: {when}, then: [open: x]"


def _read(name: str) -> str:
    return f"{{kind: plate.read, match: {{plate: {{in: {name}}}}}}}"


EITHER = _opening(f"{{any: [{_read('a')}, {_read('b')}]}}")
LASTS = _opening(f"{{kind: call.started, for: 5s, until: {_read('a')}}}")
LACKS = _opening(f"{{absent: {_read('a')}, after: {{kind: call.started}}, within: 5s}}")
"""Rules that open for what is in a list, and as long as nothing comes that is."""


@pytest.mark.parametrize(
    ("change", "others", "decides"),
    [
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", [_in("a", "open: x")], "a"),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", [_in("{list: a}", "relay: x")], "a"),
        (f"{{remove_from_list: {{list: a, {_VALUE}}}}}", [_in("a", "open: x", word="not_in")], "a"),
        (
            f"{{add_to_list: {{list: b, {_VALUE}}}}}",
            [_in("b", f"add_to_list: {{list: a, {_VALUE}}}", rule="on"), _in("a", "open: x")],
            "b",
        ),
        (
            f"{{add_to_list: {{list: c, {_VALUE}}}}}",
            [
                _in("c", f"add_to_list: {{list: b, {_VALUE}}}", rule="on1"),
                _in("b", f"add_to_list: {{list: a, {_VALUE}}}", rule="on2"),
                _in("a", "open: x"),
            ],
            "c",
        ),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", [_in("a", "open: x"), _in("b", "open: x", rule="other")], "a"),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", [EITHER], "a"),
        (f"{{remove_from_list: {{list: a, {_VALUE}}}}}", [LASTS], "a"),
        (f"{{remove_from_list: {{list: a, {_VALUE}}}}}", [LACKS], "a"),
    ],
)
def test_no_list_that_opens_is_changed_for_a_likeness(change: str, others: list[str], decides: str) -> None:
    """Two readings would open then: the first puts the plate on the list. Over several lists too, in any order."""
    for rules in ([f"id: r, {_ALIKE}, then: [{change}]", *others], [*others, f"id: r, {_ALIKE}, then: [{change}]"]):
        [problem], _ = _around(*rules)
        assert f"changes list '{decides}', which decides whether rule opens moves or starts something" in problem
        assert "rule r:" in problem


@pytest.mark.parametrize(
    ("change", "other"),
    [
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", _in("a", "webhook: x")),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", _in("b", "open: x")),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", _in("a", "open: x", word="not_in")),
        (f"{{remove_from_list: {{list: a, {_VALUE}}}}}", _in("a", "open: x")),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", _in("a", 'relay: {output: x, state: "off"}')),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", LASTS),
        (f"{{add_to_list: {{list: a, {_VALUE}}}}}", LACKS),
    ],
)
def test_a_list_that_opens_nothing_may_be_changed_for_a_likeness(change: str, other: str) -> None:
    """Nor does what only takes away: a plate that is like a blocked one may be blocked."""
    assert _around(f"id: r, {_ALIKE}, then: [{change}]", other) == ([], [])


@pytest.mark.parametrize(
    ("leaves", "opens", "what"),
    [
        (
            f"{{set_state: {{entity: g, attribute: guest, {_VALUE}}}}}",
            """if: 'state("rules/g", "guest") == "x"', then: [open: x]""",
            "state('rules/g', 'guest')",
        ),
        (
            f"{{set_state: {{entity: g, attribute: guest, {_VALUE}}}}}",
            """then: [{open: x, if: 'state("rules/g", "guest") == event.data.plate'}]""",
            "state('rules/g', 'guest')",
        ),
        (
            f"{{set_state: {{entity: g, attribute: other, {_VALUE}}}}}",
            """if: 'state("rules/g", "guest") == "x"', then: [open: x]""",
            None,
        ),
        (
            f"{{set_state: {{entity: g, attribute: guest, {_VALUE}}}}}",
            """if: 'state("rules/other", "guest") == "x"', then: [open: x]""",
            None,
        ),
        (
            f"{{set_state: {{entity: '{{{{ key }}}}', attribute: guest, {_VALUE}}}}}",
            """if: 'state("rules/g", "guest") == "x"', then: [open: x]""",
            "state('rules/g', 'guest')",
        ),
        (
            f"{{set_state: {{entity: g, attribute: guest, {_VALUE}}}}}",
            """if: 'state("rules/g", "b" + key) == "x" && state("rules/g", "a") == 1', then: [open: x]""",
            "state('rules/g', ...)",
        ),
        (
            f"{{set_state: {{entity: g, attribute: guest, {_VALUE}}}}}",
            """if: 'state("bridge", "mode") == "open"', then: [open: x]""",
            None,
        ),
        ("{set_mode: open}", "mode: open, then: [open: x]", "the mode"),
        ("{set_mode: shut}", "mode: open, then: [open: x]", None),
        ("{set_mode: shut}", """if: 'state("bridge", "mode") == "open"', then: [open: x]""", "the mode"),
        ("{set_mode: open}", "mode: open, then: [webhook: x]", None),
        ("{emit: custom.ok}", "then: [{wait_for: {kind: custom.ok, within: 5s}}, {open: x}]", "custom.ok"),
    ],
)
def test_what_a_likeness_leaves_for_what_opens_is_told(leaves: str, opens: str, what: str | None) -> None:
    """Not refused: it may be about something else than the plate."""
    rule = f"id: o, when: {{kind: plate.read, channel: 3}}, {opens}"
    problems, warnings = _around(f"id: r, {_ALIKE}, then: [{leaves}]", rule)
    assert problems == []
    assert [f"asks for {what}," in one for one in warnings] == ([True] if what else [])


def test_it_is_said_what_is_wrong_and_what_to_do() -> None:
    """Of a list that opens, and of what else is left."""
    [problem], _ = _around(f"id: r, {_ALIKE}, then: [add_to_list: {{list: a, {_VALUE}}}]", _in("a", "open: x"))
    assert problem.endswith(
        "rule r: `add_to_list` changes list 'a', which decides whether rule opens moves or starts something, and "
        "`like` lets pass what only looks like it; match exactly for this, or take a list that moves nothing"
    )
    problems, [warning] = _around(
        f"id: r, {_ALIKE}, then: [set_mode: open]", f"mode: open, {_opening('{kind: call.started}')}"
    )
    assert problems == []
    assert warning.endswith(
        "rule r: `set_mode`: rule opens moves or starts something and asks for the mode, and `like` lets pass what "
        "only looks like it; let nothing open for what this rule leaves"
    )


_STATE = "set_state: {entity: g, attribute: %s, value: '{{ event.id }}'}"
_ASKS = """when: {kind: plate.read}, if: 'state("rules/g", "%s") == "x"'"""


@pytest.mark.parametrize(
    ("leaves", "other"),
    [
        ("{emit: {kind: custom.seen, data: {p: '{{ event.data.plate }}'}}}", "when: {kind: custom.seen}"),
        (f"{{webhook: x}}, {{{_STATE % 'guest'}}}", _ASKS % "guest"),
        (f"{{{_STATE % 'guest'}}}", "when: {kind: state.changed}, match: {attribute: guest}"),
        ("{set_mode: guests}", "when: {kind: mode.changed}"),
        (f"{{add_to_list: {{list: b, {_VALUE}}}}}", "when: {kind: list.changed}, match: {list: b}"),
    ],
)
@pytest.mark.parametrize(
    ("then", "opens", "told"),
    [
        (
            "add_to_list: {list: a, value: '{{ event.id }}'}",
            _in("a", "open: x"),
            "`add_to_list` changes list 'a', which decides whether rule opens moves or starts something, ",
        ),
        (
            _STATE % "open",
            f"id: opens, {_ASKS % 'open'}, then: [open: x]",
            "`set_state`: rule opens moves or starts something and asks for state('rules/g', 'open'), ",
        ),
    ],
)
def test_what_leads_to_what_opens_over_another_rule_is_told(
    leaves: str, other: str, then: str, opens: str, told: str
) -> None:
    """The rule that leaves it is exact, and the one whose `like` leads to it is named. Over a list of no door too."""
    rules = (f"id: on, {other}, then: [{then}]", opens)
    problems, [warning] = _around(f"id: r, {_ALIKE}, then: [{leaves}]", *rules)
    assert problems == []
    assert f"rule on: {told}" in warning
    assert "and `like` of rule r, which leads here, lets pass what only looks like it; " in warning
    assert _around(f"id: r, when: {{kind: plate.read}}, then: [{leaves}]", *rules) == ([], [])
    assert _around(f"id: r, {_ALIKE}, then: [webhook: x]", *rules) == ([], [])


@pytest.mark.parametrize(("change", "word"), [("add_to_list", "in"), ("remove_from_list", "not_in")])
def test_a_list_that_opens_nothing_may_lead_to_what_opens(change: str, word: str) -> None:
    """Over a rule that fires for what is in it, or for what is not in it any more."""
    on = _in("b", _STATE % "open", rule="on", word=word)
    opens = f"id: opens, {_ASKS % 'open'}, then: [open: x]"
    problems, [warning] = _around(f"id: r, {_ALIKE}, then: [{change}: {{list: b, {_VALUE}}}]", on, opens)
    assert problems == []
    assert "rule on: `set_state`: rule opens moves" in warning
    other = {"in": "not_in", "not_in": "in"}[word]
    assert _around(
        f"id: r, {_ALIKE}, then: [{change}: {{list: b, {_VALUE}}}]", on.replace(f"{{{word}:", f"{{{other}:"), opens
    ) == ([], [])


def test_rules_that_lead_to_each_other_are_each_told_of_once() -> None:
    """A ring has no end; the rule with `like` is one of it, and another one begins there too."""
    ring = [
        (f"{_ALIKE}, then: [{_STATE % 'a'}]", "r"),
        (f"{_ASKS % 'a'}, then: [{_STATE % 'b'}]", "on"),
        (f'{_ALIKE}, if: \'state("rules/g", "b") == "x"\', then: [{_STATE % "a"}]', "back"),
    ]
    opens = (
        """id: opens, when: {kind: plate.read}, if: 'state("rules/g", "b") == state("rules/g", "a")', then: [open: x]"""
    )
    problems, warnings = _around(*(f"id: {name}, {rule}" for rule, name in ring), opens)
    assert problems == []
    assert [one.partition("rule ")[2].partition(":")[0] for one in warnings] == ["r", "on", "back"]
    assert ["which leads here" in one for one in warnings] == [False, True, False]
