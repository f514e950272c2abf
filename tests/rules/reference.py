"""What each pattern means, said slowly: all events are kept, nothing is pruned, everything is tried.

Made to be read, not to be quick: the engine is held against it. One object stands for one rule and
key; times are seconds, a place is (time, number in the log).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

Place = tuple[float, int]
PROMPT = 5.0


@dataclass(frozen=True)
class Entry:
    """An event as the log has it: in which roles the rule sees it."""

    id: str
    seq: int
    stamp: float
    happened: float
    roles: frozenset[str]
    value: float = 0.0
    source: str = "nvr1"

    @property
    def time(self) -> float:
        """Where it belongs: a clock that is ahead is not believed."""
        return min(self.happened, self.stamp)

    @property
    def place(self) -> Place:
        """Its place among others."""
        return (self.time, self.seq)


@dataclass(frozen=True)
class Told:
    """A firing: the events that caused it, the one that decided last; what it is about; None if inconclusive."""

    causes: tuple[str, ...]
    trigger: str
    conclusive: bool = True


@dataclass
class Links:
    """What the log says about the connection of the one source, and about starts of the bridge."""

    connected: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    up: bool | None = None

    def deaf_since(self, begin: float) -> bool:
        """Nobody listened at some time since then."""
        if self.up is False or any(one > begin for one in (*self.connected, *self.started)):
            return True
        return self.up is True and any(one > max(self.connected) for one in self.started)


class Model:
    """A pattern for one key."""

    def __init__(self, lateness: float) -> None:
        self.lateness = lateness
        self.known: list[Entry] = []
        self.newest: float | None = None
        self.forgotten_at: float | None = None

    def see(self, entry: Entry) -> list[Told]:
        """React to an event."""
        if self.forgotten_at is not None and entry.stamp >= self.forgotten_at:
            self.reset()
        found = self.react(entry)
        self.forgotten_at = self.forget(entry.stamp)
        return found

    def pass_time(self, stamp: float, links: Links) -> list[tuple[float, Told]]:
        """Return what is told because of time alone, with the time it was due."""
        return []

    def reset(self) -> None:
        """Know nothing."""
        self.known, self.newest = [], None

    def react(self, entry: Entry) -> list[Told]:
        raise NotImplementedError

    def forget(self, stamp: float) -> float | None:
        """From when on nothing is known any more."""
        raise NotImplementedError

    def accepts(self, entry: Entry) -> bool:
        """It is new, and not too late. If so, it is known from here on."""
        if any(entry.id == one.id for one in self.known) or self.too_late(entry):
            return False
        self.newest = max(entry.time, self.newest if self.newest is not None else entry.time)
        self.known.append(entry)
        self.known.sort(key=lambda one: one.place)
        return True

    def too_late(self, entry: Entry) -> bool:
        return self.newest is not None and entry.time < self.newest - self.lateness


class AfreshModel(Model):
    """One that begins anew after each firing."""

    def __init__(self, lateness: float, within: float) -> None:
        super().__init__(lateness)
        self.within = within
        self.over: Place = (float("-inf"), 0)

    def reset(self) -> None:
        super().reset()
        self.over = (float("-inf"), 0)

    def forget(self, stamp: float) -> float | None:
        return stamp + self.within + self.lateness

    def react(self, entry: Entry) -> list[Told]:
        if entry.place <= self.over or not self.accepts(entry):
            return []
        chosen = self.choose([one for one in self.known if one.place > self.over], entry)
        if not chosen:
            return []
        assert entry in chosen
        self.over = chosen[-1].place
        others = tuple(one.id for one in chosen if one.id != entry.id)
        return [Told((*others, entry.id), entry.id)]

    def choose(self, events: Sequence[Entry], entry: Entry) -> Sequence[Entry]:
        """Return the events that fire, in order."""
        raise NotImplementedError


class Window(AfreshModel):
    """Enough within a span."""

    def __init__(self, lateness: float, within: float, enough: Callable[[Sequence[Entry]], bool]) -> None:
        super().__init__(lateness, within)
        self.enough = enough

    def choose(self, events: Sequence[Entry], entry: Entry) -> Sequence[Entry]:
        for last in events:
            window = [one for one in events if one.place <= last.place and one.time >= last.time - self.within]
            if entry in window and self.enough(window):
                return window
        return ()


class Sequence_(AfreshModel):  # noqa: N801 - `Sequence` is taken
    """One after the other; `stages`: a role, and the roles that must not come before the next."""

    def __init__(self, lateness: float, within: float, stages: Sequence[tuple[str, frozenset[str]]]) -> None:
        super().__init__(lateness, within)
        self.stages = stages

    def choose(self, events: Sequence[Entry], entry: Entry) -> Sequence[Entry]:
        chains = [chain for chain in product(*self._stages(events)) if self._fits(chain, events)]
        if not chains:
            return ()
        first_end = min(chain[-1].place for chain in chains)
        ending = [chain for chain in chains if chain[-1].place == first_end]
        return max(ending, key=lambda chain: [chain[0].place, *(one.place for one in reversed(chain[1:-1]))])

    def _stages(self, events: Sequence[Entry]) -> list[list[Entry]]:
        return [[one for one in events if role in one.roles] for role, _ in self.stages]

    def _fits(self, chain: Sequence[Entry], events: Sequence[Entry]) -> bool:
        for (_, barred), one, following in zip(self.stages, chain, chain[1:], strict=False):
            if one.place >= following.place:
                return False
            between = [other for other in events if one.place < other.place < following.place]
            if any(other.roles & barred for other in between):
                return False
        return chain[-1].time - chain[0].time <= self.within


class Held(Model):
    """True for a span."""

    def __init__(self, lateness: float, span: float) -> None:
        super().__init__(lateness)
        self.span = span
        self.told: Entry | None = None

    def reset(self) -> None:
        super().reset()
        self.told = None

    def run(self) -> list[Entry]:
        """Return the beginnings after the last end."""
        run: list[Entry] = []
        for one in self.known:
            run = [*run, one] if "begin" in one.roles else []
        return run

    def react(self, entry: Entry) -> list[Told]:
        self.accepts(entry)
        return []

    def forget(self, stamp: float) -> float | None:
        return None if self.run() else stamp + self.lateness

    def pass_time(self, stamp: float, links: Links) -> list[tuple[float, Told]]:
        run = self.run()
        if not run or self.told in run:
            return []
        due = min(one.stamp for one in run) + self.span
        if due > stamp:
            return []
        self.told = run[0]
        return [(due, Told((run[0].id,), run[0].id))]


class Absent(Model):
    """A beginning that nothing follows."""

    def __init__(self, lateness: float, within: float) -> None:
        super().__init__(lateness)
        self.within = within
        self.open: dict[str, tuple[Entry, float, bool]] = {}
        self.begun: set[str] = set()

    def reset(self) -> None:
        super().reset()
        self.begun = set()

    def _follows(self, begun: Entry, other: Entry) -> bool:
        after = "absent" in other.roles and other.place > begun.place
        return after and other.time - begun.time <= self.within

    def react(self, entry: Entry) -> list[Told]:
        if "absent" in entry.roles:
            self.known.append(entry)
            self.open = {one: kept for one, kept in self.open.items() if not self._follows(kept[0], entry)}
        if "after" in entry.roles and entry.id not in self.begun and not self.too_late(entry):
            self.begun.add(entry.id)
            if not any(self._follows(entry, other) for other in self.known):
                self.open[entry.id] = (entry, entry.stamp + self.within, False)
        self.newest = max(entry.time, self.newest if self.newest is not None else entry.time)
        return []

    def forget(self, stamp: float) -> float | None:
        return None if self.open else stamp + self.lateness

    def pass_time(self, stamp: float, links: Links) -> list[tuple[float, Told]]:
        found = []
        for one, (entry, due, settled) in sorted(self.open.items(), key=lambda item: item[1][1]):
            if due > stamp:
                continue
            if stamp - due > PROMPT and not settled:
                self.open[one] = (entry, stamp + PROMPT, True)
                continue
            del self.open[one]
            found.append((due, Told((one,), one, not links.deaf_since(entry.stamp))))
            self.forgotten_at = self.forget(stamp)
        return found


class Threshold(Model):
    """Above a bound, and again only after it was below another; or the other way round."""

    def __init__(self, lateness: float, bound: float, rearm: float, *, falls: bool = False) -> None:
        super().__init__(lateness)
        self.bound, self.rearm, self.falls = bound, rearm, falls

    def above(self, value: float, bound: float) -> bool:
        """Tell whether a value is on the far side of a bound."""
        return value < bound if self.falls else value > bound

    def below(self, value: float, bound: float) -> bool:
        """Tell whether a value is on the near side of a bound."""
        return value > bound if self.falls else value < bound

    def changes(self) -> tuple[int, bool]:
        """Return how often it rose, and whether it may rise again."""
        rises, armed = 0, True
        for one in self.known:
            if armed and self.above(one.value, self.bound):
                rises, armed = rises + 1, False
            elif not armed and self.below(one.value, self.rearm):
                armed = True
        return rises, armed

    def react(self, entry: Entry) -> list[Told]:
        before, _ = self.changes()
        self.accepts(entry)
        after, _ = self.changes()
        return [Told((entry.id,), entry.id)] if after > before else []

    def forget(self, stamp: float) -> float | None:
        return stamp + self.lateness if self.changes()[1] else None


class AnyOf(Model):
    """One event is enough."""

    def react(self, entry: Entry) -> list[Told]:
        return [Told((entry.id,), entry.id)]

    def forget(self, stamp: float) -> float | None:
        return None
