"""The server's memory: event log, plate log and object log, as they are stored and as they are searched.

Rows keep the order in which they were written and carry their own times, so a late row lies out of time
order. Rows grow: the same plate seen again extends its row, equal consecutive events merge, an incident
changes in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

SAME_CAR = timedelta(seconds=10)  # a plate seen again within this extends its row


@dataclass
class EventRow:
    """A row of the event log."""

    id: int
    type: int
    code: int
    begin: datetime
    end: datetime | None = None
    param: dict[str, Any] | None = None
    comment: str | None = None
    channels: tuple[int, ...] = ()


@dataclass
class PlateRow:
    """A row of the plate log: one car at one source."""

    id: int
    plate_no: str
    source: str
    channels: tuple[int, ...]
    begin: datetime
    end: datetime
    score: float | None = None
    roi: tuple[int, int, int, int] | None = None
    direction: str | None = None
    images: list[str] = field(default_factory=list)


@dataclass
class ObjectRow:
    """A row of the object log."""

    id: int
    begin: datetime
    chid: int
    obj_id: int
    type: str
    likelihood: float
    attributes: dict[str, Any]
    image: str
    parent_id: int | None = None


Row = TypeVar("Row", EventRow, PlateRow, ObjectRow)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Part of a search result."""

    total: int
    at: int
    rows: list[Row]


def search(
    rows: Iterable[Row],
    *,
    begin: datetime | None,
    end: datetime | None,
    at: int,
    count: int,
    ascending: bool,
    matches: Callable[[Row], bool] = lambda _: True,
) -> Page[Row]:
    """Return the rows of [begin, end], newest first unless told otherwise, `count` of them from `at` on."""
    found = [row for row in rows if _within(row, begin, end) and matches(row)]
    found.sort(key=lambda row: (row.begin, row.id), reverse=not ascending)
    return Page(len(found), at, found[at : at + count])


def _within(row: EventRow | PlateRow | ObjectRow, begin: datetime | None, end: datetime | None) -> bool:
    last = getattr(row, "end", None) or row.begin
    return (begin is None or last >= begin) and (end is None or row.begin <= end)


class Logbook:
    """All three logs, with one sequence of row ids each."""

    def __init__(self) -> None:
        self.events: list[EventRow] = []
        self.plates: list[PlateRow] = []
        self.objects: list[ObjectRow] = []
        self._late: list[tuple[datetime, Callable[[], object]]] = []
        self._numbers = {"events": 0, "plates": 0, "objects": 0}

    def write_late(self, due: datetime, write: Callable[[], object]) -> None:
        """Have something written that can be found from a later time on only."""
        self._late.append((due, write))

    def catch_up(self, now: datetime) -> None:
        """Write what is due."""
        due = [write for moment, write in self._late if moment <= now]
        self._late = [(moment, write) for moment, write in self._late if moment > now]
        for write in due:
            write()

    def add_event(self, row: EventRow, *, own: bool = False) -> EventRow:
        """Store an event; one equal to the row before it extends that row instead, unless it is to have its `own`."""
        last = self.events[-1] if self.events else None
        if last and not own and _same(last, row) and row.begin >= last.begin:
            last.end = row.begin
            return last
        row.id = self._next("events")
        self.events.append(row)
        return row

    def change_event(self, number: int, param: dict[str, Any] | None, now: datetime) -> EventRow | None:
        """Change a row in place, as the server does with incidents that go on (1.1.0)."""
        for row in self.events:
            if row.id == number:
                row.end = now
                row.param = param if param is not None else row.param
                return row
        return None

    def add_plate(self, row: PlateRow) -> PlateRow:
        """Store a plate; the same car at the same source within seconds extends its row."""
        for old in reversed(self.plates[-20:]):
            same = (old.plate_no, old.source) == (row.plate_no, row.source)
            if same and abs(row.end - old.end) <= SAME_CAR:
                old.begin, old.end = min(old.begin, row.begin), max(old.end, row.end)
                old.images += row.images
                return old
        row.id = self._next("plates")
        self.plates.append(row)
        return row

    def add_object(self, row: ObjectRow) -> ObjectRow:
        """Store a detected object."""
        row.id = self._next("objects")
        self.objects.append(row)
        return row

    def _next(self, log: str) -> int:
        """Return the next row's number; rows that went away keep theirs."""
        self._numbers[log] += 1
        return self._numbers[log]


def _same(old: EventRow, new: EventRow) -> bool:
    return (old.type, old.code, old.param, old.comment, old.channels) == (
        new.type,
        new.code,
        new.param,
        new.comment,
        new.channels,
    )
