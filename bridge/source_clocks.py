"""Ask every source for its clock, at the start and again and again, and tell whoever must trust it.

A source that does not answer is asked again soon, and so is one whose link was away, that said something
which cannot be, or whose clock a person has set right: until it is known how far its clock is off, its
events open no door.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from bridge.clock import Clock
from bridge.contracts import Connector, TellsClock
from bridge.errors import BridgeError
from bridge.safety.clocks import SourceClocks
from bridge.uncancelled import uncancelled

_LOG = logging.getLogger(__name__)
AGAIN = 5.0
"""Seconds until a source is asked again that did not tell."""
LATER = 60.0
"""Seconds until a source is asked again that did: so long a clock that is set under way may look right."""
PATIENCE = 5.0
"""Seconds for an answer. Also of a source that goes on to speak: what it told before counts until then."""
BREATH = 1.0
"""Seconds between two questions, however much there is to doubt."""


async def watch_clocks(sources: Mapping[str, Connector], clocks: SourceClocks, clock: Clock) -> None:
    """Keep the offsets of all sources known, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, source in sources.items():
            if isinstance(source, TellsClock):
                group.create_task(_watch(name, source, clocks, clock), name=f"clock[{name}]")


async def _watch(name: str, source: TellsClock, clocks: SourceClocks, clock: Clock) -> None:
    shown: timedelta | None = None
    while True:
        turn = clocks.turn(name)
        offset = await _ask(name, source)
        if offset is None:
            clocks.silent(name)
        elif clocks.learn(name, offset, turn):
            shown = _report(name, offset, shown, clocks.tolerance)
        await clock.sleep(BREATH)
        await _either(clock, (AGAIN if offset is None else LATER) - BREATH, clocks.doubt(name))


async def _ask(name: str, source: TellsClock) -> timedelta | None:
    try:
        async with asyncio.timeout(PATIENCE):
            with uncancelled():
                return await source.clock_offset()
    except (BridgeError, TimeoutError) as exc:
        _LOG.debug("a source does not tell its clock", extra={"source": name, "error": str(exc)})
    except Exception:  # noqa: BLE001 - the edge of a task: a connector's bug must not end the bridge
        _LOG.exception("a connector failed to ask for its system's clock", extra={"source": name})
    return None


def _report(name: str, offset: timedelta, before: timedelta | None, tolerance: timedelta) -> timedelta:
    """Say that a clock is wrong, once for as long as it is wrong by the same; return what counts as said."""
    if before is not None and abs(offset - before) <= tolerance:
        return before
    if abs(offset) > tolerance:
        extra = {"source": name, "seconds": round(offset.total_seconds(), 1)}
        _LOG.warning("the clock of a source is too far from ours; its events open no door", extra=extra)
    return offset


async def _either(clock: Clock, seconds: float, doubt: asyncio.Event) -> None:
    """Return after so many seconds, or when there is something to doubt."""
    waits = {asyncio.create_task(clock.sleep(seconds)), asyncio.create_task(doubt.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
