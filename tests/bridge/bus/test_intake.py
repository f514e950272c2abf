"""Intake: what a snapshot may say, who is refused, and what the book knows after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json

from bridge.bus import pull, state_book
from bridge.bus.bus import Bus
from bridge.bus.guard import SHARE
from bridge.bus.intake import LARGEST
from bridge.bus.kv import key_of
from bridge.bus.window import Limits
from bridge.bus.wire import Received
from bridge.clock import SystemClock
from bridge.config.outputs import StateIs
from bridge.contracts import Head, Step
from bridge.errors import PayloadError, StoreUnavailableError
from bridge.runtime.stuck import Stuck
from bridge.safety.facts import Facts
from bridge.schema.event import Origin, VmsEvent
from bridge.tap import Tap
from tests.bridge.bus.helpers import CONFIG, NOW, count, event, running_bus, until
from tests.bridge.bus.link import linked_bus


class FrozenClock(SystemClock):
    """A clock whose wall time is what a test says."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """Return it."""
        return self.at


class Counts:
    """Counters."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str, str]] = Counter()

    def count(self, what: str, source: str, kind: str, number: int) -> None:
        """Count some."""
        self.seen[what, source, kind] += number


PLATE = {"plate": "12AB345", "plate_raw": "12AB345"}


def status(number: int, state: str, origin: Origin = Origin.RESYNC, **changes: Any) -> VmsEvent:
    """A channel's status."""
    return event(number, "channel.status", origin=origin, data={"state": state}, **changes)


async def test_a_snapshot_that_says_nothing_new_is_dropped(bus: Bus) -> None:
    """A resync event is stored only where it differs; every other event is stored and teaches the book."""
    counts = Counts()
    intake = await bus.intake(counts)

    async def emit(*events: VmsEvent) -> int:
        await (await intake(events))
        return await count(bus, "EVENTS")

    assert await emit(status(1, "connected")) == 1, "the first word about a channel is news"
    assert await emit(status(2, "connected")) == 1
    assert await emit(status(3, "disconnected")) == 2
    assert await emit(status(4, "connected", Origin.LIVE)) == 3, "what is not resync is always stored"
    assert await emit(status(5, "connected", Origin.LIVE)) == 4
    assert await emit(status(6, "connected")) == 4
    assert await emit(status(7, "disconnected", subject="2"), status(8, "disconnected", subject="2")) == 5
    assert await emit(event(9, "motion.ended", origin=Origin.RESYNC)) == 6
    assert await emit(event(10, origin=Origin.RESYNC)) == 7
    assert await emit(event(11, "custom.x", origin=Origin.RESYNC)) == 8, "it says no state"
    assert counts.seen["stored", "nvr1", "channel.status"] == 5
    assert counts.seen["unchanged", "nvr1", "channel.status"] == 3


async def test_an_end_that_was_made_up_opens_no_gate(bus: Bus) -> None:
    """Motion that never ended is not "off" but unknown, until the source says again how it is; a real end is off."""
    intake = await bus.intake()
    facts = Facts(SystemClock())
    emit = Tap(intake, [facts.heard])
    empty = StateIs.model_validate({"entity": "nvr1/1", "attribute": "motion", "is": "off"})
    moving = StateIs.model_validate({"entity": "nvr1/1", "attribute": "motion", "is": "on"})

    async def after(what: VmsEvent) -> tuple[bool | None, bool | None, int]:
        await (await emit([what]))
        return facts.holds(empty), facts.holds(moving), await count(bus, "EVENTS")

    stuck = Stuck({"motion.started": timedelta(seconds=4)})
    began = event(1, "motion.started")
    stuck.heard(began)
    assert await after(began) == (False, True, 1)
    stuck.settled(began, 0, stored=True)
    [end] = stuck.overdue(NOW, 4)
    assert await after(end) == (None, None, 2)
    assert await after(event(2, "motion.started", origin=Origin.RESYNC)) == (False, True, 3)
    assert await after(event(3, "motion.started", origin=Origin.RESYNC)) == (False, True, 3), "no news"
    assert await after(event(4, "motion.ended")) == (True, False, 4)


async def test_an_empty_call_is_a_yes(bus: Bus) -> None:
    """Nothing to store is stored at once."""
    intake = await bus.intake()
    await (await intake([]))


async def test_the_book_survives_a_restart(tmp_path: Path) -> None:
    """After a clean stop the bucket has every fact, readable by other parts, and snapshots are compared with it."""
    async with running_bus(tmp_path) as bus:
        intake = await bus.intake()
        await (await intake([status(1, "connected", subject="1.a b"), event(2)]))
    async with running_bus(tmp_path) as bus:
        entry = await bus.kv("state").get(key_of("nvr1/1.a b", "status"))
        assert entry is not None
        known = {"entity": "nvr1/1.a b", "attribute": "status", "value": "connected"}
        times = {"time": None, "received": "2026-01-10T12:00:00Z"}
        assert from_json(entry.value or b"") == known | times | {"doubtful": False}
        intake = await bus.intake()
        await (await intake([status(3, "connected", subject="1.a b"), event(4, origin=Origin.RESYNC)]))
        assert await count(bus, "EVENTS") == 2


async def test_the_book_is_completed_from_the_log_after_a_crash(bus: Bus) -> None:
    """What was stored and not yet copied to the bucket is read from the log at start."""
    intake = await bus.intake()
    await (await intake([status(1, "connected")]))
    await intake._book.flush()
    await (await intake([status(2, "disconnected", Origin.LIVE)]))  # and now the bridge dies before the next flush
    fresh = await bus.intake()
    assert fresh.known.all()["nvr1/1", "status"].value == "disconnected"
    await (await fresh([status(3, "connected")]))
    assert await count(bus, "EVENTS") == 3


async def test_a_book_that_knows_places_of_a_lost_log_is_completed_from_the_new_one(tmp_path: Path) -> None:
    """The log begins anew, and a crash follows before anything is copied."""
    async with running_bus(tmp_path) as bus:
        intake = await bus.intake()
        await (await intake([status(number, "connected", Origin.LIVE) for number in range(9)]))
        await intake._book.flush()
        await bus.connection.api(f"STREAM.DELETE.{bus.stream('EVENTS')}")
    async with running_bus(tmp_path) as bus:
        intake = await bus.intake()
        await (await intake([status(20, "disconnected", Origin.LIVE)]))
        assert (await bus.intake()).known.all()["nvr1/1", "status"].value == "disconnected"


async def test_history_does_not_change_the_book(bus: Bus) -> None:
    """What is played again or came from a log is in the log; what was told live stays known, after a crash too."""
    intake = await bus.intake()
    armed = {"entity": "rules/alarm", "attribute": "armed"}
    told = {"type": "state.changed", "subject": None}
    await (await intake([event(1, **told, data=armed | {"value": True})]))
    for number, origin in enumerate([Origin.REPLAY, Origin.TEST], 2):
        await (await intake([event(number, **told, origin=origin, data=armed | {"value": False})]))
    await (await intake([status(4, "connected", Origin.BACKFILL)]))
    assert await count(bus, "EVENTS") == 4
    for book in (intake.known, (await bus.intake()).known):
        assert {key: known.value for key, known in book.all().items()} == {("rules/alarm", "armed"): True}


async def test_what_is_doubtful_stays_so_over_a_restart(bus: Bus) -> None:
    """Read from the bucket or from the log; whoever shows it has its value, and a door does not believe it."""
    intake = await bus.intake()
    await (await intake([event(1, "motion.started", subject="2", timequality="doubtful")]))
    from_log = await bus.intake()
    await intake._book.flush()
    for book in (intake.known, from_log.known, (await bus.intake()).known):
        [told] = book.all().values()
        assert (told.value, told.doubtful) == ("on", True)


async def test_a_start_does_not_read_a_log_that_says_nothing_of_states(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing but plates is read the place in the log follows too, or a start took longer with every event."""
    monkeypatch.setattr(state_book, "BEHIND", 50)
    intake = await bus.intake()
    await (await intake([status(1, "connected", Origin.LIVE)]))
    await (await intake([event(number, "plate.read", data=PLATE) for number in range(2, 40)]))
    await intake._book.flush()
    written = await bus.kv("state").get("_cursor")
    await (await intake([event(number, "plate.read", data=PLATE) for number in range(40, 89)]))
    await intake._book.flush()
    assert await bus.kv("state").get("_cursor") == written, "not with every flush: each is a write"
    await (await intake([event(number, "plate.read", data=PLATE) for number in range(89, 100)]))
    await intake._book.flush()
    read: list[int] = []

    async def scan(*_: object, after: int) -> AsyncGenerator[list[Received], None]:
        read.append(after)
        async for batch in pull.scan(bus.connection, bus.stream("EVENTS"), after=after):
            yield batch

    monkeypatch.setattr(state_book, "scan", scan)
    again = await bus.intake()
    assert read == [99]
    assert again.known.all()["nvr1/1", "status"].value == "connected"


async def test_what_was_on_when_the_bridge_died_is_found_again(bus: Bus) -> None:
    """With the event that began it; what has ended, or was only set by a rule, is not."""
    intake = await bus.intake()
    calls = [event(1, "call.started", data={"caller": "a"}), event(2, "call.started", data={"caller": "b"})]
    moving = [event(3, "motion.started", subject="2"), event(4, "motion.started", subject="lot 3/1")]
    by_rule = event(6, "state.changed", data={"entity": "rules/garage", "attribute": "motion", "value": "on"})
    await (await intake([*calls, *moving, event(5, "motion.ended", subject="2"), by_rule]))
    fresh = await bus.intake()
    assert sorted(began.id for began in await bus.lasting(fresh.known)) == ["e2", "e4"]


async def test_an_event_that_was_not_stored_is_not_known(tmp_path: Path) -> None:
    """After a refusal the same snapshot is news again."""
    async with linked_bus(tmp_path, limits=Limits(outage=0.1)) as (bus, link):
        counts = Counts()
        intake = await bus.intake(counts)
        link.closed = True
        link.cut()
        await until(lambda: not bus.connection.connected)
        with pytest.raises(StoreUnavailableError):
            await (await intake([status(1, "connected")]))
        assert counts.seen["refused", "nvr1", "channel.status"] == 1
        assert not intake.known.all()
        link.closed = False
        await until(lambda: bus.connection.connected)
        await (await intake([status(1, "connected")]))
        assert await count(bus, "EVENTS") == 1


async def test_intake_is_refused_before_anything_unread_is_trimmed(tmp_path: Path) -> None:
    """With 80 % of the log unread new events are refused; once the engine has read, they are welcome."""
    config = CONFIG.model_copy(update={"max_bytes": 1024**2})
    async with running_bus(tmp_path, config, guard_interval=3600) as bus:
        intake = await bus.intake()
        big = "x" * 60_000
        for number in range(14):
            await (await intake([event(number, raw=big)]))
        await bus.guard.look()
        assert bus.guard.refusing is not None
        assert bus.guard.backlog.unread == 14
        assert not bus.health().ok
        with pytest.raises(StoreUnavailableError, match="the engine has 14 events to read"):
            await (await intake([event("late")]))
        await bus.engine_store.commit(Step(Head(seq=10, epoch=1, ruleset="r")))
        await bus.guard.look()
        assert bus.guard.refusing is None
        assert bus.guard.backlog.unread == 4
        await (await intake([event("late")]))
        info = await bus.connection.api(f"STREAM.INFO.{bus.stream('EVENTS')}")
        assert info["state"]["first_seq"] == 1


async def test_a_burst_cannot_outrun_the_guard(tmp_path: Path) -> None:
    """Faster than anybody looks: the log is never filled over what is unread, and nothing promised is trimmed."""
    config = CONFIG.model_copy(update={"max_bytes": 2 * 1024**2})
    async with running_bus(tmp_path, config, guard_interval=3600) as bus:
        intake, head, promised = await bus.intake(), Head(0, 1, "r"), 0
        for number in range(400):
            try:
                await (await intake([event(f"{number}-{part}", raw="x" * 2000) for part in range(20)]))
            except StoreUnavailableError:
                break
            promised += 20
            if number <= 150 and number % 10 == 0:  # the engine stops at 150, in a log that is full already
                head = await bus.engine_store.commit(Step(replace(head, seq=promised)))
        else:
            pytest.fail("it was never refused")
        info = await bus.connection.api(f"STREAM.INFO.{bus.stream('EVENTS')}")
        assert info["state"]["first_seq"] <= head.seq + 1, "something unread was trimmed"
        assert info["state"]["first_seq"] > 1, "the log was full, so this shows something"
        assert bus.guard.backlog.unread_bytes == pytest.approx(SHARE * 2 * 1024**2, rel=0.1)


async def test_what_comes_at_once_and_is_too_much_is_refused_as_a_whole(tmp_path: Path) -> None:
    """There is room for a little of it: the rest would take the place of what is unread."""
    config = CONFIG.model_copy(update={"max_bytes": 2 * 1024**2})
    async with running_bus(tmp_path, config, guard_interval=3600) as bus:
        intake = await bus.intake()
        large = [event(number, raw="x" * 60_000) for number in range(50)]
        await (await intake(large[:20]))
        with pytest.raises(StoreUnavailableError, match="the engine has 20 events to read"):
            await (await intake(large[20:40]))
        await (await intake(large[20:25]))
        await bus.engine_store.commit(Step(Head(seq=25, epoch=1, ruleset="r")))
        await (await intake(large))
        await bus.guard.look()
        assert (bus.guard.backlog.first_seq, bus.guard.backlog.unread) == (17, 25)


async def test_what_is_unread_at_a_start_is_counted_by_its_size(tmp_path: Path) -> None:
    """Few large events behind many small ones that were read: they take what they take, not their share by number."""
    config = CONFIG.model_copy(update={"max_bytes": 2 * 1024**2})
    async with running_bus(tmp_path, config, guard_interval=3600) as bus:
        intake = await bus.intake()
        await (await intake([event(number) for number in range(1500)]))
        await bus.engine_store.commit(Step(Head(seq=1500, epoch=1, ruleset="r")))
        await (await intake([event(f"large-{number}", raw="x" * 60_000) for number in range(16)]))
    async with running_bus(tmp_path, config, guard_interval=3600) as bus:
        assert bus.guard.backlog.unread == 16
        assert bus.guard.backlog.unread_bytes == pytest.approx(16 * 60_000, rel=0.05)
        intake = await bus.intake()
        with suppress(StoreUnavailableError):
            for number in range(40):
                await (await intake([event(f"late-{number}", raw="x" * 60_000)]))
        info = await bus.connection.api(f"STREAM.INFO.{bus.stream('EVENTS')}")
        assert info["state"]["first_seq"] <= 1501, "something unread was trimmed"


async def test_intake_is_refused_on_a_full_disk(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk under the log is watched: a refusal comes before the server's writes fail."""
    full = type("usage", (), {"total": 1024**3, "free": 1024**2, "used": 0})
    monkeypatch.setattr("bridge.bus.guard.shutil.disk_usage", lambda _: full)
    await bus.guard.look()
    assert bus.guard.refusing == "the disk is full (1024 KiB free)"


async def test_an_event_too_large_is_stored_without_its_original_or_refused(bus: Bus) -> None:
    """The original message is dropped before the event is; an event that is too large by itself takes none with it."""
    intake = await bus.intake()
    body = "x" * (LARGEST - 2000)
    await (await intake([event(1, "vendor.event", data={"topic": "t", "body": body}, raw="y" * 60_000)]))
    assert await count(bus, "EVENTS") == 1
    with pytest.raises(PayloadError, match="more than"):
        await intake([event(2), event(3, "vendor.event", data={"topic": "t", "body": body + body})])
    assert await count(bus, "EVENTS") == 1


async def test_two_sources_may_use_the_same_id(bus: Bus) -> None:
    """An id is unique within its source, as CloudEvents says: neither event is taken for the other."""
    intake = await bus.intake()
    await (await intake([event(1), event(1, source="home/nvr2"), event(1)]))
    assert await count(bus, "EVENTS") == 2
