"""What the parts say while they work, turned into metrics. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from bridge.actions.tally import Observer
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

    def __init__(self, metrics: Metrics, orders: OrderCounts) -> None:
        self._metrics, self._orders = metrics, orders

    def stepped(self, events: int, orders: Sequence[Order], seconds: float) -> None:
        """A commit was written."""
        self._metrics.step(events, seconds)
        for order in orders:
            self._orders.made(order)


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
    """What came of orders. Those that the engine did not make now count as made when they have ended.

    A person gave them, or sent them on their way again, or an earlier run of the bridge made them; some of
    the last kind are seen once more though they had ended, and those never count.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._made: set[str] = set()
        self._taken: dict[str, _Taken] = {}

    @property
    def waiting(self) -> int:
        """How many orders the engine has made that no runner has taken yet."""
        return len(self._made)

    def made(self, order: Order) -> None:
        """The engine has made an order, and it is stored."""
        self._metrics.order(order.action, order.action_class.value)
        early = self._taken.get(order.id)
        if early is None:
            self._made.add(order.id)
        else:  # the runner was told of it before we were
            self._taken[order.id] = early._replace(ours=True)

    def taken(self, order: Order) -> None:
        """An order was seen for the first time."""
        self._taken[order.id] = _Taken(order.created, order.id in self._made)
        self._made.discard(order.id)

    def failed(self, order: Order, attempt: int, error: str) -> None:
        """One try failed."""
        self._metrics.attempt(order.action)

    def ended(self, result: Result) -> None:
        """An order has ended."""
        created, ours = self._taken.pop(result.order, _Taken(result.ended, result.order in self._made))
        self._made.discard(result.order)
        if not ours:
            self._metrics.order(result.action, result.action_class.value)
        self._metrics.attempt(result.action)
        self._metrics.result(result.action, result.outcome, max(0.0, (result.ended - created).total_seconds()))


class _Taken(NamedTuple):
    """An order in hand."""

    created: datetime
    ours: bool
    """Whether the engine made it while we were watching."""


class SubscriberCounts:
    """What subscribers did with their messages."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def handled(self, subscriber: str, outcome: Literal["done", "later", "poison"], seconds: float) -> None:
        """One delivery was dealt with."""
        self._metrics.handled(subscriber, outcome, seconds)
