"""The release journal: what leaves idle comes back, whatever happens in between."""

from __future__ import annotations

import asyncio
import errno
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError
from bridge.safety import releases
from bridge.safety.releases import Target
from tests.bridge.actions.support import OUTPUTS, Crash, Device, Site, make_order, running, until
from tests.clock import VirtualClock, settle

GATE = Target("relay", "nvr", "1", "r1")
S = timedelta(seconds=1)


def _positions(device: Device) -> list[bool]:
    return [on for _, _, on in device.switched]


async def _pulse(site: Site, number: int = 1, seconds: float = 1, output: str = "gate") -> str:
    order = make_order(site.clock, "relay", {"output": output, "state": "pulse", "for": f"{seconds}s"}, number)
    return (await site.do(order)).outcome


async def test_a_pulse_ends_on_time_and_is_struck_off(tmp_path: Path) -> None:
    """ON, the pulse, OFF; afterwards nothing is owed, also on disk."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        assert await _pulse(site) == "done"
        assert site.journal.owed() == {GATE: 1}
        await clock.advance(0.99)
        assert _positions(site.device) == [True]
        await clock.advance(0.01)
        await until(lambda: not site.journal.owed())
        began, ended = (at for at, _, _ in site.device.switched)
    assert ended - began == S
    assert await Site(tmp_path, clock).journal.load() == 0


async def test_the_debt_is_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    """At the moment the device hears ON, a new process would know of the debt."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:

        async def look(relay: str, on: bool) -> None:
            if on:
                assert await Site(tmp_path, clock).journal.load() == 1

        site.device.on_switch = look
        assert await _pulse(site) == "done"
    assert _positions(site.device) == [True, False]


async def test_an_output_that_idles_on_is_switched_the_other_way(tmp_path: Path) -> None:
    """A fail-safe lock is released by OFF and locked again by ON."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _pulse(site, output="failsafe")
        await clock.advance(1)
        await until(lambda: not site.journal.owed())
    assert _positions(site.device) == [False, True]


async def test_a_release_is_tried_until_it_is_confirmed(tmp_path: Path) -> None:
    """Busy, rejected, unknown, broken: it goes on, ever slower, for ever."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answer_off.extend(
            [ActionUnavailableError("busy"), ActionRejectedError("no"), ActionUnknownError("?"), KeyError("bug")] * 30
        )
        await _pulse(site)
        await clock.advance(1)
        for _ in range(1000):
            await clock.advance(30)
            await asyncio.sleep(0.0005)
            if not site.journal.owed():
                break
        assert not site.device.answer_off
        await until(lambda: not site.journal.owed())
    assert _positions(site.device)[-1] is False


async def test_nothing_leaves_idle_while_its_release_is_not_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that does not close is not told to open."""
    monkeypatch.setattr(releases, "STOP_GRACE", 0.01)
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answer_off.extend([ActionUnavailableError("busy")] * 9)
        await _pulse(site)
        await clock.advance(1)
        await until(lambda: len(site.device.answer_off) < 9)
        with pytest.raises(ActionUnavailableError, match="brought back to idle"):
            await site.outputs.activate("gate", "another", S, lambda: None)


async def test_what_a_crash_left_on_is_switched_off_first(tmp_path: Path) -> None:
    """After a restart the OFF comes before any ON, at once, by whatever the clocks say."""
    clock = VirtualClock()
    site = Site(tmp_path, clock)
    await site.start()
    await site.outputs.activate("gate", "o1", 20 * S, lambda: None)
    await site.die()
    device = site.device
    clock.jump(timedelta(days=-400))
    again = Site(tmp_path, clock, device=device)
    assert await again.journal.load() == 1
    with pytest.raises(ActionRejectedError, match="does not run"):
        await again.outputs.activate("gate", "o2", S, lambda: None)
    async with running(tmp_path, clock, device=device) as again:
        await until(lambda: not again.journal.owed())
        assert _positions(device) == [True, False]


async def test_when_the_debt_cannot_be_written_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk refuses the opening, with the reason."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:

        def full(record: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(site.journal._file, "append", full)
        result = await site.do(make_order(clock, "relay", {"output": "gate"}))
        assert site.device.switched == []
    assert (result.outcome, result.reason) == ("refused", "no_journal")
    assert "No space left" in str(result.message)


@pytest.mark.parametrize("answer", [ActionUnavailableError("busy"), ActionRejectedError("no")])
async def test_what_surely_did_not_happen_owes_nothing(tmp_path: Path, answer: Exception) -> None:
    """No OFF is sent for an ON that the device did not take."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answers.append(answer)
        with pytest.raises(type(answer)):
            await site.outputs.activate("gate", "o1", S, lambda: None)
        assert not site.journal.owed()
        await clock.advance(60)
    assert site.device.switched == []
    assert await Site(tmp_path, clock).journal.load() == 0


@pytest.mark.parametrize("answer", [ActionUnknownError("?"), TimeoutError(), KeyError("bug")])
async def test_what_may_have_happened_is_released_at_once(tmp_path: Path, answer: Exception) -> None:
    """In doubt the output goes back to idle without waiting for the end of the pulse."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answers.append(answer)
        with pytest.raises(type(answer)):
            await site.outputs.activate("gate", "o1", 20 * S, lambda: None)
        await until(lambda: not site.journal.owed())
    assert _positions(site.device)[-1] is False


async def test_a_switch_that_is_cut_off_is_released_at_once(tmp_path: Path) -> None:
    """The hard time limit of a try counts as doubt too."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:

        async def hang(relay: str, on: bool) -> None:
            if on:
                await asyncio.Event().wait()

        site.device.on_switch = hang
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await site.outputs.activate("gate", "o1", 20 * S, lambda: None)
        await until(lambda: not site.journal.owed())
    assert _positions(site.device) == [False]


async def test_a_second_order_extends_the_first(tmp_path: Path) -> None:
    """One OFF, at the later of the two ends."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _pulse(site, 1, 5)
        await clock.advance(3)
        await _pulse(site, 2, 5)
        await clock.advance(4)
        await settle()
        assert _positions(site.device) == [True, True]
        await clock.advance(1)
        await until(lambda: not site.journal.owed())
    assert _positions(site.device) == [True, True, False]


async def test_an_off_order_pays_the_debt(tmp_path: Path) -> None:
    """After a confirmed `off` the timer has nothing left to do."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await site.do(make_order(clock, "relay", {"output": "gate", "state": "on"}, 1))
        result = await site.do(make_order(clock, "relay", {"output": "gate", "state": "off"}, 2))
        assert result.outcome == "done"
        assert not site.journal.owed()
        await clock.advance(100)
    assert _positions(site.device) == [True, False]


async def test_on_never_lasts_longer_than_declared(tmp_path: Path) -> None:
    """`for: 1h` on an output with `max_on` 30 s lasts 30 s, and the result says so."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        result = await site.do(make_order(clock, "relay", {"output": "gate", "state": "on", "for": "1h"}))
        assert result.output["for"] == "30s"
        await clock.advance(30)
        await until(lambda: not site.journal.owed())
    assert OUTPUTS["gate"].max_on == 30 * S


async def test_a_lamp_may_stay_on(tmp_path: Path) -> None:
    """An output that can hurt nobody owes nothing unless a time is given."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        assert (await site.do(make_order(clock, "relay", {"output": "lamp", "state": "on"}))).outcome == "done"
        assert not site.journal.owed()
    assert _positions(site.device) == [True]


async def test_stopping_the_bridge_releases_everything(tmp_path: Path) -> None:
    """A clean stop leaves nothing away from idle."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await _pulse(site, seconds=20)
    assert _positions(site.device) == [True, False]
    assert await Site(tmp_path, clock).journal.load() == 0


async def test_what_cannot_be_released_at_the_stop_is_released_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The debt outlives the process, and people hear of it."""
    monkeypatch.setattr(releases, "STOP_GRACE", 0.01)
    clock, told = VirtualClock(), list[str]()
    async with running(tmp_path, clock) as site:
        site.journal.on_left = told.append
        site.device.answer_off.append(ActionUnavailableError("away"))
        await _pulse(site, seconds=20)
    assert _positions(site.device) == [True]
    assert told == ["relay/nvr/1/r1 is not back at idle, and the bridge stops: away"]
    async with running(tmp_path, clock, device=site.device) as again:
        again.journal.on_left = told.append
        await until(lambda: not again.journal.owed())
    assert len(told) == 1
    assert _positions(site.device) == [True, False]


@pytest.mark.parametrize("before", [False, True])
async def test_what_has_not_answered_at_the_stop_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Whatever it said to an earlier release."""
    monkeypatch.setattr(releases, "STOP_GRACE", 0.01)
    clock, told = VirtualClock(), list[str]()
    async with running(tmp_path, clock) as site:
        site.journal.on_left = told.append
        if before:
            site.device.answer_off.append(ActionUnavailableError("away"))
            await _pulse(site)
            await clock.advance(10)
            await until(lambda: not site.journal.owed())
        site.device.on_switch = _silent_at_off
        await _pulse(site, 2, seconds=20)
    assert told == ["relay/nvr/1/r1 is not back at idle, and the bridge stops: no answer yet"]


async def _silent_at_off(relay: str, on: bool) -> None:
    if not on:
        await asyncio.Event().wait()


async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paid debts are dropped from time to time, owed ones never."""
    monkeypatch.setattr(releases, "_COMPACT_AT", 8)
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await site.outputs.activate("failsafe", "keep", 30 * S, lambda: None)
        for number in range(20):
            await _pulse(site, number, 0.1)
            await clock.advance(0.1)
            await until(lambda: GATE not in site.journal.owed())
        assert len((tmp_path / "releases.jsonl").read_text().splitlines()) <= 9
        assert len(site.journal.owed()) == 1
        assert await Site(tmp_path, clock).journal.load() == 1


async def test_a_camera_that_moves_is_stopped(tmp_path: Path) -> None:
    """The same journal guarantees the stop of a PTZ move, over a restart too."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        order = make_order(clock, "ptz", {"move": {"pan": 0.5}, "for": "2s"})
        assert (await site.do(order)).outcome == "done"
        await clock.advance(2)
        await until(lambda: not site.journal.owed())
        await site.do(make_order(clock, "ptz", {"move": {"tilt": -1}, "for": "30s"}, 2))
        await site.die()
        device = site.device
    async with running(tmp_path, clock, device=device) as again:
        await until(lambda: not again.journal.owed())
    assert [what for _, what in device.ptz] == ["move 0.5 0 0", "stop", "move 0 -1 0", "stop"]


async def test_a_preset_ends_a_move_before_it_goes(tmp_path: Path) -> None:
    """The stop that is owed must not end the way to the preset."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        await site.do(make_order(clock, "ptz", {"move": {"pan": 1}, "for": "30s"}, 1))
        result = await site.do(make_order(clock, "ptz", {"preset": "entrance"}, 2))
        assert result.outcome == "done"
        await clock.advance(60)
    assert [what for _, what in site.device.ptz] == ["move 1 0 0", "stop", "goto entrance"]


def test_a_crash_is_no_ordinary_exception() -> None:
    """The tests' crash passes through `except Exception`, as a power cut would."""
    assert not issubclass(Crash, Exception)
