"""What each source last said it has, channels and presets, kept so that rules can be checked against it.

Only the systems know what they have, and `check` asks nobody. So while the bridge runs they are asked every half hour,
and what they say is written down, one file for each source. It is a memory, and may be old: `check` alone reads it, and
nothing that runs depends on it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.bus.datadir import make, write_private
from bridge.clock import Clock
from bridge.contracts import Connector, Describes, SystemInfo
from bridge.errors import BridgeError
from bridge.files import read_file
from bridge.schema.subjects import escape
from bridge.uncancelled import uncancelled

_log = logging.getLogger(__name__)

FOLDER = "systems"
"""Below the data directory."""
_LARGEST = 8 * 1024**2


AGAIN, LATER, PATIENCE = 60.0, 1800.0, 60.0
"""Seconds until a source is asked again that did not say, and one that did; and how long it may take."""

Keep = Callable[[str, SystemInfo], Awaitable[None]]
"""Keeps what a source says of itself."""


class _File(BaseModel):
    """What a file holds."""

    model_config = ConfigDict(frozen=True)

    source: str
    at: datetime
    channels: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Told:
    """What a source had at a moment: its channels, and of each the names and tokens of its presets."""

    at: datetime
    channels: Mapping[str, frozenset[str]]


async def watch_systems(sources: Mapping[str, Connector], keep: Keep, clock: Clock) -> None:
    """Ask every source that can say what it has, again and again, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, source in sources.items():
            if isinstance(source, Describes):
                group.create_task(_watch(name, source, keep, clock), name=f"system[{name}]")


async def _watch(name: str, source: Describes, keep: Keep, clock: Clock) -> None:
    while True:
        again = AGAIN
        try:
            async with asyncio.timeout(PATIENCE):
                with uncancelled():
                    info = await source.describe()
            await keep(name, info)
            again = LATER
        except (BridgeError, TimeoutError) as exc:
            _log.debug("a source does not say what it has", extra={"source": name, "error": str(exc)})
        except Exception:  # noqa: BLE001 - the edge of a task: a connector's bug must not end the bridge
            _log.exception("a connector failed to describe its system", extra={"source": name})
        await clock.sleep(again)


def keeping(data_dir: Path, clock: Clock) -> Keep:
    """Return what writes down what a source says of itself. That it cannot be written harms nothing that runs."""

    async def keep(source: str, info: SystemInfo) -> None:
        try:
            await asyncio.to_thread(write_down, data_dir, source, info, clock.now())
        except BridgeError as exc:
            _log.warning("what a source has cannot be kept for `check`", extra={"source": source, "error": str(exc)})

    return keep


def write_down(data_dir: Path, source: str, info: SystemInfo, at: datetime) -> None:
    """Keep what a source says of itself. Raises StartError if it cannot be written."""
    folder = data_dir / FOLDER
    make(folder)
    channels = {
        one.channel: sorted({word for preset in one.presets for word in (preset.token, preset.name) if word})
        for one in info.channels
    }
    content = json.dumps({"source": source, "at": at.isoformat(), "channels": channels}, ensure_ascii=False)
    write_private(folder / f"{escape(source)}.json", content + "\n")


def told(data_dir: Path, sources: Iterable[str]) -> dict[str, Told]:
    """Return what was kept of some sources; nothing of one of which nothing can be read."""
    found: dict[str, Told] = {}
    for source in sources:
        try:
            content = read_file(data_dir / FOLDER / f"{escape(source)}.json", _LARGEST)
            file = _File.model_validate_json(content)
        except (OSError, ValidationError):
            continue
        if file.source == source:
            found[source] = Told(file.at, {name: frozenset(presets) for name, presets in file.channels.items()})
    return found
