"""Where the trail goes on, on streams in memory: behind its last records where what they name is there, else anew."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.bus.results import action_ended, event_message
from bridge.bus.resume import Resume, Start
from bridge.bus.stored import Stored
from bridge.bus.wire import Outgoing, Received, RefusedError
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import ModeChanged
from tests.bridge.bus.helpers import NOW, effect, event, result
from tests.bridge.bus.memory import SUBJECTS, Streams

ENDED = result(1).ended
ENDS, CHANGES = ["vms.home.result.*.*"], ["vms.home.result.change.*.*"]
KEPT = timedelta(days=29)
"""So long after its end what has ended stands in the ledger for certain."""
MARGIN = timedelta(days=31)
"""What stood in the ledger at all within this may stand in one that comes back."""


@pytest.fixture
def streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Streams that are empty, and an appender that writes the trail."""
    return Streams(tmp_path, monkeypatch)


@pytest.fixture
def resume(streams: Streams) -> Resume:
    """What is tried here."""
    return Resume(cast("Any", streams), "home")


async def _told(streams: Streams) -> list[VmsEvent]:
    """Have a trail of two ends and two changes; return the changes."""
    for number in (1, 2):
        streams.ended(number)
    changes = [streams.changed(ModeChanged(mode=mode)) for mode in ("away", "home")]
    await streams.appender.catch_up()
    assert len(streams.records) == 4
    return changes


def _in_log(seq: int, body: bytes) -> Received:
    return Received("", f"$JS.ACK.VMS-home-EVENTS.c.1.{seq}.{seq}.0.0", body)


async def test_what_the_last_records_name_is_where_they_go_on(streams: Streams, resume: Resume) -> None:
    """Each kind of record says it of its own, whatever the last one of all says; nothing is read again."""
    await _told(streams)
    for _ in range(2):
        assert (await resume.ledger(1, ENDED), await resume.log(1)) == (Start(2), Start(2))
        streams.ended(3)
        streams.changed(ModeChanged(mode="away"))
    assert streams.asked == []


@pytest.mark.parametrize(("said", "after"), [(0, 0), (1, 1), (2, 2), (3, 0)])
async def test_without_a_record_of_its_own_what_the_trail_says_counts(
    streams: Streams, resume: Resume, said: int, after: int
) -> None:
    """As far as there is so much; also where the last record is none, which is for others to say."""
    await _told(streams)
    streams.trail.clear()
    assert (await resume.ledger(said, NOW), await resume.log(said)) == (Start(after), Start(after))
    streams.trail += [
        Outgoing("vms.home.result.open.done", b"{}"), Outgoing("vms.home.result.change.mode.changed", b"{}"),
    ]  # fmt: skip
    assert (await resume.ledger(said, NOW), await resume.log(said)) == (Start(after), Start(after))
    assert streams.asked == []


@pytest.mark.parametrize("now", [1, 2, 3])
async def test_a_ledger_that_was_lost_is_read_from_its_beginning(
    streams: Streams, resume: Resume, caplog: pytest.LogCaptureFixture, now: int
) -> None:
    """However far the new one has come. What the trail has told is left out, behind a strange record too."""
    await _told(streams)
    streams.trail.insert(1, Outgoing("vms.home.result.open.done", b"{}"))
    streams.ledger.clear()
    for number in range(now):
        streams.ended(number + 10)
    assert await resume.ledger(4, ENDED) == Start(0, frozenset({("o1", ENDED), ("o2", ENDED)}))
    assert streams.asked == [(ENDS, ENDED - MARGIN)]
    (said,) = caplog.records
    assert (vars(said)["stream"], vars(said)["read"]) == ("VMS-home-ENGINE", 2)


async def test_a_ledger_that_has_the_order_elsewhere_is_another(streams: Streams, resume: Resume) -> None:
    """It came from an older copy, and the order has ended again in it."""
    await _told(streams)
    streams.ended(2)
    del streams.ledger[1]
    assert (await resume.ledger(2, ENDED)).after == 0


@pytest.mark.parametrize("later", [timedelta(), timedelta(microseconds=1)])
async def test_what_ended_long_ago_has_left_the_ledger_by_itself(
    streams: Streams, resume: Resume, later: timedelta
) -> None:
    """A day before it must have. A ledger that is shorter than what was read of it is another one all the same."""
    await _told(streams)
    streams.ended(3)
    del streams.ledger[1]
    assert (await resume.ledger(2, ENDED + KEPT + later)).after == (2 if later else 0)
    streams.ledger.pop()
    assert (await resume.ledger(2, ENDED + KEPT + later)).after == 0


@pytest.mark.parametrize("now", [1, 2, 3])
async def test_a_log_that_was_lost_is_read_from_its_beginning(
    streams: Streams, resume: Resume, caplog: pytest.LogCaptureFixture, now: int
) -> None:
    """However far the new one has come, and whatever stands where the last change stood."""
    old = await _told(streams)
    streams.log.clear()
    for number in range(now):
        streams.changed(ModeChanged(mode=f"new{number}"))
    assert await resume.log(4) == Start(0, frozenset(one.id for one in old))
    assert streams.asked == [(CHANGES, None)]
    (said,) = caplog.records
    assert (vars(said)["stream"], vars(said)["read"]) == ("VMS-home-EVENTS", 2)
    streams.log[:] = [_in_log(2, b"{")]
    assert (await resume.log(4)).after == 0


async def test_a_log_that_has_trimmed_the_last_change_is_the_same(streams: Streams, resume: Resume) -> None:
    """Nothing of it shows the contrary; one that ends before it does."""
    await _told(streams)
    streams.log[:] = [_in_log(3, event(3).encode())]
    assert await resume.log(1) == Start(2)
    streams.log[:] = [_in_log(1, event(3).encode())]
    assert (await resume.log(1)).after == 0


async def test_a_log_that_cannot_be_asked_is_not_taken_for_lost(
    streams: Streams, resume: Resume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for the same: whoever asked tries again."""
    await _told(streams)

    async def refused(connection: Any, stream: str, seq: int) -> Stored:
        raise RefusedError(10003, "bad request")

    monkeypatch.setattr("bridge.bus.stored.at", refused)
    with pytest.raises(RefusedError):
        await resume.log(2)
    assert streams.asked == []


def _told_of(number: int) -> Outgoing:
    """What the log is told of an end."""
    return event_message(SUBJECTS, action_ended("home", result(number), None))


@pytest.mark.parametrize(
    ("told", "after", "looks"),
    [
        ((), 0, 0),
        ((1, 2), 2, 0),  # the newest is there
        ((1, 2, 9), 2, 1),  # the ledger is an older copy
        ((9, 8), 0, 1),  # it is another one
    ],
)
async def test_the_log_says_up_to_which_end_it_was_told(
    streams: Streams, resume: Resume, monkeypatch: pytest.MonkeyPatch, told: tuple[int, ...], after: int, looks: int
) -> None:
    """By the newest that the ledger has; others than the last are looked for only if that is not there."""
    for number in (1, 2):
        streams.ended(number)
    streams.events += map(_told_of, told)
    asked: list[str] = []

    async def newest(connection: Any, stream: str, subject: str, limit: int) -> list[Received]:
        asked.append(subject)
        return await streams.newest(connection, stream, subject, limit)

    monkeypatch.setattr("bridge.bus.resume.newest_of", newest)
    assert await resume.said() == after
    assert asked == [_told_of(1).subject] * looks


@pytest.mark.parametrize("said", [b"{", event(1).encode()])
async def test_what_tells_of_no_end_says_nothing(streams: Streams, resume: Resume, said: bytes) -> None:
    """Somebody else has written it."""
    streams.ended(1)
    streams.events.append(_told_of(1)._replace(body=said))
    assert await resume.said() == 0


@pytest.mark.parametrize(
    "stands",
    [b"{", effect(1).encode(), effect(1, status="ended", result=result(1, ended=NOW + timedelta(days=1))).encode()],
)
async def test_what_has_not_ended_so_in_the_ledger_says_nothing(
    streams: Streams, resume: Resume, stands: bytes
) -> None:
    """It has ended at another time there, not yet, or nobody can read how."""
    streams.ledger.append(Stored(SUBJECTS.effect("o1"), 1, stands, {}))
    streams.events.append(_told_of(1))
    assert await resume.said() == 0
