"""Every TS-API event topic in one table: who reads it, since when it is, and how to ask for it.

Facts: TS-API guide 0.9.20, "Event topics"; v1 guide 1.1.0, "Real-time events". A topic that is not in
the table is not an error: it is passed on as an opaque event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from . import read_channels, read_places, read_sightings
from .draft import DecodeContext, Drafted, Message, Reader, opaque
from .values import Dialect

Level = tuple[int, int, int]

# How to narrow a subscription: our word, and the parameter's name in each dialect. The v1 names are
# also the members of its `subscribe` message, where they are arrays. On v0 parkingCount takes lot ids
# in `ch`, which is why it never shares a connection.
PARAMETERS: Mapping[Dialect, Mapping[str, str]] = {
    "v0": {"topics": "topics", "channels": "ch", "lots": "ch", "objects": "objectType", "details": "verbose"},
    "v1": {
        "topics": "topics",
        "channels": "ch",
        "lots": "lot",
        "spots": "spot",
        "objects": "objectTypes",
        "details": "verbose",
    },
}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    `snapshot` says how the present state comes after subscribing: not at all, as an event that says so
    (`named`), or as the first message, which looks like any other (`first`). `tagged` tells whether its
    messages name the topic. `alone` topics get a connection of their own (R-4). `narrowed_by` is what a
    subscription can be limited to.
    """

    name: str
    read: Reader
    since: Level = (0, 3, 0)
    snapshot: Literal["none", "named", "first"] = "none"
    tagged: bool = True
    alone: bool = False
    narrowed_by: tuple[Literal["channels", "lots", "spots", "objects"], ...] = ()
    dialects: tuple[Dialect, ...] = ("v0", "v1")
    listed: bool = True
    """False: a server may have it without naming it in its list of topics; ask for it by itself (R-5)."""


def _opaque(name: str) -> Reader:
    def read(message: Message, context: DecodeContext) -> Iterator[Drafted]:
        return opaque(name, message, context)

    return read


TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("channelStatus", read_channels.channel_status, snapshot="named", narrowed_by=("channels",)),
        Topic("LPR", read_sightings.plates),
        Topic("emergencyCall", read_places.emergency_call),
        Topic("systemEvent", read_places.system_event, since=(0, 7, 0)),
        Topic("motionChanges", read_channels.motion_changes, (0, 8, 0), snapshot="first", narrowed_by=("channels",)),
        Topic(
            "parkingCount", read_places.parking_count, (0, 9, 0), snapshot="first", alone=True, narrowed_by=("lots",)
        ),
        Topic("packing", _opaque("packing"), (0, 9, 0), tagged=False, alone=True, dialects=("v0",), listed=False),
        Topic("recordingStatus", read_channels.recording_status, (0, 9, 5), snapshot="named"),
        Topic("object", read_sightings.objects, (0, 9, 6), tagged=False, alone=True, narrowed_by=("objects",)),
        Topic("bodyTemperature", read_sightings.body_temperature, (0, 9, 14), tagged=False, alone=True, listed=False),
        Topic(
            "parkingSpot",
            read_places.parking_spot,
            (1, 0, 0),
            snapshot="named",
            narrowed_by=("channels", "lots", "spots"),
            dialects=("v1",),
        ),
        Topic("vehicleTracking", _opaque("vehicleTracking"), (1, 0, 0), tagged=False, alone=True, dialects=("v1",)),
    )
}


def topic(name: str) -> Topic:
    """Return a topic's row; for a name that is not in the table, one that passes messages on as they came."""
    return TOPICS.get(name) or Topic(name, _opaque(name), (0, 0, 0), tagged=False, alone=True, listed=False)


def families(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return topics grouped by connection: those that can share one together, each other by itself.

    A message without `topic` belongs to the one topic of its connection (R-4), so every topic whose
    messages may come without is alone, as is the one whose `ch` means lots.
    """
    wanted = list(dict.fromkeys(names))
    together = tuple(name for name in wanted if not topic(name).alone)
    return ([together] if together else []) + [(name,) for name in wanted if topic(name).alone]


def offered_since(level: Level, dialect: Dialect) -> list[str]:
    """Return the topics a server of that level has, for servers too old to be asked (before 0.9.6)."""
    return [row.name for row in TOPICS.values() if row.listed and row.since <= level and dialect in row.dialects]
