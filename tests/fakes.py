"""Stand-ins for the bridge that tests hand to connectors and actions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.clock import Clock, SystemClock
from bridge.contracts import Listens
from bridge.errors import ConnectorError, StoreUnavailableError
from bridge.schema.event import VmsEvent

PATIENCE = 10.0
"""Seconds a test waits for something that must come."""


@dataclass(frozen=True)
class Ready:
    """One call of `ready`."""

    topics: tuple[str, ...]
    dialect: str | None
    version: str | None


@dataclass(frozen=True)
class Parked:
    """One message that could not be understood."""

    message: str | bytes
    reason: str
    error: str


class RecordingSession:
    """A `bridge.contracts.Session` that remembers what it was told and can be waited on."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.emitted: list[VmsEvent] = []
        self.readies: list[Ready] = []
        self.flaws: dict[str, str] = {}
        self.parked: list[Parked] = []
        self.gaps: list[tuple[datetime, datetime, str]] = []
        """Spans that were said to be not written down, and why."""
        self.times_heard = 0
        self.refused = 0
        """How often `emit` did not store."""
        self.store_down = False
        """While true, nothing is stored: what is emitted fails afterwards."""
        self.hold: asyncio.Event | None = None
        """While it is there and not set, `emit` does not return: a store that is slow."""
        self.holding = False
        self._clock = clock or SystemClock()
        self._changed = asyncio.Event()

    @property
    def clock(self) -> Clock:
        return self._clock

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if self.hold is not None and not self.hold.is_set():
            self.holding = True
            self._changed.set()
            await self.hold.wait()
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.store_down:
            self.refused += 1
            stored.set_exception(StoreUnavailableError("the store is down", timedelta(seconds=0.01)))
            self._changed.set()
            return stored
        self.emitted.extend(events)
        stored.set_result(None)
        self.heard()
        return stored

    def ready(self, *, topics: Iterable[str] = (), dialect: str | None = None, version: str | None = None) -> None:
        self.readies.append(Ready(tuple(topics), dialect, version))
        self._changed.set()

    def heard(self) -> None:
        self.times_heard += 1
        self._changed.set()

    def degraded(self, code: str, message: str) -> None:
        self.flaws[code] = message
        self._changed.set()

    def missed(self, since: datetime, until: datetime, cause: str) -> None:
        self.gaps.append((since, until, cause))
        self._changed.set()

    async def park(self, message: str | bytes, reason: str, error: str) -> None:
        self.parked.append(Parked(message, reason, error))
        self._changed.set()

    # --- for the test ---

    @property
    def kinds(self) -> list[str]:
        """The kinds of what was emitted, in order."""
        return [event.type for event in self.emitted]

    def of(self, kind: str) -> list[VmsEvent]:
        """Return the emitted events of one kind."""
        return [event for event in self.emitted if event.type == kind]

    async def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Return once something is so; it is looked at whenever the session is told something."""
        async with asyncio.timeout(patience):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Return once something is so that nobody signals."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(connector: Listens, session: RecordingSession | None = None) -> AsyncIterator[Running]:
    """Run one session of a connector beside the test; cancelled at the end if it still runs."""
    running = Running(connector, session or RecordingSession())
    try:
        yield running
    finally:
        running.task.cancel()
        with suppress(asyncio.CancelledError, ConnectorError):
            await running.task


class Running:
    """A session that runs, and what it tells."""

    def __init__(self, connector: Listens, session: RecordingSession) -> None:
        self.session = session
        self.task: asyncio.Task[None] = asyncio.create_task(connector.run(session), name="session under test")  # type: ignore[arg-type]

    async def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait for something; the session must not end meanwhile."""
        waiting = asyncio.create_task(self.session.until(condition, patience))
        done, _ = await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if waiting in done:
            waiting.result()
            return
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        self.task.result()
        raise AssertionError("the session ended without an error")

    async def ready(self) -> None:
        """Wait until events arrive."""
        await self.until(lambda: self.session.readies)

    async def failure(self, patience: float = PATIENCE) -> ConnectorError:
        """Wait for the session to fail, and return why."""
        done, _ = await asyncio.wait({self.task}, timeout=patience)
        assert done, f"the session did not end within {patience:g} s"
        error = self.task.exception()
        assert isinstance(error, ConnectorError), error
        return error
