"""The desk: what people and clients that are known by name may ask for, each kept as an event with who asked and when.

To open is an order like any other: through the ledger, the gate and the door, at most once, with a
result. To stop something needs no bus: it holds first and is written down when it can be.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from bridge.clock import Clock
from bridge.contracts import Emit
from bridge.errors import StoreUnavailableError
from bridge.registry import unknown
from bridge.safety.cameras import Camera
from bridge.safety.doors import needed_persons
from bridge.safety.latch import Latch
from bridge.safety.pending import Pending
from bridge.safety.reasons import Reason, refusal
from bridge.safety.site import Safety
from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import BreakerTripped, CommandGiven, Payload
from bridge.schema.orders import ActionClass, Order, Result

_LOG = logging.getLogger(__name__)
RULE = "$command"
"""What orders by people have for a rule."""
MAX_AGE = timedelta(seconds=10)
"""What was asked for longer ago is not done any more."""
STORED_WITHIN = 3.0
"""Seconds that a command may take to be written down, before it is refused."""

Submit = Callable[[Order], Awaitable[Result | None]]
"""Give an order to the runners and return its end; None if it has not ended within a bounded time."""


class Desk:
    """The desk of one site. `connect` it when the bus is there; what stops something works before."""

    def __init__(self, site: str, safety: Safety, clock: Clock) -> None:
        self._site, self._safety, self._clock = site, safety, clock
        self._emit: Emit | None = None
        self._submit: Submit | None = None
        self._unsaid: list[VmsEvent] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._saying = asyncio.Lock()
        safety.breaker.on_trip = self._tripped

    def connect(self, emit: Emit, submit: Submit) -> None:
        """Begin to write down, first what could not be before."""
        self._emit, self._submit = emit, submit
        unsaid, self._unsaid = self._unsaid, []
        for event in unsaid:
            self._tell(event)

    async def aclose(self) -> None:
        """Let go of what is still being told."""
        for task in self._telling:
            task.cancel()
        if self._telling:
            await asyncio.wait(self._telling)

    # --- doors -------------------------------------------------------------------------------------

    async def open(self, door: str, who: str, *, reason: str | None = None, asked: datetime | None = None) -> Result:
        """Open a door for a person. Raises ActionRejectedError if there is no such door, StoreUnavailableError."""
        self._safety.doors.get(door)
        given = CommandGiven(command="open", target=door, persons=(who,), reason=reason)
        return _in_time(await self._submitted(await self._written(given, asked), door))

    async def confirm(self, pending: str, who: str, *, reason: str | None = None) -> Result | Pending:
        """Agree to an opening; it opens when enough people did. Raises as `open`, or when it waits no longer.

        While nothing can be written down it waits on, and whoever agreed may do so once more.
        """
        waits = self._safety.doors.pending.agree(pending, who)
        if len(waits.persons) < max(waits.needed, needed_persons(self._safety.doors.get(waits.door))):
            self.tell("confirm", waits.door, (who,), reason, pending)
            return waits
        return await self._order_agreed(waits, reason)

    async def deny(self, pending: str, who: str, *, reason: str | None = None) -> Pending:
        """Say no to an opening. Raises ActionRejectedError when it waits no longer."""
        found = self._safety.doors.pending.get(pending)
        await self._safety.doors.pending.denied(pending, who)
        self.tell("deny", found.door, (who,), reason, pending)
        return found

    async def hold(self, door: str, who: str, reason: str) -> None:
        """Stop a door by hand, until `unhold`. Raises ActionRejectedError if there is no such door, and OSError."""
        self._safety.doors.get(door)
        await self._pull(self._safety.doors.holds[door], "hold", door, who, reason)

    async def unhold(self, door: str, who: str, reason: str) -> None:
        """Let a door open again. Raises as `hold`."""
        self._safety.doors.get(door)
        await self._safety.doors.holds[door].reset(who, reason)
        self.tell("unhold", door, (who,), reason)

    # --- cameras ------------------------------------------------------------------------------------

    async def lock(self, camera: Camera, who: str, span: timedelta, reason: str | None = None) -> None:
        """Keep rules away from a camera for a time. Raises OSError if a restart would forget it; it holds."""
        try:
            await self._safety.cameras.lock(camera, who, span)
        finally:
            self.tell("lock", str(camera), (who,), reason)

    async def unlock(self, camera: Camera, who: str, reason: str | None = None) -> None:
        """Let rules have a camera again. Raises OSError if a restart would lock it again for what is left."""
        try:
            await self._safety.cameras.unlock(camera)
        finally:
            self.tell("unlock", str(camera), (who,), reason)

    # --- the whole site ------------------------------------------------------------------------------

    async def kill(self, who: str, reason: str) -> None:
        """Pull the kill switch. Raises OSError if a restart would forget it; it holds all the same."""
        await self._pull(self._safety.kill, "kill", None, who, reason)

    async def unkill(self, who: str, reason: str) -> None:
        """Reset the kill switch. Raises OSError, and then it stays pulled."""
        await self._safety.kill.reset(who, reason)
        self.tell("unkill", None, (who,), reason)

    async def reset_breaker(self, who: str, reason: str) -> None:
        """Reset the breaker. Raises OSError, and then it stays tripped."""
        await self._safety.breaker.reset(who, reason)
        self.tell("reset_breaker", None, (who,), reason)

    async def agree(self, confirm: str, who: str, reason: str) -> None:
        """Let changed settings of what moves count. Raises ActionRejectedError, and OSError: then they still wait."""
        await self._safety.settings.agree(confirm, who, reason)
        self.tell("agree", confirm, (who,), reason)

    # --- clocks ----------------------------------------------------------------------------------------

    async def accept_clock(self, who: str, reason: str) -> None:
        """Our own clock is right now: what is heard from here on may open. Raises OSError if a restart forgets it."""
        try:
            await self._safety.own_clock.accept()
        finally:
            self._safety.clocks.forget()  # they were compared with ours as it was
            self.tell("accept_clock", None, (who,), reason)

    def accept_source_clock(self, source: str, who: str, reason: str) -> None:
        """The clock of a source is right now: forget how far off it was, learn it anew. Raises ActionRejectedError."""
        known = self._safety.clocks.all()
        if source not in known:
            raise refusal(Reason.UNKNOWN_SOURCE, unknown("source", source, list(known)))
        self._safety.clocks.forget(source)
        self.tell("accept_clock", source, (who,), reason)

    # --- small things ----------------------------------------------------------------------------------

    def tell(
        self,
        command: str,
        target: str | None,
        persons: tuple[str, ...],
        reason: str | None,
        pending: str | None = None,
        outcome: str | None = None,
    ) -> None:
        """Write a command down that has been done, or refused by its `outcome`, as soon as that can be."""
        given = CommandGiven(
            command=command, target=target, persons=persons, reason=reason, pending=pending, outcome=outcome
        )
        self._tell(self._event("command.given", given, principal=persons[-1]))

    async def _pull(self, latch: Latch, command: str, target: str | None, who: str, reason: str) -> None:
        try:
            await latch.pull(who, reason)
        finally:
            self.tell(command, target, (who,), reason)

    async def _order_agreed(self, waits: Pending, reason: str | None) -> Result:
        """Order what enough people agreed to. It has ended when its order exists, and not before."""
        openings = self._safety.doors.pending
        given = CommandGiven(
            command="confirm", target=waits.door, persons=waits.persons, reason=reason, pending=waits.id
        )
        await openings.ordering(waits.id)
        try:
            event = await self._written(given)
        except BaseException:  # cancelled, too: without the event there is no order
            await openings.not_ordered(waits.id)
            raise
        try:
            result = await self._submitted(event, waits.door)
        except BaseException:
            await openings.perhaps_ordered(waits.id)
            raise
        await openings.ordered(waits.id)
        return _in_time(result)

    async def _written(self, given: CommandGiven, asked: datetime | None = None) -> VmsEvent:
        """Return the event of a command that orders something, stored. Raises StoreUnavailableError."""
        if self._submit is None:
            raise StoreUnavailableError("the bridge is still starting")
        event = self._event("command.given", given, principal=given.persons[-1], asked=asked)
        await self._stored(event)
        return event

    async def _submitted(self, event: VmsEvent, door: str) -> Result | None:
        assert self._submit is not None  # noqa: S101 - the event was stored, so there is a way to the runners
        return await self._submit(self._order_of(event, door))

    async def _stored(self, event: VmsEvent) -> None:
        assert self._emit is not None  # noqa: S101 - asked by the caller
        try:
            async with asyncio.timeout(STORED_WITHIN):
                await (await self._emit([event]))
        except TimeoutError as exc:
            raise StoreUnavailableError("the command cannot be written down now") from exc

    def _order_of(self, event: VmsEvent, door: str) -> Order:
        return Order(
            id=stable_id("command", event.id),
            rule=RULE,
            rule_version="1",
            key=door,
            index=0,
            action="open",
            action_class=ActionClass.ACTUATING,
            params={"door": door},
            causes=(event.id,),
            trigger=event,
            origin=Origin.COMMAND,
            occurred=event.time,
            received=event.received,
            created=self._clock.now(),
            expires=min(event.time, event.received) + MAX_AGE,
        )

    def _event(
        self, kind: str, data: Payload, *, principal: str | None = None, asked: datetime | None = None
    ) -> VmsEvent:
        now = self._clock.now()
        return VmsEvent(
            id=uuid.uuid4().hex,
            type=kind,
            source=f"{self._site}/bridge",
            time=asked or now,
            timequality="received" if asked is None else "device",
            received=now,
            origin=Origin.BRIDGE if principal is None else Origin.COMMAND,
            via="bridge" if principal is None else "api",
            principal=principal,
            data=data,
        )

    def _tripped(self, what: str, count: int) -> None:
        self._tell(self._event("breaker.tripped", BreakerTripped(scope=f"site {what}", openings=count, within=60)))

    def _tell(self, event: VmsEvent) -> None:
        if self._emit is None:
            self._unsaid.append(event)
            return
        task = asyncio.get_running_loop().create_task(self._until_stored(event), name=f"tell[{event.type}]")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _until_stored(self, event: VmsEvent) -> None:
        async with self._saying:  # a fair lock: what was done first is written first
            while True:
                try:
                    await self._stored(event)
                    return
                except StoreUnavailableError as exc:
                    _LOG.warning("what was done cannot be written down yet", extra={"kind": event.type})
                    await self._clock.sleep(max(exc.retry_after.total_seconds(), 1.0))


def _in_time(result: Result | None) -> Result:
    if result is None:
        raise StoreUnavailableError("nobody carried it out in time; it will not be done later")
    return result
