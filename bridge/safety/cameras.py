"""Who has a camera: the order of the highest priority, or a person. What was turned away is turned back.

An order may hold a camera at a preset for a time, or while its event lasts; then the camera goes
home. That it owes its return is written down before it turns, so that a restart turns it back. A
person's lock keeps every rule away from it, over restarts too. Stopping a camera is nobody's to refuse.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.clock import Clock
from bridge.contracts import ControlsPtz, Services
from bridge.errors import ActionError, StartError
from bridge.safety.cameralocks import Camera, CameraLocks
from bridge.safety.journal import JsonLines
from bridge.safety.reasons import Reason, refusal
from bridge.schema.event import VmsEvent
from bridge.schema.orders import Order
from bridge.schema.units import format_duration
from bridge.uncancelled import uncancelled

__all__ = ["Camera", "Cameras"]
_LOG = logging.getLogger(__name__)
RETRY = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries of a return; after the last one it is given up, and said."""
TURN_LIMIT = 10.0
"""Seconds one try may take."""
_COMPACT_AT = 500
_NOBODYS = -1001
"""Lower than the priority of any order."""
_ENDS = {"motion.started": "motion.ended", "call.started": "call.ended"}
"""Which kind ends which; other events do not last."""
_MOST_ENDS = 1000
"""Ends that are remembered, one for each place; an order comes seconds after its event."""
_End = tuple[str, str | None, str]
"""Source, subject and kind of an event that ends another."""


@dataclass(slots=True)
class _Holder:
    order: str
    priority: int
    home: str
    due: float
    ends: _End | None
    """What ends it early."""
    tries: int = 0


class Cameras:
    """The cameras of one site."""

    def __init__(self, folder: Path, services: Services, clock: Clock) -> None:
        self._file = JsonLines(folder / "cameras.jsonl")
        self._services, self._clock = services, clock
        self._held: dict[Camera, _Holder] = {}
        self._ended: dict[_End, datetime] = {}
        """When each last came: what a camera is to be held for may be over before it is held."""
        self._locks = CameraLocks(folder, clock)
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        """What is held and what is written change together, one camera after the other."""

    async def load(self) -> None:
        """Read which cameras people have, and which owe their return from before: they are due at once, or when
        the people are done. Raises StartError."""
        await self._locks.load()
        try:
            records = await asyncio.to_thread(self._file.load)
        except OSError as exc:
            cure = "give the bridge's user the right to read it; it says which cameras must turn back"
            raise StartError(f"{self._file.path} cannot be read ({exc.strerror})", cure) from exc
        now = self._clock.monotonic()
        for camera, home in _owed(records).items():
            self._held[camera] = _Holder("", _NOBODYS, home, now, None)

    async def run(self) -> None:
        """Turn cameras back when it is time, until cancelled."""
        try:
            while True:
                await self._until_due()
                for camera, holder in list(self._held.items()):
                    if self._is_due(camera, holder):
                        await self._turn_back(camera, holder)
        finally:
            await asyncio.to_thread(self._file.close)
            await self._locks.aclose()

    # --- rules -----------------------------------------------------------------------------------------

    def ask(self, camera: Camera, order: Order) -> None:
        """Raise ActionRejectedError if a person, or an order of higher priority, has the camera."""
        left = self._locks.due(camera) - self._clock.monotonic()
        if left > 0:
            person = self._locks.who(camera)
            raise refusal(Reason.CAMERA_LOCKED, f"{person}, for {format_duration(timedelta(seconds=left))}")
        holder = self._held.get(camera)
        if holder is not None and holder.order != order.id and holder.priority > order.priority:
            raise refusal(Reason.CAMERA_BUSY, f"priority {holder.priority}, this has {order.priority}")

    async def hold(
        self, camera: Camera, order: Order, home: str, longest: timedelta, *, while_it_lasts: bool = False
    ) -> None:
        """Let an order have the camera until it goes home. Written down when this returns.

        Raises as `ask`, and ActionRejectedError with `no_journal` if it cannot be written down.
        """
        self.ask(camera, order)
        trigger = order.trigger
        lasts = while_it_lasts and trigger.type in _ENDS
        ends = (trigger.source, trigger.subject, _ENDS[trigger.type]) if lasts else None
        record = {"op": "hold", "source": camera.source, "channel": camera.channel, "home": home}
        async with self._writing:
            try:
                await asyncio.to_thread(self._file.append, record)
            except OSError as exc:
                raise refusal(Reason.NO_JOURNAL, exc.strerror or type(exc).__name__) from exc
            over = ends is not None and ends in self._ended and self._ended[ends] >= trigger.time
            due = self._clock.monotonic() + (0.0 if over else longest.total_seconds())
            self._held[camera] = _Holder(order.id, order.priority, home, due, ends)
        self._changed.set()

    async def take_over(self, camera: Camera, order: Order) -> None:
        """Let an order have the camera for good: nobody turns it back. Raises as `ask`."""
        self.ask(camera, order)
        if (holder := self._held.get(camera)) is not None:
            await self._let_go(camera, holder)

    def heard(self, event: VmsEvent) -> None:
        """Look at an event: the end of what a camera is held for is the end of holding it."""
        if event.type not in _ENDS.values():
            return
        end = (event.source, event.subject, event.type)
        self._ended.pop(end, None)
        self._ended[end] = event.time
        if len(self._ended) > _MOST_ENDS:
            del self._ended[next(iter(self._ended))]
        for holder in self._held.values():
            if holder.ends == end:
                holder.due = self._clock.monotonic()
                self._changed.set()

    # --- people ------------------------------------------------------------------------------------------

    async def lock(self, camera: Camera, who: str, span: timedelta) -> None:
        """Keep rules away from a camera for a time. What it owes is put off, not forgotten.

        Raises OSError if a restart would forget it; it holds all the same.
        """
        try:
            await self._locks.lock(camera, who, span)
        finally:
            self._changed.set()

    async def unlock(self, camera: Camera) -> None:
        """Let rules have it again. Raises OSError if a restart would lock it again for what is left."""
        try:
            await self._locks.unlock(camera)
        finally:
            self._changed.set()

    def locks(self) -> dict[str, str]:
        """Return which cameras people have, and who."""
        return self._locks.all()

    def held(self) -> dict[str, str]:
        """Return which cameras are held, and for which order."""
        return {str(camera): holder.order for camera, holder in self._held.items()}

    # --- going home ----------------------------------------------------------------------------------------

    async def _until_due(self) -> None:
        self._changed.clear()
        self._put_off()
        due = min((holder.due for holder in self._held.values()), default=None)
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._changed.wait())]
        if due is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(max(0.0, due - self._clock.monotonic()))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _put_off(self) -> None:
        """A camera that a person has turns back when they are done."""
        for camera, holder in self._held.items():
            holder.due = max(holder.due, self._locks.due(camera))

    def _is_due(self, camera: Camera, holder: _Holder) -> bool:
        """Ask right before it turns: while another one did, a person or an order may have taken this one."""
        self._put_off()
        return self._held.get(camera) is holder and holder.due <= self._clock.monotonic()

    async def _turn_back(self, camera: Camera, holder: _Holder) -> None:
        try:
            async with asyncio.timeout(TURN_LIMIT):
                with uncancelled():
                    await self._services.source(camera.source, ControlsPtz).ptz_goto(camera.channel, holder.home)
        except (ActionError, TimeoutError) as exc:
            self._again(camera, holder, str(exc) or "no answer")
        except Exception as exc:  # noqa: BLE001 - the edge of a task: a connector's bug must not end it
            self._again(camera, holder, f"{type(exc).__name__}: {exc}")
        else:
            holder.tries = len(RETRY)
        if holder.tries >= len(RETRY):
            await self._let_go(camera, holder)

    def _again(self, camera: Camera, holder: _Holder, error: str) -> None:
        extra = {"camera": str(camera), "preset": holder.home, "error": error}
        if holder.tries + 1 >= len(RETRY):
            _LOG.error("a camera does not go home; it stays where it is", extra=extra)
        holder.due = self._clock.monotonic() + RETRY[holder.tries]
        holder.tries += 1

    async def _let_go(self, camera: Camera, holder: _Holder) -> None:
        async with self._writing:
            if self._held.get(camera) is not holder:
                return
            try:
                await asyncio.to_thread(self._strike_off, camera)
            except OSError as exc:
                _LOG.warning("a camera turns back once more after a restart", extra={"error": str(exc)})
            del self._held[camera]

    def _strike_off(self, camera: Camera) -> None:
        self._file.append({"op": "home", "source": camera.source, "channel": camera.channel})
        if self._file.lines > _COMPACT_AT:
            self._file.compact(_still_held)


def _still_held(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    held = _owed(records).items()
    return [{"op": "hold", "source": c.source, "channel": c.channel, "home": home} for c, home in held]


def _owed(records: list[dict[str, Any]]) -> dict[Camera, str]:
    owed: dict[Camera, str] = {}
    for record in records:
        try:
            camera = Camera(record["source"], record["channel"])
            if record["op"] == "hold":
                owed[camera] = str(record["home"])
            else:
                owed.pop(camera, None)
        except (KeyError, TypeError):
            _LOG.error("skipped a journal record of unknown form", extra={"record": record})
    return owed
