"""Dead letters: what may go again goes once, what moves something never, and what a person did is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.bus.bus import Bus
from bridge.bus.letters import OPERATOR, DeadLetterBox
from bridge.bus.pull import scan
from bridge.errors import StoreError, StoreUnavailableError
from bridge.schema.audit import AuditRecord
from bridge.schema.event import Origin
from bridge.schema.orders import ActionClass, Order
from tests.bridge.bus.helpers import NOW, count, order


@pytest.fixture
def box(bus: Bus) -> DeadLetterBox:
    """The dead letters of the bus, looked at by anna."""
    return DeadLetterBox(bus.connection, "home", "cli:anna")


async def _bury(bus: Bus, number: int = 1, **changes: Any) -> Order:
    dead = order(number, **changes)
    headers = {"order": dead.id, "rule": dead.rule, "error": "no answer", "attempts": "7"}
    await bus.dead.bury(dead.action_class.value, "gave_up", dead.encode(), headers)
    return dead


async def _trail(bus: Bus, folder: Path) -> list[AuditRecord]:
    await bus.appender(folder).catch_up()
    bodies = [message.data async for batch in scan(bus.connection, bus.stream("RESULTS")) for message in batch]
    return [AuditRecord.decode(body) for body in bodies]


async def _orders(bus: Bus) -> list[Order]:
    subject = "vms.home.order.>"
    found = [m.data async for batch in scan(bus.connection, bus.stream("ENGINE"), [subject]) for m in batch]
    return [Order.decode(body) for body in found]


async def test_a_letter_is_read_as_it_was_written(bus: Bus, box: DeadLetterBox) -> None:
    """With the order in it and what was noted of it."""
    dead = await _bury(bus)
    letter = await box.get(1)
    assert (letter.seq, letter.action_class, letter.reason, letter.error) == (1, "information", "gave_up", "no answer")
    assert (letter.order, letter.obstacle) == (dead, None)
    assert letter.headers["attempts"] == "7"
    with pytest.raises(StoreError, match="no dead letter 7"):
        await box.get(7)


async def test_a_site_that_never_buried_anything_has_no_letters(bus: Bus, box: DeadLetterBox) -> None:
    """A stream that was never written to begins and ends at 0, which is no message to begin at."""
    assert await box.newest(10) == []
    assert [m async for m in scan(bus.connection, bus.stream("DLQ"), after=-1)] == []
    await _bury(bus)
    assert [letter.seq for letter in await box.newest(10)] == [1]
    await box.drop(1, NOW)
    assert await box.newest(10) == []


async def test_information_goes_again_as_an_order_of_its_own(bus: Bus, box: DeadLetterBox, tmp_path: Path) -> None:
    """With the origin `replay`, at once and without an end of its time; the letter is gone, the deed is recorded."""
    dead = await _bury(bus, expires=NOW)
    name = await box.redrive(1, NOW)
    (again,) = await _orders(bus)
    assert again.id == name != dead.id
    assert (again.origin, again.created, again.expires) == (Origin.REPLAY, NOW, None)
    same = {"id", "origin", "created", "expires"}
    assert again.model_dump(exclude=same) == dead.model_dump(exclude=same)
    assert await count(bus, "DLQ") == 0
    (record,) = await _trail(bus, tmp_path)
    assert (record.rule, record.action, record.outcome, record.causes) == (OPERATOR, "dlq-redrive", "done", (dead.id,))
    assert record.message == f"cli:anna: dead letter 1 (information, gave_up) as order {name}"
    with pytest.raises(StoreError, match="no dead letter 1"):
        await box.redrive(1, NOW)


async def test_a_redrive_that_was_cut_short_is_finished_and_not_repeated(
    bus: Bus, box: DeadLetterBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order was given, the letter was still there: doing it again gives no second order."""

    async def fail(seq: int) -> None:
        raise StoreUnavailableError("gone")

    await _bury(bus)
    with monkeypatch.context() as patch:
        patch.setattr(box, "_remove", fail)
        with pytest.raises(StoreUnavailableError):
            await box.redrive(1, NOW)
    (given,) = await _orders(bus)
    assert await box.redrive(1, NOW) == given.id
    assert await _orders(bus) == [given]
    assert await count(bus, "DLQ") == 0


@pytest.mark.parametrize("action_class", [c for c in ActionClass if c is not ActionClass.INFORMATION])
async def test_what_moves_something_is_shown_and_never_goes_again(
    bus: Bus, box: DeadLetterBox, action_class: ActionClass
) -> None:
    """Whatever the letter's subject says and whatever the order in it says: both must be information."""
    await _bury(bus, 1, action_class=action_class)
    await bus.dead.bury("information", "mislabelled", order(2, action_class=action_class).encode(), {})
    await bus.dead.bury(action_class.value, "mislabelled", order(3).encode(), {})
    for seq in (1, 2, 3):
        assert (await box.get(seq)).order is not None
        with pytest.raises(StoreError, match="never goes again"):
            await box.redrive(seq, NOW)
    assert await _orders(bus) == []
    assert await count(bus, "DLQ") == 3


@pytest.mark.parametrize("body", [b"{}", b"\xff\x00", b'{"plate": "12AB345"}'])
async def test_what_is_no_order_does_not_go_again(bus: Bus, box: DeadLetterBox, body: bytes) -> None:
    """It can be looked at and dropped."""
    await bus.dead.bury("message", "not_json", body, {"Source": "nvr1"})
    with pytest.raises(StoreError, match="no order"):
        await box.redrive(1, NOW)
    assert (await box.get(1)).body == body


async def test_a_drop_is_recorded(bus: Bus, box: DeadLetterBox, tmp_path: Path) -> None:
    """By whom and why; also what moves something may be dropped."""
    dead = await _bury(bus, action_class=ActionClass.ACTUATING)
    await _bury(bus, 2)
    await box.drop(1, NOW, "the gate is gone")
    assert await count(bus, "DLQ") == 1
    (record,) = await _trail(bus, tmp_path)
    assert (record.action, record.causes) == ("dlq-drop", (dead.id,))
    assert record.message == "cli:anna: dead letter 1 (actuating, gave_up) the gate is gone"
    with pytest.raises(StoreError, match="no dead letter 1"):
        await box.drop(1, NOW)


async def test_a_plate_is_forgotten_with_the_letters_that_name_it(bus: Bus, box: DeadLetterBox) -> None:
    """However it is written there; what names another plate, or a longer one, stays."""
    for text in ('{"plate": "12AB345"}', "plate=12-ab 345", '{"plate": "12AB3456"}', '{"plate": "712AB345"}', "x"):
        await bus.dead.bury("message", "no_plate", text.encode(), {})
    assert await box.forget("12AB345") == 2
    assert [letter.body for letter in await box.newest(10)] == [
        b'{"plate": "12AB3456"}',
        b'{"plate": "712AB345"}',
        b"x",
    ]
    assert await box.forget("12AB345") == 0
