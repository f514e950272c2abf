"""Let one happening into the log once, by however many ways it comes: live, pushed, or from a source's own log.

Stands in front of intake. Events of different ways have different ids; the keys that their connector
gives them tell whether they are the same. The first one goes on, the others are counted and dropped,
and what was promised for the first counts for them: a push is acknowledged when its twin is stored.

Two events of the same way are never twins of each other, because a system does not say one thing
twice in different words: there only the id counts. A pushed and a live event are paired one to one; a
row of a log may stand for many live ones, since a car that waits is read again and again.

Whose events may be one is configured, not claimed: a source's own, and those of push clients that are said to be twins
of it. Otherwise whoever may push could name another's plate and moment, and have it dropped.

Keys say nothing to this module. What it remembers is bounded, and can be read again from the event log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from bridge.contracts import Emit, Missed, TwinKeys, TwinReader
from bridge.errors import StoreUnavailableError
from bridge.schema.event import VmsEvent

MEMORY = timedelta(minutes=15)
"""How long events are remembered: longer than two ways are apart, and than the overlap that gaps are read with."""
ROOM = 20_000
"""Events remembered for each source at most, 15 MB. At 50 plates and objects a second this is more than six minutes."""
ROOM_WHILE_FILLING = 200_000
"""The same while a source has a gap: nothing that its log may still tell must be forgotten, however old."""
LOG = "log"
"""The way of rows that are fetched afterwards."""
_NO_KEYS = TwinKeys()


class TwinCounter(Protocol):
    """Where twins are counted."""

    def twin(self, source: str, via: str) -> None:
        """An event was dropped, because the same happening had come already."""
        ...


_Name = tuple[str, str]
"""Source and id, which only together name an event."""


class _Hand:
    """Events that were handed on together, and whether they are stored."""

    __slots__ = ("early", "noted", "stored")

    def __init__(self) -> None:
        self.noted: list[_Seen] = []
        self.stored: asyncio.Future[None] | None = None
        self.early: asyncio.Future[None] | None = None
        """For whoever asks before the log has taken them over; it may be long about it."""

    def promise(self) -> asyncio.Future[None]:
        """Return what is done when they are stored."""
        if self.stored is not None:
            return self.stored
        if self.early is None:
            self.early = asyncio.get_running_loop().create_future()
        return self.early


class _Seen:
    """An event that went on. Made for every plate and object, so it is kept lean."""

    __slots__ = ("also", "gone", "hand", "keys", "name", "paired", "received", "scope", "via")

    def __init__(self, name: _Name, event: VmsEvent, scope: Set[str], keys: Sequence[str], hand: _Hand | None) -> None:
        self.name, self.via, self.scope, self.keys = name, event.via, scope, keys
        self.received = event.received
        self.hand = hand
        """With whom it is on its way; None once it is stored."""
        self.also: tuple[_Name, ...] = ()
        """The events that were the same."""
        self.paired: tuple[str, ...] = ()
        """The ways by which it came once more."""
        self.gone = False

    def is_twin_of(self, via: str, scope: Set[str]) -> bool:
        """Tell whether an event that seeks one of our keys is the same happening."""
        if self.via == via or self.scope.isdisjoint(scope):
            return False
        return LOG in (via, self.via) or via not in self.paired


class TwinMatcher:
    """An `Emit` that passes each happening on once. One task at a time is in it: the event loop's."""

    def __init__(
        self,
        emit: Emit,
        sources: Mapping[str, Mapping[str, TwinReader]],
        pushed: Mapping[str, TwinReader],
        counter: TwinCounter,
        *,
        twin_of: Mapping[str, Collection[str]] | None = None,
        room: int = ROOM,
    ) -> None:
        """`sources` has the readers by `<site>/<source>` and kind; `pushed` those of every other source.

        An event of another source is one that somebody pushes to us. It may be the same as one of the
        sources that `twin_of` names for its own, and of no others.
        """
        self._emit, self._sources, self._pushed, self._counter = emit, sources, pushed, counter
        self._scopes = {source: frozenset((source, *others)) for source, others in (twin_of or {}).items()}
        self._room = room
        self._ids: dict[_Name, _Seen] = {}
        self._keys: dict[str, _Seen | tuple[_Seen, ...]] = {}
        """A tuple only where more than one has the key: most are one of a kind."""
        self._order: dict[str, deque[_Seen]] = {}
        self._filling: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        """Take events over, as `Emit` does. A twin is stored when the event is that it is a twin of."""
        sources, pushed = self._sources, self._pushed
        readers = [sources.get(event.source, pushed).get(event.type) for event in events]
        if not any(readers):
            return await self._emit(events)
        keyed = [reader and reader(event) for event, reader in zip(events, readers, strict=True)]
        return (await self._sift(events, keyed))[1]

    async def fill(self, missed: Missed) -> Sequence[VmsEvent]:
        """Store what is new of a page of missed events and return it. Raises StoreUnavailableError."""
        keyed = [missed.twins.get(event.id, _NO_KEYS) for event in missed.events]
        new, stored = await self._sift(missed.events, keyed)
        await stored
        return new

    def remember(self, event: VmsEvent) -> None:
        """Note an event that stands in the log."""
        reader = self._sources.get(event.source, self._pushed).get(event.type)
        name = (event.source, event.id)
        if reader is not None and name not in self._ids:
            self._note(event, name, self._scope(event.source), reader(event), None)

    def filling(self, source: str, active: bool) -> None:
        """Say that `<site>/<source>` has a gap that is not told yet, or no more."""
        if active:
            self._filling.add(source)
        else:
            self._filling.discard(source)

    # --- telling them apart -----------------------------------------------------------------------

    async def _sift(
        self, events: Sequence[VmsEvent], keyed: Sequence[TwinKeys | None]
    ) -> tuple[list[VmsEvent], asyncio.Future[None]]:
        hand = _Hand()
        new: list[VmsEvent] = []
        others: set[_Hand] = set()
        for event, keys in zip(events, keyed, strict=True):
            if keys is None:
                new.append(event)
                continue
            name = (event.source, event.id)
            scope = self._scope(name[0])
            twin = self._find(event, name, scope, keys)
            if twin is None:
                new.append(event)
                hand.noted.append(self._note(event, name, scope, keys, hand))
                continue
            if event.via != LOG or twin.via != LOG:  # a row that is read again is no news to anybody
                self._counter.twin(event.source_name, event.via)
            if twin.hand is not None and twin.hand is not hand:
                others.add(twin.hand)
        if new and not others:
            return new, await self._pass_on(new, hand)
        promises = {other.promise() for other in others}
        if new:
            promises.add(await self._pass_on(new, hand))
        return new, promises.pop() if len(promises) == 1 else _all_of(promises)

    async def _pass_on(self, new: Sequence[VmsEvent], hand: _Hand) -> asyncio.Future[None]:
        try:
            stored = await self._emit(new)
        except BaseException as exc:
            self._forget(hand.noted)
            if hand.early is not None:
                _end(hand.early, exc)
            raise
        hand.stored = stored
        stored.add_done_callback(partial(self._settle, hand))
        return stored

    def _scope(self, source: str) -> Set[str]:
        """Return the sources by which what this one says may come too."""
        scope = self._scopes.get(source)
        if scope is None:
            scope = self._scopes[source] = frozenset((source,))
        return scope

    def _find(self, event: VmsEvent, name: _Name, scope: Set[str], keys: TwinKeys) -> _Seen | None:
        same = self._ids.get(name)
        if same is not None:
            return same
        via, known = event.via, self._keys
        for key in keys.seeks:
            found = known.get(key)
            if found is None:
                continue
            for seen in (found,) if isinstance(found, _Seen) else found:
                if seen.is_twin_of(via, scope):
                    if via != LOG:
                        seen.paired += (via,)
                    seen.also += (name,)
                    self._ids[name] = seen
                    return seen
        return None

    # --- remembering ------------------------------------------------------------------------------

    def _note(self, event: VmsEvent, name: _Name, scope: Set[str], keys: TwinKeys, hand: _Hand | None) -> _Seen:
        seen = self._ids[name] = _Seen(name, event, scope, keys.known_by, hand)
        known = self._keys
        for key in keys.known_by:
            others = known.get(key)
            if others is None:
                known[key] = seen
            else:
                known[key] = (others, seen) if isinstance(others, _Seen) else (*others, seen)
        source = name[0]
        order = self._order.get(source)
        if order is None:
            order = self._order[source] = deque()
        order.append(seen)
        if len(order) > self._room or seen.received - order[0].received > MEMORY:
            self._trim(source, seen.received)
        return seen

    def _trim(self, source: str, now: datetime) -> None:
        order = self._order[source]
        # What was pushed may be in the log of a source that has a gap.
        needed = not self._filling.isdisjoint(self._scope(source))
        room = max(self._room, ROOM_WHILE_FILLING) if needed else self._room
        while len(order) > room or (not needed and now - order[0].received > MEMORY):
            self._forget([order.popleft()])

    def _settle(self, hand: _Hand, stored: asyncio.Future[None]) -> None:
        error = _error_of(stored)
        if error is None:
            for seen in hand.noted:
                seen.hand = None
        else:
            self._forget(hand.noted)
        if hand.early is not None:
            _end(hand.early, error)

    def _forget(self, noted: Iterable[_Seen]) -> None:
        """Forget events: too many are known, or they were not stored and will come again."""
        for seen in noted:
            if seen.gone:
                continue
            seen.gone = True
            for name in (seen.name, *seen.also):
                del self._ids[name]
            for key in seen.keys:
                self._forget_key(key, seen)

    def _forget_key(self, key: str, seen: _Seen) -> None:
        found = self._keys.get(key)
        if found is seen:
            del self._keys[key]
        elif isinstance(found, tuple):
            rest = tuple(other for other in found if other is not seen)
            self._keys[key] = rest[0] if len(rest) == 1 else rest


def _error_of(done: asyncio.Future[None]) -> BaseException | None:
    return asyncio.CancelledError() if done.cancelled() else done.exception()


def _end(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
        return
    if not isinstance(error, StoreUnavailableError):
        # Who brought the twin was cut off. That ends him, and nobody who waits beside him: they come again.
        error = StoreUnavailableError("what came with it was not handed over")
    future.set_exception(error)
    future.exception()  # looked at here: whoever waits may have gone


def _all_of(promises: set[asyncio.Future[None]]) -> asyncio.Future[None]:
    """Return a future that ends when all of some have: with a failure if there is one, well if there is none."""
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = set(promises)
    errors: list[BaseException] = []

    def ended(done: asyncio.Future[None]) -> None:
        left.discard(done)
        if (error := _error_of(done)) is not None:
            errors.append(error)
        if not left:
            _end(outcome, errors[0] if errors else None)

    for promise in promises:
        promise.add_done_callback(ended)
    if not promises:
        outcome.set_result(None)
    return outcome
