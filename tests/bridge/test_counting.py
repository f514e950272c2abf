"""Orders made, ended and pending: the sum holds whoever made an order, and however often it is seen."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bridge.actions.tally import Tally
from bridge.counting import EngineCounts, OrderCounts
from bridge.runtime.metrics import Metrics
from tests.bridge.bus.helpers import order, result


class Counted:
    """The engine's and the runner's side of one run of the bridge."""

    def __init__(self) -> None:
        self.metrics = Metrics("test")
        self.orders = OrderCounts(self.metrics)
        self.engine, self.tally = EngineCounts(self.metrics, self.orders), Tally(self.orders)
        self.metrics.pending(lambda: self.orders.waiting + self.tally.pending)

    def make(self, *numbers: int) -> None:
        self.engine.stepped(1, [order(number) for number in numbers], 0.01)

    def sums(self) -> tuple[float, float, float]:
        """Return orders made, ended and pending, as scraped."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.metrics.render().decode()):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        names: Any = ("orders_total", "results_total", "orders_pending")
        made, ended, pending = (found.get(f"vms_bridge_{name}", 0.0) for name in names)
        return made, ended, pending


def test_an_order_of_the_engine_counts_from_when_it_is_made() -> None:
    """Before a runner has it, in hand, and ended; also when the runner is told of it first."""
    counted = Counted()
    counted.make(1)
    assert counted.sums() == (1, 0, 1)
    counted.tally.taken(order(1))
    counted.tally.taken(order(1))
    assert counted.sums() == (1, 0, 1)
    counted.tally.ended(result(1))
    assert counted.sums() == (1, 1, 0)
    counted.tally.taken(order(2))
    counted.make(2)
    assert counted.sums() == (2, 1, 1)
    counted.tally.ended(result(2))
    assert counted.sums() == (2, 2, 0)


def test_a_redriven_order_is_counted_as_made() -> None:
    """The engine knows nothing of it: pending in hand, made and ended at its end, and never below nothing."""
    counted = Counted()
    counted.tally.taken(order(7))
    assert counted.sums()[2] == 1
    counted.tally.ended(result(7))
    assert counted.sums() == (1, 1, 0)


def test_what_an_earlier_run_left_is_counted_once() -> None:
    """Found in the ledger, and seen again; what had ended then is none of ours."""
    counted = Counted()
    counted.tally.adopt("o1")
    assert counted.sums() == (0, 0, 1)
    counted.tally.taken(order(1))
    counted.tally.ended(result(1))
    counted.tally.taken(order(2))
    counted.tally.forget("o2")
    assert counted.sums() == (1, 1, 0)
