"""Openings that wait for people: which of them are one, how long they wait, and who has agreed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionRejectedError
from bridge.safety.pending import MOST, Pending, PendingOpenings
from bridge.schema.kinds import CommandGiven
from bridge.schema.orders import Order
from tests.bridge.actions.support import make_order, plate_event
from tests.clock import START, VirtualClock

MINUTE = timedelta(seconds=60)


def _order(clock: VirtualClock, number: int, **told: Any) -> Order:
    return make_order(clock, "open", {"door": "main"}, number, plate_event(clock, number, **told))


def _command(clock: VirtualClock, number: int) -> Order:
    """An opening without a plate."""
    return _order(clock, number, type="command.given", data=CommandGiven(command="open", target="main"))


async def _ask(waiting: PendingOpenings, order: Order, door: str = "main", persons: tuple[str, ...] = ()) -> Pending:
    return await waiting.ask(door, order, 2, persons, MINUTE)


async def test_what_waits_says_what_for_and_until_when(tmp_path: Path) -> None:
    """People see the door, the rule, the plate and the time that is left; they name it by the order's first digits."""
    clock = VirtualClock()
    waiting, order = PendingOpenings(tmp_path, clock), _order(clock, 1)
    await clock.advance(5)
    asked = await _ask(waiting, order, persons=("anna",))
    now = START + timedelta(seconds=5)
    assert asked == Pending(
        order.id[:8], "main", "a-rule", "12AB345", "event1", 2, ("anna",), now, now + MINUTE, order.id, 65.0
    )  # fmt: skip
    assert waiting.all() == [asked]
    assert "due" not in repr(asked)


async def test_it_waits_no_longer_than_it_was_told(tmp_path: Path) -> None:
    """A minute is a minute, on the clock that nobody sets; at its very end nobody can agree any more."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    asked = await _ask(waiting, _order(clock, 1))
    clock.jump(timedelta(hours=1))
    await clock.advance(59.999)
    assert waiting.all() == [asked]
    await clock.advance(0.001)
    assert waiting.all() == []
    with pytest.raises(ActionRejectedError, match="no such opening waits for anybody: " + asked.id):
        waiting.agree(asked.id, "anna")


async def test_a_plate_waits_once_at_each_door(tmp_path: Path) -> None:
    """Read again and again it is one question, the first; another plate or another door is another one."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    first = await _ask(waiting, _order(clock, 1))
    await clock.advance(1)
    same = _order(clock, 2, data=_order(clock, 1).trigger.data)
    assert (await _ask(waiting, same)) is first
    assert await _ask(waiting, _order(clock, 3)) is not first
    assert await _ask(waiting, _order(clock, 4, data=same.trigger.data), door="back") is not first
    assert [one.door for one in waiting.all()] == ["main", "main", "back"]


async def test_without_a_plate_the_event_tells_openings_apart(tmp_path: Path) -> None:
    """Two people who ask are two questions; the same event that comes again is not."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    first = await _ask(waiting, _command(clock, 1))
    again = _command(clock, 2).model_copy(update={"trigger": _command(clock, 1).trigger})
    assert await _ask(waiting, again) is first
    assert await _ask(waiting, _command(clock, 3)) is not first
    assert [one.plate for one in waiting.all()] == ["", ""]


async def test_the_oldest_gives_way_when_too_many_wait(tmp_path: Path) -> None:
    """A flood of openings cannot fill the memory, and the newest can always be agreed to."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    asked = [await _ask(waiting, _order(clock, number)) for number in range(MOST)]
    assert waiting.all() == asked
    newest = await _ask(waiting, _order(clock, MOST))
    assert waiting.all() == [*asked[1:], newest]


async def test_people_agree_one_by_one(tmp_path: Path) -> None:
    """In the order in which they did, each once; what was dropped waits for nobody."""
    clock = VirtualClock()
    waiting = PendingOpenings(tmp_path, clock)
    asked = await _ask(waiting, _order(clock, 1))
    assert waiting.agree(asked.id, "anna").persons == ("anna",)
    assert waiting.agree(asked.id, "bert").persons == ("anna", "bert")
    assert waiting.agree(asked.id, "anna").persons == ("anna", "bert")
    assert [one.persons for one in waiting.all()] == [("anna", "bert")]
    await waiting.agreed(asked.id)
    await waiting.agreed(asked.id)
    assert waiting.all() == []
