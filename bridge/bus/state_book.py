"""What is known of the state of things, as the events said it last; the `state` bucket is its copy.

The truth is the log. The bucket is written behind, together with the place in the log up to which
it is complete; at start the rest is read from the log. So a crash never leaves a book that knows
less than what was stored: a snapshot is compared with the right thing.
"""

from __future__ import annotations

import logging

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json, to_json

from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.kv import Bucket, key_of
from bridge.bus.pull import place, scan
from bridge.bus.wire import MAX_BATCH, Outgoing
from bridge.schema.event import VmsEvent
from bridge.schema.state import LASTING, Fact, facts

_log = logging.getLogger(__name__)

_CURSOR = "_cursor"
"""Key of the place in the log; no entity has it, a literal `_` in a name is escaped."""
_PATIENCE = 15.0

Key = tuple[str, str]
"""Entity and attribute."""


class StateBook:
    """Facts by entity and attribute. Written by one intake."""

    def __init__(self, connection: Connection, acks: Acks, bucket: Bucket, events: str) -> None:
        self._connection, self._acks = connection, acks
        self._bucket, self._events = bucket, events
        self._known: dict[Key, JsonValue] = {}
        self._dirty: dict[Key, JsonValue] = {}
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
                self._known[content["entity"], content["attribute"]] = content["value"]
        async for messages in scan(self._connection, self._events, after=self._seq):
            for message in messages:
                try:
                    said = facts(VmsEvent.decode(message.data))
                except ValidationError:  # the engine's reader puts it among the dead letters
                    said = []
                self.stored(said, place(message.reply).seq)
        self._known |= self._dirty

    def get(self, entity: str, attribute: str, default: JsonValue = None) -> JsonValue:
        """Return what is known."""
        return self._known.get((entity, attribute), default)

    def lasting(self) -> list[tuple[str, str]]:
        """Return what is on: entity and the kind of event that began it."""
        on = [key for key, value in self._known.items() if value == "on" and key[1] in LASTING]
        return [(entity, LASTING[attribute]) for entity, attribute in on]

    def knows(self, said: list[Fact]) -> bool:
        """Whether all of it is known already. Nothing said is nothing known."""
        known = self._known
        return bool(said) and all(
            (fact.entity, fact.attribute) in known and _same(known[fact.entity, fact.attribute], fact.value)
            for fact in said
        )

    def learn(self, said: list[Fact]) -> None:
        """Take facts as known from now on, before they are stored, so that what follows is compared with them."""
        for fact in said:
            self._known[fact.entity, fact.attribute] = fact.value

    def doubt(self, said: list[Fact]) -> None:
        """Forget what was learnt from an event that could not be stored: the next snapshot tells it again."""
        for fact in said:
            if fact != (fact.entity, "link", "down"):  # that a source is lost is true all the same, and doors ask
                self._known.pop((fact.entity, fact.attribute), None)

    def stored(self, said: list[Fact], seq: int) -> None:
        """Note facts that stand in the log, to be copied to the bucket."""
        for fact in said:
            self._dirty[fact.entity, fact.attribute] = fact.value
        self._seq = max(self._seq, seq)

    async def flush(self) -> None:
        """Copy what changed to the bucket. Raises StoreUnavailableError; nothing is forgotten then."""
        dirty, seq = self._dirty, self._seq
        if not dirty:
            return
        self._dirty = {}
        try:
            messages = [self._message(key, value) for key, value in dirty.items()]
            for start in range(0, len(messages), MAX_BATCH):
                await self._acks.store(messages[start : start + MAX_BATCH], _PATIENCE)
            await self._bucket.put(_CURSOR, to_json({"seq": seq}))
        except BaseException:
            self._dirty = dirty | self._dirty
            raise
        self._written = seq

    def _message(self, key: Key, value: JsonValue) -> Outgoing:
        content = {"entity": key[0], "attribute": key[1], "value": value}
        return self._bucket.message(key_of(*key), to_json(content))


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Compare as JSON does: `true` is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
