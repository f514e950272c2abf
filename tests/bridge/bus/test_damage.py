"""A store that has lost something is noticed at the next start, whatever nats-server makes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.bus.losses import Losses
from bridge.bus.marks import Damage, Marks
from bridge.clock import SystemClock
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import LogHole
from tests.bridge.bus.helpers import event, running_bus

EVENTS = 2000
STREAM = "VMS-home-EVENTS"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with events, stopped in good order."""
    import asyncio

    folder = tmp_path_factory.mktemp("filled")

    async def fill() -> None:
        async with running_bus(folder) as bus:
            intake = await bus.intake()
            for first in range(1, EVENTS + 1, 100):
                await (await intake([event(first + k, raw="x" * 500) for k in range(100)]))

    asyncio.run(fill())
    return folder


def _blocks(store: Path) -> list[Path]:
    return sorted((store / "msgs").glob("*.blk"), key=lambda path: int(path.stem))


def _truncate(store: Path) -> None:
    last = _blocks(store)[-1]
    os.truncate(last, last.stat().st_size // 2)


def _truncate_without_index(store: Path) -> None:
    (store / "msgs" / "index.db").unlink()
    _truncate(store)


def _zero(store: Path) -> None:
    with _blocks(store)[0].open("r+b") as block:
        block.seek(block.seek(0, os.SEEK_END) // 2)
        block.write(b"\0" * 5000)


def _flip(store: Path) -> None:
    (store / "msgs" / "index.db").unlink()  # with the index the server does not look at the blocks at start
    with _blocks(store)[0].open("r+b") as block:
        middle = block.seek(0, os.SEEK_END) // 2
        block.seek(middle)
        byte = block.read(1)[0]
        block.seek(middle)
        block.write(bytes([byte ^ 0xFF]))


def _lose_block(store: Path) -> None:
    _blocks(store)[0].unlink()


def _lose_stream(store: Path) -> None:
    shutil.rmtree(store)


@pytest.mark.parametrize("harm", [_truncate, _truncate_without_index, _zero, _flip, _lose_block, _lose_stream])
async def test_damage_is_said_and_lived_with(filled: Path, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Every lost message is within a hole that is reported as an event; new ones are taken; it is said once."""
    folder = tmp_path / "data"
    shutil.copytree(filled, folder)
    harm(folder / "bus" / "jetstream" / "BRIDGE" / "streams" / STREAM)
    async with running_bus(folder) as bus:
        damage = bus.damage
        await (await (await bus.intake())([event("after")]))
        seen = await _read(bus.event_log("test"))
    left = {int(one.id[1:]) for one in seen if one.id[1:].isdigit()}
    lost = {number for one in damage for number in range(one.first, one.last + 1)}
    assert left | lost == set(range(1, EVENTS + 1))
    assert lost
    holes = {(one.data.first_missing, one.data.last_missing) for one in seen if isinstance(one.data, LogHole)}
    assert holes == {(one.first, one.last) for one in damage}
    assert seen[-1].id == "eafter"
    async with running_bus(folder) as bus:
        assert bus.damage == damage, "nobody has said that they know"
        assert await bus.accept_damage() == damage
        assert bus.damage == ()
    async with running_bus(folder) as bus:
        assert bus.damage == ()


async def test_a_hole_that_a_reader_meets_is_a_loss_too(tmp_path: Path) -> None:
    """It is kept like what was found at a start, also where there is nowhere to keep it over a restart."""
    async with running_bus(tmp_path) as bus:
        for _ in range(2):
            await bus._report_hole(3, 5)
        assert [str(each) for each in bus.damage] == [f"{STREAM} has lost messages 3 to 5"]
    kept, unkept = Losses(tmp_path), Losses(None)
    await kept.load()
    assert kept.known == (Damage(STREAM, 3, 5),)
    await unkept.load()
    await unkept.add(kept.known)
    assert (unkept.known, await unkept.accept(), unkept.known) == (kept.known, kept.known, ())


@pytest.mark.parametrize("content", ["", "[]", '{"lost": [{"stream": "x"}]}', '{"lost": 3}'])
async def test_what_was_lost_and_cannot_be_read_is_a_loss(tmp_path: Path, content: str) -> None:
    """Until somebody says that they know."""
    (tmp_path / "lost.json").write_text(content)
    losses = Losses(tmp_path)
    await losses.load()
    assert [str(each) for each in losses.known] == ["a store before this start has lost messages"]
    await losses.accept()
    await losses.load()
    assert losses.known == ()


async def test_a_store_that_was_killed_is_not_damaged(filled: Path, tmp_path: Path) -> None:
    """Without the note of a good end: what is newer than the note is no surprise."""
    folder = tmp_path / "data"
    shutil.copytree(filled, folder)
    notes = (folder / "marks.json").read_bytes()
    async with running_bus(folder) as bus:
        await (await (await bus.intake())([event("new")]))
    (folder / "marks.json").write_bytes(notes)
    async with running_bus(folder) as bus:
        assert bus.damage == ()


async def test_what_the_limits_took_is_not_missing(tmp_path: Path) -> None:
    """Events that were too old, or too many for the room, were to go."""
    async with running_bus(tmp_path) as bus:
        await (await (await bus.intake())([event(1)]))
        stream = bus.stream("EVENTS")
        marks = Marks(tmp_path, bus.connection, [stream], {stream: timedelta(seconds=30)}, SystemClock())
        await marks.note()
        await bus.connection.api(f"STREAM.PURGE.{stream}", {"seq": 2})
        assert await marks.check() == [Damage(stream, 1, 1)]
        late = Marks(tmp_path, bus.connection, [stream], {stream: timedelta(seconds=30)}, _Later())
        assert await late.check() == []


class _Later(SystemClock):
    """A minute ahead."""

    def now(self):
        return super().now() + timedelta(minutes=1)


@pytest.mark.parametrize("content", ["", "[]", '{"VMS-home-EVENTS": {"first_seq": 1}}', '{"VMS-home-EVENTS": 3}'])
async def test_notes_that_cannot_be_read_do_not_stop_the_bridge(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it would not notice."""
    (tmp_path / "marks.json").write_text(content)
    async with running_bus(tmp_path) as bus:
        assert bus.damage == ()
    assert "damage before now is not noticed" in caplog.text


async def _read(log) -> list[VmsEvent]:
    found: list[VmsEvent] = []
    async with aclosing(log.read(0)) as batches:
        async for batch in batches:
            found += [logged.event for logged in batch]
            if found[-1].id == "eafter":
                return found
    return found
