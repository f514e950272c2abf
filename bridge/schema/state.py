"""What an event says about the state of things: one table for the state bucket, resync and `state()` in rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pydantic import JsonValue

from bridge.schema.event import VmsEvent


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

LASTING = {"motion": "motion.started", "call": "call.started"}
"""Attributes that are `on` from one event until another, and the kind of the first."""

_Attributes = Callable[[VmsEvent], dict[str, JsonValue]]


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
    "channel.status": lambda e: {"status": getattr(e.data, "state")},  # noqa: B009 - the payload's type follows the kind
    "channel.renamed": _fields("name"),
    "recording.status": _fields("streaming", "recording"),
    "parking.count": _fields("count", "capacity", "available"),
    "parking.spot": _fields("occupied", "plate"),
    "source.connected": lambda _: {"link": "up"},
    "source.lost": lambda _: {"link": "down"},
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
