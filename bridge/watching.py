"""Looking once a second at what tells nobody by itself how it is, and putting that into health and metrics.

Decides nothing: what follows from a state is decided by those who own it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.actions.runner import Runner
from bridge.bus.appender import Appender
from bridge.bus.bus import Bus
from bridge.engine_host import EngineHost
from bridge.runtime.health import HealthBook, Level
from bridge.runtime.metrics import Metrics
from bridge.safety.settings import Settings
from bridge.safety.site import Safety

_SHOWN = 10
"""Changed settings that health shows."""


def show(metrics: Metrics, engine: EngineHost, runner: Runner, safety: Safety, bus: Bus) -> None:
    """Show as metrics how far the parts are; they are asked whenever somebody reads the metrics."""
    metrics.watch("engine_position", "Sequence of the last event that was evaluated.", lambda: engine.position)
    metrics.watch("orders_in_hand", "Orders taken and not ended.", lambda: runner.tally.pending)
    metrics.releases(lambda: len(safety.releases.owed()), lambda: len(safety.releases.overdue()))
    metrics.watch("events_waiting", "Events in hand and not stored yet.", lambda: bus.health().pending)


class StoreWatch:
    """The health of what is kept: the log, the audit trail, and the settings that people have agreed to."""

    def __init__(self, health: HealthBook, metrics: Metrics, bus: Bus, appender: Appender, settings: Settings) -> None:
        self._health, self._metrics = health, metrics
        self._bus, self._appender, self._settings = bus, appender, settings
        health.register("bus")
        health.register("audit", needed=False)
        health.register("settings", needed=False)

    def look(self) -> None:
        """Say how all of it is now."""
        self._look_at_settings()
        self._look_at_trail()
        self._look_at_log()

    def _look_at_settings(self) -> None:
        waits = self._settings.waits
        if waits is None:
            self._health.set("settings", Level.UP)
            return
        shown = "; ".join(map(str, waits.changes[:_SHOWN]))
        words = f"changed settings of what moves wait to be confirmed, and nothing they concern moves: {shown}"
        cure = f"vms-bridge door settings --confirm {waits.confirm}"
        if self._settings.lost:
            words = f"what people had agreed to is gone or cannot be read, and nothing moves: {shown}"
            self._health.set("settings", Level.DEGRADED, "agreement_lost", words, f"find out why; then {cure}")
        else:
            self._health.set("settings", Level.DEGRADED, "unconfirmed", words, cure)

    def _look_at_trail(self) -> None:
        stopped = self._appender.trouble
        if stopped is None:
            self._health.set("audit", Level.UP)
        else:
            self._health.set("audit", Level.DEGRADED, "foreign_record", str(stopped), stopped.cure)

    def _look_at_log(self) -> None:
        state, damage = self._bus.health(), self._bus.damage
        if not state.ok:
            cure = "look at the disk and at nats-server; events wait at their senders meanwhile"
            self._health.set("bus", Level.DOWN, "store", state.trouble or state.refusing or "", cure)
        elif damage:
            lost = "; ".join(map(str, damage))
            self._health.set("bus", Level.DEGRADED, "store_damaged", lost, max((one.cure for one in damage), key=len))
        else:
            self._health.set("bus", Level.UP)
        self._metrics.store_up(state.ok)


class Probe:
    """Do something every second on the running loop, beginning now."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._look()
        self._handle = asyncio.get_running_loop().call_later(1.0, self.__enter__)

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
