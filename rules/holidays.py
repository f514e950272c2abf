"""The site's holidays: from an iCalendar or CSV file, or written out, to dates. Text in, dates and problems out.

Of iCalendar (RFC 5545) it reads what calendars of holidays are made of: events of whole days, with their
span, cancelled or not, with dates added and taken out, and those that come again each year by day of the
month (`BYMONTHDAY`), by day of the week (`BYDAY=4TH`) or the so-manyeth of these (`BYSETPOS`). Any other way
of repeating is an error and not a holiday that is missing one day. Events with a time of day are no holidays.
"""

from __future__ import annotations

import calendar
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from bridge.sdk import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_EVENTS = 5000
"""Of one file."""
MAX_SERIES = 100
"""Of them that come again each year: every year of each is looked at."""
MAX_SPAN = timedelta(days=366)
LAST_YEAR = 2099
"""What comes again each year does so until then."""
_FIRST_YEAR = 1970
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_RULE_PARTS = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS", "WKST"})
_READ = frozenset({"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "STATUS"})
"""Of an event; what it is called does not matter here."""
_LINE = re.compile(r'([A-Za-z0-9-]+)((?:;[^":;]*(?:"[^"]*"[^":;]*)*)*):(.*)', re.DOTALL)
_ICS_DAY = re.compile(r"(\d{8})(?:T000000)?")
_CSV_DAY = re.compile(r"(?:\d{4}-)?\d{2}-\d{2}")
_SPAN = re.compile(r"P(?:(\d{1,3})D|(\d{1,2})W)(?:T0[HMS])?")


@dataclass
class Found:
    """What a file says. `warnings`: what is in it and counts for nothing."""

    days: set[date] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def read_holidays(file: str, text: str) -> Found:
    """Return the holidays in a file; an iCalendar or a CSV file by its name."""
    return (_read_ics if file.lower().endswith(".ics") else _read_csv)(file, text.removeprefix("\ufeff"))


def is_date(text: str) -> bool:
    """Tell whether this is meant to be a date, and no file."""
    return _CSV_DAY.fullmatch(text) is not None


def days_of(text: str) -> set[date]:
    """Return the days that `2026-12-24`, or `12-24` for every year, stands for. Raises ValueError that says how."""
    try:
        if len(text) == len("12-24"):
            month, day = (int(part) for part in text.split("-"))
            date(2024, month, day)
            return {date(year, month, day) for year in _years() if day <= calendar.monthrange(year, month)[1]}
        return {date.fromisoformat(text)}
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write 2026-12-24, or 12-24 for every year") from None


def _years() -> range:
    return range(_FIRST_YEAR, LAST_YEAR + 1)


# --- CSV -------------------------------------------------------------------------------------------


def _read_csv(file: str, text: str) -> Found:
    """Read a file whose first line names its columns: `date`, and for a row of days `until`; others are for people."""
    found = Found()

    def say(line: int, message: str) -> None:
        found.problems.append(Problem(file, line, 1, "holidays", message))

    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        if "date" not in header:
            say(1, "the first line must name the columns: date, and until, name")
            return found
        for number, row in enumerate(rows):
            if number >= MAX_EVENTS:
                say(rows.line_num, f"more than {MAX_EVENTS} lines")
                break
            cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
            if any(cells.values()) and not row[0].lstrip().startswith("#"):
                try:
                    found.days |= _csv_days(cells)
                except ValueError as error:
                    say(rows.line_num, str(error))
    except csv.Error as error:
        say(max(1, rows.line_num), f"not CSV: {error}")
    return found


def _csv_days(cells: Mapping[str, str]) -> set[date]:
    first, until = cells.get("date", ""), cells.get("until", "")
    days = days_of(first)
    if not until:
        return days
    if len(days) > 1 or len(last := days_of(until)) > 1:
        raise ValueError("`until` goes with dates that have a year")
    return set(_span(min(days), min(last) + timedelta(days=1)))


def _span(first: date, end: date) -> Iterator[date]:
    """Yield the days of a span. Raises ValueError where it has none or too many."""
    if not timedelta() < end - first <= MAX_SPAN:
        raise ValueError(f"from {first} it would end before {end}: it is empty, or longer than a year")
    yield from (first + timedelta(days=number) for number in range((end - first).days))


# --- iCalendar -------------------------------------------------------------------------------------


@dataclass
class _Line:
    """A property of an event."""

    number: int
    values: list[str]


def _read_ics(file: str, text: str) -> Found:
    found = Found()
    events = series = 0

    def say(line: int, message: str) -> None:
        found.problems.append(Problem(file, line, 1, "holidays", message))

    for line, event in _events(text, say):
        events += 1
        if events > MAX_EVENTS:
            say(line, f"more than {MAX_EVENTS} events")
            break
        series += "RRULE" in event
        if series > MAX_SERIES:
            say(line, f"more than {MAX_SERIES} events that come again each year")
            break
        start = event.get("DTSTART")
        if start is not None and not _ICS_DAY.fullmatch(start.values[0]):
            found.warnings.append(Problem(file, start.number, 1, "holidays", "it has a time of day: no holiday"))
            continue
        try:
            found.days |= _event_days(event)
        except ValueError as error:
            say(line, str(error))
    return found


def _events(text: str, say: Callable[[int, str], None]) -> Iterator[tuple[int, dict[str, _Line]]]:
    """Yield the events of a calendar, with the line on which each begins; what stands inside others is passed over."""
    inside: list[str] = []
    event: dict[str, _Line] = {}
    begun = 0
    for number, line in _unfolded(text):
        match = _LINE.fullmatch(line)
        if match is None:
            say(number, "not a line of an iCalendar file")
            return
        name, value = match[1].upper(), match[3].strip()
        if name == "BEGIN":
            inside.append(value.upper())
            if inside == ["VCALENDAR", "VEVENT"]:
                event, begun = {}, number
        elif name == "END":
            if not inside or inside.pop() != value.upper():
                say(number, f"END:{value} ends nothing that was begun")
                return
            if value.upper() == "VEVENT" and inside == ["VCALENDAR"]:
                yield begun, event
        elif inside == ["VCALENDAR", "VEVENT"] and name in _READ:
            event.setdefault(name, _Line(number, [])).values += value.split(",") if name[-4:] == "DATE" else [value]
        elif not inside:
            say(number, "an iCalendar file begins with BEGIN:VCALENDAR")
            return
    if inside:
        say(begun or 1, f"{inside[-1]} is not ended; the file is cut off")


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; one that begins with white space goes on with the one before."""
    number, whole = 0, ""
    for count, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if line[:1] in (" ", "\t") and whole:
            whole += line[1:]
            continue
        if whole:
            yield number, whole
        number, whole = count, line
    if whole:
        yield number, whole


def _event_days(event: Mapping[str, _Line]) -> set[date]:
    """Return the days of an event. Raises ValueError that says what is not understood."""
    if "DTSTART" not in event:
        raise ValueError("an event without DTSTART")
    if "RECURRENCE-ID" in event:
        raise ValueError("a changed event of a series (RECURRENCE-ID); take it out with EXDATE and write it by itself")
    if event["STATUS"].values[0].upper() == "CANCELLED" if "STATUS" in event else False:
        return set()
    first = _ics_day(event["DTSTART"].values[0])
    length = _length(event, first)
    begins = {first}
    if "RRULE" in event:
        if len(event["RRULE"].values) > 1:
            raise ValueError("more than one RRULE")
        begins = set(_yearly(event["RRULE"].values[0], first))
    begins |= {_ics_day(value) for value in _values(event, "RDATE")}
    begins -= {_ics_day(value) for value in _values(event, "EXDATE")}
    return {day for begin in begins for day in _span(begin, begin + length)}


def _values(event: Mapping[str, _Line], name: str) -> list[str]:
    return event[name].values if name in event else []


def _ics_day(text: str) -> date:
    match = _ICS_DAY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a day; write 20261224")
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        raise ValueError(f"{text!r} is not a day; write 20261224") from None


def _length(event: Mapping[str, _Line], first: date) -> timedelta:
    if "DTEND" in event:
        return max(_ics_day(event["DTEND"].values[0]) - first, timedelta(days=1))
    if "DURATION" not in event:
        return timedelta(days=1)
    match = _SPAN.fullmatch(event["DURATION"].values[0].upper())
    if match is None:
        raise ValueError("DURATION of a holiday is in days or weeks: P1D")
    return timedelta(days=int(match[1] or 0), weeks=int(match[2] or 0))


def _yearly(text: str, first: date) -> Iterator[date]:
    """Yield the days on which an event comes again. Raises ValueError for ways that are not understood."""
    parts = dict(part.upper().partition("=")[::2] for part in text.split(";") if part)
    if parts.get("FREQ") != "YEARLY" or not parts.keys() <= _RULE_PARTS:
        raise ValueError(f"RRULE {text!r}: holidays come YEARLY, by BYMONTH, BYMONTHDAY, BYDAY and BYSETPOS")
    if "BYMONTH" not in parts and parts.keys() & {"BYMONTHDAY", "BYDAY", "BYSETPOS"}:
        raise ValueError(f"RRULE {text!r}: BYMONTH is missing")
    months = _numbers(parts.get("BYMONTH", str(first.month)), range(1, 13))
    days = _numbers(parts.get("BYMONTHDAY", "" if "BYDAY" in parts else str(first.day)), range(-31, 32))
    weekdays = [_weekday(one) for one in parts["BYDAY"].split(",")] if "BYDAY" in parts else []
    chosen = _numbers(parts.get("BYSETPOS", ""), range(-366, 367))
    step = _number(parts, "INTERVAL", range(1, 1000))
    count = _number(parts, "COUNT", range(1, 1000001)) if "COUNT" in parts else -1
    until = _ics_day(parts["UNTIL"][:8]) if "UNTIL" in parts else date.max
    for year in range(first.year, LAST_YEAR + 1, step):
        found = [day for month in sorted(months) for day in _of_month(year, month, days, weekdays)]
        for day in _at_places(found, chosen) if chosen else found:
            if day > until or count == 0:
                return
            if day >= first:
                yield day
                count -= 1


def _of_month(year: int, month: int, days: set[int], weekdays: list[tuple[int, int]]) -> Iterator[date]:
    last = calendar.monthrange(year, month)[1]
    for number in range(1, last + 1):
        if days and not days & {number, number - last - 1}:
            continue
        day = date(year, month, number)
        which = {0, (number - 1) // 7 + 1, -((last - number) // 7 + 1)}
        if not weekdays or any(day.weekday() == weekday and place in which for place, weekday in weekdays):
            yield day


def _at_places(days: list[date], places: Iterable[int]) -> list[date]:
    indexes = {place - 1 if place > 0 else len(days) + place for place in places}
    return [day for index, day in enumerate(days) if index in indexes]


def _weekday(text: str) -> tuple[int, int]:
    """Read `4TH`: which of the month, 0 for every, and the day of the week."""
    if text[-2:] not in _WEEKDAYS:
        raise ValueError(f"BYDAY={text!r}: {text[-2:]!r} is no day of the week")
    place = _number({"BYDAY": text[:-2] or "0"}, "BYDAY", range(-5, 6))
    return place, _WEEKDAYS.index(text[-2:])


def _number(parts: Mapping[str, str], name: str, known: range) -> int:
    numbers = _numbers(parts.get(name, "1"), known)
    if len(numbers) != 1:
        raise ValueError(f"RRULE: {name} takes one number")
    return numbers.pop()


def _numbers(text: str, known: range) -> set[int]:
    try:
        numbers = {int(part) for part in text.split(",") if part}
    except ValueError:
        numbers = {known.stop}
    if not all(number in known for number in numbers):
        raise ValueError(f"RRULE: {text!r} is not between {known.start} and {known.stop - 1}")
    return numbers
