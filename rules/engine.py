"""Decide what an event leads to. Pure: the same rules, state and log give the same decisions, byte for byte.

No I/O, no clock, no randomness. Time is the log's: before an event is looked at, the timers due by
its stamp fire, in the order of (due, id). What is decided comes back as a value: state to write down,
orders to carry out, traces to keep. A value that an expression cannot make sense of never stops it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from bridge.sdk import Logged, Order, StateKey, VmsEvent
from rules.conditions import Test
from rules.expressions import EventContext, ExpressionError
from rules.firing import Firing
from rules.gates import Unmet, failed_test, gate, is_special, loop_unmet, origin_unmet, unmet_test
from rules.index import Entry
from rules.knowledge import BEFORE_NEWS, BEGUN, deaf, learn
from rules.loops import LOOP, cut_off
from rules.moment import NO_WAIT, Moment
from rules.notices import notice
from rules.overlay import Overlay
from rules.patterns import Fire, Now, Reaction
from rules.remembering import Memories
from rules.resting import disturbed, fired
from rules.rule import Rule, Trigger
from rules.ruleset import RuleSet
from rules.state import LISTS, Book, Timer, key_of, state_key
from rules.trace import Trace
from rules.underway import Outbox, Underway
from rules.waiting import FIRINGS

TICK = "bridge.tick"
LONGEST_KEY = 20_000
"""Characters; the key is in the value, and in each order."""
MISSED_TRACES = 5
"""Rules kept away by a list or bound that are traced for one event."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one event led to. `changed`: state to write down, None to forget."""

    changed: Mapping[StateKey, dict[str, Any] | None] = field(default_factory=dict)
    orders: Sequence[Order] = ()
    traces: Sequence[Trace] = ()


_NOTHING = Decision(MappingProxyType({}))
_NO_MEMORY: Mapping[str, Any] = MappingProxyType({})
_Asked = tuple[Trigger, Sequence[Test]]
"""A trigger, and those of its tests that are still open."""


def _firing(rule: Rule, key: str, fire: Fire) -> Firing:
    return Firing.begin(rule, key, fire.trigger, fire.causes, fire.origin or fire.trigger.origin, fire.waited)


class Engine:
    """The rules, and what is remembered."""

    def __init__(self, rules: RuleSet, state: Mapping[StateKey, dict[str, Any]]) -> None:
        self._rules = rules
        self._book = Book(state)
        self._overlay = Overlay(self._book)
        self._out = Outbox()
        self._memories = Memories(self._book)
        self._underway = Underway(self._book, rules, self._out, self._context)
        self._now: Logged | None = None
        self._begun = not rules.standing

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._rules

    @property
    def next_due(self) -> datetime | None:
        """When the next timer is due, by the log's clock; None if none is set."""
        return self._book.next_due()

    def state(self) -> dict[StateKey, Mapping[str, Any]]:
        """Return all that is remembered. Values are never changed in place, so it stays as it was."""
        return self._book.values()

    def value(self, key: StateKey) -> Mapping[str, Any] | None:
        """Return one value of what is remembered."""
        return self._book.get(key)

    @property
    def changed_lists(self) -> dict[str, int]:
        """How many values were changed at run time, by list; of some the change may just have ended."""
        return {rule.removeprefix(LISTS): count for rule, count in self._book.listed.items() if count}

    @property
    def refused(self) -> int:
        """Values of lists that could not be changed since this engine began, because too many are already."""
        return self._overlay.refused

    # --- one step -----------------------------------------------------------------------------------

    def step(self, logged: Logged, *, trace: bool = True) -> Decision:
        """Fire the timers that are due, then decide about the event.

        Without `trace` only firings are traced; whether or not, the decisions are the same.
        """
        self._prepare(logged)
        if logged.event.type != TICK:
            self._consider(logged, trace)
        return self._decided()

    def step_explained(self, logged: Logged, rules: Iterable[str] | None = None) -> tuple[Decision, list[Trace]]:
        """Do the same step, and tell as `explain` does how each rule looked at the event when its turn came."""
        self._prepare(logged)
        answers = self.explain(logged, rules)
        if logged.event.type != TICK:
            self._consider(logged, trace=True)
        return self._decided(), answers

    def _prepare(self, logged: Logged) -> None:
        """Bring everything up to the event: timers, what is over, what it says of the state of things."""
        self._now = logged
        if self._book.senseless:
            self._underway.drop_senseless(logged)
        if logged.event.type == BEGUN:  # before the timers: those of a time when nobody listened are due now
            learn(self._book, logged.event, logged.stamp)
        self._fire_timers(logged)
        self._book.sweep(logged.stamp)
        if not self._begun:
            self._begun = True
            self._memories.begin(self._rules.standing, logged.stamp)
        if logged.event.type != TICK:
            learn(self._book, logged.event, logged.stamp)
            self._overlay.learn(logged.event, self._rules.lists, logged.stamp)
            self._underway.resume(logged, self._moment(logged) if self._book.waiting.hears else None)

    def replace_rules(self, rules: RuleSet, logged: Logged | None = None) -> Decision:
        """Decide by other rules from here on. What a removed or changed rule remembered is dropped.

        `logged` is the change in the log: what is told of steps that go with their rule is told at its place.
        """
        self._now = logged or self._now
        old, self._rules, self._underway.rules = self._rules, rules, rules
        self._begun = not rules.standing
        for key, value in list(self._book.rules()):
            rule = rules.by_id.get(key.rule)
            if rule is None or rule.version != value["version"]:
                self._book.put(key, None)
        self._underway.drop_outdated(old, self._now)
        return self._decided()

    def explain(self, logged: Logged, rules: Iterable[str] | None = None) -> list[Trace]:
        """Tell, for some or all rules, whether they would fire from this event now, and if not, why not.

        Nothing is remembered and no order is made.
        """
        moment = self._moment(logged)
        context = self._context(moment.event)
        chosen = self._rules.by_id.keys() if rules is None else set(rules)
        return [
            self._explained(rule, self._rules.triggers_of.get(rule.id, ()), moment, context)
            for rule in self._rules.rules
            if rule.id in chosen
        ]

    def looks(self, logged: Logged, triggers: Iterable[Trigger]) -> list[tuple[Trigger, Unmet | None]]:
        """Tell, for an event that was decided just now, what keeps each of some triggers from taking it.

        Nothing is remembered.
        """
        moment = self._moment(logged)
        context = self._context(moment.event)
        return [(trigger, self._look(trigger, moment, context)) for trigger in triggers]

    def _look(self, trigger: Trigger, moment: Moment, context: EventContext) -> Unmet | None:
        differs = trigger.place_differs(moment.event)
        found = Unmet(*differs) if differs is not None else self._judge(trigger, trigger.tests, moment, context)
        return found if isinstance(found, Unmet) else None

    def _decided(self) -> Decision:
        if not (self._out.orders or self._out.traces or self._book.changed):
            return _NOTHING
        return Decision(self._book.take_changed(), *self._out.take())

    # --- what is known ---------------------------------------------------------------------------------

    def _moment(self, logged: Logged, waited: timedelta = NO_WAIT) -> Moment:
        return Moment(logged, self._rules.place, waited, self._overlay)

    def _context(self, event: VmsEvent) -> EventContext:
        return EventContext(event, self._state_of, self._local)

    def _state_of(self, entity: Any, attribute: Any) -> Any:
        # Called by CEL with whatever the expression gives; an exception would be printed, not raised.
        if isinstance(entity, str) and isinstance(attribute, str):
            return self._book.fact(entity, attribute)
        return None

    def _local(self, text: Any) -> str:
        try:
            moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
            return moment.astimezone(self._rules.place.zone).strftime("%Y-%m-%d %H:%M:%S")
        except (TypeError, ValueError, OverflowError):
            return ""

    # --- events ----------------------------------------------------------------------------------------

    def _consider(self, logged: Logged, trace: bool) -> None:
        moment = self._moment(logged)
        index = self._rules.index
        missed: list[tuple[Trigger, Test]] = []
        if trace:
            reached, missed = index.reached_and_missed(moment)
        else:
            reached = index.reached(moment)
        if reached:
            self._ask(reached, moment, trace)
        for trigger, test in missed[:MISSED_TRACES]:
            self._out.traces.append(failed_test(test, moment).trace(trigger.rule, moment))

    def _ask(self, reached: Sequence[Entry], moment: Moment, trace: bool) -> None:
        """Ask the rules that the index has led to, one after the other, each once with all its triggers."""
        context: EventContext | None = None  # made for the first rule that comes so far; mostly none does
        special = is_special(moment.event)
        holds, last = moment.holds, len(reached) - 1
        asked: list[Entry] = []
        for number, entry in enumerate(reached):
            rule = entry.rule
            more = number < last and reached[number + 1].rule is rule
            if not (more or asked or special):  # nearly always: one trigger, and one of its tests does not hold
                test: Test | None
                for test in entry.tests:
                    if not holds(test):
                        break
                else:
                    test = None
                if test is not None:
                    if trace:
                        self._out.traces.append(unmet_test(rule, test, moment))
                    continue
            asked.append(entry)
            if not more:
                context = context or self._context(moment.event)
                unmet = self._meet(rule, [(one.trigger, one.tests) for one in asked], moment, context)
                if unmet is not None and trace:
                    self._out.traces.append(unmet.trace(rule, moment))
                asked = []

    def _meet(self, rule: Rule, asked: Sequence[_Asked], moment: Moment, context: EventContext) -> Unmet | None:
        """Let a rule some of whose triggers fit the event's place see the event; returns why it did not fire."""
        roles, unmet = self._admitted(asked, moment, context)
        if unmet is not None and unmet.condition == LOOP:
            self._out.orders += cut_off(self._book, rule, self._logged)
        for key, named in roles.items():
            filed = state_key(rule.id, key)
            reaction = self._memories.seen(rule, key, named, moment)
            if isinstance(reaction, Unmet):
                self._refuse(rule, moment.event, reaction)
                continue
            self._memories.keep(rule, key, filed, reaction)
            unmet = self._held_back(rule, key, reaction, moment, context)
            if reaction.fire is not None:
                if unmet is None:
                    self._fire(_firing(rule, key, reaction.fire), filed, context)
                else:
                    self._miss(rule, key, filed)
        return unmet

    def _admitted(
        self, asked: Sequence[_Asked], moment: Moment, context: EventContext
    ) -> tuple[dict[str, tuple[str, ...]], Unmet | None]:
        """Return in which roles, for each key, the event passes a rule's triggers; and why not, where it does not."""
        roles: dict[str, tuple[str, ...]] = {}
        refused: Unmet | None = None
        for trigger, tests in asked:
            found = self._judge(trigger, tests, moment, context)
            if isinstance(found, Unmet):
                refused = found
            else:
                roles[found] = tuple(sorted((*roles.get(found, ()), trigger.role)))
        return roles, None if roles else refused

    @staticmethod
    def _judge(trigger: Trigger, tests: Sequence[Test], moment: Moment, context: EventContext) -> str | Unmet:
        """Ask the tests and find the key. Changes nothing."""
        unmet = origin_unmet(trigger, moment.event)
        if unmet is not None:
            return unmet
        for test in tests:
            if not moment.holds(test):
                return failed_test(test, moment)
        unmet = loop_unmet(moment.event)
        if unmet is not None:
            return unmet
        try:
            key = trigger.per.key(moment, context) if trigger.per is not None else ""
        except ExpressionError as error:
            return Unmet("per", "a value", str(error))
        return key if len(key) <= LONGEST_KEY else Unmet("per", f"at most {LONGEST_KEY} characters", len(key))

    def _held_back(
        self, rule: Rule, key: str, reaction: Reaction, moment: Moment, context: EventContext
    ) -> Unmet | None:
        """Return why a rule that the event concerns does not fire from it; nothing if that is worth no trace."""
        if reaction.fire is None:
            return Unmet("when", "the whole pattern", reaction.unmet, key) if reaction.unmet is not None else None
        return self._gate(rule, key, state_key(rule.id, key), moment, context)

    def _gate(self, rule: Rule, key: str, filed: StateKey, moment: Moment, context: EventContext) -> Unmet | None:
        busy = self._book.waiting.is_begun(filed)
        return gate(rule, key, self._book.get(filed), moment, context, busy=busy)

    def _explained(self, rule: Rule, triggers: Sequence[Trigger], moment: Moment, context: EventContext) -> Trace:
        event = moment.event
        differing = [differs for trigger in triggers if (differs := trigger.place_differs(event)) is not None]
        if len(differing) == len(triggers):
            differs = differing[0] if differing else ("when", "the clock", event.type)
            return Unmet(*differs).trace(rule, moment)
        fitting = [(trigger, trigger.tests) for trigger in triggers if trigger.place_differs(event) is None]
        roles, unmet = self._admitted(fitting, moment, context)
        for key, named in roles.items():
            filed = state_key(rule.id, key)
            reaction = self._memories.seen(rule, key, named, moment)
            if isinstance(reaction, Unmet):
                unmet = reaction
                continue
            unmet = self._held_back(rule, key, reaction, moment, context)
            if unmet is None and reaction.fire is not None:
                outcome = self._underway.prepare(_firing(rule, key, reaction.fire), filed, context, moment.stamp)
                if not isinstance(outcome, Unmet):
                    named_event = (moment.seq, event.id, moment.stamp, key)
                    return Trace(rule.id, rule.version, outcome, *named_event, shadow=rule.shadow)
                unmet = outcome
            elif unmet is None and reaction.words is not None:
                unmet = Unmet("when", "the whole pattern", reaction.words, key)
        unmet = unmet or Unmet("when", "the whole pattern", "nothing that it waits for")
        return unmet.trace(rule, moment)

    # --- firing ----------------------------------------------------------------------------------------

    def _fire(self, firing: Firing, filed: StateKey, context: EventContext) -> None:
        """Let a rule fire; if that could not be written down, do not, and say so aloud."""
        rule, logged = firing.rule, self._logged
        outcome = self._underway.prepare(firing, filed, context, logged.stamp)
        if isinstance(outcome, Unmet):
            self._refuse(rule, firing.trigger, outcome)
            return
        if parts := fired(rule, self._book.get(filed) or _NO_MEMORY, logged.stamp):
            self._book.update(rule.version, firing.key, filed, **parts)
        self._underway.begin(firing, filed, outcome, logged)

    def _refuse(self, rule: Rule, event: VmsEvent, unmet: Unmet) -> None:
        """Tell of a firing that could not be: always in a trace, and once an hour as an event."""
        logged = self._logged
        self._out.traces.append(unmet.trace(rule, self._moment(Logged(logged.seq, logged.stamp, event))))
        data = {"rule": rule.id, "kind": event.type, "event": event.id, "wanted": unmet.wanted, "seen": unmet.seen}
        self._out.orders += notice(self._book, "rule.refused", rule, event, data, logged.stamp)

    def _miss(self, rule: Rule, key: str, filed: StateKey) -> None:
        """Note that a rule would have fired, if something around its pattern had not held it back."""
        if parts := disturbed(rule, self._book.get(filed) or _NO_MEMORY, self._logged.stamp):
            self._book.update(rule.version, key, filed, **parts)

    # --- timers ----------------------------------------------------------------------------------------

    def _fire_timers(self, logged: Logged) -> None:
        while (timer := self._book.pop_due(logged.stamp)) is not None:
            if timer.key.rule.startswith(FIRINGS):
                self._underway.due(timer, logged)
                continue
            value = self._book.get(timer.key) or {}
            rule = self._underway.rule_of(timer.key, value)
            if rule is None:  # left behind by a version that is gone
                self._book.put(timer.key, None)
            else:
                self._pattern_due(rule, timer, value)

    def _pattern_due(self, rule: Rule, timer: Timer, value: Mapping[str, Any]) -> None:
        key, stamp = key_of(timer.key, value), self._logged.stamp
        now = Now(stamp, key, self._deaf, self._logged.event.type in BEFORE_NEWS)
        reaction = self._memories.due(rule, timer, now)
        fire = reaction.fire
        if reaction.inconclusive and reaction.about is not None:
            about = Unmet("when", "to have heard everything", reaction.unmet, key)
            moment = self._moment(Logged(self._logged.seq, stamp, reaction.about))
            self._out.traces.append(about.trace(rule, moment)._replace(outcome="inconclusive"))
        if fire is None:
            return
        moment = self._moment(Logged(self._logged.seq, stamp, fire.trigger), fire.waited)
        context = self._context(fire.trigger)
        unmet = self._gate(rule, key, timer.key, moment, context)
        if unmet is not None:
            self._miss(rule, key, timer.key)
            self._out.traces.append(unmet.trace(rule, moment))
            return
        self._fire(_firing(rule, key, fire), timer.key, context)

    def _deaf(self, sources: Iterable[str], since: datetime) -> str | None:
        return deaf(self._book, [source.partition("/")[2] for source in sources], since)

    @property
    def _logged(self) -> Logged:
        assert self._now is not None  # noqa: S101 - set at the start of every step
        return self._now
