"""Doors: what lets somebody in, and the guards that no rule gets past.

A rule asks; the keeper decides, remembers each opening in a local file before it is sent, so that a
restart does not forget the limits, and opens through the declared output. What a door refuses
carries the reason; a door in mode `observe` refuses at the very end, as "would have opened".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from bridge.clock import Clock
from bridge.config.models import DoorConfig
from bridge.errors import ActionRejectedError, ActionUnavailableError, StartError
from bridge.registry import unknown
from bridge.safety.gate import age_of
from bridge.safety.journal import JsonLines
from bridge.safety.outputs import MAX_PULSE, Outputs
from bridge.safety.reasons import Reason, refusal
from bridge.schema.kinds import PlateRead
from bridge.schema.orders import Order
from bridge.schema.units import format_duration

_LOG = logging.getLogger(__name__)
MAX_AGE = timedelta(seconds=60)
"""No door opens on an older cause, whatever is configured."""
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_COMPACT_AT = 5000


@dataclass(frozen=True, slots=True)
class Opening:
    """A door was opened, or would have been, at a monotonic time of this run."""

    output: str
    order: str
    event: str
    at: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a guard looks at. `openings` are those of this output by other orders, with how long ago each was."""

    door: DoorConfig
    order: Order
    now: datetime
    openings: Sequence[tuple[timedelta, Opening]]


Refusal = tuple[Reason, str]
Guard = Callable[[Asked], Refusal | None]


def _hold(asked: Asked) -> Refusal | None:
    return (Reason.HOLD, "") if asked.door.hold else None


def _age(asked: Asked) -> Refusal | None:
    age, limit = age_of(asked.order, asked.now), min(asked.door.max_age, MAX_AGE)
    return (Reason.TOO_OLD, f"{format_duration(age)}, at most {format_duration(limit)}") if age > limit else None


def _score(asked: Asked) -> Refusal | None:
    read = asked.order.trigger.data
    if not isinstance(read, PlateRead) or asked.door.min_score <= 0:
        return None
    if read.score is None:
        return Reason.NO_SCORE, f"at least {asked.door.min_score:g} is asked for"
    if read.score >= asked.door.min_score:
        return None
    return Reason.LOW_SCORE, f"{read.score:g} of {asked.door.min_score:g}"


def _same_event(asked: Asked) -> Refusal | None:
    event = asked.order.trigger.id
    return (Reason.SAME_EVENT, "") if any(opening.event == event for _, opening in asked.openings) else None


def _cooldown(asked: Asked) -> Refusal | None:
    ago = min((ago for ago, _ in asked.openings), default=None)
    if ago is None or ago >= asked.door.cooldown:
        return None
    return Reason.COOLDOWN, f"again in {format_duration(asked.door.cooldown - ago)}"


def _per_minute(asked: Asked) -> Refusal | None:
    full = _count(asked, _MINUTE) >= asked.door.per_minute
    return (Reason.PER_MINUTE, f"at most {asked.door.per_minute}") if full else None


def _per_hour(asked: Asked) -> Refusal | None:
    full = _count(asked, _HOUR) >= asked.door.per_hour
    return (Reason.PER_HOUR, f"at most {asked.door.per_hour}") if full else None


def _count(asked: Asked, window: timedelta) -> int:
    return sum(ago < window for ago, _ in asked.openings)


GUARDS: tuple[Guard, ...] = (_hold, _age, _score, _same_event, _cooldown, _per_minute, _per_hour)
"""Asked in this order; the first refusal counts. The mode comes after all of them."""

_MODES: dict[str, Reason | None] = {
    "observe": Reason.OBSERVE,
    "confirm": Reason.NEEDS_CONFIRMATION,
    "act": None,
}


class DoorKeeper:
    """The doors of one site and what they remember."""

    def __init__(self, doors: Mapping[str, DoorConfig], outputs: Outputs, folder: Path, clock: Clock) -> None:
        self._doors = doors
        self._outputs = outputs
        self._file = JsonLines(folder / "doors.jsonl")
        self._clock = clock
        self._openings: list[Opening] = []
        self._deciding = asyncio.Lock()

    async def load(self) -> None:
        """Remember the openings of the last hour from before a restart. Raises StartError."""
        try:
            records = await asyncio.to_thread(self._file.load)
        except OSError as exc:
            cure = "give the bridge's user the right to read it; it holds the doors' limits"
            raise StartError(f"{self._file.path} cannot be read ({exc.strerror})", cure) from exc
        self._openings = _remembered(records, self._clock.now(), self._clock.monotonic())
        self._forget_old()

    async def open(self, name: str, order: Order, permit: Callable[[], None]) -> dict[str, JsonValue]:
        """Open a door for an order, or raise ActionRejectedError with the reason. Else as `Outputs.activate`.

        `permit` raises when the gate has changed its mind; it is asked right before sending.
        """
        door = self._door(name)
        pulse = min(door.pulse, MAX_PULSE)

        def permit_young() -> None:
            permit()
            _refuse(_age(self._asked(door, order)))

        async with self._deciding:
            opening = await self._decide(name, door, order)
        try:
            await self._outputs.activate(door.output, order.id, self._outputs.hold(door.output, pulse), permit_young)
        except (ActionRejectedError, ActionUnavailableError):
            await self._take_back(opening)
            raise
        _LOG.info("a door was opened", extra={"door": name, "order": order.id, "event": order.trigger.id})
        return {"door": name, "output": door.output, "pulse": format_duration(pulse)}

    async def aclose(self) -> None:
        """Let go of the file."""
        await asyncio.to_thread(self._file.close)

    def _door(self, name: str) -> DoorConfig:
        door = self._doors.get(name)
        if door is None:
            raise refusal(Reason.UNKNOWN_DOOR, unknown("door", name, list(self._doors)))
        return door

    def _asked(self, door: DoorConfig, order: Order) -> Asked:
        mono = self._clock.monotonic()
        others = [o for o in self._openings if o.output == door.output and o.order != order.id]
        return Asked(door, order, self._clock.now(), [(timedelta(seconds=mono - o.at), o) for o in others])

    async def _decide(self, name: str, door: DoorConfig, order: Order) -> Opening:
        """Ask every guard and take the place in the limits; only one order does so at a time."""
        asked = self._asked(door, order)
        for guard in GUARDS:
            _refuse(guard(asked))
        opening = Opening(door.output, order.id, order.trigger.id, self._clock.monotonic())
        in_the_way = _MODES[door.mode]
        if in_the_way is None:
            await self._write_down(name, opening, asked.now)
        self._openings = [o for o in self._openings if o.order != order.id]
        self._openings.append(opening)
        self._forget_old()
        if in_the_way is not None:
            raise refusal(in_the_way)
        return opening

    async def _write_down(self, name: str, opening: Opening, now: datetime) -> None:
        record = {
            "op": "open",
            "door": name,
            "output": opening.output,
            "order": opening.order,
            "event": opening.event,
            "at": now.isoformat(),
        }
        try:
            await asyncio.to_thread(self._append, record, now)
        except OSError as exc:
            raise refusal(Reason.NO_JOURNAL, exc.strerror or type(exc).__name__) from exc

    def _append(self, record: Mapping[str, Any], now: datetime) -> None:
        self._file.append(record)
        if self._file.lines > _COMPACT_AT:
            since = (now - _HOUR).isoformat()
            self._file.rewrite(old for old in self._file.load() if old.get("at", since) >= since)

    async def _take_back(self, opening: Opening) -> None:
        """The device surely did not open: it does not count. If that cannot be written, it counts after a restart."""
        self._openings = [o for o in self._openings if o is not opening]
        try:
            await asyncio.to_thread(self._file.append, {"op": "void", "order": opening.order})
        except OSError as exc:
            _LOG.warning("an opening that did not happen still counts", extra={"error": str(exc)})

    def _forget_old(self) -> None:
        since = self._clock.monotonic() - _HOUR.total_seconds()
        self._openings = [opening for opening in self._openings if opening.at > since]


def _refuse(refused: Refusal | None) -> None:
    if refused is not None:
        raise refusal(*refused)


def _remembered(records: Sequence[Mapping[str, Any]], now: datetime, mono: float) -> list[Opening]:
    """Return what the file says, on this run's clock. What lies in the future was just now: the clock went back."""
    openings: dict[str, Opening] = {}
    for record in records:
        try:
            if record["op"] == "open":
                ago = max(now - datetime.fromisoformat(record["at"]), timedelta(0))
                opening = Opening(record["output"], record["order"], record["event"], mono - ago.total_seconds())
                openings[opening.order] = opening
            else:
                openings.pop(record["order"], None)
        except (KeyError, TypeError, ValueError) as exc:
            _LOG.error("skipped a journal record of unknown form", extra={"error": str(exc)})
    return list(openings.values())
