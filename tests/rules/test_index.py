"""The index finds exactly the rules that a loop over all of them would find."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged, VmsEvent
from rules.engine import Engine
from rules.moment import Moment
from rules.ruleset import RuleSet
from tests.rules.support import START, event, plate, rules_of

PLATES = ["A1", "B2", "C3", "D4"]
SOURCES = ["nvr1", "nvr2", "nvr3"]
CHANNELS = ["1", "2", "3"]

_numbers = st.integers(88, 96)
_plate_tests = st.one_of(
    st.sampled_from(PLATES),
    st.lists(st.sampled_from(PLATES), min_size=1, max_size=3),
    st.sampled_from(["residents", "staff"]).map(lambda name: {"in": name}),
    st.sampled_from(["residents", "staff"]).map(lambda name: {"not_in": name}),
    st.sampled_from(["A*", "?2", "*"]).map(lambda glob: {"glob": glob}),
    st.just({"regex": "[13]$"}),
)
_score_tests = st.one_of(
    _numbers,
    st.fixed_dictionaries({}, optional={"at_least": _numbers, "at_most": _numbers}).filter(
        lambda bounds: bounds and bounds.get("at_least", 0) <= bounds.get("at_most", 1000)
    ),
    st.tuples(_numbers, st.integers(0, 5)).map(lambda pair: {"between": [pair[0], pair[0] + pair[1]]}),
    st.booleans().map(lambda there: {"exists": there}),
)
_match = st.fixed_dictionaries(
    {},
    optional={
        "plate": _plate_tests,
        "score": _score_tests,
        "direction": st.sampled_from(["entry", "exit"]),
        "linked_channels": st.one_of(st.sampled_from(CHANNELS), st.lists(st.sampled_from(CHANNELS), min_size=1)),
        "lot.entrance": st.sampled_from(["P1", "P2"]),
    },
)
_when = st.fixed_dictionaries(
    {"kind": st.just("plate.read")},
    optional={
        "source": st.one_of(st.sampled_from(SOURCES), st.lists(st.sampled_from(SOURCES), min_size=1, unique=True)),
        "channel": st.one_of(st.sampled_from(CHANNELS), st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True)),
    },
)
_rules = st.lists(st.fixed_dictionaries({"when": _when, "match": _match}), max_size=12)
_events = st.builds(
    plate,
    st.sampled_from([*PLATES, "E5"]),
    score=st.one_of(st.none(), _numbers.map(float), st.just(92.5)),
    source=st.sampled_from(SOURCES),
    channel=st.one_of(st.none(), st.sampled_from(CHANNELS)),
    direction=st.one_of(st.none(), st.sampled_from(["entry", "exit"])),
    linked_channels=st.lists(st.sampled_from(CHANNELS), max_size=3),
    lot=st.one_of(st.none(), st.sampled_from([{"entrance": "P1"}, {"exit": "P2"}])),
)


def _text(rules: list[dict[str, Any]]) -> str:
    whole = {
        "lists": {"residents": {"plates": ["A1", "B2"]}, "staff": {"plates": ["C3"]}},
        "rules": [{"id": f"r{n}", **rule, "then": [{"open": "gate"}]} for n, rule in enumerate(rules)],
    }
    return json.dumps(whole)  # JSON is YAML


@settings(max_examples=200, deadline=None)
@given(_rules, st.lists(_events, min_size=1, max_size=6))
def test_the_index_is_a_loop_over_all_rules_but_quicker(rules: list[dict[str, Any]], events: list[VmsEvent]) -> None:
    """For any rules and events the same rules fire, in the same order, as when all are asked one by one."""
    compiled = rules_of(_text(rules))
    for number, one in enumerate(events):
        logged = Logged(number + 1, START, one)
        moment = Moment(logged, compiled.place)
        expected = [
            trigger.rule.id
            for trigger in compiled.triggers
            if trigger.place_differs(one) is None and all(test.holds(moment) for test in trigger.tests)
        ]
        decision = Engine(compiled, {}).step(logged)
        assert [order.rule for order in decision.orders] == expected
        untraced = Engine(compiled, {}).step(logged, trace=False)
        assert untraced.orders == decision.orders
        explained = Engine(compiled, {}).explain(logged)
        assert [trace.rule for trace in explained if trace.fired] == expected
        unmet = {trace.rule: trace.condition for trace in explained}
        for trace in decision.traces:
            if not trace.fired:
                assert unmet[trace.rule] is not None


def test_a_rule_that_wants_another_value_is_not_even_asked() -> None:
    """Of a thousand rules for a thousand plates one is reached."""
    rules = [
        {"when": {"kind": "plate.read"}, "match": {"plate": f"P{n}", "score": {"at_least": 90}}} for n in range(1000)
    ]
    compiled = rules_of(_text(rules))
    reached = compiled.index.reached(Moment(Logged(1, START, plate("P77")), compiled.place))
    assert [entry.trigger.rule.id for entry in reached] == ["r77"]
    assert [test.name for test in reached[0].tests] == ["match.score"]


def test_equal_questions_are_one_test() -> None:
    """Rules share tests, so each is answered once for an event."""
    rules = [{"when": {"kind": "plate.read", "channel": n}, "match": {"score": {"at_least": 90}}} for n in range(10)]
    compiled = rules_of(_text(rules))
    assert len({id(test) for trigger in compiled.triggers for test in trigger.tests}) == 1


def test_other_kinds_cost_nothing() -> None:
    """An event of a kind that no rule wants reaches none."""
    compiled = rules_of(_text([{"when": {"kind": "plate.read"}, "match": {}}]))
    assert compiled.kinds == {"plate.read"}
    assert compiled.index.reached(Moment(Logged(1, START, event("motion.started")), compiled.place)) == []


def test_a_list_and_a_bound_keep_rules_away_together() -> None:
    """Rules behind a list that does not have the plate, or above the score, are not reached at all."""
    rules = [{"when": {"kind": "plate.read"}, "match": {"plate": {"in": "staff"}}} for _ in range(5)]
    rules += [{"when": {"kind": "plate.read"}, "match": {"score": {"at_least": 90 + n}}} for n in range(5)]
    rules += [{"when": {"kind": "plate.read"}, "match": {"score": {"at_most": 90 + n}}} for n in range(5)]
    compiled = rules_of(_text(rules))
    reached = compiled.index.reached(Moment(Logged(1, START, plate("Z", score=92.0)), compiled.place))
    assert [entry.trigger.rule.id for entry in reached] == ["r5", "r6", "r7", "r12", "r13", "r14"]
    assert all(entry.tests == () for entry in reached)


def _reached(compiled: RuleSet, one: VmsEvent) -> list[tuple[str, list[str]]]:
    """Return the rules that the index leads to, and what is still to be asked of each."""
    entries = compiled.index.reached(Moment(Logged(1, START, one), compiled.place))
    return [(entry.rule.id, [test.name for test in entry.tests]) for entry in entries]


def _missed(compiled: RuleSet, one: VmsEvent) -> list[tuple[str, str]]:
    """Return the rules that stand for those that were kept away, and by what."""
    _, missed = compiled.index.reached_and_missed(Moment(Logged(1, START, one), compiled.place))
    return [(trigger.rule.id, test.wanted) for trigger, test in missed]


def test_a_rule_is_filed_by_what_fewest_want() -> None:
    """Whichever of its tests is written first: most events are about another plate."""
    rules: list[dict[str, Any]] = []
    for n in range(5):
        rules.append({"when": {"kind": "plate.read"}, "match": {"plate": f"P{n}", "direction": "entry"}})
        rules.append({"when": {"kind": "plate.read"}, "match": {"direction": "exit", "plate": f"P{n}"}})
    compiled = rules_of(_text(rules))
    assert _reached(compiled, plate("P3", direction="entry")) == [
        ("r6", ["match.direction"]),
        ("r7", ["match.direction"]),
    ]
    assert _reached(compiled, plate("P9", direction="exit")) == []


def test_a_value_that_many_want_counts_with_each() -> None:
    """A test for several values lets through what any of them would."""
    match = {"plate": ["A1", "B2", "C3"], "direction": "entry"}
    compiled = rules_of(_text([{"when": {"kind": "plate.read"}, "match": match}]))
    assert _reached(compiled, plate("B2", direction="entry")) == [("r0", ["match.plate"])]
    assert _reached(compiled, plate("B2", direction="exit")) == []


def test_where_an_event_comes_from() -> None:
    """Each rule is found once, whether it names source and channel, one of them or none, and in its order."""
    wheres: list[dict[str, Any]] = [
        {},
        {"channel": "1"},
        {"source": "nvr1"},
        {"source": ["nvr1", "nvr2"], "channel": ["1", "2"]},
        {"source": "nvr2"},
        {"channel": "2"},
    ]
    compiled = rules_of(_text([{"when": {"kind": "plate.read", **where}, "match": {}} for where in wheres]))
    assert [rule for rule, _ in _reached(compiled, plate())] == ["r0", "r1", "r2", "r3"]
    assert [rule for rule, _ in _reached(compiled, plate(channel=None))] == ["r0", "r2"]
    assert [rule for rule, _ in _reached(compiled, plate(source="nvr3", channel="2"))] == ["r0", "r5"]


def test_a_list_that_a_field_with_several_values_is_looked_up_in() -> None:
    """Is asked once for all rules; each is found once however many of its values are listed."""
    rules = [{"when": {"kind": "plate.read"}, "match": {"linked_channels": {"in": "shown"}}} for _ in range(2)]
    rules += [{"when": {"kind": "plate.read"}, "match": {"linked_channels": ["1", "2"]}}]
    text = json.dumps({**json.loads(_text(rules)), "lists": {"shown": {"values": ["1", "2"]}}})
    compiled = rules_of(text)
    assert _reached(compiled, plate(linked_channels=["2", "1", "3"])) == [("r0", []), ("r1", []), ("r2", [])]
    assert _reached(compiled, plate(linked_channels=["3"])) == []
    assert _missed(compiled, plate(linked_channels=["3"])) == [("r0", "in shown")]
    assert _missed(compiled, plate(linked_channels=["1"])) == []


def test_bounds_let_through_what_is_just_so_high() -> None:
    """Of those that keep their rules away the least strict is told."""
    bounds = [{"at_least": 92}, {"at_least": 90}, {"at_least": 90}, {"at_most": 80}, {"at_most": 82}, {"at_most": 82}]
    compiled = rules_of(_text([{"when": {"kind": "plate.read"}, "match": {"score": bound}} for bound in bounds]))
    assert [rule for rule, _ in _reached(compiled, plate(score=90.0))] == ["r1", "r2"]
    assert [rule for rule, _ in _reached(compiled, plate(score=82.0))] == ["r4", "r5"]
    assert _missed(compiled, plate(score=85.0)) == [("r1", "at least 90"), ("r5", "at most 82")]
    assert _missed(compiled, plate(score=None)) == [("r1", "at least 90"), ("r5", "at most 82")]
    assert _missed(compiled, plate(score=90.0)) == [("r5", "at most 82")]


def test_free_json_is_told_apart_by_its_kind() -> None:
    """True is not one; a bound on what may be anything is asked, not looked up."""
    rules: list[dict[str, Any]] = [{"when": {"kind": "custom.x"}, "match": {"room": room}} for room in (1, True, "1")]
    rules += [{"when": {"kind": "custom.x"}, "match": {"room": {"at_least": 1}}}]
    compiled = rules_of(_text(rules))
    for room, found in ((1, ["r0"]), (True, ["r1"]), ("1", ["r2"]), ([1], []), (2, []), (None, [])):
        reached = _reached(compiled, event("custom.x", {"room": room}))
        assert reached == [*((rule, []) for rule in found), ("r3", ["match.room"])], room
        assert _missed(compiled, event("custom.x", {"room": room})) == []
