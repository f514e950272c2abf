"""Tell what happened while nobody listened, from the server's own logs: the event log, plates, objects.

It reads and says; what is new among it, how far a gap has been filled, and when to look again is the
bridge's business. Topics without a log are named, and logs that do not reach back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from bridge.sdk import (
    ConnectorAuthError,
    ConnectorUnsupportedError,
    Missed,
    VmsEvent,
    kinds,
)

from .logs import oldest, pages
from .rows import Log, Page, Row
from .system import Capability, System
from .topics import TOPICS

LOGS: Mapping[Log, str] = {"events": "systemEvent", "plates": "LPR", "objects": "object"}
"""The topic behind each log (guide 0.9.20, "Search"); no other topic has one."""
_SETTLED = timedelta(seconds=2)
"""What is younger is left to the next reading: it is on its way over the socket, where it may open a door."""
_LONGEST = timedelta(days=1)
"""An incident that goes on longer is not looked for at its beginning any more."""
_FIRST_ROW = "1"
"""A row numbered so is the first that ever was, so that nothing can have gone before it."""


class Backfill(Capability):
    """Backfills of the contracts."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._open: dict[str, datetime] = {}
        """Incidents that go on, and when they began: their row will change."""

    async def missed(self, since: datetime, until: datetime) -> AsyncIterator[Missed]:
        """Yield what the logs say about the span, page by page; see the contract. Raises ConnectorError.

        A vehicle that came before the span is left out though its row may have grown, and so is a line that has
        not changed since: they were heard then.
        """
        found = (await self._system.api()).found
        ahead = found.clock_offset or timedelta(0)
        begin, end = since + ahead, until + ahead
        latest = self._system.clock.now() + ahead - _SETTLED
        without = [topic for topic in TOPICS if topic not in LOGS.values()]
        for log in self._wanted():
            try:
                async for missed in self._read(log, begin, end, latest):
                    yield missed
            except (ConnectorAuthError, ConnectorUnsupportedError):
                # The licence or the user lacks it. If the server refuses us altogether, the session ends as well.
                without.append(LOGS[log])
        yield Missed((), unfetchable=tuple(without))

    def note_incidents(self, events: Iterable[VmsEvent]) -> None:
        """Remember which lines of the event log will change, to ask for them from their beginning."""
        for event in events:
            data = event.data
            if not isinstance(data, kinds.SystemLog):
                continue
            if data.ongoing:
                self._open[data.log_id] = data.began
            else:
                self._open.pop(data.log_id, None)

    def _wanted(self) -> Sequence[Log]:
        topics = self._system.config.topics
        return [log for log, topic in LOGS.items() if topics is None or topic in topics]

    async def _read(self, log: Log, begin: datetime, end: datetime, latest: datetime) -> AsyncIterator[Missed]:
        first = await oldest(self._system, log, end)
        if first is not None and first.event.time > begin and first.place != _FIRST_ROW:
            yield Missed((), log=log, begins=first.event.time)
        async for page in pages(self._system, log, begin, end):
            yield self._found(log, page, [row for row in page.rows if self._is_wanted(log, row, begin, latest)])
        began = self._still_open(begin)
        if log != "events" or not began:
            return
        # By themselves, because a wider span would tell less about the hour that comes twice.
        async for page in pages(self._system, log, min(began), begin):
            rows = [row for row in page.rows if row.place in self._open and self._is_wanted(log, row, begin, latest)]
            yield self._found(log, page, rows)

    def _found(self, log: Log, page: Page, rows: Sequence[Row]) -> Missed:
        events = [row.event for row in rows]
        self.note_incidents(events)
        return Missed(events, {row.event.id: row.keys for row in rows}, log, refused=len(page.refused))

    def _still_open(self, begin: datetime) -> list[datetime]:
        """Return when incidents began that go on, as far as is known, and were there before the span."""
        self._open = {line: began for line, began in self._open.items() if began > begin - _LONGEST}
        return [began for began in self._open.values() if began < begin]

    def _is_wanted(self, log: Log, row: Row, begin: datetime, latest: datetime) -> bool:
        if not begin <= row.last <= latest or (log == "plates" and row.event.time < begin):
            return False
        if log == "events":
            return True
        channels = {str(channel) for channel in self._system.config.channels}
        subject = row.event.subject
        reader = getattr(row.event.data, "device", None)  # one without a camera belongs to no channel
        return not channels or subject is None or subject == reader or subject in channels
