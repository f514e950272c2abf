"""What the patterns of rules remember, for each key: shown to them, written down with their timers, and bounded.

A pattern is a pure function of what it sees and what it remembers; this keeps that for it, between the
book and the engine. What a pattern makes of it is not looked at, but for its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json

from bridge.sdk import StateKey
from rules.gates import FULL, Unmet
from rules.moment import Moment
from rules.patterns import Now, Reaction, Stands
from rules.rule import Rule
from rules.state import TIMERS, Book, Timer, at, state_key

LARGEST = 500_000
"""Bytes that a pattern may remember of a key when a large event comes: the bus takes a megabyte for a value."""
SMALL = 4096
"""Bytes that any event may add: what ends something must not be missed because of what is remembered already."""
_PATTERN = "pattern:"
"""What the names of a pattern's own timers start with."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Memories:
    """The memories in a book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def seen(self, rule: Rule, key: str, roles: tuple[str, ...], moment: Moment) -> Reaction | Unmet:
        """Show an event to a rule's pattern, unless it is too large to be remembered beside the others."""
        memory = self._of(state_key(rule.id, key), moment.stamp)
        reaction = rule.pattern.seen(roles, moment, memory)
        size = _size(reaction.memory)
        if size > LARGEST and size - _size(memory) > SMALL:
            return Unmet(FULL, f"at most {LARGEST} bytes of events that a pattern remembers", size, key)
        return reaction

    def due(self, rule: Rule, timer: Timer, now: Now) -> Reaction:
        """Tell a rule's pattern that a timer of its own is due, and keep what comes of it."""
        memory = self._of(timer.key, now.stamp)
        reaction = rule.pattern.due(timer.name.removeprefix(_PATTERN), timer.due, memory, now)
        self.keep(rule, now.key, timer.key, reaction)
        return reaction

    def begin(self, rules: Iterable[Rule], stamp: datetime) -> None:
        """Let those rules wait that need no event to begin with, unless they do already."""
        for rule in rules:
            if isinstance(rule.pattern, Stands):
                for key, reaction in rule.pattern.begin(stamp).items():
                    filed = state_key(rule.id, key)
                    if not rule.pattern.waits(self._of(filed, stamp)):
                        self.keep(rule, key, filed, reaction)

    def keep(self, rule: Rule, key: str, filed: StateKey, reaction: Reaction) -> None:
        """Write down what a pattern remembers, and set its timers."""
        value = self._book.get(filed) or _NOTHING
        memory = dict(reaction.memory)
        forget = reaction.forget.isoformat() if reaction.forget is not None and memory else None
        timers = {f"{_PATTERN}{name}": due.isoformat() for name, due in reaction.timers.items()}
        if (memory, timers, forget) != (value.get("memory", {}), value.get(TIMERS, {}), value.get("forget")):
            self._book.update(rule.version, key, filed, memory=memory, timers=timers, forget=forget)

    def _of(self, filed: StateKey, stamp: datetime) -> Mapping[str, Any]:
        """Return what a pattern remembers; nothing if that is over, whether it was swept away already or not."""
        value = self._book.get(filed)
        if value is None or ("forget" in value and at(value["forget"]) <= stamp):
            return _NOTHING
        memory: Mapping[str, Any] = value.get("memory", _NOTHING)
        return memory


def _size(memory: Mapping[str, Any]) -> int:
    return len(to_json(dict(memory)))
