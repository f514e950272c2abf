"""The health book says what is up, since when, and what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.runtime.health import HealthBook, Level
from tests.clock import START, VirtualClock


def test_nothing_is_ready_before_it_says_so() -> None:
    """A part that has not reported is down, and the bridge is not ready."""
    book = HealthBook(VirtualClock())
    bus = book.register("bus")
    assert not book.ready
    assert book["bus"].reason == "starting"
    bus.up()
    assert book.ready
    assert book.snapshot()[1]["status"] == "ready"


def test_a_flaw_does_not_make_it_unready() -> None:
    """Degraded is shown, and work goes on."""
    book = HealthBook(VirtualClock())
    book.register("bus").degraded("slow_disk", "a sync takes 900 ms", "use an SSD")
    ready, said = book.snapshot()
    assert ready
    assert said == {
        "status": "degraded",
        "parts": {
            "bus": {
                "level": "degraded",
                "since": "2026-01-10T12:00:00.000Z",
                "needed": True,
                "reason": "slow_disk",
                "message": "a sync takes 900 ms",
                "cure": "use an SSD",
            }
        },
    }


def test_a_source_that_is_away_does_not_turn_pushes_away() -> None:
    """What is not needed makes the whole degraded, not unready."""
    book = HealthBook(VirtualClock())
    book.register("bus").up()
    book.register("source nvr1", needed=False).down("auth", "refused", "check password")
    ready, said = book.snapshot()
    assert (ready, said["status"]) == (True, "degraded")


def test_since_is_when_it_became_so() -> None:
    """Saying the same again, in other words, does not start it anew."""
    clock = VirtualClock()
    book = HealthBook(clock)
    part = book.register("bus")
    clock.jump(timedelta(seconds=5))
    part.down("disk_full", "0 bytes left")
    clock.jump(timedelta(seconds=5))
    part.down("disk_full", "still 0 bytes left")
    assert book["bus"].since == START + timedelta(seconds=5)
    assert book["bus"].message == "still 0 bytes left"
    part.up()
    assert book["bus"].since == START + timedelta(seconds=10)


def test_it_is_said_once_that_it_went_and_once_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """A part that reports every second does not fill the log; coming up at start is not news."""
    caplog.set_level("INFO")
    part = HealthBook(VirtualClock()).register("bus")
    part.up()
    for _ in range(3):
        part.down("gone", "no answer")
    part.up()
    assert [(r.levelname, getattr(r, "level")) for r in caplog.records] == [("WARNING", "down"), ("INFO", "up")]  # noqa: B009


def test_what_parts_say_is_masked() -> None:
    """/readyz is open to whoever reaches the port."""
    book = HealthBook(VirtualClock(), mask=lambda text: text.replace("hush", "***"))
    book.register("bus").down("x", "hush", "hush")
    assert "hush" not in str(book.snapshot())
    assert book["bus"].level is Level.DOWN


def test_an_unknown_part_is_a_mistake() -> None:
    """Nothing appears that was not registered."""
    with pytest.raises(KeyError):
        HealthBook(VirtualClock()).set("bus", Level.UP)
