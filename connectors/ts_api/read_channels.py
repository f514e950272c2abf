"""Read what TS-API says about channels: their link, their names and streams, motion, recording.

Facts: TS-API guide 0.9.20, "Event topics" channelStatus, motionChanges, recordingStatus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from bridge.sdk import Payload, PayloadError, kinds

from .draft import WRONG, DecodeContext, Draft, Drafted, Message, each, need, opaque, part_of
from .values import (
    Dialect,
    channel_of,
    channels,
    codes_in_use,
    flag,
    integer,
    items,
    members,
    path_of,
    pixel_pair,
    scheme_of,
    state_of,
    text,
)

_SNAPSHOT = "currentStatus"
_MAX_STREAMS = 64
_CHANGES: Mapping[str, Literal["source_modified", "ready", "changed"]] = {
    "videoSrcModified": "source_modified",
    "videoStreamReady": "ready",
    "videoStreamChanged": "changed",
}


# --- channelStatus ---------------------------------------------------------------------------------------


def channel_status(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read channelStatus: the snapshot, or one change of one or more channels."""
    event = message.get("event")
    if event == _SNAPSHOT:
        return _snapshot(message, context)
    if event == "channelSwapped":
        return _swapped(message, context)
    read = _SINGLE.get(event) if isinstance(event, str) else None
    if read is None:
        return opaque("channelStatus", message, context)
    return _single(message, context, *read)


def _snapshot(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    listed = message.get("channel")
    codes = status_codes(message, context)

    def one(_: int, entry: Message) -> Draft:
        return Draft(
            "channel.status",
            need(channel_of(entry), "chid", entry),
            _status(entry, codes),
            part_of(message, "channel", entry),
            context.moment(message.get("timestamp")),
            snapshot=True,
        )

    return each(listed, "channel", one)


def _single(
    message: Message, context: DecodeContext, kind: str, payload: Callable[[Message, DecodeContext], Payload]
) -> Iterator[Drafted]:
    listed = channels(message.get("chid")) or channels(message.get("channel"))
    need(listed or None, "chid", message)
    data = payload(message, context)
    for channel in listed:
        yield Draft(kind, channel, data, message, context.moment(message.get("timestamp")), key=channel)


def _swapped(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read one swap as one event: whoever moved his memory twice would have moved nothing."""
    listed = channels(need(message.get("chid"), "chid", message))
    if len(listed) != 2:
        raise PayloadError(WRONG, "chid does not name two channels")
    data = kinds.ChannelSwapped(other=listed[1])
    yield Draft("channel.swapped", listed[0], data, message, context.moment(message.get("timestamp")))


def status_codes(message: Message, context: DecodeContext) -> Dialect:
    """Return whose status codes a message uses (R-6)."""
    return codes_in_use(codes_in(message), context.codes or context.dialect)


def codes_in(message: Message) -> list[int]:
    """Return the status codes in a channelStatus message."""
    holders = [message, *(members(entry) for entry in items(message.get("channel")))]
    found = (integer(members(holder.get("status")).get("code")) for holder in holders)
    return [code for code in found if code is not None]


def _status(entry: Message, codes: Dialect) -> kinds.ChannelStatus:
    status = members(need(entry.get("status"), "status", entry))
    code = need(integer(status.get("code")), "code", status)
    return kinds.ChannelStatus(state=state_of(code, codes), code=code, message=text(status.get("message")))


def _renamed(message: Message, _: DecodeContext) -> Payload:
    name = text(message.get("name")) or text(message.get("title"))
    display = text(message.get("displayName"))
    # A channel whose name was cleared has `name: ""`; people still see its display name.
    return kinds.ChannelRenamed(name=need(name or display, "name", message), display_name=display)


def _stream(message: Message, _: DecodeContext) -> Payload:
    found = (_address(members(entry)) for entry in items(message.get("src"))[:_MAX_STREAMS])
    change = _CHANGES[message["event"]]
    return kinds.ChannelStream(change=change, streams=tuple(stream for stream in found if stream))


def _address(entry: Message) -> kinds.Stream | None:
    path, size = path_of(entry.get("src")), pixel_pair(entry.get("size"))
    if path is None:
        return None
    return kinds.Stream(
        protocol=text(entry.get("protocol")) or scheme_of(entry.get("src")),
        profile=text(entry.get("profile")),
        path=path,
        width=size[0] if size else None,
        height=size[1] if size else None,
    )


_SINGLE: Mapping[str, tuple[str, Callable[[Message, DecodeContext], Payload]]] = {
    "statusChanged": ("channel.status", lambda m, c: _status(m, status_codes(m, c))),
    "nameChanged": ("channel.renamed", _renamed),
    "videoSrcModified": ("channel.stream", _stream),
    "videoStreamReady": ("channel.stream", _stream),
    "videoStreamChanged": ("channel.stream", _stream),
    "channelAdded": ("channel.added", lambda m, c: kinds.ChannelAdded()),
    "channelRemoved": ("channel.removed", lambda m, c: kinds.ChannelRemoved()),
}


# --- motionChanges, recordingStatus ----------------------------------------------------------------------


def motion_changes(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read motionChanges, which has no time: it is said once a second, so receipt is near enough."""

    def one(_: int, entry: Message) -> Draft:
        channel = need(channel_of(entry), "chid", entry)
        moving = need(flag(entry.get("motion")), "motion", entry)
        return Draft(
            "motion.started" if moving else "motion.ended",
            channel,
            kinds.MotionStarted() if moving else kinds.MotionEnded(),
            part_of(message, "updated", entry),
            context.moment(message.get("timestamp")),
            snapshot=context.snapshot,
            correlation=context.correlation("motion", channel),
        )

    return each(message.get("updated"), "updated", one)


def recording_status(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read recordingStatus; both of its events have one shape."""
    if message.get("event") not in (None, _SNAPSHOT, "statusChanged"):
        return opaque("recordingStatus", message, context)

    def one(_: int, entry: Message) -> Draft:
        data = kinds.RecordingStatus(
            streaming=need(flag(entry.get("streaming")), "streaming", entry),
            recording=need(flag(entry.get("recording")), "recording", entry),
            failed_since=context.time(entry.get("timestampRecordingFailure")),
        )
        return Draft(
            "recording.status",
            need(channel_of(entry), "chid", entry),
            data,
            part_of(message, "channel", entry),
            context.moment(message.get("timestamp")),
            snapshot=message.get("event") == _SNAPSHOT,
        )

    return each(message.get("channel"), "channel", one)
