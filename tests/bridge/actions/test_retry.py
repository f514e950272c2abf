"""When a failed order is tried again."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from bridge.actions.retry import ASKED_JITTER, JITTER, MAX_RETRY_AFTER, SCHEDULE, delay_before
from bridge.schema.orders import ActionClass

S = timedelta(seconds=1)


@pytest.mark.parametrize("action_class", list(ActionClass))
def test_each_class_waits_longer_and_longer(action_class: ActionClass) -> None:
    """And after the last step the last delay again, for ever."""
    steps = SCHEDULE[action_class]
    assert all(earlier < later for earlier, later in pairwise(steps))
    delays = [delay_before(n, action_class, spread=0).total_seconds() for n in range(1, len(steps) + 3)]
    assert delays == [*steps, steps[-1], steps[-1]]


def test_information_is_tried_over_days_and_at_first_quickly() -> None:
    """A receiver that restarts is reached within seconds; one that is away for a weekend is reached too."""
    steps = SCHEDULE[ActionClass.INFORMATION]
    assert sum(steps[:3]) < 10
    assert timedelta(seconds=sum(steps)) > timedelta(days=3)


@pytest.mark.parametrize(("spread", "factor"), [(-1, 1 - JITTER), (0, 1), (1, 1 + JITTER)])
def test_jitter(spread: float, factor: float) -> None:
    """Spread to both sides, and random unless given."""
    assert delay_before(2, ActionClass.INFORMATION, spread=spread) == 2 * factor * S
    assert len({delay_before(2, ActionClass.INFORMATION) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("attempt", "asked", "waits"),
    [
        (1, 120 * S, 120 * S),
        (1, timedelta(days=9), MAX_RETRY_AFTER),
        (1, 0 * S, 0.5 * S),
        (1, -5 * S, 0.5 * S),
        (4, 1 * S, 30 * S),
        (9, 1 * S, 60 * S),
        (9, 90 * S, 90 * S),
    ],
)
def test_what_the_far_side_asks_for(attempt: int, asked: timedelta, waits: timedelta) -> None:
    """Honoured up to an hour; nobody has us come back every second for days."""
    assert delay_before(attempt, ActionClass.INFORMATION, asked, spread=0) == waits
    assert delay_before(attempt, ActionClass.INFORMATION, asked, spread=-1) >= waits * (1 - JITTER)


def test_what_was_asked_for_is_never_shortened() -> None:
    """Its jitter only adds."""
    delays = [delay_before(1, ActionClass.INFORMATION, 100 * S) for _ in range(100)]
    assert min(delays) >= 100 * S
    assert max(delays) <= 100 * (1 + ASKED_JITTER) * S
    assert delay_before(1, ActionClass.INFORMATION, 0.5 * S, spread=-1) >= 0.5 * S  # just what we had planned
