"""Named lists: plates with their validity, or any texts. Text in, lists and problems out.

A plate is looked up in constant time, however long the list. Validity is by the site's wall clock at
the event's own time: dates include both ends, hours may cross midnight and then belong to the day
on which they start.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from bridge.sdk import Problem, canonical_plate, parse_moment
from rules.plates import Looks
from rules.report import unknown_key
from rules.schedules import ALL_DAYS, Place, Point, Schedule, Window, parse_days, parse_point

COLUMNS = ("plate", "valid_from", "valid_until", "days", "hours", "tags")
MAX_CSV_BYTES = 16 * 1024 * 1024
MAX_ENTRIES = 250_000
MAX_PROBLEMS = 50
"""Of one file; a wrong delimiter would else give one for every line."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DELIMITERS = ",;\t"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """When a listed value counts, and how it is tagged."""

    valid_from: datetime | None = None
    valid_until: datetime | None = None
    schedule: Schedule | None = None
    tags: frozenset[str] = frozenset()

    def valid(self, clock: datetime, place: Place) -> bool:
        """Tell whether it counts when the wall clock shows this."""
        if self.valid_from is not None and clock < self.valid_from:
            return False
        if self.valid_until is not None and clock >= self.valid_until:
            return False
        return self.schedule is None or self.schedule.open_at(clock, place)


ALWAYS = Entry()
Entries = Entry | tuple[Entry, ...]


class When(Protocol):
    """A moment at a place."""

    @property
    def clock(self) -> datetime:
        """What the site's wall clock shows; naive."""
        ...

    @property
    def place(self) -> Place:
        """Where the site is."""
        ...

    def changed(self, name: str, value: str, tag: str | None) -> bool | None:
        """Tell what a change at run time says of a value in a list; None if there is none."""
        ...


class ValueList:
    """A named list. `plates`: values are compared in canonical form."""

    __slots__ = ("_entries", "_looks", "name", "plates", "tags")

    def __init__(self, name: str, entries: Mapping[str, Entries], *, plates: bool) -> None:
        self.name, self.plates = name, plates
        self._entries = entries
        self._looks: Looks | None = None
        self.tags = frozenset(tag for entry in entries.values() for one in _each(entry) for tag in one.tags)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def needs_holidays(self) -> bool:
        """When its values count cannot be told without knowing the site's holidays."""
        schedules = {one.schedule for entry in self._entries.values() for one in _each(entry) if one.schedule}
        return any(schedule.needs_holidays for schedule in schedules)

    @property
    def looks(self) -> Looks:
        """How its values look, for those who ask what is like them."""
        if self._looks is None:
            self._looks = Looks(self._entries)
        return self._looks

    def lists(self, value: str) -> bool:
        """Tell whether the file has anything to say of a value."""
        return value in self._entries

    def entries(self) -> Iterable[tuple[str, Entries]]:
        """Return every value and when it counts."""
        return self._entries.items()

    def same(self, other: ValueList) -> bool:
        """Tell whether another list says the same of every value."""
        return (self.plates, self.tags) == (other.plates, other.tags) and self._entries == other._entries

    def has(self, value: str, when: When, tag: str | None = None) -> bool:
        """Tell whether a value is listed, valid at that moment, and tagged if asked for.

        What was changed at run time wins over what the file says.
        """
        changed = when.changed(self.name, value, tag)
        if changed is not None:
            return changed
        found = self._entries.get(value)
        if found is None:
            return False
        if found is ALWAYS:  # most are, and then the wall clock need not be worked out
            return tag is None
        clock, place = when.clock, when.place
        return any((tag is None or tag in entry.tags) and entry.valid(clock, place) for entry in _each(found))


def _each(entries: Entries) -> tuple[Entry, ...]:
    return entries if isinstance(entries, tuple) else (entries,)


def plain_list(name: str, values: Iterable[str], *, plates: bool) -> ValueList:
    """Return a list written in the rule file itself: always valid, no tags."""
    keys = map(canonical_plate, values) if plates else values
    return ValueList(name, dict.fromkeys(keys, ALWAYS), plates=plates)


def read_csv(name: str, file: str, text: str) -> tuple[ValueList, list[Problem]]:
    """Return the list in a CSV file, and what is wrong with its lines. Lines with mistakes are left out."""
    reader = _CsvReader(file)
    entries = reader.read(text.removeprefix("\ufeff"))
    return ValueList(name, entries, plates=True), reader.problems


class _CellError(ValueError):
    """A cell that cannot be read, by its column."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(f"`{column}`{message}")
        self.column = column


class _CsvReader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: list[str] = []
        self._delimiter = ","
        self._first = self._last = 1
        """Lines of the record in hand; a quoted value may hold line breaks."""
        self.problems: list[Problem] = []

    def read(self, text: str) -> dict[str, Entries]:
        if len(text) > MAX_CSV_BYTES:
            self._say(f"the file is larger than {MAX_CSV_BYTES // 1024**2} MiB")
            return {}
        header_line = text.partition("\n")[0]
        self._delimiter = max(_DELIMITERS, key=header_line.count)
        self._lines = list(io.StringIO(text, newline=""))
        rows = csv.reader(self._lines, delimiter=self._delimiter, strict=True)
        entries: dict[str, Entries] = {}
        try:
            names = next(rows, [])
            self._last = max(1, rows.line_num)
            header = self._header(names)
            for row in rows:
                self._first, self._last = self._last + 1, rows.line_num
                if header and not _no_record(row):
                    self._row(header, row, entries)
                if len(self.problems) >= MAX_PROBLEMS:
                    self._say("more problems than are shown; the rest of the file was not read")
                    break
                if len(entries) > MAX_ENTRIES:
                    self._say(f"more than {MAX_ENTRIES} plates")
                    break
        except csv.Error as error:
            self._first = self._last = max(1, rows.line_num)
            self._say(f"not CSV: {error}")
        return entries

    def _say(self, message: str, cell: int = 0) -> None:
        line, column = self._place(cell) if cell else (self._first, 1)
        self.problems.append(Problem(self._file, line, column, "", message))

    def _place(self, cell: int) -> tuple[int, int]:
        """Return where a cell of the record in hand begins; of what is not there, where the record ends."""
        quoted = within = False
        fresh = True
        line, column = self._first, 0
        for line in range(self._first, self._last + 1):
            text = self._lines[line - 1].rstrip("\r\n") if line == self._last else self._lines[line - 1]
            for column, char in enumerate(text, 1):
                if fresh:
                    quoted, within = char == '"', False
                fresh = char == self._delimiter and not within
                if char == '"' and quoted:
                    within = not within
                cell -= fresh
                if not cell:
                    return line, column + 1
            column = len(text)
        return line, column + 1

    def _header(self, cells: list[str]) -> list[str]:
        names = [cell.strip().lower() for cell in cells]
        if "plate" not in names:
            self._say(f"the first line must name the columns, `plate` among them: {','.join(COLUMNS)}")
            return []
        for number, name in enumerate(names):
            if name not in COLUMNS:
                self._say(unknown_key(name, COLUMNS), number)
            elif names.index(name) != number:
                self._say(f"`{name}` is here twice", number)
        return names

    def _row(self, header: list[str], row: list[str], entries: dict[str, Entries]) -> None:
        if len(row) > len(header):
            self._say(f"{len(row)} values for {len(header)} columns", len(header))
            return
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
        plate = canonical_plate(cells.get("plate", ""))
        if not plate:
            self._say("`plate` is empty", header.index("plate"))
            return
        try:
            entry = _entry(cells)
        except _CellError as error:
            self._say(str(error), header.index(error.column))
            return
        before = entries.get(plate)
        entries[plate] = entry if before is None else (*_each(before), entry)


def _no_record(row: Sequence[str]) -> bool:
    """Tell whether a line says nothing: it is blank, or a comment. One of delimiters alone lacks its plate."""
    return not row or row[0].lstrip().startswith("#") or (len(row) == 1 and not row[0].strip())


def _entry(cells: Mapping[str, str]) -> Entry:
    start = _cell(cells, "valid_from", lambda text: _moment(text, end=False))
    until = _cell(cells, "valid_until", lambda text: _moment(text, end=True))
    if start is not None and until is not None and until <= start:
        raise _CellError("valid_until", " is before `valid_from`: it would never count")
    days = _cell(cells, "days", parse_days)
    hours = _cell(cells, "hours", _hours)
    tags = frozenset(tag for tag in re.split(r"[,;|\s]+", cells.get("tags", "")) if tag)
    schedule = None
    if days is not None or hours is not None:
        base = hours or Window()
        schedule = Schedule((Window(base.start, base.end, ALL_DAYS if days is None else days),))
    entry = Entry(start, until, schedule, tags)
    return ALWAYS if entry == ALWAYS else entry


def _cell(cells: Mapping[str, str], column: str, read: Callable[[str], T]) -> T | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise _CellError(column, f": {error}") from error


def _moment(text: str, *, end: bool) -> datetime:
    """Read `2026-01-31` or `2026-01-31 18:00`; a date as the end of validity is still valid on that day."""
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text) + timedelta(days=end)
        moment = parse_moment(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write 2026-01-31 or 2026-01-31 18:00") from None
    if moment.tzinfo is not None:
        raise ValueError(f"{text!r} names a zone; lists are read by the site's wall clock")
    return moment


def _hours(text: str) -> Window:
    """Read `08:00-18:00`."""
    first, dash, last = text.partition("-")
    try:
        start, end = parse_point(first.strip()), parse_point(last.strip())
    except ValueError:
        start = end = Point(timedelta())
    if not dash or start == end or start.sun or end.sun:
        raise ValueError(f"{text!r} are no hours; write 08:00-18:00")
    return Window(start, end)
