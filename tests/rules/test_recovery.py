"""The same log gives the same decisions: live, again, and after a crash at any point."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged, Order, VmsEvent
from rules.engine import Decision, Engine
from rules.ruleset import RuleSet
from tests.rules.support import ACTIONS, START, ended, event, plate, rules_of

RULES = rules_of(
    """
    lists: {residents: {plates: [A, B]}}
    rules:
      - id: gate
        when: {kind: plate.read}
        match: {plate: {in: residents}}
        per: plate
        cooldown: 5s
        then:
          - open: gate
          - clip: {as: clip}
          - webhook:
              to: x
              with: clip
              wait: 7s
              body: {path: "{{ steps.clip.path }}", motion: '{{ state("nvr1/1", "motion") }}'}
      - id: any
        when: {kind: plate.read}
        if: 'state("nvr1/1", "motion") == "on"'
        cooldown: 3s
        then:
          - ptz: {preset: "{{ event.data.plate }}", as: turned}
          - mqtt: {topic: t, with: turned, wait: 2s, payload: "{{ {'b': steps.turned.outcome, 'a': key} }}"}
      - id: told
        when: {kind: action.ended}
        match: {outcome: dead}
        per: action
        cooldown: 4s
        then: [{webhook: y}]
    """
)

_Step = tuple[str, float, Any]
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("plate"), st.floats(0, 4), st.sampled_from("ABC")),
        st.tuples(st.just("motion"), st.floats(0, 4), st.sampled_from(["motion.started", "motion.ended"])),
        st.tuples(st.just("end"), st.floats(0, 4), st.tuples(st.integers(0, 5), st.sampled_from(["done", "dead"]))),
        st.tuples(st.just("tick"), st.floats(0, 10), st.none()),
    ),
    max_size=40,
)


def _live(steps: list[_Step]) -> tuple[list[Logged], list[Decision]]:
    """Run the steps once, with ends of orders among them; return the log that this gave."""
    engine, log, decisions, orders = Engine(RULES, {}), [], [], list[Order]()
    now = START
    for what, seconds, detail in steps:
        now += timedelta(seconds=round(seconds, 3))
        if what == "end" and not orders:
            continue
        if what == "end":
            order = orders[-1 - detail[0] % len(orders)]
            one: VmsEvent = ended(order, detail[1], time=now, path=order.id[:4])
        elif what == "plate":
            one = plate(detail, time=now)
        elif what == "motion":
            one = event(detail, time=now)
        else:
            one = event("bridge.tick", {"due": now}, source="bridge", channel=None, time=now)
        log.append(Logged(len(log) + 1, now, one))
        decisions.append(engine.step(log[-1]))
        orders += decisions[-1].orders
    return log, decisions


def _bytes(decisions: list[Decision]) -> list[bytes]:
    return [order.encode() for decision in decisions for order in decision.orders]


@settings(max_examples=150, deadline=None)
@given(_steps, st.sets(st.integers(0, 40)))
def test_a_crash_at_any_point_changes_no_decision(steps: list[_Step], crashes: set[int]) -> None:
    """Made again from what was committed, the engine decides as if nothing had happened."""
    log, expected = _live(steps)
    state: dict[Any, Any] = {}
    engine = Engine(RULES, state)
    found = []
    for number, logged in enumerate(log):
        if number in crashes:
            engine = Engine(RULES, dict(state))
        found.append(engine.step(logged))
        for key, value in found[-1].changed.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        assert engine.next_due == Engine(RULES, dict(state)).next_due
    assert _bytes(found) == _bytes(expected)
    assert [decision.changed for decision in found] == [decision.changed for decision in expected]
    assert [decision.traces for decision in found] == [decision.traces for decision in expected]


@settings(max_examples=50, deadline=None)
@given(_steps)
def test_the_same_log_gives_the_same_bytes(steps: list[_Step]) -> None:
    """Decided again, from rules compiled again out of their bundle, every order is the same to the byte."""
    log, expected = _live(steps)
    engine = Engine(RuleSet.from_bundle(RULES.bundle(), ACTIONS), {})
    assert _bytes([engine.step(logged) for logged in log]) == _bytes(expected)


@settings(max_examples=50, deadline=None)
@given(_steps)
def test_what_was_handed_out_is_never_changed_afterwards(steps: list[_Step]) -> None:
    """A decision may be written down later than it was made."""
    engine = Engine(RULES, {})
    log, _ = _live(steps)
    kept = []
    for logged in log:
        decision = engine.step(logged)
        kept.append((decision.changed, copy.deepcopy(dict(decision.changed))))
    assert all(before == after for before, after in kept)


@settings(max_examples=50, deadline=None)
@given(_steps)
def test_order_ids_are_never_given_twice(steps: list[_Step]) -> None:
    """Each order of a log has an id of its own."""
    _, decisions = _live(steps)
    ids = [order.id for decision in decisions for order in decision.orders]
    assert len(ids) == len(set(ids))


def test_in_the_end_nothing_is_left_to_remember() -> None:
    """When all waits and rests are over, only facts remain."""
    _, decisions = _live(
        [("plate", 1, "A"), ("motion", 1, "motion.started"), ("plate", 1, "B")] + [("tick", 10, None)] * 3
    )
    state: dict[Any, Any] = {}
    for decision in decisions:
        state |= decision.changed
    assert {key.rule for key, value in state.items() if value is not None} == {"$state"}
