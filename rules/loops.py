"""Rules that lead to each other: cut off after so many firings, and told once.

What a rule causes says how many firings, one leading to the next, led to it. Above the bound no rule
fires from it. A loop that can be seen in the files is found when they are checked; this one stops those
that cannot, and those over several bridges or systems as far as they hand the count on.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.sdk import Logged, Order, VmsEvent
from rules.notices import notice
from rules.rule import Rule
from rules.state import Book

MOST_HOPS = 8
"""Firings that may lead to each other."""
LOOP = "loop"
"""The condition that does not hold then."""


def looped(event: VmsEvent) -> bool:
    """Tell whether so many firings led to an event that no rule fires from it."""
    return event.hops is not None and event.hops > MOST_HOPS


def cut_off(book: Book, rule: Rule, logged: Logged) -> Sequence[Order]:
    """Return the order that tells of a rule that was cut off; none if that was told within the hour."""
    event = logged.event
    data = {"rule": rule.id, "kind": event.type, "event": event.id, "hops": event.hops}
    return notice(book, "rule.loop", rule, event, data, logged.stamp)
