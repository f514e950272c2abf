"""The demo judges itself by what was on the bus."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from bridge.demo.story import EXPECTED, Story
from bridge.demo.view import Feed
from bridge.schema.orders import ActionClass, Result
from tests.bridge.schema.test_event import plate

NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)


def told(*, short_of: int | None = None, extra: int | None = None) -> Story:
    """Return a story in which everything expected happened, less or more of one thing."""
    story = Story()
    for index, expectation in enumerate(EXPECTED):
        times = expectation.times - (index == short_of) + (index == extra)
        for number in range(times):
            story.result(
                Result(
                    order=f"{index}-{number}",
                    rule=expectation.rule,
                    action=expectation.action,
                    action_class=ActionClass.INFORMATION,
                    outcome=expectation.outcome,  # type: ignore[arg-type]
                    ended=NOW,
                )
            )
    return story


def test_a_story_is_complete_when_everything_happened_as_often_as_it_had_to() -> None:
    """No more, no less."""
    assert told().complete
    for index in range(len(EXPECTED)):
        assert not told(short_of=index).complete
        assert not told(extra=index).complete


def test_waiting_ends_when_nothing_is_left_to_wait_for() -> None:
    """Too much is wrong, but nothing that waiting would mend."""
    assert told(extra=0).settled
    assert not told(short_of=0).settled


def test_a_firing_is_not_hidden_by_what_came_of_it() -> None:
    """A step that goes on later leaves a trace of its own."""
    story = Story()
    story.event(plate())
    story.trace({"event": "e1", "rule": "gate", "outcome": "fired", "fired": True})
    story.trace({"event": "e1", "rule": "gate", "outcome": "resumed", "fired": False})
    assert story.lines["e1"].why == {"gate": "fired"}


def test_without_a_screen_an_event_is_a_line_once_it_is_settled() -> None:
    """What is done about it later is a line more; nothing is said twice, and the end leaves nothing out."""
    console = Console(file=io.StringIO(), width=80)
    assert isinstance(console.file, io.StringIO)
    story, feed = Story(), Feed(console)

    def step(now: float, *, ended: bool = False) -> list[str]:
        before = len(console.file.getvalue())
        feed.update(story, now, ended=ended)
        return console.file.getvalue()[before:].splitlines()

    story.event(plate())
    assert step(0) == []
    story.trace({"event": "e1", "rule": "gate", "outcome": "fired", "fired": True})
    assert step(0.9) == []
    assert step(1.8) == []
    [line] = step(2)
    assert "plate.read" in line
    assert line.endswith("|  gate")
    assert step(5) == []
    ended = {"rule": "gate", "action_class": ActionClass.INFORMATION, "outcome": "done", "ended": NOW}
    story.result(Result(order="o1", action="open", causes=("e1",), **ended))
    assert step(6) == []
    [line] = step(7)
    assert line.endswith("|  ✓ open")
    story.result(Result(order="o2", action="clip", causes=("e1",), **ended))
    [line] = step(7.1, ended=True)
    assert line.endswith("|  ✓ clip")
