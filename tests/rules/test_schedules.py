"""When schedules are open: over midnight, over clock changes, with the sun."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from rules.ruleset import SiteSettings
from rules.schedules import Place, Schedule, Window, parse_days, parse_point
from tests.rules.support import Run, plate, rules_of

BERLIN = Place(ZoneInfo("Europe/Berlin"), 52.52, 13.40)
TROMSO = Place(ZoneInfo("Europe/Oslo"), 69.65, 18.96)


def _window(start: str, end: str, days: str = "mon-sun") -> Schedule:
    return Schedule((Window(parse_point(start), parse_point(end), parse_days(days)),))


def _open(schedule: Schedule, clock: str, place: Place = BERLIN) -> bool:
    return schedule.open_at(datetime.fromisoformat(clock), place)


@pytest.mark.parametrize(
    ("clock", "is_open"),
    [
        ("2026-01-05T21:59:59", False),
        ("2026-01-05T22:00:00", True),
        ("2026-01-05T23:59:59.999", True),
        ("2026-01-06T00:00:00", True),
        ("2026-01-06T05:59:59", True),
        ("2026-01-06T06:00:00", False),
    ],
)
def test_a_night_crosses_midnight(clock: str, is_open: bool) -> None:
    """From the first moment to the last, the end excluded."""
    assert _open(_window("22:00", "06:00"), clock) is is_open


@pytest.mark.parametrize(
    ("clock", "is_open"),
    [
        ("2026-01-09T23:00:00", True),  # Friday
        ("2026-01-10T03:00:00", True),  # Saturday morning is Friday's night
        ("2026-01-10T23:00:00", False),  # Saturday
        ("2026-01-11T23:00:00", False),  # Sunday
        ("2026-01-12T03:00:00", False),  # Monday morning is Sunday's night
        ("2026-01-12T22:00:00", True),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_starts(clock: str, is_open: bool) -> None:
    """Monday to Friday means the nights that start on these days."""
    assert _open(_window("22:00", "06:00", "mon-fri"), clock) is is_open


def test_whole_days_and_the_end_of_the_day() -> None:
    """Days alone are whole days; 24:00 is the end of one."""
    weekend = Schedule((Window(days=parse_days("sat, sun")),))
    assert [_open(weekend, f"2026-01-{day:02}T00:00:00") for day in (9, 10, 11, 12)] == [False, True, True, False]
    assert _open(_window("20:00", "24:00"), "2026-01-05T23:59:59")
    assert not _open(_window("20:00", "24:00"), "2026-01-06T00:00:00")


def test_several_windows_and_none_of_them() -> None:
    """Open in any; negated, outside all."""
    windows = (*_window("08:00", "12:00").windows, *_window("13:00", "17:00").windows)
    both, neither = Schedule(windows), Schedule(windows, negated=True)
    for hour, is_open in ((7, False), (8, True), (12, False), (13, True), (17, False)):
        assert _open(both, f"2026-01-05T{hour:02}:00:00") is is_open
        assert _open(neither, f"2026-01-05T{hour:02}:00:00") is not is_open


def _fires(during: str, moment: str) -> bool:
    site = SiteSettings("Europe/Berlin", 52.52, 13.40)
    text = f"rules: [{{id: r, when: {{kind: plate.read}}, during: {during}, then: [{{open: a}}]}}]"
    return bool(Run(rules_of(text, site=site)).feed(plate(time=datetime.fromisoformat(moment))).orders)


@pytest.mark.parametrize(
    ("moment", "fires"),
    [
        ("2026-03-29T01:29:00+01:00", False),
        ("2026-03-29T01:59:00+01:00", False),
        ("2026-03-29T03:00:00+02:00", True),  # the clock has jumped over 2:30: it is past it
        ("2026-03-29T03:59:00+02:00", True),
        ("2026-03-29T04:00:00+02:00", False),
        ("2026-10-25T02:29:00+02:00", False),
        ("2026-10-25T02:30:00+02:00", True),
        ("2026-10-25T02:29:00+01:00", False),  # the second pass of the hour
        ("2026-10-25T02:30:00+01:00", True),
        ("2026-10-25T03:59:00+01:00", True),
        ("2026-10-25T04:00:00+01:00", False),
    ],
)
def test_schedules_are_read_off_the_wall_clock_when_clocks_change(moment: str, fires: bool) -> None:
    """What the clock on the wall shows decides, in the hour that is skipped and the one that comes twice."""
    assert _fires('{from: "02:30", to: "04:00"}', moment) is fires


def test_a_schedule_looks_at_the_events_own_time() -> None:
    """An event that arrives late is judged by when it happened."""
    text = 'rules: [{id: r, when: {kind: plate.read}, during: {from: "08:00", to: "09:00"}, then: [{open: a}]}]'
    run = Run(rules_of(text))
    happened = datetime.fromisoformat("2026-01-05T08:30:00+00:00")
    assert run.feed(plate(time=happened), at=happened + timedelta(hours=5)).orders
    closed = run.feed(plate(time=happened - timedelta(hours=1)), at=happened)
    assert (closed.traces[0].condition, closed.traces[0].wanted) == ("during", "08:00-09:00")
    assert closed.traces[0].seen == "2026-01-05 07:30:00"


@pytest.mark.parametrize(
    ("moment", "fires"),
    [
        ("2026-06-21T21:15:00+02:00", False),  # sunset in Berlin is 21:33
        ("2026-06-21T21:19:00+02:00", True),
        ("2026-06-22T03:00:00+02:00", True),
        ("2026-06-22T05:00:00+02:00", False),  # sunrise is 4:43
        ("2026-12-21T15:30:00+01:00", False),  # sunset is 15:54
        ("2026-12-21T15:40:00+01:00", True),
        ("2026-12-22T08:00:00+01:00", True),
        ("2026-12-22T08:20:00+01:00", False),
    ],
)
def test_dark_is_when_the_sun_is_down(moment: str, fires: bool) -> None:
    """Sunset and sunrise follow the season, with their offsets."""
    assert _fires("{from: sunset-15m, to: sunrise}", moment) is fires


@pytest.mark.parametrize(("day", "dark"), [("2026-06-21", False), ("2026-12-21", True)])
def test_beyond_the_arctic_circle(day: str, dark: bool) -> None:
    """Where the sun does not set it is never dark; where it does not rise, always."""
    night, daylight = _window("sunset", "sunrise"), _window("sunrise", "sunset")
    for hour in range(24):
        clock = f"{day}T{hour:02}:30:00"
        assert _open(night, clock, TROMSO) is dark, clock
        assert _open(daylight, clock, TROMSO) is not dark, clock


def test_a_fixed_time_and_the_sun_can_be_mixed() -> None:
    """From sunset to eleven at night; in June that is an hour and a half."""
    evening = _window("sunset", "23:00")
    assert _open(evening, "2026-06-21T22:00:00")
    assert not _open(evening, "2026-06-21T21:00:00")
    assert _open(evening, "2026-12-21T16:30:00")
    assert not _open(evening, "2026-12-21T23:00:00")
    assert not _open(evening, "2026-12-22T01:00:00")


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", {0}),
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("fri-mon", {4, 5, 6, 0}),
        ("Sat Sun", {5, 6}),
        (["tue", "thu-fri"], {1, 3, 4}),
        ("monday - wednesday", {0, 1, 2}),
    ],
)
def test_days_are_read_as_people_write_them(text: object, days: set[int]) -> None:
    """Ranges, lists, over the weekend, in full."""
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["25:00", "7:00", "22.00", "sunset+13h", "sunset+x", "noon", 22, None])
def test_what_is_no_time_of_day_is_refused(text: object) -> None:
    """With a sentence that says how to write one."""
    with pytest.raises(ValueError, match=r"not a time of day|12 hours away|not a duration"):
        parse_point(text)


@pytest.mark.parametrize("text", ["22:00", "24:00", "06:30:15", "sunset", "sunrise+30m", "sunset-1h30m"])
def test_a_time_of_day_is_written_as_it_was_read(text: str) -> None:
    """Traces show it as the user wrote it."""
    assert str(parse_point(text)) == text
