"""What can happen: every event kind and the payload model of each.

A kind is always two words, `plate.read`, so that subjects have a fixed shape. Field descriptions
are the reference: the docs, the JSON Schema and the rule checker are made from them.
Vendor words stay in the connectors; here a face is a face whichever system saw it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from bridge.schema.base import Record, UtcTime

Percent = Annotated[float, Field(ge=0, le=100)]
Channels = Annotated[tuple[str, ...], Field(description="Channels linked to the place, by number as text.")]


class Payload(Record):
    """The `data` of an event."""


class ParkingLotRef(Record):
    """The counting lots a gate leads into and out of."""

    entrance: str | None = Field(None, description="Lot entered through this gate.")
    exit: str | None = Field(None, description="Lot left through this gate.")


class Region(Record):
    """A rectangle in picture pixels."""

    x: int
    y: int
    width: int
    height: int


class PlateRead(Payload):
    """A vehicle's number plate was read."""

    plate: str = Field(description="The plate in canonical form: NFC, upper case, no separators.")
    plate_raw: str = Field(description="The plate exactly as the system wrote it.")
    score: Percent | None = Field(None, description="Confidence of the reader, 0 to 100; engines differ.")
    direction: Literal["entry", "exit"] | None = Field(None, description="Which way the vehicle goes.")
    device: str | None = Field(None, description="Code of the reading device or zone.")
    device_name: str | None = Field(None, description="Name of the reading device or zone.")
    first_seen: UtcTime | None = Field(None, description="When this vehicle was first seen, before the read.")
    lot: ParkingLotRef | None = Field(None, description="Counting lots on both sides of the gate.")
    linked_channels: Channels = ()
    region: Region | None = Field(None, description="Where in the picture the plate is.")
    image: str | None = Field(None, description="Path of a still on the source; no host, no credentials.")


class Call(Payload):
    """An emergency call button or intercom."""

    caller: str = Field(description="Code of the place that called.")
    name: str | None = Field(None, description="Name of the place that called.")
    device: str | None = Field(None, description="Vendor and model of the call device.")
    linked_channels: Channels = ()


class CallStarted(Call):
    """Somebody pressed a call button; it lasts until `call.ended`."""


class CallEnded(Call):
    """The call was ended at the device or by an operator."""

    reason: Literal["seen", "timeout"] = Field("seen", description="`timeout`: the source never said it ended.")


class MotionStarted(Payload):
    """Something began to move in a channel's picture."""


class MotionEnded(Payload):
    """Nothing moves any more."""

    reason: Literal["seen", "timeout"] = Field("seen", description="`timeout`: the source never said it ended.")


class Clothing(Record):
    """One piece of clothing."""

    part: Literal["tops", "bottoms"] | None = None
    length: Literal["short", "long"] | None = None
    colors: tuple[str, ...] = ()


class ObjectDetected(Payload):
    """A face, a person or a vehicle was recognised, with whatever was seen of it."""

    object: Literal["face", "human", "vehicle"] = Field(description="What it is.")
    object_id: str | None = Field(
        None, description="The source's id; the same id is the same object. Some logs leave it out."
    )
    parent_id: str | None = Field(None, description="For a face: the id of its body.")
    likelihood: Percent | None = Field(None, description="Confidence, 0 to 100.")
    gender: str | None = None
    age: str | None = Field(None, description="young, adult, middle or senior.")
    hat: bool | None = None
    glasses: bool | None = None
    mask: bool | None = None
    bag: bool | None = None
    clothes: tuple[Clothing, ...] = ()
    vehicle_type: str | None = Field(None, description="car, truck, bus, bicycle, motorcycle or train.")
    colors: tuple[str, ...] = ()
    image: str | None = Field(None, description="Path of a still on the source; no host, no credentials.")


class TemperatureAlarm(Payload):
    """A thermal camera reported a body temperature alarm. No source known to us sends the value."""

    object_id: str | None = None
    likelihood: Percent | None = None
    linked_channels: Channels = ()


class ParkingCount(Payload):
    """How full a counting lot, or a group of lots, is."""

    lot: str = Field(description="Id of the lot.")
    name: str | None = None
    lot_type: Literal["counter", "group"] | None = None
    count: int = Field(description="Vehicles inside. Counters drift: it may be negative or above capacity.")
    capacity: int | None = Field(None, description="Spaces in the lot.")
    available: int | None = Field(None, description="Spaces left: capacity less count, never below 0.")
    members: tuple[str, ...] = Field((), description="Lots of a group.")


class ParkingSpot(Payload):
    """One marked space, and what stands on it."""

    spot: str = Field(description="Id of the space.")
    name: str | None = None
    channel: str | None = Field(None, description="The channel that watches the space.")
    spot_type: str | None = Field(None, description="spot, entrance, exit, noParking or recognition.")
    category: str | None = Field(None, description="normal, disabled, compact, ev_charging, ...")
    occupied: bool | None = None
    plate: str | None = Field(None, description="Canonical plate of the vehicle on it.")
    plate_raw: str | None = None
    score: Percent | None = None
    ev: bool | None = Field(None, description="The vehicle is electric.")
    bike: bool | None = Field(None, description="The vehicle is a motorcycle.")
    since: UtcTime | None = Field(None, description="When the vehicle arrived.")


class Stream(Record):
    """One address of a channel's picture. Never holds credentials."""

    protocol: str
    profile: str | None = None
    path: str = Field(description="Address without credentials; relative to the source where it is the source's own.")
    width: int | None = None
    height: int | None = None


class ChannelStatus(Payload):
    """The state of the link between the system and a camera."""

    state: Literal["connected", "connecting", "disconnected", "auth_failed", "no_video", "unused", "unknown"]
    code: int | None = Field(None, description="The source's own code.")
    message: str | None = Field(None, description="The source's own words.")


class ChannelRenamed(Payload):
    """A channel has a new name."""

    name: str
    display_name: str | None = None


class ChannelAdded(Payload):
    """A channel was added to the system."""


class ChannelRemoved(Payload):
    """A channel was removed from the system."""


class ChannelSwapped(Payload):
    """Two channels exchanged their numbers; everything remembered by number moves with them."""

    other: str = Field(description="The channel that took this channel's number.")


class ChannelStream(Payload):
    """The channel's picture has another address, or must be connected to again."""

    change: Literal["source_modified", "ready", "changed"]
    streams: tuple[Stream, ...] = ()


class RecordingStatus(Payload):
    """Whether a channel is streaming and being recorded."""

    streaming: bool
    recording: bool
    failed_since: UtcTime | None = Field(None, description="When recording stopped although it should run.")


class SystemLog(Payload):
    """A line of the system's own log. The same `log_id` may come again with a longer range."""

    log_id: str
    log_type: int
    type_name: str | None = Field(None, description="Localised: match on `log_type`, not on this.")
    code: int | None = None
    code_name: str | None = Field(None, description="Localised: match on `code`, not on this.")
    began: UtcTime
    ended: UtcTime | None = None
    ongoing: bool | None = Field(None, description="The incident is still growing.")
    param: dict[str, JsonValue] = Field(default_factory=dict, description="The source's own details; channels 1-based.")
    comment: str | None = None


class StreamEvent(Payload):
    """A cloud platform's live stream."""

    stream: str = Field(description="The platform's name of the stream.")
    app: str | None = None
    reason: str | None = None
    code: int | None = None


class StreamStarted(StreamEvent):
    """A stream began to arrive."""


class StreamEnded(StreamEvent):
    """A stream stopped arriving."""


class RecordReady(Payload):
    """A platform has finished a recording."""

    stream: str
    task: str | None = Field(None, description="The recording task, where one was asked for.")
    file: str | None = Field(None, description="The platform's id of the file.")
    path: str | None = Field(None, description="Where it is; no credentials.")
    began: UtcTime | None = None
    ended: UtcTime | None = None
    duration: float | None = Field(None, description="Seconds.")
    size: int | None = Field(None, description="Bytes.")
    container: str | None = Field(None, description="mp4, flv, hls, ...")
    error: str | None = Field(None, description="Why there is no recording.")


class ScreenshotReady(Payload):
    """A platform has taken a picture."""

    stream: str
    path: str | None = None
    size: int | None = Field(None, description="Bytes.")
    width: int | None = None
    height: int | None = None


class VendorEvent(Payload):
    """Something a system said that has no kind of its own; passed on as it came."""

    topic: str
    body: JsonValue = None


class Custom(Payload):
    """What a generic HTTP or MQTT source sent, mapped by its configuration."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


class SourceConnected(Payload):
    """A source is being listened to."""

    topics: tuple[str, ...] = ()
    dialect: str | None = None
    version: str | None = None


class SourceLost(Payload):
    """A source is not being listened to any more."""

    reason: str = Field(description="A short code: unavailable, auth, unsupported, silent, stopped.")
    message: str
    since: UtcTime = Field(description="When it was last heard.")


class SourceGap(Payload):
    """For this span the source was not heard; what it could still tell was fetched, the rest is lost."""

    gap_from: UtcTime
    gap_to: UtcTime
    cause: str
    topics: tuple[str, ...] = ()
    fetched: dict[str, int] = Field(
        default_factory=dict, description="Events fetched afterwards and not known before, by kind."
    )
    lost: tuple[str, ...] = Field((), description="Topics whose events in the span cannot be fetched.")
    log_begins: dict[str, UtcTime] = Field(
        default_factory=dict,
        description="Logs that do not reach back to `gap_from`, and their oldest row: what was before is gone.",
    )
    refused: int = Field(0, description="Rows of the source's logs that could not be understood.")


class StateChanged(Payload):
    """The known state of something changed by hand or by rule."""

    entity: str
    attribute: str
    value: JsonValue = None
    previous: JsonValue = None


MAX_LIST_VALUES = 250
"""Values that one `list.changed` may name in each field; the engine writes them down in one step."""
_ListValues = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=MAX_LIST_VALUES)
]


class ListChanged(Payload):
    """A list was changed at run time; what it says of a value counts instead of what the list's file says."""

    list: str
    added: _ListValues = Field((), description="Values that are listed from now on.")
    removed: _ListValues = Field((), description="Values that are listed no longer, whatever the file says.")
    reset: _ListValues = Field((), description="Values for which the file counts again.")
    valid_from: UtcTime | None = Field(None, description="What was added counts from then on; default: at once.")
    valid_until: UtcTime | None = Field(
        None, description="Until then what was added or removed counts, then the file again; default: for good."
    )
    tags: tuple[str, ...] = Field((), description="How what was added is tagged.")
    reason: str | None = Field(None, description="Why, as who changed it said.")
    content: str | None = Field(None, description="Hash of the whole list, when it was replaced as one.")


class ModeChanged(Payload):
    """The site is in another mode."""

    mode: str
    previous: str | None = None
    reason: str | None = Field(None, description="Why, as who changed it said.")


class RulesChanged(Payload):
    """Another rule set decides from here on."""

    ruleset: str = Field(description="Hash of the rule set's content.")
    rules: int
    previous: str | None = Field(None, description="Hash of the rule set before.")
    added: tuple[str, ...] = Field((), description="Rules that are new; of very many the first.")
    changed: tuple[str, ...] = Field((), description="Rules that say something else; what they remembered is dropped.")
    removed: tuple[str, ...] = Field((), description="Rules that are gone.")
    lists: tuple[str, ...] = Field((), description="Lists whose entries differ.")


class RuleLoop(Payload):
    """Rules led to each other over and over; there this rule did not fire. Told once an hour for each rule."""

    rule: str
    kind: str = Field(description="The kind of event that it did not fire from.")
    event: str = Field(description="The event's id.")
    hops: int = Field(description="How many firings, one leading to the next, led to that event.")


class RuleRefused(Payload):
    """A rule did not fire, because the firing would have had no room to wait in. Told once an hour for each rule."""

    rule: str
    kind: str = Field(description="The kind of event that it did not fire from.")
    event: str = Field(description="The event's id.")
    wanted: str = Field(description="Which bound was reached, in words.")
    seen: int = Field(description="How many wait, or how many bytes there are.")


Outcome = Literal["done", "expired", "refused", "dead", "unknown"]


class ActionEnded(Payload):
    """An order came to its one end."""

    order: str
    rule: str
    action: str
    step: str | None = Field(None, description="The name the rule gave this step with `as`.")
    outcome: Outcome
    reason: str | None = Field(None, description="A short code; why it was not done.")
    message: str | None = None
    attempts: int = 0
    output: dict[str, JsonValue] = Field(default_factory=dict)


class ClipReady(Payload):
    """A clip is closed, hashed and seen to play."""

    clip: str
    path: str = Field(description="Path inside the clip store.")
    sha256: str
    size: int = Field(description="Bytes.")
    duration: float = Field(description="Seconds.")
    began: UtcTime = Field(description="Wall-clock time of the first picture.")
    ended: UtcTime
    order: str
    rule: str
    causes: tuple[str, ...] = ()
    thumbnail: str | None = None
    complete: bool = Field(description="All of the asked window is in it.")


class ClipFailed(Payload):
    """A clip could not be made."""

    order: str
    rule: str
    reason: str
    message: str
    causes: tuple[str, ...] = ()


class LogHole(Payload):
    """Events were trimmed from the log before the engine had read them. This is an alarm."""

    first_missing: int
    last_missing: int


class BreakerTripped(Payload):
    """Openings came far above every door's own cap; outputs are blocked until a person resets."""

    scope: str
    openings: int
    within: float = Field(description="Seconds.")


class CommandGiven(Payload):
    """A person or a client that is known by name asked for something."""

    command: str = Field(
        description="open, hold, unhold, confirm, deny, kill, unkill, reset_breaker, lock, unlock, accept_clock, "
        "accept_loss, redrive, drop, reload, agree."
    )
    target: str | None = Field(None, description="The door, camera, clock or dead letter it is about.")
    persons: tuple[str, ...] = Field((), description="Everybody who wants it; several where a door needs them.")
    reason: str | None = Field(None, description="What they said why.")
    pending: str | None = Field(None, description="The waiting opening that was agreed to.")
    outcome: str | None = Field(None, description="What came of `reload`: unchanged, changed, waits or refused.")


class SettingChanged(Payload):
    """One setting of what moves; a value that is not there is its default, or the thing was not there."""

    setting: str = Field(description="Its path: `doors/main-gate/mode`.")
    was: str | None = None
    now: str | None = None


class SettingsChanged(Payload):
    """What moves was configured otherwise at a start. What that concerns stays at idle until a person agrees."""

    confirm: str = Field(description="The number that agrees to it.")
    changes: tuple[SettingChanged, ...] = Field(description="What differs, at most 500.")
    outputs: tuple[str, ...] = Field((), description="The outputs that wait for it; none: everything that moves.")


class BridgeStarted(Payload):
    """The bridge has started."""

    version: str
    instance: str
    sources: tuple[str, ...] | None = Field(
        None, description="The sources that it listens to. `silent` waits for no other that was once connected."
    )


class OutageStarted(Payload):
    """Something is down, or comes and goes. Whatever went together is one outage."""

    parent: str | None = Field(None, description="What the parts belong to: a source.")
    parts: tuple[str, ...] = Field(description="What is down: `source nvr1`, `bus`, `source nvr1/3`.")
    flapping: tuple[str, ...] = Field((), description="Those of them that come and go.")
    message: str


class OutageEnded(Payload):
    """It has been well again for a while."""

    parent: str | None = Field(None, description="What the parts belong to: a source.")
    parts: tuple[str, ...] = Field(description="What is well again.")
    message: str


class BridgeHeartbeat(Payload):
    """The bridge is alive."""

    sources_up: int
    sources_down: int
    pending_orders: int


class BridgeTick(Payload):
    """Time has passed; published when a timer is due and nothing else happens."""

    due: UtcTime


PAYLOADS: dict[str, type[Payload]] = {
    "plate.read": PlateRead,
    "call.started": CallStarted,
    "call.ended": CallEnded,
    "motion.started": MotionStarted,
    "motion.ended": MotionEnded,
    "object.detected": ObjectDetected,
    "temperature.alarm": TemperatureAlarm,
    "parking.count": ParkingCount,
    "parking.spot": ParkingSpot,
    "channel.status": ChannelStatus,
    "channel.renamed": ChannelRenamed,
    "channel.added": ChannelAdded,
    "channel.removed": ChannelRemoved,
    "channel.swapped": ChannelSwapped,
    "channel.stream": ChannelStream,
    "recording.status": RecordingStatus,
    "system.log": SystemLog,
    "stream.started": StreamStarted,
    "stream.ended": StreamEnded,
    "record.ready": RecordReady,
    "screenshot.ready": ScreenshotReady,
    "vendor.event": VendorEvent,
    "source.connected": SourceConnected,
    "source.lost": SourceLost,
    "source.gap": SourceGap,
    "state.changed": StateChanged,
    "list.changed": ListChanged,
    "mode.changed": ModeChanged,
    "rules.changed": RulesChanged,
    "rule.loop": RuleLoop,
    "rule.refused": RuleRefused,
    "action.ended": ActionEnded,
    "clip.ready": ClipReady,
    "clip.failed": ClipFailed,
    "log.hole": LogHole,
    "breaker.tripped": BreakerTripped,
    "command.given": CommandGiven,
    "settings.changed": SettingsChanged,
    "bridge.started": BridgeStarted,
    "outage.started": OutageStarted,
    "outage.ended": OutageEnded,
    "bridge.heartbeat": BridgeHeartbeat,
    "bridge.tick": BridgeTick,
}
"""Every fixed kind. `custom.<name>` is the only open one."""

BY_CHANNEL = frozenset(
    {"plate.read", "motion.started", "motion.ended", "object.detected", "temperature.alarm", "recording.status"}
    | {"channel.status", "channel.renamed", "channel.removed", "channel.swapped", "channel.stream"}
)
"""Kinds whose subject is a channel that the system has; a reader of plates without a camera has its own code there.
Of others it is a lot, a space or a caller, or (`channel.added`) a channel that there may not be yet."""
OWN = frozenset(
    {"source.connected", "source.lost", "source.gap", "rule.loop", "rule.refused", "action.ended", "clip.ready"}
    | {"clip.failed", "log.hole", "breaker.tripped", "settings.changed", "outage.started", "outage.ended"}
    | {"bridge.started", "bridge.heartbeat"}
)
"""Kinds that the bridge alone tells, about itself, and no person asks for: their origin is always `bridge`."""
LINKS = frozenset({"source.connected", "source.lost", "source.gap"})
"""Those of them that are about a source as a whole, and come under its name."""
FROM_BRIDGE = OWN - LINKS - {"clip.ready", "clip.failed"} | {
    "mode.changed", "list.changed", "state.changed", "rules.changed", "command.given"
}  # fmt: skip
"""Kinds whose source is always `bridge`. They have no channel either."""

CUSTOM = "custom.<name>"
"""How the kinds are called that whoever uses the bridge makes up himself."""
_CUSTOM = re.compile(r"custom\.[a-z0-9_-]{1,64}")


def payload_model(kind: str) -> type[Payload] | None:
    """Return the payload model of a kind, or None if there is no such kind."""
    model = PAYLOADS.get(kind)
    if model is None and is_custom(kind):
        return Custom
    return model


def is_custom(kind: str) -> bool:
    """Tell whether a kind is one that somebody made up himself."""
    return _CUSTOM.fullmatch(kind) is not None


def kind_schema() -> dict[str, Any]:
    """Return the JSON Schema of every fixed kind's payload, by kind."""
    return {kind: model.model_json_schema() for kind, model in PAYLOADS.items()}
