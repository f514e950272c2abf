"""The patterns of the clock against what a wall clock shows, minute by minute, and `silent` against what was heard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from astral import Observer
from astral.sun import sunset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged, Origin, VmsEvent
from rules.engine import Engine
from rules.ruleset import RuleSet, SiteSettings
from tests.rules.support import START, event, rules_of

HISTORIES = int(os.environ.get("HISTORIES", "2000"))
ZONES = ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC"]
_CHANGES = {
    "Europe/Berlin": [date(2026, 3, 28), date(2026, 10, 24)],
    "America/St_Johns": [date(2026, 3, 7), date(2026, 10, 31)],
    "Australia/Lord_Howe": [date(2026, 4, 4), date(2026, 10, 3)],
}
"""The day before the clocks change."""
_some = settings(
    max_examples=max(20, HISTORIES // 20),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@lru_cache(maxsize=256)
def _rules(when: str, zone: str) -> RuleSet:
    text = f"rules: [{{id: r, when: {when}, then: [{{webhook: x}}]}}]"
    return rules_of(text, site=SiteSettings(zone, 47.0, 8.0))


def _tick(at: datetime) -> VmsEvent:
    return event("bridge.tick", {"due": at}, source="bridge", channel=None, time=at, origin=Origin.TIMER)


def _rung(rules: RuleSet, stamps: list[datetime], crashes: set[int]) -> list[tuple[datetime, datetime]]:
    """Let the time of the log come to each of some stamps; return when the rule fired, and for which time."""
    state: dict[Any, Any] = {}
    engine = Engine(rules, state)
    found = []
    for number, stamp in enumerate(stamps):
        if number in crashes:
            engine = Engine(rules, dict(state))
        decision = engine.step(Logged(number + 1, stamp, _tick(stamp)))
        state.update(decision.changed)
        found += [(order.created, order.occurred) for order in decision.orders]
    return found


def _expected(times: list[datetime], stamps: list[datetime]) -> list[tuple[datetime, datetime]]:
    """Return the same from all times of the clock: at each stamp the last one since the stamp before."""
    found = []
    for before, stamp in pairwise(stamps):
        since = [one for one in times if before < one <= stamp]
        found += [(stamp, since[-1])] if since else []
    return found


def _minutes(begin: datetime, end: datetime) -> Iterator[datetime]:
    minute = begin.replace(second=0, microsecond=0)
    while minute <= end:
        yield minute
        minute += timedelta(minutes=1)


def _daily(hour: int, minute: int, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Return the first minute of each day at which the clock on the wall shows that time or a later one."""
    first: dict[date, datetime] = {}
    for one in _minutes(begin - timedelta(days=2), end):
        local = one.astimezone(zone)
        if (local.hour, local.minute) >= (hour, minute):
            first.setdefault(local.date(), one)
    return sorted(first.values())[1:]  # the first day is not seen from its beginning


_zones = st.sampled_from(ZONES)
_walks = st.lists(st.sampled_from([1, 59, 60, 600, 1800, 3599, 3600, 7200, 30_000, 86_400]), min_size=1, max_size=25)
_crashes = st.sets(st.integers(1, 25), max_size=5)


_SPOKEN = {"heard": Origin.LIVE, "own": Origin.BRIDGE, "asked": Origin.RESYNC}


def _stamps(zone: str, which: int, begin: int, steps: list[int]) -> list[datetime]:
    days = _CHANGES.get(zone, [date(2026, 2, 27), date(2026, 12, 31)])
    now = datetime.combine(days[which % len(days)], datetime.min.time(), UTC) + timedelta(seconds=begin)
    stamps = [now]
    for step in steps:
        stamps.append(stamps[-1] + timedelta(seconds=step))
    return [one for one in stamps if one - stamps[0] < timedelta(days=4)]


@_some
@given(_zones, st.integers(0, 1), st.integers(0, 86_400), _walks, _crashes, st.integers(0, 4), st.sampled_from([0, 30]))
def test_a_time_of_day_is_when_the_wall_clock_first_shows_it(
    zone: str, which: int, begin: int, steps: list[int], crashes: set[int], hour: int, minute: int
) -> None:
    """On the days on which the clocks change too, as `at` and as a cron expression."""
    stamps = _stamps(zone, which, begin, steps)
    expected = _expected(_daily(hour, minute, ZoneInfo(zone), stamps[0], stamps[-1]), stamps)
    for when in (f'{{at: "{hour:02}:{minute:02}"}}', f'{{every: "{minute} {hour} * * *"}}'):
        assert _rung(_rules(when, zone), stamps, crashes) == expected


@_some
@given(_zones, st.integers(0, 1), st.integers(0, 86_400), _walks, _crashes, st.sampled_from([1, 7, 20, 30]))
def test_steps_of_minutes_follow_the_wall_clock(
    zone: str, which: int, begin: int, steps: list[int], crashes: set[int], every: int
) -> None:
    """In an hour that comes twice in both passes."""
    stamps = _stamps(zone, which, begin, steps)
    shown = [one for one in _minutes(stamps[0], stamps[-1]) if one.astimezone(ZoneInfo(zone)).minute % every == 0]
    assert _rung(_rules(f'{{every: "*/{every} * * * *"}}', zone), stamps, crashes) == _expected(shown, stamps)


@_some
@given(_zones, st.integers(0, 1), st.integers(0, 86_400), _walks, _crashes, st.sampled_from([-90, -15, 0, 20]))
def test_the_sun_sets_once_a_day(
    zone: str, which: int, begin: int, steps: list[int], crashes: set[int], minutes: int
) -> None:
    """And so many minutes before or after it."""
    stamps = _stamps(zone, which, begin, steps)
    days = [stamps[0].date() + timedelta(days=number) for number in range(-2, 7)]
    place = Observer(47.0, 8.0)
    sets = [sunset(place, date=day, tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(microsecond=0) for day in days]
    times = sorted(one + timedelta(minutes=minutes) for one in sets)
    offset = "" if not minutes else f"{minutes:+}m"
    assert _rung(_rules(f"{{at: sunset{offset}}}", zone), stamps, crashes) == _expected(times, stamps)


@_some
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 200, 500, 1000, 3000, 9000, 10_000, 10_500, 11_000, 30_000]),
            st.sampled_from(["heard", "own", "asked", "tick", "due"]),
        ),
        max_size=30,
    ),
    _crashes,
    st.booleans(),
)
def test_silence_is_told_once_and_never_early(steps: list[tuple[int, str]], crashes: set[int], named: bool) -> None:
    """Not before the span is over since it was last heard; at most a second later than that, when the log goes on."""
    rules = _rules("{silent: {kind: motion.started}, for: 10s}" if named else "{silent: nvr1, for: 10s}", "UTC")
    state: dict[Any, Any] = {}
    engine = Engine(rules, state)
    now, heard, told = 0, 0, False  # milliseconds
    settling: int | None = None
    for number, (gap, what) in enumerate([(0, "tick"), *steps]):
        if number in crashes:
            engine = Engine(rules, dict(state))
        now += gap
        if what == "due" and engine.next_due is not None:
            now = max(now, (engine.next_due - START) // timedelta(milliseconds=1))
        stamp = START + timedelta(milliseconds=now)
        one = event("motion.started", time=stamp, origin=_SPOKEN[what]) if what in _SPOKEN else _tick(stamp)
        decision = engine.step(Logged(number + 1, stamp, one))
        state.update(decision.changed)
        fired = bool(decision.orders)
        assert not (fired and (told or now < heard + 10_000))
        overdue = not told and now >= heard + 11_000
        if overdue and not fired:  # nobody was there when it was due: it waits for news about that
            assert settling is not None or now > heard + 15_000
            assert settling is None or now < settling + 5000
            settling = now if settling is None else settling
        told = told or fired
        if what == "heard" or (what == "own" and named):
            heard, told, settling = now, False, None
