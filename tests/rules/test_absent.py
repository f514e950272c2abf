"""What should follow and does not, as users write it."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.sdk import Origin, VmsEvent
from tests.rules.over_time import STARTED, at, fired, link, memory_of, run_of, unmet
from tests.rules.support import event


class TestAbsent:
    TEXT = "{absent: {kind: call.ended}, after: {kind: call.started}, within: 60s%s}"

    def _call(self, kind: str, seconds: float, came: float | None = None) -> VmsEvent:
        return event(f"call.{kind}", {"caller": "1"}, time=at(seconds), received=at(came or seconds))

    def test_nothing_follows(self) -> None:
        """It fires when the time is up, for each beginning."""
        run = run_of(self.TEXT % "")
        run.feed(self._call("started", 0))
        run.feed(self._call("started", 10))
        run.feed(self._call("ended", 65))
        run.tick(at(100))
        assert fired(run) == [(65, "")]

    def test_what_follows_was_told_before(self) -> None:
        """By its own time it followed."""
        run = run_of(self.TEXT % "")
        run.feed(self._call("ended", 2, came=2))
        run.feed(self._call("started", 1, came=3))
        assert run.engine.next_due is None

    @pytest.mark.parametrize("when", [-5, 30])
    def test_nobody_can_know(self, when: float) -> None:
        """A source that was away in between gives neither yes nor no."""
        run = run_of(self.TEXT % "")
        run.feed(link("connected", -100))
        links = [link("lost", when), link("connected", when + 15)]
        for one in sorted([self._call("started", 0), *links], key=lambda one: one.time):
            run.feed(one)
        [trace] = run.tick(at(60)).traces
        assert (trace.outcome, trace.orders) == ("inconclusive", ())
        assert "nvr1" in str(trace)

    def test_inconclusive_may_fire(self) -> None:
        """Where the rule wants that."""
        run = run_of(self.TEXT % ", include: inconclusive")
        run.feed(self._call("started", 0))
        run.feed(link("lost", 30))
        decision = run.tick(at(60))
        assert len(decision.orders) == 1
        assert [trace.outcome for trace in decision.traces] == ["inconclusive", "fired"]

    def test_after_a_pause_of_the_bridge_it_waits_for_news_first(self) -> None:
        """The bridge was away when the time was up: then nobody listened."""
        run = run_of(self.TEXT % "")
        run.feed(self._call("started", 0))
        data = {"version": "1", "instance": "i"}
        run.feed(event("bridge.started", data, source="bridge", channel=None, time=at(500), origin=Origin.BRIDGE))
        assert run.engine.next_due == at(505)
        [trace] = run.tick(at(505)).traces
        assert (trace.outcome, trace.seen) == ("inconclusive", "the bridge was not running all the while")

    @pytest.mark.parametrize("between", [[], [("rules.changed", {"ruleset": "x", "rules": 1})]])
    def test_the_bridge_comes_back_just_after_the_time_was_up(self, between: list[tuple[str, dict[str, Any]]]) -> None:
        """However short ago that was: what brings the news is no sign that somebody listened, nor what precedes it."""
        run = run_of(self.TEXT % "")
        run.feed(self._call("started", 0))
        for kind, data in [*between, ("bridge.started", STARTED)]:
            run.feed(event(kind, data, source="bridge", channel=None, time=at(62), origin=Origin.BRIDGE))
        run.tick(at(67))
        said = [(one.outcome, one.seen) for made in run.decisions for one in made.traces if one.rule == "r"]
        assert said[-1] == ("inconclusive", "the bridge was not running all the while")
        assert fired(run) == []

    def test_so_many_are_waited_for_at_once(self) -> None:
        """One more is counted, and the trace says so."""
        run = run_of(self.TEXT % "")
        for second in range(18):
            run.feed(self._call("started", second))
        assert unmet(run) == "16 beginnings are waited for already"
        assert (len(memory_of(run)["pending"]), memory_of(run)["full"]) == (16, 2)
        run.tick(at(200))
        run.tick(at(205))
        assert len(fired(run)) == 16

    def test_a_beginning_that_comes_too_late(self) -> None:
        """It is counted, and not waited for."""
        run = run_of(self.TEXT % "")
        run.feed(self._call("ended", 20))
        run.feed(self._call("started", 9, came=21))
        run.feed(self._call("started", 8, came=22))
        assert (run.engine.next_due, memory_of(run)["late"]) == (None, 2)

    def test_just_in_time_is_in_time(self) -> None:
        """The bound itself is not too late."""
        run = run_of(self.TEXT % "")
        run.feed(self._call("started", 20))
        run.feed(self._call("started", 10, came=21))
        assert len(memory_of(run)["pending"]) == 2

    def test_an_order_is_as_fresh_as_its_beginning_was(self) -> None:
        """The span that the rule waits is not its age; how late the news came is."""
        run = run_of(self.TEXT % "", "max_age: 5s")
        run.feed(self._call("started", 0, came=4))
        [order] = run.tick(at(64)).orders
        assert (order.occurred, order.received) == (at(60), at(64))
        run.feed(self._call("started", 100, came=106))
        [trace] = run.tick(at(166)).traces
        assert (trace.condition, trace.seen) == ("max_age", "6s")

    @pytest.mark.parametrize(("per", "known"), [("[source, caller]", True), ("caller", False)])
    def test_a_source_whose_answer_does_not_count_may_be_lost(self, per: str, known: bool) -> None:
        """Told apart by source, only the one that it began at can answer; otherwise each of those named can."""
        both = "source: [nvr1, nvr2]"
        when = f"{{absent: {{kind: call.ended, {both}}}, after: {{kind: call.started, {both}}}, within: 1m}}"
        run = run_of(when, f"per: {per}")
        run.feed(event("call.started", {"caller": "1"}, source="nvr2", time=at(0)))
        run.feed(link("lost", 5))
        [trace] = run.tick(at(60)).traces
        assert (trace.fired, trace.outcome == "inconclusive") == (known, not known)
