"""Doors: what lets somebody in, and the guards that no rule gets past.

A rule or a person asks; the keeper decides, remembers each opening in a local file before it is
sent, opens through the declared output, and where there is an input to show it waits to see it
open. What a door refuses carries the reason; a door in mode `observe` refuses at the very end, as
"would have opened", and one that needs people lets the opening wait for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from bridge.clock import Clock
from bridge.config.outputs import DoorConfig
from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError
from bridge.registry import unknown
from bridge.safety import guards
from bridge.safety.facts import Facts
from bridge.safety.guards import MAX_AGE, AskedDoor, Refusal
from bridge.safety.latch import Latch
from bridge.safety.openings import Opening, Openings
from bridge.safety.outputs import MAX_PULSE, Outputs
from bridge.safety.pending import PendingOpenings
from bridge.safety.readings import Readings
from bridge.safety.reasons import WORDS, Reason, refusal
from bridge.safety.settings import Settings
from bridge.schema.kinds import CommandGiven
from bridge.schema.orders import Order
from bridge.schema.units import format_duration

__all__ = ["MAX_AGE", "DoorKeeper"]
_LOG = logging.getLogger(__name__)
ALREADY = "already"
"""What stands for `confirmed` where the contact showed an open door before the order, and so confirms nothing."""
UNKNOWN_BEFORE = "unknown_before"
"""The same where nothing was known of the contact before: it shows an open door, and may have done so all along."""


class DoorKeeper:
    """The doors of one site. `holds` are stops by hand; they outlive a restart."""

    def __init__(
        self,
        doors: Mapping[str, DoorConfig],
        outputs: Outputs,
        openings: Openings,
        facts: Facts,
        readings: Readings,
        settings: Settings,
        folder: Path,
        clock: Clock,
    ) -> None:
        self._doors = doors
        self._outputs = outputs
        self._openings = openings
        self._facts = facts
        self._readings = readings
        self._settings = settings
        self._clock = clock
        self._deciding = asyncio.Lock()
        self.pending = PendingOpenings(folder, clock)
        self.holds = {name: hold_of(folder, name, clock) for name in doors}

    @property
    def doors(self) -> Mapping[str, DoorConfig]:
        """The doors by name."""
        return self._doors

    def get(self, name: str) -> DoorConfig:
        """Return a door's configuration. Raises ActionRejectedError if there is none."""
        door = self._doors.get(name)
        if door is None:
            raise refusal(Reason.UNKNOWN_DOOR, unknown("door", name, list(self._doors)))
        return door

    async def open(self, name: str, order: Order, permit: Callable[[], None]) -> dict[str, JsonValue]:
        """Open a door for an order, or raise ActionRejectedError with the reason. Else as `Outputs.activate`.

        `permit` raises when the gate has changed its mind; it is asked right before sending. Raises
        ActionUnknownError when the input that should show the opening does not.
        """
        door = self.get(name)
        pulse = min(door.pulse, MAX_PULSE)

        def permit_still() -> None:
            permit()
            self._outputs.demand(door.output, order)
            asked = self._asked(door, order)
            for guard in (guards.hold, guards.age, guards.requires, guards.blocks):
                _refuse(guard(asked))

        await self._outputs.breaker.asked(order.id)
        async with self._deciding:
            opening = await self._decide(name, door, order)
        before = self._facts.holds(door.confirmed_by) if door.confirmed_by is not None else None
        try:
            hold = self._outputs.hold(door.output, pulse)
            await self._outputs.activate(door.output, order.id, hold, permit_still)
        except (ActionRejectedError, ActionUnavailableError):
            await self._openings.take_back(opening)
            raise
        _LOG.info("a door was opened", extra={"door": name, "order": order.id, "event": order.trigger.id})
        output: dict[str, JsonValue] = {"door": name, "output": door.output, "pulse": format_duration(pulse)}
        return output | await self._confirmed(name, door, before)

    def _asked(self, door: DoorConfig, order: Order) -> AskedDoor:
        others = self._openings.others(door.output, order)
        now, held, readings = self._clock.now(), self._held(door.output), self._readings.like(order.trigger)
        waits = self._settings.hold(door.output)
        return AskedDoor(door, order, now, others, self._facts, held=held, unconfirmed=waits, readings=readings)

    def _held(self, output: str) -> str:
        """Return which door to an output somebody holds: whoever stops one has stopped what it moves."""
        return next(
            (name for name, door in self._doors.items() if door.output == output and self.holds[name].pulled), ""
        )

    async def _decide(self, name: str, door: DoorConfig, order: Order) -> Opening:
        """Ask every guard and take the place in the limits; only one order does so at a time."""
        asked = self._asked(door, order)
        for guard in guards.DOOR_GUARDS:
            _refuse(guard(asked))
        if door.mode == "observe":
            await self._openings.add(door.output, order, durable=False)
            raise refusal(Reason.OBSERVE)
        await self._people_agree(name, door, order)
        return await self._openings.add(door.output, order)

    async def _people_agree(self, name: str, door: DoorConfig, order: Order) -> None:
        persons, needed = persons_of(order), needed_persons(door)
        if len(persons) < needed:
            waits = await self.pending.ask(name, order, needed, persons, door.confirm_within)
            raise refusal(Reason.NEEDS_CONFIRMATION, f"{waits.id}, within {format_duration(door.confirm_within)}")

    async def _confirmed(self, name: str, door: DoorConfig, before: bool | None) -> dict[str, JsonValue]:
        """Return what the contact says: that it opened; or why that tells nothing, by how it was before, if known."""
        contact = door.confirmed_by
        if contact is None:
            return {}
        if before:  # it stood open, or the contact is stuck: nobody can tell, so neither is claimed
            return {"confirmed": ALREADY}
        if await self._facts.seen(contact, contact.within):
            return {"confirmed": UNKNOWN_BEFORE if before is None else True}
        seconds = format_duration(contact.within)
        seen = f"{contact.attribute} of {contact.entity}"
        _LOG.error("a door does not confirm that it opened", extra={"door": name, "contact": seen})
        raise ActionUnknownError(f"{WORDS[Reason.NOT_CONFIRMED]}: {seen} not seen within {seconds}")


def hold_of(folder: Path, door: str, clock: Clock) -> Latch:
    """Return the latch that stops a door by hand: the file `safety/holds/<door>` in the data directory."""
    return Latch(folder / "holds" / door, clock, f"hold of {door}")


def persons_of(order: Order) -> tuple[str, ...]:
    """Return the different people who want this opening; nobody, where a rule wants it."""
    given = order.trigger.data
    return tuple(dict.fromkeys(given.persons)) if isinstance(given, CommandGiven) else ()


def needed_persons(door: DoorConfig) -> int:
    """Return how many people must want an opening."""
    if door.persons > 1:
        return door.persons
    return 1 if door.mode == "confirm" else 0


def _refuse(refused: Refusal | None) -> None:
    if refused is not None:
        raise refusal(*refused)
