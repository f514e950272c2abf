"""Lists of plates: validity, tags, and mistakes in CSV files with their lines."""

from __future__ import annotations

import gc
import sys
from datetime import datetime
from textwrap import dedent
from zoneinfo import ZoneInfo

import pytest

from bridge.sdk import Logged
from rules.lists import ValueList, plain_list, read_csv
from rules.moment import Moment
from rules.schedules import Place
from tests.rules.support import START, plate, problems_of

PLACE = Place(ZoneInfo("Europe/Berlin"))


class _When:
    place = PLACE

    def __init__(self, clock: str) -> None:
        self.clock = datetime.fromisoformat(clock)

    def changed(self, name: str, value: str, tag: str | None) -> bool | None:
        return None


def _read(text: str) -> ValueList:
    found, problems = read_csv("l", "l.csv", dedent(text))
    assert problems == []
    return found


def _has(found: ValueList, value: str, clock: str = "2026-01-05T12:00:00", tag: str | None = None) -> bool:
    return found.has(value, _When(clock), tag)


def test_plates_are_compared_in_canonical_form() -> None:
    """However they are written in the file."""
    found = _read("plate\n 12-ab 345 \n서울 12가 3456\nＡＢ１\n\n# a comment\n")
    assert all(_has(found, value) for value in ("12AB345", "서울12가3456", "AB1"))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("clock", "valid"),
    [
        ("2026-01-31T23:59:59", False),
        ("2026-02-01T00:00:00", True),
        ("2026-02-28T23:59:59", True),
        ("2026-03-01T00:00:00", False),
    ],
)
def test_validity_includes_both_days(clock: str, valid: bool) -> None:
    """From the first moment of the first day to the last of the last, by the wall clock."""
    assert _has(_read("plate,valid_from,valid_until\nA,2026-02-01,2026-02-28\n"), "A", clock) is valid


def test_validity_may_have_times_and_only_one_end() -> None:
    """An hour is enough, and an open end is for ever."""
    found = _read("plate,valid_from,valid_until\nA,2026-02-01 18:00,\nB,,2026-02-01T18:00\n")
    assert not _has(found, "A", "2026-02-01T17:59")
    assert _has(found, "A", "2099-01-01T00:00")
    assert _has(found, "B", "2026-02-01T17:59")
    assert not _has(found, "B", "2026-02-01T18:00")


def test_days_and_hours() -> None:
    """Hours that cross midnight belong to the day on which they start."""
    found = _read("plate,days,hours\nA,mon-fri,22:00-06:00\nB,sat sun,\nC,,08:00-18:00\n")
    assert _has(found, "A", "2026-01-10T03:00")  # Saturday morning, Friday's night
    assert not _has(found, "A", "2026-01-10T23:00")
    assert [_has(found, "B", f"2026-01-{day:02}T12:00") for day in (9, 10, 11, 12)] == [False, True, True, False]
    assert _has(found, "C", "2026-01-10T08:00")
    assert not _has(found, "C", "2026-01-10T18:00")


def test_a_plate_may_have_several_lines() -> None:
    """One of them must hold, with its own tag."""
    found = _read("plate;days;tags\nA;mon;early\nA;tue;late|night\n")
    assert _has(found, "A", "2026-01-05T12:00", "early")
    assert not _has(found, "A", "2026-01-05T12:00", "night")
    assert _has(found, "A", "2026-01-06T12:00", "night")
    assert found.tags == {"early", "late", "night"}


MISTAKES = """\
plate,valid_from,valid_until,days,hours,tags
A,2026-13-01,,,,
B,,01.02.2026,,,
C,2026-02-02,2026-02-01,,,
D,,,monn,,
E,,,,8-18,
,2026-01-01,,,,
F,,,,,x,y
G,2026-01-01T00:00:00+01:00,,,,
H,,,,,ok
I,,,,18:00-18:00,
,,,,,
"J, ""the"" other",,,"mon,
xyz",,
"""


def test_every_mistake_in_a_csv_file_has_its_place() -> None:
    """Line and column of the value, all at once; the good lines count."""
    found, problems = read_csv("l", "l.csv", MISTAKES)
    assert [str(problem) for problem in problems] == [
        "l.csv:2:3: `valid_from`: '2026-13-01' is not a date; write 2026-01-31 or 2026-01-31 18:00",
        "l.csv:3:4: `valid_until`: '01.02.2026' is not a date; write 2026-01-31 or 2026-01-31 18:00",
        "l.csv:4:14: `valid_until` is before `valid_from`: it would never count",
        "l.csv:5:5: `days`: 'monn' is not a day; write mon, or mon-fri, or [sat, sun]",
        "l.csv:6:6: `hours`: '8-18' are no hours; write 08:00-18:00",
        "l.csv:7:1: `plate` is empty",
        "l.csv:8:9: 7 values for 6 columns",
        "l.csv:9:3: `valid_from`: '2026-01-01T00:00:00+01:00' names a zone; lists are read by the site's wall clock",
        "l.csv:11:6: `hours`: '18:00-18:00' are no hours; write 08:00-18:00",
        "l.csv:12:1: `plate` is empty",
        "l.csv:13:22: `days`: 'xyz' is not a day; write mon, or mon-fri, or [sat, sun]",
    ]
    assert _has(found, "H")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "l.csv:1:1: the first line must name the columns, `plate` among them"),
        ("kennzeichen\nA\n", "l.csv:1:1: the first line must name the columns, `plate` among them"),
        ("plate,tag\nA,x\n", "l.csv:1:7: unknown key `tag`; did you mean `tags`?"),
        ("plate,plate\nA,B\n", "l.csv:1:7: `plate` is here twice"),
        ('plate\n"A\n', "l.csv:2:1: not CSV: unexpected end of data"),
        ("plate\n" + "A" * 200_000, "l.csv:2:1: not CSV: field larger than field limit (131072)"),
    ],
    ids=["empty", "no plate", "column", "twice", "quote", "huge"],
)
def test_a_csv_file_that_is_none_says_so(text: str, problem: str) -> None:
    """With the line, and without reading on for ever."""
    _, problems = read_csv("l", "l.csv", text)
    assert str(problems[0]).startswith(problem)


def test_a_file_full_of_mistakes_does_not_fill_the_screen() -> None:
    """After fifty it is said that there are more."""
    _, problems = read_csv("l", "l.csv", "plate,days\n" + "A,x\n" * 10_000)
    assert len(problems) == 51
    assert "more problems than are shown" in problems[-1].message


def test_mistakes_of_a_list_are_problems_of_the_rule_set() -> None:
    """A bad line stops the file that names the list: a resident who is not let in is no detail."""
    assert problems_of("lists: {l: {plates: l.csv}}\n", l="plate,days\nA,x\n") == [
        "l.csv:2:3: list l: `days`: 'x' is not a day; write mon, or mon-fri, or [sat, sun]"
    ]


def _steps(found: ValueList, value: str) -> int:
    """Return how many calls it takes to look a value up that is there."""
    moment, steps = Moment(Logged(1, START, plate()), PLACE), 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    assert found.has(value, moment)  # what is worked out once is, from here on
    gc.disable()  # who watches the collector would be counted
    sys.setprofile(count)
    try:
        found.has(value, moment)
    finally:
        sys.setprofile(None)
        gc.enable()
    return steps


def test_a_plate_is_looked_up_in_as_many_steps_among_a_hundred_thousand_as_among_ten() -> None:
    """The length of a list does not matter."""

    def made(count: int) -> ValueList:
        return _read("plate,valid_until\n" + "".join(f"P{n:06},2027-01-01\n" for n in range(count)))

    few, many = made(10), made(100_000)
    assert _steps(few, "P000009") == _steps(many, "P000009") == _steps(many, "P099999")


def test_a_plain_list_is_always_valid() -> None:
    """Written in the rule file: no dates, no tags."""
    assert _has(plain_list("l", ["a-1"], plates=True), "A1")
    assert not _has(plain_list("l", ["a-1"], plates=False), "A1")
    assert _has(plain_list("l", ["a-1"], plates=False), "a-1")
    assert not _has(plain_list("l", ["A"], plates=True), "A", tag="x")
