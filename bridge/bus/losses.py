"""Remember what the store has lost until a person has said that they know.

The notes about the store are written anew at each start, so without this a second start would show all
well. Kept in a file outside the store, since the store is what cannot be relied on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.bus.datadir import read_json, write_private
from bridge.bus.marks import Damage
from bridge.errors import StartError

_log = logging.getLogger(__name__)

FILE = "lost.json"
MOST = 1000
"""Spans remembered; beyond that it is said all the same that there is a loss."""


class Losses:
    """What is gone and nobody has accepted. Without a `folder` (a NATS that is not ours) a restart forgets it."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / FILE if folder is not None else None
        self.known: tuple[Damage, ...] = ()

    async def load(self) -> None:
        """Read what an earlier start has found; a file that cannot be read counts as a loss itself."""
        if self._file is None:
            return
        try:
            content = await asyncio.to_thread(read_json, self._file)
            self.known = tuple(Damage(**each) for each in content.get("lost", ()))
        except (StartError, TypeError) as error:
            _log.error("what was lost earlier cannot be read", extra={"file": FILE, "error": str(error)})
            self.known = (Damage("a store before this start", 0, 0),)

    async def add(self, found: Sequence[Damage]) -> None:
        """Remember more. What cannot be written down is remembered until the end of this process."""
        new = [each for each in dict.fromkeys(found) if each not in self.known]
        if new:
            self.known = (*self.known, *new)[:MOST]
            await self._write()

    async def accept(self) -> tuple[Damage, ...]:
        """Forget all of it, and return it. Raises OSError if a restart would bring it back."""
        accepted, self.known = self.known, ()
        if self._file is not None:
            await asyncio.to_thread(self._file.unlink, missing_ok=True)
        return accepted

    async def _write(self) -> None:
        if self._file is None:
            return
        content: dict[str, Any] = {"lost": [asdict(each) for each in self.known]}
        try:
            await asyncio.to_thread(write_private, self._file, json.dumps(content, indent=1))
        except StartError as error:
            _log.error("what was lost cannot be written down", extra={"file": FILE, "error": error.cause})
