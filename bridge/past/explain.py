"""Answer for any stored event and any rule: did it fire, and if not, what was the first thing that did not hold?

What was written down when the engine decided is taken as it is. Everything else is worked out again:
the engine is begun at the nearest checkpoint before and led through the log up to the event, which
gives what it gave then. Where nothing is known any more, that is the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bridge.bus.connect import Connection
from bridge.contracts import Logged
from bridge.past.leads import Leads, Led
from bridge.past.log import PastLog
from bridge.past.replay import Beginnings, PastRules, Replay, beginnings
from bridge.past.traces import KeptTraces, Trace
from bridge.rulebook import Actions
from rules.trace import Trace as MadeTrace

ELSEWHERE = frozenset({"when.kind", "when.source", "when.channel"})
"""First conditions of rules that are about something else altogether."""
FIRED = frozenset({"fired", "resumed"})

Say = Callable[[int, int], None]
"""Told how many events were read again, and of how many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One look of one rule at one place of the log."""

    trace: Trace
    kept: bool
    """Written down when it was decided; otherwise worked out again."""
    led_to: Sequence[Led] = ()

    @property
    def outcome(self) -> str:
        """`fired`, `unmet`, `inconclusive`, `queued`, `resumed`, `dropped`."""
        return str(self.trace["outcome"])

    @property
    def elsewhere(self) -> bool:
        """The rule is not about such an event."""
        return self.outcome == "unmet" and self.trace.get("condition") in ELSEWHERE

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        more = {"orders_led_to": [led.as_json() for led in self.led_to]} if self.led_to else {}
        return {**self.trace, "from": "kept" if self.kept else "computed", **more}


@dataclass(frozen=True, slots=True)
class Explained:
    """Everything that is known about one place of the log."""

    logged: Logged
    answers: Sequence[Answer] = ()
    later: Sequence[Answer] = ()
    """What else came of the event, at later places."""
    unknown_before: datetime | None = None
    """The state is unknown before that time: rules without an answer here have none."""
    unknown: bool = False
    notes: Sequence[str] = ()


@dataclass
class Explainer:
    """Looks back at one site. Reads only."""

    connection: Connection
    site: str
    actions: Actions
    say: Say = lambda _done, _of: None
    log: PastLog = field(init=False)
    kept: KeptTraces = field(init=False)
    leads: Leads = field(init=False)
    rules: PastRules = field(init=False)

    def __post_init__(self) -> None:
        """Make the readers."""
        self.log = PastLog(self.connection, self.site)
        self.kept = KeptTraces(self.connection, self.site)
        self.leads = Leads(self.connection, self.site)
        self.rules = PastRules(self.connection, self.site, self.actions)

    async def event(self, logged: Logged, rule: str | None = None) -> Explained:
        """Explain one place of the log, for all rules or one. Raises StartError, StoreUnavailableError."""
        kept = await self.kept.between(logged.seq, logged.seq, logged.stamp, rule)
        later = await self.kept.about(logged.event.id, logged.stamp, rule)
        answers = [Answer(trace, kept=True) for trace in kept]
        explained = Explained(logged, await self._led(answers, logged.stamp))
        if rule is None or not any(answer.trace["event"] == logged.event.id for answer in answers):
            explained = await self._completed(explained, rule)
        known = {answer.trace["id"] for answer in explained.answers}
        found = [Answer(trace, kept=True) for trace in later if trace["id"] not in known]
        return replace(explained, later=await self._led(found, logged.stamp))

    async def _completed(self, explained: Explained, rule: str | None) -> Explained:
        """Add what was not kept, worked out again; of one rule only, where one is asked for."""
        logged = explained.logged
        begin = await beginnings(self.connection, self.site, logged.seq - 1)
        if begin.nearest is None:
            return replace(explained, unknown=True, unknown_before=begin.known_since, notes=begin.problems)
        async with aclosing(self._steps(begin, logged.seq, logged.seq, _one(rule))) as steps:
            async for _, answers in steps:
                merged = _merged(explained.answers, _of(answers, rule))
                led = await self._led(merged, logged.stamp)
                return replace(explained, answers=led, notes=[*begin.problems, *map(str, self.log.holes)])
        return replace(explained, notes=begin.problems)

    async def span(self, after: int, last: int, rule: str | None = None) -> AsyncGenerator[Explained, None]:
        """Explain each place after one, up to and with the other, at which rules had something to decide.

        With a rule every place is told that has to do with it. What came of firings is for `led`.
        Raises StartError, StoreUnavailableError.
        """
        first = await self._first(after, last)
        if first is None:
            return
        kept: dict[int, list[Trace]] = {}
        for trace in await self.kept.between(after + 1, last, first.stamp, rule):
            kept.setdefault(trace["seq"], []).append(trace)
        begin = await beginnings(self.connection, self.site, after)
        known_from = after + 1
        if begin.nearest is None:
            known_from = begin.next.seq + 1 if begin.next and begin.next.seq < last else last + 1
            yield Explained(first, (), unknown=True, unknown_before=begin.known_since, notes=begin.problems)
            async with aclosing(self.log.read(after, known_from - 1)) as batches:
                async for logged in _each(batches):
                    if logged.seq in kept:
                        yield Explained(logged, [Answer(trace, kept=True) for trace in kept[logged.seq]])
        elif begin.problems:
            yield Explained(first, notes=begin.problems)
        async with aclosing(self._steps(begin, known_from, last, _one(rule))) as steps:
            async for logged, answers in steps:
                before = [Answer(trace, kept=True) for trace in kept.get(logged.seq, ())]
                merged = _merged(before, _of(answers, rule))
                if worth := [answer for answer in merged if not answer.elsewhere]:
                    yield Explained(logged, worth)

    async def known_rules(self, wanted: str) -> frozenset[str]:
        """Return the rules that may be asked about, or as many as show that one is among them.

        They are those of the log, and those of which traces were kept. Raises StartError, StoreUnavailableError.
        """
        known = await self.rules.ever(wanted)
        return known | {wanted} if wanted not in known and await self.kept.names(wanted) else known

    async def led(self, explained: Explained) -> Explained:
        """Follow the firings of a place to what came of them. Raises StoreUnavailableError."""
        return replace(explained, answers=await self._led(explained.answers, explained.logged.stamp))

    async def _first(self, after: int, last: int) -> Logged | None:
        async with aclosing(self.log.read(after, last)) as batches:
            async for logged in _each(batches):
                return logged
        return None

    async def _steps(
        self, begin: Beginnings, first: int, last: int, rules: Iterable[str] | None
    ) -> AsyncGenerator[tuple[Logged, list[Answer]], None]:
        """Lead the engine through the log, and yield what was decided from `first` on, worked out again."""
        start = begin.nearest or begin.next
        if start is None or first > last:
            return
        replay = await Replay.begun(start, self.rules)
        one, whole = first == last, last - start.seq
        async with aclosing(self.log.read(start.seq, last)) as batches:
            async for batch in batches:
                for logged in batch:
                    if logged.seq < first:
                        await replay.step(logged)
                    elif one or rules is not None:
                        decision, answers = await replay.explain(logged, rules)
                        yield logged, _computed(decision.traces, answers)
                    else:
                        yield logged, _computed((await replay.step(logged, trace=True)).traces, ())
                self.say(batch[-1].seq - start.seq, whole)

    async def _led(self, answers: Iterable[Answer], since: datetime) -> list[Answer]:
        """Follow the firings to what came of them."""
        return [
            Answer(answer.trace, answer.kept, await self.leads.of(answer.trace.get("orders", ()), since))
            if answer.outcome in FIRED and not answer.led_to and not answer.trace.get("shadow")
            else answer
            for answer in answers
        ]


def _one(rule: str | None) -> set[str] | None:
    return None if rule is None else {rule}


def _of(answers: Iterable[Answer], rule: str | None) -> list[Answer]:
    """Return the answers of one rule, or all: a step of the engine tells of every rule."""
    return [answer for answer in answers if rule is None or answer.trace["rule"] == rule]


def _computed(traces: Iterable[MadeTrace], answers: Iterable[MadeTrace]) -> list[Answer]:
    """Return the engine's own traces, and the answers for rules that it had none for."""
    told = list(traces)
    named = {(trace.rule, trace.event) for trace in told}
    told += [answer for answer in answers if (answer.rule, answer.event) not in named]
    return [Answer(trace.as_json(), kept=False) for trace in told]


def _merged(kept: Iterable[Answer], computed: Iterable[Answer]) -> list[Answer]:
    """Return both, each look once: what was kept counts."""
    merged = list(kept)
    known = {answer.trace["id"] for answer in merged}
    return merged + [answer for answer in computed if answer.trace["id"] not in known]


async def _each(batches: AsyncGenerator[Sequence[Logged], None]) -> AsyncGenerator[Logged, None]:
    async for batch in batches:
        for logged in batch:
            yield logged
