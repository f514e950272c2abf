"""The clock itself, as users write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.sdk import Origin
from rules.ruleset import SiteSettings
from tests.rules.over_time import BERLIN, run_of
from tests.rules.support import START


class TestClock:
    def _rings(self, when: str, begin: str, until: str) -> list[str]:
        run = run_of(when, site=BERLIN)
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
        run = run_of("{at: sunset}", site=SiteSettings("Europe/Oslo", 69.65, 18.96))
        run.tick(datetime(2026, 6, 1, tzinfo=UTC))
        assert run.engine.next_due is not None
        assert run.engine.next_due.month == 7

    def test_what_was_missed_is_made_up_for_once(self) -> None:
        """By the last of it, and the order says when it should have been."""
        run = run_of('{every: "*/5 * * * *", max_lateness: 30s}')
        run.tick(START)
        [order] = run.tick(START + timedelta(hours=3, seconds=17)).orders
        assert (order.occurred, order.max_lateness) == (START + timedelta(hours=3), timedelta(seconds=30))
        assert run.engine.next_due == START + timedelta(hours=3, minutes=5)

    @pytest.mark.parametrize(
        ("when", "before", "after"),
        [
            ('{at: "22:00"}', "2026-01-05T22:00Z", "2026-01-05T13:00Z"),
            ('{every: "0 22 * * *"}', "2026-01-05T22:00Z", "2026-01-05T13:00Z"),
            ('{every: "0 22 * * *", zone: UTC}', "2026-01-05T22:00Z", "2026-01-05T22:00Z"),
        ],
    )
    def test_another_zone_of_the_site_is_another_time(self, when: str, before: str, after: str) -> None:
        """A rule that says the same goes on, at the times that it means now; a zone of its own stays."""
        run = run_of(when, site=SiteSettings("UTC"))
        run.tick(START)
        assert run.engine.next_due == datetime.fromisoformat(before)
        elsewhere = run_of(when, site=SiteSettings("Asia/Seoul")).rules
        assert elsewhere.rules[0].version == run.rules.rules[0].version
        run.keep(run.engine.replace_rules(elsewhere))
        run.tick(START + timedelta(seconds=1))
        assert run.engine.next_due == datetime.fromisoformat(after)

    def test_another_place_is_another_sunset(self) -> None:
        """Where the site is counts for the sun alone."""
        north, south = (run_of("{at: sunset}", site=SiteSettings("UTC", latitude, 13.4)) for latitude in (52.5, -33.0))
        north.tick(START)
        before = north.engine.next_due
        north.keep(north.engine.replace_rules(south.rules))
        north.tick(START + timedelta(seconds=1))
        assert before is not None
        assert north.engine.next_due is not None
        assert north.engine.next_due - before > timedelta(hours=2)
