"""Cameras alone: who has one, what it owes, when it turns back, and what is written down of that."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError, StartError
from bridge.safety import cameras as cameras_module
from bridge.safety.cameras import RETRY, Camera, Cameras
from bridge.schema.event import VmsEvent
from bridge.schema.orders import Order
from tests.bridge.actions.support import make_order, plate_event, rest
from tests.bridge.safety.yard import BareYard, keeping
from tests.clock import START

pytestmark = pytest.mark.usefixtures("disk_in_step")
YARD, HALL = Camera("nvr", "1"), Camera("nvr", "2")
S = timedelta(seconds=1)
HELD: dict[str, Any] = {"op": "hold", "source": "nvr", "channel": "1", "home": "yard"}


class Yard(BareYard):
    """Cameras, the device that has them, and orders for them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.cameras = Cameras(folder, self.services, self.clock)

    def order(self, number: int, priority: int = 0, event: VmsEvent | None = None) -> Order:
        params = {"preset": "gate"}
        return make_order(self.clock, "ptz", params, number, event, priority=priority)

    def call(self, number: int, kind: str = "started", **told: Any) -> VmsEvent:
        return plate_event(self.clock, number, type=f"call.{kind}", data={"caller": "gate"}, **told)

    @property
    def went(self) -> list[tuple[str, str]]:
        return [(channel, what.removeprefix("goto ")) for channel, what in self.device.ptz]


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[Yard]:
    """Cameras that are turned back while the block lasts."""
    yard = Yard(folder)
    async with keeping(yard.cameras):
        yield yard


def _file(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "cameras.jsonl").read_text().splitlines()]


def _write(folder: Path, *records: dict[str, Any]) -> None:
    (folder / "cameras.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


async def test_what_a_camera_owes_is_written_down_until_it_is_home(tmp_path: Path) -> None:
    """Which one and where to; each goes home to the moment, the one that is due first first."""
    async with watching(tmp_path) as yard:
        assert (yard.clock.waits, yard.cameras.held()) == ([], {})
        first, second = yard.order(1), yard.order(2)
        await yard.cameras.hold(YARD, first, "yard", 20 * S)
        await yard.cameras.hold(HALL, second, "door", 5.5 * S)
        await rest()
        assert yard.cameras.held() == {"nvr/1": first.id, "nvr/2": second.id}
        assert yard.clock.waits == [5.5]
        await yard.pass_(5.5)
        assert (yard.went, yard.clock.waits) == ([("2", "door")], [14.5])
        await yard.pass_(14.4)
        assert yard.cameras.held() == {"nvr/1": first.id}
        await yard.pass_(0.1)
        assert (yard.went[1:], yard.cameras.held(), yard.clock.waits) == ([("1", "yard")], {}, [])
    hall = {"source": "nvr", "channel": "2"}
    assert _file(tmp_path) == [
        HELD, {"op": "hold", **hall, "home": "door"}, {"op": "home", **hall},
        {"op": "home", "source": "nvr", "channel": "1"},
    ]  # fmt: skip


async def test_the_more_important_order_has_a_camera(tmp_path: Path) -> None:
    """A less important one is told of both; an equal one, and the same once more, take it over with its return."""
    async with watching(tmp_path) as yard:
        alarm, plate = yard.order(1, priority=5), yard.order(2, priority=4)
        await yard.cameras.hold(YARD, alarm, "yard", 20 * S)
        for asked in (yard.cameras.hold(YARD, plate, "door", S), yard.cameras.take_over(YARD, plate)):
            with pytest.raises(ActionRejectedError, match=r": priority 5, this has 4$") as caught:
                await asked
            assert caught.value.reason == "camera_busy"
        yard.cameras.ask(HALL, plate)
        yard.cameras.ask(YARD, alarm.model_copy(update={"priority": 0}))
        equal = yard.order(3, priority=5)
        await yard.cameras.hold(YARD, equal, "street", 30 * S)
        await yard.pass_(29)
        assert (yard.went, yard.cameras.held()) == ([], {"nvr/1": equal.id})
        await yard.pass_(1)
        assert yard.went == [("1", "street")]
        yard.cameras.ask(YARD, plate)


async def test_who_takes_a_camera_for_good_ends_its_return(tmp_path: Path) -> None:
    """On the disk too; where nothing was owed there is nothing to write down."""
    async with watching(tmp_path) as yard:
        await yard.cameras.take_over(YARD, yard.order(1))
        await yard.cameras.hold(YARD, yard.order(2), "yard", 20 * S)
        await yard.cameras.take_over(YARD, yard.order(3))
        assert yard.cameras.held() == {}
        await yard.pass_(30)
        assert yard.went == []
    assert _file(tmp_path) == [HELD, {"op": "home", "source": "nvr", "channel": "1"}]


async def test_a_camera_that_a_person_has_is_nobodys_else(tmp_path: Path) -> None:
    """Who it is and for how long is said; its return waits until they are done, and is made then."""
    async with watching(tmp_path) as yard:
        await yard.cameras.hold(YARD, yard.order(1), "yard", 20 * S)
        await yard.cameras.lock(YARD, "anna", 60 * S)
        await yard.pass_(10)
        assert yard.cameras.locks() == {"nvr/1": "anna"}
        with pytest.raises(ActionRejectedError, match=r": anna, for 50s$") as caught:
            yard.cameras.ask(YARD, yard.order(2, priority=999))
        assert caught.value.reason == "camera_locked"
        yard.cameras.ask(HALL, yard.order(2))
        await yard.pass_(49.5)
        with pytest.raises(ActionRejectedError):
            yard.cameras.ask(YARD, yard.order(2))
        assert yard.went == []
        await yard.pass_(0.5)
        assert (yard.went, yard.cameras.locks()) == ([("1", "yard")], {})
        yard.cameras.ask(YARD, yard.order(2))


async def test_a_camera_that_is_unlocked_may_be_turned(tmp_path: Path) -> None:
    """At once by an order; what it owes comes at the time that was put off to."""
    async with watching(tmp_path) as yard:
        await yard.cameras.lock(YARD, "anna", 60 * S)
        await yard.cameras.unlock(YARD)
        await yard.cameras.hold(YARD, yard.order(1), "yard", S / 2)
        await yard.pass_(0.5)
        assert (yard.went, yard.cameras.locks()) == ([("1", "yard")], {})


async def test_a_camera_that_does_not_answer_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try is cut off; the next one comes."""
    monkeypatch.setattr(cameras_module, "TURN_LIMIT", 0.01)
    async with watching(tmp_path) as yard:
        goto, hangs = yard.device.ptz_goto, [asyncio.Event()]

        async def hang(channel: str, preset: str) -> None:
            if hangs:
                await hangs.pop().wait()
            await goto(channel, preset)

        monkeypatch.setattr(yard.device, "ptz_goto", hang)
        await yard.cameras.hold(YARD, yard.order(1), "yard", S)
        await yard.clock.advance(1)
        await yard.clock.until_asleep()
        assert (yard.went, yard.clock.waits) == ([], [1])
        await yard.pass_(1)
        assert (yard.went, yard.cameras.held()) == ([("1", "yard")], {})


async def test_what_is_no_beginning_lasts_for_its_time(tmp_path: Path) -> None:
    """Also when it is to be held while its event lasts: a plate does not."""
    async with watching(tmp_path) as yard:
        await yard.cameras.hold(YARD, yard.order(1), "yard", 5 * S, while_it_lasts=True)
        yard.cameras.heard(yard.call(2, "ended"))
        await yard.pass_(4)
        assert yard.went == []
        await yard.pass_(1)
        assert yard.went == [("1", "yard")]


@pytest.mark.parametrize(("begins", "ends"), [("call.started", "call.ended"), ("motion.started", "motion.ended")])
async def test_a_camera_is_held_while_its_event_lasts(tmp_path: Path, begins: str, ends: str) -> None:
    """The end of that very thing ends it; another's end, another kind of end, or another source's does not."""

    def event(number: int, kind: str, **told: Any) -> VmsEvent:
        return yard.call(number).model_copy(update={"type": kind, **told})

    async with watching(tmp_path) as yard:
        order = yard.order(1, event=event(1, begins))
        await yard.cameras.hold(YARD, order, "yard", 60 * S, while_it_lasts=True)
        await yard.cameras.hold(HALL, yard.order(2, event=event(1, begins)), "door", 60 * S)
        await yard.pass_(10)
        other = "motion.ended" if ends == "call.ended" else "call.ended"
        for told in ({"subject": "2"}, {"source": "site/other"}, {"type": other}, {"type": begins}):
            yard.cameras.heard(event(2, ends).model_copy(update=told))
        await yard.pass_(10)
        assert yard.went == []
        yard.cameras.heard(event(3, ends))
        await rest()
        assert yard.went == [("1", "yard")]
        assert list(yard.cameras.held()) == ["nvr/2"]


async def test_what_is_over_already_holds_no_camera(tmp_path: Path) -> None:
    """An end no older than the event, heard before the camera was held; one that is older does not count."""
    async with watching(tmp_path) as yard:
        call = yard.call(1)
        for number, late, home in ((2, -S, None), (3, 0 * S, "b"), (4, S, "c")):
            yard.cameras.heard(yard.call(number, "ended", time=call.time + late))
            order = yard.order(number, event=call)
            await yard.cameras.hold(YARD, order, home or "a", 60 * S, while_it_lasts=True)
            await rest()
            assert [to for _, to in yard.went] == ["b", "c"][: number - 2]


async def test_only_so_many_ends_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each place, the oldest goes; a place that is heard of again is the newest."""
    monkeypatch.setattr(cameras_module, "_MOST_ENDS", 2)
    yard = Yard(tmp_path)
    for subject in ("1", "2", "1", "3"):
        yard.cameras.heard(yard.call(1, "ended", subject=subject))
    assert list(yard.cameras._ended.items()) == [(("site/nvr", subject, "call.ended"), START) for subject in ("1", "3")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ActionUnavailableError("busy"), "busy"),
        (ActionUnknownError("?"), "?"),
        (TimeoutError(), "no answer"),
        (asyncio.CancelledError(), "what it waited for was given up"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
async def test_a_return_is_tried_ever_slower_and_given_up(
    tmp_path: Path, error: BaseException, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After the last try it stays where it is, which is said, once; nothing is owed then, over a restart too."""
    async with watching(tmp_path) as yard:
        yard.device.answers.extend([error] * len(RETRY))
        await yard.cameras.hold(YARD, yard.order(1), "yard", S)
        await yard.pass_(1)
        waits = []
        while yard.cameras.held():
            (wait,) = yard.clock.waits
            waits.append(wait)
            await yard.pass_(wait)
        assert waits == list(RETRY[:-1])
        assert not yard.device.answers
    said = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert [(each["camera"], each["preset"], each["error"]) for each in said] == [("nvr/1", "yard", words)]
    assert _file(tmp_path)[-1]["op"] == "home"


async def test_a_return_that_succeeds_in_the_end_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one begins with all its tries again."""
    async with watching(tmp_path) as yard:
        yard.device.answers.extend([ActionUnavailableError("busy")] * 2)
        await yard.cameras.hold(YARD, yard.order(1), "yard", S)
        for seconds in (1, 1, 2):
            await yard.pass_(seconds)
        assert (yard.went, yard.cameras.held(), caplog.records) == ([("1", "yard")], {}, [])


async def test_what_is_owed_from_before_is_due_at_once(tmp_path: Path) -> None:
    """For nobody's order, so that any may have the camera; but not while a person has it, whom a restart knows."""
    _write(tmp_path, HELD, HELD | {"channel": "2", "home": "door"})
    before = Yard(tmp_path)
    await before.cameras.lock(HALL, "anna", 9 * S)
    yard = Yard(tmp_path)
    await yard.clock.advance(3)
    yard.clock.jump(-3 * S)
    await yard.cameras.load()
    assert yard.cameras.held() == {"nvr/1": "", "nvr/2": ""}
    yard.cameras.ask(YARD, yard.order(1, priority=-1000))
    task = asyncio.create_task(yard.cameras.run())
    await rest()
    assert (yard.went, yard.clock.waits) == ([("1", "yard")], [9])
    await yard.pass_(9)
    assert yard.went == [("1", "yard"), ("2", "door")]
    task.cancel()
    await asyncio.wait([task])
    assert yard.cameras._file._descriptor is None


async def test_what_cannot_be_written_down_is_not_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the disk, or what kind of error it was; and nothing is held."""
    async with watching(tmp_path) as yard:
        for error, said in ((OSError(errno.ENOSPC, "No space left"), "No space left"), (OSError(), "OSError")):
            _break(yard, monkeypatch, error)
            with pytest.raises(ActionRejectedError, match=f": {said}$") as caught:
                await yard.cameras.hold(YARD, yard.order(1), "yard", S)
            assert (caught.value.reason, yard.cameras.held()) == ("no_journal", {})


def _break(yard: Yard, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def broken(record: object) -> None:
        raise error

    monkeypatch.setattr(yard.cameras._file, "append", broken)


async def test_a_return_that_cannot_be_struck_off_is_made_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this run it is made; after a restart again."""
    async with watching(tmp_path) as yard:
        await yard.cameras.hold(YARD, yard.order(1), "yard", S)
        _break(yard, monkeypatch, OSError(errno.ENOSPC, "No space left"))
        await yard.pass_(1)
        assert (yard.went, yard.cameras.held()) == ([("1", "yard")], {})
    async with watching(tmp_path) as yard:
        assert yard.went == [("1", "yard")]


async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is long, only what is owed stays."""
    monkeypatch.setattr(cameras_module, "_COMPACT_AT", 3)
    async with watching(tmp_path) as yard:
        await yard.cameras.hold(YARD, yard.order(1), "yard", 60 * S)
        await yard.cameras.hold(HALL, yard.order(2), "door", S)
        await yard.pass_(1)
        assert len(_file(tmp_path)) == 3
        await yard.cameras.hold(HALL, yard.order(3), "door", S)
        await yard.pass_(1)
        assert _file(tmp_path) == [HELD]


async def test_a_record_of_unknown_form_is_reported_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever another version wrote; the last word on a camera counts."""
    bad: list[dict[str, Any]] = [{}, {"op": "hold", "source": "nvr", "channel": "9"}, {"source": "nvr", "channel": "8"}]
    home = {"op": "home", "source": "nvr", "channel": "2"}
    _write(tmp_path, *bad, HELD | {"home": "old"}, home, HELD, HELD | {"channel": "2"}, home)
    yard = Yard(tmp_path)
    await yard.cameras.load()
    assert yard.cameras.held() == {"nvr/1": ""}
    assert [record.levelname for record in caplog.records] == ["ERROR"] * len(bad)


async def test_returns_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """Cameras would look away for good; the person is told which file, and what to do."""
    (tmp_path / "cameras.jsonl").mkdir()
    with pytest.raises(StartError) as caught:
        await Yard(tmp_path).cameras.load()
    assert caught.value.cause == f"{tmp_path / 'cameras.jsonl'} cannot be read (Is a directory)"
    assert caught.value.cure == "give the bridge's user the right to read it; it says which cameras must turn back"
