"""The engine of the past: begun at a checkpoint, moved on through the log by the rules that were in force.

It is the same pure engine on the same log, so it decides what was decided. What it decides goes to
whoever asked and nowhere else: there is no way from here to the bus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from bridge.bus import stored
from bridge.bus.checkpoints import Checkpoint, CheckpointReader
from bridge.bus.connect import Connection
from bridge.bus.kv import stored_rules
from bridge.bus.pull import scan
from bridge.bus.streams import stream_name
from bridge.contracts import Logged, StateKey
from bridge.errors import StartError, StoreError, StoreUnavailableError
from bridge.past.log import PastLog
from bridge.rulebook import Actions
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import Payload, RulesChanged
from bridge.schema.subjects import Subjects
from rules.engine import Decision, Engine
from rules.ruleset import RuleSet
from rules.trace import Trace


class PastRules:
    """The rule sets that decided, by their hash; each is compiled once."""

    def __init__(self, connection: Connection, site: str, actions: Actions) -> None:
        self._connection, self._site, self._actions = connection, site, actions
        self._compiled: dict[str, RuleSet] = {"": RuleSet.empty()}

    @property
    def names(self) -> frozenset[str]:
        """The ids of all rules that decided in what was read."""
        return frozenset(name for ruleset in self._compiled.values() for name in ruleset.by_id)

    async def in_force(self) -> str | None:
        """Return the hash of the rules that decide now; None before the first. Raises StoreUnavailableError."""
        head = await stored.last(self._connection, stream_name(self._site, "ENGINE"), Subjects(self._site).head())
        return None if head is None else str(from_json(head.body)["ruleset"])

    async def ever(self, name: str) -> frozenset[str]:
        """Return the ids of all rules that the log names, or as many as show that `name` is one of them.

        Raises StartError when what decides now is not there, StoreUnavailableError.
        """
        await self.load(await self.in_force() or "")
        if name in self.names:
            return self.names
        changes = scan(
            self._connection, stream_name(self._site, "EVENTS"), [Subjects(self._site).events(kind="rules.changed")]
        )
        async with aclosing(changes) as batches:
            async for batch in batches:
                for message in batch:
                    await self._named(VmsEvent.decode(message.data).data)
        return self.names

    async def _named(self, change: Payload) -> None:
        """Load the rules before and after a change, as far as they are there."""
        for content_hash in (change.previous, change.ruleset) if isinstance(change, RulesChanged) else ():
            with suppress(StartError):
                await self.load(content_hash or "")

    async def load(self, content_hash: str) -> RuleSet:
        """Return a rule set. Raises StartError when it is not there, StoreUnavailableError."""
        if content_hash not in self._compiled:
            bundle = await stored_rules(self._connection, self._site, content_hash)
            if bundle is None:
                raise StartError(
                    f"the rules that decided then ({content_hash[:12]}) are not in the store",
                    "look at a time after the next change of rules",
                )
            self._compiled[content_hash] = RuleSet.from_bundle(bundle, self._actions)
        return self._compiled[content_hash]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the engine knew after one place of the log."""

    seq: int
    stamp: datetime | None
    """The log's time there; None before the first event."""
    ruleset: str
    state: Mapping[StateKey, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Where one can begin."""

    nearest: Beginning | None
    """The last place at or before the one asked for; None: what was known there is unknown."""
    known_since: datetime | None = None
    """From when on one can begin, if not there; None: nowhere."""
    next: Beginning | None = None
    """The first place after it, where there is none before."""
    problems: tuple[str, ...] = ()
    """Checkpoints that could not be used, and why."""


async def beginnings(connection: Connection, site: str, seq: int) -> Beginnings:
    """Return where to begin for what comes after a place. Raises StoreUnavailableError."""
    reader, log = CheckpointReader(connection, site), PastLog(connection, site)
    ends = await log.ends()
    found = await reader.all()
    problems = list(found.problems)
    # One whose next event is gone leads nowhere, nor does one of another log that was here before.
    usable = [one for one in found.checkpoints if ends.first - 1 <= one.seq <= ends.last]
    before = [one for one in usable if one.seq <= seq]
    after = [one for one in reversed(usable) if one.seq > seq]
    for candidates in (before, after):
        for checkpoint in candidates:
            try:
                await _fits(checkpoint, log)
                state = await reader.load(checkpoint)
            except StoreUnavailableError:
                raise
            except StoreError as error:
                problems.append(f"a checkpoint is not used: {error}")
                continue
            begin = Beginning(checkpoint.seq, checkpoint.stamp, checkpoint.ruleset, state)
            if candidates is before:
                return Beginnings(begin, problems=tuple(problems))
            return Beginnings(None, begin.stamp, begin, tuple(problems))
        if candidates is before and ends.first <= 1:
            return Beginnings(Beginning(0, None, "", {}), problems=tuple(problems))
    return Beginnings(None, problems=tuple(problems))


async def _fits(checkpoint: Checkpoint, log: PastLog) -> None:
    """Raise StoreError where a checkpoint is one of another log, which was here before."""
    if await log.stamp(checkpoint.seq) not in (None, checkpoint.stamp):
        raise StoreError(f"the one at {checkpoint.seq} belongs to another log")


@dataclass
class Replay:
    """An engine on its way through the log."""

    engine: Engine
    rules: PastRules

    @classmethod
    async def begun(cls, begin: Beginning, rules: PastRules) -> Replay:
        """Return the engine as it was. Raises StartError, StoreUnavailableError."""
        ruleset = await rules.load(begin.ruleset)
        return cls(Engine(ruleset, begin.state), rules)

    async def step(self, logged: Logged, *, trace: bool = False) -> Decision:
        """Decide what comes next in the log. Raises StartError, StoreUnavailableError."""
        adopted = await self._adopt(logged)
        return _both(adopted, self.engine.step(logged, trace=trace))

    async def explain(self, logged: Logged, rules: Iterable[str] | None) -> tuple[Decision, Sequence[Trace]]:
        """Do the same, and tell how each rule, or some, looked at it."""
        adopted = await self._adopt(logged)
        decision, answers = self.engine.step_explained(logged, rules)
        return _both(adopted, decision), answers

    async def _adopt(self, logged: Logged) -> Decision | None:
        """Change the rules where they were changed."""
        data = logged.event.data
        if isinstance(data, RulesChanged):
            return self.engine.replace_rules(await self.rules.load(data.ruleset), logged)
        return None


def _both(first: Decision | None, second: Decision) -> Decision:
    if first is None:
        return second
    changed = {**first.changed, **second.changed}
    return Decision(changed, (*first.orders, *second.orders), (*first.traces, *second.traces))
