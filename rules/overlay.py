"""What was changed in lists at run time: a value each, kept with the rest of the engine's state.

A change of a value wins over what the list's file says of it, until the change ends by the log's
stamp, is made anew or taken back; then the file counts again. Everything is in the book, so nothing
has to be made again after a crash, and a list that was never changed costs one question.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from bridge.sdk import StateKey, VmsEvent, canonical_plate, kinds
from rules.knowledge import UNTRUE
from rules.lists import ValueList
from rules.plates import FAR_ENTRIES, Looks
from rules.state import ENDS, LISTED, LISTS, SINCE, TAGS, Book, Value, at, key_of, state_key

MAX_CHANGED = 250_000
"""Values of all lists together that may be changed at run time; what would be one more is left out and counted."""

_STALE = 1000
"""Looks that may be there for nothing, beside as many as are there for something."""


class Changed(NamedTuple):
    """What was changed of a value."""

    listed: bool
    valid_from: datetime | None
    valid_until: datetime | None
    tags: tuple[str, ...]

    def holds(self, moment: datetime, tag: str | None) -> bool:
        """Tell whether the value is listed, at that moment, and tagged if asked for."""
        if not self.listed or (self.valid_from is not None and moment < self.valid_from):
            return False
        if self.valid_until is not None and moment >= self.valid_until:
            return False
        return tag is None or tag in self.tags


class Overlay:
    """The changes of all lists, in a book."""

    __slots__ = ("_book", "_looks", "refused")

    def __init__(self, book: Book) -> None:
        self._book = book
        self._looks: dict[str, Looks] = {}
        """How the values of a list look that are, or were lately, changed; for lists of which that was asked."""
        self.refused = 0
        """Values that were left out because there were too many already."""

    def find(self, name: str, value: str, stamp: datetime) -> Changed | None:
        """Return what was changed of a value and counts at that stamp; None if the file counts."""
        rule = LISTS + name
        if not self._book.listed.get(rule):
            return None
        return change_of(self._book.get(state_key(rule, value)), stamp)

    def like(self, name: str, value: str, distance: int) -> list[str]:
        """Return the values that were changed, or might have been, which a plate is like."""
        changed = self._book.listed.get(LISTS + name, 0)
        if not changed:
            return []
        looks = self._looks.get(name)
        if looks is None or len(looks) > 2 * changed + _STALE:  # what ended is still among them
            looks = self._looks[name] = Looks(
                key_of(key, found) for key, found in self._book.values().items() if key.rule == LISTS + name
            )
        return looks.like(value, distance if len(looks) <= FAR_ENTRIES else min(distance, 1))

    def learn(self, event: VmsEvent, lists: Mapping[str, ValueList], stamp: datetime) -> None:
        """Take what an event says of a list. Lists that no rule file has are nobody's."""
        data = event.data
        if not isinstance(data, kinds.ListChanged) or event.origin in UNTRUE:
            return
        found = lists.get(data.list)
        if found is None:
            return
        until = _stamp(data.valid_until)
        for value in data.reset:
            self._put(found, value, None)
        for value in data.removed:
            # What the file does not list need not be kept out of it.
            self._put(found, value, {LISTED: False, ENDS: until} if found.lists(_key(found, value)) else None)
        entry = {LISTED: True, SINCE: _stamp(data.valid_from), ENDS: until, TAGS: list(data.tags) or None}
        for value in data.added:
            self._put(found, value, None if until is not None and at(until) <= stamp else entry)

    def _put(self, found: ValueList, value: str, entry: Mapping[str, Any] | None) -> None:
        key = _key(found, value)
        filed = state_key(LISTS + found.name, key)
        known = self._book.get(filed)
        if entry is None:
            if known is not None:
                self._book.put(filed, None)
        elif known is None and sum(self._book.listed.values()) >= MAX_CHANGED:
            self.refused += 1
        else:
            if found.name in self._looks:
                self._looks[found.name].add(key)
            own = {"key": key} if filed.key != key else {}
            self._book.put(filed, {name: item for name, item in {**entry, **own}.items() if item is not None})


def changed(value: Value) -> Changed:
    """Return what a value of the book says."""
    since, ends = value.get(SINCE), value.get(ENDS)
    return Changed(
        value[LISTED], at(since) if since else None, at(ends) if ends else None, tuple(value.get(TAGS) or ())
    )


def changes_of(
    values: Mapping[StateKey, Value], name: str, stamp: datetime, most: int | None = None
) -> dict[str, Changed]:
    """Return what was changed in a list, by value, and counts at that stamp; from the values of a book. In order."""
    rule = LISTS + name
    keys = sorted(key for key, value in values.items() if key.rule == rule and not _over(value, stamp))
    return {key_of(key, values[key]): changed(values[key]) for key in keys[:most]}


def change_of(value: Value | None, stamp: datetime) -> Changed | None:
    """Return what one value of a book says, if it counts at that stamp."""
    return None if value is None or _over(value, stamp) else changed(value)


def filed(name: str, value: str) -> StateKey:
    """Return where the change of a value is kept."""
    return state_key(LISTS + name, value)


def _over(value: Value, stamp: datetime) -> bool:
    return ENDS in value and at(value[ENDS]) <= stamp


def _key(found: ValueList, value: str) -> str:
    return canonical_plate(value) or value if found.plates else value


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
