"""What can be believed: the clocks of sources, our own clock, the state of things, the contact of a door."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import DoorConfig
from bridge.errors import ConnectorUnavailableError, StoreUnavailableError
from bridge.safety.clocks import KEPT, SourceClocks
from bridge.safety.ownclock import OwnClock, shut_until
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.event import Origin
from bridge.schema.kinds import StateChanged
from bridge.source_clocks import AGAIN, LATER, watch_clocks
from bridge.tap import Tap
from tests.bridge.actions.support import make_order, plate_event, running, until
from tests.clock import START, VirtualClock, settle

S = timedelta(seconds=1)


def _clocks(clock: VirtualClock, *trusted: str) -> SourceClocks:
    return SourceClocks(clock, 5 * S, trusted)


def test_what_a_source_tells_counts_for_a_while() -> None:
    """And is unknown again when nobody has asked for long."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    assert clocks.offset("nvr") is None
    clocks.learn("nvr", 3 * S)
    assert clocks.offset("nvr") == 3 * S
    clock._elapsed += KEPT.total_seconds()
    assert clocks.offset("nvr") == 3 * S
    clock._elapsed += 1
    assert clocks.offset("nvr") is None


@pytest.mark.parametrize(("ahead", "told"), [(8, True), (8.001, False), (-60, True)])
def test_what_comes_before_it_happens_denies_what_was_told(ahead: float, told: bool) -> None:
    """Further ahead than the source said by more than the tolerance; what is late shows nothing."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    clocks.learn("nvr", 3 * S)
    clocks.heard(plate_event(clock, 1, time=clock.now() + ahead * S))
    assert clocks.told("nvr") is told


def test_only_the_last_messages_show_a_clock() -> None:
    """Fifty of them, for six hours: what it showed before that, a quartz may have lost."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    for late in (0, *range(50, 0, -1)):
        clocks.heard(plate_event(clock, late, time=clock.now() - late * S))
    assert clocks.offset("nvr") == -1 * S
    clock._elapsed += KEPT.total_seconds()
    assert clocks.offset("nvr") == -1 * S
    clock._elapsed += 1
    assert clocks.offset("nvr") is None


def test_a_clock_within_the_tolerance_is_not_off() -> None:
    """To either side; a source whose clock is declared right never is."""
    clocks = _clocks(VirtualClock(), "right")
    for source, offset in (("ahead", 5), ("behind", -5), ("far", 5.001), ("back", -5.001), ("right", 60)):
        clocks.learn(source, offset * S)
    assert clocks.off() == {"far": 5.001 * S, "back": -5.001 * S}


def test_what_a_source_says_shows_how_wrong_its_clock_is() -> None:
    """The least delayed of its live messages; one alone, and what comes late or without a time, shows nothing."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    for number, late in enumerate((0.2, 30, 4)):
        assert clocks.offset("nvr") is None
        clocks.heard(plate_event(clock, number, time=clock.now() + 60 * S - late * S))
    assert clocks.offset("nvr") == 59.8 * S
    for number in range(5):
        clocks.heard(plate_event(clock, number, source="site/log", origin=Origin.BACKFILL))
        clocks.heard(plate_event(clock, number, source="site/push", timequality="received"))
    assert (clocks.offset("log"), clocks.offset("push")) == (None, None)


def test_messages_never_show_that_a_clock_is_right() -> None:
    """They might be from a full buffer of a clock that is as far ahead as they are late."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    for number in range(60):
        clocks.heard(plate_event(clock, number))
    assert (clocks.offset("nvr"), clocks.told("nvr")) == (timedelta(), False)


@pytest.mark.parametrize(("ahead", "told"), [(4.9, True), (5.1, False), (3600, False), (-3600, True)])
def test_a_message_from_the_future_denies_what_its_source_told(ahead: float, told: bool) -> None:
    """Its clock was set since, or ours; one that is late shows nothing."""
    clock = VirtualClock()
    clocks = _clocks(clock)
    clocks.learn("nvr", timedelta())
    clocks.learn("other", timedelta())
    clocks.heard(plate_event(clock, 1, time=clock.now() + ahead * S))
    assert (clocks.told("nvr"), clocks.told("other")) == (told, True)


async def test_a_buffer_of_a_clock_that_is_ahead_opens_nothing(tmp_path: Path) -> None:
    """An hour ahead, an hour late: each of its messages looks like now, and there are many of them."""
    async with running(tmp_path, VirtualClock()) as site:
        site.safety.clocks.forget()
        for number in range(5):
            event = plate_event(site.clock, number)
            site.safety.clocks.heard(event)
            result = await site.do(make_order(site.clock, "open", {"door": "main"}, number, event))
            assert (result.outcome, result.reason) == ("refused", "clock_unknown")
        assert site.device.switched == []


@pytest.mark.parametrize(
    ("told", "needed"),
    [
        ({}, True),
        ({"timequality": "server"}, True),
        ({"timequality": "received"}, False),
        ({"origin": Origin.COMMAND}, False),
        ({"source": "site/right"}, False),
        ({"via": "push", "principal": "right"}, False),
        ({"via": "push", "principal": "other"}, True),
    ],
)
def test_whose_clock_must_be_known(told: dict[str, Any], needed: bool) -> None:
    """Who pushes without a time speaks now; who is declared right, or known by name, needs no proof."""
    clock = VirtualClock()
    assert _clocks(clock, "right").needed_for(plate_event(clock, 1, **told)) is needed


class Server:
    """A source that can be asked for its clock, when it answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[Any] = []

    async def clock_offset(self) -> timedelta | None:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_sources_are_asked_until_they_tell_and_again_later() -> None:
    """No answer, a bug, no date: again soon. Told: again after a minute."""
    clock, server = VirtualClock(), Server()
    clocks = _clocks(clock)
    server.answers = [ConnectorUnavailableError("away"), KeyError("bug"), None, 2 * S, 9 * S]
    task = asyncio.create_task(watch_clocks({"nvr": server}, clocks, clock))
    for _ in range(3):
        await clock.until_asleep()
        assert clocks.offset("nvr") is None
        await clock.advance(AGAIN)
    await clock.until_asleep()
    assert clocks.offset("nvr") == 2 * S
    await clock.advance(LATER)
    assert (clocks.offset("nvr"), server.asked) == (9 * S, 5)
    task.cancel()
    await asyncio.wait((task,))


def test_our_clock_is_not_believed_until_it_has_caught_up(tmp_path: Path) -> None:
    """Put back by an hour: an hour long no age can be told, also over a restart. Forward, or a little, is no matter."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    for step in (-1.9, 3600, 0):
        clock.jump(step * S)
        assert own.trusted()
    clock.jump(-3600 * S)
    assert not own.trusted()
    clock.jump(3599 * S)
    assert not OwnClock(tmp_path, clock).trusted()
    clock.jump(2 * S)
    assert OwnClock(tmp_path, clock).trusted()


async def test_a_clock_that_falls_behind_went_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Measured by the clock that nobody sets: time passed and it does not show it. Two seconds are nothing."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    await clock.advance(10)
    clock.jump(-2 * S)
    assert own.trusted()
    await clock.advance(10)
    clock.jump(-3.26 * S)
    assert own.shut_until() == START + 18 * S
    assert [record.seconds for record in caplog.records] == [3.3]  # type: ignore[attr-defined]
    assert json.loads((tmp_path / "clock").read_bytes()) == {
        "until": (START + 18 * S).isoformat(), "accepted": False
    }  # fmt: skip


async def test_the_last_moment_of_doubt_is_still_in_doubt(tmp_path: Path) -> None:
    """The very moment that the clock showed last comes twice as well; the one after it does not."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    clock.jump(-60 * S)
    assert own.shut_until() == START
    await clock.advance(60)
    assert own.shut_until() == shut_until(tmp_path, clock.now()) == START
    await own.accept()
    assert own.shut_until() is shut_until(tmp_path, clock.now()) is None
    assert not own.vouches("never heard")
    await clock.advance(0.001)
    assert own.vouches("never heard")


async def test_a_mark_that_is_past_shuts_nothing(tmp_path: Path) -> None:
    """Who looks at the files of a bridge that does not run sees what it would see."""
    assert shut_until(tmp_path, START) is None
    (tmp_path / "clock").write_text(json.dumps({"until": START.isoformat(), "accepted": False}))
    assert shut_until(tmp_path, START - S) == START
    assert shut_until(tmp_path, START + timedelta(microseconds=1)) is None


async def test_what_was_heard_in_the_last_minute_is_vouched_for(tmp_path: Path) -> None:
    """Each for its own minute, however much else is heard meanwhile and however long the process has run."""
    clock = VirtualClock()
    await clock.advance(1000)
    own = OwnClock(tmp_path, clock)
    clock.jump(-86_400 * S)
    assert await own.accept()
    first, second = plate_event(clock, 1), plate_event(clock, 2)
    own.heard(first)
    await clock.advance(59.5)
    own.heard(second)
    assert own.vouches(first.id)
    await clock.advance(0.5)
    own.heard(plate_event(clock, 3))
    assert [own.vouches(event.id) for event in (first, second)] == [False, True]
    await clock.advance(59)
    own.heard(first)
    assert [own.vouches(event.id) for event in (first, second)] == [True, True]


def test_a_clock_that_went_back_twice_catches_up_with_the_first(tmp_path: Path) -> None:
    """The latest moment it ever showed counts."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    for _ in range(2):
        clock.jump(-100 * S)
        assert not own.trusted()
    clock.jump(150 * S)
    assert not own.trusted()
    clock.jump(51 * S)
    assert own.trusted()


async def test_that_our_clock_went_back_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it is told that a restart would forget it."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    assert own.unwritten is False

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("bridge.safety.ownclock.write_synced", full)
        clock.jump(-60 * S)
        assert not own.trusted()
    assert own.unwritten is True
    assert OwnClock(tmp_path, clock).trusted()
    await own.write_again()
    assert own.unwritten is False
    assert not OwnClock(tmp_path, clock).trusted()


async def test_a_person_accepts_our_clock_and_what_came_before_stays_shut_out(tmp_path: Path) -> None:
    """Set a day forward and corrected: only what is heard after the word of a person counts, also over a restart."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    assert not await own.accept()
    clock.jump(86_400 * S)
    before = plate_event(clock, 1)
    own.heard(before)
    clock.jump(-86_400 * S)
    assert not own.vouches(before.id)
    own.heard(before)
    assert await own.accept()
    assert own.trusted()
    assert not own.vouches(before.id)
    after = plate_event(clock, 2)
    own.heard(after)
    assert own.vouches(after.id)
    again = OwnClock(tmp_path, clock)
    assert (again.trusted(), again.vouches(after.id)) == (True, False)
    await clock.advance(60)
    assert not own.vouches(after.id)
    clock.jump(86_400 * S)
    assert own.vouches(before.id)


async def test_a_clock_that_goes_back_again_must_be_accepted_again(tmp_path: Path) -> None:
    """The word was about the time before."""
    clock = VirtualClock()
    own = OwnClock(tmp_path, clock)
    for _ in range(2):
        clock.jump(-100 * S)
        assert not own.trusted()
        assert await own.accept()
        assert own.trusted()
    assert OwnClock(tmp_path, clock).trusted()


def test_the_mark_of_an_earlier_version_counts(tmp_path: Path) -> None:
    """It was the moment alone; what is no mark at all is none."""
    clock = VirtualClock()
    (tmp_path / "clock").write_text((clock.now() + 60 * S).isoformat())
    assert OwnClock(tmp_path, clock).shut_until() == shut_until(tmp_path, clock.now()) == clock.now() + 60 * S
    for text in ("", "{", "{}", '{"until": 5, "accepted": false}', "[]"):
        (tmp_path / "clock").write_text(text)
        assert OwnClock(tmp_path, clock).trusted()


async def test_a_source_whose_clock_was_set_right_is_learned_anew(tmp_path: Path) -> None:
    """What it said while it was wrong no longer counts, and it is asked within seconds instead of a minute."""
    clock, server = VirtualClock(), Server()
    clocks = _clocks(clock)
    for number in range(5):
        clocks.heard(plate_event(clock, number, time=clock.now() + 86_400 * S))
    assert clocks.off() == {"nvr": 86_400 * S}
    clocks.forget("other")
    clocks.forget("nvr")
    assert (clocks.offset("nvr"), clocks.off()) == (None, {})
    server.answers = [86_400 * S, 0 * S]
    task = asyncio.create_task(watch_clocks({"nvr": server}, clocks, clock))
    await clock.until_asleep()
    assert clocks.off() == {"nvr": 86_400 * S}
    clocks.forget("nvr")
    await clock.advance(AGAIN)
    assert (clocks.offset("nvr"), clocks.off(), server.asked) == (0 * S, {}, 2)
    task.cancel()
    await asyncio.wait((task,))


CONTACT = {"entity": "nvr/9", "attribute": "contact", "is": "open"}


def _contact(clock: VirtualClock, value: str, **more: Any) -> Any:
    data = StateChanged(entity="nvr/9", attribute="contact", value=value)
    return plate_event(clock, 1, **({"type": "state.changed", "data": data} | more))


@pytest.mark.parametrize(
    ("value", "origin", "after", "outcome"),
    [
        ("open", Origin.LIVE, 2, "done"),
        ("open", Origin.LIVE, 4, "unknown"),
        ("shut", Origin.LIVE, 1, "unknown"),
        ("open", Origin.BACKFILL, 1, "unknown"),
        ("open", Origin.REPLAY, 1, "unknown"),
    ],
)
async def test_a_door_shows_that_it_opened_or_nobody_knows(
    tmp_path: Path, value: str, origin: Origin, after: float, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The contact within 3 s, live; otherwise the order ends `unknown` and is never repeated."""
    clock = VirtualClock()
    doors = {"main": DoorConfig.model_validate({"output": "barrier", "mode": "act", "confirmed_by": CONTACT})}
    async with running(tmp_path, clock, doors=doors) as site:
        site.known["nvr/9", "contact"] = "shut"
        order = make_order(clock, "open", {"door": "main"})
        site.queue.put(order)
        async with asyncio.timeout(5):
            while not site.safety.facts._waiting:  # noqa: ASYNC110 - nobody signals it
                await asyncio.sleep(0.001)
        await clock.advance(after)
        site.safety.facts.heard(_contact(clock, value, origin=origin))
        await clock.advance(5)
        [result] = await site.ended(order)
        assert result.outcome == outcome
        assert result.output.get("confirmed", False) is (outcome == "done")
        said = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
        if outcome == "unknown":
            words = f": {WORDS[Reason.NOT_CONFIRMED]}: contact of nvr/9 not seen within 3s"
            assert str(result.message).endswith(words)
            assert (said[0]["door"], said[0]["contact"]) == ("main", "contact of nvr/9")
        assert sum(on for _, _, on in site.device.switched) == 1


async def test_a_contact_that_says_so_already_will_do_and_confirms_nothing(tmp_path: Path) -> None:
    """The gate stood open, or its contact is stuck: the order is done, and says that nothing was seen to open."""
    clock = VirtualClock()
    doors = {"main": DoorConfig.model_validate({"output": "barrier", "mode": "act", "confirmed_by": CONTACT})}
    async with running(tmp_path, clock, doors=doors) as site:
        site.known["nvr/9", "contact"] = "open"
        assert (await site.do(make_order(clock, "open", {"door": "main"}))).output["confirmed"] == "already"


async def test_a_contact_of_which_nothing_was_known_confirms_nothing(tmp_path: Path) -> None:
    """Its first word comes after the order, but it may have been on all along: a stuck one that was given up, say."""
    clock = VirtualClock()
    doors = {"main": DoorConfig.model_validate({"output": "barrier", "mode": "act", "confirmed_by": CONTACT})}
    async with running(tmp_path, clock, doors=doors) as site:
        order = make_order(clock, "open", {"door": "main"})
        site.queue.put(order)
        await until(lambda: site.safety.facts._waiting)
        site.safety.facts.heard(_contact(clock, "open", origin=Origin.RESYNC))
        [result] = await site.ended(order)
        assert (result.outcome, result.output["confirmed"]) == ("done", "unknown_before")


async def test_a_watcher_that_fails_does_not_stop_the_event() -> None:
    """The others see it, and it is stored."""
    clock, seen, stored = VirtualClock(), [], []

    async def emit(events: Any) -> asyncio.Future[None]:
        stored.extend(events)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def broken(_: Any) -> None:
        raise KeyError("a bug")

    def broken_too(_: Any, stored: bool) -> None:
        raise KeyError("another")

    tap = Tap(emit, [broken])
    tap.add(seen.append)
    tap.follow(frozenset({"plate.read"}), broken_too)
    event = plate_event(clock, 1)
    await (await tap([event]))
    assert (seen, stored) == ([event], [event])


@pytest.mark.parametrize("end", ["stored", "refused", "raised", "cancelled"])
async def test_who_follows_events_hears_what_became_of_them(end: str) -> None:
    """Once, when it is known; of the kinds that were asked for."""
    told: list[tuple[str, bool]] = []
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def emit(_: Any) -> asyncio.Future[None]:
        if end == "raised":
            raise StoreUnavailableError("away")
        return done

    tap = Tap(emit, [])
    tap.follow(frozenset({"motion.started"}), lambda event, stored: told.append((event.id, stored)))
    moving = plate_event(VirtualClock(), 2, type="motion.started", data={})
    with suppress(StoreUnavailableError):
        await tap([plate_event(VirtualClock(), 1), moving])
        assert told == []
    if end == "stored":
        done.set_result(None)
    elif end == "refused":
        done.set_exception(StoreUnavailableError("no"))
    else:
        done.cancel()
    await settle()
    assert told == [(moving.id, end == "stored")]
