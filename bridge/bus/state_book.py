"""What is known of the state of things, as the events said it last; the `state` bucket is its copy.

The truth is the log. The bucket is written behind, together with the place in the log up to which
it is complete; at start the rest is read from the log. So a crash never leaves a book that knows
less than what was stored: a snapshot is compared with the right thing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from bridge.bus import stored
from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.kv import Bucket, key_of
from bridge.bus.pull import place, scan
from bridge.bus.wire import MAX_BATCH, Outgoing
from bridge.schema.event import VmsEvent
from bridge.schema.state import LASTING, Fact, Told, facts, same_value, told_by

_log = logging.getLogger(__name__)

_CURSOR = "_cursor"
"""Key of the place in the log; no entity has it, a literal `_` in a name is escaped."""
_PATIENCE = 15.0
BEHIND = 2000
"""Messages that the written place may be behind the log while they say nothing to be copied. A start reads them again,
in a fifth of a second; without this it would read the whole log of a site where nothing but plates is read."""

Key = tuple[str, str]
"""Entity and attribute."""
Learnt = list[tuple[Key, Told]]
"""What an event has changed."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""For what was written down without its times."""


class StateBook:
    """Facts by entity and attribute. Written by one intake."""

    def __init__(self, connection: Connection, acks: Acks, bucket: Bucket, events: str) -> None:
        self._connection, self._acks = connection, acks
        self._bucket, self._events = bucket, events
        self._known: dict[Key, Told] = {}
        self._dirty: dict[Key, Told] = {}
        self._seq = self._written = 0

    def __len__(self) -> int:
        return len(self._known)

    async def load(self) -> None:
        """Read the bucket, and from the log what is newer. Raises StoreUnavailableError."""
        async for key, entry in self._bucket.items():
            content = from_json(entry.value or b"null")
            if key == _CURSOR:
                self._seq = self._written = content["seq"]
            else:
                self._known[content["entity"], content["attribute"]] = _told(content)
        end = await stored.end(self._connection, self._events)
        if self._seq > end:  # the log was lost: what comes now gets the numbers of what is known already
            await self._note_place(end)
            self._seq = end
        async for messages in scan(self._connection, self._events, after=self._seq):
            for message in messages:
                at = place(message.reply)
                try:
                    learnt = self.learn(VmsEvent.decode(message.data), at.stamp)
                except ValidationError:  # the engine's reader puts it among the dead letters
                    learnt = []
                self.stored(learnt, at.seq)

    def all(self) -> Mapping[Key, Told]:
        """Return everything that is known, as of now."""
        return dict(self._known)

    def lasting(self) -> list[tuple[str, str]]:
        """Return what is on: entity and the kind of event that began it."""
        on = [key for key, told in self._known.items() if told.value == "on" and key[1] in LASTING]
        return [(entity, LASTING[attribute]) for entity, attribute in on]

    def knows(self, said: list[Fact]) -> bool:
        """Whether all of it is known already. Nothing said is nothing known."""
        known = self._known
        return bool(said) and all(
            (told := known.get((fact.entity, fact.attribute))) is not None and same_value(told.value, fact.value)
            for fact in said
        )

    def learn(self, event: VmsEvent, now: datetime) -> Learnt:
        """Take what an event says as known from now on, before it is stored, so that what follows is compared with it.

        Return what it has changed. `now` is when the event came in.
        """
        learnt: Learnt = []
        for entity, attribute, value in facts(event):
            told = told_by(event, value, self._known.get((entity, attribute)), now)
            if told is not None:
                self._known[entity, attribute] = told
                learnt.append(((entity, attribute), told))
        return learnt

    def doubt(self, learnt: Learnt) -> None:
        """Forget what was learnt from an event that could not be stored: the next snapshot tells it again."""
        for key, told in learnt:
            if (known := self._known.get(key)) is not None and same_value(known.value, told.value):
                del self._known[key]

    def stored(self, learnt: Learnt, seq: int) -> None:
        """Note facts that stand in the log, to be copied to the bucket."""
        self._dirty.update(learnt)
        self._seq = max(self._seq, seq)

    async def flush(self) -> None:
        """Copy what changed to the bucket. Raises StoreUnavailableError; nothing is forgotten then."""
        dirty, seq = self._dirty, self._seq
        if not dirty and seq - self._written < BEHIND:
            return
        self._dirty = {}
        try:
            messages = [self._message(key, told) for key, told in dirty.items()]
            for start in range(0, len(messages), MAX_BATCH):
                await self._acks.store(messages[start : start + MAX_BATCH], _PATIENCE)
            await self._note_place(seq)
        except BaseException:
            self._dirty = dirty | self._dirty
            raise

    async def _note_place(self, seq: int) -> None:
        await self._bucket.put(_CURSOR, to_json({"seq": seq}))
        self._written = seq

    def _message(self, key: Key, told: Told) -> Outgoing:
        content = {"entity": key[0], "attribute": key[1], **told._asdict()}
        return self._bucket.message(key_of(*key), to_json(content))


def _told(content: Mapping[str, Any]) -> Told:
    said, received = content.get("time"), content.get("received")
    return Told(
        content["value"],
        None if said is None else datetime.fromisoformat(said),
        _LONG_AGO if received is None else datetime.fromisoformat(received),
        content.get("doubtful") is True,
    )
