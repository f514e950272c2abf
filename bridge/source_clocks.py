"""Ask every source for its clock, at the start and again and again, and tell whoever must trust it.

What else it says of itself is kept for `check`. A source that does not answer is asked again soon, and so is
one whose clock a person has set right: until it is known how far its clock is off, its events open no door.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from bridge.clock import Clock
from bridge.contracts import Connector, Describes, SystemInfo
from bridge.errors import BridgeError
from bridge.safety.clocks import SourceClocks

_LOG = logging.getLogger(__name__)
AGAIN = 5.0
"""Seconds until a source is asked again that did not tell."""
LATER = 1800.0
"""Seconds until a source is asked again that did."""
PATIENCE = 60.0


Keep = Callable[[str, SystemInfo], Awaitable[None]]
"""Keeps what a source says of itself."""


async def watch_clocks(
    sources: Mapping[str, Connector], clocks: SourceClocks, clock: Clock, keep: Keep | None = None
) -> None:
    """Keep the offsets of all sources known, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, source in sources.items():
            if isinstance(source, Describes):
                group.create_task(_watch(name, source, clocks, clock, keep), name=f"clock[{name}]")


async def _watch(name: str, source: Describes, clocks: SourceClocks, clock: Clock, keep: Keep | None) -> None:
    while True:
        told = await _ask(name, source, clocks, keep)
        again = clock.monotonic() + (LATER if told else AGAIN)
        while (left := again - clock.monotonic()) > 0 and (clocks.told(name) or not told):
            await clock.sleep(min(left, AGAIN))


async def _ask(name: str, source: Describes, clocks: SourceClocks, keep: Keep | None) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            info = await source.describe()
        if keep is not None:
            await keep(name, info)
    except (BridgeError, TimeoutError) as exc:
        _LOG.debug("a source does not tell its clock", extra={"source": name, "error": str(exc)})
        return False
    except Exception:  # noqa: BLE001 - the edge of a task: a connector's bug must not end the bridge
        _LOG.exception("a connector failed to describe its system", extra={"source": name})
        return False
    offset = info.clock_offset
    if offset is None:
        return False
    clocks.learn(name, offset)
    if abs(offset) > clocks.tolerance:
        extra = {"source": name, "seconds": round(offset.total_seconds(), 1)}
        _LOG.warning("the clock of a source is too far from ours; its events open no door", extra=extra)
    return True
