"""Read the messages of one socket into events: JSON, then the stream's understanding, then the user's channels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic_core import from_json

from bridge.sdk import PayloadError, VmsEvent, kinds

from .decode import Control, DecodeContext
from .discover import Basics
from .stream import MessageStream
from .system import System


class Read(NamedTuple):
    """What became of a message: its events, and why the rest of it was not understood."""

    events: Sequence[VmsEvent]
    errors: Sequence[PayloadError] = ()


class Reader:
    """Reads one socket. `topic` is what messages without a topic belong to."""

    def __init__(self, system: System, found: Basics, topic: str | None) -> None:
        self._channels = {str(channel) for channel in system.config.channels}
        self._stream = MessageStream(
            DecodeContext(
                site=system.context.site,
                source=system.context.name,
                received=system.clock.now(),
                dialect=found.dialect,
                topic=topic,
                zone=found.zone,
                keep_raw=system.config.keep_raw,
            )
        )

    def read(self, message: bytes, received: datetime) -> Read:
        """Return what a message says. Never raises: a message that cannot be read is an error in the result."""
        try:
            body = from_json(message, allow_inf_nan=False)
        except ValueError as exc:
            return Read((), (PayloadError("not_json", f"not JSON: {exc}"),))
        try:
            found = self._stream.decode(body, received)
        except PayloadError as exc:
            return Read((), (exc,))
        if isinstance(found, Control):
            refused = found.kind == "error" and (PayloadError("server_error", found.message or "no reason given"),)
            return Read((), refused or ())
        return Read(self._wanted(found.events), found.refused)

    def _wanted(self, events: Sequence[VmsEvent]) -> Sequence[VmsEvent]:
        """Return the events of the channels the user wants, and of no channel at all."""
        wanted = self._channels
        if not wanted:
            return events
        return [event for event in events if (channel := _channel(event)) is None or channel in wanted]


def _channel(event: VmsEvent) -> str | None:
    """Return the channel an event belongs to; a lot, a caller and the server itself are none."""
    data, subject = event.data, event.subject
    if isinstance(data, kinds.ParkingSpot):
        return data.channel
    if isinstance(data, kinds.PlateRead) and subject == data.device:
        return None  # a reader without a camera
    by_channel = ("plate.", "motion.", "object.", "channel.", "recording.", "temperature.")
    return subject if event.type.startswith(by_channel) else None
