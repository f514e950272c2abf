"""What an event says about the state of things, and what is known after it.

One table for the state bucket, resync, `state()` in rules and what doors ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import ChannelStatus


class Fact(NamedTuple):
    """An attribute of an entity is so; None: nobody knows. The entity is `<source>/<subject>` or `<source>`."""

    entity: str
    attribute: str
    value: JsonValue


RULES = "rules"
"""What rules remember with `set_state`: `rules/<entity>`."""
BRIDGE = "bridge"
"""The entity that stands for the site as a whole."""
MODE = "mode"
"""Its attribute that says in which mode the site is; whoever has changed it."""

LINK = "link"
"""The attribute of a source that says whether it is heard; nobody but the bridge tells it."""
STATUS = "status"
"""The attribute of a channel that says whether its source hears it; `CONNECTED` is the only good value."""
CONNECTED = "connected"

LASTING = {"motion": "motion.started", "call": "call.started"}
"""Attributes that are `on` from one event until another, and the kind of the first."""

_Attributes = Callable[[VmsEvent], dict[str, JsonValue]]


ATTRIBUTES: Mapping[str, Any] = {
    "motion": Literal["on", "off"],
    "call": Literal["on", "off"],
    "status": ChannelStatus.model_fields["state"].annotation,
    "name": str,
    "streaming": bool,
    "recording": bool,
    "count": int,
    "capacity": int,
    "available": int,
    "occupied": bool,
    "plate": str,
    LINK: Literal["up", "down"],
}
"""Every attribute that events of sources tell, and its type; each may be absent. `LINK` is a source's as a whole."""
OF_CHANNEL = frozenset({"motion", "status", "name", "streaming", "recording"})
"""Those that channels have."""


def _fields(*names: str) -> _Attributes:
    return lambda event: {name: getattr(event.data, name) for name in names}


def _ended(name: str) -> _Attributes:
    """An end that the bridge made up says only that nobody knows any more: the source may go on saying `on`."""
    return lambda event: {name: None if getattr(event.data, "reason", None) == "timeout" else "off"}


_SAYS: dict[str, _Attributes] = {
    "motion.started": lambda _: {"motion": "on"},
    "motion.ended": _ended("motion"),
    "call.started": lambda _: {"call": "on"},
    "call.ended": _ended("call"),
    "channel.status": lambda e: {STATUS: getattr(e.data, "state")},  # noqa: B009 - the payload's type follows the kind
    "channel.renamed": _fields("name"),
    "recording.status": _fields("streaming", "recording"),
    "parking.count": _fields("count", "capacity", "available"),
    "parking.spot": _fields("occupied", "plate"),
    "source.connected": lambda _: {LINK: "up"},
    "source.lost": lambda _: {LINK: "down"},
}


def facts(event: VmsEvent) -> list[Fact]:
    """Return what the event says about the state of things; most kinds say nothing lasting."""
    if event.type == "mode.changed":
        return [Fact(BRIDGE, MODE, event.data.model_dump()["mode"])]
    if event.type == "state.changed":
        data = event.data.model_dump(mode="json")
        return [Fact(data["entity"], data["attribute"], data["value"])]
    says = _SAYS.get(event.type)
    if says is None:
        return []
    entity = f"{event.source_name}/{event.subject}" if event.subject is not None else event.source_name
    return [Fact(entity, attribute, value) for attribute, value in says(event).items()]


def renumbered(event: VmsEvent) -> list[str]:
    """Return the channels, as entities, whose number may mean another camera from this event on."""
    if event.type not in _NUMBERING or event.origin in _MADE_UP:
        return []
    return [f"{event.source_name}/{one}" for one in (event.subject, getattr(event.data, "other", None)) if one]


class Told(NamedTuple):
    """What was said of an attribute last. A `value` of None: nobody knows."""

    value: JsonValue
    time: datetime | None
    """Since when it is so, by the clock of whoever said it; None if that was not said."""
    received: datetime
    """When the bridge heard it."""
    doubtful: bool = False
    """It may be the same as before, sent again: good enough to show, and no reason to open."""


def told_by(event: VmsEvent, value: JsonValue, known: Told | None, now: datetime) -> Told | None:
    """Return what is known after an event has said so; None if it changes nothing. `now` is when it comes in.

    What is replayed or made up says nothing. What was heard before something newer, and was longer on its way, is
    over; unless the newer lies in the future, because our own clock went back. Where two contradict each other by
    their own times, or the past tells of a change that nobody saw, nobody knows. What may have been sent again and
    says the same changes nothing; what it says otherwise is known from then on, as doubtful. A push without a time that
    comes again within a minute is given the time of the first: if something else was said in between, nobody knows.
    """
    if event.origin in _MADE_UP or (known is None and event.origin is Origin.BACKFILL):
        return None
    # A snapshot says how things are now, whenever they became so. A clock that is ahead makes nothing newer.
    said = event.timequality != "received" and event.origin is not Origin.RESYNC
    doubtful = event.timequality == "doubtful"
    told = Told(value, min(event.time, event.received) if said else None, event.received, doubtful)
    if known is None:
        return told
    if told.received < known.received <= now:
        again = event.via == _PUSH and event.timequality == "received"  # the first of its content, or so once more
        return known._replace(value=None) if again and not same_value(value, known.value) else None
    older = known.time is not None and told.time is not None and told.time < known.time
    if event.origin is Origin.BACKFILL:
        older = (told.time or told.received) <= (known.time or known.received)
        return None if older or same_value(value, known.value) else told._replace(value=None)
    if older:
        return None if same_value(value, known.value) else Told(None, known.time, told.received)
    return None if doubtful and same_value(value, known.value) else told


def same_value(one: object, other: object) -> bool:
    """Compare as JSON does: `true` is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


_NUMBERING = frozenset({"channel.added", "channel.removed", "channel.swapped"})
_PUSH = "push"
_MADE_UP = frozenset({Origin.REPLAY, Origin.TEST})
