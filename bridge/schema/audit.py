"""The audit trail: one record an order, and one a change that decides, each holding the hash of the one before. Pure.

The hash is taken over a record's bytes as they are stored, and the one writer stores a canonical form (keys
sorted, no spaces, UTF-8), so that the same record always has the same hash. A plate is in it only as a
keyed hash: who erases the plate's key erases the plate, and the chain stays whole.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, TypeAdapter, ValidationError

from bridge.errors import PayloadError
from bridge.schema.base import Record, UtcTime
from bridge.schema.orders import About, Result
from bridge.schema.subjects import Subjects

GENESIS = "0" * 64
"""What the first record of a trail names as the one before it."""


Way = Literal["api", "cli", "mqtt", "input", "rule", "file", "bridge"]
"""How a change was asked for; `file`: a rule file or list was saved, `input`: a button."""
LIST_VALUES = ("added", "removed", "reset")
"""What of a list change names its values; in the trail each of them is a keyed hash."""


class AuditRecord(Result):
    """How one order ended, why there was one, and where this stands in the chain."""

    n: int = Field(ge=1, description="Place in the chain, without holes.")
    prev: str = Field(description="SHA-256 of the record before, in hex; zeros for the first.")
    effect: int = Field(ge=1, description="Sequence of the effect record in ENGINE that it was made of.")
    change: int = Field(0, ge=0, description="Sequence in EVENTS of the last change that stands before it.")
    about: About | None = Field(None, description="What the order was for; `plate` is a keyed hash here.")

    @property
    def at(self) -> datetime:
        """When what it tells came to pass."""
        return self.ended

    def encode(self) -> bytes:
        """Return the canonical JSON form."""
        return canonical(self.model_dump(mode="json", exclude_none=True))

    def filed(self, subjects: Subjects) -> str:
        """Return the subject it belongs under."""
        return subjects.result(self.action, self.outcome)

    def concerns(self, token: str) -> bool:
        """Tell whether it is about the plate of this keyed hash."""
        return self.about is not None and self.about.plate == token

    @classmethod
    def decode(cls, message: bytes | str) -> AuditRecord:
        """Read what `encode` wrote. Raises `pydantic.ValidationError`."""
        return cls.model_validate_json(message)


class ChangeRecord(Record):
    """What decides was changed, or somebody gave a command: who, by which way, what, and the event in the log."""

    n: int = Field(ge=1, description="Place in the chain, without holes.")
    prev: str = Field(description="SHA-256 of the record before, in hex; zeros for the first.")
    change: int = Field(ge=1, description="Sequence in EVENTS of the event that it was made of.")
    effect: int = Field(ge=0, description="Sequence in ENGINE of the last effect record that stands before it.")
    event: str = Field(description="Id of the event.")
    kind: str = Field(
        description="Its kind: list.changed, mode.changed, rules.changed, settings.changed or command.given."
    )
    at: UtcTime = Field(description="When the bridge was told.")
    way: Way
    who: str | None = Field(None, description="The person, client or rule; nobody, where a file was saved.")
    what: dict[str, JsonValue] = Field(description="What the event says; values of lists are keyed hashes here.")

    def encode(self) -> bytes:
        """Return the canonical JSON form."""
        return canonical(self.model_dump(mode="json", exclude_none=True))

    def filed(self, subjects: Subjects) -> str:
        """Return the subject it belongs under."""
        return subjects.change(self.kind)

    def concerns(self, token: str) -> bool:
        """Tell whether it is about the plate of this keyed hash."""
        named: list[Any] = [self.what.get(field) or () for field in LIST_VALUES]
        return any(token in values for values in named)


def _is(content: Any) -> str:
    return "change" if isinstance(content, dict) and "event" in content else "order"


TrailRecord = AuditRecord | ChangeRecord
_RECORD: TypeAdapter[TrailRecord] = TypeAdapter(
    Annotated[
        Annotated[AuditRecord, Tag("order")] | Annotated[ChangeRecord, Tag("change")],
        Discriminator(_is),
    ]
)


def read_record(message: bytes | str) -> TrailRecord:
    """Read a record of the trail, whatever it tells. Raises `pydantic.ValidationError`."""
    return _RECORD.validate_json(message)


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(body: bytes) -> str:
    """Return a record's hash, which the next one names."""
    return hashlib.sha256(body).hexdigest()


class Anchor(Record):
    """The word of the key's holder that record `n` had this hash. Sent out (log, file) it outlives the trail."""

    n: int = Field(ge=1)
    hash: str
    at: UtcTime
    mac: str

    @classmethod
    def sealed(cls, key: bytes, n: int, record_hash: str, at: datetime) -> Anchor:
        """Return the anchor of a record."""
        return cls(n=n, hash=record_hash, at=at, mac=_mac(key, n, record_hash, at))

    def genuine(self, key: bytes) -> bool:
        """Tell whether it was made with this key."""
        return bool(key) and hmac.compare_digest(self.mac, _mac(key, self.n, self.hash, self.at))


def _mac(key: bytes, n: int, record_hash: str, at: datetime) -> str:
    said = f"{n}\n{record_hash}\n{at.astimezone(UTC).isoformat()}".encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said of a trail. Nothing can be said of what came after the last anchor and is gone."""

    state: Literal["intact", "altered", "unproven"]
    """`unproven`: the chain holds, but no anchor speaks for its end."""
    records: int
    first: int
    last: int
    proven: int
    """The last record an anchor speaks for; 0 for none."""
    altered_at: int | None = None
    why: str | None = None


class TrailCheck:
    """One way along a trail: records as stored, subject and body, oldest first. Pure.

    `trimmed` says that the stream may have dropped its oldest by its limits; otherwise the trail begins with 1. What
    was anchored before `kept` may have left by its age, to the last record.
    """

    def __init__(
        self,
        anchors: Sequence[Anchor],
        key: bytes,
        subjects: Subjects,
        *,
        trimmed: bool,
        kept: datetime | None = None,
    ) -> None:
        self._subjects, self._trimmed = subjects, trimmed
        self._forged = next((anchor for anchor in anchors if not anchor.genuine(key)), None)
        self._anchors: dict[int, set[str]] = {}
        for anchor in anchors:
            if anchor.genuine(key):
                self._anchors.setdefault(anchor.n, set()).add(anchor.hash)
        still = (anchor.n for anchor in anchors if anchor.genuine(key) and (kept is None or anchor.at >= kept))
        self._reaches = max(still, default=0)
        self._count = self._first = self._last = self._proven = 0
        self._hash = GENESIS
        self._at: int | None = None
        self.why: str | None = None

    def take(self, subject: str, body: bytes) -> None:
        """Look at the next record; nothing more is to be learned once something is wrong (`why`)."""
        if self.why is not None:
            return None
        expected = self._last + 1
        try:
            record = read_record(body)
        except ValidationError:
            return self._altered(expected, "what is stored is not a record")
        if self._count == 0 and self._trimmed and record.n > 1:
            expected, self._first, self._hash = record.n, record.n, record.prev
        self._first = self._first or expected
        if record.n != expected:
            return self._altered(expected, f"record {record.n} stands where {expected} belongs")
        if record.prev != self._hash:
            return self._altered(max(1, expected - 1), f"record {expected} names another hash of the one before")
        if not self._belongs(subject, record):
            return self._altered(expected, "it is filed under another name than its own")
        found = digest(body)
        anchored = self._anchors.get(record.n, {found})
        if anchored != {found}:
            return self._altered(record.n, "its anchor names another hash")
        self._proven = record.n if record.n in self._anchors else self._proven
        self._count, self._last, self._hash = self._count + 1, record.n, found
        return None

    def verdict(self) -> Verdict:
        """Say what was found."""
        if self.why is None and self._reaches > self._last:
            self._altered(self._last + 1, f"the trail ends with {self._last}, and an anchor names {self._reaches}")
        if self.why is None and self._forged is not None:
            self._altered(self._forged.n, "an anchor was not made with this site's key")
        state: Literal["intact", "altered", "unproven"] = "unproven" if self._proven < self._last else "intact"
        if self.why is not None:
            state = "altered"
        return Verdict(state, self._count, self._first, self._last, self._proven, self._at, self.why)

    def _belongs(self, subject: str, record: TrailRecord) -> bool:
        try:
            return subject == record.filed(self._subjects)
        except PayloadError:  # of an altered one: it has a name that nothing can be filed under
            return False

    def _altered(self, at: int, why: str) -> None:
        self._at, self.why = at, why
