"""Count orders so that none can vanish: injected = done + expired + refused + dead + unknown + pending.

The runner reports here; metrics read here. Nothing is decided from it.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from bridge.schema.orders import Order, Result


class Observer(Protocol):
    """Whoever wants to count: called by the runner, on the event loop, and never waited for."""

    def taken(self, order: Order) -> None:
        """An order was seen for the first time by this process."""
        ...

    def failed(self, order: Order, attempt: int, error: str) -> None:
        """One try failed, and there will be another."""
        ...

    def ended(self, result: Result) -> None:
        """An order has ended, and its result is filed."""
        ...


class Tally:
    """The sum that always holds, since this process started."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self._pending: set[str] = set()
        self._injected = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """How many orders ended, by (action, outcome)."""

    @property
    def injected(self) -> int:
        """How many different orders this process has known."""
        return self._injected

    @property
    def pending(self) -> int:
        """How many of them have not ended."""
        return len(self._pending)

    @property
    def balanced(self) -> bool:
        """Whether nothing has vanished. False is a bug."""
        return self._injected == self.outcomes.total() + len(self._pending)

    def adopt(self, order: str) -> None:
        """Count an order that a ledger of an earlier run says has not ended."""
        if order not in self._pending:
            self._pending.add(order)
            self._injected += 1

    def taken(self, order: Order) -> bool:
        """Count an order in hand, once; return whether it was pending before."""
        if order.id in self._pending:
            return True
        self.adopt(order.id)
        if self._observer is not None:
            self._observer.taken(order)
        return False

    def forget(self, order: str) -> None:
        """An order in hand had ended already in an earlier run: it is none of ours."""
        if order in self._pending:
            self._pending.discard(order)
            self._injected -= 1

    def failed(self, order: Order, attempt: int, error: str) -> None:
        """Pass a failed try on."""
        if self._observer is not None:
            self._observer.failed(order, attempt, error)

    def ended(self, result: Result) -> None:
        """Count the end of an order."""
        if result.order in self._pending:
            self._pending.discard(result.order)
            self.outcomes[result.action, result.outcome] += 1
            if self._observer is not None:
                self._observer.ended(result)
