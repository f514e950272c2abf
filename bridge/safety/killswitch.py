"""The kill switch: while it is pulled nothing leaves idle. It never stops a release."""

from __future__ import annotations

from pathlib import Path

from bridge.clock import Clock
from bridge.safety.latch import Latch, Pulled

__all__ = ["KillSwitch", "Pulled"]


class KillSwitch(Latch):
    """The switch of one bridge: the file `safety/kill` in its data directory."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder / "kill", clock, "kill switch")
