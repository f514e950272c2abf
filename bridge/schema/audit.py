"""The audit trail: one record an order, each holding the hash of the one before. Pure.

The hash is taken over a record's bytes as they are stored, and the one writer stores a canonical form (keys
sorted, no spaces, UTF-8), so that the same record always has the same hash. A plate is in it only as a
keyed hash: who erases the plate's key erases the plate, and the chain stays whole.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from bridge.schema.orders import About, Result

GENESIS = "0" * 64
"""What the first record of a trail names as the one before it."""


class AuditRecord(Result):
    """How one order ended, why there was one, and where this stands in the chain."""

    n: int = Field(ge=1, description="Place in the chain, without holes.")
    prev: str = Field(description="SHA-256 of the record before, in hex; zeros for the first.")
    effect: int = Field(ge=1, description="Sequence of the effect record in ENGINE that it was made of.")
    about: About | None = Field(None, description="What the order was for; `plate` is a keyed hash here.")

    def encode(self) -> bytes:
        """Return the canonical JSON form."""
        return canonical(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def decode(cls, message: bytes | str) -> AuditRecord:
        """Read what `encode` wrote. Raises `pydantic.ValidationError`."""
        return cls.model_validate_json(message)


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(body: bytes) -> str:
    """Return a record's hash, which the next one names."""
    return hashlib.sha256(body).hexdigest()
