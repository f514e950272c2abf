"""Holidays: how files name them, and what windows make of them."""

from __future__ import annotations

import calendar
import itertools
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sdk import Known, RuleCompileError
from rules.compiler import compile_rules
from rules.holidays import LAST_YEAR, MAX_EVENTS, MAX_SERIES, days_of, read_holidays
from rules.load import load_documents
from rules.ruleset import Documents, RuleSet, SiteSettings
from rules.schedules import Place, Window, format_days, parse_days
from rules.trial import run_trials
from tests.rules.support import ACTIONS, START, Run, problems_of, rules_of

BERLIN = SiteSettings("Europe/Berlin", 52.5, 13.4)


def _ics(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\nUID:1\n{event}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{body}END:VCALENDAR\n".replace("\n", "\r\n")


def _in(year: int, text: str, file: str = "h.ics") -> list[str]:
    found = read_holidays(file, text)
    assert found.problems == []
    return [str(day)[5:] for day in sorted(found.days) if day.year == year]


# --- iCalendar -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_line_that_is_folded_inside_a_character_is_read(ends: str, at: int, tmp_path: Path) -> None:
    """RFC 5545 counts bytes, and some calendars cut there; places of mistakes stay where they are in the file."""
    cut = "🎄".encode()
    text = _ics("DTSTART:20261224\nSUMMARY:@", "DTSTART:20261301").replace("\r\n", ends).encode()
    content = text.replace(b"@", cut[:at] + ends.encode() + b" " + cut[at:])
    tmp_path.joinpath("h.ics").write_bytes(content)
    tmp_path.joinpath("r.yaml").write_text("holidays: h.ics\n")
    documents = load_documents([tmp_path / "r.yaml"], tmp_path)
    assert documents.problems == ()
    found = read_holidays("h.ics", documents.tables["h.ics"])
    assert {date(2026, 12, 24)} == found.days
    assert [problem.line for problem in found.problems] == [9]


@pytest.mark.parametrize(
    ("event", "days"),
    [
        ("DTSTART;VALUE=DATE:20260101", ["01-01"]),
        ("DTSTART:20260101", ["01-01"]),
        ("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227", ["12-25", "12-26"]),
        ("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261225", ["12-25"]),
        ('DTSTART;TZID="a:b":20260101T000000\nDTEND;TZID=x:20260102T000000', ["01-01"]),
        ("DTSTART:20260101\nDURATION:P2D", ["01-01", "01-02"]),
        ("DTSTART:20261230\nDURATION:P1W", ["12-30", "12-31"]),
        ("DTSTART:20260101\nSTATUS:CANCELLED", []),
        ("DTSTART:20260101\nSUMMARY:New\n  Year: it is; really\nSTATUS:CONFIRMED", ["01-01"]),
        ("DTSTART:2026\n 0101", ["01-01"]),
        ("DTSTART:20200101\nRRULE:FREQ=YEARLY", ["01-01"]),
        ("DTSTART:20200101\nRRULE:FREQ=YEARLY;INTERVAL=4", []),
        ("DTSTART:20200101\nRRULE:FREQ=YEARLY;COUNT=6", []),
        ("DTSTART:20200101\nRRULE:FREQ=YEARLY;COUNT=7", ["01-01"]),
        ("DTSTART:20200101\nRRULE:FREQ=YEARLY;UNTIL=20251231T235959Z", []),
        ("DTSTART:20200101\nRRULE:FREQ=YEARLY\nEXDATE;VALUE=DATE:20260101", []),
        ("DTSTART:20200101\nEXDATE:20250101,20260101\nRRULE:FREQ=YEARLY\nRDATE:20260102,20260103", ["01-02", "01-03"]),
        ("DTSTART:20201126\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", ["11-26"]),
        ("DTSTART:20200525\nRRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO", ["05-25"]),
        ("DTSTART:20200525\nRRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=MO;BYSETPOS=-1", ["05-25"]),
        ("DTSTART:20200620\nRRULE:FREQ=YEARLY;BYMONTH=6;BYMONTHDAY=20,21,22,23,24,25,26;BYDAY=SA", ["06-20"]),
        ("DTSTART:20200229\nRRULE:FREQ=YEARLY", []),
        ("DTSTART:20200229\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", ["02-28"]),
    ],
)
def test_an_event_of_whole_days_is_a_holiday(event: str, days: list[str]) -> None:
    """As programs for calendars write them, in 2026."""
    assert _in(2026, _ics(event)) == days


def test_what_has_a_time_of_day_is_no_holiday_and_that_is_said() -> None:
    """A warning with its line, since it may have been meant to be one."""
    found = read_holidays("h.ics", _ics("DTSTART:20260101", "DTSTART:20260102T090000Z"))
    assert found.days == {date(2026, 1, 1)}
    assert [str(one) for one in found.warnings] == ["h.ics:9:1: holidays: it has a time of day: no holiday"]


def test_alarms_and_time_zones_inside_are_passed_over() -> None:
    """Their own DTSTART is none of an event."""
    alarm = "DTSTART:20260101\nBEGIN:VALARM\nDTSTART:20260202\nEND:VALARM"
    zone = "BEGIN:VTIMEZONE\nBEGIN:STANDARD\nDTSTART:19701025T030000\nRRULE:FREQ=DAILY\nEND:STANDARD\nEND:VTIMEZONE\n"
    assert _in(2026, _ics(alarm).replace("VERSION:2.0\r\n", zone)) == ["01-01"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hello", "h.ics:1:1: holidays: not a line of an iCalendar file"),
        ("VERSION:2.0", "h.ics:1:1: holidays: an iCalendar file begins with BEGIN:VCALENDAR"),
        ("BEGIN:VCALENDAR\nEND:VEVENT", "h.ics:2:1: holidays: END:VEVENT ends nothing that was begun"),
        (_ics("DTSTART:20260101")[:-30], "h.ics:3:1: holidays: VEVENT is not ended; the file is cut off"),
        (_ics("DTSTART:20260101", "SUMMARY:x"), "h.ics:7:1: holidays: an event without DTSTART"),
        (_ics("DTSTART:20260231"), "h.ics:3:1: holidays: '20260231' is not a day; write 20261224"),
        (_ics("DTSTART:20260101\nDTEND:20280101"), "from 2026-01-01 it would end before 2028-01-01"),
        (_ics("DTSTART:20260101\nDURATION:PT1H"), "DURATION of a holiday is in days or weeks: P1D"),
        (_ics("DTSTART:20260101\nRECURRENCE-ID:20260101"), "a changed event of a series (RECURRENCE-ID)"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=DAILY"), "RRULE 'FREQ=DAILY': holidays come YEARLY"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;BYEASTER=0"), "holidays come YEARLY, by BYMONTH"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;BYDAY=MO"), "BYMONTH is missing"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;BYMONTH=13"), "'13' is not between 1 and 12"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=1XX"), "'XX' is no day of the week"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;INTERVAL=0"), "'0' is not between 1 and 999"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;COUNT=x"), "'X' is not between 1 and 1000000"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY;INTERVAL=1,2"), "INTERVAL takes one number"),
        (_ics("DTSTART:20260101\nRRULE:FREQ=YEARLY\nRRULE:FREQ=YEARLY"), "more than one RRULE"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_line(text: str, problem: str) -> None:
    """A holiday that is silently missing would open a gate."""
    [found] = read_holidays("h.ics", text).problems
    assert problem in str(found)


def test_files_are_bounded() -> None:
    """Nobody has so many holidays; whoever sends such a file waits for its reader."""
    every = "DTSTART:20260101\nRRULE:FREQ=YEARLY"
    assert read_holidays("h.ics", _ics(*[every] * MAX_SERIES)).problems == []
    [problem] = read_holidays("h.ics", _ics(*[every] * (MAX_SERIES + 2))).problems
    assert "more than 100 events that come again each year" in str(problem)
    [problem] = read_holidays("h.ics", _ics(*["DTSTART:20260101"] * (MAX_EVENTS + 2))).problems
    assert "more than 5000 events" in str(problem)
    [problem] = read_holidays("h.csv", "date\n" + "2026-01-01\n" * (MAX_EVENTS + 2)).problems
    assert "more than 5000 lines" in str(problem)


@st.composite
def _rules(draw: st.DrawFn) -> tuple[date, str]:
    start = draw(st.dates(date(2000, 1, 1), date(2040, 12, 31)))
    parts = ["FREQ=YEARLY"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 4))}")
    if draw(st.booleans()):
        parts.append(f"COUNT={draw(st.integers(1, 30))}")
    elif draw(st.booleans()):
        parts.append(f"UNTIL={draw(st.dates(start, date(2060, 1, 1))):%Y%m%d}")
    if draw(st.booleans()):
        months = draw(st.sets(st.integers(1, 12), min_size=1, max_size=3))
        parts.append(f"BYMONTH={','.join(map(str, months))}")
        numbers = draw(st.sets(st.integers(-28, 31).filter(bool), min_size=draw(st.sampled_from([0, 3])), max_size=8))
        if numbers:
            parts.append(f"BYMONTHDAY={','.join(map(str, numbers))}")
        plain = bool(numbers) or draw(st.booleans())  # that library lets no day be both
        place = st.just("") if plain else st.sampled_from(["1", "2", "4", "5", "-1", "-2"])
        days = draw(st.sets(st.tuples(place, st.sampled_from(["MO", "WE", "SA", "SU"])), max_size=2))
        if days:
            parts.append(f"BYDAY={','.join(a + b for a, b in days)}")
        if (numbers or days) and draw(st.booleans()):
            parts.append(f"BYSETPOS={draw(st.integers(-3, 3).filter(bool))}")
    return start, ";".join(parts)


@given(_rules())
@settings(max_examples=100, deadline=None)
def test_what_comes_again_comes_when_another_library_says(rule: tuple[date, str]) -> None:
    """For all that is understood of RRULE."""
    start, text = rule
    found = read_holidays("h.ics", _ics(f"DTSTART:{start:%Y%m%d}\nRRULE:{text}"))
    moments = rrulestr(text, dtstart=datetime.combine(start, datetime.min.time()))
    every = {moment.date() for moment in itertools.takewhile(lambda moment: moment.year <= LAST_YEAR, moments)}
    assert found.problems == []
    assert found.days == every


# --- CSV and dates ---------------------------------------------------------------------------------


def test_a_csv_file_names_dates_spans_and_days_of_every_year() -> None:
    """Whatever else is in its lines."""
    text = "name;date;until\n# a comment\nNew Year;01-01;\n\nBridge;2026-05-15;2026-05-16\nLeap;02-29\n"
    assert _in(2026, text, "h.csv") == ["01-01", "05-15", "05-16"]
    assert _in(2028, text, "h.csv") == ["01-01", "02-29"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("day\n2026-01-01", "h.csv:1:1: holidays: the first line must name the columns: date, and until, name"),
        ("date\n2026-01-01\n2026-13-01", "h.csv:3:1: holidays: '2026-13-01' is not a date"),
        ("date\n1.5.2026", "h.csv:2:1: holidays: '1.5.2026' is not a date"),
        ("name,date\nx,", "h.csv:2:1: holidays: '' is not a date"),
        ("date,until\n01-01,01-02", "`until` goes with dates that have a year"),
        ("date,until\n2026-01-02,2026-01-01", "from 2026-01-02 it would end before"),
        ('date\n"2026', "h.csv:2:1: holidays: not CSV"),
    ],
)
def test_a_line_that_is_no_date_is_an_error(text: str, problem: str) -> None:
    """With its file and line."""
    [found] = read_holidays("h.csv", text).problems
    assert problem in str(found)


def test_a_day_of_every_year_is_there_every_year() -> None:
    """Until the end of the century."""
    assert len(days_of("12-24")) == LAST_YEAR - 1970 + 1
    assert len(days_of("02-29")) == sum(map(calendar.isleap, range(1970, LAST_YEAR + 1)))


# --- days ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "opens"),
    [
        ("holiday", ["holiday on thursday", "holiday on saturday"]),
        ("workday", ["friday"]),
        ("not holiday", ["friday", "sunday"]),
        ("[fri, holidays]", ["friday", "holiday on thursday", "holiday on saturday"]),
        ("[workdays, sun]", ["friday", "sunday"]),
        ("mon-sat", ["friday", "holiday on thursday", "holiday on saturday"]),
        ("[mon-sat, not holiday]", ["friday"]),
        ("mon-sat not holidays", ["friday"]),
    ],
)
def test_days_know_holidays(written: str, opens: list[str]) -> None:
    """By the day on which the window begins."""
    place = Place(ZoneInfo("UTC"), holidays=frozenset({date(2026, 1, 1), date(2026, 12, 26)}))
    days = {"holiday on thursday": date(2026, 1, 1), "friday": date(2026, 1, 2), "sunday": date(2026, 1, 4)}
    days["holiday on saturday"] = date(2026, 12, 26)
    parsed = parse_days(written.strip("[]").split(", ") if "[" in written else written)
    assert sorted(name for name, day in days.items() if place.falls_on(day, parsed)) == sorted(opens)
    assert parse_days(format_days(parsed)) == parsed
    assert Window(days=parsed).needs_holidays == ("day" in written)


@pytest.mark.parametrize("written", ["holiday-fri", "not mon", "hol", "not", "holiday, not holiday"])
def test_days_that_cannot_be_meant_are_refused(written: str) -> None:
    """There is no row of days that a holiday is in."""
    with pytest.raises(ValueError, match=r"is not a day|say nothing"):
        parse_days(written)


# --- in rules --------------------------------------------------------------------------------------

_RULES = """
holidays: [holidays.csv, 12-24, 2026-01-05]
lists: {staff: {plates: staff.csv}}
schedules:
  office: {from: "08:00", to: "18:00", days: workday}
  party: {from: "20:00", to: "04:00", days: holiday}
rules:
  - {id: office, when: {kind: call.started}, during: office, then: [{mqtt: {topic: office}}]}
  - {id: party, when: {kind: call.started}, during: party, then: [{mqtt: {topic: party}}]}
  - {id: staff, when: {kind: plate.read}, match: {plate: {in: staff}}, then: [{open: main-gate}]}
  - {id: morning, when: {at: "07:00", days: [mon-sat, not holiday]}, then: [{mqtt: {topic: morning}}]}
tests:
  - {name: a Friday, at: 2026-01-09T10:00:00, given: [{kind: call.started}], expect: [{mqtt: {topic: office}}]}
  - {name: a Saturday, at: 2026-01-10T10:00:00, given: [{kind: call.started}], expect: []}
  - {name: a Monday that is one, at: 2026-01-05T10:00:00, given: [{kind: call.started}], expect: []}
  - name: the night after it belongs to it
    at: 2026-01-06T03:59:59
    given: [{kind: call.started}, {wait: 1s}, {kind: call.started}]
    expect: [{mqtt: {topic: party}}]
  - name: of every year
    at: 2031-12-24T21:00:00
    given: [{kind: call.started}]
    expect: [{mqtt: {topic: party}}]
  - name: the night in which clocks change
    at: 2026-03-29T01:30:00
    given: [{kind: call.started}, {wait: 89m}, {kind: call.started}]
    expect: [{mqtt: {topic: party}}, {mqtt: {topic: party}}]
  - name: staff works
    at: 2026-01-09T10:00:00
    given: [{kind: plate.read, data: {plate: A}}]
    expect: [{open: main-gate}]
  - {name: staff rests, at: 2026-01-05T10:00:00, given: [{kind: plate.read, data: {plate: A}}], expect: []}
  - name: mornings
    at: 2026-01-03T06:00:00
    given: [{wait: 4d}]
    expect: [{mqtt: {topic: morning}}, {mqtt: {topic: morning}}]
"""
_TABLES = {"holidays": "date,name\n2026-03-28,A Saturday", "staff": "plate,days\nA,workday"}


def test_windows_lists_and_the_clock_know_holidays() -> None:
    """In every place where days can be named; the clock changes inside a holiday's night as in any other."""
    results = run_trials(rules_of(_RULES, site=BERLIN, **_TABLES), ACTIONS)
    assert len(results) == 9
    assert [str(result) for result in results if not result.passed] == []


def test_the_trace_says_that_it_was_a_holiday() -> None:
    """Or one would wonder why the office is closed on a Monday."""
    text = _RULES.replace(
        "given: [{kind: call.started}], expect: []", "given: [{kind: call.started}], expect: [{mqtt: {topic: office}}]"
    )
    results = run_trials(rules_of(text, site=BERLIN, **_TABLES), ACTIONS)
    told = "\n".join(map(str, results))
    assert "during: wanted 08:00-18:00 workday, saw 2026-01-05 10:00:00, a holiday" in told
    assert "during: wanted 08:00-18:00 workday, saw 2026-01-10 10:00:00 (" in told


def test_the_bundle_holds_the_holidays() -> None:
    """So a decision can be repeated with those of its day, and another calendar is another rule set."""
    rules = rules_of(_RULES, site=BERLIN, **_TABLES)
    again = RuleSet.from_bundle(rules.bundle(), ACTIONS)
    assert again.place.holidays == rules.place.holidays
    assert date(2026, 3, 28) in (again.place.holidays or ())
    assert json.loads(rules.bundle())["tables"]["holidays.csv"] == _TABLES["holidays"]
    other = rules_of(_RULES, site=BERLIN, **{**_TABLES, "holidays": "date\n2026-03-29"})
    assert other.hash != rules.hash
    assert [rule.version for rule in other.rules] == [rule.version for rule in rules.rules]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "schedules: {s: {days: workday}}",
            "r.yaml:1:16: schedule s: `holiday` and `workday` need to know which days are",
        ),
        (
            "rules: [{id: r, when: {at: '07:00', days: holiday}, then: [{clip: {}}]}]",
            "`at`: `holiday` and `workday` need",
        ),
        (
            "rules: [{id: r, when: {kind: call.started}, during: {days: not holiday}, then: [{clip: {}}]}]",
            "`during`: `holiday` and `workday` need",
        ),
        ("lists: {staff: {plates: staff.csv}}", "staff.csv: `holiday` and `workday` need to know"),
        ("holidays: 5", "`holidays` is a file or a date, or several; got 5"),
        ("holidays: 2026-02-30", "`holidays`: '2026-02-30' is not a date; write 2026-12-24, or 12-24 for every year"),
        ("holidays: [nothing.ics]", "`holidays`: 'nothing.ics' is no file beside this one"),
        ("holidays: bad.csv", "bad.csv:2:1: holidays: 'soon' is not a date"),
    ],
)
def test_what_is_missing_or_wrong_is_said_at_check_time(text: str, why: str) -> None:
    """With the place."""
    problems = problems_of(text, bad="date\nsoon", staff="plate,days\nA,workday")
    assert any(why in problem for problem in problems), problems


def test_files_of_holidays_are_read_beside_the_rule_file(tmp_path: Path) -> None:
    """And a missing one is told where it is named."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "h.ics").write_text(_ics("DTSTART:20260101"), encoding="utf-8", newline="")
    rules = tmp_path / "rules" / "r.yaml"
    rules.write_text("holidays: [h.ics, 2026-01-02]\n", encoding="utf-8")
    documents = load_documents([rules], tmp_path)
    assert documents.tables.keys() == {"rules/h.ics"}
    compiled = compile_rules(documents, ACTIONS, Known(), SiteSettings())
    assert compiled.place.holidays == {date(2026, 1, 1), date(2026, 1, 2)}
    rules.write_text("holidays: [2026-01-02, gone.ics]\n", encoding="utf-8")
    with pytest.raises(RuleCompileError) as error:
        compile_rules(load_documents([rules], tmp_path), ACTIONS, Known(), SiteSettings())
    [problem] = error.value.problems
    assert str(problem).startswith("rules/r.yaml:1:24: holidays: rules/gone.ics cannot be read")


def test_two_files_name_the_holidays_of_one_site() -> None:
    """They are added up."""
    documents = Documents(
        {"a.yaml": "holidays: 2026-01-01", "b.yaml": "holidays: [2026-01-02, h.ics]"}, {"h.ics": _ics()}
    )
    rules = compile_rules(documents, ACTIONS, Known(), SiteSettings())
    assert rules.place.holidays == {date(2026, 1, 1), date(2026, 1, 2)}


def test_a_holiday_that_becomes_known_moves_the_next_time() -> None:
    """Though the rule is the same and waits already; a restart alone moves nothing."""
    text = "holidays: [%s]\nrules: [{id: r, when: {at: '07:00', days: not holiday}, then: [{mqtt: {topic: x}}]}]"
    run = Run(rules_of(text % "2026-03-01"))
    run.tick(START)
    run.crash()
    run.tick(START + timedelta(hours=1))
    assert run.engine.next_due == datetime(2026, 1, 6, 7, tzinfo=UTC)
    run.rules = rules_of(text % "2026-03-01, 2026-01-06")
    assert not run.keep(run.engine.replace_rules(run.rules)).traces
    run.tick(START + timedelta(hours=2))
    run.crash()
    assert run.engine.next_due == datetime(2026, 1, 7, 7, tzinfo=UTC)
    assert not run.tick(datetime(2026, 1, 6, 7, tzinfo=UTC)).orders
    assert run.tick(datetime(2026, 1, 7, 7, tzinfo=UTC)).orders
