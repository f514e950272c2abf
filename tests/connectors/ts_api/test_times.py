"""Times: every form the vendor writes, and none that could mean something else."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest

from connectors.ts_api.times import read, zone_of
from tests.connectors.ts_api.recorded import utc

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("text", "time", "quality"),
    [
        ("2018-02-01T14:30:15.253-05:00", "2018-02-01 19:30:15.253", "device"),
        ("2018-02-01T14:30:15-0500", "2018-02-01 19:30:15", "device"),
        ("2018-02-01T14:30:15-05", "2018-02-01 19:30:15", "device"),
        ("2018-02-01T14:30:15+05:30", "2018-02-01 09:00:15", "device"),
        ("2018-02-01T14:30:15Z", "2018-02-01 14:30:15", "device"),
        ("2018-02-01T14:30:15.1234567Z", "2018-02-01 14:30:15.123456", "device"),
        ("2018-02-01T14:30Z", "2018-02-01 14:30:00", "device"),
        ("2022-11-29T10:13:09.646", "2022-11-29 15:13:09.646", "server"),
        ("2026-01-15 10:30:00", "2026-01-15 15:30:00", "server"),
        ("2026-01-15T10:30", "2026-01-15 15:30:00", "server"),
        ("2026-01-15", "2026-01-15 05:00:00", "server"),
        ("2018-07-27T09:00:00\r\n", "2018-07-27 13:00:00", "server"),
        ("2018-07-27T09:00:00%0D%0A", "2018-07-27 13:00:00", "server"),
        ("2018-07-27T09%3A00%3A00-05%3A00%0D%0A", "2018-07-27 14:00:00", "device"),
        ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00", "device"),
    ],
)
def test_every_form_is_read(text: str, time: str, quality: str) -> None:
    """With an offset the sender knows when; without, it is the server's wall clock."""
    moment = read(text, NEW_YORK)
    assert moment is not None
    assert (moment.time, moment.quality) == (utc(time), quality)
    assert moment.time.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "yesterday",
        "2026-02-30T10:00:00Z",
        "2026-01-15T25:00:00Z",
        "2026-01-15T10:30:00+99:00",
        "2026-01-15T10:30:00 CET",
        "15.01.2026 10:30",
        "1970-01-01T00:00:12Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-01-15T10:30:00Z" + " " * 100,
        "2018-07-27T09:00:00%250D%250A",
        1737000000,
        None,
        True,
        ["2026-01-15"],
    ],
)
def test_what_is_no_time_is_none(value: object) -> None:
    """Nothing is guessed, and a clock that was never set says nothing."""
    assert read(value, NEW_YORK) is None


@pytest.mark.parametrize(
    ("text", "earlier"),
    [("2026-11-01T01:30:00", "2026-11-01 05:30:00"), ("2026-03-08T02:30:00", "2026-03-08 07:30:00")],
    ids=["repeated", "skipped"],
)
def test_the_hour_that_daylight_saving_repeats_or_skips_is_not_guessed(text: str, earlier: str) -> None:
    """A live event then counts as happening on receipt; a row of the log takes the earlier reading."""
    assert read(text, NEW_YORK) is None
    moment = read(text, NEW_YORK, ambiguous="earlier")
    assert moment is not None
    assert moment.time == utc(earlier)


def test_an_offset_settles_the_repeated_hour() -> None:
    """The sender said which of the two it is."""
    moment = read("2026-11-01T01:30:00-05:00", NEW_YORK)
    assert moment is not None
    assert moment.time == utc("2026-11-01 06:30:00")


@pytest.mark.parametrize(
    ("name", "bias", "zone"),
    [
        ("America/New_York", "-05:00", NEW_YORK),
        ("UTC-05:00", None, timezone(timedelta(hours=-5))),
        ("UTC+5:30", None, timezone(timedelta(hours=5, minutes=30))),
        ("Korea Standard Time", "+09:00", timezone(timedelta(hours=9))),
        ("", "-0330", timezone(timedelta(hours=-3, minutes=-30))),
        ("../../etc/passwd", "+09:00", timezone(timedelta(hours=9))),
        ("UTC", None, UTC),
        (None, None, UTC),
        ("nowhere", "99:99", UTC),
    ],
)
def test_the_servers_zone_is_its_name_or_else_its_bias(name: str | None, bias: str | None, zone: tzinfo) -> None:
    """A zone with rules is better than today's offset, and today's offset better than nothing."""
    assert zone_of(name, bias) == zone
