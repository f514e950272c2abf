"""Answers that list what there is: `/api/enum` and its v1 counterparts, with the parking lots and spots."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from . import eventtypes
from .call import Call
from .levels import UNLISTED_ON_V0, offered_topics
from .parts import Message
from .state import Lot

OBJECT_TYPES = ["face", "human", "vehicle"]
_BOTH = [True, False]
_COLOURS = [
    "brown",
    "black",
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "magenta",
    "gray",
    "pink",
    "beige",
    "white",
    "other",
]
OBJECT_ATTRIBUTES: dict[str, dict[str, list[Any]]] = {
    "face": {
        "age": ["young", "adult", "middle", "senior"],
        "gender": ["female", "male"],
        "glasses": _BOTH,
        "hat": _BOTH,
        "mask": _BOTH,
    },
    "human": {
        "gender": ["female", "male"],
        "hat": _BOTH,
        "bag": _BOTH,
        "topClothes": ["short", "long", *_COLOURS],
        "bottomClothes": ["short", "long", *_COLOURS],
    },
    "vehicle": {
        "vehicleType": ["car", "truck", "bus", "bicycle", "motorcycle", "train"],
        "colors": _COLOURS,
    },
}


async def enum(call: Call) -> Any:
    """Answer `/api/enum?what=...`."""
    handlers = {
        "channel": channels,
        "lprSrc": plate_sources,
        "emergencyCall": call_stations,
        "eventType": event_types,
        "parkingLot": _parking_lots_v0,
        "realtimeEvent": realtime_events,
        "objectType": object_types,
        "objectAttr": object_attributes,
    }
    handler = handlers.get(call.text("what"))
    if handler is None:
        raise HTTPException(400, "unknown what")
    return await handler(call)


async def channels(call: Call) -> Any:
    """List the cameras; `staticSrc` adds addresses, `caps` abilities."""
    listed = []
    for channel in call.world.parts.channels(call.channels()):
        entry = call.world.parts.channel_name(channel, call.view)
        if call.flag("staticSrc"):
            entry["src"] = call.view.sources(channel.chid, call.world.recorder.size(channel.chid))
        if call.flag("caps"):
            entry["caps"] = channel.caps
        listed.append(entry)
    return listed


async def plate_sources(call: Call) -> Any:
    """List the plate recognition devices and zones."""
    listed = []
    for source in call.world.config.plate_sources:
        entry: Message = {"id": source.id, "code": source.code, "name": source.name}
        entry |= {"linkedChannel": list(source.linked), "tag": "Normal"}
        if source.channel is not None:
            entry["zone"] = {"id": 0, "chid": source.channel, "rect": [2622, 1499, 4297, 4297]}
            entry["zone"] |= {"mode": "driving", "disabledOnly": False, "noParkingAllowed": False}
        lots = {"entrance": source.entrance, "exit": source.exit}
        lots = {name: lot for name, lot in lots.items() if lot is not None}
        if lots and call.view.since("0.9.8"):
            entry["parkingLot"] = lots
        listed.append(entry)
    return listed


async def call_stations(call: Call) -> Any:
    """List the emergency call stations."""
    return [
        {"id": item.id, "code": item.code, "name": item.name, "linkedChannel": list(item.linked)}
        for item in call.world.config.call_stations
    ]


async def event_types(call: Call) -> Any:
    """List the event types of the log with their codes."""
    return eventtypes.table(
        call.view.lang,
        v1=call.v1,
        old_names=not call.view.since(eventtypes.FRAME_DROP_NAMED_SINCE),
        emergency="emergency" not in call.world.unlicensed,
    )


async def realtime_events(call: Call) -> Any:
    """List the topics on offer; v0 leaves bodyTemperature out, as the guide's sample does."""
    topics = offered_topics(call.world.level, v1=call.v1, unlicensed=call.world.unlicensed)
    return topics if call.v1 else [topic for topic in topics if topic not in UNLISTED_ON_V0]


async def object_types(call: Call) -> Any:
    """List the types of objects."""
    return OBJECT_TYPES


async def object_attributes(call: Call) -> Any:
    """List what can be known about objects, of one type or of all."""
    kind = call.text("type")
    if kind and kind not in OBJECT_ATTRIBUTES:
        raise HTTPException(400, "unknown type")
    return OBJECT_ATTRIBUTES[kind] if kind else OBJECT_ATTRIBUTES


# Parking


async def _parking_lots_v0(call: Call) -> Any:
    lots = [call.world.parts.lot(lot) for lot in call.world.site.lots.values()]
    return {kind: [lot for lot in lots if lot["type"] == kind] for kind in ("counter", "group")}


async def parking_lots(call: Call) -> Any:
    """List the lots (v1): what does not change."""
    listed = []
    for lot in _lots(call):
        entry = call.world.parts.lot(lot)
        del entry["count"]
        spots = [spot.id for spot in call.world.config.spots if spot.lot == lot.config.id]
        listed.append(entry | ({"parkingSpots": spots} if spots else {}))
    return listed


async def parking_lot_status(call: Call) -> Any:
    """List the counts of the lots (v1)."""
    listed = []
    for lot in _lots(call):
        count = lot.count(call.world.site.lots)
        entry = {"id": lot.config.id, "name": lot.config.name, "maxCount": lot.config.capacity}
        listed.append(entry | {"count": count, "available": max(0, lot.config.capacity - count)})
    return listed


def _lots(call: Call) -> list[Lot]:
    asked = call.numbers("id") or call.numbers("lot")
    return [lot for number, lot in call.world.site.lots.items() if asked is None or number in asked]


async def parking_spots(call: Call) -> Any:
    """List the zones of the parking guide (v1)."""
    return _spots(call, spots_only=False)


async def parking_spot_status(call: Call) -> Any:
    """List the occupancy of the spots (v1)."""
    return [{key: spot[key] for key in spot if key != "type"} for spot in _spots(call, spots_only=True)]


def _spots(call: Call, *, spots_only: bool) -> list[Message]:
    wanted, ids, categories = call.channels(), call.numbers("id"), call.words("category")
    found = []
    for spot in call.world.site.spots.values():
        config = spot.config
        if not wanted.channel(config.chid) or (ids and config.id not in ids):
            continue
        if (categories and config.category not in categories) or (spots_only and config.type != "spot"):
            continue
        if call.has("occupied") and call.flag("occupied") != spot.occupied:
            continue
        found.append(call.world.parts.spot(spot, call.view, stamp=call.view.row_stamp))
    return found
