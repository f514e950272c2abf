"""From a step of a firing to its order: texts rendered, parameters checked, times counted from the cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from bridge.sdk import ActionClass, Order, StepResult, stable_id
from rules.expressions import EventContext, Expression, ExpressionError
from rules.steps import FAILED, Act, Step, class_of, dump, validated

if TYPE_CHECKING:
    from rules.firing import Firing

LARGEST = 1024 * 1024 - 16 * 1024
"""Bytes of an order: NATS' limit of a message, less the headers."""
_PENDING: Mapping[str, Any] = {"outcome": "pending", "output": {}}


@dataclass(slots=True)
class Maker:
    """Makes the order of one step, and answers its expressions."""

    firing: Firing
    step: Step
    now: datetime
    context: EventContext

    def evaluate(self, expression: Expression) -> JsonValue:
        """Work out an expression of this step. What a step did not give is null, not an error."""
        results = {name: self._result(name) for name in self.step.sees}
        seen = {name: {**result["output"], "outcome": result["outcome"]} for name, result in results.items()}
        rule, key = self.firing.rule.id, self.firing.key
        try:
            return self.context.evaluate(expression, rule=rule, key=key, steps=seen)
        except ExpressionError as error:
            if "steps" in expression.names and isinstance(error.__cause__, KeyError):
                return None
            raise

    def order(self, act: Act) -> Order:
        """Return the order. Raises ExpressionError or ValueError when it, a text or a parameter cannot be made."""
        firing, rule, trigger = self.firing, self.firing.rule, self.firing.trigger
        params, action_class = self._params(act)
        order = Order(
            id=stable_id(rule.id, rule.version, firing.key, *firing.causes, self.step.index),
            rule=rule.id,
            rule_version=rule.version,
            key=firing.key,
            index=self.step.index,
            step=self.step.name,
            action=act.spec.name,
            action_class=action_class,
            params=params,
            causes=(*firing.answers, *firing.causes),
            trigger=trigger,
            origin=firing.origin,
            hops=firing.hops + 1,
            occurred=trigger.time + firing.waited,
            received=trigger.received + firing.waited,
            created=self.now,
            expires=self._expires(act, action_class),
            max_lateness=rule.max_lateness,
            priority=rule.priority,
            steps={name: StepResult.model_validate(self._result(name)) for name in self.step.needs},
        )
        return _sendable(order)

    def _result(self, name: str) -> Mapping[str, Any]:
        if name == FAILED and self.step.handler is not None:
            return self.firing.failures[self.step.handler]
        return self.firing.results.get(name, _PENDING)

    def _params(self, act: Act) -> tuple[dict[str, Any], ActionClass]:
        if act.fixed is not None:
            return act.fixed, act.action_class
        rendered = act.params.filled(lambda template: template.render(self.evaluate))
        model = validated(act.spec, rendered)
        return dump(model), class_of(act.spec, model)

    def _expires(self, act: Act, action_class: ActionClass) -> datetime | None:
        """Return when it is too late, counted from the cause: its own time or its receipt, whichever is older.

        The rule's `max_age` limits what moves or starts something; a message about it may still be late.
        """
        if action_class is ActionClass.RELEASING:
            return None
        limits: list[timedelta] = []
        if act.spec.max_age is not None:
            limits.append(act.spec.max_age)
        if self.firing.rule.max_age is not None and action_class is not ActionClass.INFORMATION:
            limits.append(self.firing.rule.max_age)
        trigger = self.firing.trigger
        return min(trigger.time, trigger.received) + self.firing.waited + min(limits) if limits else None


def _sendable(order: Order) -> Order:
    """Return the order, without the original message of its event where it would be too large. Raises ValueError."""
    if len(order.encode()) <= LARGEST:
        return order
    order = order.model_copy(update={"trigger": order.trigger.model_copy(update={"raw": None})})
    if (size := len(order.encode())) > LARGEST:
        raise ValueError(f"the order would have {size} bytes, and the bus takes {LARGEST}")
    return order
