"""What can happen at the simulated site: the words of `/_sim/events`, scenarios and `Simulator.event`.

One model a topic, in the vendor's own member names. A happening says what occurred; how it looks on a
socket is decided per connection by `render`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.alias_generators import to_camel

from .times import Duration


class _Happening(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    age: Duration = Field(timedelta(0), description="How long ago it happened when it is reported.")
    at: AwareDatetime | None = Field(None, description="When it happened, instead of an age.")

    def when(self, now: datetime) -> datetime:
        """Return when it happened."""
        return (self.at or now) - self.age


class ChannelStatus(_Happening):
    """A camera's connection, name or address changed."""

    topic: Literal["channelStatus"]
    event: Literal[
        "statusChanged",
        "nameChanged",
        "videoSrcModified",
        "videoStreamReady",
        "videoStreamChanged",
        "channelAdded",
        "channelRemoved",
        "channelSwapped",
    ] = "statusChanged"
    channel: int = Field(description="Channel number.")
    code: int = Field(200, description="v0 status code, for statusChanged.")
    name: str = Field("", description="New name, for nameChanged and channelAdded.")
    swapped_with: int | None = Field(None, description="The other channel, for channelSwapped.")


class Plate(_Happening):
    """A plate was read."""

    topic: Literal["LPR"]
    channel: int | None = Field(1, description="Camera that saw it; none for an outside device.")
    plate_no: str = Field(description="The plate.")
    also: tuple[str, ...] = Field((), description="More plates in the same picture; v1 sends them together.")
    score: float | None = Field(95, ge=0, le=100, description="Confidence.")
    direction: Literal["entry", "exit"] | None = Field(None, description="Which way the car went.")
    device_code: str | None = Field(None, description="Source; default: the zone of the channel.")
    linked_channel: tuple[int, ...] | None = Field(None, description="Default: as configured.")
    seen_for: Duration = Field(timedelta(seconds=4), description="From first sight to recognition.")
    image: bool = Field(True, description="Whether there is a still.")
    roi: tuple[int, int, int, int] | None = Field((964, 560, 187, 51), description="x, y, width, height.")


class Call(_Happening):
    """An emergency call began or ended."""

    topic: Literal["emergencyCall"]
    event: Literal["callStart", "callEnd"]
    caller: str = Field(description="Location code.")
    name: str | None = Field(None, description="Location name; default: as configured.")
    device: str | None = Field(None, description="`vendor/model`; default: as configured.")
    linked_channel: tuple[int, ...] | None = Field(None, description="Default: as configured.")


class LogRow(_Happening):
    """A row of the event log came up, or (with `id`) an existing one changed in place."""

    topic: Literal["systemEvent", "eventLog"]
    id: int | None = Field(None, description="Row to change; its last time becomes now.")
    type: int = Field(0, description="0 is the system log, which the systemEvent topic carries.")
    code: int = Field(1, description="Code within the type.")
    param: dict[str, Any] | None = Field(None, description="Free form; channel ids in it are 0-based.")
    comment: str | None = Field(None, description="Free text.")
    channels: tuple[int, ...] = Field((), description="Channels the row is about, 1-based.")


class Motion(_Happening):
    """Motion began or ended."""

    topic: Literal["motionChanges"]
    channel: int = Field(description="Channel number.")
    motion: bool = Field(description="Whether something moves.")


class ParkingCount(_Happening):
    """The number of cars in a lot changed."""

    topic: Literal["parkingCount"]
    lot: int = Field(description="A counter; its groups follow.")
    count: int | None = Field(None, ge=0, description="New number of cars.")
    change: int = Field(0, description="Cars that came (or left, negative).")


class ParkingSpot(_Happening):
    """A car came to a spot or left it."""

    topic: Literal["parkingSpot"]
    spot: int = Field(description="Zone number.")
    occupied: bool = Field(description="Whether a car stands there.")
    plate_no: str = Field("", description="Its plate.")
    score: float = Field(95, ge=0, le=100, description="Confidence.")
    ev: bool = Field(False, description="Electric.")
    bike: bool = Field(False, description="Motorcycle.")


class RecordingStatus(_Happening):
    """A channel's stream or recording started, stopped or failed."""

    topic: Literal["recordingStatus"]
    channel: int = Field(description="Channel number.")
    streaming: bool = Field(True, description="Video arrives.")
    recording: bool = Field(True, description="Video is written.")
    failed: bool = Field(False, description="Recording stopped by a failure, dated now.")


class DetectedObject(_Happening):
    """A face, a person or a vehicle was recognised."""

    topic: Literal["object"]
    channel: int = Field(1, description="Channel number.")
    type: Literal["face", "human", "vehicle"] = Field(description="What it is.")
    obj_id: int | None = Field(None, description="Same number, same object; default: a new one.")
    parent_id: int | None = Field(None, description="The body of a face.")
    likelihood: float = Field(90.1, ge=0, le=100, description="Percent.")
    attributes: dict[str, Any] = Field(default_factory=dict, description="What was detected.")
    size: tuple[int, int] = Field((440, 312), description="Width and height of the still.")
    quiet: bool = Field(False, description="Only stored, not sent: as rows that arrive late.")


class BodyTemperature(_Happening):
    """A body temperature alarm; the vendor's message carries no temperature."""

    topic: Literal["bodyTemperature"]
    channel: int = Field(1, description="Channel number.")
    obj_id: int | None = Field(None, description="Default: a new one.")
    likelihood: float = Field(99.6, ge=0, le=100, description="Percent.")


class Opaque(_Happening):
    """A topic without a documented payload: the members are sent as given."""

    topic: Literal["packing", "vehicleTracking"]
    payload: dict[str, Any] = Field(default_factory=dict, description="Members beside topic and timestamp.")


Happening = Annotated[
    ChannelStatus
    | Plate
    | Call
    | LogRow
    | Motion
    | ParkingCount
    | ParkingSpot
    | RecordingStatus
    | DetectedObject
    | BodyTemperature
    | Opaque,
    Field(discriminator="topic"),
]

HAPPENING: TypeAdapter[Happening] = TypeAdapter(Happening)


class Pushed(BaseModel):
    """One item of `POST /api/push` (TS-API guide 0.9.20, Push)."""

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True)

    topic: Literal["LPR", "emergencyCall"]
    src: str
    plate_no: str | None = None
    device: str | None = None
    event: Literal["callStart", "callEnd"] | None = None
    camera: str | None = None
    when: str | None = None
    time_begin: str | None = None

    @model_validator(mode="after")
    def _has_its_subject(self) -> Pushed:
        if self.topic == "LPR" and not self.plate_no:
            raise ValueError("plateNo is required")
        if self.topic == "emergencyCall" and not (self.device and self.event):
            raise ValueError("device and event are required")
        return self
