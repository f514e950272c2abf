"""Orders of a test that the bridge would not carry out: a test that expects one shows a gate that never opens.

Only what an order itself tells is looked at: where its cause comes from and how old that is. What else a door asks
(its clock, its hours, what must be so) is not known to a test. Of a change of the mode or of a list nobody knows here
whether a person asked for it, who may, or a rule.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from bridge.sdk import MAX_AGE, ActionClass, ActionSpec, Order, Origin, format_duration

_MOVES = frozenset({Origin.LIVE, Origin.COMMAND})
_MADE_UP = frozenset({Origin.REPLAY, Origin.TEST})
_ASKED_FOR = frozenset({"mode.changed", "list.changed"})


def refused(order: Order, spec: ActionSpec[Any] | None) -> str | None:
    """Return why an order that touches a device would not be done, in words; None if nothing is known against it."""
    return _told_by_none(order) or _too_old(order, spec)


def refused_as(order: Order, spec: ActionSpec[Any] | None) -> Literal["refused", "expired"] | None:
    """Return how such an order ends; None if nothing is known against it."""
    if _told_by_none(order):
        return "refused"
    return "expired" if _too_old(order, spec) else None


def _told_by_none(order: Order) -> str | None:
    if order.action_class is not ActionClass.INFORMATION and order.origin in _MADE_UP:
        return f"its cause is of origin `{order.origin.value}`, and what is made up touches no device"
    if order.action_class is not ActionClass.ACTUATING or order.trigger.type in _ASKED_FOR:
        return None
    if _by_clock(order) or order.origin in _MOVES:
        return None
    return (
        f"its cause is of origin `{order.origin.value}`, and only what a source says live or a person asks for "
        "moves something"
    )


def _too_old(order: Order, spec: ActionSpec[Any] | None) -> str | None:
    if order.action_class is ActionClass.RELEASING:
        return None
    cause = min(order.occurred, order.received)
    age = order.created - cause
    limits = [(spec.max_age if spec is not None else None) or MAX_AGE.get(order.action_class, timedelta.max)]
    if _by_clock(order):
        limits = [order.max_lateness or timedelta()]
    if order.expires is not None:
        limits.append(order.expires - cause)
    if age <= min(limits):
        return None
    return f"its cause is {format_duration(age)} old by then, and may be {format_duration(min(limits))}"


def _by_clock(order: Order) -> bool:
    """Tell whether it moves something by the clock, whose rule says how late it may be."""
    clock = order.origin is Origin.TIMER and order.max_lateness is not None
    return clock and order.action_class is ActionClass.ACTUATING
