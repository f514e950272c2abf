"""One thing after another, as users write it."""

from __future__ import annotations

from tests.rules.over_time import at, fired, memory_of, motion, run_of, still, unmet
from tests.rules.support import event, plate


class TestSequence:
    TEXT = (
        "{sequence: [{kind: motion.started, channel: 1}, {not: {kind: plate.read}}, "
        "{kind: motion.started, channel: 2}], within: 30s}"
    )

    def test_in_order(self) -> None:
        """One and then the other; not the other way round, and not too far apart."""
        run = run_of(self.TEXT)
        run.feed(motion(0, channel="2"))
        assert unmet(run) == "0 of 2 in order within 30s"
        run.feed(motion(1, channel="1"))
        assert unmet(run) == "1 of 2 in order within 30s"
        run.feed(motion(32, channel="2"))
        run.feed(motion(33, channel="1"))
        run.feed(motion(34, channel="2"))
        assert fired(run) == [(34, "")]

    def test_what_must_not_come_in_between(self) -> None:
        """It stands in the way, also when it is told late but in time."""
        run = run_of(self.TEXT)
        run.feed(motion(0))
        run.feed(plate(time=at(1)))
        run.feed(motion(2, channel="2"))
        assert fired(run) == []
        run.feed(motion(10))
        run.feed(plate(time=at(9), received=at(11)))
        run.feed(motion(12, channel="2"))
        assert fired(run) == [(12, "")]

    def test_a_late_step_completes_it(self) -> None:
        """It is placed by its own time; it decided, and the order names it so."""
        run = run_of(self.TEXT)
        run.feed(motion(5, channel="2"))
        [order] = run.feed(motion(4, came=8)).orders
        assert order.trigger.subject == "1"
        assert order.causes[-1] == order.trigger.id

    def test_memory_is_bounded(self) -> None:
        """Of too many events the newest are kept."""
        run = run_of("{sequence: [{kind: motion.started}, {kind: motion.ended}, {kind: plate.read}], within: 1h}")
        for number in range(260):
            run.feed(motion(number))
        assert (len(memory_of(run)["events"]), memory_of(run)["full"]) == (250, 10)
        run.feed(still(300))
        [order] = run.feed(plate(time=at(301))).orders
        assert len(order.causes) == 3
        assert "events" not in memory_of(run)

    def test_many_causes(self) -> None:
        """An order names the last hundred."""
        run = run_of("{kind: motion.started, count: 150, within: 1h}")
        for number in range(150):
            run.feed(motion(number, event_id=f"e{number}"))
        [order] = run.decisions[-1].orders
        assert order.causes == tuple(f"e{number}" for number in range(50, 150))

    def test_keys_of_their_own(self) -> None:
        """Another field may tell the same thing in another kind."""
        run = run_of(
            "{sequence: [{kind: plate.read}, {kind: parking.spot, per: plate}], within: 1m}",
            "per: plate",
        )
        run.feed(plate("A"))
        run.feed(event("parking.spot", {"spot": "1", "plate": "B"}, time=at(1)))
        run.feed(event("parking.spot", {"spot": "1", "plate": "A"}, time=at(2)))
        assert fired(run) == [(2, "A")]
