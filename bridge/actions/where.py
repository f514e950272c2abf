"""Which camera an order means when its rule does not say: the one its event came from. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator

from bridge.contracts import Known
from bridge.errors import ActionRejectedError
from bridge.registry import unknown
from bridge.schema.orders import Order


def _as_text(value: Any) -> Any:
    many = value if isinstance(value, list | tuple) else (value,)
    return tuple(str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in many)


ChannelNames = Annotated[tuple[str, ...], BeforeValidator(_as_text)]
"""Channels as people write them: one or several, numbers or texts."""


def source_of(source: str | None, order: Order) -> str:
    """Return the source named, or the one of the event that decided."""
    return source if source is not None else order.trigger.source_name


def channel_of(channel: str | None, order: Order) -> str:
    """Return the channel named, or the one of the event that decided. Raises ActionRejectedError if it has none."""
    found = channel if channel is not None else order.trigger.subject
    if found is None:
        raise ActionRejectedError("the event has no channel; name one in the rule", "no_channel")
    return found


def check_place(known: Known, source: str | None, channels: Iterable[str], *, camera: bool) -> Iterable[str]:
    """Yield what is wrong with a named source and channels: its own, or where no source is named the event's.

    `camera`: a channel is named; otherwise it is the event's, which must have one.
    """
    if known.sources is None:
        return
    if source is None and not known.sourced:
        yield "the event of this rule comes from no source; name `source` and channel"
    elif known.here == frozenset() and not camera:
        yield "the event of this rule has no channel; name one"
    if source is not None and source not in known.sources:
        yield unknown("source", source, known.sources)
        return
    asked = tuple(channels)
    for name in _sources(known, source):
        of_source = (known.channels or {}).get(name)
        for channel in asked:
            if of_source is not None and channel not in of_source:
                yield unknown(f"channel of {name}", channel, of_source)


def check_preset(known: Known, source: str | None, channel: str | None, preset: str) -> Iterable[str]:
    """Yield what is wrong with a preset: a camera that it may be asked of has none of that name."""
    if "{{" in preset:
        return
    for place in _places(known, source, channel):
        presets = (known.presets or {}).get(place)
        if presets is not None and preset.casefold() not in {name.casefold() for name in presets}:
            yield unknown(f"preset of {'/'.join(place)}", preset, presets)


def _sources(known: Known, source: str | None) -> Iterable[str]:
    return (source,) if source is not None else sorted({name for name, _ in known.here or ()})


def _places(known: Known, source: str | None, channel: str | None) -> Iterable[tuple[str, str]]:
    """Return the cameras that an order may mean; none where an event decides that."""
    if channel is None:
        return sorted(place for place in known.here or () if source in (None, place[0]))
    return [(name, channel) for name in _sources(known, source)]
