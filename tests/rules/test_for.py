"""It became true and stayed true for so long, as users write it."""

from __future__ import annotations

import pytest

from bridge.sdk import Logged, Origin
from tests.rules.over_time import at, counted, fired, memory_of, motion, run_of, still
from tests.rules.support import event, plate, problems_of


class TestFor:
    def test_it_fires_when_it_has_lasted(self) -> None:
        """Not before, and once; the order is as fresh as the moment at which the time was up."""
        run = run_of("{kind: motion.started, for: 30s}")
        run.feed(motion(0))
        run.feed(motion(10))
        run.tick(at(29.999))
        assert fired(run) == []
        [order] = run.tick(at(30)).orders
        assert (order.occurred, order.received, order.origin) == (at(30), at(30), Origin.LIVE)
        assert order.trigger.time == at(0)
        run.tick(at(300))
        assert fired(run) == [(30, '["nvr1","1"]')]

    @pytest.mark.parametrize(("began", "open_"), [("11:55", True), ("11:49", False), ("12:54", False), ("12:49", True)])
    def test_a_schedule_is_asked_when_it_is_over(self, began: str, open_: bool) -> None:
        """`during` says when the rule may act: what began before the window counts once it has lasted into it."""
        run = run_of("{kind: motion.started, for: 10m}", 'during: {from: "12:00", to: "13:00"}')
        hour, minute = map(int, began.split(":"))
        run.feed(motion(60 * (60 * (hour - 12) + minute)))
        run.tick(at(7200))
        assert bool(fired(run)) is open_

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
        run = run_of("{kind: motion.started, for: 30s}")
        run.feed(motion(0))
        run.feed(motion(0, channel="2"))
        run.feed(event("motion.ended", time=at(5), received=at(6), origin=Origin.RESYNC))
        run.tick(at(100))
        assert fired(run) == [(100, '["nvr1","2"]')]

    def test_a_state_that_is_told_again_and_again(self) -> None:
        """It ends with the first that does not match."""
        run = run_of("{kind: parking.count, for: 5m}", "match: {available: 0}")
        for minute, count in enumerate([100, 100, 99, 100, 101, 100, 100, 100]):
            run.feed(counted(count, minute * 60))
        run.tick(at(8 * 60))
        assert fired(run) == [(480, '["nvr1","P1"]')]

    def test_an_end_that_was_overtaken_by_its_beginning(self) -> None:
        """By their own times it ended; by those of the log it had not begun."""
        run = run_of("{kind: motion.started, for: 30s}")
        run.feed(still(2, came=2))
        run.feed(motion(1, came=3))
        run.tick(at(100))
        assert fired(run) == []

    def test_a_late_end_in_the_middle_begins_the_time_anew(self) -> None:
        """From the beginning after it."""
        run = run_of("{kind: motion.started, for: 30s}")
        run.feed(motion(0))
        run.feed(motion(6))
        run.feed(still(5, came=7))
        run.tick(at(35.9))
        assert fired(run) == []
        run.tick(at(36))
        assert fired(run) == [(36, '["nvr1","1"]')]

    def test_memory_is_bounded(self) -> None:
        """Of too many edges at once the first are folded into what they make; it fires all the same."""
        run = run_of("{kind: motion.started, for: 30s}")
        for number in range(60):
            run.feed(motion(number / 100))
        memory = memory_of(run)
        assert (len(memory["events"]), len(memory["begun"])) == (16, 17)
        assert "raw" not in str(memory)
        run.tick(at(30))
        run.feed(motion(31))
        run.tick(at(90))
        assert fired(run) == [(30, '["nvr1","1"]')]

    def test_it_is_explained_without_being_changed(self) -> None:
        """One answer for each rule, whatever its triggers."""
        run = run_of("{kind: motion.started, for: 30s}")
        run.feed(motion(0))
        before = dict(run.state)
        answers = [
            run.engine.explain(Logged(2, at(1), one))
            for one in (motion(1), still(1), still(1, channel="2"), plate(time=at(1)))
        ]
        assert [trace.seen for [trace] in answers] == [
            "it lasts; 30s are not over",
            "it ended",
            "nothing that it waits for",
            "plate.read",
        ]
        assert (run.state, run.engine.next_due) == (before, at(30))

    def test_until(self) -> None:
        """What ends it may be anything."""
        run = run_of(
            "{kind: plate.read, for: 10s, until: {kind: motion.ended, channel: 2, per: source}}", "per: source"
        )
        run.feed(plate())
        run.feed(still(5, channel="1"))
        assert run.engine.next_due == at(10)
        run.feed(still(6, channel="2"))
        assert run.engine.next_due is None
