"""A switch that stays where it was put: a file, so that it works with the bus down, from another process, by `touch`,
and over restarts.

If it cannot be told whether the file is there, the latch counts as on. It decides nothing; whoever
asks it does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from bridge.clock import Clock
from bridge.safety.journal import sync_dir, write_synced

_LOG = logging.getLogger(__name__)
_UNSAID = "not said"


@dataclass(frozen=True, slots=True)
class Pulled:
    """Who pulled it, why, and when (ISO 8601, UTC); `not said` for a file made by hand."""

    principal: str
    reason: str
    at: str


class Latch:
    """One latch. `name` is what logs call it."""

    def __init__(self, path: Path, clock: Clock, name: str) -> None:
        self._path = path
        self._clock = clock
        self._name = name
        self._unwritten: Pulled | None = None
        self._writing = asyncio.Lock()
        """Fair: what was asked for last is written last."""

    @property
    def pulled(self) -> bool:
        """Return whether it is on, by asking the file system; takes microseconds."""
        if self._unwritten is not None:
            return True
        try:
            os.stat(self._path)  # noqa: PTH116 - a hot path: no Path object is made
        except FileNotFoundError:
            return False
        except OSError as exc:
            _LOG.error("a latch cannot be read and counts as on", extra={"latch": self._name, "error": str(exc)})
        return True

    async def pull(self, principal: str, reason: str) -> None:
        """Put it on; it holds from the first line on. Raises OSError if it could not be latched for a restart."""
        self._unwritten = said = Pulled(principal, reason, self._clock.now().isoformat())
        try:
            await self._write(said)
        except OSError:
            _LOG.error("a latch is on but a restart would forget it", extra={"latch": self._name})
            raise
        _LOG.warning("a latch is on", extra={"latch": self._name, "principal": principal, "reason": reason})

    @property
    def unwritten(self) -> bool:
        """Return whether it is on, or about to be, and a restart would forget it."""
        return self._unwritten is not None

    async def write_again(self) -> None:
        """Write down what could not be: there may be room on the disk again. Raises OSError."""
        said = self._unwritten
        if said is not None and not self._writing.locked():
            await self._write(said)

    async def _write(self, said: Pulled) -> None:
        content = json.dumps({"principal": said.principal, "reason": said.reason, "at": said.at}).encode()
        async with self._writing:
            if self._unwritten is said:  # nobody has reset it, or pulled it anew, while we waited
                await asyncio.to_thread(write_synced, self._path, content)
        if self._unwritten is said:
            self._unwritten = None

    async def reset(self, principal: str, reason: str) -> None:
        """Take it off. Raises OSError, and then it stays on; whoever pulls it meanwhile has the last word."""
        asked, failed = self._unwritten, Pulled(principal, "the reset failed", self._clock.now().isoformat())
        async with self._writing:
            was_on = self.pulled
            try:
                await asyncio.to_thread(self._remove)
            except OSError:
                if was_on and self._unwritten is None:  # its file may be gone all the same
                    self._unwritten = failed
                raise
        if self._unwritten is asked:
            self._unwritten = None
        _LOG.warning("a latch is off", extra={"latch": self._name, "principal": principal, "reason": reason})

    async def state(self) -> Pulled | None:
        """Return who put it on, or None when it is off."""
        if self._unwritten is not None or not self.pulled:
            return self._unwritten
        return await asyncio.to_thread(self._read)

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        if self._path.parent.is_dir():
            sync_dir(self._path.parent)

    def _read(self) -> Pulled:
        try:
            said = json.loads(self._path.read_bytes())
            return Pulled(str(said["principal"]), str(said["reason"]), str(said["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Pulled(_UNSAID, _UNSAID, _UNSAID)
