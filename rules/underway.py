"""Firings under way: begun, put aside while their steps wait, gone on with, or ended before their time.

Where an event, the end of an order or a deadline finds those that wait for it. Everything is in the
book; what comes of it goes into the outbox of the step that the engine makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.sdk import Logged, Order, StateKey, VmsEvent, kinds
from rules.expressions import EventContext, ExpressionError
from rules.firing import Firing, too_many
from rules.gates import passed_over
from rules.index import Entry
from rules.moment import Moment
from rules.rule import Rule
from rules.ruleset import RuleSet
from rules.state import LINE, WAITS, Book, Timer, key_of, state_key
from rules.trace import Outcome, Trace

WAIT = "wait:"
"""What the names of deadlines of steps that wait start with."""
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
        self._book, self._out, self._context = book, out, context

    def begin(self, firing: Firing, filed: StateKey, context: EventContext, logged: Logged) -> None:
        """Let a rule fire, unless its firing has to stand in line."""
        if firing.rule.concurrency == "parallel" or not self._crowd(firing, filed, logged):
            self._start(firing, filed, context, logged)

    def _start(self, firing: Firing, filed: StateKey, context: EventContext, logged: Logged) -> None:
        firing.run(logged.stamp, context)
        if not firing.rule.shadow:
            self._out.orders += firing.made
            if firing.waiting:
                self._put_aside(firing, filed, logged)
        self._trace(firing, "fired", logged)

    def _crowd(self, firing: Firing, filed: StateKey, logged: Logged) -> bool:
        """Let a firing stand in line behind one whose steps wait, or end that one; tell whether it stands in line."""
        rule, value = firing.rule, self._book.get(filed) or _NOTHING
        if WAITS not in value:
            return False
        if rule.concurrency == "queued":
            self._book.update(rule.version, firing.key, filed, line=[*value.get(LINE, ()), firing.as_json()])
            self._trace(firing, "queued", logged)
            return True
        for before in value[WAITS].values():
            self._out.traces.append(_ended(rule, filed, value, before, logged))
        timers = {name: due for name, due in value.get("timers", {}).items() if not name.startswith(WAIT)}
        self._book.update(rule.version, firing.key, filed, waits=None, timers=timers)
        return False

    def _next_in_line(self, rule: Rule, filed: StateKey, logged: Logged) -> None:
        """Let those fire that stand in line, until one has to wait."""
        while LINE in (value := self._book.get(filed) or _NOTHING) and WAITS not in value:
            first, *rest = value[LINE]
            firing = Firing.from_json(rule, key_of(filed, value), first)
            self._book.update(rule.version, firing.key, filed, line=rest or None)
            self._start(firing, filed, self._context(firing.trigger), logged)

    def _put_aside(self, firing: Firing, filed: StateKey, logged: Logged) -> None:
        """Write down, or forget, what a firing still waits for, with a timer for each deadline."""
        value = self._book.get(filed) or {"version": firing.rule.version, "key": firing.key}
        waits = dict(value.get(WAITS, {}))
        if firing.waiting:
            waits[firing.id] = firing.as_json()  # where it stood, or last
        else:
            waits.pop(firing.id, None)
        gone = too_many(waits)
        for name in gone:
            self._out.traces.append(_ended(firing.rule, filed, value, waits.pop(name), logged))
        over = tuple(f"{WAIT}{name}:" for name in (firing.id, *gone))
        timers = {name: due for name, due in value.get("timers", {}).items() if not name.startswith(over)}
        if firing.id in waits:
            timers |= {f"{WAIT}{firing.id}:{index:03d}": due.isoformat() for index, due in firing.waiting.items()}
        self._book.update(firing.rule.version, firing.key, filed, timers=timers, waits=waits)

    def resume(self, logged: Logged, moment: Moment | None) -> None:
        """Let the steps go on that waited for this event, or for the order whose end it tells."""
        data = logged.event.data
        # Found before anybody goes on: a step that is reached now waits for what comes after this event.
        hearing = self._hearing(moment) if moment is not None else ()
        if isinstance(data, kinds.ActionEnded):
            for filed, firing in self._firings(self._book.waiting_for(data.order)):
                if data.order in firing.orders:
                    firing.ended(data)
                    self._go_on(firing, filed, logged)
        for filed, name, step in hearing:
            for _, firing in self._firings((filed,), name):
                if step in firing.waiting:
                    firing.answer(step, logged.event)
                    self._go_on(firing, filed, logged)

    def due(self, timer: Timer, rule: Rule, logged: Logged) -> None:
        """Let a step go on whose deadline is over."""
        value = self._book.get(timer.key) or _NOTHING
        name, _, index = timer.name.removeprefix(WAIT).partition(":")
        firing = Firing.from_json(rule, key_of(timer.key, value), value[WAITS][name])
        self._go_on(firing, timer.key, logged, int(index))

    def _hearing(self, moment: Moment) -> list[tuple[StateKey, str, int]]:
        """Return the steps that wait for an event: where, of which firing, and which."""
        return [
            (filed, firing.id, int(entry.trigger.role))
            for entry in self.rules.answering.reached(moment)
            for filed, firing in self._firings(self._asked(entry, moment))
            if firing.hears(int(entry.trigger.role), moment.event)
        ]

    def _asked(self, entry: Entry, moment: Moment) -> Sequence[StateKey]:
        """Return where steps wait whose event this is, as far as the event tells."""
        trigger, context = entry.trigger, self._context(moment.event)
        places = self._book.hearing(trigger.rule.id)
        if not places or passed_over(trigger, moment.event) or not all(moment.holds(test) for test in entry.tests):
            return ()
        if trigger.per is None:
            return places
        try:
            key = state_key(trigger.rule.id, trigger.per.key(moment, context, trigger.rule.id))
        except ExpressionError:
            return ()
        return (key,) if key in places else ()

    def _firings(self, places: Iterable[StateKey], name: str | None = None) -> Iterator[tuple[StateKey, Firing]]:
        """Yield the firings, all or the one of that name, that wait in some places; each as it is at its turn."""
        for filed in places:
            value = self._book.get(filed) or _NOTHING
            rule = self.rule_of(filed, value)
            for one in tuple(value.get(WAITS, ())) if name is None else (name,):
                waiting = (self._book.get(filed) or _NOTHING).get(WAITS, _NOTHING).get(one)
                if rule is not None and waiting is not None:
                    yield filed, Firing.from_json(rule, key_of(filed, value), waiting)

    def _go_on(self, firing: Firing, filed: StateKey, logged: Logged, overdue: int | None = None) -> None:
        firing.run(logged.stamp, self._context(firing.trigger), overdue=overdue)
        self._out.orders += firing.made
        self._put_aside(firing, filed, logged)
        if firing.made or firing.failed or firing.skipped or firing.taken:
            self._trace(firing, "resumed", logged)
        self._next_in_line(firing.rule, filed, logged)

    def drop(self, filed: StateKey, value: Mapping[str, Any], rule: Rule | None, logged: Logged | None) -> None:
        """Tell of the firings that end with their rule. `rule` is the one that they belong to."""
        for waiting in (*value.get(WAITS, {}).values(), *value.get(LINE, ())):
            self._out.traces.append(_ended(rule, filed, value, waiting, logged))

    def rule_of(self, filed: StateKey, value: Mapping[str, Any]) -> Rule | None:
        """Return the rule that a value belongs to, if it is still in force as it was."""
        rule = self.rules.by_id.get(filed.rule)
        return rule if rule is not None and rule.version == value.get("version") else None

    def _trace(self, firing: Firing, outcome: Outcome, logged: Logged) -> None:
        self._out.traces.append(firing.trace(logged, outcome))


def _ended(
    rule: Rule | None, filed: StateKey, value: Mapping[str, Any], waiting: Mapping[str, Any], now: Logged | None
) -> Trace:
    """Return what is told of a firing that ends before all of its steps were gone through."""
    event = VmsEvent.model_validate(waiting["event"])
    seq, stamp = (now.seq, now.stamp) if now else (0, event.received)
    steps = tuple(rule.steps[int(index)].label for index in waiting["waiting"]) if rule else ()
    key = key_of(filed, value)
    return Trace(filed.rule, value["version"], "dropped", seq, event.id, stamp, key, skipped=steps)
