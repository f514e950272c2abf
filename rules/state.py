"""What the engine remembers, as values: one for each rule and key, each firing that waits, and each known entity.

A value is JSON and is replaced, never changed, so what was handed out for writing down stays as it
was. Timers, waits and rests are found again from the values alone: after a crash the book is made
from what was committed and goes on as if nothing had happened. A value that makes no sense is put
aside, never guessed at.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue
from pydantic_core import to_json

from bridge.sdk import RULES, Fact, StateKey, stable_id
from rules.waiting import FIRINGS, Waiting, held, place_of

ENTITIES = "$state"
"""The rule name under which entities are kept."""
LISTS = "$list/"
"""What the rule names begin with under which changed values of lists are kept, each list under its own."""
LISTED, SINCE, ENDS, TAGS = "listed", "from", "ends", "tags"
"""Of a changed value: whether it is listed, from when on, when the change ends, and how it is tagged."""
NO_KEY = "$"
_MAX_KEY_BYTES = 64
"""Of a key as it is; a longer one is filed under its hash, as names on the bus are bounded."""
_SWEEP = 8
"""Rests and memories that are forgotten in one step at most, so that a step's changes stay few."""

MOST_ENTITIES = 100_000
"""Entities that are known; of a further one nothing is."""
MOST_KNOWN = 400_000
"""Bytes that may be known of one entity: the bus takes a megabyte for a value."""
_FEW, _SMALL = 100, 1000
"""So many attributes, each of so many bytes, need not be measured."""
LISTENING = "listening"
"""Attribute of a source: whether it is connected, and since when by the log."""
REST, QUIET, SPENT, FIRED = "rest", "quiet", "spent", "fired"
"""Until when a rule rests, until when nothing may come, when its last firing counts no more, and its firings."""
TIMERS, WAITING = "timers", "waiting"
"""When something is due, by name: for a pattern, and for the steps of a firing."""
WAIT = "wait:"
"""What stands in front of a step's deadline where timers of one rule and key are put in order."""
_RULES_END = {REST: (REST,), QUIET: (QUIET,), SPENT: (SPENT, FIRED), "forget": ("forget", "memory")}
_ENDING = {**_RULES_END, ENDS: (ENDS, LISTED, SINCE, TAGS)}
"""What ends at a time that the value names, and what goes with it."""
_PARTS = frozenset({"version", "key", TIMERS, *(part for parts in _RULES_END.values() for part in parts)})
"""What there can be in the value of a rule and key."""
NO_SENSE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading a value raises that is not what it should be."""

Value = Mapping[str, Any]


class Timer(NamedTuple):
    """When something of a rule and key is due. Ordered by time, then by name."""

    due: datetime
    id: str
    key: StateKey
    name: str


def state_key(rule: str, key: str) -> StateKey:
    """Return where the value of a rule and key belongs."""
    if not key:
        return StateKey(rule, NO_KEY)
    if key.startswith(NO_KEY) or len(key.encode(errors="replace")) > _MAX_KEY_BYTES:
        return StateKey(rule, f"{NO_KEY}{stable_id(key)}")
    return StateKey(rule, key)


def at(text: str) -> datetime:
    """Read a time as values hold it."""
    return datetime.fromisoformat(text)


class Book:
    """All values, and what can be looked up in them: timers, rests, orders waited for, facts."""

    def __init__(self, values: Mapping[StateKey, Mapping[str, Any]]) -> None:
        self._values: dict[StateKey, Value] = {}
        self._timers: list[Timer] = []
        self._live = 0
        self._ends: list[tuple[datetime, StateKey]] = []
        self._marked: dict[StateKey, datetime] = {}
        self._listening: set[str] = set()
        self._entities = 0
        self.waiting = Waiting()
        """Where firings are found that wait."""
        self.listed: dict[str, int] = {}
        """How many values of each list are changed, by the rule name they are kept under."""
        self.changed: dict[StateKey, dict[str, Any] | None] = {}
        """What changed since `take_changed`."""
        self.senseless: dict[StateKey, Any] = {}
        """What was written down and cannot be read, until somebody has told of it."""
        for key, value in _in_order(values):
            try:
                _check(key, value)
            except NO_SENSE:
                self.senseless[key] = value
            else:
                self._store(key, value)

    # --- values ------------------------------------------------------------------------------------

    def get(self, key: StateKey) -> Value | None:
        """Return a value."""
        return self._values.get(key)

    def put(self, key: StateKey, value: dict[str, Any] | None) -> None:
        """Replace a value, or forget it."""
        self._store(key, value)
        self.changed[key] = value

    def values(self) -> dict[StateKey, Value]:
        """Return all values, as they are now."""
        return dict(self._values)

    def update(self, version: str, name: str, key: StateKey, **parts: Any) -> None:
        """Replace parts of the value of a rule and key (`name` as it is, `key` as it is filed); None takes one out."""
        kept = {part: item for part, item in (self._values.get(key) or {}).items() if part not in ("version", "key")}
        self.put(key, make_value(version, name, key, **{**kept, **parts}))

    def take_changed(self) -> dict[StateKey, dict[str, Any] | None]:
        """Return what changed since the last time."""
        changed, self.changed = self.changed, {}
        return changed

    def rules(self) -> Iterator[tuple[StateKey, Value]]:
        """Yield the values of rules, in the order of their names."""
        for key in sorted(key for key in self._values if not key.rule.startswith("$")):
            yield key, self._values[key]

    def firings(self) -> Iterator[tuple[StateKey, Value]]:
        """Yield the firings that wait, by the names of their rules and keys and then as they began to."""
        found = ((key, value) for key, value in self._values.items() if key.rule.startswith(FIRINGS))
        yield from sorted(found, key=lambda one: (place_of(one[0]), one[1]["number"]))

    def _store(self, key: StateKey, value: Value | None) -> None:
        old = self._values.get(key)
        if key.rule.startswith(FIRINGS):
            self.waiting.note(key, old, value)
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        if key.rule == ENTITIES:
            self._entities += (value is not None) - (old is not None)
            if value is not None and LISTENING in value:
                self._listening.add(key.key)
            else:
                self._listening.discard(key.key)
        elif key.rule.startswith(LISTS):
            self.listed[key.rule] = self.listed.get(key.rule, 0) + (value is not None) - (old is not None)
            self._mark(key, value or {})
        else:
            self._store_timers(key, old or {}, value or {})
            self._mark(key, value or {})

    def _store_timers(self, key: StateKey, old: Value, new: Value) -> None:
        before, after = _dues(old), _dues(new)
        for name, due in after.items():
            if before.get(name) != due:
                heapq.heappush(self._timers, Timer(at(due), _turn(key, new, name), key, name))
        self._live += len(after) - len(before)
        if len(self._timers) > 64 + 4 * self._live:
            self._timers = [timer for timer in self._timers if self._is_set(timer)]
            heapq.heapify(self._timers)

    def _mark(self, key: StateKey, value: Value) -> None:
        """See to it that a value is looked at when something in it is over; once, however often that moves."""
        end, marked = _end(value), self._marked.get(key)
        if end is not None and (marked is None or end < marked):
            self._marked[key] = end
            heapq.heappush(self._ends, (end, key))

    # --- timers -------------------------------------------------------------------------------------

    def _is_set(self, timer: Timer) -> bool:
        due = _dues(self._values.get(timer.key) or {}).get(timer.name)
        return due is not None and at(due) == timer.due

    def next_due(self) -> datetime | None:
        """Return when the next timer is due; rests that end are not waited for."""
        while self._timers and not self._is_set(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0].due if self._timers else None

    def pop_due(self, stamp: datetime) -> Timer | None:
        """Return the first timer due by then. It stays set until its value says otherwise."""
        due = self.next_due()
        return heapq.heappop(self._timers) if due is not None and due <= stamp else None

    def sweep(self, stamp: datetime) -> None:
        """Forget rests that are over and memories that are worth nothing any more. Changes no decision."""
        swept = 0
        while swept < _SWEEP and self._ends and self._ends[0][0] <= stamp:
            due, key = heapq.heappop(self._ends)
            if self._marked.get(key) != due:
                continue  # it was marked again for an earlier time
            del self._marked[key]
            value = self._values.get(key) or {}
            over = [name for name in _ENDING if name in value and at(value[name]) <= due]
            if over:
                gone = {part for name in over for part in _ENDING[name]}
                self.put(key, _tidy({name: item for name, item in value.items() if name not in gone}))
                swept += 1
            self._mark(key, self._values.get(key) or {})

    # --- facts -------------------------------------------------------------------------------------------

    def remember(self, fact: Fact, moment: datetime) -> None:
        """Note a fact, unless a later one is known. What is known already is not written again.

        One that there is no room for is not known, nor is what it would have replaced. What rules forget is gone.
        """
        key = state_key(ENTITIES, fact.entity)
        known = self._values.get(key)
        if known is None and self._entities >= MOST_ENTITIES:
            return
        known = known or {}
        before = known.get(fact.attribute)
        if before is not None and (before["value"] == fact.value or at(before["since"]) > moment):
            return
        others = {name: item for name, item in known.items() if name != fact.attribute}
        fresh = {**others, fact.attribute: {"value": fact.value, "since": moment.isoformat()}}
        if _has_room(fact, fresh) and not (fact.value is None and fact.entity.startswith(f"{RULES}/")):
            self.put(key, fresh)
        elif before is not None:
            self.put(key, others or None)

    def note(self, entity: str, attribute: str, value: JsonValue, stamp: datetime) -> None:
        """Note what began at a stamp, known or not."""
        key = state_key(ENTITIES, entity)
        self.put(key, {**self._values.get(key, {}), attribute: {"value": value, "since": stamp.isoformat()}})

    def forget(self, entity: str, attribute: str) -> None:
        """Forget what was noted."""
        key = state_key(ENTITIES, entity)
        others = {name: item for name, item in self._values.get(key, {}).items() if name != attribute}
        self.put(key, others or None)

    def noted(self, entity: str, attribute: str) -> tuple[JsonValue, datetime] | None:
        """Return what is known, and since when; None if nothing is."""
        known = self._values.get(state_key(ENTITIES, entity), {}).get(attribute)
        return (known["value"], at(known["since"])) if known else None

    @property
    def listening(self) -> list[str]:
        """The sources that said whether they are connected, and are not gone."""
        return sorted(self._listening)

    def fact(self, entity: str, attribute: str) -> JsonValue:
        """Return what is known, or None."""
        known = self.noted(entity, attribute)
        return known[0] if known else None


def _has_room(fact: Fact, known: Value) -> bool:
    """Tell whether all that would be known of an entity can be written down."""
    if len(fact.attribute) + _size(fact.value) <= _SMALL and len(known) <= _FEW:
        return True
    return _size(known) <= MOST_KNOWN


def _size(value: Any) -> int:
    return len(to_json(value)) if isinstance(value, (str, Mapping, list)) else 0


def _end(value: Value) -> datetime | None:
    return min((at(value[name]) for name in _ENDING if name in value), default=None)


def _dues(value: Value) -> Mapping[str, str]:
    dues: Mapping[str, str] = value.get(TIMERS) or value.get(WAITING) or {}
    return dues


def _turn(key: StateKey, value: Value, name: str) -> str:
    """Return what orders timers that are due at one time: rule, key, and the firing that began first."""
    if not key.rule.startswith(FIRINGS):
        return f"{key.rule}\0{key.key}\0{name}"
    place = place_of(key)
    return f"{place.rule}\0{place.key}\0{WAIT}{value['number']:09d}:{name:0>3}"


def _check(key: StateKey, value: Any) -> None:
    """Look whether a value that was written down can be read. Raises one of `NO_SENSE`."""
    if key.rule.startswith(FIRINGS):
        held(value)
        at(value["event"]["received"])
        if not all(isinstance(name, str) for name in (value["version"], value["key"], value["event"]["id"])):
            raise TypeError("names that are none")
    elif not key.rule.startswith("$") and not ({"version"} <= value.keys() <= _PARTS):
        raise ValueError("a value of another form")
    for name, due in _dues(value).items():
        _turn(key, value, name)
        at(due)
    _end(value)


def _in_order(values: Mapping[StateKey, Any]) -> Iterator[tuple[StateKey, Any]]:
    """Yield all values, firings last and by their numbers: those of a rule and key are noted as they began."""
    yield from (one for one in values.items() if not one[0].rule.startswith(FIRINGS))
    yield from sorted((one for one in values.items() if one[0].rule.startswith(FIRINGS)), key=_number)


def _number(one: tuple[StateKey, Any]) -> int:
    number = one[1].get("number") if isinstance(one[1], Mapping) else None
    return number if isinstance(number, int) else 0


def _tidy(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return a value without what is empty; None if it remembers nothing any more."""
    kept = {name: item for name, item in value.items() if item not in ({}, None)}
    return kept if kept.keys() - {"version", "key"} else None


def make_value(version: str, key: str, filed: StateKey, **parts: Any) -> dict[str, Any] | None:
    """Return the value of a rule and key. The key is kept in it where it is filed under another name."""
    base: dict[str, Any] = {"version": version}
    if filed.key != key and key:
        base["key"] = key
    return _tidy({**base, **parts})


def key_of(filed: StateKey, value: Value) -> str:
    """Return the key of a rule's value."""
    return str(value.get("key", "" if filed.key == NO_KEY else filed.key))
