"""The records of one order, from its claim to its end. Pure.

Reasons of our own are explained in words; what a far side or an action said is put behind them,
on one line and bounded.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import JsonValue

from bridge.actions.plan import Plan
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.kinds import Outcome, PlateRead
from bridge.schema.orders import About, Effect, Order, Result
from bridge.schema.text import Place, escape_for

OTHER_GRACE = timedelta(seconds=10)
"""Another runner's claim is left alone for its time limit and this."""
LONGEST_MESSAGE = 500
"""Characters of what was said that are kept."""
_CODES = {reason.value for reason in Reason}


def one_line(text: str) -> str:
    """Return a text that fits into a header, a log line, a table."""
    return escape_for(Place.TEXT, text)[:LONGEST_MESSAGE]


def started_effect(
    order: Order, planned: Plan, executor: str, attempt: int, claimed: datetime, now: datetime
) -> Effect:
    """Return the record of a try that begins; `next_try` is when another runner may settle it."""
    return Effect(
        order=order.id,
        action_class=planned.action_class,
        status="started",
        attempt=attempt,
        executor=executor,
        claimed=claimed,
        next_try=now + planned.spec.timeout + OTHER_GRACE,
        about=about(order),
    )


def waiting_effect(effect: Effect, next_try: datetime, error: str) -> Effect:
    """Return the record of an order that is tried again later."""
    return effect.model_copy(update={"status": "waiting", "next_try": next_try, "last_error": one_line(error)})


def ended_effect(order: Order, executor: str, result: Result) -> Effect:
    """Return the record of an order that ended before anything was tried."""
    return Effect(
        order=order.id,
        action_class=order.action_class,
        status="ended",
        attempt=1,
        executor=executor,
        claimed=result.ended,
        about=about(order),
        result=result,
    )


def about(order: Order) -> About:
    """Return what the audit trail says of an order beside its end."""
    data = order.trigger.data
    return About(
        rule_version=order.rule_version,
        origin=order.origin,
        occurred=order.occurred,
        received=order.received,
        created=order.created,
        plate=data.plate if isinstance(data, PlateRead) else None,
        hops=order.hops,
    )


def result_of(
    order: Order,
    now: datetime,
    outcome: Outcome,
    reason: str | None,
    message: str | None = None,
    attempts: int = 0,
    began: datetime | None = None,
    output: dict[str, JsonValue] | None = None,
) -> Result:
    """Return the one end of an order."""
    return Result(
        order=order.id,
        rule=order.rule,
        action=order.action,
        action_class=order.action_class,
        step=order.step,
        outcome=outcome,
        reason=reason,
        message=_explained(reason, message),
        attempts=attempts,
        started=began,
        ended=now,
        causes=order.causes,
        output=output or {},
    )


def burial(order: Order, reason: Reason, error: str, attempts: int) -> dict[str, str]:
    """Return the headers a dead letter carries."""
    return {
        "order": order.id,
        "rule": order.rule,
        "action": order.action,
        "reason": reason.value,
        "error": one_line(error),
        "attempts": str(attempts),
    }


def _explained(reason: str | None, message: str | None) -> str | None:
    words = WORDS[Reason(reason)] if reason in _CODES else ""
    said = message or ""
    text = said if said.startswith(words) else f"{words}: {said}" if said else words
    return one_line(text) or None
