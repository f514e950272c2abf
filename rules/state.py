"""What the engine remembers, as values: one for each rule and key, and one for each known entity.

A value is JSON and is replaced, never changed, so what was handed out for writing down stays as it
was. Timers, waits and rests are found again from the values alone: after a crash the book is made
from what was committed and goes on as if nothing had happened.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue

from bridge.sdk import Fact, StateKey, stable_id

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

LISTENING = "listening"
"""Attribute of a source: whether it is connected, and since when by the log."""
REST, QUIET, SPENT, FIRED = "rest", "quiet", "spent", "fired"
"""Until when a rule rests, until when nothing may come, when its last firing counts no more, and its firings."""
WAITS, LINE = "waits", "line"
"""The firings whose steps wait, and those that have not begun since their rule does one after the other."""
_ENDING = {REST: (REST,), QUIET: (QUIET,), SPENT: (SPENT, FIRED), "forget": ("forget", "memory")}
_ENDING[ENDS] = (ENDS, LISTED, SINCE, TAGS)
"""What ends at a time that the value names, and what goes with it."""

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
        self._awaited: dict[str, list[StateKey]] = {}
        self._hearing: dict[str, dict[StateKey, None]] = {}
        """By rule, where steps wait for an event."""
        self.listed: dict[str, int] = {}
        """How many values of each list are changed, by the rule name they are kept under."""
        self.changed: dict[StateKey, dict[str, Any] | None] = {}
        """What changed since `take_changed`."""
        for key, value in values.items():
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

    def _store(self, key: StateKey, value: Value | None) -> None:
        old = self._values.get(key)
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        if key.rule == ENTITIES:
            if value is not None and LISTENING in value:
                self._listening.add(key.key)
        elif key.rule.startswith(LISTS):
            self.listed[key.rule] = self.listed.get(key.rule, 0) + (value is not None) - (old is not None)
            self._mark(key, value or {})
        else:
            self._store_timers(key, old or {}, value or {})
            self._store_awaited(key, old or {}, value or {})
            self._store_hearing(key, value or {})

    def _store_timers(self, key: StateKey, old: Value, new: Value) -> None:
        before, after = old.get("timers", {}), new.get("timers", {})
        self._live += len(after) - len(before)
        for name, due in after.items():
            if before.get(name) != due:
                heapq.heappush(self._timers, Timer(at(due), f"{key.rule}\0{key.key}\0{name}", key, name))
        if len(self._timers) > 64 + 4 * self._live:
            self._timers = [timer for timer in self._timers if self._is_set(timer)]
            heapq.heapify(self._timers)
        self._mark(key, new)

    def _mark(self, key: StateKey, value: Value) -> None:
        """See to it that a value is looked at when something in it is over; once, however often that moves."""
        end, marked = _end(value), self._marked.get(key)
        if end is not None and (marked is None or end < marked):
            self._marked[key] = end
            heapq.heappush(self._ends, (end, key))

    def _store_awaited(self, key: StateKey, old: Value, new: Value) -> None:
        for order in awaited(old):
            keys = self._awaited.get(order, [])
            if key in keys:
                keys.remove(key)
            if not keys:
                self._awaited.pop(order, None)
        for order in awaited(new):
            self._awaited.setdefault(order, []).append(key)

    def _store_hearing(self, key: StateKey, value: Value) -> None:
        if any("hears" in waiting for waiting in value.get("waits", {}).values()):
            self._hearing.setdefault(key.rule, {})[key] = None
        elif key in self._hearing.get(key.rule, {}):
            del self._hearing[key.rule][key]
            if not self._hearing[key.rule]:
                del self._hearing[key.rule]

    # --- timers -------------------------------------------------------------------------------------

    def _is_set(self, timer: Timer) -> bool:
        value = self._values.get(timer.key)
        due = value.get("timers", {}).get(timer.name) if value else None
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

    # --- what steps wait for ------------------------------------------------------------------------

    @property
    def hears(self) -> bool:
        """Some step waits for an event."""
        return bool(self._hearing)

    def hearing(self, rule: str) -> Sequence[StateKey]:
        """Return the values of a rule with steps that wait for an event."""
        return sorted(self._hearing.get(rule, ()))

    def waiting_for(self, order: str) -> tuple[StateKey, ...]:
        """Return the values with steps that wait for the end of an order."""
        return tuple(sorted(self._awaited.get(order, ())))

    # --- facts -------------------------------------------------------------------------------------------

    def remember(self, fact: Fact, moment: datetime) -> None:
        """Note a fact, unless a later one is known. What is known already is not written again."""
        key = state_key(ENTITIES, fact.entity)
        known = self._values.get(key, {})
        before = known.get(fact.attribute)
        if before is not None and (before["value"] == fact.value or at(before["since"]) > moment):
            return
        self.put(key, {**known, fact.attribute: {"value": fact.value, "since": moment.isoformat()}})

    def note(self, entity: str, attribute: str, value: JsonValue, stamp: datetime) -> None:
        """Note what began at a stamp, known or not."""
        key = state_key(ENTITIES, entity)
        self.put(key, {**self._values.get(key, {}), attribute: {"value": value, "since": stamp.isoformat()}})

    def noted(self, entity: str, attribute: str) -> tuple[JsonValue, datetime] | None:
        """Return what is known, and since when; None if nothing is."""
        known = self._values.get(state_key(ENTITIES, entity), {}).get(attribute)
        return (known["value"], at(known["since"])) if known else None

    @property
    def listening(self) -> list[str]:
        """The sources that ever said whether they are connected."""
        return sorted(self._listening)

    def fact(self, entity: str, attribute: str) -> JsonValue:
        """Return what is known, or None."""
        known = self.noted(entity, attribute)
        return known[0] if known else None


def _end(value: Value) -> datetime | None:
    return min((at(value[name]) for name in _ENDING if name in value), default=None)


def awaited(value: Value) -> set[str]:
    """Return the orders whose end a value waits for."""
    return {order for waiting in value.get("waits", {}).values() for order in waiting.get("orders", ())}


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
