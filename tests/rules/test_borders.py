"""What patterns over time make of events that come just in time, in between, or too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from rules.patterns.clock import Rings
from rules.patterns.held import BEGIN, END, Held
from rules.patterns.sequence import InOrder, Stage
from rules.patterns.windows import Count, Window
from tests.rules.test_reactions import Key, _at, _x

SPAN = timedelta(seconds=10)
LONG = timedelta(seconds=100)


def test_what_comes_too_late_for_what_is_over_keeps_it_no_longer_than_its_lateness() -> None:
    """It is forgotten by the log's clock, not by the time of the late one."""
    key = Key(Held(SPAN, SPAN))
    key.see(_x(100), BEGIN)
    key.see(_x(101), END)
    late = key.see(_x(50), BEGIN, at=_at(102))
    assert late.unmet is not None
    assert late.forget == _at(112)


@pytest.mark.parametrize(("seconds", "fires"), [(10, True), (10.001, False)])
def test_the_last_of_a_sequence_may_come_at_the_very_end(seconds: float, fires: bool) -> None:
    """Of the span from the first one."""
    key = Key(InOrder((Stage("0"), Stage("1"), Stage("2")), SPAN))
    key.see(_x(0), "0")
    key.see(_x(5), "1")
    assert (key.see(_x(seconds), "2").fire is not None) is fires


def test_what_comes_after_the_last_of_a_window_is_none_of_its_causes() -> None:
    """A late one made it full; what came afterwards counts for the next one."""
    key = Key(Window(Count(2), SPAN, LONG))
    assert [key.see(_x(seconds)).fire for seconds in (0, 15)] == [None, None]
    fire = key.see(_x(6), at=_at(16)).fire
    assert fire is not None
    assert fire.causes == ("e0", "e6")
    assert key.see(_x(20)).fire is not None


def test_many_that_are_too_old_for_a_window_are_passed_over() -> None:
    """However many are remembered for late ones."""
    key = Key(Window(Count(2), SPAN, LONG))
    assert [key.see(_x(seconds)).fire is None for seconds in (0, 11, 22, 33, 43)] == [True] * 4 + [False]


@dataclass(frozen=True)
class _Steady:
    """Rings at the same distance for ever, or no more than so often."""

    step: timedelta
    end: datetime | None = None
    memory: Mapping[str, Any] | None = None

    def after(self, moment: datetime) -> datetime | None:
        found = moment + self.step
        return found if self.end is None or found <= self.end else None


@pytest.mark.parametrize(
    ("step", "most", "found"),
    [
        (timedelta(days=1), 999, (True, 367)),
        (timedelta(days=1), 367, (True, 367)),
        (timedelta(days=1), 366, (False, 366)),
        (timedelta(days=366) / 60, 999, (True, 61)),
        (timedelta(days=30), 999, (True, 60)),
        (timedelta(hours=20), 999, (True, 440)),
        (timedelta(hours=20) - timedelta(seconds=1), 999, (False, 10)),
        (timedelta(hours=20) - timedelta(seconds=1), 9, (False, 9)),
        (timedelta(days=1), 0, (False, 0)),
    ],
)
def test_what_never_rings_while_something_holds_is_certain_after_a_year(
    step: timedelta, most: int, found: tuple[bool, int]
) -> None:
    """And after sixty times, of those that come about once a day or less often; and it is told how many were asked."""
    asked: list[datetime] = []
    assert Rings(_Steady(step), "r", "site").never(lambda moment: bool(asked.append(moment)), most) == found
    assert len(asked) == found[1]
    assert {later - earlier for earlier, later in pairwise(asked)} <= {step}


def test_what_rings_once_while_it_holds_is_not_never() -> None:
    """Nor is what rings no more: nobody knows."""
    day, first = timedelta(days=1), datetime(2026, 1, 2, tzinfo=UTC)
    assert Rings(_Steady(day), "r", "site").never(lambda moment: moment == first + 2 * day, 99) == (False, 3)
    assert Rings(_Steady(day, first + day), "r", "site").never(lambda moment: False, 99) == (False, 3)
