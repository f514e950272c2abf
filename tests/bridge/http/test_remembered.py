"""What is remembered of pushes without a time: to the second for how long, and to the line what is in the file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bridge.errors import StartError
from bridge.http.repeats import Repeats
from tests.bridge.http.pushes import HOURS, one, opened, pushed
from tests.clock import VirtualClock


def _lines(folder: Path) -> list[str]:
    return (folder / "pushes.jsonl").read_text().splitlines()


async def _qualities(repeats: Repeats, clock: VirtualClock, contents: str) -> list[str]:
    return [(await one(repeats, pushed(clock, content))).timequality for content in contents]


async def test_without_a_file_a_push_is_known_until_the_end() -> None:
    """There is nothing to read then, nothing to write and nothing to let go of."""
    clock = VirtualClock()
    repeats = Repeats(None, clock, HOURS)
    await repeats.load()
    first = await one(repeats, pushed(clock))
    assert (first.timequality, await one(repeats, pushed(clock))) == ("received", first)
    await clock.advance(61)
    assert await _qualities(repeats, clock, "A") == ["doubtful"]
    await repeats.aclose()


async def test_each_push_that_counts_is_one_line(tmp_path: Path) -> None:
    """The same again within a minute is none; what has been let go of opens again."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    for content, count in (("A", 1), ("B", 2), ("A", 2), ("C", 3)):
        await one(repeats, pushed(clock, content))
        assert len(_lines(tmp_path)) == count
    file = repeats._file
    assert file is not None
    assert file._descriptor is not None
    await repeats.aclose()
    assert file._descriptor is None
    await one(repeats, pushed(clock, "D"))
    assert len(_lines(tmp_path)) == 4


async def test_a_client_says_to_the_second_how_long_it_may_send_again(tmp_path: Path) -> None:
    """From then on the same is the car that comes again."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    seen = []
    for wait in (0, 3599, 3600):
        await clock.advance(wait)
        seen.append(await one(repeats, pushed(clock)._replace(within=timedelta(hours=1))))
    assert [event.timequality for event in seen] == ["received", "doubtful", "received"]


async def test_the_oldest_are_forgotten_first_after_a_restart_too(tmp_path: Path) -> None:
    """Each after twelve hours to the second, which makes room for another one."""
    clock = VirtualClock()
    repeats = Repeats(tmp_path / "pushes.jsonl", clock, HOURS, room=8)
    for content in "ABCDEFGH":
        await one(repeats, pushed(clock, content))
        await clock.advance(3600)
    await clock.advance(7 * 3600)
    for _ in range(2):
        repeats = Repeats(tmp_path / "pushes.jsonl", clock, HOURS, room=8)
        await repeats.load()
    assert await _qualities(repeats, clock, "12345") == ["received"] * 4 + ["doubtful"]


async def test_that_the_memory_is_full_is_said_once_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At once also where a start finds it full."""
    clock = VirtualClock()
    await one(await opened(tmp_path, clock), pushed(clock))
    repeats = Repeats(tmp_path / "pushes.jsonl", clock, HOURS, room=1)
    await repeats.load()
    for content, said in (("B", 1), ("C", 1)):
        assert await _qualities(repeats, clock, content) == ["doubtful"]
        assert len(caplog.records) == said
    await clock.advance(HOURS.total_seconds())
    assert await _qualities(repeats, clock, "DE") == ["received", "doubtful"]
    assert len(caplog.records) == 2


async def test_what_could_not_be_written_until_it_was_forgotten_never_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say nothing any more."""
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(repeats._file, "append", full)
        assert await _qualities(repeats, clock, "AB") == ["doubtful"] * 2
    await clock.advance(HOURS.total_seconds())
    assert await _qualities(repeats, clock, "C") == ["received"]
    assert len(_lines(tmp_path)) == 1


async def test_the_file_is_shortened_as_soon_as_so_many_lines_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last line of each content."""
    monkeypatch.setattr("bridge.http.repeats._COMPACT_AT", 2)
    clock = VirtualClock()
    repeats = await opened(tmp_path, clock)
    counts = []
    for content in "AABABA":
        await one(repeats, pushed(clock, content))
        counts.append(len(_lines(tmp_path)))
        await clock.advance(61)
    assert counts == [1, 2, 3, 4, 2, 3]
    again = await opened(tmp_path, clock)
    assert {seen.at for seen in again._seen.values()} == {seen.at for seen in repeats._seen.values()}


async def test_who_cannot_read_the_file_is_told_what_to_do(tmp_path: Path) -> None:
    """In the words of the error."""
    (tmp_path / "pushes.jsonl").mkdir()
    with pytest.raises(StartError) as raised:
        await opened(tmp_path, VirtualClock())
    assert str(raised.value).startswith(f"{tmp_path}/pushes.jsonl cannot be read (Is a directory)")
    assert raised.value.cure == "give the bridge's user the right to read it; it keeps doors from opening twice"
