"""Tell people, directly over HTTP and without the bus, until each receiver has taken it.

What nobody has taken is kept in memory and tried for as long as the bridge runs; when there is too much of it the
oldest is given up, aloud. Decides nothing about what is worth telling.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.actions.endpoints import Delivery, Webhooks
from bridge.clock import Clock
from bridge.errors import ActionError

_LOG = logging.getLogger(__name__)

KEPT = 100
"""What is kept for a receiver that takes nothing."""
_PAUSES = (2.0, 10.0)
"""Seconds before the second and the third try."""
_EACH = 60.0
"""Seconds between all later ones."""
FAREWELL = 3.0
"""Seconds at the end for what nobody was asked to take yet: what is told last tells what came of the last order."""


@dataclass(slots=True, eq=False)
class _Alert:
    """Something that one receiver has not taken yet. Every try has the same id, and the time when it was said."""

    text: str
    body: bytes
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    task: asyncio.Task[None] | None = None
    tried: bool = False


class Alerts:
    """What the receivers of one site are told. `tell` may be called at any time; `run` does the sending."""

    def __init__(self, site: str, receivers: Sequence[str], webhooks: Webhooks, clock: Clock) -> None:
        self._site, self._webhooks, self._clock = site, webhooks, clock
        self._untold: dict[str, dict[str, _Alert]] = {name: {} for name in receivers}
        self._tasks: asyncio.TaskGroup | None = None

    def tell(self, text: str) -> None:
        """Tell every receiver; if `run` does not run yet, then as soon as it does."""
        at = self._clock.now().isoformat()
        body = json.dumps({"type": "vms-bridge.alert", "site": self._site, "text": text, "at": at}).encode()
        for name, untold in self._untold.items():
            if len(untold) >= KEPT:
                self._give_up(name, untold.pop(next(iter(untold))))
            alert = _Alert(text, body)
            untold[alert.id] = alert
            self._start(name, alert)

    async def run(self) -> None:
        """Send until cancelled, and then what is new; what is untold after that is lost, and said in the log.

        Begin it before anything that tells, and end it after.
        """
        async with asyncio.TaskGroup() as self._tasks:
            for name, untold in self._untold.items():
                for alert in untold.values():
                    self._start(name, alert)
            try:
                await asyncio.Event().wait()
            finally:
                await self._farewell()
                self._tasks = None
                for name, untold in self._untold.items():
                    for alert in untold.values():
                        self._give_up(name, alert)

    def _start(self, name: str, alert: _Alert) -> None:
        if self._tasks is not None:
            alert.task = self._tasks.create_task(self._tell(name, alert), name=f"alert[{name}]")

    async def _farewell(self) -> None:
        alerts = [alert for untold in self._untold.values() for alert in untold.values()]
        new = [alert.task for alert in alerts if alert.task is not None and not alert.tried]
        if new:
            await asyncio.wait(new, timeout=FAREWELL)

    async def _tell(self, name: str, alert: _Alert) -> None:
        tries = 0
        while not await self._send(name, alert, aloud=tries <= len(_PAUSES)):
            alert.tried = True
            if tries == len(_PAUSES):
                _LOG.error("nobody could be told yet; it is tried every minute", extra=_said(name, alert))
            await self._clock.sleep(_PAUSES[tries] if tries < len(_PAUSES) else _EACH)
            tries += 1
        self._untold[name].pop(alert.id, None)

    async def _send(self, name: str, alert: _Alert, *, aloud: bool) -> bool:
        try:
            await self._webhooks.send(Delivery(alert.id, "POST", "application/json", alert.body, to=name))
        except ActionError as exc:
            if aloud:
                _LOG.warning("an alert was not taken", extra={"webhook": name, "error": str(exc)})
            return False
        except Exception:  # noqa: BLE001 - the edge of a task: what could not be told must not end the bridge
            if aloud:
                _LOG.exception("an alert could not be sent", extra={"webhook": name})
            return False
        return True

    @staticmethod
    def _give_up(name: str, alert: _Alert) -> None:
        if alert.task is not None:
            alert.task.cancel()
        _LOG.error("nobody could be told", extra=_said(name, alert))


def _said(name: str, alert: _Alert) -> dict[str, str]:
    return {"webhook": name, "alert": alert.text}
