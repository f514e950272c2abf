"""What left idle within the last hour, so that limits can be counted, also over a restart.

Each opening is written down and synced before it is sent. Within one run time is monotonic; over a
restart the wall clock tells how long ago an opening was, and what seems to lie in the future was
just now. Plates are not written down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.clock import Clock
from bridge.errors import StartError
from bridge.safety.journal import JsonLines
from bridge.safety.reasons import Reason, refusal
from bridge.schema.kinds import PlateRead
from bridge.schema.orders import Order

_LOG = logging.getLogger(__name__)
_HOUR = timedelta(hours=1)
_COMPACT_AT = 5000


@dataclass(frozen=True, slots=True)
class Opening:
    """An output left idle, or would have, at a monotonic time of this run."""

    output: str
    order: str
    event: str
    at: float
    plate: str | None = ""
    """Whose plate it was; empty: nobody's; None: a plate from before a restart, nobody knows which."""


def plate_of(order: Order) -> str:
    """Return the plate that an order is about, or nothing."""
    read = order.trigger.data
    return read.plate if isinstance(read, PlateRead) else ""


class Openings:
    """The memory of one site."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.file = JsonLines(folder / "doors.jsonl")
        self._clock = clock
        self._openings: list[Opening] = []

    async def load(self) -> None:
        """Remember the openings of the last hour from before a restart. Raises StartError."""
        try:
            records = await asyncio.to_thread(self.file.load)
        except OSError as exc:
            cure = "give the bridge's user the right to read it; it holds the doors' limits"
            raise StartError(f"{self.file.path} cannot be read ({exc.strerror})", cure) from exc
        self._openings = _remembered(records, self._clock.now(), self._clock.monotonic())
        self._forget_old()

    async def aclose(self) -> None:
        """Let go of the file."""
        await asyncio.to_thread(self.file.close)

    def others(self, output: str, order: Order) -> list[tuple[timedelta, Opening]]:
        """Return the openings of an output by other orders, with how long ago each was."""
        mono = self._clock.monotonic()
        found = [o for o in self._openings if o.output == output and o.order != order.id]
        return [(timedelta(seconds=mono - o.at), o) for o in found]

    async def add(self, output: str, order: Order, *, durable: bool = True) -> Opening:
        """Count an opening from now on. Raises ActionRejectedError with `no_journal` if it cannot be written down."""
        opening = Opening(output, order.id, order.trigger.id, self._clock.monotonic(), plate_of(order))
        if durable:
            await self._write_down(opening)
        self._openings = [o for o in self._openings if o.order != order.id]
        self._openings.append(opening)
        self._forget_old()
        return opening

    async def take_back(self, opening: Opening) -> None:
        """The device surely did not open: it does not count. If that cannot be written, it counts after a restart."""
        self._openings = [o for o in self._openings if o is not opening]
        try:
            await asyncio.to_thread(self.file.append, {"op": "void", "order": opening.order})
        except OSError as exc:
            _LOG.warning("an opening that did not happen still counts", extra={"error": str(exc)})

    async def _write_down(self, opening: Opening) -> None:
        now = self._clock.now()
        record = {
            "op": "open",
            "output": opening.output,
            "order": opening.order,
            "event": opening.event,
            "plate": bool(opening.plate),
            "at": now.isoformat(),
        }
        try:
            await asyncio.to_thread(self._append, record, now)
        except OSError as exc:
            raise refusal(Reason.NO_JOURNAL, exc.strerror or type(exc).__name__) from exc

    def _append(self, record: Mapping[str, Any], now: datetime) -> None:
        self.file.append(record)
        if self.file.lines > _COMPACT_AT:
            since = (now - _HOUR).isoformat()
            self.file.compact(lambda records: (old for old in records if old.get("at", since) >= since))

    def _forget_old(self) -> None:
        since = self._clock.monotonic() - _HOUR.total_seconds()
        self._openings = [opening for opening in self._openings if opening.at > since]


def _remembered(records: Sequence[Mapping[str, Any]], now: datetime, mono: float) -> list[Opening]:
    """Return what the file says, on this run's clock. What lies in the future was just now: the clock went back."""
    openings: dict[str, Opening] = {}
    for record in records:
        try:
            if record["op"] == "open":
                ago = max(now - datetime.fromisoformat(record["at"]), timedelta(0))
                plate = None if record.get("plate", True) else ""
                at = mono - ago.total_seconds()
                opening = Opening(record["output"], record["order"], record["event"], at, plate)
                openings[opening.order] = opening
            else:
                openings.pop(record["order"], None)
        except (KeyError, TypeError, ValueError) as exc:
            _LOG.error("skipped a journal record of unknown form", extra={"error": str(exc)})
    return list(openings.values())
