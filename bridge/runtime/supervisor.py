"""Keep every source listened to: one task each, reconnecting for ever; say once that it went and once that it is back.

A connector's `run` is one session. Everything around it is decided here: back-off with jitter, how
slowly to knock where credentials are refused, what health shows, and the events `source.connected` and
`source.lost`; `gaps.py` fills what was missed and tells it. This module opens no socket and knows no vendor.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bridge.clock import Clock
from bridge.contracts import Emit, Listens
from bridge.errors import (
    ActionUnknownError,
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
    StoreUnavailableError,
)
from bridge.runtime.gaps import Ledger, SourceGaps
from bridge.runtime.outages import Outage
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent, own_event
from bridge.schema.kinds import Payload, SourceConnected, SourceLost
from bridge.uncancelled import uncancelled

log = logging.getLogger(__name__)

QUICK = (1.0, 60.0)
"""Seconds of the first and the longest wait where a source does not answer."""
SLOW = (30.0, 300.0)
"""The same where it refuses us: knocking faster locks accounts and helps nobody."""

_REASON: dict[type[ConnectorError], tuple[str, tuple[float, float]]] = {
    ConnectorAuthError: ("auth", SLOW),
    ConnectorUnsupportedError: ("unsupported", SLOW),
    ConnectorUnavailableError: ("unavailable", QUICK),
}

SHOWN = timedelta(hours=1)
"""How long health goes on to show that something could not be understood, or written down, after the last time."""

_UNREADABLE = "unreadable_message"
_NOT_WRITTEN = "not_written"

Park = Callable[[str, str | bytes, str, str], Awaitable[None]]
"""`park(source, message, reason, error)`: file one message that could not be understood."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """How one source is, for health and metrics."""

    source: str
    up: bool
    since: datetime
    code: str
    message: str
    flaws: tuple[tuple[str, str], ...] = ()
    topics: tuple[str, ...] = ()
    dialect: str | None = None
    version: str | None = None


Report = Callable[[SourceState], None]


def wait_before_retry(attempt: int, bounds: tuple[float, float], fraction: float) -> float:
    """Return seconds before try number `attempt` (from 1): doubling, bounded, with the upper half at random."""
    first, longest = bounds
    ceiling = min(longest, first * 2.0 ** min(attempt - 1, 16))
    return ceiling * (0.5 + 0.5 * fraction)


class SourceSession:
    """What a connector sees of the bridge during one session; see `bridge.contracts.Session`."""

    def __init__(self, keeper: SourceKeeper) -> None:
        self._keeper = keeper

    @property
    def emit(self) -> Emit:
        """Hand over events; they also prove that the link is alive."""
        return self._keeper.emit

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        return self._keeper.clock

    def ready(self, *, topics: Iterable[str] = (), dialect: str | None = None, version: str | None = None) -> None:
        """Events are arriving now."""
        self._keeper.on_ready(tuple(topics), dialect, version)

    def heard(self) -> None:
        """The link is alive."""
        self._keeper.on_heard()

    def degraded(self, code: str, message: str) -> None:
        """Show a flaw that does not end the session."""
        self._keeper.on_flaw(code, message)

    def missed(self, since: datetime, until: datetime, cause: str) -> None:
        """Have a span made up for in which something was heard that will not be written down."""
        self._keeper.on_missed(since, until, cause)

    async def park(self, message: str | bytes, reason: str, error: str) -> None:
        """File a message that could not be understood."""
        await self._keeper.park(message, reason, error)


class SourceKeeper:
    """One source: its sessions, its outages, its state."""

    def __init__(
        self,
        site: str,
        name: str,
        connector: Listens,
        emit: Emit,
        park: Park,
        report: Report,
        clock: Clock,
        ledger: Ledger | None = None,
    ) -> None:
        self._site, self._name, self._connector = site, name, connector
        self._emit, self._park, self._report = emit, park, report
        self.clock = clock
        ledger = ledger or Ledger.forgetful(emit)
        self._gaps = SourceGaps(f"{site}/{name}", connector, ledger, self._tell, clock)
        now = clock.now()
        self._state = SourceState(name, up=False, since=now, code="starting", message="not connected yet")
        self._heard = now
        self._attempt = 0
        self._told_lost = False
        self._shown: dict[str, tuple[datetime, str]] = {}
        """Flaws that outlast a session, by their code: until when, and the words."""
        self._own: set[asyncio.Future[Any]] = set()
        self._saying = asyncio.Lock()

    @property
    def state(self) -> SourceState:
        """How the source is now."""
        return self._state

    async def keep(self) -> None:
        """Listen for ever. Ends only when cancelled."""
        self._report(self._state)
        await self._gaps.load()
        gaps = asyncio.create_task(self._gaps.run(), name=f"gaps[{self._name}]")
        try:
            await self._listen()
        finally:
            gaps.cancel()
            await asyncio.wait({gaps})

    async def _listen(self) -> None:
        while True:
            reason, bounds, message = await self._one_session()
            await self._on_lost(reason, message)
            self._attempt += 1
            wait = wait_before_retry(self._attempt, bounds, random.random())
            await self.clock.sleep(wait)

    async def _one_session(self) -> tuple[str, tuple[float, float], str]:
        try:
            with uncancelled():
                await self._connector.run(SourceSession(self))
        except ConnectorError as error:
            reason, bounds = _REASON.get(type(error), ("unavailable", QUICK))
            return reason, bounds, str(error)
        except ActionUnknownError as error:
            return "unavailable", QUICK, f"the session ended: {error}"
        except StoreUnavailableError as error:
            return "store", QUICK, f"events cannot be written down: {error}"
        except Exception as error:
            # The edge of a supervised task: one connector's bug must not take the others along.
            log.exception("a connector failed in an unforeseen way", extra={"source": self._name})
            return "bug", SLOW, f"{type(error).__name__}: {error}"
        return "unavailable", QUICK, "the session ended"

    # --- what the session says --------------------------------------------------------------------

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        """Pass events on, noting that the source was heard when they were read."""
        self._on_read(events)
        try:
            stored = await self._emit(events)
        except (StoreUnavailableError, asyncio.CancelledError):  # stopped now, nobody has them any more
            self._gaps.doubt(self.clock.now())
            raise
        stored.add_done_callback(self._on_stored)
        return stored

    def _on_stored(self, stored: asyncio.Future[None]) -> None:
        if stored.cancelled() or stored.exception() is not None:
            self._gaps.doubt(self.clock.now())

    async def park(self, message: str | bytes, reason: str, error: str) -> None:
        """Pass a message that could not be understood on."""
        self.on_heard()
        log.warning("a message could not be understood", extra={"source": self._name, "reason": reason, "error": error})
        await self._park(self._name, message, reason, error)
        self._show(_UNREADABLE, f"a message could not be understood ({reason}); it is kept: vms-bridge dlq list")

    def on_heard(self) -> None:
        """Note that the link is alive."""
        now = self.clock.now()
        self._end_flaws(now)
        self._note_heard(now)

    def _on_read(self, events: Sequence[VmsEvent]) -> None:
        """Note when events were read: they may have waited since, and then say nothing of the link as it is now."""
        now = self.clock.now()
        self._end_flaws(now)
        read = min(now, max((event.received for event in events), default=self._heard))
        if read > self._heard:
            self._note_heard(read)

    def _note_heard(self, when: datetime) -> None:
        self._heard = when
        if self._state.up:
            self._gaps.heard(when)

    def on_missed(self, since: datetime, until: datetime, cause: str) -> None:
        """Show that something heard is not written down, and have the span made up for."""
        log.error(
            "something heard is not written down",
            extra={"source": self._name, "since": since.isoformat(), "until": until.isoformat(), "cause": cause},
        )
        self._show(_NOT_WRITTEN, f"not all that came from {since:%H:%M:%S} to {until:%H:%M:%S} UTC was written down")
        self._gaps.missed(since, until, cause)

    def on_ready(self, topics: tuple[str, ...], dialect: str | None, version: str | None) -> None:
        """End the outage, if there was one, and say so once."""
        now = self.clock.now()
        was_up = self._state.up
        self._heard, self._attempt = now, 0
        self._set(
            SourceState(
                self._name,
                up=True,
                since=self._state.since if was_up else now,
                code="ok",
                message="listening",
                flaws=self._state.flaws if was_up else self._outlasting(now),
                topics=topics,
                dialect=dialect,
                version=version,
            )
        )
        self._gaps.back(now, topics)
        if was_up:
            return
        self._told_lost = False
        log.info("source connected", extra={"source": self._name, "topics": list(topics), "dialect": dialect})
        self._say("source.connected", SourceConnected(topics=topics, dialect=dialect, version=version), now)

    def _outlasting(self, now: datetime) -> tuple[tuple[str, str], ...]:
        """Return the flaws of earlier sessions that are still to be shown."""
        return tuple((code, words) for code, (until, words) in sorted(self._shown.items()) if now < until)

    def _show(self, code: str, words: str) -> None:
        """Show a flaw for a while, however many sessions that takes."""
        self._shown[code] = self.clock.now() + SHOWN, words
        self.on_flaw(code, words)

    def _end_flaws(self, now: datetime) -> None:
        over = {code for code, (until, _) in self._shown.items() if now >= until}
        if over:
            self._shown = {code: shown for code, shown in self._shown.items() if code not in over}
            self._set(replace(self._state, flaws=tuple(flaw for flaw in self._state.flaws if flaw[0] not in over)))

    def on_flaw(self, code: str, message: str) -> None:
        """Remember a flaw; the same code again replaces the words."""
        flaws = dict(self._state.flaws)
        if flaws.get(code) == message:
            return
        flaws[code] = message
        log.warning("source is degraded", extra={"source": self._name, "code": code, "detail": message})
        self._set(replace(self._state, flaws=tuple(sorted(flaws.items()))))

    # --- what follows from it ---------------------------------------------------------------------

    async def _on_lost(self, reason: str, message: str) -> None:
        was_up, was_code = self._state.up, self._state.code
        now = self.clock.now()
        since = now if was_up or was_code != reason else self._state.since
        self._set(SourceState(self._name, up=False, since=since, code=reason, message=message))
        if was_up or was_code != reason:
            log.warning("source lost", extra={"source": self._name, "reason": reason, "detail": message})
        if not self._told_lost:
            self._told_lost = True
            self._gaps.lost(self._heard, reason)
            self._say("source.lost", SourceLost(reason=reason, message=message, since=self._gaps.since or now), now)
        if self._own:
            await asyncio.wait(self._own)

    def _set(self, state: SourceState) -> None:
        self._state = state
        self._report(state)

    async def _tell(self, outage: Outage) -> None:
        if self._own:
            await asyncio.wait(self._own)  # that it is connected comes first
        source = f"{self._site}/{self._name}"
        await self._store(self._event(outage.id_for(source), "source.gap", outage.told(), self.clock.now()))

    def _say(self, kind: str, data: Payload, now: datetime) -> None:
        event = self._event(stable_id(kind, self._site, self._name, now.isoformat()), kind, data, now)
        task = asyncio.get_running_loop().create_task(self._store(event), name=f"say[{self._name} {kind}]")
        self._own.add(task)
        task.add_done_callback(self._own.discard)

    def _event(self, name: str, kind: str, data: Payload, now: datetime) -> VmsEvent:
        return own_event(self._site, kind, data, now, id=name, source=self._name)

    async def _store(self, event: VmsEvent) -> None:
        async with self._saying:  # a fair lock: what was said first is written first
            while True:
                try:
                    await (await self._emit([event]))
                    return
                except StoreUnavailableError as error:
                    # The bus is away: the event waits, because an outage that nobody hears of is the worst kind.
                    await self.clock.sleep(error.retry_after.total_seconds())


class Supervisor:
    """All sources of this process."""

    def __init__(
        self, site: str, emit: Emit, park: Park, report: Report, clock: Clock, ledger: Ledger | None = None
    ) -> None:
        self._site, self._emit, self._park, self._report, self._clock = site, emit, park, report, clock
        self._ledger = ledger
        self.keepers: dict[str, SourceKeeper] = {}

    async def run(self, sources: Mapping[str, Listens]) -> None:
        """Keep every source until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, connector in sources.items():
                keeper = SourceKeeper(
                    self._site, name, connector, self._emit, self._park, self._report, self._clock, self._ledger
                )
                self.keepers[name] = keeper
                group.create_task(keeper.keep(), name=f"connector[{name}]")
