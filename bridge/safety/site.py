"""Everything that protects the outputs of one site, put together in one place. Comes up first, and needs no bus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from bridge.clock import Clock
from bridge.config.models import BridgeConfig
from bridge.contracts import Services
from bridge.safety.breaker import Breaker
from bridge.safety.cameras import Cameras
from bridge.safety.causes import Causes
from bridge.safety.clocks import SourceClocks
from bridge.safety.doors import DoorKeeper
from bridge.safety.facts import Facts
from bridge.safety.gate import Gate
from bridge.safety.killswitch import KillSwitch
from bridge.safety.latch import Latch
from bridge.safety.openings import Openings
from bridge.safety.outputs import Outputs
from bridge.safety.ownclock import OwnClock
from bridge.safety.readings import Readings
from bridge.safety.releases import ReleaseJournal
from bridge.safety.restored import restored_at
from bridge.safety.settings import Settings
from bridge.schema.state import Told


class Safety:
    """The protections of one site. The start hold-off counts from when this is made."""

    def __init__(self, config: BridgeConfig, services: Services, folder: Path, clock: Clock) -> None:
        safety = config.safety
        self._folder = folder
        self.kill = KillSwitch(folder, clock)
        self.breaker = Breaker(folder, clock, safety.breaker)
        self.clocks = SourceClocks(clock, safety.clock_tolerance, safety.trusted_clocks)
        self.own_clock = OwnClock(folder, clock)
        self.settings = Settings(config, folder, clock)
        self.moves = bool(config.doors or config.outputs)
        """Whether there is anything here that a clock can keep shut."""
        self.causes = Causes(self.clocks, clock, wanted=self.moves)
        self.gate = Gate(
            clock,
            self.kill,
            self.breaker,
            self.clocks,
            self.own_clock,
            hold_off=safety.hold_off,
            unconfirmed=self.settings.hold_all,
            doubt=self.causes.doubt,
            dry_run=config.dry_run,
        )
        self.facts = Facts(clock)
        self.readings = Readings(config.doors.values(), clock)
        self.openings = Openings(folder, clock)
        self.releases = ReleaseJournal(folder, services, clock)
        self.cameras = Cameras(folder, services, clock)
        self.outputs = Outputs(
            config.outputs, config.doors, self.releases, self.openings, self.breaker, self.facts, self.settings,
            services, clock,
        )  # fmt: skip
        self.doors = DoorKeeper(
            config.doors, self.outputs, self.openings, self.facts, self.readings, self.settings, folder, clock
        )

    async def load(self, *, first: bool) -> None:
        """Read what must not be forgotten over a restart; at the `first` start there is none. Raises StartError.

        What is owed is not waited with until here: `releases` are loaded by themselves, and before.
        """
        await self.settings.load(first=first)
        await self.openings.load()
        await self.cameras.load()
        await self.doors.pending.load()

    async def remember(self, known: Mapping[tuple[str, str], Told]) -> None:
        """Take over what was known before the start, but not what a backup says."""
        self.facts.remember(known, await asyncio.to_thread(restored_at, self._folder))

    def unwritten(self) -> list[Latch | OwnClock]:
        """Return what stops something and would be forgotten by a restart, as its disk was full."""
        stops: list[Latch | OwnClock] = [self.kill, self.breaker, self.own_clock, *self.doors.holds.values()]
        return [each for each in stops if each.unwritten]

    async def aclose(self) -> None:
        """Let go of files."""
        await self.openings.aclose()
