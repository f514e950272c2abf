"""What a rule waits for: the seam between the engine and the shapes that events can make over time.

A pattern is a pure function with a memory that the engine keeps for it, per rule and key, together
with the timers it asks for. A single event is the simplest pattern: it remembers nothing.

Two clocks, never mixed: where an event belongs is told by its own time, but never later than the
log's; timers, and how long something is remembered, go by the log's stamps alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from bridge.sdk import Origin, VmsEvent
from rules.moment import NO_WAIT, Moment

__all__ = ["NO_WAIT", "Fire", "Memory", "Now", "OneEvent", "Pattern", "Reaction", "Stands"]

Memory = Mapping[str, Any]
"""JSON: it is written down with the engine's state. Never changed in place."""
MAX_CAUSES = 100
"""Events that a firing names as its causes; of more, the last ones."""


@dataclass(frozen=True, slots=True)
class Fire:
    """The pattern is complete: by which events, and which of them decided."""

    causes: tuple[str, ...]
    trigger: VmsEvent
    origin: Origin | None = None
    """The least trustworthy among the causes; None: the trigger's own."""
    waited: timedelta = NO_WAIT
    """How long after the trigger it became complete because the rule asks for that; it makes nothing older."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a pattern made of an event or a timer."""

    memory: Memory = field(default_factory=dict)
    """What it remembers from here on; empty: nothing."""
    timers: Mapping[str, datetime] = field(default_factory=dict)
    """Every timer it wants from here on, by name; one that is left out is cancelled."""
    fire: Fire | None = None
    unmet: str | None = None
    """If it does not fire: what is still missing, in words. None: nothing worth a trace."""
    words: str | None = field(default=None, compare=False)
    """What it made of an event that is worth no trace: for whoever asks about that event."""
    forget: datetime | None = None
    """From this stamp on its memory is worth nothing."""
    inconclusive: bool = False
    """It does not fire because nobody can know: a source was not heard all the time."""
    about: VmsEvent | None = None
    """For a timer that does not fire: the event that its trace is about."""


@dataclass(frozen=True, slots=True)
class Now:
    """What a pattern may know when a timer is due."""

    stamp: datetime
    key: str
    deaf: Callable[[Iterable[str], datetime], str | None]
    """Which of some sources was not heard all the time since a stamp, and why, in words; None: all were heard."""
    news_may_follow: bool = False
    """Whether the log may go on with the news that the bridge was away until just now."""


class Pattern(Protocol):
    """A shape of events in time. Both methods are pure."""

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """React to an event that passed the tests of one or more of the rule's triggers, named by their roles."""
        ...

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """React to a timer. `at` is the time it was set to."""
        ...


@runtime_checkable
class Stands(Protocol):
    """A pattern that waits from the moment its rule is in force, without an event to begin with."""

    def begin(self, stamp: datetime) -> Mapping[str, Reaction]:
        """Return what it remembers at first, by key."""
        ...

    def waits(self, memory: Memory) -> bool:
        """Tell whether it waits already, and for the right thing."""
        ...


class OneEvent:
    """One event is enough."""

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Fire."""
        return Reaction(fire=Fire((moment.event.id,), moment.event))

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Nothing is ever due: it sets no timers."""
        return Reaction()
