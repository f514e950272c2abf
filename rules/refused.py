"""Orders of a test that the bridge would not carry out: a test that expects one shows a gate that never opens.

Only what an order itself tells is looked at: where its cause comes from and how old that is. What else a door asks
(its clock, its hours, what must be so) is not known to a test. Of a change of the mode or of a list nobody knows here
whether a person asked for it, who may, or a rule.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bridge.sdk import MAX_AGE, ActionClass, ActionSpec, Order, Origin, format_duration

_MOVES = frozenset({Origin.LIVE, Origin.COMMAND})
_ASKED_FOR = frozenset({"mode.changed", "list.changed"})


def refused(order: Order, spec: ActionSpec[Any] | None) -> str | None:
    """Return why an order that moves something would be refused, in words; None if nothing is known against it."""
    if order.action_class is not ActionClass.ACTUATING or order.trigger.type in _ASKED_FOR:
        return None
    if order.origin is Origin.TIMER and order.max_lateness is not None:
        return None
    if order.origin not in _MOVES:
        return (
            f"its cause is of origin `{order.origin.value}`, and only what a source says live or a person asks for "
            "moves something"
        )
    age = order.created - min(order.occurred, order.received)
    limit = (spec.max_age if spec is not None else None) or MAX_AGE.get(order.action_class, timedelta.max)
    if age <= limit:
        return None
    return f"its cause is {format_duration(age)} old by then, and may be {format_duration(limit)}"
