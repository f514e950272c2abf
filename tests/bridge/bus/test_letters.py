"""Dead letters: what may go again goes once, what moves something never, and what a person did is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.bus import streams
from bridge.bus.bus import Bus
from bridge.bus.letters import OPERATOR, DeadLetterBox
from bridge.bus.pull import scan
from bridge.bus.streams import REJECTED_FROM
from bridge.errors import StoreError, StoreUnavailableError
from bridge.schema.audit import AuditRecord
from bridge.schema.event import Origin
from bridge.schema.orders import ActionClass, Order
from bridge.schema.subjects import Subjects
from tests.bridge.bus.helpers import CONFIG, NOW, count, order


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


async def test_nonsense_from_outside_pushes_no_order_out(bus: Bus, box: DeadLetterBox) -> None:
    """It has room of its own; both are listed as one, by age, and each has a number that no other has."""
    rejected = bus.stream("REJECTED")
    config = (await bus.connection.api(f"STREAM.INFO.{rejected}"))["config"]
    await bus.connection.api(f"STREAM.UPDATE.{rejected}", {**config, "max_bytes": 100_000})
    await bus.dead.bury("message", "not_json", b"first", {})
    await _bury(bus)
    for number in range(30):
        await bus.dead.bury("message", "not_json", b"%d " % number + b"x" * 10_000, {})
    letters = await box.newest(100)
    assert (letters[0].seq, letters[0].action_class) == (1, "information")
    assert [letter.seq for letter in letters[1:]] == [REJECTED_FROM + number for number in range(22, 31)]
    assert [letter.seq for letter in await box.newest(2)] == [REJECTED_FROM + 29, REJECTED_FROM + 30]
    assert [letter.seq for letter in await box.newest(9, action_class="information")] == [1]
    assert await box.newest(0) == []


async def test_letters_of_a_store_that_had_both_in_one_go_on(bus: Bus, box: DeadLetterBox, tmp_path: Path) -> None:
    """As an earlier version left it: what is there stays under its number, what comes is filed anew."""
    api, (given_up, rejected) = bus.connection.api, (bus.stream("DLQ"), bus.stream("REJECTED"))
    await api(f"STREAM.DELETE.{rejected}")
    config = (await api(f"STREAM.INFO.{given_up}"))["config"]
    await api(f"STREAM.UPDATE.{given_up}", {**config, "subjects": ["vms.home.dlq.>"]})
    await bus.dead.bury("message", "not_json", b"12AB345", {})
    await _bury(bus)
    await bus.dead.bury("message", "not_json", b"{", {})
    assert [letter.seq for letter in await box.newest(10)] == [1, 2, 3], "before the bridge has run"
    with pytest.raises(StoreError, match="no dead letter"):
        await box.get(REJECTED_FROM)

    await streams.ensure(bus.connection, streams.table("home", CONFIG), 1)
    assert await streams.changes(bus.connection, streams.table("home", CONFIG), 1) == {}
    await bus.dead.bury("message", "not_json", b"new", {})
    assert [letter.seq for letter in await box.newest(10)] == [1, 2, 3, REJECTED_FROM]
    assert [letter.seq for letter in await box.newest(10, action_class="message")] == [1, 3, REJECTED_FROM]
    assert (await box.get(3)).body == b"{"
    await box.redrive(2, NOW)
    await box.drop(3, NOW)
    await box.drop(REJECTED_FROM, NOW)
    assert await box.forget("12AB345", _nothing) == 1
    assert await box.newest(10) == []
    assert len(await _trail(bus, tmp_path)) == 3


def test_every_class_of_letters_has_its_stream() -> None:
    """Each subject belongs to one of them, or a letter could not be written."""
    own = {stream.name: stream.subjects for stream in streams.table("home", CONFIG)}
    subjects = [*own["VMS-home-DLQ"], *own["VMS-home-REJECTED"]]
    assert len(set(subjects)) == len(subjects)
    for each in [*ActionClass, "order", "event", "record", "message"]:
        assert Subjects("home").dead(each, "x").removesuffix("x") + ">" in subjects


@pytest.mark.parametrize("body", [b"{}", b"\xff\x00", b'{"plate": "12AB345"}'])
async def test_what_is_no_order_does_not_go_again(bus: Bus, box: DeadLetterBox, body: bytes) -> None:
    """It can be looked at and dropped."""
    await bus.dead.bury("message", "not_json", body, {"Source": "nvr1"})
    with pytest.raises(StoreError, match="no order"):
        await box.redrive(REJECTED_FROM, NOW)
    assert (await box.get(REJECTED_FROM)).body == body


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


async def _nothing(_: int) -> None:
    """Write nothing down."""


async def test_letters_that_name_a_plate_go_once_that_is_written_down(bus: Bus, box: DeadLetterBox) -> None:
    """Whoever dies, or loses the log, in between has dropped nothing that the trail does not know of."""
    await bus.dead.bury("message", "no_plate", b"12AB345", {})

    async def fail(letters: int) -> None:
        raise StoreUnavailableError(f"{letters} letters")

    with pytest.raises(StoreUnavailableError, match="1 letters"):
        await box.forget("12AB345", fail)
    assert len(await box.newest(10)) == 1


async def test_a_plate_is_forgotten_with_the_letters_that_name_it(bus: Bus, box: DeadLetterBox) -> None:
    """However it is written there; what names another plate, or a longer one, stays."""
    for text in ('{"plate": "12AB345"}', "plate=12-ab 345", '{"plate": "12AB3456"}', '{"plate": "712AB345"}', "x"):
        await bus.dead.bury("message", "no_plate", text.encode(), {})
    assert await box.forget("12AB345", _nothing) == 2
    assert [letter.body for letter in await box.newest(10)] == [
        b'{"plate": "12AB3456"}',
        b'{"plate": "712AB345"}',
        b"x",
    ]
    await bus.dead.bury("information", "gave_up", b"12AB345", {})
    await bus.dead.bury("message", "no_plate", b"cut", {"Error": "no such plate: 12AB345"})
    await bus.dead.bury("message", "duplicate_key", b'{"plate": "12\\u0041B345"}', {})
    assert await box.forget("12AB345", _nothing) == 3
    assert await box.forget("12AB345", _nothing) == 0
