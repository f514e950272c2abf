"""The present state of a topic as one message: what a subscription begins with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from .parts import Filter, Message, Parts
from .state import Channel, Lot
from .view import View

_BIG_SERVER = 144  # channels of the largest server sold


def headed(view: View, at: datetime, topic: str, event: str, **members: Any) -> Message:
    """Return a message with the members that all dated topics share."""
    return {"timestamp": view.stamp(at), "topic": topic, "event": event, **members}


def _channels_now(parts: Parts, view: View, wanted: Filter) -> Message:
    listed = [_channel_entry(parts, item, view) for item in parts.channels(wanted)]
    return headed(view, parts.now(), "channelStatus", "currentStatus", channel=listed)


def _channel_entry(parts: Parts, channel: Channel, view: View) -> Message:
    entry = parts.channel_name(channel, view)
    if not view.verbose:
        del entry["title"]
    entry["status"] = parts.status(channel.code, view)
    if view.since("0.9.4"):
        entry["caps"] = channel.caps
        entry["src"] = view.static_sources(channel.chid, parts.size(channel.chid)) if channel.connected else []
    return entry


def motion(parts: Parts, view: View, channels: Iterable[Channel]) -> Message:
    """Return motionChanges for some channels; the vendor gives it no time."""
    updated = [{"chid": item.chid, "motion": item.motion} for item in channels]
    head: Message = {} if parts.quirks else {"timestamp": view.stamp(parts.now())}
    return head | {"topic": "motionChanges", "updated": updated}


def _motion_now(parts: Parts, view: View, wanted: Filter) -> Message:
    return motion(parts, view, parts.channels(wanted))


def counts(parts: Parts, view: View, at: datetime, lots: Iterable[Lot]) -> Message:
    """Return parkingCount for some lots."""
    updated = [parts.lot(lot) for lot in lots]
    return {"timestamp": view.stamp(at), "topic": "parkingCount", "updated": updated}


def _counts_now(parts: Parts, view: View, wanted: Filter) -> Message:
    lots = [lot for number, lot in parts.site.lots.items() if wanted.lot(number)]
    return counts(parts, view, parts.now(), lots)


def recording_entry(parts: Parts, channel: Channel, view: View) -> Message:
    """Return one channel of recordingStatus."""
    return {"chid": channel.chid} | parts.recording(channel, view)


def _recording_now(parts: Parts, view: View, wanted: Filter) -> Message:
    listed = [recording_entry(parts, item, view) for item in parts.channels(wanted)]
    return headed(view, parts.now(), "recordingStatus", "currentStatus", channel=listed)


def _spots_now(parts: Parts, view: View, wanted: Filter) -> Message:
    listed = [parts.spot(spot, view) for spot in parts.site.spots.values() if wanted.spot(spot)]
    return headed(view, parts.now(), "parkingSpot", "currentStatus", spots=listed)


SNAPSHOTS: dict[str, Callable[[Parts, View, Filter], Message]] = {
    "channelStatus": _channels_now,
    "motionChanges": _motion_now,
    "parkingCount": _counts_now,
    "recordingStatus": _recording_now,
    "parkingSpot": _spots_now,
}


def snapshot(topic: str, parts: Parts, view: View, wanted: Filter) -> Message | None:
    """Return the message a topic begins with, or None when it has none."""
    make = SNAPSHOTS.get(topic)
    return make(parts, view, wanted) if make else None


def blown_up(message: Message, size: int) -> Message:
    """Return a snapshot of 144 channels whose compact JSON has exactly `size` bytes, if that is enough."""
    listed = message["channel"]
    many = [{**listed[number % len(listed)], "chid": number + 1} for number in range(_BIG_SERVER)]
    for entry in many:
        entry["src"] = [{**source} for source in entry.get("src") or [{"src": ""}]]
    big = {**message, "channel": many}
    missing = size - len(json.dumps(big, ensure_ascii=False, separators=(",", ":")).encode())
    share, rest = divmod(max(0, missing), _BIG_SERVER)
    for number, entry in enumerate(many):
        entry["src"][0]["src"] += "x" * (share + (number < rest))
    return big
