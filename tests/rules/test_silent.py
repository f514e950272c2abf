"""Nothing was heard for so long, as users write it."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.sdk import Logged, Origin
from tests.rules.over_time import STARTED, at, fired, link, motion, run_of
from tests.rules.support import event, plate


class TestSilent:
    def test_never_heard(self) -> None:
        """It waits from the moment the rule is in force."""
        run = run_of("{silent: [nvr1, nvr2], for: 5m}")
        run.feed(plate(source="nvr1"))
        run.crash()
        run.tick(at(299))
        assert fired(run) == []
        run.tick(at(300))
        run.tick(at(1000))
        assert fired(run) == [(300, "nvr1"), (300, "nvr2")]

    def test_heard_again(self) -> None:
        """Each silence is told once; what is heard often costs at most a second."""
        run = run_of("{silent: {kind: motion.started, source: nvr1}, for: 1m}")
        run.tick(at(0))
        for second in (50, 100, 100.1, 100.2, 100.3):
            run.feed(motion(second))
        assert run.engine.next_due == at(161)
        run.tick(at(161))
        run.feed(motion(200))
        run.tick(at(260))
        assert [when for when, _ in fired(run)] == [161, 260]

    def test_the_order_names_the_source(self) -> None:
        """One of several too; of anything at all the bridge speaks."""
        for when, sources in (("nvr1", ["site/nvr1"]), ("[nvr1, nvr2]", ["site/nvr1", "site/nvr2"])):
            run = run_of(f"{{silent: {when}, for: 1m}}")
            run.tick(at(0))
            assert [order.trigger.source for order in run.tick(at(60)).orders] == sources
        run = run_of("{silent: {kind: plate.read}, for: 1m}")
        run.tick(at(0))
        [order] = run.tick(at(60)).orders
        assert (order.trigger.source, order.key, order.origin) == ("site/bridge", "", Origin.TIMER)

    def test_a_timer_that_is_just_a_little_late(self) -> None:
        """Five seconds are believed; one that is later waits for news first."""
        run = run_of("{silent: nvr1, for: 1m}")
        run.tick(at(0))
        assert len(run.tick(at(65)).orders) == 1
        run = run_of("{silent: nvr1, for: 1m}")
        run.tick(at(0))
        assert run.tick(at(65.001)).orders == ()
        assert run.engine.next_due == at(70.001)

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
        run = run_of(f"{{silent: {{kind: {kind}}}, for: 1m}}")
        run.tick(at(0))
        for second in (50, 100, 150):
            run.feed(event(kind, data, source="bridge", channel=None, time=at(second), origin=Origin.BRIDGE))
        for origin in (Origin.RESYNC, Origin.BACKFILL):
            run.feed(event(kind, data, source="bridge", channel=None, time=at(200), origin=origin))
        run.tick(at(210))
        assert [when for when, _ in fired(run)] == [210]

    def test_what_the_bridge_writes_is_no_sign_of_life_of_a_source(self) -> None:
        """That a clip of it is ready says nothing of the source."""
        run = run_of("{silent: nvr1, for: 1m}")
        run.tick(at(0))
        run.feed(motion(30).model_copy(update={"origin": Origin.BRIDGE}))
        assert len(run.tick(at(60)).orders) == 1

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
        run = run_of("{silent: nvr1, for: 1m}")
        run.tick(at(0))
        gap = {"gap_from": at(0).isoformat(), "gap_to": at(1).isoformat(), "cause": "restart"}
        one = event(kind, gap if kind == "source.gap" else {}, time=at(5), origin=origin)
        [explained] = run.engine.explain(Logged(9, at(5), one))
        assert (explained.condition, explained.seen) == ("when", words)
        assert run.feed(one).traces == ()

    def test_a_bridge_that_was_away_cannot_say_who_was_silent(self) -> None:
        """It comes back two seconds after the time was up."""
        run = run_of("{silent: nvr1, for: 1m}")
        run.tick(at(0))
        for kind, data in (("rules.changed", {"ruleset": "x", "rules": 1}), ("bridge.started", STARTED)):
            run.feed(event(kind, data, source="bridge", channel=None, time=at(62), origin=Origin.BRIDGE))
        [trace] = run.tick(at(67)).traces
        assert (trace.outcome, trace.seen) == ("inconclusive", "the bridge was not running all the while")

    def test_a_lost_source_is_not_silent(self) -> None:
        """Nobody can know; and it goes on waiting."""
        run = run_of("{silent: nvr1, for: 1m}")
        run.feed(link("lost", 0))
        [trace] = run.tick(at(60)).traces
        assert trace.outcome == "inconclusive"
        run.feed(link("connected", 70))
        run.tick(at(120))
        run.tick(at(180))
        assert [when for when, _ in fired(run)] == [180]

    def test_a_source_that_is_gone_is_not_waited_for(self) -> None:
        """It is no more in the configuration, and nobody would ever say that it is back; the others count."""
        run = run_of("{silent: {kind: plate.read}, for: 1m}")
        run.feed(event("source.connected", {}, source="old", channel=None, time=at(-200), origin=Origin.BRIDGE))
        run.feed(link("connected", -200))
        started = {**STARTED, "sources": ["nvr1"]}
        run.feed(event("bridge.started", started, source="bridge", channel=None, time=at(-100), origin=Origin.BRIDGE))
        run.crash()
        run.feed(link("connected", -99))
        run.feed(plate(time=at(0)))
        run.tick(at(60))
        assert fired(run) == [(60, "")]
        run.feed(link("lost", 70))
        run.feed(plate(time=at(80)))
        assert [trace.seen for trace in run.tick(at(140)).traces] == ["nvr1 is not connected"]

    @pytest.mark.parametrize(
        ("when", "per", "key"),
        [
            ("{silent: [nvr1, nvr2], for: 1m}", (), "%s"),
            ("{silent: {kind: plate.read}, for: 1m}", ("per: source",), "%s"),
            ("{silent: {source: [nvr1, nvr2], kind: plate.read}, for: 1m}", ("per: [channel, source]",), '["1","%s"]'),
        ],
    )
    def test_a_source_that_is_lost_makes_nothing_uncertain_of_another(
        self, when: str, per: tuple[str, ...], key: str
    ) -> None:
        """Each is waited for by itself, so each needs to be heard by itself."""
        run = run_of(when, *per)
        for name in ("nvr1", "nvr2"):
            run.feed(event("source.connected", {}, source=name, channel=None, time=at(-10), origin=Origin.BRIDGE))
            run.feed(plate(time=at(0), source=name))
        run.feed(link("lost", 5))
        for seconds in (60, 61):
            run.tick(at(seconds))
        assert fired(run) == [(60, key % "nvr2")]
        told = [(trace.key, trace.seen) for made in run.decisions for trace in made.traces if not trace.fired]
        assert (key % "nvr1", "nvr1 is not connected") in told
