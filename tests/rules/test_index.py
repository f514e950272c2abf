"""The index finds exactly the rules that a loop over all of them would find."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged, VmsEvent
from rules.engine import Engine
from rules.moment import Moment
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
    st.fixed_dictionaries({}, optional={"at_least": _numbers, "at_most": _numbers}).filter(bool),
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
        decision = Engine(compiled, {}, site="site").step(logged)
        assert [order.rule for order in decision.orders] == expected
        untraced = Engine(compiled, {}, site="site").step(logged, trace=False)
        assert untraced.orders == decision.orders
        explained = Engine(compiled, {}, site="site").explain(logged)
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
