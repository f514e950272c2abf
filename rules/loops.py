"""Rules that lead to each other: cut off after so many firings, and told once.

What a rule causes says how many firings, one leading to the next, led to it. Above the bound no rule
fires from it. A loop that can be seen in the files is found when they are checked; this one stops those
that cannot, and those over several bridges or systems as far as they hand the count on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from bridge.sdk import ActionClass, Logged, Order, VmsEvent, stable_id
from rules.rule import Rule
from rules.state import REST, Book, at, state_key

MOST_HOPS = 8
"""Firings that may lead to each other."""
LOOP = "loop"
"""The condition that does not hold then."""
LOOPS = "$loops"
"""The rule name under which is kept when a loop was told."""
TOLD_FOR = timedelta(hours=1)


def looped(event: VmsEvent) -> bool:
    """Tell whether so many firings led to an event that no rule fires from it."""
    return event.hops is not None and event.hops > MOST_HOPS


def telling(book: Book, rule: Rule, logged: Logged) -> Order | None:
    """Return the order that tells of a rule that was cut off; None if that was told within the hour."""
    filed, event, now = state_key(LOOPS, rule.id), logged.event, logged.stamp
    known = book.get(filed)
    if known is not None and now < at(known[REST]):
        return None
    book.put(filed, {"version": rule.version, REST: (now + TOLD_FOR).isoformat()})
    return _order(rule, event, now)


def _order(rule: Rule, event: VmsEvent, now: datetime) -> Order:
    # It counts no hops: a rule that warns of loops must fire from it, and once an hour is no loop.
    data = {"rule": rule.id, "kind": event.type, "event": event.id, "hops": event.hops}
    return Order(
        id=stable_id("rule.loop", rule.id, rule.version, event.id),
        rule=rule.id,
        rule_version=rule.version,
        key="",
        index=len(rule.steps),
        action="emit",
        action_class=ActionClass.INFORMATION,
        params={"kind": "rule.loop", "data": data},
        causes=(event.id,),
        trigger=event,
        origin=event.origin,
        occurred=event.time,
        received=event.received,
        created=now,
        priority=rule.priority,
    )
