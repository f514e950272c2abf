"""Read the messages of one socket into events: JSON, then the stream's understanding, then the user's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic_core import from_json

from bridge.sdk import PayloadError, VmsEvent, kinds

from .decode import Control, DecodeContext
from .discover import Basics
from .stream import MessageStream
from .system import System


@dataclass(frozen=True, slots=True)
class Read:
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
            return Read((), (PayloadError("bad_json", f"not JSON: {exc}"),))
        try:
            found = self._stream.decode(body, received)
        except PayloadError as exc:
            return Read((), (exc,))
        if isinstance(found, Control):
            refused = found.kind == "error" and (PayloadError("server_error", found.message or "no reason given"),)
            return Read((), refused or ())
        return Read([event for event in found.events if self._is_wanted(event)], found.refused)

    def _is_wanted(self, event: VmsEvent) -> bool:
        """Tell whether an event is of a channel the user wants, or of no channel at all."""
        channel = _channel(event)
        return not self._channels or channel is None or channel in self._channels


def _channel(event: VmsEvent) -> str | None:
    """Return the channel an event belongs to; a lot, a caller and the server itself are none."""
    data, subject = event.data, event.subject
    if isinstance(data, kinds.ParkingSpot):
        return data.channel
    if isinstance(data, kinds.PlateRead) and subject == data.device:
        return None  # a reader without a camera
    by_channel = ("plate.", "motion.", "object.", "channel.", "recording.", "temperature.")
    return subject if event.type.startswith(by_channel) else None
