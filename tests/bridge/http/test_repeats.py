"""A push without a time counts as now once: sent again, it is the first one, or in doubt; over restarts, too."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import StartError
from bridge.http.repeats import Repeats
from tests.bridge.actions.support import make_order, running
from tests.bridge.http.pushes import HOURS, one, opened, pushed
from tests.bridge.safety.meanwhile import left_while_compacting
from tests.clock import VirtualClock

S = timedelta(seconds=1)


@pytest.mark.parametrize("restart", [False, True])
async def test_the_same_again_within_a_minute_is_the_first_one(tmp_path: Path, restart: bool) -> None:
    """With its id and its time, so that the log keeps one and a door sees how old it is."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    first = await one(repeats, pushed(clock))
    await clock.advance(59)
    if restart:
        repeats = await opened(tmp_path, clock)
    assert await one(repeats, pushed(clock)) == first
    assert first.timequality == "received"


@pytest.mark.parametrize("restart", [False, True])
async def test_the_same_again_within_hours_is_another_event_and_in_doubt(tmp_path: Path, restart: bool) -> None:
    """It may be the same car again, or the same push. Hours after the last time it is the car."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    seen = [await one(repeats, pushed(clock))]
    for hours in (5, 11.9, 0.01, 12):
        await clock.advance(hours * 3600)
        if restart:
            repeats = await opened(tmp_path, clock)
        seen.append(await one(repeats, pushed(clock)))
    assert [event.timequality for event in seen] == ["received", "doubtful", "doubtful", "doubtful", "received"]
    assert len({event.id for event in seen}) == 4, "36 s after it came in doubt it is the same again"
    assert seen[3] == seen[2]


async def test_what_has_a_time_or_other_content_is_left_alone(tmp_path: Path) -> None:
    """Another client, another content, another message of who signs, another source: none of them is a repeat."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    others = [
        pushed(clock), pushed(clock, "B"), pushed(clock, client="b"), pushed(clock, name="msg_1"),
        pushed(clock, name="msg_2"), pushed(clock, source="site/other"), pushed(clock, timequality="device"),
    ]  # fmt: skip
    assert await repeats.known(others) == [other.event for other in others]
    await clock.advance(61)
    qualities = [event.timequality for event in await repeats.known(others)]
    assert qualities == ["doubtful"] * 6 + ["device"]


async def test_a_client_that_sends_nothing_twice_is_believed_after_a_minute(tmp_path: Path) -> None:
    """It is said in the configuration."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    first = await one(repeats, pushed(clock)._replace(within=timedelta(0)))
    await clock.advance(61)
    again = await one(repeats, pushed(clock)._replace(within=timedelta(0)))
    assert (again.timequality, again.id != first.id) == ("received", True)


async def test_what_cannot_be_written_down_is_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an event all the same; and as soon as it can be written, it is."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    assert repeats._file is not None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(repeats._file, "append", full)
        first, timed = await repeats.known([pushed(clock), pushed(clock, "B", timequality="device")])
        assert (first.timequality, timed.timequality) == ("doubtful", "device")
    assert (await one(repeats, pushed(clock, "C"))).timequality == "received"
    again = await opened(tmp_path, clock)
    await clock.advance(61)
    assert (await one(again, pushed(clock))).timequality == "doubtful"


async def test_who_is_cut_short_has_written_nothing_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request ran out of time while the disk hung; whoever comes next writes it down before it is heard of."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    hangs = asyncio.Event()

    async def slow(*_: Any) -> None:
        await hangs.wait()

    with monkeypatch.context() as broken:
        broken.setattr(asyncio, "to_thread", slow)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await repeats.known([pushed(clock)])
    event = await one(repeats, pushed(clock))
    again = await opened(tmp_path, clock)
    assert await one(again, pushed(clock)) == event


async def test_a_full_memory_forgets_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is new is in doubt instead; that is said once."""
    clock = VirtualClock()
    repeats = Repeats(tmp_path / "pushes.jsonl", clock, HOURS, room=2)
    qualities = [(await one(repeats, pushed(clock, content))).timequality for content in "ABCD"]
    assert qualities == ["received", "received", "doubtful", "doubtful"]
    assert len(caplog.records) == 1
    await clock.advance(61)
    assert (await one(repeats, pushed(clock, "A"))).timequality == "doubtful"
    await clock.advance(HOURS.total_seconds())
    assert (await one(repeats, pushed(clock, "C"))).timequality == "received"


async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says nothing any more is left out; what is remembered stays."""
    monkeypatch.setattr("bridge.http.repeats._COMPACT_AT", 10)
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    for number in range(100):
        await one(repeats, pushed(clock, f"{number}"))
        await clock.advance(3600)
    await repeats.aclose()
    lines = (tmp_path / "pushes.jsonl").read_text().splitlines()
    assert len(lines) <= 25
    assert (await one(await opened(tmp_path, clock), pushed(clock, "95"))).timequality == "doubtful"


async def test_what_comes_while_the_file_is_shortened_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if who had it shortened has gone away meanwhile, and waits for it no more."""
    monkeypatch.setattr("bridge.http.repeats._COMPACT_AT", 0)
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    await one(repeats, pushed(clock, "A"))
    await clock.advance(61)
    again = one(repeats, pushed(clock, "A"))  # its second line: there is one to leave out
    async with left_while_compacting(monkeypatch, again):
        assert (await one(repeats, pushed(clock, "B"))).timequality == "received"
    await clock.advance(61)
    assert (await one(await opened(tmp_path, clock), pushed(clock, "B"))).timequality == "doubtful"


async def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """What nobody can look up would count as new. A line that is damaged is reported, and the others count."""
    clock = VirtualClock()
    path = tmp_path / "pushes.jsonl"
    await one(await opened(tmp_path, clock), pushed(clock))
    path.write_text('{"key": 1}\nx\n{"key": "a", "at": "soon", "event": "e"}\n' + path.read_text())
    assert (await one(await opened(tmp_path, clock), pushed(clock))).id
    path.unlink()
    path.mkdir()
    with pytest.raises(StartError, match=r"pushes\.jsonl cannot be read"):
        await opened(tmp_path, clock)


async def test_after_our_clock_went_back_it_is_in_doubt(tmp_path: Path) -> None:
    """What was pushed in the future was pushed before."""
    clock = VirtualClock()
    first = await one(await opened(tmp_path, clock), pushed(clock))
    clock.jump(-3600 * S)
    again = await one(await opened(tmp_path, clock), pushed(clock))
    assert (again.timequality, again.id != first.id) == ("doubtful", True)


async def test_a_push_that_is_sent_again_opens_a_door_once(tmp_path: Path) -> None:
    """Our answer was lost: after a while, after minutes, after a restart."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        repeats = await opened(tmp_path, clock)
        outcomes = []
        for number, wait in enumerate((0, 30, 40, 300, 4000)):
            await site.advance(wait, step=30)
            if number == 3:
                repeats = await opened(tmp_path, clock)
            event = await one(repeats, pushed(clock))
            outcomes.append((await site.do(make_order(clock, "open", {"door": "main"}, number, event))).reason)
        assert outcomes == [None, "too_old", "no_time", "no_time", "no_time"]
        assert sum(on for _, _, on in site.device.switched) == 1


STORY = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 30.0, 59.0, 61.0, 600.0, 39_600.0, 43_300.0]),
        st.sampled_from(["A", "B"]),
        st.sampled_from(["", "", "restart", "broken"]),
    ),
    max_size=15,
)


@given(STORY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
async def test_of_any_course_of_pushes_none_counts_as_now_twice(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[float, str, str]]
) -> None:
    """Within the hours in which it may be sent again, one content is one event that is not in doubt, at most."""
    clock, folder = VirtualClock(), tmp_path_factory.mktemp("pushes")
    repeats = await opened(folder, clock)
    now: defaultdict[str, set[str]] = defaultdict(set)
    last: dict[str, float] = {}
    for wait, content, accident in story:
        await clock.advance(wait)
        if accident == "restart":
            await repeats.aclose()
            repeats = await opened(folder, clock)
        if clock.monotonic() - last.get(content, 0.0) >= HOURS.total_seconds():
            now[content].clear()
        with pytest.MonkeyPatch.context() as patch:
            if accident == "broken":
                patch.setattr(repeats._file, "append", _broken)
            event = await one(repeats, pushed(clock, content))
        last[content] = clock.monotonic()
        if event.timequality == "received":
            now[content].add(event.id)
        assert len(now[content]) <= 1
    await repeats.aclose()


def _broken(*_: object) -> None:
    raise OSError(5, "Input/output error")
