"""What else caused an order: nothing opens because of an event that would open nothing by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.safety import causes
from bridge.safety.causes import KEPT, Causes
from bridge.safety.clocks import SourceClocks
from bridge.safety.reasons import Reason
from bridge.schema.event import Origin
from tests.bridge.actions.support import plate_event
from tests.clock import VirtualClock

S = timedelta(seconds=1)
MOTION = {"type": "motion.started", "data": {}}


class Site:
    """A site whose source `nvr` has told its clock."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.clock = VirtualClock()
        self.clocks = SourceClocks(self.clock, 5 * S)
        self.clocks.learn("nvr", 0 * S)
        self.causes = Causes(self.clocks, self.clock, wanted=wanted)

    def hear(self, number: int = 1, **told: Any) -> str:
        event = plate_event(self.clock, number, **told)
        self.causes.heard(event)
        return event.id


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, None),
        ({"timequality": "doubtful"}, Reason.NO_TIME),
        ({"timequality": "received"}, Reason.NO_TIME),
        ({"timequality": "received", "via": "push", "principal": "booth"}, None),
        (MOTION | {"timequality": "received"}, None),
        (MOTION | {"timequality": "doubtful"}, Reason.NO_TIME),
        (MOTION | {"source": "site/other"}, Reason.CLOCK_UNKNOWN),
        ({"via": "push", "principal": "booth"}, Reason.CLOCK_UNKNOWN),
        ({"source": "site/other"}, Reason.CLOCK_UNKNOWN),
        ({"timequality": "doubtful", "origin": Origin.BACKFILL}, None),
    ],
)
def test_what_would_open_nothing_by_itself_is_remembered(told: dict[str, Any], reason: Reason | None) -> None:
    """For the reason that the gate would have; where it comes from is told by the order itself."""
    site = Site()
    event = site.hear(**told)
    assert site.causes.doubt(["another", event]) is reason


def test_a_clock_is_judged_as_it_was_when_the_event_came() -> None:
    """What a wrong clock said does not become right with it, nor is one right that was put back."""
    site = Site()
    site.clocks.learn("nvr", 6 * S)
    event = site.hear()
    site.clocks.learn("nvr", 0 * S)
    back = site.hear(2)
    site.clocks.forget("nvr")
    site.clock.jump(S)
    site.clocks.learn("nvr", 0 * S)
    before, right = site.hear(3, received=site.clock.now() - S), site.hear(4)
    wanted = [Reason.CLOCK_OFF, Reason.CLOCK_OFF, Reason.CLOCK_UNKNOWN, None]
    assert [site.causes.doubt([one]) for one in (event, back, before, right)] == wanted


async def test_it_is_remembered_for_an_hour() -> None:
    """Longer than a rule that opens looks back."""
    site = Site()
    event = site.hear(timequality="doubtful")
    await site.clock.advance(KEPT - 1)
    assert site.causes.doubt([event]) is Reason.NO_TIME
    await site.clock.advance(1)
    assert site.causes.doubt([event]) is None
    site.hear(2, timequality="doubtful")
    assert len(site.causes._doubts) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest gives way; one that comes again is not old."""
    monkeypatch.setattr(causes, "ROOM", 2)
    site = Site()
    events = [site.hear(number, timequality="doubtful") for number in (1, 2, 1, 3)]
    assert [site.causes.doubt([event]) for event in events[1:]] == [None, Reason.NO_TIME, Reason.NO_TIME]


def test_where_nothing_can_move_nothing_is_remembered() -> None:
    """It would cost something for each event."""
    site = Site(wanted=False)
    assert site.causes.doubt([site.hear(timequality="doubtful")]) is None
