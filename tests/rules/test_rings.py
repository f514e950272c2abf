"""Rules that lead to each other: certain rings are errors, possible ones warnings, and the ring is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bridge.actions.own import SPECS
from bridge.sdk import ActionSpec, Known, RuleCompileError
from rules.compiler import compile_rules
from rules.ruleset import Documents, SiteSettings
from tests.rules.support import ACTIONS

SPECIFIED: Mapping[str, ActionSpec[Any]] = {**ACTIONS, **{spec.name: spec for spec in SPECS}}
SELF = "{kind: custom.a}"


def _found(*rules: str) -> list[str]:
    """Return what is said about rules, errors first; without what is said about unused lists."""
    text = "lists: {l: {values: [x]}}\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    try:
        compiled = compile_rules(Documents({"r.yaml": text}), SPECIFIED, Known(), SiteSettings())
    except RuleCompileError as error:
        return [str(problem) for problem in error.problems]
    return [f"warning: {one}" for one in compiled.warnings if "no rule uses it" not in str(one)]


def _emits(name: str, kind: str, then: str, **more: str) -> str:
    rest = "".join(f", {key.rstrip('_')}: {value}" for key, value in more.items())
    return f"{{id: {name}, when: {{kind: {kind}}}{rest}, then: [{then}]}}"


def test_a_rule_that_feeds_itself_is_an_error() -> None:
    """It is told at the step, with the way and the cure."""
    assert _found(_emits("a", "custom.a", "{emit: custom.a}")) == [
        (
            "r.yaml:3:44: rule a: these rules lead to each other without end: a (then[0] emit) → a; "
            "let one of them ask what the other changes, or give it a `cooldown`"
        )
    ]


@pytest.mark.parametrize(
    ("then", "certain", "warned"),
    [
        ("{stop: {}}, {emit: custom.a}", 0, 1),
        ("{stop: }, {wait: 1s}, {do: [{emit: custom.a}]}", 0, 1),
        ("{parallel: [{stop: true}, {wait: 1s}]}, {emit: custom.a}", 0, 1),
        ("{do: [{stop: }, {emit: custom.a}], if: 'key == rule'}", 0, 1),
        ("{do: [{stop: }, {wait: 1s}], if: 'key == rule'}, {emit: custom.a}", 0, 2),
        ("{webhook: x, on_error: [{stop: }]}, {emit: custom.a}", 1, 0),
        ("{stop: {if: 'key == rule'}}, {emit: custom.a}", 0, 1),
        ("{emit: custom.a}, {stop: }", 1, 0),
        ("{parallel: [{stop: true}, {emit: custom.a}]}", 1, 0),
    ],
)
def test_what_a_stop_keeps_from_being_reached_leads_nowhere(then: str, certain: int, warned: int) -> None:
    """A rule that stops before it emits feeds nobody; that the step is never reached is worth a warning."""
    found = _found(_emits("a", "custom.a", then))
    errors = [one for one in found if not one.startswith("warning")]
    assert (len(errors), len(found) - len(errors)) == (certain, warned)
    for one in found:
        never, ring = "is never reached: a `stop` without `if`" in one, "lead to each other" in one
        assert never != ring


def test_a_ring_is_named_once() -> None:
    """Over modes, states, lists and events of one's own."""
    found = _found(
        _emits("a", "custom.a", "{set_mode: away}"),
        _emits("b", "mode.changed", "{open: x}, {set_state: {entity: e, attribute: f, value: 1}}"),
        _emits("c", "state.changed", "{add_to_list: {list: l, value: '{{ event.data.entity }}'}}"),
        _emits("d", "list.changed", "{emit: {kind: custom.a, data: {n: '{{ event.data.list }}'}}}"),
        _emits("e", "custom.a", "{open: x}"),
    )
    ring = "a (then[0] set_mode) → b (then[1] set_state) → c (then[0] add_to_list) → d (then[0] emit) → a;"
    assert len(found) == 1
    assert ring in found[0]


@pytest.mark.parametrize(
    ("then", "more", "outcome"),
    [
        ("{emit: {kind: custom.a, data: {n: 1}}}", {"match": "{n: 1}"}, "error"),
        ("{emit: {kind: custom.a, data: {n: 2}}}", {"match": "{n: 1}"}, "none"),
        ("{emit: {kind: custom.a}}", {"match": "{n: 1}"}, "none"),
        ("{emit: {kind: custom.a}}", {"match": "{n: {exists: false}}"}, "error"),
        ("{emit: {kind: custom.a, data: {n: 5}}}", {"match": "{n: {at_least: 4}}"}, "error"),
        ("{emit: {kind: custom.a, data: {n: 3}}}", {"match": "{n: {at_least: 4}}"}, "none"),
        ("{emit: {kind: custom.a, data: {n: '{{ event.data.n + 1 }}'}}}", {"match": "{n: {at_most: 4}}"}, "warning"),
        ("{emit: {kind: custom.a, data: {n: ab}}}", {"match": "{n: {glob: 'a*'}}"}, "warning"),
        ("{emit: custom.b}", {}, "none"),
        ("{emit: custom.a}", {"if_": "event.data.n > 1"}, "warning"),
        ("{emit: custom.a}", {"cooldown": "10s"}, "warning"),
        ("{emit: custom.a}", {"limit": "5 per hour"}, "warning"),
        ("{emit: custom.a}", {"during": "{from: '22:00', to: '06:00'}"}, "warning"),
        ("{emit: custom.a}", {"shadow": "true"}, "none"),
        ("{emit: custom.a}", {"enabled": "false"}, "none"),
        ("{emit: custom.a, if: 'event.data.n > 1'}", {}, "warning"),
        ("{stop: {if: 'event.data.n > 1'}}, {emit: custom.a}", {}, "warning"),
        ("{parallel: [{open: x}, {emit: custom.a}]}", {}, "error"),
        ("{wait: 5s}, {emit: custom.a}", {}, "error"),
    ],
)
def test_what_is_certain_possible_and_impossible(then: str, more: Mapping[str, str], outcome: str) -> None:
    """A known value decides; what only an event can decide is possible."""
    found = _found(_emits("a", "custom.a", then, **more))
    said = "none" if not found else "warning" if found[0].startswith("warning: ") else "error"
    assert said == outcome, found


@pytest.mark.parametrize(
    ("when", "outcome"),
    [
        ("{kind: custom.a, count: 3, within: 1m}", "warning"),
        ("{absent: {kind: custom.a}, after: {kind: plate.read}, within: 1m}", "none"),
        ("{absent: {kind: plate.read}, after: {kind: custom.a}, within: 1m}", "warning"),
        ("{kind: custom.a, source: nvr1}", "none"),
        ("{kind: custom.a, source: bridge}", "error"),
        ("{kind: custom.a, channel: 1}", "warning"),
        ("{any: [{kind: plate.read}, {kind: custom.a}]}", "error"),
    ],
)
def test_where_the_event_stands_in_the_pattern_matters(when: str, outcome: str) -> None:
    """What only ends a wait makes nothing fire; what others say is not ours."""
    found = _found(f"{{id: a, when: {when}, then: [{{emit: custom.a}}]}}")
    said = "none" if not found else "warning" if found[0].startswith("warning: ") else "error"
    assert said == outcome, found


def test_rules_about_the_ends_of_orders_are_told_only_where_it_is_certain() -> None:
    """Each looks at what the other did; two that look for failures are what every site has."""
    every = [_emits(name, "action.ended", "{webhook: {to: x}}") for name in "ab"]
    assert "a (then[0] webhook) → b (then[0] webhook) → a;" in _found(*every)[0]
    assert _found(*(_emits(name, "action.ended", "{webhook: {to: x}}", match="{outcome: dead}") for name in "ab")) == []
    assert _found(*(_emits(name, "action.ended", "{webhook: {to: x}}", match="{action: open}") for name in "ab")) == []
    assert _found(every[0]) == []


def test_modes_that_alternate_with_a_match_are_no_ring() -> None:
    """From home to night and from away to home leads nowhere back."""
    rules = [("night", "home"), ("home", "away")]
    assert (
        _found(*(_emits(f"to-{a}", "mode.changed", f"{{set_mode: {a}}}", match=f"{{mode: {b}}}") for a, b in rules))
        == []
    )
    back = _emits("to-away", "mode.changed", "{set_mode: away}", match="{mode: night}")
    ring = _found(
        *(_emits(f"to-{a}", "mode.changed", f"{{set_mode: {a}}}", match=f"{{mode: {b}}}") for a, b in rules), back
    )
    assert "to-away (then[0] set_mode) → to-home (then[0] set_mode) → to-night (then[0] set_mode) → to-away;" in ring[0]


def _large(count: int) -> Iterator[str]:
    for number in range(count):
        yield _emits(f"r{number}", f"custom.k{number}", f"{{emit: custom.k{number + 1}}}")
    yield _emits("last", f"custom.k{count}", "{emit: custom.k0}")


def test_a_ring_of_a_thousand_rules_is_found() -> None:
    """And a chain as long does no harm."""
    found = _found(*_large(1000))[0]
    assert "last (then[0] emit) → r0 (then[0] emit) → r1 (then[0] emit)" in found
    assert "... 991 more ..." in found
    assert _found(*list(_large(1000))[:-1]) == []


def test_more_than_can_be_looked_at_is_said() -> None:
    """Ten hundred rules that write for ten hundred others are a million pairs."""
    found = _found(
        *(_emits(f"r{n}", "custom.a", "{emit: {kind: custom.a, data: {n: 1}}}", match="{n: 2}") for n in range(1000))
    )
    assert found == [
        "warning: r.yaml:1:1: so many rules write and wait for events that not all were looked at for loops"
    ]


def test_a_rule_does_not_act_in_the_mode_that_was_left() -> None:
    """The ring that is told is the one that can be: over the rule of the other mode, and not of the first alone."""
    away = _emits("md", "mode.changed", "{set_mode: away}", mode="home")
    home = _emits("md2", "mode.changed", "{set_mode: home}", mode="away")
    assert _found(away) == []
    assert _found(_emits("md", "mode.changed", "{set_mode: away}", mode="{not: away}")) == []
    [ring] = _found(away, home)
    assert "md (then[0] set_mode) → md2 (then[0] set_mode) → md;" in ring
    [later] = _found("{id: c, when: {kind: mode.changed, count: 2, within: 1m}, mode: home, then: [{set_mode: away}]}")
    assert "c (then[0] set_mode) → c;" in later


def _circle(count: int, name: str = "r") -> list[str]:
    """Return rules that lead to each other, from the first to the last and back to the first."""
    kinds = [f"custom.{name}{number:02}" for number in range(count)]
    return [
        _emits(f"{name}{number:02}", kinds[number], f"{{emit: {kinds[(number + 1) % count]}}}")
        for number in range(count)
    ]


@pytest.mark.parametrize(("count", "left"), [(10, None), (11, 1), (14, 4)])
def test_the_way_of_a_long_ring_is_told_at_both_ends(count: int, left: int | None) -> None:
    """Ten rules are named; of more than that, how many are not."""
    every = [f"r{number:02} (then[0] emit)" for number in range(count)]
    named = every if left is None else [*every[:5], f"... {left} more ...", *every[-5:]]
    [told] = _found(*_circle(count))
    assert f"without end: {' → '.join([*named, 'r00'])};" in told


def test_each_ring_is_told() -> None:
    """Whatever leads to it, and whatever comes after it by name."""
    lone = _emits("a", "custom.a", "{emit: custom.b00}")
    first, second = _found(lone, *_circle(2, "b"), *_circle(3, "c"))
    assert "b00 (then[0] emit) → b01 (then[0] emit) → b00;" in first
    assert "c00 (then[0] emit) → c01 (then[0] emit) → c02 (then[0] emit) → c00;" in second


def test_the_shortest_way_is_told() -> None:
    """From the first by name from which it is the shortest."""
    rules = (
        _emits("a", "custom.a", "{emit: custom.b}, {emit: custom.c}"),
        _emits("b", "custom.b", "{emit: custom.c}"),
        _emits("c", "custom.c", "{emit: custom.a}"),
    )
    [told] = _found(*rules)
    assert "without end: a (then[1] emit) → c (then[0] emit) → a;" in told


@pytest.mark.parametrize(("pairs", "whole"), [(3, True), (2, False)])
def test_so_many_pairs_are_looked_at(pairs: int, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found until then is told all the same, and that there may be more."""
    monkeypatch.setattr("rules.rings.MAX_PAIRS", pairs)
    found = _found(
        _emits("a", "custom.a", "{emit: custom.b}", cooldown="1s"),
        _emits("b", "custom.b", "{emit: custom.a}"),
        _emits("c", "custom.x", "{emit: custom.b}"),
    )
    more = ["not all were looked at for loops" in one for one in found]
    assert more == ([False] if whole else [True, False])
    assert "may lead to each other without end: a (then[0] emit) → b (then[0] emit) → a;" in found[-1]


@pytest.mark.parametrize(
    ("match", "certain"),
    [
        ("{rule: b, action: webhook, step: s}", True),
        ("{rule: c}", False),
        ("{action: open}", False),
        ("{step: t}", False),
    ],
)
def test_it_is_known_whose_order_ended(match: str, certain: bool) -> None:
    """Its rule, its action and the name of the step."""
    found = _found(
        _emits("a", "action.ended", "{webhook: x}", match=match),
        _emits("b", "action.ended", "{webhook: x, as: s}", match="{rule: a, action: webhook}"),
    )
    assert ["without end: a (then[0] webhook) → b (then[0] webhook) → a;" in one for one in found] == [True] * certain


@pytest.mark.parametrize(
    ("match", "outcome"),
    [("{n.b: 1}", "error"), ("{n.b: 2}", "none"), ("{n.c: 1}", "warning"), ("{n.c.d: 1}", "warning")],
)
def test_what_is_known_of_a_value_with_parts(match: str, outcome: str) -> None:
    """One part of it may be known, and another depend on the event."""
    found = _found(_emits("a", "custom.a", "{emit: {kind: custom.a, data: {n: {b: 1, c: '{{ key }}'}}}}", match=match))
    assert [one.startswith("warning: ") for one in found] == {"error": [False], "none": [], "warning": [True]}[outcome]


@pytest.mark.parametrize(("channel", "ring"), [("1", True), ("2", False)])
def test_what_is_emitted_for_another_channel_leads_nowhere(channel: str, ring: bool) -> None:
    """The channel is a text, as in every event."""
    text = f"{{id: a, when: {{kind: custom.a, channel: {channel}}}, then: [{{emit: {{kind: custom.a, channel: 1}}}}]}}"
    assert ["without end: a (then[0] emit) → a;" in one for one in _found(text)] == [True] * ring


def test_a_mode_that_is_only_said_is_none() -> None:
    """A field of that name in an event of one's own puts nobody into it."""
    [told] = _found(_emits("a", "custom.a", "{emit: {kind: custom.a, data: {mode: home}}}", mode="away"))
    assert told.startswith("warning: ")
