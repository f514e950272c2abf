"""The simulated site as one object: configuration, state, memory, clients and background work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from . import eventtypes
from .access import Access
from .backups import Backups
from .config import SimulatorConfig
from .course import Course, UnknownThingError
from .devices import Devices
from .faults import Faults
from .feed import Hub
from .happenings import (
    Happening,
    LogRow,
)
from .levels import Feature, Level
from .logbook import Logbook
from .parts import Parts
from .recorder import Recorder
from .state import Channel, Site
from .times import find_zone
from .view import View

_logger = logging.getLogger(__name__)
_WRONG_HOST = "192.168.0.100"


class World:
    """Everything the server knows. `now` gives the wall clock, `monotonic` seconds for limits of faults."""

    def __init__(
        self,
        config: SimulatorConfig,
        recorder: Recorder,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self.config, self.recorder, self.now = config, recorder, now
        self.level = Level.parse(config.api_version)
        self.legacy_off = config.legacy_off
        self.unlicensed: frozenset[Feature] = config.unlicensed
        self.zone = find_zone(config.zone)
        self.faults = Faults(monotonic)
        self.hub = Hub(self.faults)
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """Go back to the configured state: devices, logs, faults and credentials."""
        self.site, self.log = Site(self.config), Logbook()
        self.access = Access(self.config, self.now)
        self.parts = Parts(self.site, self.recorder.size, self.now, self.config.quirks)
        self.faults.clear()
        self.recorder.gaps.clear()
        self.devices, self.backups = Devices(self), Backups(self)
        self._course = Course(self)
        self.happen(LogRow(topic="systemEvent", type=eventtypes.SYSTEM, code=1))

    # Clients

    def view(self, *, v1: bool, host: str, lang: str = "", verbose: bool = False) -> View:
        """Return how a client sees the server."""
        return View(
            v1=v1,
            server=self.level,
            host=_WRONG_HOST if self.faults.get("wrong_host") else host,
            zone=self.zone,
            lang=lang or self.config.lang,
            verbose=verbose,
            korean_forms=self.config.variant == "ko",
            v1_codes=v1 and self.config.v1_socket_codes == "v1",
            v1_hls=self.config.v1_lists_hls,
        )

    # Background work

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something beside the server until it ends or the simulator stops."""
        task = asyncio.get_running_loop().create_task(work, name=f"simulator[{name}]")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """End all background work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            _logger.error("simulator task failed", exc_info=task.exception(), extra={"task": task.get_name()})

    async def watch_motion(self) -> None:
        """Tell motion once a tick, as the server does; shorter pulses vanish."""
        while True:
            await asyncio.sleep(self.config.motion_tick.total_seconds())
            self._course.tell_motion()

    # What happens

    def happen(self, what: Happening) -> None:
        """Let something happen: change the state, write it down, tell the clients."""
        self._course.happen(what)

    def channel(self, chid: int) -> Channel:
        """Return a camera; an UnknownThingError names a number that does not exist."""
        if chid not in self.site.channels:
            raise UnknownThingError(f"no channel {chid}; there are {sorted(self.site.channels)}")
        return self.site.channels[chid]
