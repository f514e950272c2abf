"""What every record on the bus has in common: frozen, strict about unknown keys, UTC only."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Record(BaseModel):
    """A value that is written once and never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="float", ser_json_bytes="base64")


def _to_utc(value: datetime) -> datetime:
    return value if value.tzinfo is UTC else value.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A moment in UTC. A time without a zone is refused: whoever decodes knows the source's zone, we do not."""


def stable_id(*parts: object) -> str:
    """Return 32 hex digits that depend on the parts, their order and their borders, and on nothing else.

    The same message from the same channel of arrival gives the same id however often it comes.
    """
    texts = [str(part).encode() for part in parts]
    bordered = b"".join([len(text).to_bytes(4, "big") + text for text in texts])
    return hashlib.blake2b(bordered, digest_size=16).hexdigest()
