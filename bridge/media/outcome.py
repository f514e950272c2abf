"""What a cut came to: how the pictures lie to the window and the event. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.media.job import Part, Span, Window

TOLERANCE: Final = 0.25
"""A hole up to this many seconds, which is within what recorders round, is not called missing."""


def clip_span(span: Span, window: Span) -> Span | None:
    """Return what of the span lies in the window."""
    begin, end = max(span.begin, window.begin), min(span.end, window.end)
    return Span(begin=begin, end=end) if begin < end else None


def around_event(window: Window, spans: Sequence[Span]) -> tuple[float | None, float | None]:
    """Return the unbroken seconds before and after the event; zero where it is not covered itself."""
    if window.event is None:
        return None, None
    begin = end = window.event
    for span in sorted(spans, key=lambda each: each.begin, reverse=True):
        if (begin - span.end).total_seconds() <= TOLERANCE:
            begin = min(begin, span.begin)
    for span in sorted(spans, key=lambda each: each.end):
        if (span.begin - end).total_seconds() <= TOLERANCE:
            end = max(end, span.end)
    return (window.event - begin).total_seconds(), (end - window.event).total_seconds()


def primary_part(parts: Sequence[Part], window: Window) -> int:
    """Return which part has the event, or is the longest."""
    event = window.event
    for index, part in enumerate(parts):
        if event is not None and part.covered.begin <= event < part.covered.end:
            return index
    return max(range(len(parts)), key=lambda index: parts[index].duration)
