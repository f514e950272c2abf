"""Checkpoints: written in parts with the manifest last, read whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bridge.bus import checkpoints
from bridge.bus.acks import Acks
from bridge.bus.bus import Bus
from bridge.bus.checkpoints import CheckpointReader
from bridge.bus.wire import Outgoing
from bridge.contracts import StateKey
from bridge.errors import StoreError, StoreUnavailableError
from tests.bridge.bus.helpers import NOW, count

STATE = {StateKey("gate", f"k{number}"): {"version": "1", "rest": "x" * 100} for number in range(50)}


async def test_what_was_written_is_read_back(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many parts as it takes; the newest comes first."""
    monkeypatch.setattr(checkpoints, "PART", 2000)
    store = bus.checkpoints()
    assert await store.newest() is None
    await store.write(3, NOW, "old", {})
    await store.write(7, NOW, "rules", STATE)
    newest, oldest = (await CheckpointReader(bus.connection, "home").all()).checkpoints
    assert (newest.seq, newest.stamp, newest.ruleset, newest.keys) == (7, NOW, "rules", 50)
    assert len(newest.parts) > 2
    assert await store.load(newest) == STATE
    assert await store.load(oldest) == {}
    assert await store.newest() == (7, NOW, "rules")


async def test_it_is_there_whole_or_not_at_all(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the manifest leaves parts that nobody looks at; the next attempt replaces them."""
    store = bus.checkpoints()
    send = Acks.store

    async def crash(acks: Acks, messages: Sequence[Outgoing], patience: float) -> object:
        if messages[0].subject.endswith("manifest"):
            raise StoreUnavailableError("gone")
        return await send(acks, messages, patience)

    with monkeypatch.context() as broken:
        broken.setattr(Acks, "store", crash)
        with pytest.raises(StoreUnavailableError):
            await store.write(7, NOW, "rules", STATE)
    assert (await store.all()).checkpoints == []
    await store.write(7, NOW, "rules", STATE)
    assert await count(bus, "CHECKPOINTS") == 2


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [("0", b"x", "part 0 of the checkpoint at 7 is damaged"), ("manifest", b"{", "its manifest is damaged")],
)
async def test_a_damaged_one_is_not_used_and_that_is_said(bus: Bus, name: str, body: bytes, words: str) -> None:
    """Never guessed at."""
    store = bus.checkpoints()
    await store.write(7, NOW, "rules", STATE)
    await Acks(bus.connection).store([Outgoing(f"vms.home.checkpoint.0.7.{name}", body)], 5)
    found = await store.all()
    if name == "manifest":
        assert (found.checkpoints, found.problems) == ([], [f"a checkpoint is not used: {words}"])
        return
    with pytest.raises(StoreError, match=words):
        await store.load(found.checkpoints[0])


async def test_a_part_that_is_gone_is_missed(bus: Bus) -> None:
    """The stream's limit takes the oldest messages, which may be a part of one that is listed."""
    store = bus.checkpoints()
    await store.write(7, NOW, "rules", STATE)
    await bus.connection.api(f"STREAM.PURGE.{bus.stream('CHECKPOINTS')}", {"filter": "vms.home.checkpoint.0.7.0"})
    with pytest.raises(StoreError, match="part 0 of the checkpoint at 7 is missing"):
        await store.load((await store.all()).checkpoints[0])


async def test_those_whose_events_are_gone_go_too(bus: Bus) -> None:
    """One at 7 is of use as long as event 8 is there."""
    store = bus.checkpoints()
    for seq in (3, 7, 9):
        await store.write(seq, NOW, "rules", STATE)
    await store.prune(8)
    assert [one.seq for one in (await store.all()).checkpoints] == [9, 7]
    assert await count(bus, "CHECKPOINTS") == 4
