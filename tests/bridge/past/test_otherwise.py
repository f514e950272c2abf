"""Other rules on the same log: what they gain, lose and change, what the log would not have held."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.actions import own
from bridge.contracts import Known, Logged
from bridge.past.compare import Comparison, Difference
from bridge.past.otherwise import Otherwise
from bridge.schema.event import VmsEvent
from bridge.schema.orders import Order
from rules.compiler import compile_rules
from rules.engine import Engine
from rules.ruleset import Documents, RuleSet, SiteSettings
from tests.rules import support
from tests.rules.support import START, ended, event, plate

SAME = """
  - id: same
    when: {kind: plate.read}
    cooldown: 10s
    then: [{webhook: x}]
"""


ACTIONS = {**support.ACTIONS, **{spec.name: spec for spec in own.SPECS}}


def _rules(text: str) -> RuleSet:
    return compile_rules(Documents({"r.yaml": "rules:" + SAME + text}), ACTIONS, Known(), SiteSettings())


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Both:
    """Old and new rules, one event after the other."""

    def __init__(self, old: str, new: str, since: float = 0) -> None:
        self.old = Engine(_rules(old), {})
        self.new = Otherwise(_rules(old), _rules(new), {}, "site", ACTIONS)
        self.comparison = Comparison(_at(since))
        self.seq = 0
        self.orders: list[Order] = []
        self.instead: list[Order] = []

    def feed(self, *events: VmsEvent) -> None:
        for one in events:
            self.seq += 1
            logged = Logged(self.seq, one.received, one)
            decided = self.old.step(logged, trace=False)
            self.new.given(decided)
            instead = self.new.step(logged, self.comparison.same_as)
            self.comparison.add((decided,), instead)
            more = self.new.own(decided.orders, instead, self.comparison.same_as)
            self.comparison.add((), more)
            instead += more
            self.orders += decided.orders
            self.instead += [order for decision in instead for order in decision.orders]

    def tick(self, seconds: float) -> None:
        self.feed(event("bridge.tick", {"due": _at(seconds)}, source="bridge", channel=None, time=_at(seconds)))

    def found(self) -> dict[str, Difference]:
        return dict(self.comparison.finish())


def _counts(one: Difference) -> tuple[int, int, int, int, int]:
    return one.old, one.new, one.gained, one.lost, one.changed


def _events(fires: Sequence[dict[str, Any]]) -> list[str]:
    return [fire["event"] for fire in fires]


R = "  - id: r\n    when: {kind: plate.read}\n    match: {score: {at_least: %d}}\n    then: [{webhook: %s}]\n"


def test_the_same_rules_are_no_difference() -> None:
    """However they are cut into rule sets."""
    both = Both(R % (90, "x"), R % (90, "x"))
    both.feed(*(plate(score=score, time=_at(score)) for score in (80, 90, 95)))
    assert {rule: _counts(one) for rule, one in both.found().items()} == {"same": (2, 2, 0, 0, 0), "r": (2, 2, 0, 0, 0)}
    assert [order.encode() for order in both.orders] == [order.encode() for order in both.instead]


def test_what_is_gained_lost_and_changed_is_told_by_event() -> None:
    """And what an order wanted before and wants now."""
    reads = [plate(score=score, time=_at(score)) for score in (80, 90, 95)]
    higher = Both(R % (80, "x"), R % (95, "x"))
    higher.feed(*reads)
    lost = higher.found()["r"]
    assert (_counts(lost), _events(lost.lost_fires)) == ((3, 1, 0, 2, 0), [reads[0].id, reads[1].id])
    lower = Both(R % (95, "x"), R % (80, "x"))
    lower.feed(*reads)
    gained = lower.found()["r"]
    assert (_counts(gained), _events(gained.gained_fires)) == ((1, 3, 2, 0, 0), [reads[0].id, reads[1].id])
    other = Both(R % (95, "x"), R % (95, "y"))
    other.feed(*reads)
    [change] = other.found()["r"].changed_fires
    assert change["old"] is not None
    assert change["new"] is not None
    assert [change[side]["orders"][0]["params"]["to"] for side in ("old", "new")] == ["x", "y"]  # type: ignore[index]


def test_what_came_before_the_span_is_not_counted() -> None:
    """It only warms up."""
    both = Both(R % (80, "x"), R % (95, "x"), since=85)
    both.feed(*(plate(score=score, time=_at(score)) for score in (80, 90, 95)))
    assert _counts(both.found()["r"]) == (2, 1, 0, 1, 0)


AWAIT = """
  - id: chain
    when: {kind: motion.started}
    match: {%s}
    then:
      - clip: {as: film}
      - webhook: {to: x, with: film, wait: 60s, body: {path: "{{ steps.film.path }}"}}
"""


def test_the_end_of_an_order_that_both_gave_is_shown_under_the_new_id() -> None:
    """The rule's version differs, and so do its orders' ids; the step that waits goes on with what really came."""
    both = Both(AWAIT % "", AWAIT % "" + "    priority: 3\n")
    both.feed(event("motion.started", time=_at(0)))
    both.feed(ended(both.orders[0], "done", time=_at(5), path="a.mp4"))
    assert both.orders[0].id != both.instead[0].id
    assert [order.params.get("body") for order in both.instead] == [None, {"path": "a.mp4"}]
    assert _counts(both.found()["chain"]) == (1, 1, 0, 0, 0)
    assert both.new.left_out == 0


TOLD = "  - id: told\n    when: {kind: action.ended}\n    then: [{webhook: y}]\n"


def test_what_came_of_an_order_that_is_not_given_any_more_is_left_out() -> None:
    """It would not have happened; that of an order from before the beginning did."""
    both = Both(R % (80, "x") + TOLD, R % (99, "x") + TOLD)
    both.feed(plate(score=90, time=_at(0)))
    same, gone = both.orders
    earlier = gone.model_copy(update={"id": "earlier"})
    both.feed(ended(same, time=_at(1)), ended(gone, time=_at(2)), ended(earlier, time=_at(3)))
    assert _counts(both.found()["told"]) == (3, 2, 0, 1, 0)
    assert both.new.left_out == 1


LASTS = "  - id: lasts\n    when: {kind: motion.started, for: %s}\n    then: [{webhook: x}]\n"


def test_a_timer_that_only_the_new_rules_have_gets_a_tick_of_its_own() -> None:
    """At its time, as the running bridge would have made one; not while the bridge was away."""
    both = Both("", LASTS % "30s")
    both.feed(event("motion.started", time=_at(0)), event("vendor.event", {"topic": "t"}, time=_at(100)))
    assert [order.created for order in both.instead] == [_at(30)]
    assert _counts(both.found()["lasts"]) == (0, 1, 1, 0, 0)
    away = Both("", LASTS % "30s")
    away.feed(event("motion.started", time=_at(0)))
    away.feed(event("bridge.started", {"version": "1", "instance": "i"}, source="bridge", channel=None, time=_at(100)))
    assert [order.created for order in away.instead] == [_at(100)]
    assert away.new.ticks == 0


def test_a_timer_of_both_fires_with_the_tick_of_then() -> None:
    """An unchanged rule decides at the same stamps as it did, to the byte."""
    both = Both(LASTS % "30s", LASTS % "30s")
    both.feed(event("motion.started", time=_at(0)))
    both.tick(30.02)
    assert [order.encode() for order in both.orders] == [order.encode() for order in both.instead]
    assert both.orders[0].created == _at(30.02)


def test_many_open_firings_take_no_more_room(monkeypatch: Any) -> None:
    """The oldest are settled; the counts stay right."""
    monkeypatch.setattr("bridge.past.compare.OPEN", 3)
    monkeypatch.setattr("bridge.past.compare.LISTED", 2)
    both = Both(R % (80, "x"), R % (99, "x"))
    both.feed(*(plate(score=90, time=_at(second)) for second in range(20)))
    assert len(both.comparison._open[0]) == 3
    lost = both.found()["r"]
    assert (lost.lost, len(lost.lost_fires)) == (20, 2)


EMIT = """
  - id: says
    when: {kind: motion.started}
    match: {%s}
    then:
      - emit: {kind: custom.said, data: {word: "%s"}}
      - webhook: x
"""
HEARD = """
  - id: heard
    when: {kind: custom.said}
    then: [{webhook: {to: y, body: "{{ event.data.word }}"}}]
"""


def _said(both: Both) -> list[object]:
    return [order.params["body"] for order in both.instead if order.rule == "heard"]


def _write(both: Both, order: Order) -> None:
    """Log what an order of the old rules writes."""
    spec = ACTIONS["emit"]
    assert spec.event is not None
    both.feed(spec.event(spec.params.model_validate(order.params), order))


def test_what_an_order_of_both_writes_is_taken_from_the_log() -> None:
    """Also where the rule's version differs; it is there once."""
    both = Both(EMIT % ("", "a") + HEARD, EMIT % ("", "a") + "    priority: 2\n" + HEARD)
    both.feed(event("motion.started"))
    assert _said(both) == []
    _write(both, both.orders[0])
    assert _said(both) == ["a"]
    assert _counts(both.found()["heard"]) == (1, 1, 0, 0, 0)


def test_what_only_the_new_rules_write_happens_at_once() -> None:
    """And what the old ones wrote in its place did not."""
    both = Both(EMIT % ("", "a") + HEARD, EMIT % ("", "b") + HEARD)
    both.feed(event("motion.started"))
    assert _said(both) == ["b"]
    _write(both, both.orders[0])
    both.feed(ended(both.orders[0], time=_at(1)))
    assert _said(both) == ["b"]
    assert both.new.left_out == 2
    assert _counts(both.found()["heard"]) == (1, 1, 1, 1, 0)


def test_what_only_the_old_rules_wrote_is_left_out() -> None:
    """It would not be in the log."""
    both = Both(EMIT % ("", "a") + HEARD, HEARD)
    both.feed(event("motion.started"))
    _write(both, both.orders[0])
    assert (_said(both), both.new.left_out) == ([], 1)
    assert _counts(both.found()["heard"]) == (1, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("when", "fires"), [('{at: "12:01"}', 1), ('{every: "* * * * *"}', 2), ("{silent: nvr1, for: 30s}", 1)]
)
def test_a_firing_of_the_clock_is_the_same_in_both(when: str, fires: int) -> None:
    """The rule and its time make it one: another text of the webhook is a change, and another priority is none."""
    rule = "  - id: r\n    when: %s\n    then: [{webhook: %s}]\n    priority: %d\n"
    for target, priority, changed in (("a", 1, 0), ("b", 0, fires)):
        both = Both(rule % (when, "a", 0), rule % (when, target, priority))
        both.feed(event("motion.started"))
        for seconds in (30, 60, 90, 120):
            both.tick(seconds)
        assert _counts(both.found()["r"]) == (fires, fires, 0, 0, changed)
