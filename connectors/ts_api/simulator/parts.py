"""The pieces that messages and answers are made of: channel, lot and spot entries, log rows, linked
channels.

Pure: site and view in, JSON values out. The encodings and member names are the vendor's, per dialect
and level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from . import eventtypes
from .logbook import EventRow, ObjectRow, PlateRow
from .state import Channel, Lot, Site, Spot, status_of
from .view import View

Message = dict[str, Any]

# Values inside an event's `param` that v0 percent-encodes in the log, though not in the live message.
_ENCODED_PARAMS = ("storagePath",)


@dataclass(frozen=True)
class Filter:
    """What one subscription lets through; None means everything."""

    channels: frozenset[int] | None = None
    lots: frozenset[int] | None = None
    spots: frozenset[int] | None = None
    types: frozenset[str] | None = None
    allowed: frozenset[int] | None = None

    def channel(self, chid: int) -> bool:
        """Tell whether a channel is asked for and allowed."""
        wanted = self.channels is None or chid in self.channels
        return wanted and (self.allowed is None or chid in self.allowed)

    def lot(self, number: int) -> bool:
        """Tell whether a parking lot is asked for."""
        return self.lots is None or number in self.lots

    def spot(self, spot: Spot) -> bool:
        """Tell whether a parking spot is asked for: channel, lot and spot numbers combine with OR."""
        if self.allowed is not None and spot.config.chid not in self.allowed:
            return False
        asked = (self.channels, spot.config.chid), (self.lots, spot.config.lot), (self.spots, spot.config.id)
        given = [number in numbers for numbers, number in asked if numbers is not None]
        return not given or any(given)


@dataclass(frozen=True)
class Parts:
    """Knows the site; `size` gives the picture size of a channel, `quirks` the vendor's inconsistencies."""

    site: Site
    size: Callable[[int], tuple[int, int]]
    now: Callable[[], datetime]
    quirks: bool = True

    # Channels

    def channels(self, wanted: Filter) -> list[Channel]:
        """Return the channels a filter lets through, in order."""
        return [item for chid, item in sorted(self.site.channels.items()) if wanted.channel(chid)]

    def status(self, code: int, view: View, *, v1_codes: bool | None = None) -> Message:
        """Return a camera's `status`; the words come only in verbose answers."""
        v1 = view.v1_codes if v1_codes is None else v1_codes
        code, words = status_of(code, v1=v1, korean=view.lang.startswith("ko"))
        return {"code": code, "message": words} if view.verbose else {"code": code}

    def channel_name(self, channel: Channel, view: View) -> Message:
        """Return `chid`, `title` and, since 0.9.4, `displayName`."""
        entry: Message = {"chid": channel.chid, "title": channel.title}
        return entry | self.display_name(channel, view)

    def display_name(self, channel: Channel, view: View) -> Message:
        """Return `displayName` where the level has it."""
        return {"displayName": channel.display_name} if view.since("0.9.4") else {}

    def recording(self, channel: Channel, view: View) -> Message:
        """Return `streaming`, `recording` and the time of a failure."""
        entry: Message = {"streaming": channel.streaming, "recording": channel.recording}
        if channel.failed_at and not channel.recording:
            entry["timestampRecordingFailure"] = view.stamp(channel.failed_at)
        return entry

    def linked(
        self, channels: Iterable[int], view: View, when: datetime | None, *, streams: bool = False
    ) -> list[Message]:
        """Return `linkedChannel`: player addresses at a time (None: live), with streams if asked."""
        found = []
        for chid in channels:
            channel = self.site.channels.get(chid)
            if not channel:
                continue
            entry = self.channel_name(channel, view) | {"src": view.watch(chid, when)}
            if streams:
                entry["streams"] = view.streams(chid, self.size(chid)) if channel.connected else []
            found.append(entry)
        return found

    # Parking

    def lot(self, lot: Lot) -> Message:
        """Return a lot of parkingCount and of `what=parkingLot`."""
        group = bool(lot.config.members)
        entry: Message = {
            "id": lot.config.id,
            "name": lot.config.name,
            "type": "group" if group else "counter",
            "count": lot.count(self.site.lots),
            "maxCount": lot.config.capacity,
        }
        return entry | {"member": list(lot.config.members)} if group else entry

    def spot(self, spot: Spot, view: View, *, stamp: Callable[[datetime], str] | None = None) -> Message:
        """Return a zone of parkingSpot; only spots can be occupied."""
        config = spot.config
        entry: Message = {
            "id": config.id,
            "chid": config.chid,
            "name": config.name,
            "type": config.type,
            "category": config.category if config.type == "spot" else None,
        }
        if config.type == "spot":
            entry["occupied"] = spot.occupied
        return entry | {"vehicle": self._vehicle(spot, stamp or view.stamp) if spot.occupied else None}

    def _vehicle(self, spot: Spot, stamp: Callable[[datetime], str]) -> Message:
        vehicle: Message = {"plateNo": spot.plate_no, "score": spot.score, "ev": spot.ev, "bike": spot.bike}
        return vehicle | {"since": stamp(spot.since) if spot.since else None}

    # Log rows

    def event_row(self, row: EventRow, view: View, *, live: bool = False) -> Message:
        """Return a row of the event log; `live` is the form of systemEvent."""
        old = not view.since(eventtypes.FRAME_DROP_NAMED_SINCE)
        kind, name = eventtypes.names(row.type, row.code, view.lang, old_names=old)
        stamp = view.stamp if live else view.row_stamp
        times = [row.begin, row.end] if row.end else [row.begin]
        entry: Message = {
            "id": row.id,
            "type": eventtypes.number(row.type, v1=view.v1),
            "typeName": kind,
            "code": row.code,
            "codeName": name,
            "timeRange": [stamp(moment) for moment in times],
        }
        if view.v1 and not live:
            entry["chid"] = row.channels[0] if len(row.channels) == 1 else None
        if row.param is not None:
            entry["param"] = row.param if live or view.v1 else self._encoded_param(row.param)
        return entry | ({"comment": row.comment} if row.comment else {})

    def plate_row(self, row: PlateRow, view: View) -> Message:
        """Return a row of the plate log."""
        source = self.site.plate_sources.get(row.source)
        entry: Message = {"id": row.id, "plateNo": row.plate_no}
        if row.score is not None and view.since("0.9.3"):
            entry["score"] = row.score if view.v1 else round(row.score)
        if row.roi and view.since("0.9.3"):
            entry["roi"] = {"offset": list(row.roi[:2]), "size": list(row.roi[2:])}
        if row.images and view.since("0.9.3"):
            entry["image"] = [view.url(image) for image in row.images]
        entry |= {
            "timeRange": [view.row_stamp(row.begin), view.row_stamp(row.end)],
            "srcCode": row.source,
            "srcName": self.encoded(source.name if source else row.source, view),
        }
        if row.direction and view.since("0.9.19"):
            entry["direction"] = row.direction
        return entry | {"vod": [{"chid": chid, "videoSrc": view.watch(chid, row.begin)} for chid in row.channels]}

    def object_row(self, row: ObjectRow, view: View) -> Message:
        """Return a row of the object log: the live event again."""
        entry: Message = {"timestamp": view.row_stamp(row.begin), "chid": row.chid}
        if not view.v1:
            entry["objId"] = row.obj_id
        if row.parent_id is not None:
            entry["parentId"] = row.parent_id
        entry["type"] = row.type
        if not view.v1:
            entry["likelihood"] = row.likelihood
        return entry | {"attributes": row.attributes, "image": view.url(row.image)}

    def encoded(self, text: str, view: View, *, dots: bool = False) -> str:
        """Percent-encode a text where v0 does; the Korean guide's samples are plain."""
        if view.v1 or not self.quirks or view.korean_forms:
            return text
        coded = quote(text, safe="")
        return coded.replace(".", "%2E") if dots else coded

    def _encoded_param(self, param: Message) -> Message:
        if not self.quirks:
            return param
        return {
            key: quote(value, safe="") if key in _ENCODED_PARAMS and isinstance(value, str) else value
            for key, value in param.items()
        }
