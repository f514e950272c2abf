"""Patterns over time as users write them, each with what it must and must not do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.sdk import Logged, Origin, VmsEvent
from rules.ruleset import SiteSettings
from tests.rules.support import KNOWN, START, Run, event, plate, problems_of, rules_of

STARTED = {"version": "1", "instance": "i"}
BERLIN = SiteSettings("Europe/Berlin", 52.5, 13.4)


def _run(when: str, *more: str, site: SiteSettings | None = None) -> Run:
    lines = "".join(f"\n    {line}" for line in more)
    return Run(rules_of(f"rules:\n  - id: r\n    when: {when}{lines}\n    then: [{{webhook: x}}]\n", site=site))


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _motion(seconds: float, *, came: float | None = None, channel: str = "1", **more: Any) -> VmsEvent:
    return event("motion.started", time=_at(seconds), received=_at(came or seconds), channel=channel, **more)


def _still(seconds: float, *, came: float | None = None, channel: str = "1") -> VmsEvent:
    return event("motion.ended", time=_at(seconds), received=_at(came or seconds), channel=channel)


def _lot(count: int, seconds: float, *, came: float | None = None, lot: str = "P1") -> VmsEvent:
    data = {"lot": lot, "count": count, "available": max(0, 100 - count)}
    return event("parking.count", data, time=_at(seconds), received=_at(came or seconds), channel=lot)


def _fired(run: Run) -> list[tuple[float, str]]:
    """When the rule fired, and for which key."""
    return [((order.created - START).total_seconds(), order.key) for made in run.decisions for order in made.orders]


def _unmet(run: Run) -> Any:
    """Why it did not fire the last time."""
    return [trace for made in run.decisions for trace in made.traces if not trace.fired][-1].seen


def _memory(run: Run) -> Any:
    return next(value for key, value in run.state.items() if key.rule == "r")["memory"]


class TestFor:
    def test_it_fires_when_it_has_lasted(self) -> None:
        """Not before, and once; the order is as fresh as the moment at which the time was up."""
        run = _run("{kind: motion.started, for: 30s}")
        run.feed(_motion(0))
        run.feed(_motion(10))
        run.tick(_at(29.999))
        assert _fired(run) == []
        [order] = run.tick(_at(30)).orders
        assert (order.occurred, order.received, order.origin) == (_at(30), _at(30), Origin.LIVE)
        assert order.trigger.time == _at(0)
        run.tick(_at(300))
        assert _fired(run) == [(30, '["nvr1","1"]')]

    @pytest.mark.parametrize(("began", "open_"), [("11:55", True), ("11:49", False), ("12:54", False), ("12:49", True)])
    def test_a_schedule_is_asked_when_it_is_over(self, began: str, open_: bool) -> None:
        """`during` says when the rule may act: what began before the window counts once it has lasted into it."""
        run = _run("{kind: motion.started, for: 10m}", 'during: {from: "12:00", to: "13:00"}')
        hour, minute = map(int, began.split(":"))
        run.feed(_motion(60 * (60 * (hour - 12) + minute)))
        run.tick(_at(7200))
        assert bool(_fired(run)) is open_

    @pytest.mark.parametrize(
        ("when", "per", "wrong"),
        [
            ("channel.status, for: 1m}, match: {state: no_video", "[channel, state]", "state"),
            ("channel.status, for: 1m}, match: {state: no_video", "event.subject + event.data.state", "state"),
            ("mode.changed, for: 1m}, match: {mode: away", "mode", "mode"),
            ("parking.count, for: 1m}, match: {available: 0", "[lot, available]", "available"),
            ("parking.count, for: 1m}, match: {available: 0", "lot", None),
            ("channel.status, for: 1m}, match: {state: no_video", "[source, channel]", None),
            ("channel.status, for: 1m, until: {kind: motion.started}}, match: {state: no_video", "state", None),
            ("channel.status}, match: {state: no_video", "state", None),
        ],
    )
    def test_firings_are_not_told_apart_by_what_ends_them(self, when: str, per: str, wrong: str | None) -> None:
        """The end has another value, so another key, and would end nothing: the rule fires for what is long over."""
        text = f"rules: [{{id: r, when: {{kind: {when}}}, per: {per}, then: [{{webhook: x}}]}}]"
        found = [one for one in problems_of(text) if "is what changes when it ends" in one]
        assert ["`per`: `" + wrong in one for one in found] == [True] if wrong else found == []

    def test_what_ends_does_not(self) -> None:
        """The counterpart ends it, on the same channel only, wherever that news comes from."""
        run = _run("{kind: motion.started, for: 30s}")
        run.feed(_motion(0))
        run.feed(_motion(0, channel="2"))
        run.feed(event("motion.ended", time=_at(5), received=_at(6), origin=Origin.RESYNC))
        run.tick(_at(100))
        assert _fired(run) == [(100, '["nvr1","2"]')]

    def test_a_state_that_is_told_again_and_again(self) -> None:
        """It ends with the first that does not match."""
        run = _run("{kind: parking.count, for: 5m}", "match: {available: 0}")
        for minute, count in enumerate([100, 100, 99, 100, 101, 100, 100, 100]):
            run.feed(_lot(count, minute * 60))
        run.tick(_at(8 * 60))
        assert _fired(run) == [(480, '["nvr1","P1"]')]

    def test_an_end_that_was_overtaken_by_its_beginning(self) -> None:
        """By their own times it ended; by those of the log it had not begun."""
        run = _run("{kind: motion.started, for: 30s}")
        run.feed(_still(2, came=2))
        run.feed(_motion(1, came=3))
        run.tick(_at(100))
        assert _fired(run) == []

    def test_a_late_end_in_the_middle_begins_the_time_anew(self) -> None:
        """From the beginning after it."""
        run = _run("{kind: motion.started, for: 30s}")
        run.feed(_motion(0))
        run.feed(_motion(6))
        run.feed(_still(5, came=7))
        run.tick(_at(35.9))
        assert _fired(run) == []
        run.tick(_at(36))
        assert _fired(run) == [(36, '["nvr1","1"]')]

    def test_memory_is_bounded(self) -> None:
        """Of too many edges at once the first are folded into what they make; it fires all the same."""
        run = _run("{kind: motion.started, for: 30s}")
        for number in range(60):
            run.feed(_motion(number / 100))
        memory = _memory(run)
        assert (len(memory["events"]), len(memory["begun"])) == (16, 17)
        assert "raw" not in str(memory)
        run.tick(_at(30))
        run.feed(_motion(31))
        run.tick(_at(90))
        assert _fired(run) == [(30, '["nvr1","1"]')]

    def test_it_is_explained_without_being_changed(self) -> None:
        """One answer for each rule, whatever its triggers."""
        run = _run("{kind: motion.started, for: 30s}")
        run.feed(_motion(0))
        before = dict(run.state)
        answers = [
            run.engine.explain(Logged(2, _at(1), one))
            for one in (_motion(1), _still(1), _still(1, channel="2"), plate(time=_at(1)))
        ]
        assert [trace.seen for [trace] in answers] == [
            "it lasts; 30s are not over",
            "it ended",
            "nothing that it waits for",
            "plate.read",
        ]
        assert (run.state, run.engine.next_due) == (before, _at(30))

    def test_until(self) -> None:
        """What ends it may be anything."""
        run = _run("{kind: plate.read, for: 10s, until: {kind: motion.ended, channel: 2, per: source}}", "per: source")
        run.feed(plate())
        run.feed(_still(5, channel="1"))
        assert run.engine.next_due == _at(10)
        run.feed(_still(6, channel="2"))
        assert run.engine.next_due is None


class TestWindows:
    def test_count(self) -> None:
        """The third within the span fires; then it begins anew."""
        run = _run("{kind: motion.started, count: 3, within: 10m}", "per: channel")
        for second in (0, 300, 601, 700, 800, 900, 1000):
            run.feed(_motion(second))
        assert _fired(run) == [(700, "1"), (1000, "1")]
        assert [len(made.orders[0].causes) for made in run.decisions if made.orders] == [3, 3]

    def test_the_ends_of_the_window_belong_to_it(self) -> None:
        """Exactly the span is within it."""
        run = _run("{kind: motion.started, count: 2, within: 10s}")
        run.feed(_motion(0))
        run.feed(_motion(10))
        assert _fired(run) == [(10, "")]

    def test_late_within_the_bound_is_placed_by_its_own_time(self) -> None:
        """Later than that it is counted as late, and the trace says so."""
        run = _run("{kind: motion.started, count: 3, within: 5s, lateness: 10s}")
        run.feed(_motion(0))
        run.feed(_motion(4))
        run.feed(_motion(20))
        run.feed(_motion(9.999, came=20.5))
        assert "10s1ms behind" in _unmet(run)
        assert _memory(run)["late"] == 1
        run.feed(_motion(18, came=21))
        run.feed(_motion(16, came=22))
        assert _fired(run) == [(22, "")]

    def test_the_same_event_twice_counts_once(self) -> None:
        """Also when it has had its firing."""
        run = _run("{kind: motion.started, count: 2, within: 10s}")
        for one in (_motion(0), _motion(0), _motion(1), _motion(1), _motion(1, event_id="other")):
            run.feed(one, at=_at(2))
        assert _fired(run) == [(2, "")]

    def test_a_clock_that_is_ahead_makes_nothing_late(self) -> None:
        """A time in the future counts as now."""
        run = _run("{kind: motion.started, count: 2, within: 10s}")
        run.feed(_motion(9999), at=_at(0))
        run.feed(_motion(1))
        assert _fired(run) == [(1, "")]

    def test_sum_distinct_and_rate(self) -> None:
        """Each asks another question of the same window."""
        total = _run("{kind: parking.count, sum: {field: count, at_least: 10}, within: 1m}")
        for second, count in enumerate([3, 3, 3, 3, 9]):
            total.feed(_lot(count, second))
        assert _fired(total) == [(3, "")]
        different = _run("{kind: plate.read, distinct: {field: plate, at_least: 3}, within: 1m}")
        for second, number in enumerate("AABBAC"):
            different.feed(plate(number, time=_at(second)))
        assert _fired(different) == [(5, "")]
        often = _run("{kind: motion.started, rate: 30/m, within: 10s}")
        for second in range(5):
            often.feed(_motion(second * 2))
        assert _fired(often) == [(8, "")]

    def test_long_values_are_remembered_by_their_hash(self) -> None:
        """They are as different as they are, and the state stays small."""
        run = _run("{kind: custom.x, distinct: {field: v, at_least: 3}, within: 1m}")
        for second, value in enumerate(["x" * 64, "x" * 65, "x" * 65]):
            run.feed(event("custom.x", {"v": value}, time=_at(second)))
        assert [len(one[4]) for one in _memory(run)["events"]] == [64, 32, 32]
        run.feed(event("custom.x", {"v": "x" * 66}, time=_at(4)))
        assert _fired(run) == [(4, "")]

    def test_memory_is_bounded(self) -> None:
        """Of too many events the newest are kept, and the state says how many went."""
        run = _run("{kind: parking.count, sum: {field: count, at_least: 100000}, within: 1h}")
        for number in range(1010):
            run.feed(_lot(1, number / 10))
        memory = _memory(run)
        assert (len(memory["events"]), memory["full"]) == (1000, 10)

    def test_what_is_worth_nothing_any_more_is_forgotten(self) -> None:
        """Without a timer, and without changing what is decided."""
        run = _run("{kind: motion.started, count: 2, within: 10s, lateness: 5s}")
        run.feed(_motion(0))
        assert run.engine.next_due is None
        run.tick(_at(15))
        assert {key.rule for key in run.state} == {"$state"}

    def test_the_least_trusted_cause_gives_the_origin(self) -> None:
        """One back-filled event among them, and no door will open."""
        run = _run("{kind: motion.started, count: 2, within: 10s}")
        run.feed(_motion(0, origin=Origin.BACKFILL))
        [order] = run.feed(_motion(1)).orders
        assert (order.origin, order.trigger.origin) == (Origin.BACKFILL, Origin.LIVE)


class TestSequence:
    TEXT = (
        "{sequence: [{kind: motion.started, channel: 1}, {not: {kind: plate.read}}, "
        "{kind: motion.started, channel: 2}], within: 30s}"
    )

    def test_in_order(self) -> None:
        """One and then the other; not the other way round, and not too far apart."""
        run = _run(self.TEXT)
        run.feed(_motion(0, channel="2"))
        assert _unmet(run) == "0 of 2 in order within 30s"
        run.feed(_motion(1, channel="1"))
        assert _unmet(run) == "1 of 2 in order within 30s"
        run.feed(_motion(32, channel="2"))
        run.feed(_motion(33, channel="1"))
        run.feed(_motion(34, channel="2"))
        assert _fired(run) == [(34, "")]

    def test_what_must_not_come_in_between(self) -> None:
        """It stands in the way, also when it is told late but in time."""
        run = _run(self.TEXT)
        run.feed(_motion(0))
        run.feed(plate(time=_at(1)))
        run.feed(_motion(2, channel="2"))
        assert _fired(run) == []
        run.feed(_motion(10))
        run.feed(plate(time=_at(9), received=_at(11)))
        run.feed(_motion(12, channel="2"))
        assert _fired(run) == [(12, "")]

    def test_a_late_step_completes_it(self) -> None:
        """It is placed by its own time; it decided, and the order names it so."""
        run = _run(self.TEXT)
        run.feed(_motion(5, channel="2"))
        [order] = run.feed(_motion(4, came=8)).orders
        assert order.trigger.subject == "1"
        assert order.causes[-1] == order.trigger.id

    def test_memory_is_bounded(self) -> None:
        """Of too many events the newest are kept."""
        run = _run("{sequence: [{kind: motion.started}, {kind: motion.ended}, {kind: plate.read}], within: 1h}")
        for number in range(260):
            run.feed(_motion(number))
        assert (len(_memory(run)["events"]), _memory(run)["full"]) == (250, 10)
        run.feed(_still(300))
        [order] = run.feed(plate(time=_at(301))).orders
        assert len(order.causes) == 3
        assert "events" not in _memory(run)

    def test_many_causes(self) -> None:
        """An order names the last hundred."""
        run = _run("{kind: motion.started, count: 150, within: 1h}")
        for number in range(150):
            run.feed(_motion(number, event_id=f"e{number}"))
        [order] = run.decisions[-1].orders
        assert order.causes == tuple(f"e{number}" for number in range(50, 150))

    def test_keys_of_their_own(self) -> None:
        """Another field may tell the same thing in another kind."""
        run = _run(
            "{sequence: [{kind: plate.read}, {kind: parking.spot, per: plate}], within: 1m}",
            "per: plate",
        )
        run.feed(plate("A"))
        run.feed(event("parking.spot", {"spot": "1", "plate": "B"}, time=_at(1)))
        run.feed(event("parking.spot", {"spot": "1", "plate": "A"}, time=_at(2)))
        assert _fired(run) == [(2, "A")]


class TestAbsent:
    TEXT = "{absent: {kind: call.ended}, after: {kind: call.started}, within: 60s%s}"

    def _call(self, kind: str, seconds: float, came: float | None = None) -> VmsEvent:
        return event(f"call.{kind}", {"caller": "1"}, time=_at(seconds), received=_at(came or seconds))

    def _link(self, kind: str, seconds: float) -> VmsEvent:
        data = {"reason": "x", "message": "x", "since": _at(seconds)} if kind == "lost" else {}
        return event(f"source.{kind}", data, channel=None, time=_at(seconds), origin=Origin.BRIDGE)

    def test_nothing_follows(self) -> None:
        """It fires when the time is up, for each beginning."""
        run = _run(self.TEXT % "")
        run.feed(self._call("started", 0))
        run.feed(self._call("started", 10))
        run.feed(self._call("ended", 65))
        run.tick(_at(100))
        assert _fired(run) == [(65, "")]

    def test_what_follows_was_told_before(self) -> None:
        """By its own time it followed."""
        run = _run(self.TEXT % "")
        run.feed(self._call("ended", 2, came=2))
        run.feed(self._call("started", 1, came=3))
        assert run.engine.next_due is None

    @pytest.mark.parametrize("when", [-5, 30])
    def test_nobody_can_know(self, when: float) -> None:
        """A source that was away in between gives neither yes nor no."""
        run = _run(self.TEXT % "")
        run.feed(self._link("connected", -100))
        links = [self._link("lost", when), self._link("connected", when + 15)]
        for one in sorted([self._call("started", 0), *links], key=lambda one: one.time):
            run.feed(one)
        [trace] = run.tick(_at(60)).traces
        assert (trace.outcome, trace.orders) == ("inconclusive", ())
        assert "nvr1" in str(trace)

    def test_inconclusive_may_fire(self) -> None:
        """Where the rule wants that."""
        run = _run(self.TEXT % ", include: inconclusive")
        run.feed(self._call("started", 0))
        run.feed(self._link("lost", 30))
        decision = run.tick(_at(60))
        assert len(decision.orders) == 1
        assert [trace.outcome for trace in decision.traces] == ["inconclusive", "fired"]

    def test_after_a_pause_of_the_bridge_it_waits_for_news_first(self) -> None:
        """The bridge was away when the time was up: then nobody listened."""
        run = _run(self.TEXT % "")
        run.feed(self._call("started", 0))
        data = {"version": "1", "instance": "i"}
        run.feed(event("bridge.started", data, source="bridge", channel=None, time=_at(500), origin=Origin.BRIDGE))
        assert run.engine.next_due == _at(505)
        [trace] = run.tick(_at(505)).traces
        assert (trace.outcome, trace.seen) == ("inconclusive", "the bridge was not running all the while")

    @pytest.mark.parametrize("between", [[], [("rules.changed", {"ruleset": "x", "rules": 1})]])
    def test_the_bridge_comes_back_just_after_the_time_was_up(self, between: list[tuple[str, dict[str, Any]]]) -> None:
        """However short ago that was: what brings the news is no sign that somebody listened, nor what precedes it."""
        run = _run(self.TEXT % "")
        run.feed(self._call("started", 0))
        for kind, data in [*between, ("bridge.started", STARTED)]:
            run.feed(event(kind, data, source="bridge", channel=None, time=_at(62), origin=Origin.BRIDGE))
        run.tick(_at(67))
        said = [(one.outcome, one.seen) for made in run.decisions for one in made.traces if one.rule == "r"]
        assert said[-1] == ("inconclusive", "the bridge was not running all the while")
        assert _fired(run) == []

    def test_so_many_are_waited_for_at_once(self) -> None:
        """One more is counted, and the trace says so."""
        run = _run(self.TEXT % "")
        for second in range(18):
            run.feed(self._call("started", second))
        assert _unmet(run) == "16 beginnings are waited for already"
        assert (len(_memory(run)["pending"]), _memory(run)["full"]) == (16, 2)
        run.tick(_at(200))
        run.tick(_at(205))
        assert len(_fired(run)) == 16

    def test_a_beginning_that_comes_too_late(self) -> None:
        """It is counted, and not waited for."""
        run = _run(self.TEXT % "")
        run.feed(self._call("ended", 20))
        run.feed(self._call("started", 9, came=21))
        run.feed(self._call("started", 8, came=22))
        assert (run.engine.next_due, _memory(run)["late"]) == (None, 2)

    def test_just_in_time_is_in_time(self) -> None:
        """The bound itself is not too late."""
        run = _run(self.TEXT % "")
        run.feed(self._call("started", 20))
        run.feed(self._call("started", 10, came=21))
        assert len(_memory(run)["pending"]) == 2

    def test_an_order_is_as_fresh_as_its_beginning_was(self) -> None:
        """The span that the rule waits is not its age; how late the news came is."""
        run = _run(self.TEXT % "", "max_age: 5s")
        run.feed(self._call("started", 0, came=4))
        [order] = run.tick(_at(64)).orders
        assert (order.occurred, order.received) == (_at(60), _at(64))
        run.feed(self._call("started", 100, came=106))
        [trace] = run.tick(_at(166)).traces
        assert (trace.condition, trace.seen) == ("max_age", "6s")


class TestThreshold:
    def test_hysteresis(self) -> None:
        """Told once, and again only when it was back far enough."""
        run = _run("{kind: parking.count, field: count, rises_above: 95, rearm_below: 90}")
        for second, count in enumerate([94, 96, 97, 93, 96, 90, 96, 89, 96]):
            run.feed(_lot(count, second))
        assert [when for when, _ in _fired(run)] == [1, 8]

    def test_falling_per_lot(self) -> None:
        """Lots do not disturb each other; without `rearm` it must only be back."""
        run = _run("{kind: parking.count, field: available, falls_below: 5}")
        for second, (lot, count) in enumerate([("A", 96), ("B", 50), ("A", 95), ("A", 97), ("B", 99)]):
            run.feed(_lot(count, second, lot=lot))
        assert _fired(run) == [(0, '["nvr1","A"]'), (3, '["nvr1","A"]'), (4, '["nvr1","B"]')]

    def test_what_is_no_number_is_passed_over(self) -> None:
        """It is absent, or yes and no."""
        run = _run("{kind: custom.x, field: v, rises_above: 0}")
        for value in (None, True, "9"):
            run.feed(event("custom.x", {"v": value}))
            assert _unmet(run) == "`v` is no number here"
        run.feed(event("custom.x", {"v": 0.5}))
        assert len(_fired(run)) == 1

    def test_a_late_reading_shows_one_change_more(self) -> None:
        """It had been back in between."""
        run = _run("{kind: parking.count, field: count, rises_above: 95}")
        run.feed(_lot(96, 0))
        run.feed(_lot(97, 5))
        run.feed(_lot(80, 3, came=6))
        assert [when for when, _ in _fired(run)] == [0, 6]


class TestSilent:
    def test_never_heard(self) -> None:
        """It waits from the moment the rule is in force."""
        run = _run("{silent: [nvr1, nvr2], for: 5m}")
        run.feed(plate(source="nvr1"))
        run.crash()
        run.tick(_at(299))
        assert _fired(run) == []
        run.tick(_at(300))
        run.tick(_at(1000))
        assert _fired(run) == [(300, "nvr1"), (300, "nvr2")]

    def test_heard_again(self) -> None:
        """Each silence is told once; what is heard often costs at most a second."""
        run = _run("{silent: {kind: motion.started, source: nvr1}, for: 1m}")
        run.tick(_at(0))
        for second in (50, 100, 100.1, 100.2, 100.3):
            run.feed(_motion(second))
        assert run.engine.next_due == _at(161)
        run.tick(_at(161))
        run.feed(_motion(200))
        run.tick(_at(260))
        assert [when for when, _ in _fired(run)] == [161, 260]

    def test_the_order_names_the_source(self) -> None:
        """One of several too; of anything at all the bridge speaks."""
        for when, sources in (("nvr1", ["site/nvr1"]), ("[nvr1, nvr2]", ["site/nvr1", "site/nvr2"])):
            run = _run(f"{{silent: {when}, for: 1m}}")
            run.tick(_at(0))
            assert [order.trigger.source for order in run.tick(_at(60)).orders] == sources
        run = _run("{silent: {kind: plate.read}, for: 1m}")
        run.tick(_at(0))
        [order] = run.tick(_at(60)).orders
        assert (order.trigger.source, order.key, order.origin) == ("site/bridge", "", Origin.TIMER)

    def test_a_timer_that_is_just_a_little_late(self) -> None:
        """Five seconds are believed; one that is later waits for news first."""
        run = _run("{silent: nvr1, for: 1m}")
        run.tick(_at(0))
        assert len(run.tick(_at(65)).orders) == 1
        run = _run("{silent: nvr1, for: 1m}")
        run.tick(_at(0))
        assert run.tick(_at(65.001)).orders == ()
        assert run.engine.next_due == _at(70.001)

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("custom.patrol", {}),
            ("bridge.heartbeat", {"sources_up": 1, "sources_down": 0, "pending_orders": 0}),
            ("mode.changed", {"mode": "night"}),
        ],
    )
    def test_what_the_bridge_writes_is_heard_where_its_kind_is_named(self, kind: str, data: dict[str, Any]) -> None:
        """Each time, as long as it comes; old news and answers to questions are none."""
        run = _run(f"{{silent: {{kind: {kind}}}, for: 1m}}")
        run.tick(_at(0))
        for second in (50, 100, 150):
            run.feed(event(kind, data, source="bridge", channel=None, time=_at(second), origin=Origin.BRIDGE))
        for origin in (Origin.RESYNC, Origin.BACKFILL):
            run.feed(event(kind, data, source="bridge", channel=None, time=_at(200), origin=origin))
        run.tick(_at(210))
        assert [when for when, _ in _fired(run)] == [210]

    def test_what_the_bridge_writes_is_no_sign_of_life_of_a_source(self) -> None:
        """That a clip of it is ready says nothing of the source."""
        run = _run("{silent: nvr1, for: 1m}")
        run.tick(_at(0))
        run.feed(_motion(30).model_copy(update={"origin": Origin.BRIDGE}))
        assert len(run.tick(_at(60)).orders) == 1

    @pytest.mark.parametrize(
        ("kind", "origin", "words"),
        [
            ("motion.started", Origin.LIVE, "it is heard, and the wait begins anew"),
            ("motion.started", Origin.BACKFILL, "it does not count as heard: its origin is backfill"),
            ("source.gap", Origin.BRIDGE, "it does not count as heard: the bridge tells it about the source"),
        ],
    )
    def test_whoever_asks_is_told_whether_it_was_heard(self, kind: str, origin: Origin, words: str) -> None:
        """Only then: of a source that talks all the time no trace is left for each word."""
        run = _run("{silent: nvr1, for: 1m}")
        run.tick(_at(0))
        gap = {"gap_from": _at(0).isoformat(), "gap_to": _at(1).isoformat(), "cause": "restart"}
        one = event(kind, gap if kind == "source.gap" else {}, time=_at(5), origin=origin)
        [explained] = run.engine.explain(Logged(9, _at(5), one))
        assert (explained.condition, explained.seen) == ("when", words)
        assert run.feed(one).traces == ()

    def test_a_bridge_that_was_away_cannot_say_who_was_silent(self) -> None:
        """It comes back two seconds after the time was up."""
        run = _run("{silent: nvr1, for: 1m}")
        run.tick(_at(0))
        for kind, data in (("rules.changed", {"ruleset": "x", "rules": 1}), ("bridge.started", STARTED)):
            run.feed(event(kind, data, source="bridge", channel=None, time=_at(62), origin=Origin.BRIDGE))
        [trace] = run.tick(_at(67)).traces
        assert (trace.outcome, trace.seen) == ("inconclusive", "the bridge was not running all the while")

    def test_a_lost_source_is_not_silent(self) -> None:
        """Nobody can know; and it goes on waiting."""
        run = _run("{silent: nvr1, for: 1m}")
        run.feed(TestAbsent()._link("lost", 0))
        [trace] = run.tick(_at(60)).traces
        assert trace.outcome == "inconclusive"
        run.feed(TestAbsent()._link("connected", 70))
        run.tick(_at(120))
        run.tick(_at(180))
        assert [when for when, _ in _fired(run)] == [180]


class TestClock:
    def _rings(self, when: str, begin: str, until: str) -> list[str]:
        run = _run(when, site=BERLIN)
        run.tick(datetime.fromisoformat(begin))
        end = datetime.fromisoformat(until)
        while (due := run.engine.next_due) is not None and due <= end:
            run.tick(due)
        orders = [order for made in run.decisions for order in made.orders]
        assert {order.origin for order in orders} <= {Origin.TIMER}
        assert len({order.id for order in orders}) == len(orders)
        return [order.occurred.astimezone(UTC).isoformat()[:16] for order in orders]

    @pytest.mark.parametrize(
        ("cron", "times"),
        [
            ("0,30 2 * * *", ["2026-03-28T01:00", "2026-03-28T01:30", "2026-03-29T01:00"]),
            ("*/30 2 * * *", ["2026-03-28T01:00", "2026-03-28T01:30"]),
            ("5 */2 * * *", [*(f"2026-03-28T{hour:02}:05" for hour in range(1, 24, 2)), "2026-03-29T02:05"]),
        ],
    )
    def test_cron_with_a_star_goes_by_the_hours_as_they_pass(self, cron: str, times: list[str]) -> None:
        """What the change to summer time skips is made up for only where neither minute nor hour begins with one."""
        assert self._rings(f'{{every: "{cron}"}}', "2026-03-28T00:10:00+00:00", "2026-03-29T02:30:00+00:00") == times

    def test_cron_over_the_change_to_summer_time(self) -> None:
        """What is skipped comes when the clock jumps."""
        found = self._rings('{every: "30 2 * * *"}', "2026-03-28T00:00:00+00:00", "2026-03-31T00:00:00+00:00")
        assert found == ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]

    def test_cron_over_the_change_to_winter_time(self) -> None:
        """A fixed time comes once, a step of minutes in both passes."""
        once = self._rings('{every: "30 2 * * *"}', "2026-10-24T22:00:00+00:00", "2026-10-26T00:00:00+00:00")
        assert once == ["2026-10-25T00:30"]
        both = self._rings('{every: "*/30 * * * *"}', "2026-10-25T00:10:00+00:00", "2026-10-25T02:10:00+00:00")
        assert both == [f"2026-10-25T{clock}" for clock in ("00:30", "01:00", "01:30", "02:00")]

    def test_a_rule_that_begins_in_the_second_pass(self) -> None:
        """It does not fire for the first one."""
        found = self._rings('{every: "30 2 * * *"}', "2026-10-25T01:10:00+00:00", "2026-10-26T12:00:00+00:00")
        assert found == ["2026-10-26T01:30"]

    def test_another_zone(self) -> None:
        """The expression's own, not the site's."""
        text = '{every: "0 6 * * mon-fri", zone: America/New_York}'
        found = self._rings(text, "2026-01-09T12:00:00+00:00", "2026-01-13T00:00:00+00:00")
        assert found == ["2026-01-12T11:00"]

    def test_at_the_sun_and_the_clock(self) -> None:
        """Every day, or on some."""
        found = self._rings("{at: sunset-15m}", "2026-06-21T00:00:00+00:00", "2026-06-22T23:00:00+00:00")
        assert [one[:13] for one in found] == ["2026-06-21T19", "2026-06-22T19"]
        found = self._rings(
            '{at: ["02:30", "12:00"], days: sun}', "2026-03-28T00:00:00+00:00", "2026-04-01T00:00:00+00:00"
        )
        assert found == ["2026-03-29T01:00", "2026-03-29T10:00"]

    def test_where_the_sun_does_not_set(self) -> None:
        """There is no sunset, and it does not come."""
        run = _run("{at: sunset}", site=SiteSettings("Europe/Oslo", 69.65, 18.96))
        run.tick(datetime(2026, 6, 1, tzinfo=UTC))
        assert run.engine.next_due is not None
        assert run.engine.next_due.month == 7

    def test_what_was_missed_is_made_up_for_once(self) -> None:
        """By the last of it, and the order says when it should have been."""
        run = _run('{every: "*/5 * * * *", max_lateness: 30s}')
        run.tick(START)
        [order] = run.tick(START + timedelta(hours=3, seconds=17)).orders
        assert (order.occurred, order.max_lateness) == (START + timedelta(hours=3), timedelta(seconds=30))
        assert run.engine.next_due == START + timedelta(hours=3, minutes=5)


class TestCombinations:
    def test_any(self) -> None:
        """One event that fits two parts is one firing."""
        run = _run("{any: [{kind: motion.started}, {kind: motion.started, channel: 1}, {kind: call.started}]}")
        run.feed(_motion(0))
        run.feed(event("call.started", {"caller": "1"}, time=_at(1)))
        run.feed(_still(2))
        assert _fired(run) == [(0, ""), (1, "")]

    def test_all_within(self) -> None:
        """In any order."""
        run = _run("{all: [{kind: motion.started, channel: 1}, {kind: plate.read}], within: 10s}")
        run.feed(plate(time=_at(0)))
        run.feed(_motion(11))
        assert _unmet(run) == "all[1] not yet within 10s"
        run.feed(plate(time=_at(12)))
        assert _fired(run) == [(12, "")]


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        (
            "{kind: motion.started, count: 3}",
            "3:11: rule r: `within` is missing beside `count`; write {kind: mot",
        ),
        ("{kind: motion.started, cuont: 3, within: 1m}", "3:34: rule r: unknown key `cuont`; did you mean `count`?"),
        ("{kind: motion.started, within: 1m}", "3:34: rule r: `within` does not go with `kind`; write {kind: plate"),
        ("{kind: plate.read, for: 3s}", "3:30: rule r: `for`: nothing is known that ends plate.read; write until"),
        ("{kind: channel.status, for: 3s}", "3:34: rule r: `for`: say with `match` what of channel.status must stay"),
        ("{sequence: [{kind: plate.red}, {kind: call.started}], within: 1m}", "3:30: rule r: unknown kind 'plate.red'"),
        (
            "{sequence: [{kind: plate.read}, {not: {kind: call.started}}], within: 1m}",
            "3:43: rule r: `sequence`: `no",
        ),
        (
            "{sequence: [{kind: plate.read, match: {plat: A}}, {kind: call.started}], within: 1m}",
            "3:50: rule r: unknown field of plate.read 'plat'; did you mean 'plate'?",
        ),
        ("{absent: {kind: call.ended}, within: 1m}", "3:11: rule r: `after` is missing beside `absent`; write {absent"),
        ("{silent: nvr9, for: 1m}", "3:20: rule r: unknown source 'nvr9'"),
        (
            "{silent: {kind: source.connected, source: nvr1}, for: 1m}",
            "3:27: rule r: `silent` never hears source.connected: the bridge tells it, not the source",
        ),
        ("{silent: nvr1}", "3:11: rule r: `for` is missing beside `silent`; write {silent: nvr1, for: 5m}"),
        ('{every: "61 * * * *"}', "3:19: rule r: `every`: '61 * * * *' is no cron expression (Bad minute)"),
        ('{every: "0 0 30 2 *"}', "3:19: rule r: `every`: '0 0 30 2 *' "),
        (
            '{every: "0 6 * * *", zone: Europe/Berln}',
            "3:38: rule r: unknown zone 'Europe/Berln'; did you mean 'E",
        ),
        ("{at: sunset}", "3:16: rule r: `at`: sunrise and sunset need the site's `latitude`"),
        ("{at: '25:00'}", "3:16: rule r: `when.at`: '25:00' is not a time of day"),
        ("{kind: parking.count, field: cuont, rises_above: 3}", "3:40: rule r: unknown field of parking.count 'cuont'"),
        ("{kind: parking.count, field: name, rises_above: 3}", "3:40: rule r: `name` is text, and must be a number"),
        (
            "{kind: parking.count, field: count, rises_above: 3, rearm_below: 4}",
            "3:76: rule r: `rearm_below` must not",
        ),
        ("{kind: motion.started, rate: 1/d, within: 1m}", "3:40: rule r: `rate`: 1/d within this span is 1 events"),
        (
            "{kind: motion.started, count: 3, within: 40d}",
            "3:52: rule r: `when.within`: must not be longer than 31",
        ),
        ("{any: [{kind: motion.started}]}", "3:17: rule r: `when.any`: must not be empty"),
        ('{every: "0 6 * * *", max_lateness: 2m}', "3:46: rule r: `when.max_lateness`: must not be longer than 60s"),
        (
            "{absent: {kind: call.ended}, after: {kind: call.started}, within: 1m, include: resync}",
            "3:90: rule r: `include: resync` belongs into the events of `absent`",
        ),
        ("{kind: plate.read, include: inconclusive}", "3:39: rule r: only `absent` and `silent` can be inconclusive"),
    ],
    ids=str,
)
def test_a_mistake_in_when_has_its_message(when: str, problem: str) -> None:
    """One mistake gives one line, at the place where it is."""
    text = f"rules:\n  - id: r\n    when: {when}\n    then: [{{webhook: backoffice}}]\n"
    found = problems_of(text, known=KNOWN)
    assert [line.removeprefix("r.yaml:")[: len(problem)] for line in found] == [problem]


def test_match_belongs_into_the_parts() -> None:
    """There is no one kind whose fields it could name."""
    text = """
    rules:
      - id: r
        when: {any: [{kind: motion.started}, {kind: motion.ended}]}
        match: {reason: seen}
        then: [{webhook: x}]
    """
    assert problems_of(text) == ["r.yaml:5:5: rule r: `match` belongs into the events of `any`"]
