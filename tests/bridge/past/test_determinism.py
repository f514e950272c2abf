"""The same log gives the same decisions to the byte: live, after crashes, in a back-test and when it is explained."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from bridge.bus.pull import scan
from bridge.contracts import Logged, StateKey
from bridge.past.compare import Comparison
from bridge.past.otherwise import Otherwise
from bridge.past.replay import Beginning, PastRules, Replay, beginnings
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import RulesChanged
from bridge.schema.orders import Order
from rules.engine import Decision, Engine
from rules.ruleset import RuleSet
from rules.trace import Trace
from tests.bridge.bus.helpers import event as stored_event
from tests.bridge.bus.helpers import until
from tests.bridge.past.world import HOME, World, world
from tests.rules.support import ACTIONS, START, ended, event, plate, rules_of

_SHARED = """
lists: {residents: {plates: [A, B]}}
rules:
  - id: gate
    when: {kind: plate.read}
    match: {plate: {in: residents}}
    per: plate
    cooldown: 5s
    then:
      - clip: {as: film}
      - webhook: {to: x, with: film, wait: 7s, body: {path: "{{ steps.film.path }}"}}
  - id: pairs
    when: {kind: plate.read, count: 2, within: 10s}
    per: plate
    then: [{mqtt: {topic: t, payload: "{{ key }}"}}]
  - id: lasts
    when: {kind: motion.started, for: 3s}
    then: [{ptz: home}]
  - id: then
    when: {sequence: [{kind: motion.started}, {kind: plate.read}], within: 8s}
    if: 'state("nvr1/1", "motion") == "on"'
    then: [{webhook: z}]
  - id: guard
    when: {kind: motion.started}
    mode: {not: home}
    limit: 2 per 10s
    then:
      - webhook: g
      - wait: 2s
      - wait_for: {kind: plate.read, within: 5s, as: came}
      - webhook: {to: h, body: "{{ steps.came.outcome }}"}
  - id: line
    when: {kind: motion.started}
    concurrency: queued
    then:
      - wait: 3s
      - webhook: l
  - id: anew
    when: {kind: motion.started}
    concurrency: restart
    then:
      - wait: 3s
      - webhook: a
  - id: calm
    when: {kind: plate.read}
    quiet_for: 3s
    then: [{webhook: c}]
  - id: quiet
    when: {absent: {kind: plate.read}, after: {kind: motion.started}, within: 4s}
    then: [{webhook: q}]
"""
SETS = [
    rules_of(_SHARED),
    rules_of(
        _SHARED.replace("cooldown: 5s", "cooldown: 2s")
        + "  - {id: more, when: {kind: motion.ended}, then: [{webhook: m}]}\n"
    ),
]
BY_HASH = {rules.hash: rules for rules in SETS}

_Step = tuple[str, float, Any]
_changes = st.sampled_from(["added", "removed", "reset"])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("plate"), st.floats(0, 4), st.sampled_from("ABC")),
        st.tuples(st.just("motion"), st.floats(0, 4), st.sampled_from(["motion.started", "motion.ended"])),
        st.tuples(st.just("end"), st.floats(0, 4), st.tuples(st.integers(0, 5), st.sampled_from(["done", "dead"]))),
        st.tuples(st.just("list"), st.floats(0, 2), st.tuples(_changes, st.sampled_from("ABC"))),
        st.tuples(st.just("mode"), st.floats(0, 2), st.sampled_from(["home", "away"])),
        st.tuples(st.just("rules"), st.floats(0, 1), st.integers(0, 1)),
        st.tuples(st.just("pause"), st.floats(0, 12), st.none()),
    ),
    min_size=2,
    max_size=40,
)


@dataclass
class Past:
    """A log, what was decided on it, and the state after each place."""

    log: list[Logged] = field(default_factory=list)
    decided: list[Decision] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    rules: list[RuleSet] = field(default_factory=list)
    """In force after each place."""


def _advance(engine: Engine, logged: Logged, trace: bool = True) -> Decision:
    """Do what the host does with an event."""
    data = logged.event.data
    adopted = engine.replace_rules(BY_HASH[data.ruleset], logged) if isinstance(data, RulesChanged) else Decision()
    decided = engine.step(logged, trace=trace)
    changed = {**adopted.changed, **decided.changed}
    return Decision(changed, (*adopted.orders, *decided.orders), (*adopted.traces, *decided.traces))


def _tick(due: datetime) -> VmsEvent:
    return event("bridge.tick", {"due": due}, source="bridge", channel=None, time=due + timedelta(milliseconds=20))


def _live(steps: Sequence[_Step]) -> Past:
    """Let a bridge run, which writes the time into the log when a timer is due and nothing else comes."""
    past, orders = Past(), list[Order]()
    engine = Engine(RuleSet.empty(), {})

    def add(one: VmsEvent) -> None:
        past.log.append(Logged(len(past.log) + 1, one.received, one))
        past.decided.append(_advance(engine, past.log[-1]))
        orders.extend(past.decided[-1].orders)
        past.states.append(to_json([(key.rule, key.key, value) for key, value in engine.state().items()]))
        past.rules.append(engine.rules)

    def use(rules: RuleSet, now: datetime) -> VmsEvent:
        return event("rules.changed", {"ruleset": rules.hash, "rules": 1}, source="bridge", channel=None, time=now)

    add(use(SETS[0], START))
    now = START
    for what, seconds, detail in steps:
        now += timedelta(seconds=round(seconds, 3))
        while (due := engine.next_due) is not None and due + timedelta(milliseconds=20) < now:
            add(_tick(due))
        if what == "end" and orders:
            order = orders[-1 - detail[0] % len(orders)]
            add(ended(order, detail[1], time=now, path=order.id[:4]))
        elif what == "plate":
            add(plate(detail, time=now))
        elif what == "motion":
            add(event(detail, time=now))
        elif what == "list":
            change = {"list": "residents", detail[0]: [detail[1]], "valid_until": now + timedelta(seconds=6)}
            add(event("list.changed", change, source="bridge", channel=None, time=now))
        elif what == "mode":
            add(event("mode.changed", {"mode": detail}, source="bridge", channel=None, time=now))
        elif what == "rules":
            add(use(SETS[detail], now))
    return past


def _read(state: bytes) -> dict[StateKey, dict[str, Any]]:
    """Read a state as a checkpoint holds it."""
    return {StateKey(rule, key): value for rule, key, value in from_json(state)}


def _orders(decided: Iterable[Decision]) -> list[bytes]:
    return [order.encode() for decision in decided for order in decision.orders]


def _traces(decided: Iterable[Decision], *, firings: bool = False) -> list[bytes]:
    return [
        to_json(trace.as_json())
        for decision in decided
        for trace in decision.traces
        if not firings or trace.outcome in ("fired", "queued", "resumed", "dropped")
    ]


@settings(max_examples=120, deadline=None)
@given(_steps, st.sets(st.integers(1, 50)), st.integers(0, 50))
def test_the_same_log_gives_the_same_decisions_wherever_it_is_read(
    steps: list[_Step], crashes: set[int], begin: int
) -> None:
    """Live; with crashes at any points; from any checkpoint: in a back-test, as old rules and as new; and explained."""
    past = _live(steps)
    live, log = past.decided, past.log

    state: dict[StateKey, dict[str, Any]] = {}
    engine, again = Engine(RuleSet.empty(), {}), []
    for number, logged in enumerate(log):
        if number in crashes:
            engine = Engine(past.rules[number - 1], state)
            state = dict(state)
        again.append(_advance(engine, logged))
        for key, value in again[-1].changed.items():
            state.pop(key, None) if value is None else state.update({key: value})
    assert (_orders(again), _traces(again)) == (_orders(live), _traces(live))

    place = 1 + begin % len(log)
    rest, checkpoint, rules = log[place:], past.states[place - 1], past.rules[place - 1]
    old = Engine(rules, _read(checkpoint))
    tested = [_advance(old, logged, trace=False) for logged in rest]
    assert _orders(tested) == _orders(live[place:])
    assert _traces(tested) == _traces(live[place:], firings=True)

    explaining, explained = Engine(rules, _read(checkpoint)), list[Decision]()
    for logged, lived in zip(rest, live[place:], strict=True):
        data = logged.event.data
        adopted = (
            explaining.replace_rules(BY_HASH[data.ruleset], logged) if isinstance(data, RulesChanged) else Decision()
        )
        decided, answers = explaining.step_explained(logged)
        explained.append(Decision({}, decided.orders, (*adopted.traces, *decided.traces)))
        assert _said(answers) == _said(trace for trace in lived.traces if trace.event == logged.event.id)
    assert (_orders(explained), _traces(explained)) == (_orders(live[place:]), _traces(live[place:]))


def _said(traces: Iterable[Trace]) -> set[str]:
    """Return the rules that fired from an event itself."""
    return {trace.rule for trace in traces if trace.outcome == "fired"}


@settings(max_examples=80, deadline=None)
@given(_steps, st.integers(0, 50))
def test_rules_that_are_the_same_are_no_difference_in_a_back_test(steps: list[_Step], begin: int) -> None:
    """To the byte, from any checkpoint on, as long as nobody changed them."""
    past = _live([step for step in steps if step[0] != "rules"])
    place = 1 + begin % len(past.log)
    rules, state = past.rules[place - 1], _read(past.states[place - 1])
    old, new = Engine(rules, state), Otherwise(rules, SETS[0], state, "site", ACTIONS)
    comparison, made = Comparison(START), list[Decision]()
    for logged in past.log[place:]:
        decided = old.step(logged, trace=False)
        new.given(decided)
        made += (instead := new.step(logged, comparison.same_as))
        comparison.add((decided,), instead)
    assert _orders(made) == _orders(past.decided[place:])
    assert not any(one.any for one in comparison.finish().values())
    assert (new.left_out, new.ticks) == (0, 0)


RULES = """
rules:
  - id: moved
    when: {kind: motion.started, count: 2, within: 1h}
    then: [{webhook: x}]
  - id: lasts
    when: {kind: motion.started, for: 200ms}
    cooldown: 1s
    then: [{webhook: {to: y, body: "{{ event.id }}"}}]
"""


async def test_what_the_real_bus_holds_is_decided_again_to_the_byte(tmp_path: Path) -> None:
    """Orders and traces as they were stored, by an engine that went away four times; begun at any checkpoint."""
    async with world(tmp_path) as site:
        await site.use(RULES)
        for part in range(4):
            async with site.running() as host:
                for number in range(5):
                    await site.put(stored_event(part * 5 + number))
                    await asyncio.sleep(0)
                if part == 3:
                    await until(lambda: any(trace.rule == "lasts" and trace.fired for trace in site.traces))
                    end = (await site.log.ends()).last
                    await until(lambda host=host, end=end: host.position >= end)  # type: ignore[misc]
        last = (await site.log.ends()).last
        stored = {name: await _stored(site, name) for name in ("ENGINE", "TRACES")}
        assert len(stored["ENGINE"]) >= 11
        for begin in await _beginnings(site, last):
            orders, traces = await _again(site, begin, last)
            first = begin.seq + 1
            assert orders == {name: body for name, body in stored["ENGINE"].items() if name in orders}
            if first == 1:
                assert orders.keys() == stored["ENGINE"].keys()
                assert traces == stored["TRACES"]
            assert traces == {name: body for name, body in stored["TRACES"].items() if from_json(body)["seq"] >= first}


async def _stored(site: World, stream: str) -> Mapping[str, bytes]:
    """Return what is stored, orders or traces, by id."""
    subjects = ["vms.home.order.>"] if stream == "ENGINE" else []
    batches = scan(site.bus.connection, site.bus.stream(stream), subjects)
    return {from_json(message.data)["id"]: message.data async for batch in batches for message in batch}


async def _beginnings(site: World, last: int) -> list[Beginning]:
    found = [Beginning(0, None, "", {})]
    for seq in range(1, last):
        nearest = (await beginnings(site.bus.connection, "home", seq)).nearest
        if nearest is not None and nearest.seq not in [one.seq for one in found]:
            found.append(nearest)
    assert len(found) > 1
    return found


async def _again(site: World, begin: Beginning, last: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    rules = PastRules(site.bus.connection, "home", ACTIONS)
    replay = await Replay.begun(begin, rules)
    decided = [
        await replay.step(logged, trace=True) async for batch in site.log.read(begin.seq, last) for logged in batch
    ]
    assert replay.engine.rules.hash == rules_of(RULES, site=HOME).hash
    orders = {order.id: order.encode() for decision in decided for order in decision.orders}
    return orders, {trace.id: to_json(trace.as_json()) for decision in decided for trace in decision.traces}
