"""When a rule may act: local times, days of the week, the sun. Pure: a moment in, yes or no out.

A schedule is read off the wall clock of the site. A window that crosses midnight belongs to the day
on which it starts, holiday or not. In the hour that a daylight-saving change repeats both passes count,
and of the hour it skips nothing is left to count. Where the sun does not set, sunrise is the start of
the day and sunset its end; where it does not rise, both are noon: so `sunset` to `sunrise` is never, or
all day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from astral import Observer
from astral.sun import elevation, noon, sunrise, sunset

from bridge.sdk import format_duration, parse_duration

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORDS = {"holiday": 7, "holidays": 7, "workday": 8, "workdays": 8, "!holiday": 9, "!holidays": 9}
HOLIDAY, WORKDAY, NO_HOLIDAY = 7, 8, 9
"""Among days of the week: the site's holidays; Monday to Friday without them; the other days only if they are none."""
ALL_DAYS = frozenset(range(7))
_SHOWN = (*_DAYS, "holiday", "workday", "not holiday")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00")
_SUN = re.compile(r"(sunrise|sunset)(?:\s*([+-])\s*(\S+))?")
_NOMINAL = {"sunrise": timedelta(hours=6), "sunset": timedelta(hours=18)}
"""What the sun's times count as when it is decided whether a window crosses midnight."""
_CACHED_DAYS = 512


class Sun(StrEnum):
    """The two times of day that are not on the clock."""

    RISE = "sunrise"
    SET = "sunset"


@dataclass(frozen=True, slots=True)
class Point:
    """A time of day: so long after midnight, or after (before, if negative) sunrise or sunset."""

    offset: timedelta
    sun: Sun | None = None

    @property
    def nominal(self) -> timedelta:
        """Where it lies on an ordinary day."""
        return self.offset + (_NOMINAL[self.sun] if self.sun else timedelta())

    def __str__(self) -> str:
        if self.sun is None:
            minutes, seconds = divmod(int(self.offset.total_seconds()), 60)
            return f"{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
        if not self.offset:
            return str(self.sun)
        return f"{self.sun}{'-' if self.offset < timedelta() else '+'}{format_duration(abs(self.offset))}"


def parse_point(value: Any) -> Point:
    """Read `22:00`, `24:00`, `sunset`, `sunrise+1h`. Raises ValueError that says how to write one."""
    if isinstance(value, Point):
        return value
    if isinstance(value, str):
        if clock := _CLOCK.fullmatch(value):
            if value == "24:00":
                return Point(timedelta(days=1))
            return Point(timedelta(hours=int(clock[1]), minutes=int(clock[2]), seconds=int(clock[3] or 0)))
        if sun := _SUN.fullmatch(value):
            offset = parse_duration(sun[3]) if sun[3] else timedelta()
            if offset > timedelta(hours=12):
                raise ValueError(f"{value!r} is more than 12 hours away from {sun[1]}")
            return Point(-offset if sun[2] == "-" else offset, Sun(sun[1]))
    raise ValueError(f'{value!r} is not a time of day; write "22:00", sunset or sunrise+30m')


def parse_days(value: Any) -> frozenset[int]:
    """Read `mon-fri`, `sat sun`, `[mon, holiday]`, `not holiday`; Monday is 0. Raises ValueError that says how."""
    items = value if isinstance(value, (list, tuple)) else [value]
    days: set[int] = set()
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise ValueError(f"{item!r} is not a day; write mon, or mon-fri, or [sat, sun]")
        text = re.sub(r"\bnot\s+(?=holiday)", "!", re.sub(r"\s*-\s*", "-", item.strip().lower()))
        for part in re.split(r"[,;\s]+", text):
            days |= {_WORDS[part]} if part in _WORDS else _days_of(part)
    if days >= {HOLIDAY, NO_HOLIDAY}:
        raise ValueError("`holiday` and `not holiday` together say nothing; leave both out")
    return frozenset(days) | ALL_DAYS if days == {NO_HOLIDAY} else frozenset(days)


def _days_of(part: str) -> set[int]:
    first, dash, last = part.partition("-")
    ends = [_day(first), _day(last) if dash else _day(first)]
    if None in ends:
        raise ValueError(f"{part!r} is not a day; write mon, or mon-fri, or [sat, sun]")
    start, end = (day or 0 for day in ends)
    return {(start + step) % 7 for step in range((end - start) % 7 + 1)}


def _day(name: str) -> int | None:
    fits = (number for number, full in enumerate(_NAMES) if len(name) >= 3 and full.startswith(name))
    return next(fits, None)


def format_days(days: Iterable[int]) -> str:
    """Return days as text: `mon tue`."""
    return " ".join(_SHOWN[day] for day in sorted(days))


def need_holidays(days: Iterable[int]) -> bool:
    """Tell whether one must know the site's holidays to tell these days."""
    return not ALL_DAYS.issuperset(days)


@dataclass(frozen=True, slots=True)
class Window:
    """A span of a day, on some days of the week. Without times: the whole day."""

    start: Point = Point(timedelta())
    end: Point = Point(timedelta(days=1))
    days: frozenset[int] = ALL_DAYS

    @property
    def crosses(self) -> bool:
        """It ends on the day after the one it starts on."""
        return self.end.nominal <= self.start.nominal

    @property
    def needs_sun(self) -> bool:
        """It cannot be told without knowing where the site is."""
        return self.start.sun is not None or self.end.sun is not None

    @property
    def needs_holidays(self) -> bool:
        """It cannot be told without knowing the site's holidays."""
        return need_holidays(self.days)

    def __str__(self) -> str:
        days = "" if self.days == ALL_DAYS else f" {format_days(self.days)}"
        return f"{self.start}-{self.end}{days}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where and in which zone the site is."""

    zone: ZoneInfo
    latitude: float | None = None
    longitude: float | None = None
    holidays: frozenset[date] | None = None
    """None if nobody has said which days are."""
    sun: tuple[timedelta, timedelta] | None = None
    """When it rises and sets by the clock, every day, where that is not to be computed."""
    _known: dict[tuple[date, Sun], datetime] = field(default_factory=dict, compare=False, repr=False)

    @property
    def knows_sun(self) -> bool:
        """The sun can be computed here."""
        return self.sun is not None or (self.latitude is not None and self.longitude is not None)

    def falls_on(self, day: date, days: frozenset[int]) -> bool:
        """Tell whether a day is one of these."""
        if self.holidays is not None and day in self.holidays:
            return HOLIDAY in days or (NO_HOLIDAY not in days and day.weekday() in days)
        return day.weekday() in days or (WORKDAY in days and day.weekday() < 5)

    def lacks(self, *, sun: bool, holidays: bool) -> str | None:
        """Return what must be said about the site before such times and days can be told; None if all is known."""
        if sun and not self.knows_sun:
            return "sunrise and sunset need the site's `latitude` and `longitude` in bridge.yaml"
        if holidays and self.holidays is None:
            return "`holiday` and `workday` need to know which days are: `holidays: holidays.ics` beside `schedules`"
        return None

    def on_clock(self, day: date, point: Point) -> datetime:
        """Return what the wall clock shows at that point of the day; naive, as clocks are."""
        if point.sun is None:
            return datetime.combine(day, time()) + point.offset
        found = self._known.get((day, point.sun))
        if found is None:
            if len(self._known) >= _CACHED_DAYS:
                self._known.clear()
            found = self._known[day, point.sun] = self._compute(day, point.sun)
        return found + point.offset

    def moment_of(self, day: date, point: Point) -> datetime | None:
        """Return when that point of the day is, UTC; None where the sun does not rise or set on it.

        A time that the clocks skip is when they jump; of one that comes twice it is the first.
        """
        if point.sun is None:
            local = (datetime.combine(day, time()) + point.offset).replace(tzinfo=self.zone)
            while local.astimezone(UTC).astimezone(self.zone) != local:
                local = local.replace(second=0) + timedelta(minutes=1)
            return local.astimezone(UTC)
        if self.sun is not None:
            found = self.moment_of(day, Point(self.sun[point.sun is Sun.SET]))
            return found + point.offset if found is not None else None
        compute = sunrise if point.sun is Sun.RISE else sunset
        try:
            found = compute(Observer(self.latitude or 0.0, self.longitude or 0.0), date=day, tzinfo=self.zone)
        except ValueError:
            return None
        return found.astimezone(UTC).replace(microsecond=0) + point.offset

    def _compute(self, day: date, sun: Sun) -> datetime:
        if self.sun is not None:
            return datetime.combine(day, time()) + self.sun[sun is Sun.SET]
        observer = Observer(self.latitude or 0.0, self.longitude or 0.0)
        try:
            compute = sunrise if sun is Sun.RISE else sunset
            return compute(observer, date=day, tzinfo=self.zone).replace(tzinfo=None, microsecond=0)
        except ValueError:
            midnight = datetime.combine(day, time())
            if elevation(observer, noon(observer, date=day, tzinfo=self.zone)) < 0:
                return midnight + timedelta(hours=12)
            return midnight if sun is Sun.RISE else midnight + timedelta(days=1)


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Open in any of its windows; or, if `negated`, outside all of them. One named in a file is one object."""

    windows: tuple[Window, ...]
    negated: bool = False

    def open_at(self, clock: datetime, place: Place) -> bool:
        """Tell whether it is open when the site's wall clock shows this. `clock` is naive."""
        return self.negated != any(_inside(window, clock, place) for window in self.windows)

    @property
    def needs_sun(self) -> bool:
        """It cannot be told without knowing where the site is."""
        return any(window.needs_sun for window in self.windows)

    @property
    def needs_holidays(self) -> bool:
        """It cannot be told without knowing the site's holidays."""
        return any(window.needs_holidays for window in self.windows)

    def lacks(self, place: Place) -> str | None:
        """Return what must be said about the site before this can be told; None if all is known."""
        return place.lacks(sun=self.needs_sun, holidays=self.needs_holidays)

    def __str__(self) -> str:
        return ("not " if self.negated else "") + ", ".join(map(str, self.windows))


def _inside(window: Window, clock: datetime, place: Place) -> bool:
    today = clock.date()
    # A point a little after midnight (sunset+6h in a northern June) may lie on the day after its own.
    for day in (today, today - timedelta(days=1)):
        if place.falls_on(day, window.days):
            last = day + timedelta(days=1) if window.crosses else day
            if place.on_clock(day, window.start) <= clock < place.on_clock(last, window.end):
                return True
    return False
