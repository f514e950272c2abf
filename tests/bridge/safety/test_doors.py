"""Doors: every guard, its reason, and what a restart must not forget."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import DoorConfig
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import PlateRead
from bridge.schema.orders import Result
from tests.bridge.actions.support import Disk, Site, make_order, plate_event, running, until
from tests.clock import VirtualClock

_number = iter(range(1, 1_000_000))


def _door(**fields: Any) -> dict[str, DoorConfig]:
    return {"main": DoorConfig(**({"output": "gate", "mode": "act"} | fields))}


async def _ask(site: Site, event: VmsEvent | None = None, door: str = "main") -> Result:
    number = next(_number)
    event = event or plate_event(site.clock, number)
    result = await site.do(make_order(site.clock, "open", {"door": door}, number, event))
    await until(lambda: result.outcome != "done" or site.journal.owed())
    return result


def _openings(site: Site) -> int:
    return sum(on for _, _, on in site.device.switched)


async def test_a_door_opens_and_closes(tmp_path: Path) -> None:
    """In mode act, a live read opens for the length of the pulse."""
    clock = VirtualClock()
    async with running(tmp_path, clock, doors=_door(pulse="3s")) as site:
        result = await _ask(site)
        assert (result.outcome, result.output) == ("done", {"door": "main", "output": "gate", "pulse": "3s"})
        await clock.advance(3)
        await until(lambda: not site.journal.owed())
    assert [on for _, _, on in site.device.switched] == [True, False]


def _read(clock: VirtualClock, score: float | None) -> VmsEvent:
    return plate_event(clock, next(_number), data=PlateRead(plate="A1", plate_raw="A1", score=score))


@pytest.mark.parametrize(
    ("door", "score", "reason"),
    [
        ({"mode": "observe"}, 97, "observe"),
        ({"mode": "confirm"}, 97, "needs_confirmation"),
        ({"hold": True}, 97, "hold"),
        ({"hold": True, "mode": "observe"}, 97, "hold"),
        ({}, 89.9, "low_score"),
        ({"mode": "observe"}, 10, "low_score"),
        ({}, None, "no_score"),
        ({}, 90, None),
        ({"min_score": 0}, None, None),
    ],
)
async def test_what_a_door_refuses_says_why(
    tmp_path: Path, door: dict[str, Any], score: float | None, reason: str | None
) -> None:
    """The first guard that says no gives the reason; the mode speaks last."""
    clock = VirtualClock()
    async with running(tmp_path, clock, doors=_door(**door)) as site:
        result = await _ask(site, _read(clock, score))
        assert (result.outcome, result.reason) == (("done", None) if reason is None else ("refused", reason))
        assert _openings(site) == (reason is None)
        if reason is not None:
            assert str(result.message).startswith(WORDS[Reason(reason)])


async def test_an_unknown_door_names_the_nearest(tmp_path: Path) -> None:
    """Doors can go away between the rule's check and the order."""
    async with running(tmp_path, VirtualClock()) as site:
        result = await _ask(site, door="mian")
    assert (result.outcome, result.reason) == ("refused", "unknown_door")
    assert "'main'" in str(result.message)


async def test_only_plates_need_a_score(tmp_path: Path) -> None:
    """A call button has none."""
    clock = VirtualClock()
    event = plate_event(clock, 5, type="call.started", data={"caller": "gate"})
    async with running(tmp_path, clock) as site:
        assert (await _ask(site, event)).outcome == "done"


async def test_the_same_event_never_opens_twice(tmp_path: Path) -> None:
    """Two rules on one read make one opening, also after the cooldown and through another door to the same output."""
    clock = VirtualClock()
    doors = _door() | {"side": DoorConfig(output="gate", mode="act")}
    async with running(tmp_path, clock, doors=doors) as site:
        event = plate_event(clock, 7)
        assert (await _ask(site, event)).outcome == "done"
        await site.advance(8)
        again, beside = await _ask(site, event), await _ask(site, event, "side")
    assert {again.reason, beside.reason} == {"same_event"}
    assert _openings(site) == 1


async def test_the_cooldown_holds_back_the_next_car(tmp_path: Path) -> None:
    """And says when it is over."""
    clock = VirtualClock()
    async with running(tmp_path, clock, doors=_door(cooldown="5s")) as site:
        await _ask(site)
        await site.advance(4)
        refused = await _ask(site)
        assert (refused.reason, str(refused.message).endswith("again in 1s")) == ("cooldown", True)
        await site.advance(1)
        assert (await _ask(site)).outcome == "done"


async def test_limits_per_minute_and_hour(tmp_path: Path) -> None:
    """The windows slide: each opening leaves them on its own."""
    clock = VirtualClock()
    async with running(tmp_path, clock, doors=_door(per_minute=2, per_hour=3, cooldown="1s")) as site:
        outcomes = []
        for pause in (10, 10, 41, 10, 3540):
            outcomes.append((await _ask(site)).reason)
            await site.advance(pause, step=5)
        outcomes.append((await _ask(site)).reason)
    assert outcomes == [None, None, "per_minute", None, "per_hour", None]


async def test_limits_outlive_a_restart(tmp_path: Path) -> None:
    """A crash is no way around the hourly cap, nor a clock that went back meanwhile."""
    clock, doors = VirtualClock(), _door(per_hour=2, cooldown="1s", same_plate="0s")
    async with running(tmp_path, clock, doors=doors) as site:
        event = plate_event(clock, 3)
        await _ask(site, event)
        await site.advance(5)
        await _ask(site)
    clock.jump(timedelta(hours=-5))
    async with running(tmp_path, clock, Disk(), doors=doors) as site:
        assert (await _ask(site, plate_event(clock, 3))).reason == "same_event"
        assert (await _ask(site)).reason == "cooldown"
        await site.advance(10)
        assert (await _ask(site)).reason == "per_hour"
        await site.advance(3600, step=60)
        assert (await _ask(site)).outcome == "done"


async def test_an_opening_that_did_not_happen_does_not_count(tmp_path: Path) -> None:
    """The device was too busy until the order expired: the next car is not refused for it, nor after a restart."""
    clock, doors = VirtualClock(), _door(per_hour=1)
    async with running(tmp_path, clock, doors=doors) as site:
        site.device.answers.extend([ActionUnavailableError("busy")] * 20)
        order = make_order(clock, "open", {"door": "main"}, next(_number))
        site.queue.put(order)
        while order.id not in site.disk.acked:
            await site.advance(0.25)
        (result,) = await site.ended(order)
        assert (result.outcome, result.reason) == ("expired", "too_old")
        site.device.answers.clear()
    async with running(tmp_path, clock, Disk(), doors=doors) as site:
        assert (await _ask(site)).outcome == "done"


async def test_a_retry_is_not_refused_for_its_own_first_try(tmp_path: Path) -> None:
    """Cooldown and "same event" look at other orders."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answers.append(ActionUnavailableError("busy"))
        order = make_order(clock, "open", {"door": "main"}, next(_number))
        site.queue.put(order)
        await until(lambda: site.disk.effects and site.disk.effects[order.id].effect.status == "waiting")
        await site.advance(1)
        (result,) = await site.ended(order)
    assert (result.outcome, result.attempts) == ("done", 2)


async def test_a_return_to_idle_ends_the_retries_of_what_it_undoes(tmp_path: Path) -> None:
    """Something is under the barrier: an opening that waits for a busy device is not tried again, the next one is."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answers.append(ActionUnavailableError("busy"))
        opening = make_order(clock, "open", {"door": "main"}, next(_number))
        site.queue.put(opening)
        await until(lambda: site.disk.effects and site.disk.effects[opening.id].effect.status == "waiting")
        clock.jump(timedelta(seconds=0.25))
        back = make_order(clock, "relay", {"output": "barrier", "state": "off"}, next(_number))
        assert (await site.do(back)).outcome == "done"
        await site.advance(2)
        (result,) = await site.ended(opening)
        assert (result.outcome, result.reason, _openings(site)) == ("refused", "superseded", 0)
        assert (await _ask(site)).outcome == "done"


async def test_a_door_may_be_stricter_than_the_gate(tmp_path: Path) -> None:
    """`max_age: 3s` lets nothing older in; `max_age` above 10 s lets a slow source in."""
    clock = VirtualClock()
    for limit, age, outcome in (("3s", 4, "expired"), ("3s", 3, "done"), ("45s", 40, "done"), ("10m", 61, "expired")):
        async with running(tmp_path / f"{limit}{age}", clock, doors=_door(max_age=limit)) as site:
            event = plate_event(clock, next(_number), time=clock.now() - timedelta(seconds=age))
            result = await _ask(site, event)
            assert (limit, age, result.outcome) == (limit, age, outcome)


async def test_observe_counts_as_act_would(tmp_path: Path) -> None:
    """A door under observation shows what its limits would do, and remembers nothing on disk."""
    clock = VirtualClock()
    async with running(tmp_path, clock, doors=_door(mode="observe")) as site:
        reasons = [(await _ask(site)).reason for _ in range(2)]
    assert reasons == ["observe", "cooldown"]
    assert not (tmp_path / "doors.jsonl").exists()


async def test_the_kill_switch_is_asked_right_before_sending(tmp_path: Path) -> None:
    """Pulled while the debt is being written: nothing is sent, nothing is owed, nothing counts."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        append = site.journal._file.append

        def append_and_pull(record: Any) -> None:
            append(record)
            if record["op"] == "arm":
                (tmp_path / "kill").touch()

        site.journal._file.append = append_and_pull  # type: ignore[method-assign]
        result = await _ask(site)
        assert (result.outcome, result.reason) == ("refused", "kill_switch")
        assert not site.journal.owed()
        (tmp_path / "kill").unlink()
        site.journal._file.append = append  # type: ignore[method-assign]
        assert (await _ask(site)).outcome == "done"
    assert _openings(site) == 1


async def test_a_hold_is_asked_for_right_before_sending(tmp_path: Path) -> None:
    """Put on while the debt is being written: the door stays shut, and nothing counts."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        append = site.journal._file.append

        def append_and_hold(record: Any) -> None:
            append(record)
            (tmp_path / "holds").mkdir(exist_ok=True)
            (tmp_path / "holds" / "main").touch()

        site.journal._file.append = append_and_hold  # type: ignore[method-assign]
        result = await _ask(site)
        assert (result.outcome, result.reason) == ("refused", "hold")
        assert (site.journal.owed(), site.device.switched) == ({}, [])


async def test_the_age_is_asked_for_right_before_sending(tmp_path: Path) -> None:
    """A disk that took its time makes the cause too old for this door, though not for the gate."""
    clock = VirtualClock()
    async with running(tmp_path, clock, doors=_door(max_age="3s")) as site:
        append = site.journal._file.append

        def append_slowly(record: Any) -> None:
            append(record)
            clock.jump(timedelta(seconds=4))

        site.journal._file.append = append_slowly  # type: ignore[method-assign]
        result = await _ask(site)
        assert (result.outcome, result.reason) == ("expired", "too_old")
        assert (site.journal.owed(), site.device.switched) == ({}, [])


async def test_interlocks_are_asked_for_right_before_sending(tmp_path: Path) -> None:
    """Somebody walks into the lock while the debt is being written."""
    clock, free = VirtualClock(), {"entity": "lock", "attribute": "motion", "is": "off"}
    async with running(tmp_path, clock, doors=_door(requires=[free])) as site:
        site.known["lock", "motion"] = "off"
        append = site.journal._file.append

        def append_and_walk_in(record: Any) -> None:
            append(record)
            site.known["lock", "motion"] = "on"

        site.journal._file.append = append_and_walk_in  # type: ignore[method-assign]
        result = await _ask(site)
        assert (result.outcome, result.reason) == ("refused", "interlock")
        assert (site.journal.owed(), site.device.switched) == ({}, [])


async def test_a_hold_of_one_door_stops_every_door_to_its_output(tmp_path: Path) -> None:
    """Whoever works at the gate has stopped the gate, whatever name it is opened by."""
    clock = VirtualClock()
    doors = _door() | {"visitors": DoorConfig(output="gate", mode="act")}
    async with running(tmp_path, clock, doors=doors) as site:
        await site.doors.holds["visitors"].pull("anna", "oiling the hinges")
        held = await _ask(site)
        await site.doors.holds["visitors"].reset("anna", "done")
        free = await _ask(site)
    assert (held.outcome, held.reason) == ("refused", "hold")
    assert "visitors" in (held.message or "")
    assert (free.outcome, _openings(site)) == ("done", 1)


async def test_a_door_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the one that was meant."""
    doors = Site(tmp_path, VirtualClock()).doors
    with pytest.raises(ActionRejectedError, match=r"unknown door 'mian'; did you mean 'main'\?$"):
        doors.get("mian")


async def test_the_breaker_counts_openings_of_doors_by_their_order(tmp_path: Path) -> None:
    """Three orders are three: the third is one too many."""
    clock, limits = VirtualClock(), {"breaker": {"per_minute": 2, "storm": 9}}
    async with running(tmp_path, clock, doors=_door(cooldown="0s"), safety=limits) as site:
        outcomes = [(await _ask(site)).reason for _ in range(3)]
    assert outcomes == [None, None, "breaker"]


async def test_a_storm_at_a_door_is_counted_by_order(tmp_path: Path) -> None:
    """Also of orders that the door refuses."""
    clock, limits = VirtualClock(), {"breaker": {"per_minute": 9, "storm": 2}}
    async with running(tmp_path, clock, doors=_door(hold=True), safety=limits) as site:
        outcomes = [(await _ask(site)).reason for _ in range(3)]
    assert outcomes == ["hold", "hold", "breaker"]


async def test_a_person_may_open_by_command(tmp_path: Path) -> None:
    """A command counts as live."""
    clock = VirtualClock()
    event = plate_event(clock, 9, type="call.started", data={"caller": "app"}, origin=Origin.COMMAND)
    async with running(tmp_path, clock) as site:
        assert (await _ask(site, event)).outcome == "done"
