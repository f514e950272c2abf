"""What the bus tests share: a real server, a bus on it, events, and waiting with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.bus.bus import Bus
from bridge.bus.server import EmbeddedServer
from bridge.config.models import BusConfig
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.orders import ActionClass, Effect, Order, Result

NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
CONFIG = BusConfig(max_bytes=256 * 1024**2)


@asynccontextmanager
async def running_bus(data_dir: Path, config: BusConfig = CONFIG, **options: Any) -> AsyncIterator[Bus]:
    """A bus on an embedded server of its own."""
    async with EmbeddedServer(config, data_dir) as server, Bus.open("home", config, server, **options) as bus:
        yield bus


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is not ours to signal
            await asyncio.sleep(0.005)


def event(number: int | str = 1, kind: str = "motion.started", **changes: Any) -> VmsEvent:
    """An event."""
    content: dict[str, Any] = {
        "id": f"e{number}",
        "type": kind,
        "source": "home/nvr1",
        "subject": "1",
        "time": NOW,
        "timequality": "device",
        "received": NOW,
        "origin": Origin.LIVE,
        "via": "ws",
        "data": {},
    }
    return VmsEvent.model_validate(content | changes)


def order(number: int | str = 1, **changes: Any) -> Order:
    """An order."""
    content: dict[str, Any] = {
        "id": f"o{number}",
        "rule": "r",
        "rule_version": "1",
        "key": "",
        "index": 0,
        "action": "webhook",
        "action_class": ActionClass.INFORMATION,
        "params": {"to": "backoffice"},
        "causes": ("e1",),
        "trigger": event(),
        "origin": Origin.LIVE,
        "occurred": NOW,
        "received": NOW,
        "created": NOW,
    }
    return Order.model_validate(content | changes)


def effect(number: int | str = 1, **changes: Any) -> Effect:
    """A ledger record."""
    content: dict[str, Any] = {
        "order": f"o{number}",
        "action_class": ActionClass.INFORMATION,
        "status": "started",
        "attempt": 1,
        "executor": "x",
        "claimed": NOW,
    }
    return Effect.model_validate(content | changes)


def result(number: int | str = 1, **changes: Any) -> Result:
    """The end of an order."""
    content: dict[str, Any] = {
        "order": f"o{number}",
        "rule": "r",
        "action": "webhook",
        "action_class": ActionClass.INFORMATION,
        "outcome": "done",
        "attempts": 1,
        "ended": NOW + timedelta(seconds=1),
        "causes": ("e1",),
    }
    return Result.model_validate(content | changes)


async def count(bus: Bus, stream: str) -> int:
    """How many messages a stream has."""
    info = await bus.connection.api(f"STREAM.INFO.{bus.stream(stream)}")
    return int(info["state"]["messages"])
