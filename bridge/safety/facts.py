"""What doors know of the state of things: the state book, and what was heard a moment ago.

What is not known stays unknown, and so does what a source said that is not heard any more, or what
it began and never ended: an end that the bridge made up leaves nothing known. Nothing here is
written; the book belongs to the bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from bridge.clock import Clock
from bridge.config.outputs import StateIs
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.state import facts

UNKNOWN: Final = object()
"""What `get` returns for what is not known."""

_TRUE_NOW = frozenset({Origin.LIVE, Origin.RESYNC, Origin.COMMAND, Origin.BRIDGE, Origin.TIMER})

Lookup = Callable[[str, str, JsonValue], JsonValue]
"""`lookup(entity, attribute, default)`."""


class Facts:
    """The known state, for guards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lookup: Lookup | None = None
        self._waiting: list[tuple[StateIs, asyncio.Event]] = []

    def attach(self, lookup: Lookup) -> None:
        """Say where the state book is; until then nothing is known."""
        self._lookup = lookup

    def get(self, entity: str, attribute: str) -> object:
        """Return what is known, or UNKNOWN."""
        if self._lookup is None:
            return UNKNOWN
        source = entity.partition("/")[0]
        if entity != source and self._lookup(source, "link", None) == "down":
            return UNKNOWN
        value = self._lookup(entity, attribute, None)
        return UNKNOWN if value is None else value

    def holds(self, wanted: StateIs) -> bool | None:
        """Return whether the state is so; None if it is not known."""
        value = self.get(wanted.entity, wanted.attribute)
        return None if value is UNKNOWN else _among(value, wanted.values)

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in, for whoever waits for what it says."""
        if not self._waiting or event.origin not in _TRUE_NOW:
            return
        for fact in facts(event):
            for wanted, seen in self._waiting:
                same = (fact.entity, fact.attribute) == (wanted.entity, wanted.attribute)
                if same and _among(fact.value, wanted.values):
                    seen.set()

    async def seen(self, wanted: StateIs, within: timedelta) -> bool:
        """Return whether the state is so, or becomes so in time."""
        entry = (wanted, asyncio.Event())
        self._waiting.append(entry)
        try:
            return self.holds(wanted) is True or await self._in_time(entry[1], within)
        finally:
            self._waiting.remove(entry)

    async def _in_time(self, seen: asyncio.Event, within: timedelta) -> bool:
        waits = (
            asyncio.ensure_future(seen.wait()),
            asyncio.ensure_future(self._clock.sleep(within.total_seconds())),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return seen.is_set()


def _among(value: object, wanted: Sequence[object]) -> bool:
    """Compare as JSON does: `true` is not 1."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted)
