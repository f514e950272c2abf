"""Notice that our own clock was put back. Ages are told by it, so until it has caught up they cannot be told.

A moment between the new and the old reading comes twice: what was received in the first pass would
look fresh in the second. So nothing leaves idle until the clock shows more than it ever did, or until a
person says that it is right now. Then, until it has caught up, only what this process has heard since
counts, by the monotonic clock: what came in the first pass stays shut out. All of it is kept in a file
over a restart. A step while the bridge is down is not seen here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from pathlib import Path

from bridge.clock import Clock
from bridge.safety.journal import write_synced
from bridge.schema.event import VmsEvent

_LOG = logging.getLogger(__name__)
TOLERANCE = timedelta(seconds=2)
"""A smaller step is no step: time servers do that."""
FRESH = 60.0
"""Seconds for which what was heard is remembered; no door opens on what is older."""


class OwnClock:
    """The machine's wall clock, watched against the monotonic one."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / "clock"
        self._clock = clock
        self._seen = clock.now()
        self._mono = clock.monotonic()
        self._until, self._accepted = _read(self._path)
        self._heard: OrderedDict[str, float] = OrderedDict()
        self.unwritten = False
        """Whether a restart would forget what is known here."""
        self._writing = threading.Lock()

    def trusted(self) -> bool:
        """Return whether ages can be told; looks at both clocks."""
        return self.shut_until() is None

    def shut_until(self) -> datetime | None:
        """Return until when nothing leaves idle because our clock went back; None if it may. Looks at both clocks."""
        now = self._look()
        return None if self._accepted or self._until is None or now > self._until else self._until

    def vouches(self, event: str) -> bool:
        """Return whether the age of this event can be told: trusted, and heard since where that has to be shown."""
        if not self.trusted():
            return False
        if not self._in_doubt():
            return True
        return self._clock.monotonic() - self._heard.get(event, -FRESH) < FRESH

    def heard(self, event: VmsEvent) -> None:
        """Look at an event as it comes in, and at both clocks."""
        self._look()
        if not self._in_doubt():
            self._heard.clear()
            return
        mono = self._clock.monotonic()
        self._heard[event.id] = mono
        self._heard.move_to_end(event.id)
        while mono - next(iter(self._heard.values())) >= FRESH:
            self._heard.popitem(last=False)

    async def accept(self) -> bool:
        """A person says that the clock is right now; return whether that changes anything.

        Raises OSError if a restart would forget it; it holds all the same.
        """
        if self.trusted():
            return False
        self._accepted = True
        self._heard.clear()
        await self.write_again()
        return True

    async def write_again(self) -> None:
        """Write down what a restart must not forget. Raises OSError."""
        await asyncio.to_thread(self._write)

    def _look(self) -> datetime:
        now, mono = self._clock.now(), self._clock.monotonic()
        expected = self._seen + timedelta(seconds=mono - self._mono)
        self._seen, self._mono = now, mono
        if expected - now > TOLERANCE:
            self._went_back(now, expected)
        return now

    def _in_doubt(self) -> bool:
        """Tell whether the clock shows a moment that it may have shown before."""
        return self._until is not None and self._seen <= self._until

    def _went_back(self, now: datetime, expected: datetime) -> None:
        self._until = max(expected, self._until or expected)
        self._accepted = False
        seconds = round((expected - now).total_seconds(), 1)
        _LOG.error("our clock went back; nothing leaves idle until it has caught up", extra={"seconds": seconds})
        try:
            self._write()
        except OSError as exc:
            _LOG.error("a restart would forget that our clock went back", extra={"error": str(exc)})

    def _write(self) -> None:
        if self._until is None:
            return
        with self._writing:
            kept = {"until": self._until.isoformat(), "accepted": self._accepted}
            self.unwritten = True
            write_synced(self._path, json.dumps(kept).encode())
            self.unwritten = False


def shut_until(folder: Path, now: datetime) -> datetime | None:
    """Return until when nothing leaves idle, as the files of a bridge that may not run say; None if it may."""
    until, accepted = _read(folder / "clock")
    return until if until is not None and not accepted and now <= until else None


def _read(path: Path) -> tuple[datetime | None, bool]:
    try:
        text = path.read_bytes().decode()
        if not text.startswith("{"):  # as it was written at first: the moment alone
            return datetime.fromisoformat(text), False
        kept = json.loads(text)
        return datetime.fromisoformat(kept["until"]), kept["accepted"] is True
    except (OSError, ValueError, KeyError, TypeError):  # UnicodeDecodeError is a ValueError
        return None, False
