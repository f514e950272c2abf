"""How memory is judged: a cache that fills is told from a leak."""

from __future__ import annotations

from itertools import count

import pytest

from bridge.bench.faults.memory import Watch, grown_late


@pytest.mark.parametrize(
    ("seen", "late"),
    [
        ([100.0, 130.0, 140.0, 140.0, 140.0, 140.0], 0),  # filled, and then full
        ([100.0, 140.0, 150.0, 142.0, 149.0, 141.0], 0),  # a table that doubles and is halved again
        ([100.0, 110.0, 120.0, 130.0, 140.0, 150.0], 30),  # a leak
        ([100.0, 150.0, 120.0, 130.0, 140.0, 155.0], 5),  # a leak under a peak of the start
        ([100.0], 0),
        ([], 0),
    ],
)
def test_what_counts_is_what_the_second_half_takes_beyond_the_first(seen: list[float], late: float) -> None:
    """However long one looks, a leak has its most at the end; a cache has had it before."""
    assert grown_late(seen) == late


def test_a_watch_sees_the_beginning_and_the_end() -> None:
    """Also of what is over before its first look."""
    numbers = count(5.0, 2.0)
    with Watch(lambda: next(numbers)) as watch:
        pass
    assert watch.seen == [5.0, 7.0]
    assert watch.grown == 2.0
