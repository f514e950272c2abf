"""Rules that lead to each other are cut off, and somebody is told."""

from __future__ import annotations

from datetime import timedelta

from bridge.sdk import ActionClass, Origin, VmsEvent, stable_id
from rules.loops import MOST_HOPS
from rules.trial import run_trials
from tests.rules.support import ACTIONS, START, Run, event, rules_of

RING = """
rules:
  - {id: ping, when: {kind: custom.ping}, if: 'key == ""', then: [{emit: custom.pong}]}
  - {id: pong, when: {kind: custom.pong}, then: [{emit: custom.ping}]}
  - {id: warn, when: {kind: rule.loop}, then: [{webhook: {body: {rule: "{{ event.data.rule }}"}}}]}
"""


def _play(run: Run, first: VmsEvent) -> list[str]:
    """Let every event that rules make come back; return which actions there were."""
    coming, done = [first], []
    while coming:
        one = coming.pop(0)
        for order in run.feed(one, at=max(one.time, run.now)).orders:
            spec = ACTIONS[order.action]
            done.append(order.action)
            if spec.event is not None:
                coming.append(spec.event(spec.params.model_validate(order.params), order))
    return done


def _ping(seconds: float) -> VmsEvent:
    return event("custom.ping", {}, time=START + timedelta(seconds=seconds), channel=None)


def test_a_ring_of_rules_is_cut_off_and_told_once_an_hour() -> None:
    """The first event of eight firings in a row fires, the next does not; the trace says why."""
    run = Run(rules_of(RING))
    actions = _play(run, _ping(0))
    assert actions == ["emit"] * (MOST_HOPS + 1) + ["emit", "webhook"]
    [cut] = [trace for decision in run.decisions for trace in decision.traces if trace.condition == "loop"]
    assert (cut.rule, cut.seen) == ("pong", MOST_HOPS + 1)
    run.crash()
    assert _play(run, _ping(60)) == ["emit"] * (MOST_HOPS + 1)
    assert _play(run, _ping(3601))[-1] == "webhook"


def test_what_is_told_of_a_loop_names_rule_and_event() -> None:
    """Each rule that was cut off is told by itself; the order has an id of its own, and the rule's priority."""
    text = """
    rules:
      - {id: a, priority: 3, when: {kind: custom.ping}, then: [{clip: {}}, {clip: {}}]}
      - {id: b, when: {kind: custom.ping}, then: [{clip: {}}]}
    """
    run = Run(rules_of(text))
    ping = _ping(5).model_copy(update={"hops": MOST_HOPS + 1, "origin": Origin.BACKFILL, "raw": "{}"})
    first, second = run.feed(ping, at=START + timedelta(seconds=7)).orders
    version = run.rules.rules[0].version
    assert first.model_dump(exclude={"trigger", "steps", "max_lateness", "expires", "step"}) == {
        "id": stable_id("rule.loop", "a", version, ping.id),
        "rule": "a",
        "rule_version": version,
        "key": "",
        "index": 2,
        "action": "emit",
        "action_class": ActionClass.INFORMATION,
        "params": {
            "kind": "rule.loop",
            "data": {"rule": "a", "kind": "custom.ping", "event": ping.id, "hops": MOST_HOPS + 1},
        },
        "causes": (ping.id,),
        "origin": Origin.BACKFILL,
        "hops": 0,
        "occurred": ping.time,
        "received": ping.received,
        "created": START + timedelta(seconds=7),
        "priority": 3,
    }
    assert (first.trigger, second.rule, second.priority) == (ping.model_copy(update={"raw": None}), "b", 0)


def test_a_loop_is_told_again_after_an_hour() -> None:
    """Not before; each of many rules, whether what was remembered of it is swept away already or not."""
    rules = ", ".join(f"{{id: r{number}, when: {{kind: custom.ping}}, then: [{{clip: {{}}}}]}}" for number in range(20))
    run = Run(rules_of(f"rules: [{rules}]"))
    ping = _ping(0).model_copy(update={"hops": MOST_HOPS + 1})
    told = [len(run.feed(ping, at=START + timedelta(seconds=second)).orders) for second in (0, 1, 3599.9, 3600, 3601)]
    assert told == [20, 0, 0, 20, 0]


def test_what_comes_from_outside_counts_nothing() -> None:
    """However often."""
    run = Run(rules_of(RING.replace("emit: custom.ping", "clip: {}")))
    for second in range(20):
        assert _play(run, _ping(second)) == ["emit", "clip"]


def test_an_answer_brings_its_count_along() -> None:
    """A ring through `wait_for` ends as well."""
    text = """
    rules:
      - id: a
        when: {kind: custom.go}
        then: [{wait_for: {kind: custom.ping, within: 1m}}, {emit: custom.pong}]
    """
    run = Run(rules_of(text))
    run.feed(event("custom.go", {}))
    ping = _ping(1).model_copy(update={"hops": MOST_HOPS})
    assert [order.hops for order in run.feed(ping).orders] == [MOST_HOPS + 1]
    run.feed(event("custom.go", {}, time=START + timedelta(seconds=2)))
    assert not run.feed(_ping(3).model_copy(update={"hops": MOST_HOPS + 1})).orders


def test_tests_of_rules_see_what_rules_lead_to() -> None:
    """What a rule emits is there at once; so are the mode and states that it sets."""
    text = """
    rules:
      - {id: night, when: {kind: call.started}, then: [{set_mode: night}, {emit: {kind: custom.x, data: {n: 1}}}]}
      - id: x
        when: {kind: custom.x}
        mode: night
        then:
          - set_state: {entity: a, attribute: n, value: "{{ event.data.n }}"}
          - wait: 1s
          - webhook: x
            if: state("rules/a", "n") == 1
    tests:
      - name: one leads to the other
        given: [{kind: call.started}, {wait: 2s}]
        expect: [{set_mode: night}, {emit: custom.x}, {set_state: {value: 1}}, {webhook: x}]
    """
    assert [str(result) for result in run_trials(rules_of(text), ACTIONS) if not result.passed] == []
