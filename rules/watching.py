"""Looks over the engine's shoulder while a test is played, and notes what came of every look at an event."""

from __future__ import annotations

from bridge.sdk import Logged
from rules.coverage import Goal, asked, catch_name, part_of, tests_of
from rules.engine import TICK, Decision, Engine
from rules.gates import AROUND, Unmet
from rules.moment import Moment
from rules.rule import Rule, Trigger
from rules.ruleset import RuleSet
from rules.steps import NOT_HELD, Catch, Listen
from rules.trace import Trace

_ROW = ("when.kind", "when.source", "when.channel", "when.include", "match", "loop", "per", "when", *AROUND)
"""Conditions in the order in which they are asked."""


def how_far(condition: str | None) -> int:
    """Return how near a rule came to firing when this was the first condition that did not hold."""
    name = "match" if (condition or "").startswith("match.") else condition
    return _ROW.index(name) if name in _ROW else len(_ROW)


class Watch:
    """Looks on while a test is played: what its events show of the rules, and why rules did not fire."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._of_kind: dict[str | None, list[Trigger]] = {}
        for trigger in rules.triggers:
            self._of_kind.setdefault(trigger.kind, []).append(trigger)
        self.reached: set[Goal] = set()
        self.looks: list[Trace] = []
        """How rules looked at the events: why they did not fire from them, and when they did."""

    def saw(self, engine: Engine, logged: Logged, decision: Decision) -> None:
        """Take note of one step of the engine."""
        admitted: set[str] = set()
        if logged.event.type != TICK:
            admitted = self._events(engine, logged)
        for trace in decision.traces:
            self._trace(trace)
            on_entry = trace.outcome == "unmet" and trace.event == logged.event.id and trace.rule not in admitted
            if not on_entry:
                self.looks.append(trace)

    def _events(self, engine: Engine, logged: Logged) -> set[str]:
        """Note how triggers take an event; return the rules that let it in."""
        triggers = [*self._of_kind.get(logged.event.type, ()), *self._of_kind.get(None, ())]
        admitted: set[str] = set()
        refused: dict[str, tuple[Rule, Unmet]] = {}
        for trigger, unmet in engine.looks(logged, triggers):
            rule = trigger.rule
            self._tests_asked(trigger, unmet)
            if unmet is None:
                admitted.add(rule.id)
            elif rule.id not in refused or how_far(unmet.condition) > how_far(refused[rule.id][1].condition):
                refused[rule.id] = (rule, unmet)
        moment = Moment(logged, self._rules.place)
        self.looks += [unmet.trace(rule, moment) for name, (rule, unmet) in refused.items() if name not in admitted]
        return admitted

    def _tests_asked(self, trigger: Trigger, unmet: Unmet | None) -> None:
        rule = trigger.rule
        if unmet is not None and unmet.condition.startswith("when"):
            return
        part = part_of(rule, trigger)
        for test, (name, wanted) in zip(trigger.tests, tests_of(rule, trigger), strict=False):
            if unmet is not None and (unmet.condition, unmet.wanted) == (test.name, test.wanted):
                self.reached.add(Goal(rule.id, name, wanted, "decisive"))
                return
            self.reached.add(Goal(rule.id, name, wanted, "met"))
        if unmet is None and part:
            self.reached.add(Goal(rule.id, part, "", "seen"))

    def _trace(self, trace: Trace) -> None:
        rule = self._rules.by_id.get(trace.rule)
        if rule is None:
            return
        if trace.outcome == "fired":
            self.reached.add(Goal(rule.id, "", "", "fired"))
            self._around(rule, None)
        elif trace.outcome == "queued":
            self._around(rule, None)
        elif trace.outcome == "unmet" and trace.condition in AROUND:
            self._around(rule, trace.condition)
        self._steps(rule, trace)

    def _around(self, rule: Rule, until: str | None) -> None:
        """Note the gates that were asked: all of them, or those up to the one that did not hold."""
        for name in AROUND:
            wanted = asked(rule, name)
            if wanted is not None:
                self.reached.add(Goal(rule.id, name, wanted, "decisive" if name == until else "met"))
            if name == until:
                return

    def _steps(self, rule: Rule, trace: Trace) -> None:
        if not (trace.taken or trace.skipped):
            return
        left_out = {note.removesuffix(NOT_HELD) for note in trace.skipped if note.endswith(NOT_HELD)}
        for step in rule.steps:
            if step.condition is not None:
                wanted = f"if {step.condition.text}"
                if step.label in trace.taken:
                    self.reached.add(Goal(rule.id, step.label, wanted, "met"))
                if step.label in left_out:
                    self.reached.add(Goal(rule.id, step.label, wanted, "decisive"))
            if step.label in trace.taken and isinstance(step.does, Catch):
                self.reached.add(Goal(rule.id, catch_name(step), "", "told"))
            elif step.label in trace.taken and isinstance(step.does, Listen):
                self.reached.add(Goal(rule.id, step.label, "", "answered"))
