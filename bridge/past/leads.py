"""From a firing on to what came of it: its orders, how each ended, and the clips. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from bridge.bus import stored
from bridge.bus.connect import Connection
from bridge.bus.pull import scan
from bridge.bus.streams import stream_name
from bridge.schema.event import VmsEvent
from bridge.schema.orders import Effect, Order, Result
from bridge.schema.subjects import Subjects

_SLACK = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Led:
    """What came of one order."""

    order: str
    action: str | None = None
    step: str | None = None
    what: Any = None
    """Its parameters."""
    status: str = "unknown"
    """done, expired, refused, dead, unknown; started, waiting; `not begun`, `not found` (yet, or any more)."""
    reason: str | None = None
    message: str | None = None
    attempts: int = 0
    ended: datetime | None = None
    seconds: float | None = None
    """From the decision to the end."""
    clips: tuple[str, ...] = ()
    """Paths in the clip store."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, without what is not known."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in named.items()
            if value not in (None, (), 0)
        }


class Leads:
    """Looks up orders. Every method raises StoreUnavailableError."""

    def __init__(self, connection: Connection, site: str) -> None:
        self._connection, self._subjects = connection, Subjects(site)
        self._engine, self._results = stream_name(site, "ENGINE"), stream_name(site, "RESULTS")
        self._events = stream_name(site, "EVENTS")

    async def of(self, orders: Iterable[str], since: datetime) -> list[Led]:
        """Return what came of orders that were made then or later."""
        found = [await self._one(order) for order in orders]
        missing = {led.order for led in found if led.status == "not found"}
        if missing:
            results = await self._old_results(missing, since)
            found = [_ended(led, results.get(led.order), None) for led in found]
        filming = {led.order for led in found if led.action in ("clip", None)}
        clips = await self._clips(filming, since) if filming else {}
        return [replace(led, clips=tuple(dict.fromkeys([*led.clips, *clips.get(led.order, [])]))) for led in found]

    async def _one(self, order_id: str) -> Led:
        order, effect = await self._order(order_id), await self._effect(order_id)
        led = Led(order_id, status="not begun" if order else "not found")
        if order is not None:
            led = replace(led, action=order.action, step=order.step, what=order.model_dump(mode="json")["params"])
        if effect is None:
            return led
        if effect.result is None:
            return replace(led, status=effect.status, message=effect.last_error, attempts=effect.attempt)
        return _ended(led, effect.result, order.created if order else None)

    async def _order(self, order_id: str) -> Order | None:
        found = await stored.last(self._connection, self._engine, self._subjects.order(order_id))
        try:
            return Order.decode(found.body) if found is not None and found.body else None
        except ValidationError:
            return None

    async def _effect(self, order_id: str) -> Effect | None:
        found = await stored.last(self._connection, self._engine, self._subjects.effect(order_id))
        try:
            return Effect.decode(found.body) if found is not None and found.body else None
        except ValidationError:
            return None

    async def _old_results(self, orders: set[str], since: datetime) -> dict[str, Result]:
        """Return the ends of orders that have left the ledger; the audit trail keeps them longer."""
        fields = Result.model_fields
        results: dict[str, Result] = {}
        async with aclosing(scan(self._connection, self._results, since=since - _SLACK)) as batches:
            async for batch in batches:
                for message in batch:
                    content = from_json(message.data)
                    if isinstance(content, dict) and content.get("order") in orders:
                        named = {name: value for name, value in content.items() if name in fields}
                        results[content["order"]] = Result.model_validate(named)
                if results.keys() == orders:
                    break
        return results

    async def _clips(self, orders: set[str], since: datetime) -> dict[str, list[str]]:
        subject = self._subjects.events(kind="clip.ready")
        clips: dict[str, list[str]] = {}
        async with aclosing(scan(self._connection, self._events, [subject], since=since - _SLACK)) as batches:
            async for batch in batches:
                for message in batch:
                    if not any(to_json(order) in message.data for order in orders):
                        continue
                    data: Any = VmsEvent.decode(message.data).data
                    clips.setdefault(data.order, []).append(data.path)
        return clips


def _ended(led: Led, result: Result | None, created: datetime | None) -> Led:
    if result is None:
        return led
    path = result.output.get("path")
    return replace(
        led,
        action=result.action,
        step=result.step,
        status=result.outcome,
        reason=result.reason,
        message=result.message,
        attempts=result.attempts,
        ended=result.ended,
        seconds=(result.ended - created).total_seconds() if created else None,
        clips=(path,) if isinstance(path, str) else (),
    )
