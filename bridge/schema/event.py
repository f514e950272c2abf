"""The event: what every system's messages become, and the only thing rules ever see.

It is also a valid CloudEvents 1.0 event in structured JSON: the attributes of the standard keep
their names, ours are extension attributes, and `data` is the typed payload of the kind.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bridge.schema.base import Record, UtcTime, stable_id
from bridge.schema.kinds import PAYLOADS, Payload, payload_model

RAW_LIMIT = 64 * 1024
"""Characters of `raw` that are kept; a longer original is left out whole, half a JSON is of no use."""


class Origin(StrEnum):
    """Where an event comes from, which decides what it may cause. Only `live` and `command` open doors."""

    LIVE = "live"
    """Just now, from the source itself: socket, push, callback, fresh poll."""
    COMMAND = "command"
    """An authenticated person or client asked for it; `principal` says who."""
    BACKFILL = "backfill"
    """From the source's log, after a gap."""
    RESYNC = "resync"
    """A difference between what we remembered and a snapshot."""
    TIMER = "timer"
    """The clock."""
    REPLAY = "replay"
    """Stored earlier and sent again."""
    TEST = "test"
    """Made up."""
    BRIDGE = "bridge"
    """The bridge about itself: a result, a lost source, a finished clip. It may be hours after its cause."""


class VmsEvent(Record):
    """One thing that happened, as it is written to the log. Frozen, complete, and valid CloudEvents 1.0."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, max_length=128, description="Deterministic: the same message gives the same id.")
    type: str = Field(description="The kind, two words: `plate.read`.")
    source: str = Field(pattern=r"^[^/]+/[^/]+$", description="`<site>/<source>`.")
    subject: str | None = Field(None, min_length=1, description="The channel, or the code of device, lot or zone.")
    time: UtcTime = Field(description="When it happened, UTC.")
    timequality: Literal["device", "server", "received", "doubtful"] = Field(
        description="`device`: said with a zone; `server`: no zone was given, the source's own was used; "
        "`received`: no time was given, it is the time of receipt; `doubtful`: the time that was given makes no sense, "
        "or none was given and the same had come before: it is the time of receipt, and opens nothing. What a rule "
        "writes because of it is doubtful too."
    )
    received: UtcTime = Field(description="When the bridge read it, UTC.")
    origin: Origin = Field(description="Provenance; decides what the event may cause.")
    via: str = Field(description="The channel of arrival: ws, push, callback, poll, log, api, mqtt, bridge, ...")
    principal: str | None = Field(None, description="Who pushed or commanded it.")
    correlation: str | None = Field(None, description="Ties the parts of one happening together.")
    hops: int | None = Field(
        None, ge=0, description="For what a rule caused: how many firings, one leading to the next, led to it."
    )
    datacontenttype: Literal["application/json"] = "application/json"
    data: SerializeAsAny[Payload] = Field(description="The payload; its shape is given by `type`.")
    raw: str | None = Field(
        None, max_length=RAW_LIMIT, description="The original message as JSON text, secrets removed."
    )

    @field_validator("data", mode="plain")
    @classmethod
    def _data_of_kind(cls, value: Any, info: ValidationInfo) -> Payload:
        kind = info.data.get("type", "")
        model = payload_model(kind)
        if model is None:
            raise ValueError(f"unknown kind {kind!r}")
        return value if type(value) is model else model.model_validate(value)

    @property
    def site(self) -> str:
        """The site's name, from `source`."""
        return self.source.partition("/")[0]

    @property
    def source_name(self) -> str:
        """The source's own name, from `source`."""
        return self.source.partition("/")[2]

    def encode(self) -> bytes:
        """Return the structured JSON form, without absent attributes."""
        return _ADAPTER.dump_json(self, exclude_none=True)

    @classmethod
    def decode(cls, message: bytes | str) -> VmsEvent:
        """Read what `encode` wrote. Raises `pydantic.ValidationError`."""
        return _ADAPTER.validate_json(message)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        schema["properties"]["type"]["anyOf"] = [
            {"enum": sorted(PAYLOADS)},
            {"pattern": r"^custom\.[a-z0-9_-]{1,64}$"},
        ]
        schema["properties"]["data"] = {"type": "object", "description": "The payload; see `type`."}
        schema["allOf"] = [
            {
                "if": {"properties": {"type": {"const": kind}}},
                "then": {"properties": {"data": handler(model.__pydantic_core_schema__)}},
            }
            for kind, model in PAYLOADS.items()
        ]
        return schema


_ADAPTER = TypeAdapter(VmsEvent)
"""Reads and writes bytes; the model's own methods go through text."""


def own_event(
    site: str,
    kind: str,
    data: Payload,
    at: datetime,
    *,
    id: str | None = None,  # noqa: A002 - the event's own word
    source: str = "bridge",
    subject: str | None = None,
    correlation: str | None = None,
    origin: Origin = Origin.BRIDGE,
    hops: int | None = None,
) -> VmsEvent:
    """Return an event that the bridge tells of itself. Whoever may have to tell it twice gives it its `id`."""
    return VmsEvent(
        id=id or stable_id(kind, site, uuid.uuid4()),
        type=kind,
        source=f"{site}/{source}",
        subject=subject,
        time=at,
        timequality="device",
        received=at,
        origin=origin,
        via="bridge",
        correlation=correlation,
        hops=hops,
        data=data,
    )
