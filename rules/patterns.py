"""What a rule waits for: the seam between the engine and the shapes that events can make over time.

A pattern is a pure function with a memory that the engine keeps for it, per rule and key, together
with the timers it asks for. A single event is the simplest pattern: it remembers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from bridge.sdk import VmsEvent
from rules.moment import Moment

Memory = Mapping[str, Any]
"""JSON: it is written down with the engine's state. Never changed in place."""
NO_TIMERS: Mapping[str, datetime] = {}


@dataclass(frozen=True, slots=True)
class Fire:
    """The pattern is complete: by which events, and which of them decided."""

    causes: tuple[str, ...]
    trigger: VmsEvent


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a pattern made of an event or a timer."""

    memory: Memory = field(default_factory=dict)
    """What it remembers from here on; empty: nothing."""
    timers: Mapping[str, datetime] = field(default_factory=dict)
    """Every timer it wants from here on, by name; one that is left out is cancelled."""
    fire: Fire | None = None
    unmet: str | None = None
    """If it does not fire: what is still missing, in words."""


class Pattern(Protocol):
    """A shape of events in time. Both methods are pure."""

    def seen(self, role: str, moment: Moment, memory: Memory) -> Reaction:
        """React to an event that passed the tests of one of the rule's triggers, named by its role."""
        ...

    def due(self, timer: str, at: datetime, memory: Memory) -> Reaction:
        """React to a timer. `at` is the time it was set to; a timer set in return must be later than that."""
        ...


class OneEvent:
    """One event is enough."""

    def seen(self, role: str, moment: Moment, memory: Memory) -> Reaction:
        """Fire."""
        return Reaction(fire=Fire((moment.event.id,), moment.event))

    def due(self, timer: str, at: datetime, memory: Memory) -> Reaction:
        """Nothing is ever due: it sets no timers."""
        return Reaction()
