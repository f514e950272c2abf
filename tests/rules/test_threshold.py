"""A value that rises above a bound or falls below one, as users write it."""

from __future__ import annotations

from tests.rules.over_time import counted, fired, run_of, unmet
from tests.rules.support import event


class TestThreshold:
    def test_hysteresis(self) -> None:
        """Told once, and again only when it was back far enough."""
        run = run_of("{kind: parking.count, field: count, rises_above: 95, rearm_below: 90}")
        for second, count in enumerate([94, 96, 97, 93, 96, 90, 96, 89, 96]):
            run.feed(counted(count, second))
        assert [when for when, _ in fired(run)] == [1, 8]

    def test_falling_per_lot(self) -> None:
        """Lots do not disturb each other; without `rearm` it must only be back."""
        run = run_of("{kind: parking.count, field: available, falls_below: 5}")
        for second, (lot, count) in enumerate([("A", 96), ("B", 50), ("A", 95), ("A", 97), ("B", 99)]):
            run.feed(counted(count, second, lot=lot))
        assert fired(run) == [(0, '["nvr1","A"]'), (3, '["nvr1","A"]'), (4, '["nvr1","B"]')]

    def test_what_is_no_number_is_passed_over(self) -> None:
        """It is absent, or yes and no."""
        run = run_of("{kind: custom.x, field: v, rises_above: 0}")
        for value in (None, True, "9"):
            run.feed(event("custom.x", {"v": value}))
            assert unmet(run) == "`v` is no number here"
        run.feed(event("custom.x", {"v": 0.5}))
        assert len(fired(run)) == 1

    def test_a_late_reading_shows_one_change_more(self) -> None:
        """It had been back in between."""
        run = run_of("{kind: parking.count, field: count, rises_above: 95}")
        run.feed(counted(96, 0))
        run.feed(counted(97, 5))
        run.feed(counted(80, 3, came=6))
        assert [when for when, _ in fired(run)] == [0, 6]
