"""Turns of the engine that come without an event of their own: timers, beginnings, other rules, looks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.sdk import Logged, Origin, StateKey, VmsEvent
from rules.resting import parse_limit
from rules.rule import Rule
from rules.trace import Trace
from tests.rules.support import START, Run, event, made, plate, rules_of

LONG = "c" * 70
"""A key that is filed under its hash."""


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _motion(seconds: float, channel: str = LONG, **more: Any) -> VmsEvent:
    return event("motion.started", time=_at(seconds), channel=channel, **more)


def _run(when: str, *more: str, then: str = "[{webhook: x}]") -> Run:
    lines = "".join(f"\n    {line}" for line in more)
    return Run(rules_of(f"rules:\n  - id: r\n    when: {when}{lines}\n    then: {then}\n"))


def _rule(run: Run) -> Rule:
    return run.rules.rules[0]


def _keys(run: Run) -> list[str | None]:
    return [value.get("key") for key, value in run.state.items() if key.rule == "r"]


class TestTimers:
    def test_a_firing_by_a_timer_knows_event_and_key(self) -> None:
        """Its conditions and texts see the event that began it, and the key however long it is."""
        run = _run(
            "{kind: motion.started, for: 30s}",
            "per: channel",
            "if: 'event.source == \"site/nvr1\" && key.size() == 70'",
            then="[{mqtt: {topic: t, payload: '{{ event.time }} {{ key }}'}}]",
        )
        began = _motion(0)
        run.feed(began)
        decision = run.tick(_at(31))
        [(_, params)] = made(decision)
        assert params["payload"] == f"{began.time.isoformat().replace('+00:00', 'Z')} {LONG}"
        assert [trace[:7] for trace in decision.traces] == [
            ("r", _rule(run).version, "fired", 2, began.id, _at(31), LONG)
        ]

    def test_what_holds_back_a_firing_by_a_timer_is_told(self) -> None:
        """At its place of the log, about the event that began it; what it counts is kept for the key."""
        run = _run("{kind: motion.started, for: 30s}", "per: channel", "quiet_for: 1m")
        run.feed(_motion(0))
        assert len(run.tick(_at(30)).orders) == 1
        run.feed(event("motion.ended", time=_at(31), channel=LONG))
        began = _motion(32)
        run.feed(began)
        decision = run.tick(_at(63))
        assert not decision.orders
        wanted = ("quiet_for", "nothing for 1m", "quiet for 33s")
        told = Trace("r", _rule(run).version, "unmet", 5, began.id, _at(63), LONG, *wanted)
        assert decision.traces == (told,)
        [value] = (value for key, value in run.state.items() if key.rule == "r")
        assert (value["version"], value["key"], value["quiet"]) == (_rule(run).version, LONG, _at(123).isoformat())

    def test_a_question_that_nobody_can_answer_is_told_with_its_key(self) -> None:
        """Which source was away, where in the log, and about which beginning."""
        run = _run("{absent: {kind: call.ended}, after: {kind: call.started}, within: 60s}", "per: channel")
        began = event("call.started", {"caller": "1"}, channel=LONG)
        run.feed(event("source.connected", channel=None, time=_at(-100), origin=Origin.BRIDGE, source="nvr1"))
        run.feed(event("source.connected", channel=None, time=_at(-100), origin=Origin.BRIDGE, source="nvr0"))
        run.feed(began)
        lost = {"reason": "x", "message": "x", "since": _at(5)}
        for source, second in (("nvr0", 5), ("nvr1", 6)):
            run.feed(event("source.lost", lost, channel=None, time=_at(second), origin=Origin.BRIDGE, source=source))
        wanted = ("when", "to have heard everything", "nvr1 is not connected")
        assert run.tick(_at(61)).traces == (
            Trace("r", _rule(run).version, "inconclusive", 6, began.id, _at(61), LONG, *wanted),
        )

    def test_a_pattern_that_goes_on_waiting_keeps_its_key(self) -> None:
        """However long it is, and whoever wrote it last: the beginning, an event or a timer."""
        run = _run(f"{{silent: [{LONG}, nvr2], for: 1m}}")
        run.tick(_at(0))
        assert _keys(run) == [LONG, None]
        assert sorted(order.key for order in run.tick(_at(60)).orders) == [LONG, "nvr2"]
        assert _keys(run) == [LONG, None]
        run.feed(plate(source=LONG, time=_at(61)))
        assert [order.key for order in run.tick(_at(121)).orders] == [LONG]


class TestOtherRules:
    def test_a_rule_of_the_clock_waits_from_the_next_event(self) -> None:
        """When it comes beside others; what waited already goes on."""
        text = "rules: [{id: a, when: {silent: nvr1, for: 1m}, then: [{webhook: x}]}%s]"
        run = Run(rules_of(text % ""))
        run.tick(_at(0))
        rules = rules_of(text % ", {id: b, when: {silent: nvr2, for: 1m}, then: [{webhook: x}]}")
        assert run.keep(run.engine.replace_rules(rules)).changed == {}
        assert run.engine.rules is rules
        run.tick(_at(10))
        assert [run.engine.next_due, *[order.rule for order in run.tick(_at(60)).orders]] == [_at(60), "a"]
        assert [order.rule for order in run.tick(_at(70)).orders] == ["b"]

    def test_what_is_dropped_is_told_at_the_place_of_the_change(self) -> None:
        """With the rule as it was; without a change in the log, at the place of the event before."""
        text = "rules: [{id: r, per: channel, when: {kind: motion.started}, then: [{wait: %s}, {webhook: x}]}]"
        run = Run(rules_of(text % "60s"))
        began = _motion(0)
        run.feed(began)
        version = _rule(run).version
        change = Logged(9, _at(5), event("custom.changed", channel=None, time=_at(5)))
        decision = run.keep(run.engine.replace_rules(rules_of(text % "61s"), change))
        [trace] = decision.traces
        assert (trace.rule, trace.version, trace.outcome, trace.seq, trace.at) == ("r", version, "dropped", 9, _at(5))
        assert (trace.key, trace.event) == (LONG, began.id)
        run.feed(_motion(10))
        [trace] = run.keep(run.engine.replace_rules(rules_of(text % "62s"))).traces
        assert (trace.outcome, trace.seq, trace.at) == ("dropped", 2, _at(10))


class TestLooks:
    TEXT = """
    rules:
      - {id: a, when: {kind: plate.read, channel: 1}, match: {score: {at_least: 90}}, then: [{open: g}]}
      - {id: b, when: {kind: plate.read}, per: 'event.data.plate + "!"', if: 'key == "A!"', then: [{open: g}]}
      - {id: c, when: {kind: plate.read}, per: 'event.data.lot.entrance', then: [{open: g}]}
    """

    def test_a_step_that_is_explained_is_the_same_step(self) -> None:
        """With the answer of each rule beside it, or of some; the rules' own clock ticks without."""
        one, other = Run(rules_of(self.TEXT)), Run(rules_of(self.TEXT))
        logged = Logged(1, START, plate("A"))
        decision, answers = one.engine.step_explained(logged)
        assert decision == other.engine.step(logged)
        assert len(decision.traces) == 3
        assert [(trace.rule, trace.outcome, trace.condition) for trace in answers] == [
            ("a", "fired", None),
            ("b", "fired", None),
            ("c", "unmet", "per"),
        ]
        assert answers[1].key == "A!"
        decision, answers = one.engine.step_explained(Logged(2, START, plate("B")), ["b"])
        assert [(trace.rule, trace.seen, trace.key) for trace in answers] == [("b", False, "B!")]
        assert [order.rule for order in decision.orders] == ["a"]
        tick = event("bridge.tick", {"due": START}, source="bridge", channel=None)
        decision, answers = one.engine.step_explained(Logged(3, START, tick), ["a"])
        assert (decision.orders, [trace.seen for trace in answers]) == ((), ["bridge.tick"])

    def test_a_condition_that_does_not_hold_tells_the_values_it_looked_at(self) -> None:
        """In JSON as they are; in words as a rule writes them. What was asked for stays the answer itself."""
        text = 'rules: [{id: r, when: {kind: plate.read}, if: \'event.data.score > 99.0 || state("a", "b") == "x"\','
        run = Run(rules_of(f"{text} then: [{{open: g}}]}}]"))
        [trace] = run.engine.step(Logged(1, START, plate("A")), trace=True).traces
        told = trace.as_json()
        assert (told["seen"], told["looked"]) == (False, {"event.data.score": 97, 'state("a", "b")': None})
        assert str(trace).endswith('saw false (event.data.score is 97.0, state("a", "b") is nothing)')

    def test_what_keeps_a_trigger_from_an_event(self) -> None:
        """Its kind or place, its first test that does not hold, its key; or nothing."""
        run = Run(rules_of(self.TEXT))
        looks = {}
        for number, one in enumerate([plate("A"), plate("A", score=80), plate("A", channel="2"), _motion(0)]):
            found = run.engine.looks(Logged(number, START, one), run.rules.triggers)
            looks[number] = [(trigger.rule.id, unmet and unmet.condition) for trigger, unmet in found]
        assert looks == {
            0: [("a", None), ("b", None), ("c", "per")],
            1: [("a", "match.score"), ("b", None), ("c", "per")],
            2: [("a", "when.channel"), ("b", None), ("c", "per")],
            3: [("a", "when.kind"), ("b", "when.kind"), ("c", "when.kind")],
        }
        assert run.engine.state() == {}

    def test_a_test_that_the_index_does_not_ask_is_traced(self) -> None:
        """At its place of the log, with what was wanted and seen."""
        run = _run("{kind: plate.read}", "match: {plate: A, score: {at_least: 90}}")
        one = plate("A", score=80)
        wanted = ("match.score", "at least 90", 80.0)
        told = Trace("r", _rule(run).version, "unmet", 1, one.id, START, None, *wanted)
        assert run.feed(one).traces == (told,)

    def test_one_value_of_what_is_remembered(self) -> None:
        """By its key."""
        run = _run("{kind: plate.read}", "cooldown: 1m")
        run.feed(plate("A"))
        filed = StateKey("r", "$")
        assert run.engine.value(filed) == {"version": _rule(run).version, "rest": _at(60).isoformat()}
        assert run.engine.value(StateKey("r", "x")) is None


@pytest.mark.parametrize(("written", "span"), [("1000 per 31d", 31 * 86400), ("1 per week", 604_800), ("1/1ms", 0.001)])
def test_the_longest_and_the_shortest_limit(written: str, span: float) -> None:
    """The bounds themselves are taken; a limit that is one stays it."""
    limit = parse_limit(written)
    assert (limit.span.total_seconds(), parse_limit(limit)) == (span, limit)


def test_a_limit_says_how_to_write_one() -> None:
    """The whole sentence."""
    for wrong in ("1 per 0s", "1 per 32d"):
        with pytest.raises(ValueError, match=r"^must be in a span of more than nothing and at most 31 days$"):
            parse_limit(wrong)
