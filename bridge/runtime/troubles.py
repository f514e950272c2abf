"""From parts that fail to outages that people hear of: one for many parts of one dead thing, one for a part that flaps.

Pure: levels and time in, reports out. A part counts as down when it stays so for a moment, or goes
up and down again and again; it counts as up when it has stayed so for longer. Whatever goes in the same
look is one outage. Of the parts of a source nothing is told while it is down itself, nor until it is told to be well
again; what is down then is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

SETTLE = 5.0
"""Seconds that a part must stay down before anybody is told."""
CALM = 60.0
"""Seconds that it must stay up before it is told to be well again."""
FLAPS = 3
"""So often down within `FLAP_WINDOW`, a part is down for whoever wants to know, though it is up now and then."""
FLAP_WINDOW = 300.0


@dataclass(frozen=True, slots=True)
class Report:
    """What began or ended, for one parent. `parts` went together; `flapping` did so again and again."""

    down: bool
    parent: str
    parts: tuple[str, ...]
    flapping: tuple[str, ...] = ()


@dataclass(slots=True)
class _Part:
    up: bool = True
    since: float = 0.0
    told_down: bool = False
    falls: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPS))

    def flaps(self, now: float) -> bool:
        return len(self.falls) == FLAPS and now - self.falls[0] <= FLAP_WINDOW


class Troubles:
    """What is down, of all parts. A part's parent is what stands before its last `/`."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}

    def note(self, name: str, *, up: bool, now: float) -> None:
        """Note how a part is; the same as before changes nothing. A new part that is up is no news."""
        part = self._parts.setdefault(name, _Part(since=now))
        if part.up != up:
            part.up, part.since = up, now
            if not up:
                part.falls.append(now)

    def forget(self, name: str) -> None:
        """Such a part is no more."""
        self._parts.pop(name, None)

    @property
    def down(self) -> frozenset[str]:
        """What people were told to be down."""
        return frozenset(name for name, part in self._parts.items() if part.told_down)

    def look(self, now: float) -> list[Report]:
        """Return what is news, parents first. What is held back because of its parent is looked at again each time."""
        gone = [name for name, part in self._tellable() if self._falls(part, now)]
        back = [name for name, part in self._tellable() if self._rises(part, now)]
        reports = [*self._grouped(gone, now, down=True), *self._grouped(back, now, down=False)]
        for name in gone:
            self._parts[name].told_down = True
        for name in back:
            self._parts[name].told_down = False
            self._parts[name].falls.clear()
            self._excuse(name)
        return reports

    def _tellable(self) -> Iterator[tuple[str, _Part]]:
        """Yield the parts whose parent is well, or that have none."""
        for name, part in self._parts.items():
            if not self._unwell(name.rpartition("/")[0]):
                yield name, part

    def _excuse(self, parent: str) -> None:
        """Forget how often the parts of one that is well again fell: they fell with it. What is still down stays so."""
        for name, part in self._parts.items():
            if name.rpartition("/")[0] == parent:
                part.falls.clear()

    def _falls(self, part: _Part, now: float) -> bool:
        if part.told_down:
            return False
        return (not part.up and now - part.since >= SETTLE) or part.flaps(now)

    @staticmethod
    def _rises(part: _Part, now: float) -> bool:
        return part.told_down and part.up and now - part.since >= CALM

    def _grouped(self, names: Iterable[str], now: float, *, down: bool) -> list[Report]:
        groups: dict[str, list[str]] = {}
        for name in sorted(names):
            groups.setdefault(name.rpartition("/")[0], []).append(name)
        return [
            Report(down, parent, tuple(parts), tuple(p for p in parts if down and self._parts[p].flaps(now)))
            for parent, parts in groups.items()
        ]

    def _unwell(self, name: str) -> bool:
        part = self._parts.get(name)
        return part is not None and (not part.up or part.told_down)


def words(report: Report, why: Mapping[str, str]) -> str:
    """Say a report in one line; `why` is how parts are now, so what they say once they are well is not the cause."""
    why = why if report.down else {}
    shown = ", ".join(f"{part} ({why[part]})" if why.get(part) else part for part in report.parts[:5])
    more = f" and {len(report.parts) - 5} more" if len(report.parts) > 5 else ""
    if not report.down:
        return f"{shown}{more}: well again"
    return f"{shown}{more}: {'comes and goes' if report.flapping else 'down'}"
