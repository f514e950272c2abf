"""Which orders of a test the bridge would not carry out, and why: order by order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.sdk import ActionClass, ActionSpec, Order, Origin
from rules.refused import refused, refused_as
from tests.rules.support import ACTIONS, START, event

DATA = {"mode.changed": {"mode": "x"}, "list.changed": {"list": "x", "added": ["y"]}}
OPEN = ACTIONS["open"]
NO_WORD: ActionSpec[Any] = replace(OPEN, max_age=None)
LONG: ActionSpec[Any] = replace(OPEN, max_age=timedelta(seconds=20))


def _order(age: float = 0, *, read: float | None = None, kind: str = "motion.started", **more: Any) -> Order:
    """Make an order to open. `age`: of its cause by its source, in seconds; `read`: since the bridge read it."""
    given = {
        "action_class": ActionClass.ACTUATING,
        "trigger": event(kind, DATA.get(kind, {})),
        "origin": Origin.LIVE,
        "occurred": START - timedelta(seconds=age),
        "received": START - timedelta(seconds=age if read is None else read),
        "created": START,
    }
    named = {"id": "o", "rule": "r", "rule_version": "1", "key": "", "index": 0, "action": "open"}
    return Order(**named, params={"door": "x"}, causes=("e",), **{**given, **more})


MINUTE = timedelta(minutes=1)
MOVES, TURNS, TELLS, RETURNS = (
    ActionClass.ACTUATING,
    ActionClass.TRANSIENT,
    ActionClass.INFORMATION,
    ActionClass.RELEASING,
)


def _old(age: int, limit: int) -> str:
    return f"its cause is {age}s old by then, and may be {limit}s"


@pytest.mark.parametrize(
    ("order", "spec", "why"),
    [
        (_order(), OPEN, None),
        (_order(10), OPEN, None),
        (_order(11), OPEN, _old(11, 10)),
        (_order(1, read=11), OPEN, _old(11, 10)),
        (_order(11, read=1), OPEN, _old(11, 10)),
        (_order(20), LONG, None),
        (_order(21), LONG, _old(21, 20)),
        (_order(10), NO_WORD, None),
        (_order(11), NO_WORD, _old(11, 10)),
        (_order(10), None, None),
        (_order(11), None, _old(11, 10)),
        (_order(30, action_class=TURNS), None, None),
        (_order(31, action_class=TURNS), None, _old(31, 30)),
        (_order(99_999, action_class=TELLS), None, None),
        (_order(11, max_lateness=MINUTE), OPEN, _old(11, 10)),
        (_order(60, origin=Origin.TIMER, max_lateness=MINUTE), OPEN, None),
        (_order(61, origin=Origin.TIMER, max_lateness=MINUTE), OPEN, "its cause is 1m1s old by then, and may be 1m"),
        (_order(31, origin=Origin.TIMER, max_lateness=MINUTE, action_class=TURNS), None, _old(31, 30)),
        (_order(5, expires=START), OPEN, None),
        (_order(6, expires=START - timedelta(seconds=1)), OPEN, _old(6, 5)),
        (_order(1, read=6, expires=START - timedelta(seconds=1)), OPEN, _old(6, 5)),
        (_order(11, expires=START), OPEN, _old(11, 10)),
        (_order(31, action_class=TELLS, expires=START - timedelta(seconds=1)), None, _old(31, 30)),
        (_order(99, action_class=RETURNS, expires=START - MINUTE), OPEN, None),
    ],
)
def test_how_old_its_cause_may_be(order: Order, spec: ActionSpec[Any] | None, why: str | None) -> None:
    """By its source or since it was read, whichever is longer; as its action says, or its class, or the rule."""
    assert refused(order, spec) == why
    assert refused_as(order, spec) == ("expired" if why else None)


@pytest.mark.parametrize("origin", sorted(Origin))
@pytest.mark.parametrize("action_class", sorted(ActionClass))
def test_what_is_neither_live_nor_asked_for_moves_nothing(origin: Origin, action_class: ActionClass) -> None:
    """Nor what comes of the clock without a bound; and what is made up touches no device at all."""
    why = refused(_order(origin=origin, action_class=action_class), None)
    made_up = f"its cause is of origin `{origin.value}`, and what is made up touches no device"
    no_live = (
        f"its cause is of origin `{origin.value}`, and only what a source says live or a person asks for moves "
        "something"
    )
    if action_class is TELLS or origin in {Origin.LIVE, Origin.COMMAND}:
        assert why is None
    elif origin in {Origin.REPLAY, Origin.TEST}:
        assert why == made_up
    else:
        assert why == (no_live if action_class is MOVES else None)
    assert refused_as(_order(origin=origin, action_class=action_class), None) == ("refused" if why else None)


@pytest.mark.parametrize("kind", ["mode.changed", "list.changed"])
def test_who_changed_a_mode_or_a_list_is_not_known(kind: str) -> None:
    """A person may have; but one that is made up is none."""
    assert refused(_order(kind=kind, origin=Origin.BRIDGE), OPEN) is None
    assert "what is made up" in str(refused(_order(kind=kind, origin=Origin.TEST), OPEN))
