"""What the engine tells of itself, because somebody should look at a rule: an event, once an hour for each rule.

It is an order like others, so it is written down with the decision and comes back through the log. It
counts no firings that led to it: a rule that warns must fire from it, and once an hour is no loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import JsonValue

from bridge.sdk import ActionClass, Order, VmsEvent, stable_id
from rules.rule import Rule
from rules.state import REST, Book, at, state_key

TOLD = "$told/"
"""What the rule names begin with under which is kept when something was told, each kind under its own."""
TOLD_FOR = timedelta(hours=1)


def notice(
    book: Book, kind: str, rule: Rule, event: VmsEvent, data: Mapping[str, JsonValue], now: datetime
) -> Sequence[Order]:
    """Return the order that tells of a rule and the event behind it; none if that was told within the hour."""
    filed = state_key(f"{TOLD}{kind}", rule.id)
    known = book.get(filed)
    if known is not None and now < at(known[REST]):
        return ()
    book.put(filed, {"version": rule.version, REST: (now + TOLD_FOR).isoformat()})
    return (
        Order(
            id=stable_id(kind, rule.id, rule.version, event.id),
            rule=rule.id,
            rule_version=rule.version,
            key="",
            index=len(rule.steps),
            action="emit",
            action_class=ActionClass.INFORMATION,
            params={"kind": kind, "data": dict(data)},
            causes=(event.id,),
            trigger=event.model_copy(update={"raw": None}),
            origin=event.origin,
            occurred=event.time,
            received=event.received,
            created=now,
            priority=rule.priority,
        ),
    )
