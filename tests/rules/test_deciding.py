"""One step of the engine: what is told of a rule that does not fire, and what each of several keys comes to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from bridge.sdk import Logged, Origin, StateKey, VmsEvent
from rules.remembering import Memories
from rules.rule import Rule
from rules.ruleset import SiteSettings
from rules.trace import Trace
from tests.rules.support import START, Run, event, plate, rules_of


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _run(when: str, *more: str, then: str = "[{clip: {}}]") -> Run:
    lines = "".join(f"\n    {line}" for line in more)
    return Run(rules_of(f"rules:\n  - id: r\n    when: {when}{lines}\n    then: {then}\n"))


def _x(second: float, **data: Any) -> VmsEvent:
    return event("custom.x", data, time=_at(second), event_id=f"x{second}")


TWO_KEYS = "{sequence: [{kind: custom.x, per: a}, {kind: custom.x, per: b}], within: 1m}"
"""One event may be the first of one key and the second of another."""


# --- what is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "one", "told"),
    [
        ("{every: '0 6 * * *'}", plate(), (None, "when", "the clock", "plate.read")),
        ("{kind: plate.read, channel: 2}", plate(), (None, "when.channel", "2", "1")),
        (
            "{kind: motion.started, for: 30s}",
            event("motion.ended"),
            (None, "when", "the whole pattern", "nothing that it waits for"),
        ),
        (
            "{kind: motion.started, for: 30s}",
            event("motion.started"),
            ('["nvr1","1"]', "when", "the whole pattern", "it lasts; 30s are not over"),
        ),
        (
            "{silent: nvr1, for: 1m}",
            event("motion.started"),
            ("nvr1", "when", "the whole pattern", "it is heard, and the wait begins anew"),
        ),
    ],
)
def test_what_an_explanation_says(when: str, one: VmsEvent, told: tuple[Any, ...]) -> None:
    """Of a rule that no event begins, of another place, of what only ends something, and of what has begun."""
    run = _run(when)
    [trace] = run.engine.explain(Logged(7, _at(1), one))
    assert (trace.key, trace.condition, trace.wanted, trace.seen) == told
    assert (trace.rule, trace.version, trace.seq, trace.event) == ("r", run.rules.rules[0].version, 7, one.id)
    assert trace.at == _at(1)


def test_a_rule_in_shadow_is_explained_as_one() -> None:
    """It would fire, and do nothing."""
    run = _run("{kind: custom.x}", "shadow: true", then="[{mqtt: {topic: '{{ event.type }}'}}, {wait: 5s}]")
    told = Trace("r", run.rules.rules[0].version, "fired", 7, "x0", _at(1), "", shadow=True)
    assert run.engine.explain(Logged(7, _at(1), _x(0))) == [told]


def test_a_key_that_cannot_be_worked_out_says_why() -> None:
    """In the words of the expression."""
    run = _run("{kind: custom.x}", "per: 'string(event.data.a / 0)'")
    [trace] = run.feed(_x(0, a=1)).traces
    assert (trace.key, trace.condition, trace.wanted) == (None, "per", "a value")
    assert "zero" in trace.seen


@pytest.mark.parametrize(("include", "condition"), [("", "when.include"), (", include: resync", "match.plate")])
def test_a_snapshot_is_passed_over_before_anything_is_asked(include: str, condition: str) -> None:
    """Its values are told only by a rule that takes it."""
    run = _run(f"{{kind: plate.read{include}}}", "match: {plate: {glob: 'B*'}}")
    assert [trace.condition for trace in run.feed(plate(origin=Origin.RESYNC)).traces] == [condition]


def test_a_rule_that_does_not_fire_keeps_no_other_from_being_asked() -> None:
    """Each is traced in its turn."""
    rule = "{id: %s, when: {kind: plate.read}, match: {plate: {glob: '%s*'}}, then: [{clip: {}}]}"
    rules = ", ".join(rule % (name, name) for name in "ABC")
    decision = Run(rules_of(f"rules: [{rules}]")).feed(plate("C1"))
    assert [(trace.rule, trace.outcome) for trace in decision.traces] == [
        ("A", "unmet"),
        ("B", "unmet"),
        ("C", "fired"),
    ]


def test_what_a_rule_did_or_lacked_is_kept_for_its_key() -> None:
    """With the version it belongs to, however long the key is."""
    long = "k" * 70
    run = _run("{kind: custom.x}", "per: a", "quiet_for: 1m")
    for second in (0, 30):
        run.feed(_x(second, a=long))
        [value] = run.state.values()
        quiet = _at(second + 60).isoformat()
        assert value == {"version": run.rules.rules[0].version, "key": long, "quiet": quiet}


def test_local_is_the_wall_clock_of_a_time_or_of_the_text_of_one() -> None:
    """And nothing of what is neither."""
    times = (
        "timestamp('2026-01-05T12:00:00Z')",
        "event.time",
        "'2026-01-05T12:00:00Z'",
        "'noon'",
        "'9999-12-31T23:00Z'",
    )
    payload = ", ".join(f"local({one})" for one in times)
    then = f"""[{{mqtt: {{topic: t, payload: "{{{{ [{payload}] }}}}"}}}}]"""
    run = Run(rules_of(f"rules: [{{id: r, when: {{kind: custom.x}}, then: {then}}}]", site=SiteSettings("Asia/Seoul")))
    [order] = run.feed(_x(0)).orders
    assert order.params["payload"] == ["2026-01-05 21:00:00"] * 3 + ["", ""]


# --- several keys ------------------------------------------------------------------------------------------


def test_one_event_may_begin_one_key_and_end_another() -> None:
    """Each remembers and fires by itself; told is what the last one lacks."""
    run = _run(TWO_KEYS, "per: a")
    [trace] = run.feed(_x(0, a="1", b="2")).traces
    assert (trace.outcome, trace.key, trace.seen) == ("unmet", "2", "0 of 2 in order within 1m")
    [explained] = run.engine.explain(Logged(2, _at(1), _x(1, a="2", b="1")))
    decision = run.feed(_x(1, a="2", b="1"))
    assert [(trace.outcome, trace.key) for trace in (*decision.traces, explained)] == [("fired", "1")] * 2
    [order] = decision.orders
    assert (order.key, order.causes) == ("1", ("x0", "x1"))
    assert set(run.state) == {StateKey("r", "1"), StateKey("r", "2")}


def test_each_rule_is_asked_once_with_all_that_it_waits_for() -> None:
    """Whoever stands before and after it, and whether it lacks something or not."""
    rule = "{id: %s, per: a, when: %s, then: [{mqtt: {topic: '{{ key }}'}}]}"
    row = {"a": "{kind: custom.x}", "b": TWO_KEYS, "c": "{kind: custom.x}", "d": TWO_KEYS, "e": "{kind: custom.x}"}
    run = Run(rules_of(f"rules: [{', '.join(rule % one for one in row.items())}]"))
    told = [(trace.rule, trace.outcome, trace.key) for trace in run.feed(_x(0, a="1", b="2")).traces]
    assert told == [
        ("a", "fired", "1"),
        ("b", "unmet", "2"),
        ("c", "fired", "1"),
        ("d", "unmet", "2"),
        ("e", "fired", "1"),
    ]
    orders = run.feed(_x(1, a="2", b="1")).orders
    assert [(order.rule, order.key) for order in orders] == [("a", "2"), ("b", "1"), ("c", "2"), ("d", "1"), ("e", "2")]


def test_a_key_that_has_no_room_keeps_no_other_from_firing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused aloud, at its place of the log; also where that is explained beforehand."""
    monkeypatch.setattr("rules.remembering.SMALL", 10)
    run = _run(TWO_KEYS.replace("per: b", "per: b, match: {go: {regex: y}}"), "per: a")
    for second, key in enumerate("19999"):
        run.feed(_x(second, a=key, b="0"))
    sizes = [len(to_json(value["memory"])) for key, value in sorted(run.state.items()) if key.key in "19"]
    monkeypatch.setattr("rules.remembering.LARGEST", sizes[1])
    both = Logged(6, _at(6), _x(6, a="9", b="1", go="y"))
    [explained] = run.engine.explain(both)
    assert (explained.outcome, explained.key) == ("fired", "1")
    decision = run.keep(run.engine.step(both))
    assert [(trace.outcome, trace.key, trace.seq, trace.at, trace.event) for trace in decision.traces] == [
        ("unmet", "9", 6, _at(6), "x6"),
        ("fired", "1", 6, _at(6), "x6"),
    ]
    assert [order.action for order in decision.orders] == ["emit", "clip"]
    run.seq = 6
    assert [(trace.condition, trace.key) for trace in run.feed(_x(7, a="9", b="1")).traces] == [("waiting", "9")]


# --- what is left behind -----------------------------------------------------------------------------------


def test_a_timer_of_a_version_that_is_gone_does_nothing_but_go() -> None:
    """As one is found after a crash that came between new rules and what they drop."""
    when = "{kind: motion.started, for: %s}"
    old = _run(when % "30s")
    old.feed(event("motion.started"))
    run = Run(_run(when % "31s").rules, old.state)
    [filed] = old.state.keys() - {StateKey("$state", "nvr1/1")}
    decision = run.tick(_at(60))
    assert (decision.orders, decision.traces, decision.changed) == ((), (), {filed: None})
    assert run.engine.next_due is None


# --- what it costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        "{kind: custom.x}",
        "{kind: custom.x, for: 5m, until: {kind: custom.y}}",
        "{sequence: [{kind: custom.x}, {kind: custom.y}], within: 1m}",
        "{absent: {kind: custom.y}, after: {kind: custom.x}, within: 1m}",
    ],
)
def test_what_is_remembered_already_is_not_written_again(when: str) -> None:
    """An event that was logged twice at one time changes nothing."""
    run = _run(when)
    run.feed(_x(0))
    assert run.feed(_x(0)).changed == {}


def test_rules_of_the_clock_are_let_wait_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first event after they came into force, and not at each."""
    asked: list[datetime] = []
    begin = Memories.begin

    def counted(self: Memories, rules: Iterable[Rule], stamp: datetime) -> None:
        asked.append(stamp)
        begin(self, rules, stamp)

    monkeypatch.setattr(Memories, "begin", counted)
    run = _run("{silent: nvr1, for: 1m}")
    for second in (1, 2, 3):
        run.tick(_at(second))
    run.keep(run.engine.replace_rules(rules_of("rules: [{id: s, when: {silent: nvr2, for: 1m}, then: [{clip: {}}]}]")))
    for second in (4, 5):
        run.tick(_at(second))
    plain = _run("{kind: plate.read}")
    plain.tick(_at(9))
    plain.keep(plain.engine.replace_rules(plain.rules))
    plain.tick(_at(10))
    assert asked == [_at(1), _at(4)]


@pytest.mark.parametrize(
    ("data", "seen"),
    [({}, "a value is absent"), ({"score": 40}, False)],
)
def test_an_absent_value_is_named_as_such(data: dict[str, Any], seen: object) -> None:
    """And not by what CEL says of types that do not go together."""
    run = Run(rules_of("rules: [{id: r, when: {kind: plate.read}, if: event.data.score > 50, then: [{webhook: x}]}]"))
    [trace] = run.feed(event("plate.read", {"plate": "A", "plate_raw": "A", **data})).traces
    assert (trace.condition, trace.seen, trace.looked) == ("if", seen, {"event.data.score": data.get("score")})


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("int(event.data.plate) > 5", "Function 'int' error: "),
        ("10 / (size(event.data.plate) - 7) > 1", "division by zero"),
        ('event.data.linked_channels[3] == "1"', "index out of bounds: 3"),
        ("event.data.score > 90.0", "a value is absent"),
    ],
)
def test_what_has_no_answer_is_told_as_it_is(reason: str, said: str) -> None:
    """That another value is absent, which the rule asks for, is no reason."""
    condition = f"event.data.lot == null && {reason}"
    run = Run(rules_of(f"rules: [{{id: r, when: {{kind: plate.read}}, if: '{condition}', then: [{{webhook: x}}]}}]"))
    [trace] = run.feed(plate(score=None)).traces
    assert trace.seen.startswith(said)
