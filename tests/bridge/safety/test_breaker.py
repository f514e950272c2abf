"""The breaker: how much is too much, what it says when it trips, and that it stays so until a person resets it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bridge.config.safety import BreakerConfig
from bridge.errors import ActionRejectedError
from bridge.safety import latch
from bridge.safety.breaker import WINDOW, Breaker
from bridge.safety.latch import Pulled
from tests.clock import START, VirtualClock

LIMITS = BreakerConfig(per_minute=2, storm=4)


class Site:
    """A breaker and what it tells."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.told: list[tuple[str, int]] = []
        self.breaker = Breaker(folder, self.clock, LIMITS, lambda what, count: self.told.append((what, count)))

    async def opens(self, *orders: str) -> None:
        for order in orders:
            await self.breaker.opens(order)

    async def asked(self, *orders: str) -> None:
        for order in orders:
            await self.breaker.asked(order)


async def test_one_opening_too_many_trips_it(tmp_path: Path) -> None:
    """It says what was counted and how often, once; the file holds it over a restart."""
    site = Site(tmp_path)
    await site.opens("a", "b")
    assert not site.breaker.pulled
    with pytest.raises(ActionRejectedError, match=r"more than 2 openings a minute$") as caught:
        await site.opens("c")
    assert caught.value.reason == "breaker"
    assert site.told == [("openings", 3)]
    assert (tmp_path / "breaker").exists()
    again = Breaker(tmp_path, site.clock, LIMITS)
    assert await again.state() == Pulled("bridge", "more than 2 openings a minute", START.isoformat())


async def test_a_storm_of_orders_trips_it_though_no_door_opens(tmp_path: Path) -> None:
    """Orders that doors refuse are counted by themselves: a rule gone wild is stopped before it finds an open door."""
    site = Site(tmp_path)
    await site.asked("a", "b", "c", "d")
    await site.opens("a", "b")
    with pytest.raises(ActionRejectedError, match=r"more than 4 orders a minute$"):
        await site.asked("e")
    assert site.told == [("orders", 5)]


async def test_an_order_counts_once_however_often_it_tries(tmp_path: Path) -> None:
    """A busy device is not a storm; but a minute after its first try it counts again."""
    site = Site(tmp_path)
    await site.opens("a", "a", "a", "b", "b")
    await site.clock.advance(WINDOW)
    await site.opens("a", "b", "a")
    with pytest.raises(ActionRejectedError):
        await site.opens("c")


async def test_a_minute_is_sixty_seconds(tmp_path: Path) -> None:
    """What is a minute old does not count any more, what is a moment younger does, each by itself."""
    site = Site(tmp_path)
    await site.opens("a")
    await site.clock.advance(1)
    await site.opens("b")
    await site.clock.advance(WINDOW - 1)
    await site.opens("c")
    await site.clock.advance(0.999)
    with pytest.raises(ActionRejectedError):
        await site.opens("d")


async def test_when_it_has_tripped_nothing_opens_until_a_person_resets_it(tmp_path: Path) -> None:
    """Not after any time. After the reset it counts from nothing, openings and orders alike."""
    site = Site(tmp_path)
    await site.asked("a", "b", "c", "d")
    await site.opens("a", "b")
    with pytest.raises(ActionRejectedError):
        await site.opens("c")
    await site.clock.advance(10 * WINDOW)
    for late in (site.opens("d"), site.asked("d")):
        with pytest.raises(ActionRejectedError, match=r"nothing is switched until somebody resets it$") as caught:
            await late
        assert caught.value.reason == "breaker"
    await site.breaker.reset("anna", "the rule is repaired")
    await site.asked("a", "b", "c", "d")
    await site.opens("a", "b")
    assert (site.breaker.pulled, site.told) == (False, [("openings", 3)])


async def test_after_a_reset_what_was_counted_before_is_forgotten(tmp_path: Path) -> None:
    """Within the same minute: the person has looked, and the same cars may come."""
    site = Site(tmp_path)
    await site.asked("a", "b", "c", "d")
    await site.opens("a", "b")
    with pytest.raises(ActionRejectedError):
        await site.opens("c")
    await site.breaker.reset("anna", "a test")
    await site.asked("e", "f", "a", "b")
    await site.opens("e", "a")
    assert not site.breaker.pulled


async def test_it_holds_although_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the order is refused for what it is, and so is the next."""
    site = Site(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(latch, "write_synced", full)
    await site.opens("a", "b")
    for order in ("c", "d"):
        with pytest.raises(ActionRejectedError):
            await site.opens(order)
    assert (site.breaker.pulled, site.told) == (True, [("openings", 3)])


async def test_it_trips_also_when_nobody_listens(tmp_path: Path) -> None:
    """Before the bus is there nobody wants to know, and it stops everything all the same."""
    breaker = Breaker(tmp_path, VirtualClock(), LIMITS)
    for order in ("a", "b"):
        await breaker.opens(order)
    with pytest.raises(ActionRejectedError):
        await breaker.opens("c")
    assert breaker.pulled


async def test_the_log_calls_it_by_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Several latches may be on; which of them it is must be seen."""
    site = Site(tmp_path)
    await site.breaker.pull("bridge", "a test")
    await site.breaker.reset("anna", "all clear")
    said = [[getattr(record, name) for name in ("latch", "principal", "reason")] for record in caplog.records]
    assert said == [["breaker", "bridge", "a test"], ["breaker", "anna", "all clear"]]
