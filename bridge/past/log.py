"""Read the log of the past: from place to place, by time, or one event by its id.

A reader's own short-lived consumers are all it makes; nothing is acknowledged and nothing written.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json

from bridge.bus.connect import Connection
from bridge.bus.pull import place, scan
from bridge.bus.streams import stream_name
from bridge.bus.wire import NO_MESSAGE, Received, RefusedError
from bridge.contracts import Logged
from bridge.schema.event import VmsEvent

SPAN = 20_000
"""Messages read in one go when an event is searched for, the newest first."""


class Ends(NamedTuple):
    """The first and the last place of the log; `first` is `last + 1` when it is empty."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Places of which nothing is there any more."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"the log has a hole from {self.first} to {self.last}: what was decided after it may have been otherwise"


class PastLog:
    """The events of a site as they are stored. Every method raises StoreUnavailableError when it cannot read."""

    def __init__(self, connection: Connection, site: str) -> None:
        self._connection, self._stream = connection, stream_name(site, "EVENTS")
        self.holes: list[Hole] = []
        """What was not there where something was read."""

    async def ends(self) -> Ends:
        """Return where the log begins and ends now."""
        state = (await self._connection.api(f"STREAM.INFO.{self._stream}"))["state"]
        first, last = int(state["first_seq"]), int(state["last_seq"])
        return Ends(first, last) if int(state["messages"]) else Ends(last + 1, last)

    async def messages(self, after: int, last: int) -> AsyncGenerator[Sequence[Received], None]:
        """Yield what is stored after a place, up to and with the other."""
        if after >= last:
            return
        expected = after + 1
        async with aclosing(scan(self._connection, self._stream, after=after)) as batches:
            async for batch in batches:
                if place(batch[-1].reply).seq > last:
                    batch = [message for message in batch if place(message.reply).seq <= last]
                if batch:
                    expected = self._count(batch, expected)
                    yield batch
                if expected > last:
                    return

    def _count(self, batch: Sequence[Received], expected: int) -> int:
        """Note what is missing in a batch, or before it; return the place that should come next."""
        end = place(batch[-1].reply).seq
        if end - expected + 1 != len(batch):
            for message in batch:
                seq = place(message.reply).seq
                if seq > expected:
                    self.holes.append(Hole(expected, seq - 1))
                expected = seq + 1
        return end + 1

    async def read(self, after: int, last: int) -> AsyncGenerator[Sequence[Logged], None]:
        """Yield the events after a place, up to and with the other; as for the engine, what is no event is left out."""
        async with aclosing(self.messages(after, last)) as batches:
            async for batch in batches:
                if events := [logged for message in batch if (logged := decode(message)) is not None]:
                    yield events

    async def before(self, moment: datetime) -> int:
        """Return the last place that was stored before a moment; what follows was stored then or later."""
        async with aclosing(scan(self._connection, self._stream, since=moment)) as batches:
            async for batch in batches:
                return place(batch[0].reply).seq - 1
        return (await self.ends()).last

    async def stamp(self, seq: int) -> datetime | None:
        """Return when the message at a place was stored; None if there is none."""
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", {"seq": seq})
        except RefusedError as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        return datetime.fromisoformat(answer["message"]["time"]).astimezone(UTC)

    async def at(self, seq: int) -> Logged | None:
        """Return the event at a place; None if there is none."""
        async with aclosing(self.read(seq - 1, seq)) as batches:
            async for batch in batches:
                return batch[0]
        return None

    async def find(self, event_id: str) -> Logged | None:
        """Return the newest event with an id; None if there is none. Reads backwards until it is found."""
        needle = to_json(event_id)
        ends = await self.ends()
        last = ends.last
        while last >= ends.first:
            after = max(ends.first - 1, last - SPAN)
            found = None
            async with aclosing(self.messages(after, last)) as batches:
                async for batch in batches:
                    for message in batch:
                        if needle in message.data and (logged := decode(message)) and logged.event.id == event_id:
                            found = logged
            if found is not None:
                return found
            last = after
        return None


def decode(message: Received) -> Logged | None:
    """Return the event of a stored message; None if it is none."""
    where = place(message.reply)
    try:
        return Logged(where.seq, where.stamp, VmsEvent.decode(message.data))
    except ValidationError:
        return None
