"""The TS-API connector: all that one server can do, as one object. Building it does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import httpx

from bridge.sdk import SourceContext, SystemInfo, VmsEvent

from .backfill import Backfill
from .backup import Backup
from .client import Listening
from .config import TsApiConfig
from .control import Control
from .inventory import describe
from .recordings import Recordings
from .system import System


class TsApi(Listening, Backfill, Control, Recordings, Backup):
    """One server.

    Implements Listens, Backfills, ControlsPtz, SwitchesRelays, SwitchesAux, Reboots, HasRecordings, HasLiveStreams,
    BacksUpEvents, Describes and TellsClock of the contracts.
    """

    def __init__(
        self, config: TsApiConfig, context: SourceContext, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(System(config, context, transport))

    async def describe(self) -> SystemInfo:
        """Ask the server what it is and has. Raises ConnectorError."""
        return await describe(self._system, self)

    async def clock_offset(self) -> timedelta | None:
        """Return how far the server's clock is ahead of ours, if it says. Raises ConnectorError."""
        return await self._system.clock_offset()

    def _on_events(self, events: Sequence[VmsEvent]) -> None:
        super()._on_events(events)
        self.note_incidents(events)

    def channels_changed(self) -> None:
        """Forget presets and outputs by channel: a number may mean another camera now."""
        self.forget_channels()

    async def aclose(self) -> None:
        """Log out and close every connection. Idempotent."""
        await self._system.aclose()
