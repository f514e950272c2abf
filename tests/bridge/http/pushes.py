"""Pushes, and what remembers them, for the tests of both."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from bridge.http.repeats import Pushed, Repeats
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent
from tests.bridge.actions.support import plate_event
from tests.clock import VirtualClock

HOURS = timedelta(hours=12)


def pushed(clock: VirtualClock, content: str = "A", *, client: str = "booth", name: str = "", **more: Any) -> Pushed:
    """Return a push without a time, as it comes now."""
    told = stable_id(client, content, name, more.get("source"), clock.now())
    fields = {"id": told, "via": "push", "principal": client, "timequality": "received"}
    return Pushed(plate_event(clock, 1, **(fields | more)), content, HOURS, name)


async def one(repeats: Repeats, push: Pushed) -> VmsEvent:
    """Let one push come."""
    (event,) = await repeats.known([push])
    return event


async def opened(folder: Path, clock: VirtualClock) -> Repeats:
    """Return what remembers pushes, as after a start."""
    repeats = Repeats(folder / "pushes.jsonl", clock, HOURS)
    await repeats.load()
    return repeats
