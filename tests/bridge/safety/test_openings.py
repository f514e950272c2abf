"""The memory of what left idle: what counts, for how long, what is written down, and what a restart makes of it."""

from __future__ import annotations

import errno
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionRejectedError, StartError
from bridge.safety import openings
from bridge.safety.openings import Opening, Openings
from bridge.schema.kinds import CallStarted
from bridge.schema.orders import Order
from tests.bridge.actions.support import make_order, plate_event
from tests.bridge.safety.meanwhile import writing_meanwhile
from tests.clock import START, VirtualClock

S, HOUR = timedelta(seconds=1), timedelta(hours=1)


def _order(clock: VirtualClock, number: int, **told: Any) -> Order:
    return make_order(clock, "open", {"door": "main"}, number, plate_event(clock, number, **told))


def _file(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "doors.jsonl").read_text().splitlines()]


def _seen(memory: Openings, clock: VirtualClock, output: str = "barrier") -> list[tuple[timedelta, str]]:
    """What another order would see of an output."""
    return [(ago, opening.event) for ago, opening in memory.others(output, _order(clock, 99))]


async def test_an_opening_counts_at_its_output_for_every_other_order(tmp_path: Path) -> None:
    """With how long ago it was; not for its own order, which may try again, and not at another output."""
    clock = VirtualClock()
    await clock.advance(7)
    memory, first = Openings(tmp_path, clock), _order(clock, 1)
    assert _seen(memory, clock) == []
    opening = await memory.add("barrier", first)
    await memory.add("gate", _order(clock, 2))
    assert opening == Opening("barrier", first.id, "event1", 7.0, "12AB345")
    await clock.advance(5)
    assert memory.others("barrier", _order(clock, 99)) == [(5 * S, opening)]
    assert memory.others("barrier", first) == []
    await memory.aclose()


async def test_a_second_try_counts_once_and_from_then_on(tmp_path: Path) -> None:
    """The order is one opening, however often it takes its place; others keep theirs."""
    clock = VirtualClock()
    memory, order = Openings(tmp_path, clock), _order(clock, 1)
    await memory.add("barrier", _order(clock, 2))
    await memory.add("barrier", order)
    await clock.advance(5)
    await memory.add("barrier", order)
    assert _seen(memory, clock) == [(5 * S, "event2"), (0 * S, "event1")]
    await memory.aclose()


async def test_after_an_hour_it_is_forgotten(tmp_path: Path) -> None:
    """No limit looks further back; a moment before that it counts."""
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    await memory.add("barrier", _order(clock, 1))
    await clock.advance(3599.5)
    await memory.add("gate", _order(clock, 2))
    assert _seen(memory, clock) == [(timedelta(seconds=3599.5), "event1")]
    await clock.advance(0.5)
    await memory.add("gate", _order(clock, 3))
    assert _seen(memory, clock) == []
    await memory.aclose()


async def test_what_is_written_down_names_no_plate(tmp_path: Path) -> None:
    """Only that there was one: after a restart any plate may have been this one."""
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    orders = [_order(clock, 1), _order(clock, 2, type="call.started", data=CallStarted(caller="app"))]
    taken = [await memory.add("barrier", order) for order in orders]
    await memory.take_back(taken[1])
    common = {"op": "open", "output": "barrier", "at": START.isoformat()}
    assert _file(tmp_path) == [
        common | {"order": orders[0].id, "event": "event1", "plate": True},
        common | {"order": orders[1].id, "event": "event2", "plate": False},
        {"op": "void", "order": orders[1].id},
    ]
    assert _seen(memory, clock) == [(0 * S, "event1")]
    await memory.aclose()


async def test_what_was_only_observed_is_not_written_down(tmp_path: Path) -> None:
    """It counts as an opening would, until the next start."""
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    await memory.add("barrier", _order(clock, 1), durable=False)
    assert len(_seen(memory, clock)) == 1
    assert not (tmp_path / "doors.jsonl").exists()


async def test_a_restart_remembers_how_long_ago_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the wall clock; what lies in its future was just now, and what is older than an hour is gone."""
    clock = VirtualClock()
    common = {"op": "open", "output": "barrier"}
    lines = [
        common | {"order": "a", "event": "a", "at": (START - HOUR).isoformat()},
        common | {"order": "b", "event": "b", "at": (START - 9 * S).isoformat(), "plate": True},
        common | {"order": "c", "event": "c", "at": (START + HOUR).isoformat(), "plate": False},
        common | {"order": "d", "event": "d", "at": (START - 3 * S).isoformat()},
        common | {"order": "e", "event": "e", "at": START.isoformat()},
        {"op": "void", "order": "e"},
        {"op": "void", "order": "nobody's"},
    ]  # fmt: skip
    (tmp_path / "doors.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    await clock.advance(100)
    clock.jump(-100 * S)
    memory = Openings(tmp_path, clock)
    await memory.load()
    assert memory.others("barrier", _order(clock, 99)) == [
        (9 * S, Opening("barrier", "b", "b", 91.0, None)),
        (0 * S, Opening("barrier", "c", "c", 100.0, "")),
        (3 * S, Opening("barrier", "d", "d", 97.0, None)),
    ]
    assert caplog.records == []


async def test_a_record_of_unknown_form_is_reported_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever another version wrote, the openings beside it count."""
    good = {"op": "open", "output": "barrier", "order": "a", "event": "a", "at": START.isoformat()}
    bad: list[dict[str, Any]] = [{}, {"op": "void"}, good | {"at": 5}, good | {"at": "then"}, {"op": "open"}]
    (tmp_path / "doors.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*bad, good]))
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    await memory.load()
    assert _seen(memory, clock) == [(0 * S, "a")]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * len(bad)


async def test_limits_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """Doors without a memory would open too often; the person is told which file, and what to do."""
    (tmp_path / "doors.jsonl").mkdir()
    with pytest.raises(StartError) as caught:
        await Openings(tmp_path, VirtualClock()).load()
    assert str(caught.value).startswith(f"{tmp_path / 'doors.jsonl'} cannot be read (Is a directory)")
    assert caught.value.cure == "give the bridge's user the right to read it; it holds the doors' limits"


async def test_what_cannot_be_written_down_does_not_count_and_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names the disk; a name for every error, also for one without words."""
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    for error, said in ((OSError(errno.ENOSPC, "No space left"), "No space left"), (OSError(), "OSError")):

        def full(_: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(memory.file, "append", full)
        with pytest.raises(ActionRejectedError, match=f"so it is not switched: {said}$") as caught:
            await memory.add("barrier", _order(clock, 1))
        assert (caught.value.reason, _seen(memory, clock)) == ("no_journal", [])


async def test_what_did_not_happen_counts_no_more_though_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this run; after a restart it counts, which only keeps a door shut for longer."""
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    taken = await memory.add("barrier", _order(clock, 1))

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(memory.file, "append", full)
    await memory.take_back(taken)
    assert _seen(memory, clock) == []
    await memory.aclose()


async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is long, what is older than an hour is dropped; what is younger, and what has no time, stays."""
    monkeypatch.setattr(openings, "_COMPACT_AT", 5)
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    for number, passes in ((1, 0.5), (2, 3600), (3, 0)):
        taken = await memory.add("barrier", _order(clock, number))
        await clock.advance(passes)
    await memory.take_back(taken)
    await memory.add("barrier", _order(clock, 4))
    kept = ["event2", "event3", "void", "event4"]
    assert _kept(tmp_path) == ["event1", *kept]
    await memory.add("barrier", _order(clock, 5))
    assert (_kept(tmp_path), memory.file.lines) == ([*kept, "event5"], 5)
    await memory.aclose()


async def test_an_opening_that_comes_while_the_file_is_shortened_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in another thread, in the middle of it; a restart would count too few otherwise."""
    monkeypatch.setattr(openings, "_COMPACT_AT", 2)
    clock = VirtualClock()
    memory, first = Openings(tmp_path, clock), _order(clock, 1)
    await memory.add("barrier", first)
    await memory.add("barrier", _order(clock, 2))
    other = {"op": "open", "output": "gate", "order": "o", "event": "other", "at": START.isoformat()}
    with writing_meanwhile(monkeypatch, lambda record: record["order"] == first.id, lambda: memory.file.append(other)):
        await memory.add("barrier", _order(clock, 3))
    assert _kept(tmp_path) == ["event1", "event2", "event3", "other"]
    await memory.aclose()


def _kept(folder: Path) -> list[str]:
    return [line.get("event", line["op"]) for line in _file(folder)]


async def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    """The folder can be moved away or unmounted."""
    clock = VirtualClock()
    memory = Openings(tmp_path, clock)
    await memory.add("barrier", _order(clock, 1))
    assert _open_files(tmp_path) == ["doors.jsonl"]
    await memory.aclose()
    assert _open_files(tmp_path) == []


def _open_files(folder: Path) -> list[str]:
    held = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return [path.name for path in held if path.parent == folder]
