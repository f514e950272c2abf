"""What events say about how things are: facts about entities, and whether the sources are heard.

All of it is part of the engine's state, learned from the log alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bridge.sdk import BRIDGE, Origin, VmsEvent, facts
from rules.state import LISTENING, Book

UNTRUE = frozenset({Origin.REPLAY, Origin.TEST})
"""Events of these origins say nothing about how things are now."""
_LINKS = {"source.connected": True, "source.lost": False}
"""Events that tell whether a source is heard."""
BEGUN = "bridge.started"
"""The bridge was away, up to here."""
BEFORE_NEWS = frozenset({"rules.changed", "log.hole"})
"""What may be in the log before it says that the bridge was away."""
_STARTED = "started"


def learn(book: Book, event: VmsEvent, stamp: datetime) -> None:
    """Note what an event says about the state of things."""
    if event.origin in UNTRUE:
        return
    moment = min(event.time, stamp)  # a clock that was ahead must not outweigh what is said when it is right again
    for fact in facts(event):
        book.remember(fact, moment)
    if event.type in _LINKS:
        book.note(event.source_name, LISTENING, _LINKS[event.type], stamp)
    elif event.type == BEGUN:
        book.note(BRIDGE, _STARTED, True, stamp)
        _forget_gone(book, event)


def _forget_gone(book: Book, event: VmsEvent) -> None:
    """Forget whether sources are heard that are no more: nobody would ever tell that one is back."""
    sources = getattr(event.data, "sources", None)
    if sources is not None:
        for name in book.listening:
            if name not in sources:
                book.forget(name, LISTENING)


def deaf(book: Book, sources: Iterable[str], since: datetime) -> str | None:
    """Return which of some sources was not heard all the time since a stamp, in words; None if all were.

    Without sources all that ever said whether they are connected are meant. One that never says so counts
    as heard, unless the bridge itself was away.
    """
    begun = book.noted(BRIDGE, _STARTED)
    started = begun[1] if begun else None
    if started is not None and since < started:
        return "the bridge was not running all the while"
    for name in sources or book.listening:
        known = book.noted(name, LISTENING)
        if known is None:
            continue
        connected, when = known
        if not connected:
            return f"{name} is not connected"
        if when > since or (started is not None and when < started):
            return f"{name} was not connected all the while"
    return None
