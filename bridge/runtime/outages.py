"""What is remembered of a source's outages until each of them has been told: a small record, written durably.

It says when the source was last heard and which outages are not told yet, how far each has been filled
from the source's own log, and what was found. Whoever dies in between goes on from here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pydantic import Field

from bridge.schema.base import Record, UtcTime, stable_id
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import SourceGap

STOPPED = "stopped"
"""The cause of an outage that is the bridge's own: it did not run."""


class Outage(Record):
    """One span in which a source was not heard."""

    since: UtcTime
    until: UtcTime | None = None
    cause: str
    topics: tuple[str, ...] = ()
    begun: UtcTime | None = None
    """When filling it began; what was fetched since is counted for it."""
    reached: UtcTime | None = None
    """Up to where its source's log has been read once."""
    fetched: Mapping[str, int] = Field(default_factory=dict)
    lost: frozenset[str] | None = frozenset()
    """Topics that cannot be fetched; None: none can."""
    log_begins: Mapping[str, UtcTime] = Field(default_factory=dict)
    refused: int = 0
    complete: bool = False
    """Nothing is missing but the telling, which may have been done."""

    def id_for(self, source: str) -> str:
        """Return the id of the event that tells it: the same after a crash. The source is `<site>/<name>`."""
        return stable_id("source.gap", source, self.since.isoformat())

    def told(self) -> SourceGap:
        """Return what is told of it. It must have ended."""
        if self.until is None:
            raise ValueError("an outage that lasts cannot be told")
        return SourceGap(
            gap_from=self.since,
            gap_to=self.until,
            cause=self.cause,
            topics=self.topics,
            fetched=dict(self.fetched),
            lost=tuple(topic for topic in self.topics if self.lost is None or topic in self.lost),
            log_begins=dict(self.log_begins),
            refused=self.refused,
        )


class Cursor(Record):
    """All that is remembered of one source."""

    heard: UtcTime
    outages: tuple[Outage, ...] = ()
    """At most one is without an end."""


class CursorStore(Protocol):
    """Where the records are kept, by `<site>/<source>`. Every method raises StoreUnavailableError."""

    async def load(self, source: str) -> bytes | None:
        """Return what is remembered of a source; None if it was never listened to."""
        ...

    async def save(self, source: str, record: bytes) -> None:
        """Replace it; returns when that is synced."""
        ...

    async def is_told(self, source: str, event: str) -> bool:
        """Tell whether the last gap that was told of a source is the event of that id."""
        ...

    def recall(self, source: str, since: datetime, until: datetime) -> AsyncIterator[Sequence[VmsEvent]]:
        """Yield what was logged in a span and may be found in a source's own log: its events, and pushed ones."""
        ...


class Forgetful:
    """A `CursorStore` for a bridge that need not survive."""

    async def load(self, source: str) -> bytes | None:
        """Know of nothing."""
        return None

    async def save(self, source: str, record: bytes) -> None:
        """Keep nothing."""

    async def is_told(self, source: str, event: str) -> bool:
        """Know of none."""
        return False

    async def recall(self, source: str, since: datetime, until: datetime) -> AsyncIterator[Sequence[VmsEvent]]:
        """Know of none."""
        nothing: Sequence[Sequence[VmsEvent]] = ()
        for events in nothing:
            yield events
