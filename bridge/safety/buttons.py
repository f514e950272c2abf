"""Hands on the kill switch that are not at a keyboard: events that stand for a button, and a message of the broker.

Both can only pull. They are heard before anything is stored, so they work with the bus down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from bridge.config.safety import InputMatch
from bridge.safety.desk import Desk
from bridge.safety.killswitch import KillSwitch
from bridge.schema.event import Origin, VmsEvent

_LOG = logging.getLogger(__name__)
_MADE_UP = frozenset({Origin.REPLAY, Origin.TEST})
_MAX_REASON = 200


class Buttons:
    """Whatever pulls the kill switch of one site without a command."""

    def __init__(self, matches: Sequence[InputMatch], kill: KillSwitch, desk: Desk) -> None:
        self._matches, self._kill, self._desk = matches, kill, desk
        self._pulling: set[asyncio.Task[None]] = set()

    def heard(self, event: VmsEvent) -> None:
        """Look at an event. A button that was pressed while we were away counts too; made-up ones do not."""
        if event.origin not in _MADE_UP and any(_fits(match, event) for match in self._matches):
            self._pull(f"event:{event.source_name}", f"{event.type} at {event.subject or event.source_name}")

    def message(self, payload: bytes) -> None:
        """Take a message on the topic of the kill switch; whatever it says, it pulls."""
        self._pull("mqtt", payload[:_MAX_REASON].decode(errors="replace") or "not said")

    def _pull(self, who: str, reason: str) -> None:
        if self._kill.pulled:
            return
        task = asyncio.get_running_loop().create_task(self._pulled(who, reason), name="kill switch")
        self._pulling.add(task)
        task.add_done_callback(self._pulling.discard)

    async def _pulled(self, who: str, reason: str) -> None:
        try:
            await self._desk.kill(who, reason)
        except OSError as exc:
            _LOG.error("the kill switch holds, but a restart would forget it", extra={"error": str(exc)})


def _fits(match: InputMatch, event: VmsEvent) -> bool:
    return (
        event.source_name == match.source
        and event.type == match.kind
        and match.channel in (None, event.subject)
        and all(getattr(event.data, name, None) == value for name, value in match.data.items())
    )
