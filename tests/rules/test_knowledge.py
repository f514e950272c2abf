"""What events say about how things are: whether sources were heard, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from bridge.sdk import Origin
from rules.knowledge import deaf, learn
from rules.state import Book
from tests.rules.support import START, event


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _book(*told: tuple[float, str, str]) -> Book:
    """Make a book that learned these: when by the log, which kind, of which source."""
    book = Book({})
    for seconds, kind, source in told:
        one = event("motion.started", source=source, time=_at(seconds - 0.5))
        learn(book, one.model_copy(update={"type": kind}), _at(seconds))
    return book


AWAY = "the bridge was not running all the while"
BROKEN = "b was not connected all the while"
UP = (0, "source.connected", "b")


@pytest.mark.parametrize(
    ("told", "since", "sources", "why"),
    [
        ([], 0, ["b"], None),
        ([UP], 0, ["b"], None),
        ([UP], -0.001, ["b"], BROKEN),
        ([UP], 0, [], None),
        ([UP, (5, "source.lost", "b")], 9, ["b"], "b is not connected"),
        ([UP, (5, "source.lost", "b")], 9, ["a", "b"], "b is not connected"),
        ([UP, (5, "source.lost", "b")], 9, [], "b is not connected"),
        ([UP, (5, "source.lost", "b")], 9, ["a"], None),
        ([(3, "bridge.started", "bridge"), (3, "source.connected", "b")], 3, ["b"], None),
        ([(3, "bridge.started", "bridge"), (3, "source.connected", "b")], 2.999, ["b"], AWAY),
        ([(3, "bridge.started", "bridge")], 3, ["a"], None),
        ([UP, (3, "bridge.started", "bridge")], 4, ["b"], BROKEN),
    ],
)
def test_whether_sources_were_heard_all_the_while(
    told: Sequence[tuple[float, str, str]], since: float, sources: Sequence[str], why: str | None
) -> None:
    """One that never says so counts as heard, and hides no other; at the very moment of a start both may be."""
    assert deaf(_book(*told), sources, _at(since)) == why


@pytest.mark.parametrize("origin", [Origin.REPLAY, Origin.TEST])
def test_what_is_replayed_or_made_up_says_nothing(origin: Origin) -> None:
    """Nothing is known of it."""
    book = Book({})
    learn(book, event("motion.started", origin=origin), START)
    assert book.values() == {}
