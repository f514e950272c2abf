"""A rule that fired: which of its steps it has not gone through, what those wait for, and how it goes on.

A firing is a value too: what it still waits for is written down, by itself, and read back. A value that
is absent or unusable costs the one step that asked for it, with a note in the trace; the engine and the
rule's other steps go on. A result that is too large to be kept is left out in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from bridge.sdk import Logged, Order, Origin, VmsEvent, kinds, stable_id
from rules.expressions import EventContext, ExpressionError
from rules.knowledge import UNTRUE
from rules.making import Maker
from rules.moment import NO_WAIT
from rules.patterns.placing import least_trusted
from rules.rule import Rule
from rules.state import at
from rules.steps import NOT_HELD, WATCHED, Act, Block, Catch, Listen, Step, Stop
from rules.trace import Outcome, Trace

ELSEWHERE = timedelta(seconds=10)
"""The clocks of two sources may differ by so much; an answer of another source may seem that much too early."""
LARGEST = 400_000
"""Bytes that a firing may have when it begins to wait, nearly all of them its event's: the bus takes a megabyte."""
MOST_TOLD = 200_000
"""Bytes of what it is told while it waits: results, events that answered, failures."""
_OPTIONAL = frozenset({"results", "orders", "failures", "answers", "hears"})
"""Parts of the value that are left out where they are empty."""


@dataclass(slots=True)
class Firing:
    """One firing of a rule: made, waiting, or gone on with."""

    rule: Rule
    key: str
    trigger: VmsEvent
    causes: tuple[str, ...]
    origin: Origin
    """The least trustworthy among the causes, and the events that answered a `wait_for`."""
    waited: timedelta
    """How long after the trigger it was decided because `when` asks for that; it makes nothing older.
    What steps wait for does: an order of later is as old as what caused it."""
    left: set[int]
    """Steps it has not gone through yet."""
    hops: int = 0
    """How many firings, one leading to the next, led to this one."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How named steps ended: outcome and output."""
    orders: dict[str, int] = field(default_factory=dict)
    """Orders whose end somebody may wait for, and their steps."""
    failures: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What went wrong, for each `on_error` that was told."""
    answers: tuple[str, ...] = ()
    """Ids of the events that answered a `wait_for`."""
    waiting: dict[int, datetime] = field(default_factory=dict)
    """Steps put aside, and until when."""
    number: int = 0
    """Its place among those of its rule and key that wait."""
    made: list[Order] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        rule: Rule,
        key: str,
        trigger: VmsEvent,
        causes: tuple[str, ...],
        origin: Origin,
        waited: timedelta = NO_WAIT,
    ) -> Firing:
        """Return one that has all steps before it."""
        return cls(rule, key, trigger, causes, origin, waited, set(range(len(rule.steps))), trigger.hops or 0)

    @property
    def id(self) -> str:
        """The same for the same rule version, key and causes."""
        return stable_id(self.rule.id, self.rule.version, self.key, *self.causes)

    # --- as a value ---------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """Return what must be remembered while steps wait; of the event all but `raw`."""
        steps = self.rule.steps
        value: dict[str, Any] = {
            "version": self.rule.version,
            "key": self.key,
            "number": self.number,
            "event": self.trigger.model_dump(mode="json", exclude_none=True, exclude={"raw"}),
            "causes": list(self.causes),
            "origin": self.origin.value,
            "waited": self.waited.total_seconds(),
            "hops": self.hops,
            "left": [*sorted(self.left)],
            "results": dict(self.results),
            "orders": dict(self.orders),
            "failures": {str(index): why for index, why in self.failures.items()},
            "answers": list(self.answers),
            "waiting": {str(index): due.isoformat() for index, due in self.waiting.items()},
            "hears": [index for index in sorted(self.waiting) if isinstance(steps[index].does, Listen)],
        }
        kept = {name: item for name, item in value.items() if item or name not in _OPTIONAL}
        return kept | {"size": len(to_json(kept))}

    @classmethod
    def from_json(cls, rule: Rule, value: Mapping[str, Any]) -> Firing:
        """Read what `as_json` wrote. Raises one of `NO_SENSE` for a value that is no firing of this rule."""
        orders = dict(value.get("orders", {}))
        waiting = {int(index): at(due) for index, due in value["waiting"].items()}
        if not {*value["left"], *orders.values(), *waiting} <= set(range(len(rule.steps))):
            raise ValueError("it waits in steps that the rule has not")
        return cls(
            rule,
            value["key"],
            VmsEvent.model_validate(value["event"]),
            tuple(value["causes"]),
            Origin(value["origin"]),
            timedelta(seconds=value["waited"]),
            set(value["left"]),
            value["hops"],
            dict(value.get("results", {})),
            orders,
            {int(index): why for index, why in value.get("failures", {}).items()},
            tuple(value.get("answers", ())),
            waiting,
            value["number"],
        )

    def trace(self, logged: Logged, outcome: Outcome) -> Trace:
        """Return what is told about it at this place of the log."""
        rule = self.rule
        return Trace(
            rule.id,
            rule.version,
            outcome,
            logged.seq,
            self.trigger.id,
            logged.stamp,
            self.key,
            orders=tuple(order.id for order in self.made),
            failed=tuple(self.failed),
            skipped=tuple(self.skipped),
            shadow=rule.shadow,
            taken=tuple(self.taken),
        )

    # --- what happens meanwhile ---------------------------------------------------------------------

    def ended(self, data: kinds.ActionEnded) -> None:
        """Take note of how an order of ours ended."""
        step = self.rule.steps[self.orders.pop(data.order)]
        self._note(step, data.outcome, data.output)
        if data.outcome != "done":
            self._fail(step, data.outcome, data.reason, data.message)

    def hears(self, index: int, event: VmsEvent) -> bool:
        """Tell whether a step waits for this event: one that did not happen before what it is to answer."""
        early = timedelta() if event.source == self.trigger.source else ELSEWHERE
        believed = event.origin not in UNTRUE or self.origin in UNTRUE
        return index in self.waiting and believed and event.time >= self.trigger.time - early

    def answer(self, index: int, event: VmsEvent) -> None:
        """Let a `wait_for` go with the event that it waited for."""
        self.origin = least_trusted((self.origin, event.origin))
        self.hops = max(self.hops, event.hops or 0)
        self.answers = (*self.answers, event.id)
        self.taken.append(self.rule.steps[index].label)
        self._gone(self.rule.steps[index], "done", event=event.model_dump(mode="json", exclude={"raw"}))

    # --- going on -----------------------------------------------------------------------------------

    def run(self, now: datetime, context: EventContext, *, overdue: int | None = None) -> None:
        """Go through the steps that can be reached, in order. The step `overdue` waits no longer.

        One pass is enough: a step comes after steps that stand before it.
        """
        for step in self.rule.steps:
            if step.index in self.left and self.left.isdisjoint(step.after) and not isinstance(step.does, Catch):
                self._reach(step, now, context, over=step.index == overdue)
        for step in self.rule.steps:
            if isinstance(step.does, Catch) and step.index in self.left:
                self._watch(step, step.does, now, over=step.index == overdue)

    def _reach(self, step: Step, now: datetime, context: EventContext, *, over: bool) -> None:
        if step.holds and step.index in self.waiting:
            if over:
                self._gone(step, "timeout")
            return
        if step.needs and not over and any(name not in self.results for name in step.needs):
            self.waiting.setdefault(step.index, now + step.wait)
            return
        self.waiting.pop(step.index, None)
        maker = Maker(self, step, now, context)
        try:
            if step.condition is not None:
                if maker.evaluate(step.condition) is not True:
                    self._leave_out(step, f"{step.label}{NOT_HELD}", self.skipped)
                    return
                self.taken.append(step.label)
            if step.holds:
                self.waiting[step.index] = now + step.wait
            else:
                self._do(step, maker)
        except (ExpressionError, ValueError) as error:
            self._leave_out(step, f"{step.label}: {error}", self.failed)
            self._fail(step, "refused", "unusable", str(error))

    def _do(self, step: Step, maker: Maker) -> None:
        if isinstance(step.does, Act):
            order = maker.order(step.does)
            self.made.append(order)
            if step.caught in self.left or self._is_needed(step.name):
                self.orders[order.id] = step.index
        elif isinstance(step.does, Stop):
            self._stop()
        self.left.discard(step.index)

    def _is_needed(self, name: str | None) -> bool:
        return name is not None and any(name in other.needs for other in self.rule.steps)

    def _leave_out(self, step: Step, note: str, notes: list[str]) -> None:
        """A step is not done, nor what is in it; whoever waits for it need not."""
        notes.append(note)
        self._cut({step.index, *(step.does.members if isinstance(step.does, Block) else ())})

    def _cut(self, indexes: set[int]) -> None:
        for index in indexes & self.left:
            name = self.rule.steps[index].name
            if name is not None:
                self.results[name] = {"outcome": "refused", "output": {}}
            self.waiting.pop(index, None)
        self.left -= indexes

    def _gone(self, step: Step, outcome: str, **output: JsonValue) -> None:
        """A step that waited by itself is over."""
        self.left.discard(step.index)
        del self.waiting[step.index]
        self._note(step, outcome, output)

    def _note(self, step: Step, outcome: str, output: dict[str, JsonValue]) -> None:
        """Keep how a step ended, if it has a name; what it gave only where there is room."""
        if step.name is not None:
            self.results[step.name] = {"outcome": outcome, "output": output if self._has_room(step, output) else {}}

    def _has_room(self, step: Step, told: JsonValue) -> bool:
        size = len(to_json(told))
        if size + len(to_json((self.results, self.failures))) <= MOST_TOLD:
            return True
        self.failed.append(f"{step.label}: {size} bytes that came of it are too many to be kept, and left out")
        return False

    def _stop(self) -> None:
        """Reach nothing more. Actions that only wait for others (`with`) still go, and `on_error` still looks after."""
        kept = {index for index in self.waiting if isinstance(self.rule.steps[index].does, Act)}
        for step in self.rule.steps:
            if isinstance(step.does, Catch) and step.index in self.left:
                kept |= {step.index, *step.does.members}
        self._cut(self.left - kept)

    # --- when something fails -----------------------------------------------------------------------

    def _fail(self, step: Step, outcome: str, reason: str | None, message: str | None) -> None:
        """Tell the `on_error` that looks after a step, unless it was told before."""
        catch = step.caught
        if catch is None or catch not in self.left:
            return
        self.left.discard(catch)
        self.waiting.pop(catch, None)
        self.taken.append(self.rule.steps[catch].label)
        kept = message if self._has_room(step, message) else None
        why = {"step": step.name, "action": step.does.word, "reason": reason, "message": kept}
        self.failures[catch] = {"outcome": outcome, "output": why}

    def _watch(self, step: Step, catch: Catch, now: datetime, *, over: bool) -> None:
        """Keep an `on_error` for as long as a step can fail that it looks after."""
        underway = {*self.left, *self.orders.values()}
        if over or not any(one.caught == step.index and one.index in underway for one in self.rule.steps):
            self._cut({step.index, *catch.members})
        else:
            self.waiting.setdefault(step.index, now + WATCHED)
