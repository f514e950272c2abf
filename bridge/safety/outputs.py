"""The only way to a relay: what is not declared cannot be switched, and what leaves idle owes its return.

`active` means away from the declared idle position, whichever way the relay is wired. An output
that belongs to a door is opened through its door alone; other outputs that can hurt somebody have
limits of their own. Every opening on the site passes the breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

from bridge.clock import Clock
from bridge.config.outputs import DoorConfig, OutputConfig
from bridge.contracts import Services, SwitchesRelays
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.registry import unknown
from bridge.safety import guards
from bridge.safety.breaker import Breaker
from bridge.safety.facts import Facts
from bridge.safety.guards import OUTPUT_GUARDS, Asked, Refusal
from bridge.safety.openings import Openings
from bridge.safety.reasons import Reason, refusal
from bridge.safety.releases import ReleaseJournal, Target
from bridge.safety.settings import Settings
from bridge.schema.orders import Order

MAX_PULSE = timedelta(seconds=30)
"""No pulse is longer, whatever is configured."""


class Outputs:
    """The declared outputs of one site."""

    def __init__(
        self,
        outputs: Mapping[str, OutputConfig],
        doors: Mapping[str, DoorConfig],
        journal: ReleaseJournal,
        openings: Openings,
        breaker: Breaker,
        facts: Facts,
        settings: Settings,
        services: Services,
        clock: Clock,
    ) -> None:
        self._outputs = outputs
        self._doors = {door.output: name for name, door in doors.items()}
        self._journal = journal
        self._openings = openings
        self._facts = facts
        self._settings = settings
        self._services = services
        self._clock = clock
        self._deciding = asyncio.Lock()
        self._taken_back: dict[str, datetime] = {}
        """When the newest order was given that took an output back to idle."""
        self.breaker = breaker

    def get(self, name: str) -> OutputConfig:
        """Return the declaration. Raises ActionRejectedError if there is none."""
        output = self._outputs.get(name)
        if output is None:
            raise refusal(Reason.UNKNOWN_OUTPUT, unknown("output", name, list(self._outputs)))
        return output

    def hold(self, name: str, asked: timedelta | None) -> timedelta | None:
        """Return how long it may stay active: as asked, but never longer than declared.

        None, which means for good, is left to outputs that can hurt nobody.
        """
        output = self.get(name)
        if asked is None:
            return None if output.output_class == "transient" else output.max_on
        return min(asked, output.max_on)

    async def switch_on(self, name: str, order: Order, hold: timedelta | None, permit: Callable[[], None]) -> None:
        """Take an output away from idle for a rule that names it. Raises as `activate`, and for what its limits say."""
        output = self.get(name)
        if self._settings.hold(name):
            raise refusal(Reason.UNCONFIRMED)
        if output.output_class == "transient":
            await self._send(name, order.id, hold, permit)
            return
        if name in self._doors:
            raise refusal(Reason.DOOR_OUTPUT, f"open {self._doors[name]!r} instead")
        asked = partial(self._asked, name, output, order)

        def permit_still() -> None:
            permit()
            _refuse((guards.requires, guards.blocks), asked())

        await self.breaker.asked(order.id)
        async with self._deciding:
            _refuse(OUTPUT_GUARDS, asked())
            opening = await self._openings.add(name, order)
        try:
            await self.activate(name, order.id, hold, permit_still)
        except (ActionRejectedError, ActionUnavailableError):
            await self._openings.take_back(opening)
            raise

    async def activate(self, name: str, order: str, hold: timedelta | None, permit: Callable[[], None]) -> None:
        """Take an output away from idle, for `hold` or for good. Asks only the breaker: who may is decided before.

        Raises as `ReleaseJournal.away`, and ActionRejectedError with `breaker`.
        """
        self.get(name)
        await self.breaker.opens(order)
        await self._send(name, order, hold, permit)

    def demand(self, name: str, order: Order) -> None:
        """Raise ActionRejectedError if a later order took the output back to idle: what that undoes is over."""
        back = self._taken_back.get(name, order.created)
        if order.created < back <= self._clock.now():  # or it was given before our clock went back
            raise refusal(Reason.SUPERSEDED)

    async def idle(self, name: str, asked: datetime) -> None:
        """Bring an output back to idle, where and as people agreed to it; it may be configured otherwise by now.

        `asked`: when the order was given. No opening of before is tried from here on, whether or not this is confirmed.
        Raises ActionError if it did not confirm it, and ActionRejectedError if nobody ever agreed to this output.
        """
        self.get(name)
        place = self._settings.place(name)
        if place is None:
            raise refusal(Reason.UNCONFIRMED)
        self._taken_back[name] = max(asked, self._taken_back.get(name, asked))
        await self._journal.idle(Target("relay", place.source, place.channel, place.relay, place.idle == "on"))

    async def _send(self, name: str, order: str, hold: timedelta | None, permit: Callable[[], None]) -> None:
        output = self.get(name)
        relays = self._services.source(output.source, SwitchesRelays)

        async def send() -> None:
            await relays.switch_relay(output.channel, output.relay, output.idle == "off")

        if hold is None:
            permit()
            await send()
        else:
            await self._journal.away(target_of(output), order, hold, permit, send)

    def _asked(self, name: str, output: OutputConfig, order: Order) -> Asked:
        return Asked(output, order, self._clock.now(), self._openings.others(name, order), self._facts)


def _refuse(asked_of: Iterable[Callable[[Asked], Refusal | None]], asked: Asked) -> None:
    for guard in asked_of:
        refused = guard(asked)
        if refused is not None:
            raise refusal(*refused)


def target_of(output: OutputConfig) -> Target:
    """Return what the release journal knows an output by."""
    return Target("relay", output.source, output.channel, output.relay, output.idle == "on")
