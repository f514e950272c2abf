"""So many, so much, so many different, and one of each within a span, as users write it."""

from __future__ import annotations

from bridge.sdk import Origin
from tests.rules.over_time import at, counted, fired, memory_of, motion, run_of, still, unmet
from tests.rules.support import event, plate


class TestWindows:
    def test_count(self) -> None:
        """The third within the span fires; then it begins anew."""
        run = run_of("{kind: motion.started, count: 3, within: 10m}", "per: channel")
        for second in (0, 300, 601, 700, 800, 900, 1000):
            run.feed(motion(second))
        assert fired(run) == [(700, "1"), (1000, "1")]
        assert [len(made.orders[0].causes) for made in run.decisions if made.orders] == [3, 3]

    def test_the_ends_of_the_window_belong_to_it(self) -> None:
        """Exactly the span is within it."""
        run = run_of("{kind: motion.started, count: 2, within: 10s}")
        run.feed(motion(0))
        run.feed(motion(10))
        assert fired(run) == [(10, "")]

    def test_late_within_the_bound_is_placed_by_its_own_time(self) -> None:
        """Later than that it is counted as late, and the trace says so."""
        run = run_of("{kind: motion.started, count: 3, within: 5s, lateness: 10s}")
        run.feed(motion(0))
        run.feed(motion(4))
        run.feed(motion(20))
        run.feed(motion(9.999, came=20.5))
        assert "10s1ms behind" in unmet(run)
        assert memory_of(run)["late"] == 1
        run.feed(motion(18, came=21))
        run.feed(motion(16, came=22))
        assert fired(run) == [(22, "")]

    def test_the_same_event_twice_counts_once(self) -> None:
        """Also when it has had its firing."""
        run = run_of("{kind: motion.started, count: 2, within: 10s}")
        for one in (motion(0), motion(0), motion(1), motion(1), motion(1, event_id="other")):
            run.feed(one, at=at(2))
        assert fired(run) == [(2, "")]

    def test_a_clock_that_is_ahead_makes_nothing_late(self) -> None:
        """A time in the future counts as now."""
        run = run_of("{kind: motion.started, count: 2, within: 10s}")
        run.feed(motion(9999), at=at(0))
        run.feed(motion(1))
        assert fired(run) == [(1, "")]

    def test_sum_distinct_and_rate(self) -> None:
        """Each asks another question of the same window."""
        total = run_of("{kind: parking.count, sum: {field: count, at_least: 10}, within: 1m}")
        for second, count in enumerate([3, 3, 3, 3, 9]):
            total.feed(counted(count, second))
        assert fired(total) == [(3, "")]
        different = run_of("{kind: plate.read, distinct: {field: plate, at_least: 3}, within: 1m}")
        for second, number in enumerate("AABBAC"):
            different.feed(plate(number, time=at(second)))
        assert fired(different) == [(5, "")]
        often = run_of("{kind: motion.started, rate: 30/m, within: 10s}")
        for second in range(5):
            often.feed(motion(second * 2))
        assert fired(often) == [(8, "")]

    def test_long_values_are_remembered_by_their_hash(self) -> None:
        """They are as different as they are, and the state stays small."""
        run = run_of("{kind: custom.x, distinct: {field: v, at_least: 3}, within: 1m}")
        for second, value in enumerate(["x" * 64, "x" * 65, "x" * 65]):
            run.feed(event("custom.x", {"v": value}, time=at(second)))
        assert [len(one[4]) for one in memory_of(run)["events"]] == [64, 32, 32]
        run.feed(event("custom.x", {"v": "x" * 66}, time=at(4)))
        assert fired(run) == [(4, "")]

    def test_memory_is_bounded(self) -> None:
        """Of too many events the newest are kept, and the state says how many went."""
        run = run_of("{kind: parking.count, sum: {field: count, at_least: 100000}, within: 1h}")
        for number in range(1010):
            run.feed(counted(1, number / 10))
        memory = memory_of(run)
        assert (len(memory["events"]), memory["full"]) == (1000, 10)

    def test_what_is_worth_nothing_any_more_is_forgotten(self) -> None:
        """Without a timer, and without changing what is decided."""
        run = run_of("{kind: motion.started, count: 2, within: 10s, lateness: 5s}")
        run.feed(motion(0))
        assert run.engine.next_due is None
        run.tick(at(15))
        assert {key.rule for key in run.state} == {"$state"}

    def test_the_least_trusted_cause_gives_the_origin(self) -> None:
        """One back-filled event among them, and no door will open."""
        run = run_of("{kind: motion.started, count: 2, within: 10s}")
        run.feed(motion(0, origin=Origin.BACKFILL))
        [order] = run.feed(motion(1)).orders
        assert (order.origin, order.trigger.origin) == (Origin.BACKFILL, Origin.LIVE)


class TestCombinations:
    def test_any(self) -> None:
        """One event that fits two parts is one firing."""
        run = run_of("{any: [{kind: motion.started}, {kind: motion.started, channel: 1}, {kind: call.started}]}")
        run.feed(motion(0))
        run.feed(event("call.started", {"caller": "1"}, time=at(1)))
        run.feed(still(2))
        assert fired(run) == [(0, ""), (1, "")]

    def test_all_within(self) -> None:
        """In any order."""
        run = run_of("{all: [{kind: motion.started, channel: 1}, {kind: plate.read}], within: 10s}")
        run.feed(plate(time=at(0)))
        run.feed(motion(11))
        assert unmet(run) == "all[1] not yet within 10s"
        run.feed(plate(time=at(12)))
        assert fired(run) == [(12, "")]
