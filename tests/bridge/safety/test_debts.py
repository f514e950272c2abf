"""The release journal alone: what it writes down, when it tries again, and what it says when it cannot."""

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

from bridge.contracts import ControlsPtz, SwitchesRelays
from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError, StartError
from bridge.safety import releases
from bridge.safety.releases import LATE, ReleaseJournal, Target
from tests.bridge.actions.support import Locator, rest
from tests.bridge.safety.meanwhile import writing_meanwhile
from tests.bridge.safety.yard import BareYard, keeping
from tests.clock import START, VirtualClock

pytestmark = pytest.mark.usefixtures("disk_in_step")
GATE = Target("relay", "nvr", "1", "r1")
LOCK = Target("relay", "nvr", "1", "r2", True)
S = timedelta(seconds=1)


def _busy() -> ActionUnavailableError:
    return ActionUnavailableError("busy")


class Yard(BareYard):
    """A journal, and the device that it brings back to idle."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.journal = ReleaseJournal(folder, self.services, self.clock)

    async def open(self, order: str = "o1", hold: timedelta = S, target: Target = GATE) -> None:
        async def send() -> None:
            await self.device.switch_relay(target.channel, target.relay, not target.idle_on)

        await self.journal.away(target, order, hold, lambda: None, send)

    @property
    def positions(self) -> list[bool]:
        return [on for _, _, on in self.device.switched]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Yard]:
    """A journal that pays while the block lasts."""
    yard = Yard(folder)
    async with keeping(yard.journal):
        yield yard


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "releases.jsonl").read_text().splitlines()]


def _write(folder: Path, *records: dict[str, Any]) -> None:
    (folder / "releases.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


async def test_the_file_says_what_is_owed_and_why_it_is_not_any_more(tmp_path: Path) -> None:
    """Which output, since when and until when, for which order; confirmed, or never sent. Each debt has a name."""
    async with serving(tmp_path) as yard:
        yard.device.answers.append(_busy())
        with pytest.raises(ActionUnavailableError):
            await yard.open(hold=2 * S)
        await yard.open(hold=2 * S)
        await yard.pass_(2)
    first, undone, second, done = _lines(tmp_path)
    target = {"kind": "relay", "source": "nvr", "channel": "1", "relay": "r1", "idle_on": False}
    at, due = START.isoformat(), (START + 2 * S).isoformat()
    for number, record in ((1, first), (2, second)):
        name = f"o1/{START.timestamp():.3f}/{number}"
        assert record == {"op": "arm", "id": name, "order": "o1", "at": at, "due": due, "target": target}
    assert undone == {"op": "done", "ids": [first["id"]], "how": "never_sent"}
    assert done == {"op": "done", "ids": [second["id"]], "how": "confirmed"}


async def test_releases_are_tried_ever_slower(tmp_path: Path) -> None:
    """After half a second at first, every half minute in the end; the next debt has its own time again."""
    async with serving(tmp_path) as yard:
        yard.device.answer_off.extend(_busy() if n % 2 else KeyError("a bug") for n in range(8))
        await yard.open()
        await yard.pass_(1)
        waits = []
        while yard.journal.owed():
            (wait,) = yard.clock.waits
            waits.append(wait)
            await yard.pass_(wait)
        assert waits == [0.5, 1, 2, 5, 10, 30, 30, 30]
        await yard.open("o2", S / 4)
        await rest()
        assert yard.clock.waits == [0.25]
        await yard.pass_(0.25)
        assert (yard.positions, yard.clock.waits) == ([True, False, True, False], [])


async def test_a_release_goes_on_when_what_its_connector_waited_for_is_cancelled(tmp_path: Path) -> None:
    """As with a session that ends: nobody has told the release to stop."""
    async with serving(tmp_path) as yard:
        yard.device.answer_off.append(asyncio.CancelledError())
        await yard.open()
        await yard.pass_(1)
        assert yard.journal.owed() == {GATE: 1}
        await yard.pass_(0.5)
        assert (yard.positions, yard.journal.owed()) == ([True, False], {})


async def test_a_release_that_hangs_is_cut_off_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not answer keeps no debt from its next try."""
    monkeypatch.setattr(releases, "SEND_LIMIT", 0.01)
    async with serving(tmp_path) as yard:
        hung = [asyncio.Event()]

        async def hang(relay: str, on: bool) -> None:
            if not on and hung:
                await hung.pop().wait()

        yard.device.on_switch = hang
        await yard.open()
        await yard.clock.advance(1)
        await yard.clock.until_asleep()
        assert (yard.clock.waits, yard.journal.owed()) == ([0.5], {GATE: 1})
        await yard.pass_(0.5)
        assert (yard.positions, yard.journal.owed()) == ([True, False], {})


async def test_a_release_that_is_not_confirmed_for_long_is_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when it was first tried, also while that try hangs; a pulse that goes on is not, and the end ends it."""
    monkeypatch.setattr(releases, "SEND_LIMIT", 0.01)
    async with serving(tmp_path) as yard:
        hang = asyncio.Event()
        yard.device.on_switch = lambda _, on: hang.wait() if not on else asyncio.sleep(0)  # type: ignore[assignment, return-value]
        await yard.open(hold=20 * S)
        await yard.pass_(20)
        assert yard.journal.overdue() == {}
        yard.clock._move_to(25)
        assert yard.journal.overdue() == {}
        yard.clock._move_to(25.1)
        assert yard.journal.overdue() == {GATE: "no answer yet"}
        await yard.clock.until_asleep()
        assert yard.journal.overdue() == {GATE: "no answer"}
        yard.device.answer_off.append(_busy())
        hang.set()
        await yard.pass_(0.5)
        assert yard.journal.overdue() == {GATE: "busy"}
        await yard.journal.idle(GATE)
        assert (yard.journal.overdue(), yard.journal.owed()) == ({}, {})
        yard.device.answer_off.extend([KeyError("bug")] * 3)
        await yard.open("o2")
        await yard.pass_(1)
        yard.clock._move_to(yard.clock.monotonic() + 5.1)
        assert yard.journal.overdue() == {GATE: "KeyError"}
        yard.device.answer_off.clear()


async def test_what_is_owed_counts_by_orders_until_the_last_is_paid(tmp_path: Path) -> None:
    """Two orders owe two, over a restart too; one release pays both, and then the target is not named any more."""
    yard = Yard(tmp_path)
    task = asyncio.create_task(yard.journal.run())
    await rest()
    for order, target in (("o1", GATE), ("o2", GATE), ("o3", LOCK)):
        await yard.open(order, 20 * S, target)
    assert yard.journal.owed() == {GATE: 2, LOCK: 1}
    again = Yard(tmp_path)
    assert await again.journal.load() == 2
    again.clock._move_to(again.clock.monotonic() + 5.1)
    assert again.journal.overdue() == dict.fromkeys((GATE, LOCK), "no answer yet"), "it was due at once"
    assert again.journal.owed() == {GATE: 2, LOCK: 1}
    await again.journal.idle(GATE)
    assert (again.journal.owed(), again.positions) == ({LOCK: 1}, [False])
    task.cancel()
    await asyncio.wait([task])


async def test_what_is_owed_from_before_is_released_before_anything_leaves_idle(tmp_path: Path) -> None:
    """At once, whatever it was owed until; an opening meanwhile is told so, and one after it is made."""
    _write(
        tmp_path, {"op": "arm", "id": "o1", "target": {"kind": "relay", "source": "nvr", "channel": "1", "relay": "r1"}}
    )
    yard = Yard(tmp_path)
    yard.device.answer_off.append(_busy())
    assert await yard.journal.load() == 1
    with pytest.raises(ActionRejectedError, match=r": the release journal does not run$"):
        await yard.open()
    async with serving(tmp_path) as yard:
        assert (yard.positions, yard.journal.owed()) == ([False], {})
        await yard.open()
        assert yard.positions == [False, True]
    assert await Yard(tmp_path).journal.load() == 0


async def test_a_device_hears_one_thing_at_a_time(tmp_path: Path) -> None:
    """An opening that came while the release was on its way waits for it, and is told what came of it."""
    async with serving(tmp_path) as yard:
        begun, answered = asyncio.Event(), asyncio.Event()

        async def slow(relay: str, on: bool) -> None:
            if not on:
                begun.set()
                await answered.wait()

        yard.device.on_switch = slow
        debt = yard.journal._debt(GATE)
        await debt.lock.acquire()
        opening = asyncio.create_task(yard.open())
        await rest()
        debt.paying = True
        assert not opening.done()
        debt.lock.release()
        with pytest.raises(ActionUnavailableError) as caught:
            await opening
        assert str(caught.value) == "relay/nvr/1/r1 is being brought back to idle and has not confirmed it yet"
        debt.paying = False
        await yard.open()
        await yard.clock.advance(1)
        await begun.wait()
        with pytest.raises(ActionUnavailableError):
            await yard.open()
        answered.set()
        await rest()
        await yard.open()
        assert yard.positions == [True, False, True]


async def test_a_second_order_extends_and_never_shortens(tmp_path: Path) -> None:
    """The later of the two ends counts, whichever order it is of; it counts from when the device confirmed."""
    async with serving(tmp_path) as yard:

        async def slow(relay: str, on: bool) -> None:
            if on:
                await yard.clock.sleep(2)

        yard.device.on_switch = slow
        opening = asyncio.create_task(yard.open(hold=10 * S))
        await yard.pass_(2)
        await opening
        yard.device.on_switch = None
        assert yard.clock.waits == [10]
        await yard.pass_(4)
        await yard.open("o2", S)
        await rest()
        assert yard.clock.waits == [6]
        await yard.open("o3", 7 * S)
        await rest()
        assert yard.clock.waits == [7]
        await yard.pass_(6.9)
        assert yard.positions == [True] * 3
        await yard.pass_(0.1)
        assert (yard.positions[3:], yard.journal.owed(), yard.clock.waits) == ([False], {}, [])


async def test_what_a_no_stopped_owes_nothing(tmp_path: Path) -> None:
    """What permits it is asked when the debt is on the disk; a no strikes it off, and nothing was sent."""
    async with serving(tmp_path) as yard:

        def no() -> None:
            assert len(_lines(tmp_path)) == 1
            raise ActionRejectedError("no")

        async def never() -> None:
            raise AssertionError("it was sent")

        with pytest.raises(ActionRejectedError):
            await yard.journal.away(GATE, "o1", S, no, never)
        assert (yard.journal.owed(), yard.clock.waits) == ({}, [])
    assert _lines(tmp_path)[1]["how"] == "never_sent"


@pytest.mark.parametrize("error", [ActionUnknownError("?"), TimeoutError(), asyncio.CancelledError(), KeyError("bug")])
async def test_what_may_have_left_idle_goes_back_at_once(tmp_path: Path, error: BaseException) -> None:
    """Whatever came in between; who sent it hears what."""
    async with serving(tmp_path) as yard:

        async def doubtful() -> None:
            raise error

        with pytest.raises(type(error)):
            await yard.journal.away(GATE, "o1", 20 * S, lambda: None, doubtful)
        await rest()
        assert (yard.positions, yard.journal.owed(), yard.clock.waits) == ([False], {}, [])


@pytest.mark.parametrize(
    ("target", "capability", "told", "name"),
    [
        (Target("relay", "nvr", "7", "r2", True), SwitchesRelays, ("7", "r2", True), "relay/nvr/7/r2"),
        (Target("relay", "nvr", "", "r2"), SwitchesRelays, ("", "r2", False), "relay/nvr/r2"),
        (Target("ptz", "nvr", "7"), ControlsPtz, ("7",), "ptz/nvr/7"),
    ],
)
async def test_a_release_goes_to_what_left_idle(target: Target, capability: Any, told: Any, name: str) -> None:
    """To the very relay or camera of the very source, which must be able to do it; and so it is called."""
    asked: list[Any] = []

    class Far:
        def get(self, service: type[Any]) -> Any:
            raise AssertionError(service)

        def source(self, name: str, capability: type[Any]) -> Any:
            asked.append((name, capability))
            return self

        async def ptz_stop(self, *what: Any) -> None:
            asked.append(what)

        async def switch_relay(self, *what: Any) -> None:
            asked.append(what)

    await releases.send_release(Far(), target)
    assert asked == [("nvr", capability), told]
    assert str(target) == name


async def test_debts_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """Nobody would switch back what is away; the person is told which file, and what to do."""
    (tmp_path / "releases.jsonl").mkdir()
    with pytest.raises(StartError) as caught:
        await Yard(tmp_path).journal.load()
    assert caught.value.cause == f"{tmp_path / 'releases.jsonl'} cannot be read (Is a directory)"
    assert caught.value.cure == (
        "give the bridge's user the right to read it; it says which outputs must be switched back"
    )


async def test_a_record_of_unknown_form_is_reported_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever another version wrote: what it says of other outputs is still owed."""
    target = {"kind": "relay", "source": "nvr", "channel": "1", "relay": "r1"}
    good = {"op": "arm", "id": "o1", "target": target}
    paid = [good | {"id": "o2"}, {"op": "done", "ids": ["nobody's", "o2"]}]
    rocket, unknown = good | {"target": target | {"kind": "rocket"}}, good | {"target": {"to": 1}}
    bad: list[dict[str, Any]] = [{}, {"op": "arm"}, rocket, unknown, {"op": "done"}]
    _write(tmp_path, *bad, good, *paid)
    yard = Yard(tmp_path)
    assert await yard.journal.load() == 1
    assert yard.journal.owed() == {GATE: 1}
    assert [record.levelname for record in caplog.records] == ["ERROR"] * len(bad) + ["WARNING"]


@pytest.mark.parametrize(
    ("error", "said"), [(OSError(errno.ENOSPC, "No space left"), ": No space left$"), (OSError(), ": OSError$")]
)
async def test_what_cannot_be_written_down_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    """The reason names the disk, or what kind of error it was; and nothing is owed."""
    async with serving(tmp_path) as yard:
        _break(yard, monkeypatch, error)
        with pytest.raises(ActionRejectedError, match=said) as caught:
            await yard.open()
        assert (caught.value.reason, yard.journal.owed(), yard.positions) == ("no_journal", {}, [])


def _break(yard: Yard, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def broken(record: object) -> None:
        raise error

    monkeypatch.setattr(yard.journal._file, "append", broken)


async def test_a_debt_that_cannot_be_struck_off_is_paid_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this run it is paid; the next start releases again, which harms nobody."""
    async with serving(tmp_path) as yard:
        await yard.open()
        _break(yard, monkeypatch, OSError(errno.ENOSPC, "No space left"))
        await yard.pass_(1)
        assert (yard.journal.owed(), yard.positions) == ({}, [True, False])
    assert await Yard(tmp_path).journal.load() == 1


async def test_a_crash_can_be_tried_at_every_step_of_a_debt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The points come in the order of the steps; a crash test that names one dies where it says."""
    points: list[str] = []
    monkeypatch.setattr(releases, "crash_point", points.append)
    async with serving(tmp_path) as yard:
        await yard.open()
        assert points == ["effect.armed"]
        await yard.pass_(1)
        assert points[1:] == ["release.due", "release.sent", "release.confirmed"]


async def test_an_opening_at_the_moment_of_the_start_comes_after_what_is_owed(tmp_path: Path) -> None:
    """It is refused until the release is confirmed, also when it is asked for before that was begun."""
    target = {"kind": "relay", "source": "nvr", "channel": "1", "relay": "r1"}
    _write(tmp_path, {"op": "arm", "id": "o1", "target": target})
    yard = Yard(tmp_path)
    await yard.journal.load()
    running, opening = asyncio.create_task(yard.journal.run()), asyncio.create_task(yard.open())
    with pytest.raises(ActionUnavailableError):
        await opening
    await rest()
    assert yard.positions == [False]
    running.cancel()
    await asyncio.wait([running])


async def test_an_opening_on_its_way_when_the_release_is_due_is_not_cut_short(tmp_path: Path) -> None:
    """The release waits for it, and then for the end that it asked for."""
    async with serving(tmp_path) as yard:
        await yard.open(hold=2 * S)
        await yard.pass_(1)
        yard.device.on_switch = lambda *_: yard.clock.sleep(2)
        opening = asyncio.create_task(yard.open("o2", 5 * S))
        await yard.pass_(2)
        await opening
        yard.device.on_switch = None
        await yard.pass_(4.9)
        assert yard.positions == [True, True]
        await yard.pass_(0.1)
        assert yard.positions == [True, True, False]


async def test_an_off_order_pays_what_is_owed(tmp_path: Path) -> None:
    """Nothing is left to wait for; also when the release was due meanwhile, and it opens again then."""
    async with serving(tmp_path) as yard:
        await yard.journal.idle(GATE)
        assert not (tmp_path / "releases.jsonl").exists()
        await yard.open(hold=20 * S)
        await yard.journal.idle(GATE)
        await rest()
        assert (yard.journal.owed(), yard.clock.waits) == ({}, [])
        assert _lines(tmp_path)[-1]["how"] == "confirmed"
        await yard.open("o2", 2 * S)
        await yard.pass_(1.5)
        yard.device.on_switch = lambda *_: yard.clock.sleep(1)
        off = asyncio.create_task(yard.journal.idle(GATE))
        await yard.pass_(1)
        await off
        await rest()
        assert (yard.positions, yard.clock.waits) == ([False, True, False, True, False], [])


async def test_an_off_order_that_fails_makes_what_is_owed_due(tmp_path: Path) -> None:
    """It is to be back now, and not when its time is over: it is tried beside the order, and people hear of it."""
    async with serving(tmp_path) as yard:
        await yard.open(hold=3600 * S)
        yard.device.answer_off.extend([_busy()] * 30)
        with pytest.raises(ActionUnavailableError):
            await yard.journal.idle(GATE)
        await rest()
        with pytest.raises(ActionUnavailableError, match="brought back to idle"):
            await yard.open("o2")
        await yard.pass_(LATE + 0.5)
        assert yard.journal.overdue() == {GATE: "busy"}
        yard.device.answer_off.clear()
        await yard.pass_(30)
        assert (yard.positions, yard.journal.overdue(), yard.journal.owed()) == ([True, False], {}, {})


@pytest.mark.parametrize("error", [_busy(), TimeoutError(), ActionRejectedError("no such relay")])
async def test_an_off_order_for_what_owes_nothing_is_told_as_well(tmp_path: Path, error: Exception) -> None:
    """While it is tried; one that is refused has ended, and nothing is kept from leaving idle."""
    async with serving(tmp_path) as yard:
        yard.device.answer_off.append(error)
        with pytest.raises(type(error)):
            await yard.journal.idle(GATE)
        await yard.pass_(LATE + 0.5)
        tried = not isinstance(error, ActionRejectedError)
        assert yard.journal.overdue() == ({GATE: str(error) or "no answer"} if tried else {})
        await yard.open()
        await yard.journal.idle(GATE)
        assert yard.journal.overdue() == {}


async def test_what_waits_for_an_off_order_that_fails_does_not_leave_idle(tmp_path: Path) -> None:
    """What is owed is due now, before anything else."""
    async with serving(tmp_path) as yard:
        await yard.open(hold=3600 * S)
        go_on = asyncio.Event()

        async def slowly(relay: str, on: bool) -> None:
            if not on:
                await go_on.wait()

        yard.device.on_switch = slowly
        yard.device.answer_off.append(_busy())
        back = asyncio.create_task(yard.journal.idle(GATE))
        await rest()
        again = asyncio.create_task(yard.open("o2"))
        await rest()
        go_on.set()
        for task, said in ((back, "busy"), (again, "brought back to idle")):
            with pytest.raises(ActionUnavailableError, match=said):
                await task


async def test_who_asks_again_does_not_begin_anew(tmp_path: Path) -> None:
    """People hear of it from the first time on that it did not go back."""
    async with serving(tmp_path) as yard:
        yard.device.answer_off.extend([_busy()] * 2)
        for _ in range(2):
            with pytest.raises(ActionUnavailableError):
                await yard.journal.idle(GATE)
            await yard.pass_(LATE - 1)
        assert yard.journal.overdue() == {GATE: "busy"}


async def test_an_off_order_ends_the_tries_of_a_release(tmp_path: Path) -> None:
    """What the device took from a person it need not be told again, and it may open."""
    async with serving(tmp_path) as yard:
        yard.device.answer_off.append(_busy())
        await yard.open()
        await yard.pass_(1)
        with pytest.raises(ActionUnavailableError):
            await yard.open("o2")
        await yard.journal.idle(GATE)
        await yard.open("o2")
        await rest()
        assert (yard.positions, yard.clock.waits) == ([True, False, True], [1])


async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is long, only what is owed stays."""
    monkeypatch.setattr(releases, "_COMPACT_AT", 3)
    async with serving(tmp_path) as yard:
        await yard.open("o1", 20 * S, LOCK)
        for number in (2, 3):
            await yard.open(f"o{number}")
            await yard.pass_(1)
            lines = _lines(tmp_path)
            assert len(lines) == (3 if number == 2 else 1)
        assert lines[0]["order"] == "o1"


def test_a_debt_that_comes_while_the_file_is_shortened_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output leaves idle in another thread: what was written down before it was sent is never lost."""
    monkeypatch.setattr(releases, "_COMPACT_AT", 3)
    journal = ReleaseJournal(tmp_path, Locator(), VirtualClock())

    def arm(number: str) -> None:
        target = {"kind": "relay", "source": "nvr", "channel": "1", "relay": number}
        journal._file.append({"op": "arm", "id": number, "target": target})

    for number in ("r1", "r2", "r3"):
        arm(number)
    with writing_meanwhile(monkeypatch, lambda record: record.get("id") == "r3", lambda: arm("gate")):
        journal._strike_off(["r1", "r2"], "confirmed")
    assert [line["id"] for line in _lines(tmp_path)] == ["r3", "gate"]


async def test_what_does_not_go_back_in_time_is_left_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop waits for it only so long; what is being sent meanwhile is owed as well."""
    monkeypatch.setattr(releases, "STOP_GRACE", 0.01)
    yard, sent = Yard(tmp_path), asyncio.Event()
    running = asyncio.create_task(yard.journal.run())
    await rest()
    yard.device.answer_off.append(_busy())
    await yard.open()
    assert {task.get_name() for task in asyncio.all_tasks()} >= {"release[relay/nvr/1/r1]"}

    async def slow(relay: str, on: bool) -> None:
        if on:
            await sent.wait()

    yard.device.on_switch = slow
    other = Target("relay", "nvr", "1", "r9")
    opening = asyncio.create_task(yard.open("o2", S, other))
    await rest()
    running.cancel()
    await asyncio.wait([running])
    sent.set()
    await opening
    assert (running.cancelled(), yard.journal.owed()) == (True, {GATE: 1, other: 1})
    assert await Yard(tmp_path).journal.load() == 2


async def test_a_stop_releases_all_at_once(tmp_path: Path) -> None:
    """Each that is away, without waiting for its end; what is owed by nobody is not touched."""
    async with serving(tmp_path) as yard:
        await yard.open(hold=20 * S)
        await yard.open("o2", 30 * S, LOCK)
        yard.device.answers.append(_busy())
        with pytest.raises(ActionUnavailableError):
            await yard.open("o3", S, Target("relay", "nvr", "1", "r9"))
    assert sorted((relay, on) for _, relay, on in yard.device.switched) == [
        ("r1", False), ("r1", True), ("r2", False), ("r2", True),
    ]  # fmt: skip
    assert yard.clock.now() == START
    assert yard.journal.owed() == {}
    with pytest.raises(ActionRejectedError, match="does not run"):
        await yard.open()
