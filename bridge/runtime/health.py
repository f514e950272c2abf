"""What is up, since when, and if not, why and what cures it. For /readyz, the command line and metrics.

A part is whatever can fail by itself: the bus, the engine, one source. Each reports its own state; nothing here probes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from bridge.clock import Clock

log = logging.getLogger(__name__)


class Level(StrEnum):
    """How a part is."""

    UP = "up"
    DEGRADED = "degraded"
    """It works, with a flaw that a person should know of."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class PartState:
    """How one part is. `reason` is a short code, `message` says it in words, `cure` says what to do."""

    name: str
    level: Level
    since: datetime
    reason: str = ""
    message: str = ""
    cure: str = ""
    needed: bool = True

    def as_json(self) -> dict[str, JsonValue]:
        """Return it for people and programs; what is empty is left out."""
        said = {"reason": self.reason, "message": self.message, "cure": self.cure}
        return {
            "level": self.level.value,
            "since": self.since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "needed": self.needed,
            **{name: text for name, text in said.items() if text},
        }


class HealthBook:
    """Every part and how it is. `mask` takes secrets out of what parts say."""

    def __init__(self, clock: Clock, mask: Callable[[str], str] = str) -> None:
        self._clock, self._mask = clock, mask
        self._parts: dict[str, PartState] = {}

    def register(self, name: str, *, needed: bool = True) -> Part:
        """Add a part; it is down, `starting`, until it says otherwise.

        `needed`: the bridge is not ready without it. A source that is away is no reason to send
        pushes elsewhere; the bus is.
        """
        self._parts[name] = PartState(
            name, Level.DOWN, self._clock.now(), "starting", "has not reported yet", needed=needed
        )
        return Part(self, name)

    def remove(self, name: str) -> None:
        """Forget a part that is no longer configured."""
        self._parts.pop(name, None)

    def set(self, name: str, level: Level, reason: str = "", message: str = "", cure: str = "") -> None:
        """Note how a part is now; `since` moves only when level or reason change. Raises KeyError if unknown."""
        old = self._parts[name]
        same = (old.level, old.reason) == (level, reason)
        since = old.since if same else self._clock.now()
        new = PartState(name, level, since, reason, self._mask(message), self._mask(cure), old.needed)
        self._parts[name] = new
        if not same and (level is not Level.UP or old.reason != "starting"):
            fields = {"part": name, "level": level.value, "reason": reason, "detail": new.message, "cure": new.cure}
            log.log(logging.INFO if level is Level.UP else logging.WARNING, "health changed", extra=fields)

    def __iter__(self) -> Iterator[PartState]:
        return iter([self._parts[name] for name in sorted(self._parts)])

    def __getitem__(self, name: str) -> PartState:
        return self._parts[name]

    @property
    def ready(self) -> bool:
        """Every needed part works, if with a flaw."""
        return all(part.level is not Level.DOWN for part in self._parts.values() if part.needed)

    def snapshot(self) -> tuple[bool, dict[str, JsonValue]]:
        """Return whether the bridge is ready, and all parts: `ready`, `degraded` or `not ready` at the top."""
        flawless = all(part.level is Level.UP for part in self._parts.values())
        status = "not ready" if not self.ready else "ready" if flawless else "degraded"
        return self.ready, {"status": status, "parts": {part.name: part.as_json() for part in self}}


@dataclass(frozen=True, slots=True)
class Part:
    """A part's own pen in the book."""

    book: HealthBook
    name: str

    def up(self) -> None:
        """It works."""
        self.book.set(self.name, Level.UP)

    def degraded(self, reason: str, message: str, cure: str = "") -> None:
        """It works, with a flaw."""
        self.book.set(self.name, Level.DEGRADED, reason, message, cure)

    def down(self, reason: str, message: str, cure: str = "") -> None:
        """It does not work."""
        self.book.set(self.name, Level.DOWN, reason, message, cure)
