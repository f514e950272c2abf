"""Firings under way: begun, put aside while their steps wait, gone on with, or ended before their time.

Where an event, the end of an order or a deadline finds those that wait for it, and touches no others.
Each is a value of its own in the book; what comes of it goes into the outbox of the step that the engine
makes. What began to wait is never given up for what comes later: when there are too many, the next does not begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bridge.sdk import Logged, Order, StateKey, VmsEvent, kinds
from rules.expressions import EventContext, ExpressionError
from rules.firing import LARGEST, Firing
from rules.gates import FULL, Unmet, passed_over
from rules.index import Entry
from rules.moment import Moment
from rules.rule import Rule
from rules.ruleset import RuleSet
from rules.state import NO_SENSE, Book, Timer, at, state_key
from rules.trace import Outcome, Trace
from rules.waiting import FIRINGS, MOST_BYTES, MOST_FIRINGS, firing_key, place_of

_NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True)
class Outbox:
    """What a step of the engine has decided so far."""

    orders: list[Order] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    def take(self) -> tuple[tuple[Order, ...], tuple[Trace, ...]]:
        """Return it, and begin anew."""
        taken = tuple(self.orders), tuple(self.traces)
        self.orders, self.traces = [], []
        return taken


class Underway:
    """All firings whose steps wait. `logged` is what is being decided about: time and place of all that is told."""

    def __init__(self, book: Book, rules: RuleSet, out: Outbox, context: Callable[[VmsEvent], EventContext]) -> None:
        self.rules = rules
        """The rules in force."""
        self._book, self._waiting, self._out, self._context = book, book.waiting, out, context

    # --- beginning ----------------------------------------------------------------------------------

    def prepare(self, firing: Firing, filed: StateKey, context: EventContext, stamp: datetime) -> Outcome | Unmet:
        """Let a firing go as far as it goes at once; return how it begins, or why it cannot. Changes nothing else.

        One that could not be written down does not begin at all: half of what a rule does may be worse than nothing.
        """
        outcome: Outcome = "queued" if self.is_queued(firing.rule, filed) else "fired"
        if outcome == "fired":
            firing.run(stamp, context)
            if firing.rule.shadow or not firing.waiting:
                return outcome
        count, together = self._waiting.of_rule(firing.rule.id)
        if count >= MOST_FIRINGS:
            return Unmet(FULL, f"at most {MOST_FIRINGS} firings of a rule that wait", count, firing.key)
        size = firing.as_json()["size"]
        if size > LARGEST:
            return Unmet(FULL, f"at most {LARGEST} bytes of a firing that waits", size, firing.key)
        if together + size > MOST_BYTES:
            return Unmet(FULL, f"at most {MOST_BYTES} bytes of all firings of a rule that wait", together, firing.key)
        return outcome

    def is_queued(self, rule: Rule, filed: StateKey) -> bool:
        """Tell whether a firing has to stand in line behind one whose steps wait."""
        return rule.concurrency == "queued" and self._waiting.is_begun(filed)

    def begin(self, firing: Firing, filed: StateKey, outcome: Outcome, logged: Logged) -> None:
        """Let a rule fire as it was prepared to."""
        if firing.rule.concurrency == "restart":
            for before in self._waiting.begun(filed):
                self._drop(before, firing.rule, logged)
        firing.number = self._waiting.next_number(filed)
        if outcome == "fired":
            self._began(firing, filed, logged)
            return
        if self._book.get(firing_key(filed, firing.id)) is None:  # else the same events fired it once already
            self._keep(firing, filed)
        self._trace(firing, outcome, logged)

    def _began(self, firing: Firing, filed: StateKey, logged: Logged) -> None:
        if not firing.rule.shadow:
            self._out.orders += firing.made
            if firing.waiting:
                self._keep(firing, filed)
        self._trace(firing, "fired", logged)

    def _next_in_line(self, rule: Rule, filed: StateKey, logged: Logged) -> None:
        """Let those fire that stand in line, until one has to wait."""
        while not self._waiting.is_begun(filed) and (first := self._waiting.first_in_line(filed)) is not None:
            firing = self._read(first, rule, logged)
            if firing is not None:
                self._book.put(first, None)
                firing.run(logged.stamp, self._context(firing.trigger))
                self._began(firing, filed, logged)

    # --- going on -----------------------------------------------------------------------------------

    def resume(self, logged: Logged, moment: Moment | None) -> None:
        """Let the steps go on that waited for this event, or for the order whose end it tells."""
        data = logged.event.data
        # Found before anybody goes on: a step that is reached now waits for what comes after this event.
        hearing = self._hearing(moment, logged) if moment is not None else ()
        if isinstance(data, kinds.ActionEnded):
            for name in self._waiting.for_order(data.order):
                firing = self._find(name, logged)
                if firing is not None:
                    firing.ended(data)
                    self._go_on(firing, place_of(name), logged)
        for name, step in hearing:
            firing = self._find(name, logged)
            if firing is not None and step in firing.waiting:
                firing.answer(step, logged.event)
                self._go_on(firing, place_of(name), logged)

    def due(self, timer: Timer, logged: Logged) -> None:
        """Let a step go on whose deadline is over."""
        firing = self._find(timer.key, logged)
        if firing is not None:
            self._go_on(firing, place_of(timer.key), logged, int(timer.name))

    def _hearing(self, moment: Moment, logged: Logged) -> list[tuple[StateKey, int]]:
        """Return the steps that wait for an event: of which firing, and which."""
        found: list[tuple[StateKey, int]] = []
        for entry in self.rules.answering.reached(moment):
            step = int(entry.trigger.role)
            for name in self._asked(entry, moment):
                firing = self._find(name, logged)
                if firing is not None and firing.hears(step, moment.event):
                    found.append((name, step))
        return found

    def _asked(self, entry: Entry, moment: Moment) -> Sequence[StateKey]:
        """Return the firings that wait for such an event as this is, as far as the event tells."""
        trigger, context, rule = entry.trigger, self._context(moment.event), entry.trigger.rule.id
        if not self._waiting.is_hearing(rule) or passed_over(trigger, moment.event):
            return ()
        if not all(moment.holds(test) for test in entry.tests):
            return ()
        if trigger.per is None:
            return self._waiting.hearing(rule)
        try:
            return self._waiting.hearing(rule, state_key(rule, trigger.per.key(moment, context)))
        except ExpressionError:
            return ()

    def _go_on(self, firing: Firing, filed: StateKey, logged: Logged, overdue: int | None = None) -> None:
        firing.run(logged.stamp, self._context(firing.trigger), overdue=overdue)
        self._out.orders += firing.made
        if firing.waiting:
            self._keep(firing, filed)
        else:
            self._book.put(firing_key(filed, firing.id), None)
        if firing.made or firing.failed or firing.skipped or firing.taken:
            self._trace(firing, "resumed", logged)
        self._next_in_line(firing.rule, filed, logged)

    # --- as values ----------------------------------------------------------------------------------

    def _keep(self, firing: Firing, filed: StateKey) -> None:
        self._book.put(firing_key(filed, firing.id), firing.as_json())

    def _find(self, name: StateKey, logged: Logged) -> Firing | None:
        """Return a firing as it is now; None if it is gone, or went with its rule."""
        value = self._book.get(name)
        rule = self.rule_of(place_of(name), value) if value is not None else None
        if value is not None and rule is None:
            self._book.put(name, None)
        return self._read(name, rule, logged) if rule is not None else None

    def _read(self, name: StateKey, rule: Rule, logged: Logged) -> Firing | None:
        """Return a firing of a rule; one that cannot be read is dropped, and that is told."""
        try:
            return Firing.from_json(rule, self._book.get(name) or _NOTHING)
        except NO_SENSE:
            self._forget_senseless(name, logged)
            return None

    def _drop(self, name: StateKey, rule: Rule | None, now: Logged | None) -> None:
        """End a firing before its time, and tell what it waited for. `rule` is the one that it belongs to."""
        value = self._book.get(name) or _NOTHING
        self._book.put(name, None)
        event, steps = value["event"], rule.steps if rule is not None else ()
        where = (now.seq, event["id"], now.stamp) if now else (0, event["id"], at(event["received"]))
        waited = tuple(step.label for step in steps if str(step.index) in value["waiting"])
        trace = Trace(place_of(name).rule, value["version"], "dropped", *where, value["key"], skipped=waited)
        self._out.traces.append(trace)

    def drop_outdated(self, before: RuleSet, now: Logged | None) -> None:
        """End the firings of rules that are not in force any more as they were."""
        for name, value in list(self._book.firings()):
            place = place_of(name)
            if self.rule_of(place, value) is None:
                self._drop(name, before.by_id.get(place.rule), now)

    def drop_senseless(self, logged: Logged) -> None:
        """Forget what was written down and cannot be read."""
        senseless, self._book.senseless = self._book.senseless, {}
        for name in senseless:
            self._forget_senseless(name, logged)

    def _forget_senseless(self, name: StateKey, logged: Logged) -> None:
        """Forget a value that cannot be read, and tell so. Whoever stood in line behind it need not any more."""
        self._book.put(name, None)
        place = place_of(name) if name.rule.startswith(FIRINGS) else name
        rule = self.rules.by_id.get(place.rule)
        version = rule.version if rule is not None else ""
        where, why = (logged.seq, logged.event.id, logged.stamp), ("what was remembered of it cannot be read",)
        self._out.traces.append(Trace(place.rule, version, "dropped", *where, place.key, failed=why))
        if rule is not None:
            self._next_in_line(rule, place, logged)

    def rule_of(self, place: StateKey, value: Mapping[str, Any]) -> Rule | None:
        """Return the rule that a value belongs to, if it is still in force as it was."""
        rule = self.rules.by_id.get(place.rule)
        return rule if rule is not None and rule.version == value.get("version") else None

    def _trace(self, firing: Firing, outcome: Outcome, logged: Logged) -> None:
        self._out.traces.append(firing.trace(logged, outcome))
