"""The count of orders: injected = ended + pending, whatever happens, and whoever counts hears of it once."""

from __future__ import annotations

from typing import Any

from bridge.actions.records import result_of
from bridge.actions.tally import Tally
from bridge.schema.kinds import Outcome
from bridge.schema.orders import Order, Result
from tests.bridge.actions.support import make_order
from tests.bridge.actions.test_path import Watcher
from tests.clock import VirtualClock

CLOCK = VirtualClock()


def _order(number: int) -> Order:
    return make_order(CLOCK, "info", {}, number)


def _end(order: Order, outcome: Outcome = "done") -> Result:
    return result_of(order, CLOCK.now(), outcome, None)


def _state(tally: Tally) -> tuple[Any, ...]:
    return tally.injected, tally.pending, dict(tally.outcomes), tally.balanced


def test_every_order_is_counted_once_from_its_beginning_to_its_end() -> None:
    """However often it is taken, however it is told twice that it has ended."""
    watcher = Watcher()
    tally, orders = Tally(watcher), [_order(number) for number in range(4)]
    assert _state(tally) == (0, 0, {}, True)
    assert [tally.taken(order) for order in (*orders, orders[0])] == [False] * 4 + [True]
    assert _state(tally) == (4, 4, {}, True)
    tally.failed(orders[0], 3, "busy")
    for order in (*orders[:3], orders[0]):
        tally.ended(_end(order, "done" if order is not orders[2] else "refused"))
    assert _state(tally) == (4, 1, {("info", "done"): 2, ("info", "refused"): 1}, True)
    assert watcher.heard == [
        *[("taken", order.id) for order in orders],
        ("failed", orders[0].id, 3, "busy"),
        *[("ended", order.id, outcome) for order, outcome in zip(orders, ("done", "done", "refused"), strict=False)],
    ]


def test_what_an_earlier_run_left_is_known_and_what_it_ended_is_not_ours() -> None:
    """Adopted, it counts and is not new; whose end is found to be of an earlier run counts no more."""
    watcher = Watcher()
    tally, orders = Tally(watcher), [_order(number) for number in range(3)]
    for order in (*orders, orders[0]):
        tally.adopt(order.id)
    assert _state(tally) == (3, 3, {}, True)
    assert tally.taken(orders[1])
    for _ in range(2):
        tally.forget(orders[0].id)
    tally.ended(_end(orders[0]))
    assert _state(tally) == (2, 2, {}, True)
    assert watcher.heard == []


def test_nobody_need_listen() -> None:
    """It counts all the same."""
    tally = Tally()
    tally.taken(_order(1))
    tally.failed(_order(1), 1, "busy")
    tally.ended(_end(_order(1)))
    assert _state(tally) == (1, 0, {("info", "done"): 1}, True)
