"""The clock itself: so often by a cron expression, or at a time of day or of the sun.

Read off the wall clock of a zone. Times that the change to summer time skips come once, when the clock
jumps; of an hour that comes twice the first pass counts. A cron expression whose minute or hour begins
with `*` goes by the hours as they pass: what is skipped is left out, what comes twice counts twice.
What was missed while nobody ran is made up for once, by the last of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim

from bridge.sdk import stable_id
from rules.moment import Moment
from rules.patterns.base import Fire, Memory, Now, Reaction
from rules.patterns.silent import tick
from rules.schedules import ALL_DAYS, Place, Point, need_holidays

_TIMER = "next"
_SEARCH_DAYS = 400
_CATCH_UP = 10_000
"""Times that were missed and are counted one by one; of more, the last is found by searching back."""
_TRIED_FROM, _TRIED_FOR = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=366)
"""From when on and for how long times are tried beforehand."""
_ENOUGH = 60
"""So many at least: what comes once a year falls on each weekday within 28 years."""
_RARE, _FEW = timedelta(hours=20), 10
"""Times that come more often than that, on average of so many, are not."""
_STEP_BACK = timedelta(minutes=1)
"""So far at first, then twice as far, and so on."""


class Times(Protocol):
    """When the clock rings."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time after this one, UTC; None if there is none."""
        ...

    @property
    def memory(self) -> Memory:
        """What is remembered with a time that is waited for: that it is, and what it was found by."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """By a cron expression in a zone."""

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time after this one."""
        begin = moment.astimezone(UTC if self.zone.key == "UTC" else self.zone)
        # In the second pass of an hour that comes twice the library finds the first pass again.
        return next((found for one in CronSim(self.expression, begin) if (found := one.astimezone(UTC)) > moment), None)

    @property
    def memory(self) -> Memory:
        """Return that it is waited for, and in which zone."""
        return {"waits": True, "by": self.zone.key}


@dataclass(frozen=True, slots=True)
class Daily:
    """At times of the day, on some days."""

    points: tuple[Point, ...]
    place: Place
    days: frozenset[int] = ALL_DAYS

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time after this one."""
        return min((found for point in self.points if (found := self._next(point, moment))), default=None)

    @property
    def memory(self) -> Memory:
        """Return that it is waited for, and by what: another zone, place or other holidays may move the next time."""
        found = [self.place.zone.key]
        if any(point.sun is not None for point in self.points):
            found += map(str, (self.place.latitude, self.place.longitude, self.place.sun))
        if need_holidays(self.days):
            found += sorted(map(str, self.place.holidays or ()))
        return {"waits": True, "by": stable_id(*found)}

    def _next(self, point: Point, moment: datetime) -> datetime | None:
        today = moment.astimezone(self.place.zone).date()
        for ahead in range(-1, _SEARCH_DAYS):
            day = today + timedelta(days=ahead)
            if self.place.falls_on(day, self.days):
                found = self.place.moment_of(day, point)
                if found is not None and found > moment:
                    return found
        return None


@dataclass(frozen=True, slots=True)
class Rings:
    """Fires whenever the clock rings."""

    times: Times
    name: str
    site: str

    def begin(self, stamp: datetime) -> Mapping[str, Reaction]:
        """Wait for the first time."""
        due = self.times.after(stamp)
        return {"": Reaction(self.times.memory, {_TIMER: due} if due else {})}

    def waits(self, memory: Memory) -> bool:
        """Tell whether it waits already, for a time that is right by the zone and holidays that are known now."""
        return memory == self.times.memory

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Nothing but the clock matters."""
        return Reaction(memory)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Fire, for the last time that is due by now, and wait for the next."""
        due, following = at, self.times.after(at)
        for _ in range(_CATCH_UP):
            if following is None or following > now.stamp:
                break
            due, following = following, self.times.after(following)
        else:
            due, following = self._last(now.stamp), self.times.after(now.stamp)
        event = tick(self.name, now.key, due, f"{self.site}/bridge")
        return Reaction(self.times.memory, {_TIMER: following} if following else {}, Fire((event.id,), event))

    def never(self, holds: Callable[[datetime], bool], most: int) -> tuple[bool, int]:
        """Tell whether it certainly never rings while something holds, as far as more than a year can show.

        At most so many of its times are looked at; how many were is told too.
        """
        moment = _TRIED_FROM
        for number in range(1, most + 1):
            following = self.times.after(moment)
            if following is None or holds(following):
                return False, number
            moment, tried = following, following - _TRIED_FROM
            if number == _FEW and tried < _FEW * _RARE:
                return False, number
            if number >= _ENOUGH and tried > _TRIED_FOR:
                return True, number
        return False, most

    def _last(self, stamp: datetime) -> datetime:
        """Return the last time up to a stamp. There is one: many were missed."""
        back = _STEP_BACK
        while (found := self.times.after(stamp - back)) is None or found > stamp:
            back *= 2
        while (following := self.times.after(found)) is not None and following <= stamp:
            found = following
        return found
