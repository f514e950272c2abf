"""The appender alone, on streams in memory: what it reads and from where, what it writes and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.bus import appender as appender_module
from bridge.bus.anchors import read_anchors
from bridge.bus.appender import Appender, Foreign, host_appender
from bridge.bus.results import action_ended, event_message
from bridge.bus.stored import Stored
from bridge.bus.wire import Outgoing, Received
from bridge.errors import StoreError, StoreUnavailableError
from bridge.schema.audit import GENESIS, AuditRecord, ChangeRecord, digest, read_record
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import ListChanged, ModeChanged
from bridge.schema.orders import About, Effect
from tests.bridge.actions.support import rest
from tests.bridge.bus.helpers import NOW, effect, result
from tests.bridge.bus.memory import KINDS, SUBJECTS, Streams
from tests.clock import START

ABOUT = About(rule_version="1", origin=Origin.LIVE, occurred=NOW, received=NOW, created=NOW, plate="12AB345", hops=3)


@pytest.fixture
def streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Streams that are empty, and an appender that knows nothing yet."""
    return Streams(tmp_path, monkeypatch)


async def test_ends_and_changes_become_one_chain_in_their_order(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many go at once; the next appender goes on where the trail ends, and appends nothing twice."""
    monkeypatch.setattr(appender_module, "BATCH", 3)
    streams.end = 40
    ends = [streams.ended(number) for number in range(7)]
    told = [streams.changed(ModeChanged(mode=f"m{number}")) for number in range(8)]
    assert streams.appender.trouble is None
    await streams.appender.catch_up()
    records = streams.records
    assert [record.order for record in records[:7] if isinstance(record, AuditRecord)] == [end.order for end in ends]
    assert [record.event for record in records[7:] if isinstance(record, ChangeRecord)] == [one.id for one in told]
    assert [(record.effect, record.change) for record in records] == [
        *[(seq, 0) for seq in range(1, 8)], *[(7, seq) for seq in range(1, 9)],
    ]  # fmt: skip
    assert streams.reads == [("ledger", 0), ("ledger", 3), ("ledger", 6), ("log", 0)]
    streams.ended(7)
    again = Appender(cast("Any", streams), cast("Any", streams), cast("Any", streams), "home", Path(), streams.clock)
    again._keys, again._anchors = streams.appender._keys, streams.appender._anchors
    streams.reads.clear()
    await again.catch_up()
    assert len(streams.records) == 16
    assert streams.reads == [("ledger", 7), ("log", 8)]


async def test_an_end_is_told_to_the_log_before_its_record_is_there(streams: Streams) -> None:
    """With the hops of its order, so that the record says that both are done; a change is in the log already."""
    ends = [streams.ended(1, about=ABOUT), streams.ended(2)]
    streams.changed(ModeChanged(mode="away"))
    put = streams.put

    async def first(messages: Sequence[Outgoing]) -> asyncio.Future[int]:
        assert streams.trail == []
        return await put(messages)

    streams.put = first  # type: ignore[method-assign]
    await streams.appender.catch_up()
    results = [end.result for end in ends]
    expected = [action_ended("home", one, hops) for one, hops in zip(results, (3, None), strict=True) if one]
    assert streams.events == [event_message(SUBJECTS, event) for event in expected]


async def test_plates_and_values_of_lists_are_hashes(streams: Streams) -> None:
    """The hash of each end by the time it ended, of each change by the time it was told."""
    asked: list[Any] = []
    tokens = streams.appender._keys.tokens

    async def noted(said: Sequence[Any]) -> Any:
        asked.extend(said)
        return await tokens(said)

    streams.appender._keys.tokens = noted  # type: ignore[method-assign]
    streams.ended(1, about=ABOUT)
    streams.changed(ListChanged(list="residents", added=("99ZZ999",)), "list.changed")
    await streams.appender.catch_up()
    ended, changed = streams.records
    assert asked == [(NOW + timedelta(seconds=1), {"12AB345"}), (NOW, {"99ZZ999"})]
    assert isinstance(ended, AuditRecord)
    assert isinstance(changed, ChangeRecord)
    assert ended.about is not None
    assert ended.about.plate == streams.appender._keys.find("12AB345")
    assert changed.what["added"] == [streams.appender._keys.find("99ZZ999")]


async def test_what_is_no_record_and_what_has_not_ended_is_passed_over(streams: Streams) -> None:
    """The host buries what is none; what ends later stands later in the ledger. There may be nothing else to append."""
    streams.ledger.append(Stored("", 1, b"{", {}))
    streams.ledger.append(Stored("", 2, effect(1).encode(), {}))
    streams.log.append(Received("", "$JS.ACK.VMS-home-EVENTS.c.1.1.1.0.0", b"{"))
    await streams.appender.catch_up()
    assert (streams.trail, streams.events) == ([], [])
    streams.ended(3)
    told = streams.changed(ModeChanged(mode="away"))
    streams.reads.clear()
    await streams.appender.catch_up()
    assert [record.effect for record in streams.records] == [3, 3]
    assert streams.reads == [("ledger", 2), ("log", 1)]
    assert streams.records[-1].at == told.received


async def test_what_is_in_the_trail_already_is_not_read_again(streams: Streams) -> None:
    """A delivery says that there may be something to read; of what has not ended there is nothing."""
    appender, ends = streams.appender, [streams.ended(1), streams.ended(2)]
    told = [streams.changed(ModeChanged(mode="away")), streams.changed(ModeChanged(mode="home"))]
    await appender.delivered(effect(3), 3)
    assert streams.reads == []
    await appender.delivered(ends[0], 1)
    await appender.changed(told[0], 1)
    assert streams.reads == [("ledger", 0), ("log", 0)]
    await appender.delivered(ends[1], 2)
    await appender.changed(told[1], 2)
    assert len(streams.reads) == 2
    await appender.delivered(streams.ended(3), 3)
    await appender.changed(streams.changed(ModeChanged(mode="away")), 3)
    assert streams.reads[2:] == [("ledger", 2), ("log", 2)]
    assert len(streams.records) == 6


async def test_after_a_loss_a_record_names_no_place_that_is_gone(streams: Streams, tmp_path: Path) -> None:
    """The ledger was lost, and then the log: each is read from its beginning, and the next record says so of both."""
    streams.ended(1)
    streams.changed(ModeChanged(mode="away"))
    await streams.appender.catch_up()
    streams.ledger.clear()
    streams.changed(ModeChanged(mode="home"))
    await _anew(streams, tmp_path).catch_up()
    streams.log.clear()
    streams.ended(2)
    await _anew(streams, tmp_path).catch_up()
    assert [(record.effect, record.change) for record in streams.records] == [(1, 0), (1, 1), (0, 2), (1, 0)]


@pytest.mark.parametrize("lost", ["record", "trail"])
async def test_the_log_is_told_of_each_end_once(
    streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Whether a crash came before the record, however long ago, or the trail was lost: it says itself what it knows."""
    streams.ended(1)
    streams.ended(2)
    crash = StoreUnavailableError("crash")

    def die(name: str) -> None:
        if name == "audit.told" and lost == "record":
            raise crash

    with monkeypatch.context() as patch, suppress(StoreUnavailableError):
        patch.setattr(appender_module, "crash_point", die)
        await streams.appender.catch_up()
    streams.trail.clear()
    streams.ended(3)
    await _anew(streams, tmp_path).catch_up()
    assert [VmsEvent.decode(told.body).data.model_dump()["order"] for told in streams.events] == ["o1", "o2", "o3"]
    assert [record.effect for record in streams.records] == [1, 2, 3]


async def test_of_an_end_that_the_ledger_has_otherwise_the_log_is_told_again(streams: Streams, tmp_path: Path) -> None:
    """The ledger is an older copy, or anew: what the log knows is not in it, or has ended at another time there."""
    streams.ended(1)
    streams.ended(2)
    await streams.appender.catch_up()
    del streams.ledger[1:], streams.trail[1:]
    again = effect(2, status="ended", result=result(2, ended=NOW + timedelta(days=1)))
    streams.ledger.append(Stored(SUBJECTS.effect("o2"), 2, again.encode(), {}))
    await _anew(streams, tmp_path).catch_up()
    told = [VmsEvent.decode(one.body) for one in streams.events]
    assert [event.time for event in told] == [NOW + timedelta(seconds=1)] * 2 + [NOW + timedelta(days=1)]


async def test_in_doubt_the_trail_itself_says_where_it_ends(streams: Streams) -> None:
    """A write that came to stand elsewhere is no success; the next try reads first."""
    streams.ended(1)
    streams.grows_by = 1
    with pytest.raises(StoreUnavailableError, match=r"^the audit trail did not grow as it should have$"):
        await streams.appender.catch_up()
    streams.grows_by = 0
    streams.ended(2)
    await streams.appender.catch_up()
    assert len(streams.records) == 2
    assert streams.reads == [("ledger", 0), ("ledger", 1), ("log", 0)]


async def test_nothing_follows_what_is_none_of_our_records(streams: Streams) -> None:
    """It is said which one it is, until it is gone."""
    streams.end = 6
    streams.trail.append(Outgoing("vms.home.result.open.done", b"{}"))
    streams.ended(1)
    with pytest.raises(StoreError, match=r"^record 7 of the audit trail is not one: somebody else has written it$"):
        await streams.appender.catch_up()
    assert streams.appender.trouble == Foreign("VMS-home-RESULTS", 7)
    streams.trail.clear()
    await streams.appender.catch_up()
    assert streams.appender.trouble is None
    assert len(streams.records) == 1


async def test_a_trail_is_anchored_at_its_end(
    streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After so many records, and when it is told to; one that ends before its last anchor is told of."""
    monkeypatch.setattr(appender_module, "ANCHOR_AFTER", 2)
    monkeypatch.setattr(appender_module, "BATCH", 1)
    await streams.appender.anchor()
    for number in range(3):
        streams.ended(number)
    await streams.appender.catch_up()
    assert [(anchor.n, anchor.hash, anchor.at) for anchor in read_anchors(tmp_path)] == [
        (2, digest(streams.trail[1].body), START)
    ]
    await streams.clock.advance(5)
    await streams.appender.anchor()
    (_, last) = read_anchors(tmp_path)
    assert (last.n, last.hash, last.at) == (3, digest(streams.trail[2].body), START + timedelta(seconds=5))
    assert caplog.records == []
    del streams.trail[2:], streams.ledger[2:]
    await _anew(streams, tmp_path).catch_up()
    (said,) = caplog.records
    assert (vars(said)["anchor"], vars(said)["end"]) == (3, 2)


def _anew(streams: Streams, folder: Path) -> Appender:
    parts = cast("Any", streams)
    return Appender(parts, parts, parts, "home", folder, streams.clock)


async def test_a_trail_that_is_gone_but_for_its_anchor_is_told_of(
    streams: Streams, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it had one record; one that ends with its anchor is whole."""
    streams.ended(1)
    await streams.appender.catch_up()
    await streams.appender.anchor()
    await _anew(streams, tmp_path).catch_up()
    assert caplog.records == []
    streams.trail.clear()
    streams.ledger.clear()
    await _anew(streams, tmp_path).catch_up()
    (said,) = caplog.records
    assert (vars(said)["anchor"], vars(said)["end"]) == (1, 0)


@pytest.mark.parametrize(("days", "first"), [(364, 1), (365, 1), (366, 3)])
async def test_a_trail_that_has_left_by_its_age_goes_on(
    streams: Streams, tmp_path: Path, days: int, first: int
) -> None:
    """Where nothing has ended for a year, behind its last anchor: or the numbers of old anchors came again."""
    streams.ended(1)
    streams.ended(2)
    await streams.appender.catch_up()
    await streams.appender.anchor()
    end = digest(streams.trail[-1].body)
    streams.trail.clear()
    streams.ledger.clear()
    await streams.clock.advance(days * 86400)
    streams.ended(3)
    streams.changed(ModeChanged(mode="away"))
    await _anew(streams, tmp_path).catch_up()
    record, change = (read_record(one.body) for one in streams.trail)
    assert (record.n, record.prev) == (first, end if first > 1 else GENESIS)
    assert (change.n, change.effect, change.change) == (first + 1, 1, 1)


async def test_a_trail_of_changes_alone_goes_on(streams: Streams, tmp_path: Path) -> None:
    """Its last record says how far the ledger is in it."""
    streams.changed(ModeChanged(mode="away"))
    await streams.appender.catch_up()
    streams.ended(1)
    await _anew(streams, tmp_path).catch_up()
    assert [(record.effect, record.change) for record in streams.records] == [(0, 1), (1, 1)]


async def test_anchors_are_set_every_minute(streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the trail has grown; what cannot be written now is written the next time."""
    streams.ended(1)
    await streams.appender.catch_up()
    task, put = asyncio.create_task(streams.appender.anchoring()), streams.appender._anchors.put
    away = [StoreUnavailableError("the disk is full")]

    async def full(*what: Any) -> None:
        if away:
            raise away.pop()
        await put(*what)

    monkeypatch.setattr(streams.appender._anchors, "put", full)
    for before, after in ((0, 0), (0, 1), (1, 1)):
        await streams.clock.advance(59)
        assert len(read_anchors(tmp_path)) == before
        await streams.clock.advance(1)
        await rest()
        assert len(read_anchors(tmp_path)) == after
    task.cancel()


async def test_a_crash_can_be_tried_at_every_step_of_a_record(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The points come in the order of the steps; a crash test that names one dies where it says."""
    points: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        appender_module, "crash_point", lambda name: points.append((name, len(streams.events), len(streams.trail)))
    )
    streams.ended(1)
    await streams.appender.catch_up()
    assert points == [("audit.read", 0, 0), ("audit.told", 1, 0), ("audit.appended", 1, 1)]


def test_the_host_tells_of_every_end_and_every_change() -> None:
    """Of the ledger by one subscriber, of each kind of change by one of its own; and what is written is documented."""
    subscribed: list[tuple[Any, ...]] = []
    told: list[tuple[Any, ...]] = []

    class Hosts:
        def subscribe(self, *what: Any) -> None:
            subscribed.append(what)

        def tells(self, *what: Any) -> None:
            told.append(what)

    class Told:
        async def delivered(self, effect: Effect, seq: int) -> None: ...

        async def changed(self, event: VmsEvent, seq: int) -> None: ...

    hears = Told()
    host_appender(cast("Any", Hosts()), "home", hears)
    assert subscribed == [
        (
            "audit", "vms.home.effect.*", "VMS-home-ENGINE", Effect, hears.delivered,
            "Records of orders in the ledger. Those that have ended are appended to the audit trail.",
        ),
        *[
            (
                f"audit-{kind.replace('.', '-')}", SUBJECTS.events("bridge", kind), "VMS-home-EVENTS", VmsEvent,
                hears.changed, f"The bridge's own events {kind}. Each is appended to the audit trail.",
            )
            for kind in KINDS
        ],
    ]  # fmt: skip
    assert told == [
        (
            "audit-trail", "vms.home.result.*.*", AuditRecord,
            "How each order ended, by action and outcome, each with the hash of the one before.",
        ),
        (
            "audit-trail-changes", "vms.home.result.change.*.*", ChangeRecord,
            "Changes of lists, mode and rules, and commands, in one chain with how orders ended.",
        ),
    ]  # fmt: skip
