"""What each guard says at its limit, to the microsecond, and in which words. Pure: no site, no device."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.config.models import DoorConfig
from bridge.safety import guards
from bridge.safety.facts import Facts
from bridge.safety.guards import AskedDoor
from bridge.safety.openings import Opening
from bridge.safety.reasons import Reason
from bridge.schema.kinds import CallStarted, PlateRead
from bridge.schema.state import Told
from tests.bridge.actions.support import make_order, plate_event
from tests.clock import START, VirtualClock

S, TICK = timedelta(seconds=1), timedelta(microseconds=1)
GATE_SHUT = {"entity": "nvr/2", "attribute": "gate", "is": "shut"}
CAR_GONE = {"entity": "nvr/3", "attribute": "car", "is": False}
EVENINGS = {"zone": "UTC", "windows": [{"from": "18:00", "to": "20:00"}]}
MORNINGS = {"zone": "UTC", "windows": [{"from": "06:00", "to": "13:00"}]}


def _asked(door: dict[str, Any] | None = None, **told: Any) -> AskedDoor:
    """An opening that a plate of 95 asks for; `told` says what is otherwise."""
    clock, known = VirtualClock(), told.pop("known", {})
    data = told.pop("data", PlateRead(plate="12AB345", plate_raw="12 AB 345", score=told.pop("score", 95)))
    event = plate_event(clock, 1, data=data, type="call.started" if isinstance(data, CallStarted) else "plate.read")
    order = make_order(clock, "open", {"door": "main"}, 1, event, occurred=START - told.pop("old", 0 * S))
    facts = Facts(clock)
    facts.remember({key: Told(value, None, START) for key, value in known.items()})
    return AskedDoor(
        DoorConfig.model_validate({"output": "barrier"} | (door or {})),
        order,
        START,
        told.pop("openings", ()),
        facts,
        **told,
    )


def _opened(ago: timedelta, *, event: str = "another", plate: str | None = "") -> tuple[timedelta, Opening]:
    return ago, Opening("barrier", "another-order", event, 0.0, plate)


CALL = CallStarted(caller="app")
SHUT, OPEN = {("nvr/2", "gate"): "shut"}, {("nvr/2", "gate"): "open"}
FEW_IN_A_MINUTE = (Reason.FEW_READS, "1 of 2 within 1m")
DECISIONS: list[tuple[str, AskedDoor, tuple[Reason, str] | None]] = [
    ("hold", _asked(), None),
    ("hold", _asked({"hold": True}), (Reason.HOLD, "")),
    ("hold", _asked(held="main"), (Reason.HOLD, "main")),
    ("age", _asked({"max_age": "3s"}, old=3 * S), None),
    ("age", _asked({"max_age": "3s"}, old=4 * S), (Reason.TOO_OLD, "4s, at most 3s")),
    ("age", _asked({"max_age": "3s"}, old=3 * S + TICK), (Reason.TOO_OLD, "3s, at most 3s")),
    ("age", _asked({"max_age": "10m"}, old=60 * S), None),
    ("age", _asked({"max_age": "10m"}, old=61 * S), (Reason.TOO_OLD, "1m1s, at most 1m")),
    ("score", _asked(score=90), None),
    ("score", _asked(score=89.5), (Reason.LOW_SCORE, "89.5 of 90")),
    ("score", _asked(score=None), (Reason.NO_SCORE, "at least 90 is asked for")),
    ("score", _asked({"min_score": 1}, score=0.5), (Reason.LOW_SCORE, "0.5 of 1")),
    ("score", _asked({"min_score": 0}, score=None), None),
    ("score", _asked(data=CALL), None),
    ("reads", _asked(), None),
    ("reads", _asked({"reads": 2}), (Reason.FEW_READS, "1 of 2 within 10s")),
    ("reads", _asked({"reads": 2}, readings=[(10 * S, 90)]), None),
    ("reads", _asked({"reads": 2}, readings=[(10 * S + TICK, 90)]), (Reason.FEW_READS, "1 of 2 within 10s")),
    ("reads", _asked({"reads": 2}, readings=[(S, 89)]), (Reason.FEW_READS, "1 of 2 within 10s")),
    ("reads", _asked({"reads": 2, "min_score": 1}, readings=[(S, None)]), (Reason.FEW_READS, "1 of 2 within 10s")),
    ("reads", _asked({"reads": 2, "min_score": 0}, readings=[(S, None)]), None),
    ("reads", _asked({"reads": 3}, readings=[(S, 99)]), (Reason.FEW_READS, "2 of 3 within 10s")),
    ("reads", _asked({"reads": 3}, readings=[(S, 99), (S, 99)]), None),
    ("reads", _asked({"reads": 2, "reads_within": "1h"}, readings=[(60 * S, 99)]), None),
    ("reads", _asked({"reads": 2, "reads_within": "1h"}, readings=[(61 * S, 99)]), FEW_IN_A_MINUTE),
    ("reads", _asked({"reads": 2, "second_factor": GATE_SHUT}, known=SHUT), None),
    ("reads", _asked({"reads": 2, "second_factor": GATE_SHUT}, known=OPEN), (Reason.FEW_READS, "1 of 2 within 10s")),
    ("reads", _asked({"reads": 2, "second_factor": GATE_SHUT}), (Reason.FEW_READS, "1 of 2 within 10s")),
    ("reads", _asked({"reads": 2}, data=CALL), None),
    ("same_event", _asked(openings=[_opened(S)]), None),
    ("same_event", _asked(openings=[_opened(S), _opened(3599 * S, event="event1")]), (Reason.SAME_EVENT, "")),
    ("same_plate", _asked(openings=[_opened(S, plate="34CD567")]), None),
    ("same_plate", _asked(openings=[_opened(S, plate="12AB345")]), (Reason.SAME_PLATE, "")),
    ("same_plate", _asked(openings=[_opened(10 * S - TICK, plate="12AB345")]), (Reason.SAME_PLATE, "")),
    ("same_plate", _asked(openings=[_opened(10 * S, plate="12AB345")]), None),
    ("same_plate", _asked(openings=[_opened(S, plate=None)]), (Reason.SAME_PLATE, "")),
    ("same_plate", _asked(openings=[_opened(S, plate="")], data=CALL), None),
    ("same_plate", _asked(openings=[_opened(S, plate=None)], data=CALL), None),
    ("hours", _asked(), None),
    ("hours", _asked({"hours": MORNINGS}), None),
    ("hours", _asked({"hours": EVENINGS}), (Reason.CLOSED, "in the zone UTC")),
    ("requires", _asked({"requires": [GATE_SHUT]}, known=SHUT), None),
    ("requires", _asked({"requires": [GATE_SHUT]}, known=OPEN), (Reason.INTERLOCK, "gate of nvr/2 is open")),
    ("requires", _asked({"requires": [GATE_SHUT]}), (Reason.STATE_UNKNOWN, "gate of nvr/2")),
    ("requires", _asked({"requires": [GATE_SHUT, CAR_GONE]}, known=SHUT), (Reason.STATE_UNKNOWN, "car of nvr/3")),
    ("blocks", _asked({"blocks": [GATE_SHUT]}, known=OPEN), None),
    ("blocks", _asked({"blocks": [GATE_SHUT]}, known=SHUT), (Reason.INTERLOCK, "gate of nvr/2 is shut")),
    ("blocks", _asked({"blocks": [GATE_SHUT]}), (Reason.STATE_UNKNOWN, "gate of nvr/2")),
    ("blocks", _asked({"blocks": [GATE_SHUT, CAR_GONE]}, known=OPEN), (Reason.STATE_UNKNOWN, "car of nvr/3")),
    ("cooldown", _asked({"cooldown": "5s"}), None),
    ("cooldown", _asked({"cooldown": "5s"}, openings=[_opened(5 * S), _opened(9 * S)]), None),
    ("cooldown", _asked({}, openings=[_opened(9 * S), _opened(3 * S)]), (Reason.COOLDOWN, "again in 2s")),
    ("per_minute", _asked({"per_minute": 2}, openings=[_opened(60 * S - TICK)]), None),
    ("per_minute", _asked({"per_minute": 2}, openings=[_opened(60 * S - TICK)] * 2), (Reason.PER_MINUTE, "at most 2")),
    ("per_minute", _asked({"per_minute": 2}, openings=[_opened(60 * S)] * 2), None),
    ("per_hour", _asked({"per_hour": 2}, openings=[_opened(3600 * S - TICK)]), None),
    ("per_hour", _asked({"per_hour": 2}, openings=[_opened(3600 * S - TICK)] * 2), (Reason.PER_HOUR, "at most 2")),
    ("per_hour", _asked({"per_hour": 2}, openings=[_opened(3600 * S)] * 2), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("guard", "asked", "says"), [pytest.param(*each, id=f"{each[0]}-{n}") for n, each in enumerate(DECISIONS)]
)
def test_what_a_guard_says(guard: str, asked: AskedDoor, says: tuple[Reason, str] | None) -> None:
    """Nothing, or the reason and what was seen."""
    assert getattr(guards, guard)(asked) == says
