"""What every part of the configuration is built from: the frozen model, and the names and zones a user writes."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A name that the user gives: letters, digits, `-`, `_` and `.`; at most 64."""

Device = Annotated[str, Field(coerce_numbers_to_str=True), WithJsonSchema({"type": ["string", "integer"]})]
"""What a system calls a channel or a relay; a number is meant as its text."""

Port = Annotated[int, Field(ge=0, le=65535)]


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not an IANA time zone; write one like Europe/Berlin or UTC")
    return name


Zone = Annotated[str, AfterValidator(_zone)]


class Model(BaseModel):
    """A part of the configuration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
