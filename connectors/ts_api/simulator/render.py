"""Turn what happened into the messages of one client.

One function a topic, in `EVENTS`. The
quirks of the vendor's samples live here: untagged topics, LPR's `chid` object, events without a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .happenings import (
    BodyTemperature,
    Call,
    ChannelStatus,
    DetectedObject,
    Opaque,
    ParkingCount,
    ParkingSpot,
    Plate,
    RecordingStatus,
)
from .levels import Level
from .logbook import EventRow
from .parts import Filter, Message, Parts
from .snapshots import counts, headed, motion, recording_entry
from .view import View

_PLATES_ARRAY = Level(1, 0, 1)
_SINCE_0_9_4 = ("channelAdded", "channelRemoved", "channelSwapped")


@dataclass(frozen=True)
class Occurrence:
    """Something that happened, with what the world worked out about it."""

    topic: str
    at: datetime
    what: Any
    channels: tuple[int, ...] = ()
    image: str | None = None
    source: str = ""
    row: EventRow | None = None
    number: int = 0


def events(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    """Return the messages a subscription gets; none when its filter or its key holds them back."""
    if wanted.allowed is not None and not wanted.allowed.issuperset(seen.channels):
        return []
    return EVENTS[seen.topic](seen, parts, view, wanted)


def _untagged(parts: Parts, topic: str, message: Message) -> Message:
    return message if parts.quirks else {"topic": topic, **message}


def _channel_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: ChannelStatus = seen.what
    if not wanted.channel(what.channel) or (what.event in _SINCE_0_9_4 and not view.since("0.9.4")):
        return []
    members: Message = {"chid": what.channel}
    if what.event == "channelSwapped":
        members["chid"] = [what.channel, what.swapped_with]
    elif what.event == "statusChanged":
        members["status"] = parts.status(what.code, view)
    elif what.event == "nameChanged":
        members["name"] = what.name
        members |= parts.display_name(parts.site.channels[what.channel], view)
    elif what.event == "videoStreamReady":
        members["status"] = parts.status(2, view)
        if view.since("0.9.4"):
            members["src"] = view.static_sources(what.channel, parts.size(what.channel))
    return [headed(view, seen.at, "channelStatus", what.event, **members)]


def _plate_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: Plate = seen.what
    if view.v1 and wanted.channels is not None and what.channel not in wanted.channels:
        return []
    plates = (what.plate_no, *what.also)
    if not view.v1 or view.server < _PLATES_ARRAY:
        return [_single_plate(seen, parts, view, plate) for plate in plates]
    message: Message = {"timestamp": view.stamp(seen.at), "topic": "LPR"}
    if what.channel is not None:
        message["channel"] = what.channel
    if seen.image:
        message["image"] = view.url(seen.image)
    return [message | {"plates": [_plate_of_many(seen, parts, view, plate) for plate in plates]}]


def _single_plate(seen: Occurrence, parts: Parts, view: View, plate: str) -> Message:
    what: Plate = seen.what
    source = parts.site.plate_sources.get(seen.source)
    message: Message = {"timestamp": view.stamp(seen.at)}
    if what.channel is not None:
        message["chid"] = parts.linked([what.channel], view, seen.at)[0]
    message |= {
        "deviceCode": seen.source,
        "deviceName": source.name if source else seen.source,
        "linkedChannel": parts.linked(_linked_of(seen, parts), view, seen.at),
    }
    if seen.image and view.since("0.9.3"):
        message["image"] = view.url(seen.image)
    begin = view.stamp(seen.at - what.seen_for)
    details = _plate_details(seen, parts, view)
    return message | {"plateNo": plate} | details | {"timeBegin": begin, "topic": "LPR"}


def _plate_of_many(seen: Occurrence, parts: Parts, view: View, plate: str) -> Message:
    return (
        {"plateNo": plate}
        | _plate_details(seen, parts, view)
        | {
            "srcCode": seen.source,
            "timeBegin": view.stamp(seen.at - seen.what.seen_for),
            "linkedChannel": parts.linked(_linked_of(seen, parts), view, seen.at),
        }
    )


def _plate_details(seen: Occurrence, parts: Parts, view: View) -> Message:
    what: Plate = seen.what
    source = parts.site.plate_sources.get(seen.source)
    details: Message = {}
    if what.score is not None and view.since("0.9.3"):
        details["score"] = what.score if view.v1 else round(what.score)
    if what.roi and seen.image and view.since("0.9.3"):
        details["roi"] = {"offset": list(what.roi[:2]), "size": list(what.roi[2:])}
    lots = {"entrance": source.entrance, "exit": source.exit} if source else {}
    lots = {name: lot for name, lot in lots.items() if lot is not None}
    if lots and view.since("0.9.8"):
        details["parkingLot"] = lots
    if what.direction and view.since("0.9.19"):
        details["direction"] = what.direction
    return details


def _linked_of(seen: Occurrence, parts: Parts) -> tuple[int, ...]:
    what: Plate = seen.what
    if what.linked_channel is not None:
        return what.linked_channel
    source = parts.site.plate_sources.get(seen.source)
    return source.linked if source else ()


def _call_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: Call = seen.what
    station = parts.site.call_stations.get(what.caller)
    linked = what.linked_channel
    if linked is None:
        linked = station.linked if station else ()
    message = {
        "timestamp": view.stamp(seen.at),
        "caller": what.caller,
        "device": what.device or (station.device if station else "unknown/unknown"),
        "event": what.event,
        "linkedChannel": parts.linked(linked, view, None, streams=view.verbose),
        "name": what.name or (station.name if station else what.caller),
        "topic": "emergencyCall",
    }
    return [message]


def _system_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    return [{"topic": "systemEvent"} | parts.event_row(seen.row, view, live=True)] if seen.row else []


def _motion_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    changed = [parts.site.channels[chid] for chid in seen.what if wanted.channel(chid)]
    return [motion(parts, view, changed)] if changed else []


def _count_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: ParkingCount = seen.what
    numbers = [what.lot, *parts.site.groups_of(what.lot)]
    lots = [parts.site.lots[number] for number in numbers if wanted.lot(number)]
    return [counts(parts, view, seen.at, lots)] if lots else []


def _spot_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: ParkingSpot = seen.what
    spot = parts.site.spots[what.spot]
    if spot.config.type != "spot" or not wanted.spot(spot):
        return []
    return [headed(view, seen.at, "parkingSpot", "statusChanged", spots=[parts.spot(spot, view)])]


def _recording_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: RecordingStatus = seen.what
    entry = recording_entry(parts, parts.site.channels[what.channel], view)
    return [headed(view, seen.at, "recordingStatus", "statusChanged", channel=[entry])]


def _object_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: DetectedObject = seen.what
    if wanted.types is not None and what.type not in wanted.types:
        return []
    if view.v1 and not wanted.channel(what.channel):
        return []
    message: Message = {"timestamp": view.stamp(seen.at), "chid": what.channel, "objId": seen.number}
    if what.parent_id is not None:
        message["parentId"] = what.parent_id
    message |= {"type": what.type, "likelihood": what.likelihood, "attributes": what.attributes}
    return [_untagged(parts, "object", message | {"image": view.url(seen.image or "")})]


def _temperature_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: BodyTemperature = seen.what
    message: Message = {"timestamp": view.stamp(seen.at), "chid": what.channel, "objId": seen.number}
    if not view.korean_forms:
        message["type"] = "vehicle"  # sic: the English guide prints it, the Korean one does not
    message["likelihood"] = what.likelihood
    message["linkedChannel"] = parts.linked([what.channel], view, None, streams=True)
    return [_untagged(parts, "bodyTemperature", message)]


def _opaque_event(seen: Occurrence, parts: Parts, view: View, wanted: Filter) -> list[Message]:
    what: Opaque = seen.what
    return [{"timestamp": view.stamp(seen.at), "topic": seen.topic, **what.payload}]


EVENTS: dict[str, Callable[[Occurrence, Parts, View, Filter], list[Message]]] = {
    "channelStatus": _channel_event,
    "LPR": _plate_event,
    "emergencyCall": _call_event,
    "systemEvent": _system_event,
    "motionChanges": _motion_event,
    "parkingCount": _count_event,
    "parkingSpot": _spot_event,
    "recordingStatus": _recording_event,
    "object": _object_event,
    "bodyTemperature": _temperature_event,
    "packing": _opaque_event,
    "vehicleTracking": _opaque_event,
}
