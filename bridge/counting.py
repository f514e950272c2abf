"""What the parts say while they work, turned into metrics. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from bridge.actions.tally import Observer
from bridge.clock import Clock
from bridge.runtime.metrics import Metrics
from bridge.schema.orders import Order, Result


class IntakeCounts:
    """What became of events on their way into the log."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count(self, what: Literal["stored", "unchanged", "refused"], source: str, kind: str, number: int) -> None:
        """Count events of one source and kind."""
        if what == "stored":
            self._metrics.stored(source, kind, number)
        elif what == "unchanged":
            self._metrics.duplicate(source, number)
        else:
            self._metrics.refused(source, "store", number)


class EngineCounts:
    """What the engine decided."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def stepped(self, events: int, orders: Sequence[Order], seconds: float) -> None:
        """A commit was written."""
        self._metrics.step(events, seconds)
        for order in orders:
            self._metrics.order(order.action, order.action_class.value)


class Observers:
    """Several that want to hear of orders, told one after the other."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def taken(self, order: Order) -> None:
        """An order was seen for the first time."""
        for observer in self._observers:
            observer.taken(order)

    def failed(self, order: Order, attempt: int, error: str) -> None:
        """One try failed."""
        for observer in self._observers:
            observer.failed(order, attempt, error)

    def ended(self, result: Result) -> None:
        """An order has ended."""
        for observer in self._observers:
            observer.ended(result)


class OrderCounts:
    """What came of orders."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._made: dict[str, datetime] = {}

    def taken(self, order: Order) -> None:
        """An order was seen for the first time."""
        self._made[order.id] = order.created

    def failed(self, order: Order, attempt: int, error: str) -> None:
        """One try failed."""
        self._metrics.attempt(order.action)

    def ended(self, result: Result) -> None:
        """An order has ended."""
        made = self._made.pop(result.order, result.ended)
        self._metrics.attempt(result.action)
        self._metrics.result(result.action, result.outcome, max(0.0, (result.ended - made).total_seconds()))


class SubscriberCounts:
    """What subscribers did with their messages."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def handled(self, subscriber: str, outcome: Literal["done", "later", "poison"], seconds: float) -> None:
        """One delivery was dealt with."""
        self._metrics.handled(subscriber, outcome, seconds)
