"""One event while it is being decided: what is asked twice is worked out once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bridge.sdk import Logged, StateKey
from rules.fields import field_of
from rules.moment import Moment
from rules.overlay import Overlay
from rules.ruleset import SiteSettings
from rules.schedules import Place
from rules.state import LISTS, Book
from tests.rules.support import START, plate, rules_of

PLACE = rules_of("rules: []", site=SiteSettings("America/New_York", 0.0, 0.0)).place


def _moment(overlay: Overlay | None = None, waited: timedelta = timedelta()) -> Moment:
    one = plate("A", time=START, received=START + timedelta(seconds=2))
    return Moment(Logged(7, START + timedelta(seconds=90), one), PLACE, waited, overlay)


class Asked:
    """A test, or a schedule, that counts how often it is asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def holds(self, moment: Moment) -> bool:
        self.asked.append(moment)
        return self.answer

    def open_at(self, clock: datetime, place: Place) -> bool:
        self.asked.append((clock, place))
        return self.answer


def test_what_is_asked_twice_is_worked_out_once() -> None:
    """Whether the answer is yes or no."""
    moment = _moment()
    for answer in (True, False):
        test: Any = Asked(answer)
        assert [moment.holds(test), moment.holds(test), test.asked] == [answer, answer, [moment]]
        schedule: Any = Asked(answer)
        assert [moment.is_open(schedule), moment.is_open(schedule)] == [answer, answer]
        assert schedule.asked == [(datetime(2026, 1, 5, 7, 0), PLACE)]  # noqa: DTZ001 - a wall clock
    field = field_of("plate.read", "plate")
    assert [moment.value(field), moment.value(field)] == ["A", "A"]
    assert moment.value(field_of("plate.read", "lot.entrance")) is None


def test_time_that_the_rule_waits_makes_it_later_and_not_older() -> None:
    """By the clock of the site; its age counts from when it happened."""
    assert (_moment().age, _moment().clock.hour) == (timedelta(seconds=90), 7)
    waited = _moment(waited=timedelta(seconds=60))
    assert (waited.age, waited.clock) == (timedelta(seconds=30), datetime(2026, 1, 5, 7, 1))  # noqa: DTZ001
    assert PLACE.zone == ZoneInfo("America/New_York")


def test_what_was_changed_of_a_list_at_run_time() -> None:
    """By name, at the time of the event and of what the rule waits; without changes the file counts."""
    until = (START + timedelta(seconds=60)).isoformat()
    ends = (START + timedelta(seconds=91)).isoformat()
    value = {"version": "1", "listed": True, "from": START.isoformat(), "ends": ends, "tags": ["staff"]}
    keys = {StateKey(f"{LISTS}x", "12AB345"): value, StateKey(f"{LISTS}x", "99ZZ999"): {**value, "from": until}}
    moment = _moment(Overlay(Book(keys)))
    assert [moment.changed(name, "12AB345", tag) for name, tag in (("x", None), ("x", "staff"), ("x", "boss"))] == [
        True,
        True,
        False,
    ]
    assert [moment.changed("x", "B", None), moment.changed("y", "12AB345", None)] == [None, None]
    assert moment.changed("x", "99ZZ999", None) is False
    waited = _moment(Overlay(Book(keys)), timedelta(seconds=60))
    assert waited.changed("x", "99ZZ999", None) is True
    assert moment.like("x", "12AB346", 1) == ["12AB345"]
    assert (moment.like("x", "12AB346", 0), moment.like("y", "12AB345", 1)) == ([], [])
    assert (_moment().changed("x", "12AB345", None), _moment().like("x", "12AB345", 1)) == (None, [])
