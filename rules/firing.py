"""From a rule that fired to orders: texts rendered, parameters checked, steps that wait put aside.

A firing is a value too: what it still waits for is written into the rule's state and read back. A
value that is absent or unusable costs the one step that asked for it, with a note in the trace; the
engine and the rule's other steps go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from bridge.sdk import ActionClass, Logged, Order, Origin, StepResult, VmsEvent, stable_id
from rules.expressions import EventContext, Expression, ExpressionError
from rules.moment import NO_WAIT
from rules.rule import Rule
from rules.state import at
from rules.steps import Step, class_of, dump, validated
from rules.trace import Outcome, Trace


@dataclass(slots=True)
class Firing:
    """One firing of a rule: made, waiting, or gone on with."""

    rule: Rule
    key: str
    trigger: VmsEvent
    causes: tuple[str, ...]
    origin: Origin
    """The least trustworthy among the causes."""
    waited: timedelta = NO_WAIT
    """How long after the trigger it was decided because the rule asks for that; it makes nothing older."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How named steps ended: outcome and output."""
    orders: dict[str, str] = field(default_factory=dict)
    """Orders of the named steps that others wait for."""
    waiting: dict[int, datetime] = field(default_factory=dict)
    """Steps put aside, and until when."""
    made: list[Order] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The same for the same rule version, key and causes."""
        return stable_id(self.rule.id, self.rule.version, self.key, *self.causes)

    def as_json(self) -> dict[str, JsonValue]:
        """Return what must be remembered while steps wait."""
        return {
            "event": self.trigger.model_dump(mode="json", exclude_none=True),
            "causes": list(self.causes),
            "origin": self.origin.value,
            "waited": self.waited.total_seconds(),
            "results": dict(self.results),
            "orders": dict(self.orders),
            "waiting": {str(index): due.isoformat() for index, due in self.waiting.items()},
        }

    @classmethod
    def from_json(cls, rule: Rule, key: str, value: Mapping[str, Any]) -> Firing:
        """Read what `as_json` wrote."""
        return cls(
            rule,
            key,
            VmsEvent.model_validate(value["event"]),
            tuple(value["causes"]),
            Origin(value["origin"]),
            timedelta(seconds=value["waited"]),
            results=dict(value["results"]),
            orders=dict(value["orders"]),
            waiting={int(index): at(due) for index, due in value["waiting"].items()},
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
        )

    def run(self, indexes: Iterable[int], now: datetime, context: EventContext, *, overdue: int | None = None) -> None:
        """Go through steps in order: make their orders, or put them aside until those they name have ended.

        The step `overdue` waits no longer; what it waited for counts as pending.
        """
        for index in sorted(indexes):
            step = self.rule.steps[index]
            if any(name not in self.results for name in step.needs) and index != overdue:
                self.waiting.setdefault(index, now + step.wait)
                continue
            self.waiting.pop(index, None)
            self._carry_out(step, now, context)

    def _carry_out(self, step: Step, now: datetime, context: EventContext) -> None:
        steps = {name: self.results.get(name, {"outcome": "pending", "output": {}}) for name in step.needs}
        maker = _Maker(self, step, now, context, steps)
        try:
            if step.condition is not None and maker.evaluate(step.condition) is not True:
                self._end(step, f"{step.label}: `if` did not hold", self.skipped)
                return
            order = maker.order()
        except (ExpressionError, ValueError) as error:
            self._end(step, f"{step.label}: {error}", self.failed)
            return
        self.made.append(order)
        if step.name is not None and any(step.name in other.needs for other in self.rule.steps):
            self.orders[step.name] = order.id

    def _end(self, step: Step, note: str, notes: list[str]) -> None:
        """A step gives no order; whoever waits for it need not."""
        notes.append(note)
        if step.name is not None:
            self.results[step.name] = {"outcome": "refused", "output": {}}


@dataclass(slots=True)
class _Maker:
    """Makes the order of one step."""

    firing: Firing
    step: Step
    now: datetime
    context: EventContext
    steps: Mapping[str, Mapping[str, Any]]

    def evaluate(self, expression: Expression) -> JsonValue:
        """Work out an expression of this step. What a step did not give is null, not an error."""
        seen = {name: {**result["output"], "outcome": result["outcome"]} for name, result in self.steps.items()}
        rule, key = self.firing.rule.id, self.firing.key
        try:
            return self.context.evaluate(expression, rule=rule, key=key, steps=seen)
        except ExpressionError as error:
            if "steps" in expression.names and isinstance(error.__cause__, KeyError):
                return None
            raise

    def order(self) -> Order:
        """Return the order. Raises ExpressionError or ValueError when a text or parameter cannot be made."""
        firing, rule, trigger = self.firing, self.firing.rule, self.firing.trigger
        params, action_class = self._params()
        return Order(
            id=stable_id(rule.id, rule.version, firing.key, *firing.causes, self.step.index),
            rule=rule.id,
            rule_version=rule.version,
            key=firing.key,
            index=self.step.index,
            step=self.step.name,
            action=self.step.spec.name,
            action_class=action_class,
            params=params,
            causes=firing.causes,
            trigger=trigger,
            origin=firing.origin,
            occurred=trigger.time + firing.waited,
            received=trigger.received + firing.waited,
            created=self.now,
            expires=self._expires(action_class),
            max_lateness=rule.max_lateness,
            priority=rule.priority,
            steps={name: StepResult.model_validate(result) for name, result in self.steps.items()},
        )

    def _params(self) -> tuple[dict[str, Any], ActionClass]:
        step = self.step
        if step.fixed is not None and step.fixed_class is not None:
            return step.fixed, step.fixed_class
        rendered = step.params.filled(lambda template: template.render(self.evaluate))
        model = validated(step.spec, rendered)
        return dump(model), class_of(step.spec, model)

    def _expires(self, action_class: ActionClass) -> datetime | None:
        """Return when it is too late, counted from the cause: its own time or its receipt, whichever is older.

        The rule's `max_age` limits what moves or starts something; a message about it may still be late.
        """
        if action_class is ActionClass.RELEASING:
            return None
        limits: list[timedelta] = []
        if self.step.spec.max_age is not None:
            limits.append(self.step.spec.max_age)
        if self.firing.rule.max_age is not None and action_class is not ActionClass.INFORMATION:
            limits.append(self.firing.rule.max_age)
        trigger = self.firing.trigger
        return min(trigger.time, trigger.received) + self.firing.waited + min(limits) if limits else None
