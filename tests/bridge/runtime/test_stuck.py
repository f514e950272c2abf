"""What a source began and never ended is ended, once, and says that it was made up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bridge.runtime.stuck import Stuck
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.state import Fact, facts
from tests.bridge.actions.support import plate_event
from tests.clock import VirtualClock

LIMITS = {"motion.started": timedelta(seconds=60), "call.started": timedelta(seconds=600)}
CLOCK = VirtualClock()


def _event(kind: str, number: int = 1, **more: Any) -> VmsEvent:
    data = {"caller": "gate", "name": "Gate"} if kind.startswith("call") else {}
    return plate_event(CLOCK, number, **({"type": kind, "data": data} | more))


def test_a_motion_that_never_ends_is_ended() -> None:
    """After its limit, once, with reason, origin and the channel it began on; how things are nobody knows then."""
    stuck = Stuck(LIMITS)
    began = _event("motion.started")
    stuck.heard(began, 0)
    assert stuck.overdue(CLOCK.now(), 59.9) == []
    [end] = stuck.overdue(CLOCK.now(), 60)
    assert (end.type, end.origin, end.source, end.subject) == ("motion.ended", Origin.BRIDGE, began.source, "1")
    assert (getattr(end.data, "reason", None), end.correlation) == ("timeout", began.id)
    assert facts(end) == [Fact("nvr/1", "motion", None)]
    assert stuck.overdue(CLOCK.now(), 1000) == []


def test_a_call_that_never_ends_keeps_who_called() -> None:
    """The made-up end looks like a real one but for its reason."""
    stuck = Stuck(LIMITS)
    stuck.heard(_event("call.started"), 0)
    [end] = stuck.overdue(CLOCK.now(), 600)
    assert end.data.model_dump(exclude_defaults=True) == {"caller": "gate", "name": "Gate", "reason": "timeout"}
    assert facts(end) == [Fact("nvr/1", "call", None)]


def test_what_ends_by_itself_is_left_alone() -> None:
    """Its own end counts, that of another channel does not."""
    stuck = Stuck(LIMITS)
    stuck.heard(_event("motion.started"), 0)
    stuck.heard(_event("motion.ended", 2, subject="2"), 1)
    stuck.heard(_event("motion.ended", 3), 2)
    assert stuck.overdue(CLOCK.now(), 1000) == []


def test_what_begins_again_lasts_anew() -> None:
    """Somebody is still there."""
    stuck = Stuck(LIMITS)
    stuck.heard(_event("motion.started", 1), 0)
    stuck.heard(_event("motion.started", 2), 50)
    assert stuck.overdue(CLOCK.now(), 100) == []
    assert len(stuck.overdue(CLOCK.now(), 110)) == 1


def test_what_is_told_again_goes_on() -> None:
    """The source says that it is still on: it lasts anew, and the end belongs to the event that began it."""
    stuck = Stuck(LIMITS)
    began = _event("motion.started", 1)
    stuck.heard(began, 0)
    stuck.heard(_event("motion.started", 2, origin=Origin.RESYNC), 50)
    assert stuck.overdue(CLOCK.now(), 100) == []
    [end] = stuck.overdue(CLOCK.now(), 110)
    assert end.correlation == began.id
    stuck.heard(_event("motion.started", 3, origin=Origin.RESYNC), 120)
    assert len(stuck.overdue(CLOCK.now(), 180)) == 1


def test_what_is_played_again_lasts_not() -> None:
    """A replay makes nothing up."""
    stuck = Stuck(LIMITS)
    stuck.heard(_event("motion.started", origin=Origin.REPLAY), 0)
    assert stuck.overdue(CLOCK.now(), 1000) == []
