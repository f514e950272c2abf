"""Run the rules that were in force and other rules over the stored log, and tell what they decide differently.

It cannot cause anything: what decides is the pure engine, what it decides goes into a comparison, and the
connection it reads by has no right to write (`reader`, see `bridge.bus.roles`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bridge.bus.connect import Connection
from bridge.bus.pull import scan
from bridge.bus.streams import stream_name
from bridge.contracts import Logged
from bridge.errors import StartError
from bridge.past.compare import Comparison, Difference
from bridge.past.log import PastLog
from bridge.past.otherwise import Otherwise
from bridge.past.replay import Beginning, PastRules, Replay, beginnings
from bridge.rulebook import Actions
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import RulesChanged
from bridge.schema.subjects import Subjects
from rules.engine import Decision
from rules.ruleset import RuleSet

WARM_UP = timedelta(hours=1)
"""So long before the time that is asked for new and changed rules begin to look."""

Say = Callable[[int, int], None]
"""Told how many events are done, and of how many."""


@dataclass
class Report:
    """What a back-test found."""

    since: datetime
    """What is compared begins here."""
    began: datetime | None = None
    """Where both began to look; until `since` nothing is counted."""
    events: int = 0
    seconds: float = 0.0
    rules: Mapping[str, Difference] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    """Rules, against those in force at the end."""
    left_out: int = 0
    ticks: int = 0
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "since": self.since.isoformat(),
            "began": self.began.isoformat() if self.began else None,
            "events": self.events,
            "seconds": round(self.seconds, 3),
            "different": any(difference.any for difference in self.rules.values()),
            "rules": {name: difference.as_json() for name, difference in sorted(self.rules.items())},
            "new": list(self.new),
            "changed": list(self.changed),
            "removed": list(self.removed),
            "left_out": self.left_out,
            "ticks": self.ticks,
            "notes": self.notes,
        }


@dataclass
class Backtest:
    """Looks back at one site. Reads only."""

    connection: Connection
    site: str
    actions: Actions
    say: Say = lambda _done, _of: None

    async def known_rules(self, wanted: str) -> frozenset[str]:
        """Return the rules that the log names, or as many as show that one is among them. Raises as `run`."""
        return await PastRules(self.connection, self.site, self.actions).ever(wanted)

    async def run(
        self, new: RuleSet, since: datetime, until: datetime | None = None, warm_up: timedelta = WARM_UP
    ) -> Report:
        """Compare new rules with the stored ones. Raises StartError, StoreUnavailableError."""
        log, rules = PastLog(self.connection, self.site), PastRules(self.connection, self.site, self.actions)
        last = (await log.ends()).last if until is None else await log.before(until)
        report = Report(since)
        begin = await self._begin(log, rules, await log.before(since - warm_up), last, report)
        old = await Replay.begun(begin, rules)
        before = old.engine.rules
        other = Otherwise(before, new, begin.state, self.site, self.actions)
        report.began = begin.stamp
        if begin.stamp is not None and begin.stamp > since:
            report.since = begin.stamp
            report.notes.append(f"state unknown before {begin.stamp.isoformat()}: what was before it is not compared")
        comparison = Comparison(report.since)
        began = time.perf_counter()
        async with aclosing(log.read(begin.seq, last)) as batches:
            async for batch in batches:
                for logged in batch:
                    decided = await _old(old, logged)
                    if decided.orders:
                        other.given(decided)
                    instead = other.step(logged, comparison.same_as)
                    if instead or decided.traces:
                        comparison.add((decided,), instead)
                        if more := other.own(decided.orders, instead, comparison.same_as):
                            comparison.add((), more)
                report.events += len(batch)
                self.say(batch[-1].seq - begin.seq, last - begin.seq)
        report.seconds = time.perf_counter() - began
        report.rules = comparison.finish()
        report.left_out, report.ticks = other.left_out, other.ticks
        report.notes += map(str, log.holes)
        _name_rules(report, old.engine.rules, new)
        return report

    async def _begin(self, log: PastLog, rules: PastRules, seq: int, last: int, report: Report) -> Beginning:
        """Return where to begin: the nearest checkpoint before, or the first one after, or with nothing known."""
        found = await beginnings(self.connection, self.site, seq)
        report.notes += found.problems
        begin = found.nearest or found.next
        if begin is not None and begin.seq <= last:
            return begin
        ends = await log.ends()
        report.notes.append("there is no checkpoint: both begin at the start of the log and know nothing")
        return Beginning(ends.first - 1, None, await self._first_rules(rules), {})

    async def _first_rules(self, rules: PastRules) -> str:
        """Return the rules in force where the log begins: what the first change of rules names, or those now."""
        subjects = Subjects(self.site)
        changes = scan(self.connection, stream_name(self.site, "EVENTS"), [subjects.events(kind="rules.changed")])
        async with aclosing(changes) as batches:
            async for batch in batches:
                data = VmsEvent.decode(batch[0].data).data
                return (data.previous or "") if isinstance(data, RulesChanged) else ""
        if (now := await rules.in_force()) is None:
            raise StartError("no rules have decided anything here yet", "start the bridge first: vms-bridge run")
        return now


async def _old(replay: Replay, logged: Logged) -> Decision:
    """Decide as it was decided."""
    if logged.event.type == "rules.changed":
        return await replay.step(logged)
    return replay.engine.step(logged, trace=False)


def _name_rules(report: Report, old: RuleSet, new: RuleSet) -> None:
    report.new = tuple(sorted(new.by_id.keys() - old.by_id.keys()))
    report.removed = tuple(sorted(old.by_id.keys() - new.by_id.keys()))
    both = sorted(new.by_id.keys() & old.by_id.keys())
    report.changed = tuple(name for name in both if new.by_id[name].version != old.by_id[name].version)
