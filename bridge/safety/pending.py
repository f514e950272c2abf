"""Openings that wait for people: who asked, who has agreed, until when. Nobody opens late: a stop ends all of them.

The order that asked has ended (`needs_confirmation`); what became of the waiting is an end of its own, so that none
vanishes: agreed to and ordered, denied, nobody agreed in time, another one needed the place, or the bridge was
restarted meanwhile. It has been agreed to only when its order exists; in between nobody can tell. What waits is
written down for that alone, without its plate; at a start it is told and never opened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.clock import Clock
from bridge.errors import StartError, StoreUnavailableError
from bridge.safety.journal import JsonLines
from bridge.safety.openings import plate_of
from bridge.safety.reasons import WORDS, Reason, refusal
from bridge.schema.base import stable_id
from bridge.schema.kinds import Outcome
from bridge.schema.orders import ActionClass, Order, Result

_LOG = logging.getLogger(__name__)
MOST = 100
"""Openings that may wait at once; the oldest gives way."""
ACTION = "confirm"
"""What the end of a waiting is filed under."""
_COMPACT_AT = 500

Account = Callable[[Result], Awaitable[None]]
"""Write an end down, once however often it is told. Raises StoreUnavailableError."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One opening that waits. `persons` have agreed; `needed` must."""

    id: str
    door: str
    rule: str
    plate: str
    event: str
    needed: int
    persons: tuple[str, ...]
    asked: datetime
    until: datetime
    order: str = field(repr=False)
    due: float = field(repr=False)
    """`until`, on the monotonic clock, which decides."""


class PendingOpenings:
    """What waits at one site. `run` tells how each has ended."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._file = JsonLines(folder / "pending.jsonl")
        self._clock = clock
        self._waiting: dict[str, Pending] = {}
        self._ordering: dict[str, Pending] = {}
        """Agreed to by enough people; their order is on its way."""
        self._untold: dict[str, Result] = {}
        """How those have ended of which nobody was told yet, by the order that asked."""
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """End what waited when the bridge stopped. Raises StartError."""
        try:
            records = await asyncio.to_thread(self._file.load)
        except OSError as exc:
            cure = "give the bridge's user the right to read it; it says which openings waited for people"
            raise StartError(f"{self._file.path} cannot be read ({exc.strerror})", cure) from exc
        for order, found in _untold(records).items():
            ended = found if isinstance(found, Result) else _lost(found, self._clock.now())
            if ended is not None:
                self._untold[order] = ended

    async def run(self, account: Account) -> None:
        """Tell how each has ended, until cancelled."""
        try:
            while True:
                self._news.clear()
                await self._expire()
                pause = await self._tell(account)
                await self._until_due(pause)
        finally:
            await asyncio.to_thread(self._file.close)

    def all(self) -> list[Pending]:
        """Return what waits now, oldest first."""
        now = self._clock.monotonic()
        return [one for one in self._waiting.values() if one.due > now]

    async def ask(self, door: str, order: Order, needed: int, persons: tuple[str, ...], within: timedelta) -> Pending:
        """Let an opening wait. The same plate at the same door waits once; its first reading counts."""
        plate = plate_of(order)
        for one in self.all():
            if one.door == door and (one.plate == plate if plate else one.event == order.trigger.id):
                return one
        now, due = self._clock.now(), self._clock.monotonic() + within.total_seconds()
        event, until = order.trigger.id, now + within
        one = Pending(order.id[:8], door, order.rule, plate, event, needed, persons, now, until, order.id, due)
        self._waiting[one.id] = one
        await self._write({"op": "waits", **_kept(one)})
        while len(self._waiting) > MOST:
            await self._end(next(iter(self._waiting)), "refused", Reason.TOO_MANY_WAIT)
        self._news.set()
        return one

    def agree(self, name: str, person: str) -> Pending:
        """Note that a person agrees; agreeing twice counts once. Raises ActionRejectedError if it waits no longer."""
        found = self.get(name)
        if person not in found.persons:
            found = replace(found, persons=(*found.persons, person))
            self._waiting[name] = found
        return found

    def get(self, name: str) -> Pending:
        """Return one that waits. Raises ActionRejectedError if it waits no longer."""
        found = {one.id: one for one in self.all()}.get(name)
        if found is None:
            raise refusal(Reason.NOT_PENDING, name)
        return found

    async def ordering(self, name: str) -> None:
        """Enough people agreed: nobody else can, and its order may be given. Raises ActionRejectedError as `get`.

        Whatever it raises, no order may be given, and what waited waits on.
        """
        one = self._ordering[name] = self.get(name)
        del self._waiting[name]
        try:
            await self._write({"op": "ordering", **_kept(one)})
        except BaseException:  # cancelled: nobody is left who would say what became of it
            await self.not_ordered(name)
            raise

    async def ordered(self, name: str) -> None:
        """Its order exists; what came of that is told of the order."""
        await self._end(name, "done", None)

    async def not_ordered(self, name: str) -> None:
        """Its order was not given: it waits on, for as long as it may."""
        one = self._waiting[name] = self._ordering.pop(name)
        await self._write({"op": "waits", **_kept(one)})
        self._news.set()

    async def perhaps_ordered(self, name: str) -> None:
        """Whether its order exists is not known; so it must not be given once more."""
        await self._end(name, "unknown", Reason.NO_ANSWER)

    async def denied(self, name: str, person: str) -> None:
        """It waits no longer: somebody said no."""
        await self._end(name, "refused", Reason.DENIED, person)

    # --- how it ends -----------------------------------------------------------------------------------

    async def _end(self, name: str, outcome: Outcome, reason: Reason | None, detail: str = "") -> None:
        one = self._waiting.pop(name, None) or self._ordering.pop(name, None)
        if one is None:
            return
        ended = _result(one.order, one.rule, one.event, self._clock.now(), outcome, reason, detail)
        ended = ended.model_copy(update={"output": {"door": one.door, "pending": name, "persons": list(one.persons)}})
        self._untold[one.order] = ended
        self._news.set()
        await self._write({"op": "ended", "order": one.order, "result": ended.model_dump(mode="json")})

    async def _expire(self) -> None:
        now = self._clock.monotonic()
        for one in [one for one in self._waiting.values() if one.due <= now]:
            await self._end(one.id, "expired", Reason.NOBODY_AGREED)

    async def _tell(self, account: Account) -> float | None:
        """Tell all there is to tell; return after how many seconds to try again what could not be told."""
        for order, ended in list(self._untold.items()):
            try:
                await account(ended)
            except StoreUnavailableError as exc:
                _LOG.warning("how an opening that waited has ended cannot be written down yet", extra={"order": order})
                return max(1.0, exc.retry_after.total_seconds())
            del self._untold[order]
            await self._write({"op": "told", "order": order})
        return None

    async def _until_due(self, pause: float | None) -> None:
        now = self._clock.monotonic()
        times = [one.due - now for one in self._waiting.values()] + ([] if pause is None else [pause])
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._news.wait())]
        if times:
            waits.append(asyncio.ensure_future(self._clock.sleep(max(0.0, min(times)))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # --- the file ----------------------------------------------------------------------------------------

    async def _write(self, record: dict[str, Any]) -> None:
        """Write down what a restart should know. What cannot be is only not accounted for after one."""
        async with self._writing:
            try:
                await asyncio.to_thread(self._append, record)
            except OSError as exc:
                _LOG.warning("a restart would forget what waits for people", extra={"error": str(exc)})

    def _append(self, record: dict[str, Any]) -> None:
        self._file.append(record)
        if self._file.lines > _COMPACT_AT:
            self._file.compact(_without_told)


def _without_told(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = {record.get("order") for record in records if record.get("op") == "told"}
    return [record for record in records if record.get("order") not in told]


def _untold(records: list[dict[str, Any]]) -> dict[str, dict[str, Any] | Result]:
    """Return what waits, as it was written down, or how it has ended, by the order that asked."""
    found: dict[str, dict[str, Any] | Result] = {}
    for record in records:
        try:
            order = record["order"]
            match record["op"]:
                case "waits" | "ordering":
                    found[order] = record
                case "ended":
                    found[order] = Result.model_validate(record["result"])
                case _:
                    found.pop(order, None)
        except (KeyError, TypeError, ValueError):
            _LOG.error("skipped a journal record of unknown form", extra={"record": record})
    return found


def _lost(record: dict[str, Any], now: datetime) -> Result | None:
    """Return the end of what waited when the bridge stopped. Of what was just being ordered nobody can tell."""
    how: tuple[Outcome, Reason] = ("refused", Reason.RESTARTED)
    if record["op"] == "ordering":
        how = ("unknown", Reason.INTERRUPTED)
    try:
        ended = _result(record["order"], record["rule"], record["event"], now, *how)
        return ended.model_copy(update={"output": {"door": record["door"], "pending": record["id"]}})
    except (KeyError, ValueError):
        _LOG.error("skipped a journal record of unknown form", extra={"record": record})
        return None


def _kept(one: Pending) -> dict[str, Any]:
    """Return what is written down of one that waits."""
    return {"id": one.id, "order": one.order, "door": one.door, "rule": one.rule, "event": one.event}


def _result(
    order: str, rule: str, event: str, now: datetime, outcome: Outcome, reason: Reason | None, detail: str = ""
) -> Result:
    words = None if reason is None else f"{WORDS[reason]}: {detail}" if detail else WORDS[reason]
    return Result(
        order=stable_id("waited", order),
        rule=rule,
        action=ACTION,
        action_class=ActionClass.INFORMATION,
        outcome=outcome,
        reason=None if reason is None else reason.value,
        message=words,
        ended=now,
        causes=(event,),
    )
