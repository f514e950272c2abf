"""Opening hours by the clock of one zone, and the two nights on which that clock shows two things."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.config.outputs import OpenHours
from bridge.safety.hours import open_at, readings

BERLIN = "Europe/Berlin"


def _hours(*windows: dict[str, Any], zone: str = BERLIN) -> OpenHours:
    return OpenHours.model_validate({"zone": zone, "windows": windows})


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-01-12T05:59:59", False),  # Monday, 06:59:59 in Berlin
        ("2026-01-12T06:00:00", True),
        ("2026-01-12T17:59:59", True),
        ("2026-01-12T18:00:00", False),
        ("2026-01-11T12:00:00", False),  # Sunday
        ("2026-07-13T05:00:00", True),  # summer time
    ],
)
def test_a_window_is_read_off_the_clock_of_its_zone(now: str, is_open: bool) -> None:
    """From the first minute to the first after it, on its days."""
    hours = _hours({"from": "07:00", "to": "19:00", "days": ["mon", "tue", "wed", "thu", "fri"]})
    assert open_at(hours, _utc(now)) is is_open


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-01-16T20:59:59", False),  # Friday 21:59:59
        ("2026-01-16T21:00:00", True),
        ("2026-01-17T04:59:00", True),  # Saturday 05:59, still Friday's
        ("2026-01-17T05:00:00", False),
        ("2026-01-17T21:30:00", False),  # Saturday 22:30
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_it_starts_on(now: str, is_open: bool) -> None:
    """Friday's night ends on Saturday morning."""
    assert open_at(_hours({"from": "22:00", "to": "06:00", "days": ["fri"]}), _utc(now)) is is_open


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        ("2026-10-24T23:30:00", ["01:30"]),
        ("2026-10-25T00:30:00", ["01:30", "02:30"]),  # the first 02:30
        ("2026-10-25T01:30:00", ["02:30", "03:30"]),  # the second one
        ("2026-10-25T02:30:00", ["03:30"]),
        ("2026-03-29T00:30:00", ["01:30"]),
        ("2026-03-29T01:30:00", ["02:30", "03:30"]),  # 02:30 does not exist; a clock may still show it
        ("2026-03-29T02:30:00", ["04:30"]),
    ],
)
def test_where_the_clock_changes_two_readings_count(now: str, shown: list[str]) -> None:
    """In both passes of the repeated hour, and in the hour after the skipped one."""
    assert sorted(f"{reading:%H:%M}" for reading in readings(BERLIN, _utc(now))) == shown


def test_the_zone_of_the_machine_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that was set up for another place opens by the clock at the gate."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "America/New_York")
        time.tzset()
        shown = readings(BERLIN, _utc("2026-01-12T12:00:00"))
    time.tzset()
    assert shown == {datetime(2026, 1, 12, 13, 0)}  # noqa: DTZ001 - as clocks are


def test_in_the_repeated_hour_both_readings_must_be_inside() -> None:
    """A window that ends at three is shut for one pass too many, not open for one."""
    hours = _hours({"from": "00:00", "to": "03:00"})
    moments = [_utc("2026-10-24T22:00:00") + timedelta(minutes=30 * step) for step in range(9)]
    assert [open_at(hours, moment) for moment in moments] == [True] * 6 + [False] * 3
    assert all(open_at(_hours({"from": "00:00", "to": "24:00"}), moment) for moment in moments)


@pytest.mark.parametrize(
    "wrong",
    [
        {"zone": "Berlin", "windows": [{"from": "07:00", "to": "19:00"}]},
        {"windows": [{"from": "07:00", "to": "19:00"}]},
        {"zone": BERLIN, "windows": []},
        {"zone": BERLIN, "windows": [{"from": "7:00", "to": "19:00"}]},
        {"zone": BERLIN, "windows": [{"from": "07:00", "to": "07:00"}]},
        {"zone": BERLIN, "windows": [{"from": "07:00", "to": "25:00"}]},
    ],
)
def test_hours_that_say_nothing_certain_are_refused(wrong: dict[str, Any]) -> None:
    """No zone is guessed, no time rounded."""
    with pytest.raises(ValidationError):
        OpenHours.model_validate(wrong)
