"""What doors know of the state of things: what was told live, and holds still.

What was fetched from a log, replayed or made up says nothing here, and of what may have been said before and sent
again (`doubtful`) only that what was known is not known any more. What a source said that is listened to counts only
within the session in which it said it: before, it may have changed with nobody there to see. The same for a channel
that its source does not hear any more, or whose number means another camera now. What nobody listens to (a push
client, a rule, a person) counts until it says otherwise, over restarts too, but not over a restore. What is not known
stays unknown. Nothing here is written; the book belongs to the bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import eq
from typing import Final

from bridge.clock import Clock
from bridge.config.outputs import StateIs
from bridge.schema.event import VmsEvent
from bridge.schema.state import CONNECTED, LINK, STATUS, Told, facts, renumbered, same_value, told_by

UNKNOWN: Final = object()
"""What `get` returns for what is not known."""

_Key = tuple[str, str]
"""Entity and attribute."""


class Facts:
    """The known state, for guards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[_Key, Told] = {}
        self._links: dict[str, tuple[bool, datetime]] = {}
        """Of each source that is listened to: whether it is heard, and since when it is so."""
        self._waiting: list[tuple[StateIs, asyncio.Event]] = []

    def remember(self, known: Mapping[_Key, Told], since: datetime | None = None) -> None:
        """Take over what was known before the start, but for sources that were listened to.

        `since`: when the data were restored. What was heard before is what a backup says.
        """
        listened = {entity for entity, attribute in known if attribute == LINK}
        for (entity, attribute), told in known.items():
            if _source_of(entity) not in listened and (since is None or told.received >= since):
                self._told.setdefault((entity, attribute), told)

    def link(self, source: str, up: bool, since: datetime) -> None:
        """Note how the link to a source is that is listened to. When it changes, what the source said is over."""
        if self._links.get(source) == (up, since):
            return
        self._links[source] = (up, since)
        self._forget(lambda entity: _source_of(entity) == source)

    def get(self, entity: str, attribute: str) -> object:
        """Return what is known, or UNKNOWN."""
        told = self._told.get((entity, attribute))
        up, _ = self._links.get(_source_of(entity), (True, None))
        if told is None or told.value is None or told.doubtful or not (up or attribute == LINK):
            return UNKNOWN
        heard = attribute == STATUS or (entity, STATUS) not in self._told or self.get(entity, STATUS) == CONNECTED
        return told.value if heard else UNKNOWN

    def holds(self, wanted: StateIs) -> bool | None:
        """Return whether the state is so; None if it is not known."""
        value = self.get(wanted.entity, wanted.attribute)
        return None if value is UNKNOWN else _among(value, wanted.values)

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in, also for whoever waits for what it says."""
        now = self._clock.now()
        for other in renumbered(event):
            self._forget(partial(eq, other))
        for entity, attribute, value in facts(event):
            _, since = self._links.get(_source_of(entity), (True, event.received))
            if event.received < since <= now:
                continue  # heard in an earlier session; if that lies in the future, our clock went back
            known = self._told.get((entity, attribute))
            told = told_by(event, value, known, now)
            if told is None:
                continue
            if attribute == STATUS and known is not None and (known.value != told.value or known.doubtful):
                self._forget(partial(eq, entity))
            self._told[entity, attribute] = told
        for wanted, seen in self._waiting:
            if self.holds(wanted):
                seen.set()

    def _forget(self, which: Callable[[str], bool]) -> None:
        self._told = {key: told for key, told in self._told.items() if not which(key[0])}

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


def _source_of(entity: str) -> str:
    return entity.partition("/")[0]


def _among(value: object, wanted: Sequence[object]) -> bool:
    return any(same_value(value, one) for one in wanted)
