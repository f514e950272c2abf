"""The trimmer alone, on a log in memory: to the event where it cuts, and what it does not even look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from bridge.bus import trimming
from bridge.bus.trimming import Trimmer
from bridge.bus.wire import Received
from tests.clock import START, VirtualClock

KEEP, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Log:
    """Events 1 to 5, stored a minute apart, the first at `START`; it is the connection too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored = {seq: START + (seq - 1) * MINUTE for seq in range(1, 6)}
        self.head: int | None = 5
        self.behind = timedelta()
        """By how much the server's clock is behind ours."""
        self.clock = VirtualClock()
        self.steps: list[str] = []
        self.purged: list[int] = []
        monkeypatch.setattr(trimming, "scan", self.scan)

    async def trimmed(self, after: timedelta) -> list[int]:
        """Look once, so long after the first event; return where was cut: before which."""
        self.clock.jump(after)
        await Trimmer(cast("Any", self), "VMS-home-EVENTS", self.decided, KEEP, self.clock).trim()
        return self.purged

    async def decided(self) -> int | None:
        self.steps.append("head")
        return self.head

    async def api(self, subject: str, asked: dict[str, int] | None = None) -> dict[str, Any]:
        if subject == "STREAM.PURGE.VMS-home-EVENTS":
            assert asked is not None
            assert list(asked) == ["seq"]
            self.purged.append(asked["seq"])
            return {}
        assert (subject, asked) == ("STREAM.INFO.VMS-home-EVENTS", None)
        first_ts = next(iter(self.stored.values())) if self.stored else datetime.min.replace(tzinfo=UTC)
        state = {"messages": len(self.stored), "first_seq": min(self.stored, default=6), "last_seq": 5}
        now = self.clock.now() - self.behind
        return {"ts": _stamp(now), "state": state | {"first_ts": _stamp(first_ts)}}

    async def scan(
        self, connection: Any, stream: str, *, since: datetime, headers_only: bool
    ) -> AsyncIterator[list[Received]]:
        assert (connection, stream, headers_only) == (self, "VMS-home-EVENTS", True)
        self.steps.append("log")
        found = [seq for seq, at in self.stored.items() if at >= since]
        for at in range(0, len(found), 2):
            yield [Received("", f"$JS.ACK.s.c.1.{seq}.1.0.0", b"") for seq in found[at : at + 2]]


def _stamp(at: datetime) -> str:
    """Return a time as the server writes it."""
    return f"{at.replace(tzinfo=None).isoformat(timespec='microseconds')}789Z"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log of five events that all have been decided on."""
    return Log(monkeypatch)


@pytest.mark.parametrize(
    ("minutes", "head", "cut"),
    [
        (0.5, 5, [2]), (1, 5, [2]), (1.5, 5, [3]), (4, 5, [5]), (4.5, 5, [6]),  # by age
        (10, None, []), (10, 0, []), (10, 1, [2]), (10, 3, [4]), (10, 5, [6]), (10, 7, [6]),  # by the head
        (2.5, 1, [2]), (2.5, 2, [3]), (2.5, 3, [4]), (2.5, 4, [4]),  # by whichever comes first
    ],
)  # fmt: skip
async def test_the_log_is_cut_before_what_is_not_old_or_not_decided_on(
    log: Log, minutes: float, head: int | None, cut: list[int]
) -> None:
    """Nothing is old that is just as old as events are kept; where there would be nothing to cut nothing is."""
    log.head = head
    assert await log.trimmed(KEEP + minutes * MINUTE) == cut


@pytest.mark.parametrize("later", [timedelta(minutes=-1), timedelta()])
async def test_while_nothing_is_old_nothing_is_read(log: Log, later: timedelta) -> None:
    """The state of the stream says so."""
    assert await log.trimmed(KEEP + later) == []
    assert log.steps == []


async def test_of_an_empty_log_nothing_is_read(log: Log) -> None:
    """Its first time is before all others."""
    log.stored.clear()
    assert await log.trimmed(KEEP * 2) == []
    assert log.steps == []


@pytest.mark.parametrize(
    ("behind", "cut"), [(90, []), (89, [2]), (60, [2]), (30, [2]), (29, [3]), (0, [3]), (-600, [3])]
)
async def test_the_clock_that_is_behind_says_what_is_old(log: Log, behind: int, cut: list[int]) -> None:
    """Ours or the server's: an event leaves late rather than early."""
    log.behind = timedelta(seconds=behind)
    assert await log.trimmed(KEEP + 1.5 * MINUTE) == cut
