"""Be one session with a server: find it, open its event sockets, pass on what they say, until one ends.

The first socket that ends takes the others along; reconnecting is the supervisor's. A socket refused
before its first message is explained by asking the server over HTTP, because the socket never says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from bridge.sdk import (
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
    Session,
    VmsEvent,
)

from . import discover
from .delivery import Delivery, Letter
from .failures import Failure
from .link import Link, Refusal
from .reader import Read, Reader
from .subscribe import Family, door, families
from .system import Api, Capability, System
from .tls import trust
from .values import Dialect
from .wire import Call

_WHO: dict[Dialect, Call] = {"v0": Call("/api/info", {"whoAmI": None}), "v1": Call("/api/v1/event/realtime")}
"""What answers 401 exactly if our credentials are refused; v1 does not name API keys for whoAmI."""
_LARGE = 256 * 1024
"""Bytes from which a message is read in a thread: a large snapshot takes long enough to be felt."""
_CLOCK_FLAW = timedelta(seconds=5)
_NUMBERING = frozenset({"channel.added", "channel.removed", "channel.swapped"})
"""Kinds after which a channel number may mean another camera."""


class Listening(Capability):
    """Listens of the contracts."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._delivery = Delivery()
        self._server_answers_pings = False
        self._taken: set[str] = set()
        """Topics that the server has given us before."""

    async def run(self, session: Session) -> None:
        """Be one session. Raises ConnectorError when it ends; see the contract."""
        api = await self._system.find()
        topics = await discover.topics(self._system.config, api.rest, api.found)
        visit = _Visit(self._system, api, session, self._delivery, self._on_events, self._server_answers_pings)
        visit.taken_before = frozenset(self._taken)
        # In a task of its own, because in Python 3.11 a TaskGroup that fails leaves its task half cancelled,
        # and whoever cancels us must not be told of an outage instead.
        listening = asyncio.create_task(visit.listen(topics), name=f"ts-api[{self._system.context.name}]")
        try:
            await asyncio.wait({listening})
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            visit.tell_unread()
            self._server_answers_pings = visit.server_answers_pings
            self._taken |= visit.taken
            await visit.close()
        error = _cause_of(listening)
        raise error from error.__cause__

    def channels_changed(self) -> None:
        """Called when channel numbers mean other cameras than before."""

    def _on_events(self, events: Sequence[VmsEvent]) -> None:
        if any(event.type in _NUMBERING for event in events):
            self.channels_changed()


class _Visit:
    """The sockets of one session."""

    def __init__(
        self,
        system: System,
        api: Api,
        session: Session,
        delivery: Delivery,
        on_events: Callable[[Sequence[VmsEvent]], None],
        answers_pings: bool,
    ) -> None:
        self._system, self._config, self._api, self._session = system, system.config, api, session
        self._delivery, self._on_events = delivery, on_events
        self._tls = trust(system.config)
        self._answers_pings = answers_pings
        self._links: dict[Link, Family] = {}
        self._refused: dict[str, str] = {}
        self._ready = False
        self.taken_before: frozenset[str] = frozenset()
        self.taken: set[str] = set()
        """Topics that the server gives us."""

    @property
    def server_answers_pings(self) -> bool:
        """Whether the server has been seen to answer pings, now or before."""
        return self._answers_pings or any(link.answers_pings for link in self._links)

    async def listen(self, topics: discover.Topics) -> None:
        """Open all sockets, then read them until one ends; it always ends with an exception."""
        async with asyncio.TaskGroup() as opening:
            for family in families(topics.sure):
                self._start(opening, self._open(family), f"open {family.name}")
        if not self._links and not topics.maybe:
            raise self._none_taken()
        if self._links:
            self._say_ready()
        async with asyncio.TaskGroup() as group:
            self._start(group, self._delivery.retry(self._session), "retry")
            for link, family in list(self._links.items()):
                self._read(group, link, family)
            if topics.maybe:
                self._start(group, self._also(group, topics), "also")

    def tell_unread(self) -> None:
        """Say which of what has come is not read, and will not be: the session ends."""
        for link in self._links:
            if link.unread:
                self._session.missed(link.read_until, self._session.clock.now(), "unread")

    async def close(self) -> None:
        """Close every socket at once, each within its time."""
        await asyncio.gather(*(link.close() for link in self._links))

    # --- opening ---

    async def _open(self, family: Family) -> None:
        """Open a family's socket, without those of its topics that the server refuses.

        Raises ConnectorError if it is not the topics that it refuses.
        """
        if await self._try(family) is None:
            return
        if len(family.topics) == 1:
            for other in family.others():
                if await self._try(other) is None:
                    return
            self._refused[family.topics[0]] = "refused"
            return
        # v0 drops the whole socket for one bad topic and does not say which: try each by itself.
        taken = [topic for topic in family.topics if await self._is_taken(topic)]
        self._refused |= {topic: "refused" for topic in family.topics if topic not in taken}
        if taken and (refusal := await self._try(Family(tuple(taken)))) is not None:
            raise ConnectorUnavailableError(f"{family.name}: {refusal.how}, though each topic alone is taken")

    async def _try(self, family: Family, *, keep: bool = True) -> Refusal | None:
        """Open one socket; return the refusal if the topics must be the reason, raise if something else is."""
        link, refusal = await self._knock(family)
        if refusal is not None:
            await link.close()
            await self._explain(refusal)
            return refusal
        if keep and link.topics:
            self._links[link] = family
            self.taken |= set(link.topics)
        else:
            await link.close()
        self._refused |= link.refused
        return None

    async def _is_taken(self, topic: str) -> bool:
        return await self._try(Family((topic,)), keep=False) is None

    async def _knock(self, family: Family) -> tuple[Link, Refusal | None]:
        """Open one socket, with new credentials if the old ones have run out."""
        credentials = self._api.rest.credentials
        for last in (False, True):
            headers = await credentials.headers()
            if isinstance(headers, Failure):
                raise headers.of_source()
            way = door(
                self._config, self._system.host, self._api.found.dialect, family, headers, credentials.for_query()
            )
            link = Link(self._config, self._session.clock, way, self._tls, answers_pings=self._answers_pings)
            try:
                refusal = await link.open()
            except BaseException:
                await link.close()
                raise
            expired = refusal is not None and refusal.status == 401 and not last
            if not expired or not await credentials.renew(headers):
                return link, refusal
            await link.close()
        raise AssertionError("the last round returns")

    async def _explain(self, refusal: Refusal) -> None:
        """Return if the topics must be the reason for a refusal; raise what it is otherwise."""
        dialect = self._api.found.dialect
        answer = await self._api.rest.exchange(_WHO[dialect])
        if isinstance(answer, Failure):
            raise answer.of_source()
        if dialect == "v1":
            # Topics are subscribed to only after the door is open, so here it is the door.
            wrong = ConnectorAuthError if refusal.status == 403 else ConnectorUnavailableError
            raise wrong(f"the event socket refuses ({refusal.how}), though requests are answered")

    async def _also(self, group: asyncio.TaskGroup, topics: discover.Topics) -> None:
        """Try the topics that the server may have without listing them; keep what it takes."""
        unread: list[Link] = []
        for family in families(topics.maybe):
            before = set(self._links)
            try:
                await self._open(family)
            except ConnectorUnavailableError:
                self._refused[family.topics[0]] = "no answer"  # the other sockets notice if it is the server
            for link in self._links.keys() - before:
                if self._ready:
                    self._read(group, link, self._links[link])
                else:
                    unread.append(link)  # what is said before we are ready belongs to no session
        for topic in set(topics.maybe) - set(topics.missing):
            self._refused.pop(topic, None)  # nobody asked for it
        if not self._links:
            raise self._none_taken()
        self._say_ready()
        for link in unread:
            self._read(group, link, self._links[link])

    def _none_taken(self) -> ConnectorError:
        """Return why there is nothing to listen to.

        v0 says no by hanging up in the middle, and so does a link that is broken. A topic that was
        taken before is hardly refused now: that is the link, and worth another try soon.
        """
        if self.taken_before & self._refused.keys():
            return ConnectorUnavailableError(f"the event sockets do not open: {self._refusals()}")
        return ConnectorUnsupportedError(f"the server takes none of the topics: {self._refusals()}")

    # --- saying how it is ---

    def _say_ready(self) -> None:
        found, config, session = self._api.found, self._config, self._session
        topics = sorted({topic for link in self._links for topic in link.topics})
        session.ready(topics=topics, dialect=found.dialect, version=found.version)
        self._ready = True
        if config.insecure and self._tls is not None:
            session.degraded("tls_not_verified", "any certificate is trusted; set fingerprint or ca_file")
        if self._refused:
            session.degraded("topics_refused", f"the server does not give: {self._refusals()}")
        if found.clock_offset is not None and abs(found.clock_offset) > _CLOCK_FLAW:
            seconds = found.clock_offset.total_seconds()
            session.degraded("clock_differs", f"the server's clock is {seconds:+.0f} s off ours")

    def _refusals(self) -> str:
        return ", ".join(f"{topic} ({why})" for topic, why in sorted(self._refused.items())) or "it offers none"

    # --- reading ---

    def _start(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], what: str) -> None:
        group.create_task(work, name=f"ts-api[{self._system.context.name} {what}]")

    def _read(self, group: asyncio.TaskGroup, link: Link, family: Family) -> None:
        self._start(group, self._pump(link, family), f"read {family.name}")
        self._start(group, self._watch(link), f"watch {family.name}")

    async def _watch(self, link: Link) -> None:
        async with aclosing(link.watch()) as signs:
            async for _ in signs:
                self._session.heard()

    async def _pump(self, link: Link, family: Family) -> None:
        reader = Reader(self._system, self._api.found, family.alone)
        async with aclosing(link.messages()) as messages:
            async for some in messages:
                link.in_hand = len(some)
                await self._pass_on(some, reader, link)
                await asyncio.sleep(0)  # a flood must not keep the others from their turn

    async def _pass_on(self, messages: Sequence[bytes], reader: Reader, link: Link) -> None:
        events: list[VmsEvent] = []
        refused: list[Letter] = []
        for message in messages:
            read = await self._understood(message, reader)
            events += read.events
            refused += [Letter(message, error.reason, str(error)) for error in read.errors]
        link.in_hand = 0  # nothing is awaited between this and the delivery's having them
        if events:
            self._on_events(events)
        if events or refused:
            await self._delivery.put(self._session, events, refused)
        else:
            self._session.heard()

    async def _understood(self, message: bytes, reader: Reader) -> Read:
        received = self._session.clock.now()
        if len(message) >= _LARGE:
            return await asyncio.to_thread(reader.read, message, received)
        return reader.read(message, received)


def _cause_of(ended: asyncio.Task[None]) -> BaseException:
    """Return the exception that says most: a bug before a refusal, a refusal before an outage."""
    error = ended.exception() or ConnectorUnavailableError("the session ended")
    weight = (ConnectorUnavailableError, ConnectorUnsupportedError, ConnectorAuthError)
    return max(_flat(error), key=lambda each: weight.index(type(each)) if type(each) in weight else len(weight))


def _flat(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _flat(part)
    else:
        yield error
