"""Random flows over random histories: the same as an obvious reference, and no crash changes anything.

The reference walks the tree of `then` as one would explain it to somebody: this is done, and after it
that. Nothing is flattened and nothing is written down.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged, Order, Origin, VmsEvent
from rules.engine import Decision, Engine
from rules.ruleset import RuleSet
from tests.rules.support import START, ended, event, plate, rules_of

EXAMPLES = int(os.environ.get("FLOWS", "120"))
_OUTCOMES = ("done", "done", "dead", "refused", "expired", "unknown")

# --- flows ----------------------------------------------------------------------------------------------

_leaves = st.one_of(
    st.just({"act": None}),
    st.just({"act": None}),
    st.integers(0, 9).map(lambda seconds: {"wait": f"{seconds}s"}),
    st.integers(1, 9).map(lambda seconds: {"wait_for": seconds}),
    st.just({"stop": None}),
)


def _nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(several, st.booleans()).map(lambda pair: {"do": pair[0], "if": pair[1]}),
        st.lists(several, min_size=1, max_size=3).map(lambda branches: {"parallel": branches}),
        st.tuples(several, several).map(lambda pair: {"do": pair[0], "on_error": pair[1]}),
        several.map(lambda handler: {"act": None, "on_error": handler}),
    )


_flows = st.tuples(
    st.lists(st.recursive(_leaves, _nodes, max_leaves=8), min_size=1, max_size=4),
    st.one_of(st.none(), st.lists(_leaves, min_size=1, max_size=2)),
)
_histories = st.lists(
    st.one_of(
        st.tuples(st.just("fire"), st.integers(0, 3), st.none()),
        st.tuples(st.just("ack"), st.integers(0, 5), st.none()),
        st.tuples(st.just("end"), st.integers(0, 4), st.tuples(st.integers(0, 9), st.sampled_from(_OUTCOMES))),
        st.tuples(st.just("pass"), st.integers(0, 12), st.none()),
    ),
    min_size=1,
    max_size=14,
)


class _Writer:
    """Gives every step its number, in the order in which they stand, and writes them as a rule would."""

    def __init__(self) -> None:
        self.count = 0

    def steps(self, nodes: list[dict[str, Any]]) -> list[Any]:
        return [self.step(node) for node in nodes]

    def step(self, node: dict[str, Any]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        if "act" in node or "wait" in node or "wait_for" in node or "stop" in node or "if" in node:
            node["n"] = self.count
            self.count += 1
        if "act" in node:
            written["webhook"] = {"to": str(node["n"])}
        elif "wait_for" in node:
            written["wait_for"] = {"kind": "custom.ack", "within": f"{node['wait_for']}s", "per": []}
        elif "stop" in node:
            written["stop"] = True
        elif "wait" in node:
            written["wait"] = node["wait"]
        elif "do" in node:
            if "if" in node:
                written["if"] = "true" if node["if"] else "false"
            written["do"] = self.steps(node["do"])
        else:
            written["parallel"] = [self.steps(branch) for branch in node["parallel"]]
        if "on_error" in node:
            self.count += 1
            written["on_error"] = self.steps(node["on_error"])
        return written

    def rule(self, flow: tuple[list[dict[str, Any]], list[dict[str, Any]] | None]) -> RuleSet:
        then, on_error = flow
        rule: dict[str, Any] = {"id": "r", "when": {"kind": "plate.read"}, "then": self.steps(then)}
        if on_error is not None:
            self.count += 1
            rule["on_error"] = self.steps(on_error)
        return rules_of(json.dumps({"rules": [rule]}))


# --- the reference --------------------------------------------------------------------------------------


@dataclass
class _Handler:
    """An `on_error`, and the one around it."""

    steps: list[dict[str, Any]]
    outer: _Handler | None
    told: bool = False


@dataclass
class _Wait:
    number: int
    event: bool
    until: float
    then: Callable[[], None]


@dataclass
class _Firing:
    """One firing, told as a story: what is done, and what is done after that."""

    name: str
    made: list[tuple[float, str, str]]
    now: float = 0.0
    waits: list[_Wait] = field(default_factory=list)
    owners: dict[str, _Handler | None] = field(default_factory=dict)
    stops: int = 0

    def go(self, nodes: list[dict[str, Any]], handler: _Handler | None, then: Callable[[], None]) -> None:
        if not nodes:
            then()
            return
        node, rest = nodes[0], nodes[1:]
        own = _Handler(node["on_error"], handler) if "on_error" in node else handler

        def on() -> None:
            self.go(rest, handler, then)

        if "act" in node:
            self.made.append((self.now, self.name, str(node["n"])))
            self.owners[str(node["n"])] = own
            on()
        elif "wait" in node:
            self.waits.append(_Wait(node["n"], False, self.now + int(node["wait"][:-1]), on))
        elif "wait_for" in node:
            self.waits.append(_Wait(node["n"], True, self.now + node["wait_for"], on))
        elif "stop" in node:
            self.stops += 1
            self.waits.clear()
        elif "parallel" in node:
            self.branch(node["parallel"], own, on)
        elif node.get("if", True):
            self.go(node["do"], own, on)
        else:
            on()

    def branch(self, branches: list[list[dict[str, Any]]], handler: _Handler | None, then: Callable[[], None]) -> None:
        left, stops = len(branches), self.stops

        def ended() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                then()

        for branch in branches:
            if self.stops == stops:
                self.go(branch, handler, ended)

    def over(self, wait: _Wait, now: float) -> None:
        if wait in self.waits:
            self.now = now
            self.waits.remove(wait)
            wait.then()

    def failed(self, label: str, now: float) -> None:
        handler = self.owners[label]
        if handler is not None and not handler.told:
            handler.told, self.now = True, now
            self.go(handler.steps, handler.outer, lambda: None)


class _Reference:
    """All firings of the one rule."""

    def __init__(self, flow: tuple[list[dict[str, Any]], list[dict[str, Any]] | None]) -> None:
        self._then, self._on_error = flow
        self.made: list[tuple[float, str, str]] = []
        self._firings: dict[str, _Firing] = {}

    def fire(self, name: str, now: float) -> None:
        firing = self._firings[name] = _Firing(name, self.made, now)
        firing.go(self._then, _Handler(self._on_error, None) if self._on_error else None, lambda: None)

    def time(self, now: float) -> None:
        while True:
            due = [(wait.until, wait.number, wait, one) for one in self._firings.values() for wait in one.waits]
            due = [one for one in due if one[0] <= now]
            if not due:
                return
            until, _, wait, firing = min(due, key=lambda one: one[:2])
            firing.over(wait, until)

    def ack(self, now: float) -> None:
        for firing in self._firings.values():
            for wait in sorted((one for one in firing.waits if one.event), key=lambda one: one.number):
                firing.over(wait, now)

    def ended(self, name: str, label: str, outcome: str, now: float) -> None:
        if outcome != "done":
            self._firings[name].failed(label, now)


# --- the engine -----------------------------------------------------------------------------------------


class _Live:
    """The engine over a history, with the time told exactly; crashes before some events."""

    def __init__(self, rules: RuleSet, crashes: set[int]) -> None:
        self._rules, self._crashes = rules, crashes
        self._state: dict[Any, Any] = {}
        self._engine = Engine(rules, {})
        self._seq = 0
        self.orders: list[Order] = []
        self.decisions: list[Decision] = []

    def time(self, now: float) -> None:
        while (due := self._engine.next_due) is not None and due <= START + timedelta(seconds=now):
            self._step(event("bridge.tick", {"due": due}, source="bridge", channel=None, time=due, origin=Origin.TIMER))

    def feed(self, one: VmsEvent) -> None:
        self._step(one)

    def _step(self, one: VmsEvent) -> None:
        self._seq += 1
        if self._seq in self._crashes:
            self._engine = Engine(self._rules, dict(self._state))
        decision = self._engine.step(Logged(self._seq, one.time, one))
        self._state |= decision.changed
        self._state = {key: value for key, value in self._state.items() if value is not None}
        self.decisions.append(decision)
        self.orders += decision.orders

    @property
    def made(self) -> list[tuple[float, str, str]]:
        return [
            ((order.created - START).total_seconds(), order.trigger.id, order.params["to"]) for order in self.orders
        ]


def _play(rules: RuleSet, history: list[Any], crashes: set[int], reference: _Reference | None = None) -> _Live:
    live, now, over = _Live(rules, crashes), 0, set[str]()
    for number, (what, seconds, detail) in enumerate([*history, ("pass", 200, None)]):
        now += seconds
        moment = START + timedelta(seconds=now)
        live.time(now)
        if reference:
            reference.time(now)
        if what == "fire":
            live.feed(plate(time=moment, event_id=f"e{number}"))
            if reference:
                reference.fire(f"e{number}", now)
        elif what == "ack":
            live.feed(event("custom.ack", {}, time=moment, channel=None, event_id=f"e{number}"))
            if reference:
                reference.ack(now)
        elif what == "end" and (open_ := [order for order in live.orders if order.id not in over]):
            order = open_[detail[0] % len(open_)]
            over.add(order.id)
            live.feed(ended(order, detail[1], time=moment))
            if reference:
                reference.ended(order.trigger.id, order.params["to"], detail[1], now)
    return live


@settings(max_examples=EXAMPLES, deadline=None)
@example(
    ([{"parallel": [[{"wait_for": 1}, {"stop": None}], [{"wait_for": 1}]]}], None),
    [("fire", 0, None), ("ack", 0, None)],
    set(),
)
@example(
    (
        [
            {"act": None, "on_error": [{"act": None}]},
            {"parallel": [[{"wait_for": 1}, {"stop": None}], [{"wait_for": 1}, {"act": None}]]},
        ],
        None,
    ),
    [("fire", 0, None), ("ack", 0, None), ("end", 0, (0, "dead"))],
    set(),
)
@given(_flows, _histories, st.sets(st.integers(1, 60), max_size=20))
def test_flows_go_as_their_tree_says_and_no_crash_changes_that(
    flow: Any, history: list[Any], crashes: set[int]
) -> None:
    """The same orders at the same times, with the same ids whatever was lost on the way; each once."""
    flow = json.loads(json.dumps(flow))  # no two steps are one object
    rules = _Writer().rule(flow)
    reference = _Reference(flow)
    live = _play(rules, history, set(), reference)
    assert sorted(live.made) == sorted(reference.made)
    assert len({order.id for order in live.orders}) == len(live.orders)
    crashed = _play(rules, history, crashes)
    assert [order.encode() for order in crashed.orders] == [order.encode() for order in live.orders]
    assert [decision.changed for decision in crashed.decisions] == [decision.changed for decision in live.decisions]
    assert [decision.traces for decision in crashed.decisions] == [decision.traces for decision in live.decisions]
