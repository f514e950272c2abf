"""Channels that have exchanged their numbers: a door that goes by one of them is held until a person has looked.

Outputs and interlocks are configured by channel number. After a swap a number means another camera and its relay: the
door would switch the relay of another one, or look at another place. Only a person can tell what was meant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

from bridge.config.outputs import DoorConfig, OutputConfig
from bridge.safety.desk import Desk
from bridge.schema.event import VmsEvent
from bridge.schema.state import renumbered

_LOG = logging.getLogger(__name__)


class Swaps:
    """Holds the doors of one site that a swap concerns."""

    def __init__(self, outputs: Mapping[str, OutputConfig], doors: Mapping[str, DoorConfig], desk: Desk) -> None:
        self._places = {name: frozenset(_places(door, outputs.get(door.output))) for name, door in doors.items()}
        self._desk = desk
        self._holding: set[asyncio.Task[None]] = set()

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in."""
        swapped = renumbered(event) if event.type == "channel.swapped" else []
        for door, places in self._places.items():
            if not places.isdisjoint(swapped):
                why = (
                    f"{' and '.join(swapped)} have swapped numbers: are its relay and what it asks for the right ones?"
                )
                task = asyncio.get_running_loop().create_task(self._hold(door, event.source_name, why))
                self._holding.add(task)
                task.add_done_callback(self._holding.discard)

    async def _hold(self, door: str, source: str, why: str) -> None:
        try:
            await self._desk.hold(door, f"event:{source}", why)
        except OSError as exc:
            _LOG.error("a door is held, but a restart would forget it", extra={"door": door, "error": str(exc)})


def _places(door: DoorConfig, output: OutputConfig | None) -> Iterator[str]:
    """Yield what a door goes by, as entities."""
    if output is not None:
        yield f"{output.source}/{output.channel}"
    for state in (*door.requires, *door.blocks, door.confirmed_by, door.second_factor):
        if state is not None:
            yield state.entity
