"""Read what TS-API's eyes recognised: plates, objects, body temperature; live messages and log rows alike.

Facts: TS-API guide 0.9.20, "Event topics" LPR, object, bodyTemperature; v1 guide 1.1.0, changes of 1.0.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from bridge.sdk import PayloadError, canonical_plate, kinds

from .draft import WRONG, DecodeContext, Draft, Drafted, Message, each, need, opaque
from .values import (
    basename,
    channel_of,
    channels,
    code,
    flag,
    items,
    members,
    path_of,
    percent,
    pixel_pair,
    text,
    word,
    words,
)

MAX_PLATE = 32
"""Characters; the longest plates in use have about a dozen."""

OBJECTS: Mapping[str, Literal["face", "human", "vehicle"]] = {"face": "face", "human": "human", "vehicle": "vehicle"}
_DIRECTIONS: Mapping[str, Literal["entry", "exit"]] = {"entry": "entry", "exit": "exit"}
_PARTS: Mapping[str, Literal["tops", "bottoms"]] = {"tops": "tops", "bottoms": "bottoms"}
_LENGTHS: Mapping[str, Literal["short", "long"]] = {"short": "short", "long": "long"}
_MAX_CLOTHES = 16
_STAMP = re.compile(r"\d{13,}", re.ASCII)


# --- plates ----------------------------------------------------------------------------------------------


def plates(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read LPR: v1 from 1.0.1 sends one message a picture with `plates`, all others one a plate (R-12)."""
    if "plates" not in message:
        yield _live_plate(message, message, context, "")
        return
    shared = {name: value for name, value in message.items() if name != "plates"}

    def one(index: int, entry: Message) -> Drafted:
        return _live_plate({**shared, **entry}, {**shared, "plates": [entry]}, context, str(index))

    yield from each(message["plates"], "plates", one)


def _live_plate(plate: Message, part: Message, context: DecodeContext, key: str) -> Draft:
    first_seen = context.time(plate.get("timeBegin"))
    data = plate_read(plate, first_seen, code(plate.get("deviceCode")) or code(plate.get("srcCode")))
    return Draft(
        "plate.read",
        channel_of(plate) or data.device,
        data,
        part,
        context.moment(plate.get("timestamp")),
        correlation=plate_correlation(data, context),
        key=key,
        unique=is_dated(data.image),
    )


def plate_read(plate: Message, first_seen: datetime | None, device: str | None) -> kinds.PlateRead:
    """Return the payload of one plate, live or logged. Raises PayloadError."""
    raw = need(text(plate.get("plateNo")) or code(plate.get("plateNo")), "plateNo", plate)
    canonical = canonical_plate(raw)
    if not 0 < len(canonical) <= MAX_PLATE:
        raise PayloadError(WRONG, "plateNo is no number plate")
    return kinds.PlateRead(
        plate=canonical,
        plate_raw=raw,
        score=percent(plate.get("score")),
        direction=_DIRECTIONS.get(word(plate.get("direction")) or ""),
        device=device,
        device_name=text(plate.get("deviceName")) or text(plate.get("srcName")),
        first_seen=first_seen,
        lot=_lot(members(plate.get("parkingLot"))),
        linked_channels=channels(plate.get("linkedChannel")),
        region=_region(members(plate.get("roi"))),
        image=next(iter(images(plate)), None),
    )


def plate_correlation(data: kinds.PlateRead, context: DecodeContext) -> str | None:
    """Return what ties the reads of one vehicle's stay: reader, plate and first sight; else the picture."""
    if data.first_seen is not None:
        return context.correlation("plate", data.device, data.plate, data.first_seen.isoformat())
    still = basename(data.image)
    return context.correlation("picture", still) if still else None


def images(message: Message) -> list[str]:
    """Return the paths of all stills: one text live, an array in the log."""
    value = message.get("image")
    listed: list[Any] = [value] if isinstance(value, str) else items(value)
    return [path for item in listed if (path := path_of(item)) is not None]


def is_dated(path: str | None) -> bool:
    """Tell whether a still's name holds the moment it was taken, as all of the vendor's do; then it is unique."""
    return _STAMP.search(basename(path) or "") is not None


def _lot(lot: Message) -> kinds.ParkingLotRef | None:
    entrance, leaving = code(lot.get("entrance")), code(lot.get("exit"))
    return kinds.ParkingLotRef(entrance=entrance, exit=leaving) if entrance or leaving else None


def _region(roi: Message) -> kinds.Region | None:
    offset, size = pixel_pair(roi.get("offset")), pixel_pair(roi.get("size"))
    return kinds.Region(x=offset[0], y=offset[1], width=size[0], height=size[1]) if offset and size else None


# --- objects ---------------------------------------------------------------------------------------------


def objects(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read object. A type that is none of the documented three is passed on as it came."""
    kind = OBJECTS.get(word(message.get("type")) or "")
    if kind is None and text(message.get("type")):
        yield from opaque("object", message, context)
        return
    data = object_detected(message, need(kind, "type", message))
    channel = need(channel_of(message), "chid", message)
    yield Draft(
        "object.detected",
        channel,
        data,
        message,
        context.moment(message.get("timestamp")),
        correlation=object_correlation(channel, data, context),
        unique=is_dated(data.image),
    )


def object_detected(message: Message, kind: Literal["face", "human", "vehicle"]) -> kinds.ObjectDetected:
    """Return the payload of one object, live or logged."""
    seen = members(message.get("attributes"))
    return kinds.ObjectDetected(
        object=kind,
        object_id=code(message.get("objId")),
        parent_id=code(message.get("parentId")),
        likelihood=percent(message.get("likelihood")),
        gender=word(seen.get("gender")),
        age=word(seen.get("age")),
        hat=flag(seen.get("hat")),
        glasses=flag(seen.get("glasses")),
        mask=flag(seen.get("mask")),
        bag=flag(seen.get("bag")),
        clothes=tuple(_clothing(members(item)) for item in items(seen.get("clothes"))[:_MAX_CLOTHES]),
        vehicle_type=word(seen.get("vehicleType")),
        colors=words(seen.get("colors")),
        image=next(iter(images(message)), None),
    )


def _clothing(item: Message) -> kinds.Clothing:
    return kinds.Clothing(
        part=_PARTS.get(word(item.get("type")) or ""),
        length=_LENGTHS.get(word(item.get("length")) or ""),
        colors=words(item.get("colors")),
    )


def object_correlation(channel: str, data: kinds.ObjectDetected, context: DecodeContext) -> str | None:
    """Return what ties the sightings of one object; the parts of a face and its body have one id each."""
    return context.correlation("object", channel, data.object_id) if data.object_id else None


def body_temperature(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read bodyTemperature. No value is sent, and its `type` is a slip of the guide (R-14)."""
    yield Draft(
        "temperature.alarm",
        need(channel_of(message), "chid", message),
        kinds.TemperatureAlarm(
            object_id=code(message.get("objId")),
            likelihood=percent(message.get("likelihood")),
            linked_channels=channels(message.get("linkedChannel")),
        ),
        message,
        context.moment(message.get("timestamp")),
    )
