"""Look after the bridge once a second: outages, what a source never ended, the heartbeat, and who must be told.

People are told directly (`alerts.py`), because the bus may be what is down; the log hears of the same as events, when
it can. Decides nothing about what moves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from bridge.clock import Clock
from bridge.config.safety import SafetyConfig
from bridge.contracts import Emit
from bridge.errors import StoreUnavailableError
from bridge.runtime.health import HealthBook, Level, PartState
from bridge.runtime.stuck import Stuck
from bridge.runtime.troubles import Report, Troubles, words
from bridge.safety.latch import Latch
from bridge.safety.ownclock import OwnClock
from bridge.safety.site import Safety
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import BridgeHeartbeat, OutageEnded, OutageStarted, Payload
from bridge.schema.orders import ActionClass, Order, Result

_LOG = logging.getLogger(__name__)
SAFETY = "safety"
"""The part of health that says whether anything is stopped or in doubt."""
UNKNOWN_OUTCOME = "unknown_outcome"
DOUBT = 600.0
"""Seconds for which health shows that nobody knows what came of an order."""
_NOT_IDLE = {"relay": "not_released", "ptz": "not_stopped"}
"""The reason for an output, and for a camera, that does not confirm its way back."""
_STOPS = frozenset({"not_released", "kill_switch", "breaker", "clock_stepped", UNKNOWN_OUTCOME})
"""What is wrong so that nothing moves, nothing that moved comes back, or nobody knows what has."""
_FLAWS = frozenset({"store_damaged", "foreign_record", "agreement_lost"})
"""Reasons why a part is degraded of which people are told: something is lost, or somebody else was at it."""
_GOOD = frozenset({"connected", "unused", "unknown", "connecting"})
"""States of a channel that are no outage; `connecting` is on its way to one or the other."""


class _Wrong(NamedTuple):
    """What stops things or is in doubt. `about` tells apart what has the same reason."""

    reason: str
    words: str
    cure: str
    about: str = ""


class Guardian:
    """See the module. `heard`, `settled` and `ended` may be called at any time; `run` does the rest."""

    def __init__(
        self,
        site: str,
        config: SafetyConfig,
        health: HealthBook,
        safety: Safety,
        tell: Callable[[str], None],
        pending: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._site, self._config, self._health, self._safety = site, config, health, safety
        self._tell, self._pending, self._clock = tell, pending, clock
        self._troubles = Troubles()
        self._stuck = Stuck({"motion.started": config.stuck.motion, "call.started": config.stuck.call})
        self._doubt = ("", -DOUBT)
        self._flaws: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] = set()
        self._saying = asyncio.Lock()
        self._beat = clock.monotonic()
        self._tasks: asyncio.TaskGroup | None = None
        health.register(SAFETY, needed=False)

    def resume(self, began: Iterable[VmsEvent]) -> None:
        """Take over what had begun before the start and has not ended."""
        for event in began:
            self._stuck.resume(event, self._clock.now(), self._clock.monotonic())

    def settled(self, event: VmsEvent, stored: bool) -> None:
        """An event of one of the kinds `stuck.KINDS` that was heard is stored, or could not be."""
        self._stuck.settled(event, self._clock.monotonic(), stored=stored)

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in."""
        now = self._clock.monotonic()
        self._stuck.heard(event)
        if event.type == "channel.status" and event.origin in (Origin.LIVE, Origin.RESYNC):
            up = getattr(event.data, "state", "unknown") in _GOOD
            self._troubles.note(f"source {event.source_name}/{event.subject}", up=up, now=now)

    @property
    def able(self) -> bool:
        """Whether the bridge can be relied on: what it needs works, nothing stops all that moves, nothing is in doubt.

        A source that is away, or one whose clock is wrong, is told of itself.
        """
        return self._health.ready and not any(reason in _STOPS for reason, _ in self._told)

    # --- what the runner tells -------------------------------------------------------------------------

    def taken(self, order: Order) -> None:
        """An order was seen for the first time."""

    def failed(self, order: Order, attempt: int, error: str) -> None:
        """One try failed."""

    def ended(self, result: Result) -> None:
        """An order has ended; one that may have moved something and may not is told to people."""
        if result.outcome != "unknown" or result.action_class is not ActionClass.ACTUATING:
            return
        text = f"{result.action} of {result.rule} ended unknown: {result.message or result.reason}"
        self._doubt = (text, self._clock.monotonic())
        self._tell(text)

    # --- every second ------------------------------------------------------------------------------------

    async def run(self, emit: Emit) -> None:
        """Look once a second, until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                await self.look(emit)
                await self._clock.sleep(1.0)

    async def look(self, emit: Emit) -> None:
        """Look once; what follows from it goes on beside `run`."""
        now, mono = self._clock.now(), self._clock.monotonic()
        self._say_how_safe(mono)
        why: dict[str, str] = {}
        for part in self._health:
            starting = part.reason == "starting"
            self._troubles.note(part.name, up=starting or part.level is not Level.DOWN, now=mono)
            why[part.name] = part.message
            self._say_flaw(part)
        for stops in self._safety.unwritten():
            self._later(_written(stops))
        for end in self._stuck.overdue(now, mono):
            self._later(self._once(emit, end))
        events: list[VmsEvent] = []
        for report in self._troubles.look(mono):
            text = words(report, why)
            events.append(self._event(*_outage(report, text)))
            self._tell(text)
        for event in events:
            self._later(self._store(emit, event))
        if mono - self._beat >= self._config.heartbeat.total_seconds():
            self._beat = mono
            self._later(self._once(emit, self._event("bridge.heartbeat", self._heartbeat())))

    def _say_flaw(self, part: PartState) -> None:
        """Tell of a flaw that a person must look at: once, and once more after a restart if it is still there."""
        if part.reason in _FLAWS and (part.name, part.message) not in self._flaws:
            self._flaws.add((part.name, part.message))
            self._tell(f"{part.name}: {part.message}; {part.cure}")

    def _say_how_safe(self, mono: float) -> None:
        """Show the worst in health; tell of each thing when it begins, whatever else there is, alike together."""
        wrong = list(self._wrong(mono))
        new = [one for one in wrong if (one.reason, one.about) not in self._told]
        for reason, alike in groupby(new, lambda one: one.reason):
            if reason != UNKNOWN_OUTCOME:  # told when it ended
                self._tell("; ".join(one.words for one in alike))
        self._told = {(one.reason, one.about) for one in wrong}
        if wrong:
            worst = wrong[0]
            words = "; ".join(one.words for one in wrong if one.reason == worst.reason)
            self._health.set(SAFETY, Level.DEGRADED, worst.reason, words, worst.cure)
        else:
            self._health.set(SAFETY, Level.UP)

    def _wrong(self, mono: float) -> Iterator[_Wrong]:
        """Yield what stops things or is in doubt, the worst first."""
        yield from self._not_idle("relay")
        doubt, at = self._doubt
        until, off = self._safety.own_clock.shut_until(), self._safety.clocks.off()
        if self._safety.kill.pulled:
            yield _Wrong("kill_switch", "the kill switch is pulled; nothing moves", "vms-bridge kill --reset")
        if self._safety.breaker.pulled:
            yield _Wrong("breaker", "the breaker has tripped; nothing moves", "vms-bridge breaker reset")
        if until is not None:
            words = f"our clock went back; nothing moves until it has caught up at {until:%Y-%m-%d %H:%M:%S} UTC"
            yield _Wrong("clock_stepped", words, "look at NTP; if it is right now: vms-bridge clock accept")
        if mono - at < DOUBT:
            yield _Wrong(UNKNOWN_OUTCOME, doubt, "look whether it is as it should be")
        yield from self._not_idle("ptz")
        for name, ahead in off.items() if self._safety.moves else ():
            seconds = f"{ahead.total_seconds():+.0f} s"
            words = f"the clock of {name} is off or was put back ({seconds}), and its events open nothing"
            cure = f"set it by NTP; when it is right: vms-bridge clock accept {name}"
            yield _Wrong("clock_off", words, cure, name)

    def _not_idle(self, kind: str) -> Iterator[_Wrong]:
        cure = "look at it, and switch it by hand; it is tried until its source, which must be configured, confirms it"
        for target, trouble in self._safety.releases.overdue().items():
            if target.kind == kind:
                words = f"{target} was told to go back to idle and does not confirm it: {trouble}"
                yield _Wrong(_NOT_IDLE[kind], words, cure, str(target))

    def _heartbeat(self) -> BridgeHeartbeat:
        sources = [part.level for part in self._health if part.name.startswith("source ")]
        down = sources.count(Level.DOWN)
        return BridgeHeartbeat(sources_up=len(sources) - down, sources_down=down, pending_orders=self._pending())

    # --- telling -------------------------------------------------------------------------------------------

    @staticmethod
    async def _once(emit: Emit, event: VmsEvent) -> None:
        """Try once: what still lasts at the next look is ended then, and a heartbeat that is late says nothing."""
        with suppress(StoreUnavailableError):
            await (await emit([event]))

    async def _store(self, emit: Emit, event: VmsEvent) -> None:
        async with self._saying:  # a fair lock: an outage ends after it has begun
            while True:
                try:
                    await (await emit([event]))
                    return
                except StoreUnavailableError as exc:
                    await self._clock.sleep(max(1.0, exc.retry_after.total_seconds()))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(_quietly(work))

    def _event(self, kind: str, data: Payload) -> VmsEvent:
        return own_event(self._site, kind, data, self._clock.now())


def _outage(report: Report, text: str) -> tuple[str, Payload]:
    parent = report.parent or None
    if report.down:
        return "outage.started", OutageStarted(
            parent=parent, parts=report.parts, flapping=report.flapping, message=text
        )
    return "outage.ended", OutageEnded(parent=parent, parts=report.parts, message=text)


async def _written(stops: Latch | OwnClock) -> None:
    """Write down what stops something; if its disk is still full, it is tried again at the next look."""
    with suppress(OSError):
        await stops.write_again()


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001 - the edge of a task: what could not be told must not end the bridge
        _LOG.exception("something could not be told")
