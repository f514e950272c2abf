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


def _hear(stuck: Stuck, event: VmsEvent, mono: float) -> None:
    """It comes in and is stored at once."""
    stuck.heard(event)
    stuck.settled(event, mono, stored=True)


def test_a_motion_that_never_ends_is_ended() -> None:
    """After its limit, once, with reason, origin and the channel it began on; how things are nobody knows then."""
    stuck = Stuck(LIMITS)
    began = _event("motion.started")
    _hear(stuck, began, 0)
    assert stuck.overdue(CLOCK.now(), 59.9) == []
    [end] = stuck.overdue(CLOCK.now(), 60)
    assert (end.type, end.origin, end.source, end.subject) == ("motion.ended", Origin.BRIDGE, began.source, "1")
    assert (getattr(end.data, "reason", None), end.correlation) == ("timeout", began.id)
    assert facts(end) == [Fact("nvr/1", "motion", None)]
    assert stuck.overdue(CLOCK.now(), 61) != [], "until it is stored"
    _hear(stuck, end, 62)
    assert stuck.overdue(CLOCK.now(), 1000) == []


def test_a_call_that_never_ends_keeps_who_called() -> None:
    """The made-up end looks like a real one but for its reason."""
    stuck = Stuck(LIMITS)
    _hear(stuck, _event("call.started"), 0)
    [end] = stuck.overdue(CLOCK.now(), 600)
    assert end.data.model_dump(exclude_defaults=True) == {"caller": "gate", "name": "Gate", "reason": "timeout"}
    assert facts(end) == [Fact("nvr/1", "call", None)]


def test_what_ends_by_itself_is_left_alone() -> None:
    """Its own end counts, that of another channel does not."""
    stuck = Stuck(LIMITS)
    _hear(stuck, _event("motion.started"), 0)
    _hear(stuck, _event("motion.ended", 2, subject="2"), 1)
    _hear(stuck, _event("motion.ended", 3), 2)
    assert stuck.overdue(CLOCK.now(), 1000) == []


def test_what_begins_again_lasts_anew() -> None:
    """Somebody is still there."""
    stuck = Stuck(LIMITS)
    _hear(stuck, _event("motion.started", 1), 0)
    _hear(stuck, _event("motion.started", 2), 50)
    assert stuck.overdue(CLOCK.now(), 100) == []
    assert len(stuck.overdue(CLOCK.now(), 110)) == 1


def test_what_is_told_again_goes_on() -> None:
    """The source says that it is still on: it lasts anew, and the end belongs to the event that began it."""
    stuck = Stuck(LIMITS)
    began = _event("motion.started", 1)
    _hear(stuck, began, 0)
    _hear(stuck, _event("motion.started", 2, origin=Origin.RESYNC), 50)
    assert stuck.overdue(CLOCK.now(), 100) == []
    [end] = stuck.overdue(CLOCK.now(), 110)
    assert end.correlation == began.id
    _hear(stuck, end, 110)
    _hear(stuck, _event("motion.started", 3, origin=Origin.RESYNC), 120)
    assert len(stuck.overdue(CLOCK.now(), 180)) == 1


def test_what_is_played_again_lasts_not() -> None:
    """A replay makes nothing up."""
    stuck = Stuck(LIMITS)
    _hear(stuck, _event("motion.started", origin=Origin.REPLAY), 0)
    assert stuck.overdue(CLOCK.now(), 1000) == []


def test_no_end_is_written_before_what_it_ends() -> None:
    """The log hangs: nothing lasts before its beginning is stored, and nothing refused lasts at all."""
    stuck = Stuck(LIMITS)
    began = _event("motion.started", 1)
    stuck.heard(began)
    assert stuck.overdue(CLOCK.now(), 100) == []
    stuck.heard(_event("motion.started", 2, origin=Origin.RESYNC))
    stuck.settled(_event("motion.started", 2, origin=Origin.RESYNC), 100, stored=True)
    assert stuck.overdue(CLOCK.now(), 200) == [], "the first is still under way"
    stuck.settled(began, 200, stored=False)
    assert stuck.overdue(CLOCK.now(), 1000) == []
    _hear(stuck, began, 1000)
    assert stuck.overdue(CLOCK.now(), 1059) == []
    assert len(stuck.overdue(CLOCK.now(), 1060)) == 1


def test_a_beginning_that_is_refused_does_not_hide_the_first() -> None:
    """What the log has goes on, and is ended in its time though nobody tries the second again."""
    stuck = Stuck(LIMITS)
    first = _event("motion.started", 1)
    _hear(stuck, first, 0)
    again = _event("motion.started", 2)
    stuck.heard(again)
    stuck.settled(again, 50, stored=False)
    assert stuck.overdue(CLOCK.now(), 59) == []
    assert [end.correlation for end in stuck.overdue(CLOCK.now(), 60)] == [first.id]


def test_no_end_is_made_up_beside_the_real_one() -> None:
    """While it is on its way nothing is made up; if it is refused, and does not come again, it is."""
    stuck = Stuck(LIMITS)
    _hear(stuck, _event("motion.started", 1), 0)
    real = _event("motion.ended", 2)
    stuck.heard(real)
    assert stuck.overdue(CLOCK.now(), 100) == []
    stuck.settled(real, 100, stored=False)
    assert len(stuck.overdue(CLOCK.now(), 100)) == 1
    _hear(stuck, real, 101)
    assert stuck.overdue(CLOCK.now(), 1000) == []


def test_what_began_before_the_start_is_watched_from_then() -> None:
    """Not from the start; what a clock that went back says is in the future begins now."""
    stuck = Stuck(LIMITS)
    now = CLOCK.now()
    stuck.resume(_event("motion.started", 1, received=now - timedelta(seconds=50)), now, 1000)
    stuck.resume(_event("motion.started", 2, subject="2", received=now + timedelta(hours=1)), now, 1000)
    assert stuck.overdue(now, 1009) == []
    assert [end.subject for end in stuck.overdue(now, 1010)] == ["1"]
    assert [end.subject for end in stuck.overdue(now, 1060)] == ["1", "2"]
