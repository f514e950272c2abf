"""What systems say that they have is asked for, again and again, and kept."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.contracts import SystemInfo
from bridge.errors import ConnectorUnavailableError
from bridge.systems import AGAIN, LATER, watch_systems
from tests.clock import VirtualClock


class System:
    """A source that says what it has, when it answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def describe(self) -> SystemInfo:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SystemInfo(answer, "1", "v1", "n", "UTC", [])

    async def aclose(self) -> None:
        """Nothing to close."""


class Dumb:
    """A source that says nothing of itself."""

    async def aclose(self) -> None:
        """Nothing to close."""


async def test_sources_are_asked_until_they_say_what_they_have_and_again_later() -> None:
    """No answer, a bug: again in a minute. Told: again after half an hour."""
    clock, system = VirtualClock(), System(ConnectorUnavailableError("away"), KeyError("bug"), "old", "new")
    kept: list[tuple[str, str]] = []

    async def keep(source: str, info: SystemInfo) -> None:
        kept.append((source, info.product))

    task = asyncio.create_task(watch_systems({"nvr": system, "dumb": Dumb()}, keep, clock))
    for wait, told in ((0, 0), (AGAIN, 0), (AGAIN, 1), (LATER - 1, 1), (1, 2)):
        await clock.advance(wait)
        assert kept == [("nvr", "old"), ("nvr", "new")][:told]
    task.cancel()
    await asyncio.wait((task,))
