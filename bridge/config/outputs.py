"""What a user may write about outputs and doors: what can be switched, and what protects it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    StrictInt,
    WithJsonSchema,
    model_validator,
)

from bridge.config.base import Device, Model, Name, Zone
from bridge.schema.units import Duration

_CLOCK = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d|24:00")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _minutes(value: Any) -> Any:
    """Read `22:00` as minutes after midnight."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError(f'{value!r} is not a time of day; write "07:30"')
    hours, _, minutes = value.partition(":")
    return int(hours) * 60 + int(minutes)


TimeOfDay = Annotated[
    int,
    BeforeValidator(_minutes),
    PlainSerializer(lambda minutes: f"{minutes // 60:02}:{minutes % 60:02}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{_CLOCK.pattern})$", "examples": ["07:30"]}),
]


class OpenWindow(Model):
    """A span of the day; may cross midnight, and then belongs to the day on which it starts."""

    start: TimeOfDay = Field(alias="from", description='First minute: "07:00".')
    end: TimeOfDay = Field(alias="to", description='First minute after it: "19:00", "24:00".')
    days: tuple[Day, ...] = Field(_DAYS, min_length=1, description="Days on which it starts; default: all.")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.start == self.end:
            raise ValueError('`from` and `to` are the same time; for a whole day write from "00:00" to "24:00"')
        return self


class OpenHours(Model):
    """When an output may leave idle at all, by the clock of one zone."""

    zone: Zone = Field(description="IANA zone of the times; never guessed.")
    windows: tuple[OpenWindow, ...] = Field(min_length=1, description="Open in any of them, closed otherwise.")


Scalar = StrictBool | StrictInt | StrictFloat | str


def _as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


class StateIs(Model):
    """The known state of something: `{entity: nvr1/7, attribute: motion, is: off}`. What is not known never holds."""

    entity: str = Field(
        description="`<source>/<channel>`, `<source>`, or the name under which the state is kept.", min_length=1
    )
    attribute: str = Field(description="motion, call, link, status, or one of your own.", min_length=1)
    values: Annotated[tuple[Scalar, ...], BeforeValidator(_as_list)] = Field(
        alias="is", min_length=1, description="The value, or several that will do."
    )


class Contact(StateIs):
    """What tells that it really opened: the state that must be seen soon after."""

    within: Duration = Field(timedelta(seconds=3), description="Not seen within this: nobody knows whether it opened.")


class Protected(Model):
    """What holds back whatever leaves idle."""

    cooldown: Duration = Field(timedelta(seconds=5), description="Shortest time between two openings.")
    per_minute: int = Field(6, ge=1, description="Openings a minute at most.")
    per_hour: int = Field(60, ge=1, description="Openings an hour at most.")
    requires: tuple[StateIs, ...] = Field((), description="Opens only while all of these are so. Unknown: stays shut.")
    blocks: tuple[StateIs, ...] = Field((), description="Stays shut while any of these is so. Unknown: stays shut.")
    hours: OpenHours | None = Field(None, description="When it may open; default: always.")


class OutputConfig(Protected):
    """A relay that rules may switch. What is not declared here cannot be switched."""

    source: Name = Field(description="The source whose device has it.")
    channel: Device = Field(description="The channel of the device.")
    relay: Device = Field(description="Token or name of the relay.")
    idle: Literal["off", "on"] = Field(description="The position that is safe to return to. Not always `off`.")
    output_class: Literal["actuating", "transient"] = Field(
        "actuating",
        alias="class",
        description="`transient` only for what can hurt nobody: a lamp. It has no limits but `max_on`.",
    )
    max_on: Duration = Field(timedelta(seconds=30), description="Longest time away from idle in one order.")


class DoorConfig(Protected):
    """An output that lets somebody in, and what protects it. Rules cannot get past this."""

    output: Name = Field(description="The declared output that opens it.")
    mode: Literal["observe", "confirm", "act"] = Field(
        "observe", description="`observe`: decide and record, do nothing. `confirm`: a person agrees. `act`: open."
    )
    pulse: Duration = Field(timedelta(seconds=1), description="How long the output leaves idle; at most 30s.")
    max_age: Duration = Field(timedelta(seconds=10), description="An older cause never opens; at most 60s.")
    min_score: float = Field(90, ge=0, le=100, description="Plates read with less confidence do not open.")
    reads: int = Field(
        1, ge=1, le=5, description="So many readings of a plate by the same reader, each good enough, open; not fewer."
    )
    reads_within: Duration = Field(timedelta(seconds=10), description="The readings come within this; at most 60s.")
    second_factor: StateIs | None = Field(
        None, description="With `reads: 2`: while this is so, one reading is enough. Unknown: it is not."
    )
    same_plate: Duration = Field(
        timedelta(seconds=10), description="The same plate read again within this does not open again."
    )
    persons: int = Field(
        1, ge=1, le=2, description="`2`: opens only when two different people ask or agree, whatever the mode."
    )
    confirm_within: Duration = Field(
        timedelta(seconds=60), description="How long an opening waits for people to agree to it."
    )
    confirmed_by: Contact | None = Field(
        None, description="The input that shows that it really opened; one that is on before confirms nothing."
    )
    hold: bool = Field(False, description="Stopped for good: never opens. `vms-bridge door hold` does it on the spot.")
