"""Notice that our own clock was put back. Ages are told by it, so until it has caught up they cannot be told.

A moment between the new and the old reading comes twice: what was received in the first pass would
look fresh in the second. So nothing leaves idle until the clock shows more than it ever did; that is
kept in a file over a restart. A step while the bridge is down is not seen here.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

from bridge.clock import Clock
from bridge.safety.journal import write_synced

_LOG = logging.getLogger(__name__)
TOLERANCE = timedelta(seconds=2)
"""A smaller step is no step: time servers do that."""


class OwnClock:
    """The machine's wall clock, watched against the monotonic one."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / "clock"
        self._clock = clock
        self._seen = clock.now()
        self._mono = clock.monotonic()
        self._until = self._read()

    def trusted(self) -> bool:
        """Return whether ages can be told; looks at both clocks."""
        now, mono = self._clock.now(), self._clock.monotonic()
        expected = self._seen + timedelta(seconds=mono - self._mono)
        self._seen, self._mono = now, mono
        if expected - now > TOLERANCE:
            self._went_back(now, expected)
        return self._until is None or now > self._until

    def _went_back(self, now: datetime, expected: datetime) -> None:
        self._until = max(expected, self._until or expected)
        seconds = round((expected - now).total_seconds(), 1)
        _LOG.error("our clock went back; nothing leaves idle until it has caught up", extra={"seconds": seconds})
        try:
            write_synced(self._path, self._until.isoformat().encode())
        except OSError as exc:
            _LOG.error("a restart would forget that our clock went back", extra={"error": str(exc)})

    def _read(self) -> datetime | None:
        try:
            return datetime.fromisoformat(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError, UnicodeDecodeError):
            return None
