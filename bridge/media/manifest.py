"""The sidecar of a stored clip: what it shows, why it was made, and how to tell that it is whole.

Written last, so a clip without a manifest does not exist. Read back by later versions: unknown members are
ignored.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bridge.media.job import Accuracy, CutResult, Note, Part, Span, UtcTime, Window

ID_DIGITS: Final = 16
STEM: Final = r"\d{8}T\d{6}Z-[0-9a-f]{16}"
_STEM = re.compile(rf"({STEM})(?:\.\d+)?\.(mp4|jpg|json|hold)")
_FILE = rf"^{STEM}(\.\d+)?\.(mp4|jpg)$"


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class About(_Stored):
    """What the bridge knows about a clip that its pictures do not say."""

    clip: str = Field(min_length=1, max_length=512, description="The clip's id; the same id is the same clip.")
    source: str = Field(description="Which system the footage came from, as `<site>/<source>`.")
    channel: str
    cameras: tuple[str, ...] = Field((), description="Names of the cameras, as people know them.")
    events: tuple[str, ...] = Field((), description="Ids of the events that caused it.")
    rule: str | None = None
    order: str | None = None
    made_from: Literal["recording", "live", "vms"] = "recording"


class StoredPart(_Stored):
    """One file of the clip, beside the manifest."""

    file: str = Field(pattern=_FILE)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="Bytes.")
    covered: Span
    duration: float = Field(description="Seconds a player shows.")
    lead: float = Field(0, description="Seconds in the file ahead of what is shown.")
    codec: str
    width: int
    height: int
    audio: str | None = None
    frames: int
    keyframes: int
    pts_first: int
    pts_last: int
    time_base: str

    @classmethod
    def of(cls, part: Part, file: str) -> Self:
        """Return the record of a part under its name in the store."""
        return cls(file=file, **part.model_dump(exclude={"path"}))


class Manifest(_Stored):
    """All there is to say about one stored clip."""

    schema_version: Literal[1] = Field(1, alias="schema")
    about: About
    created: UtcTime
    asked: Window
    accuracy: Accuracy
    covered: Span
    missing: tuple[Span, ...] = ()
    before: float | None = Field(None, description="Unbroken seconds of pictures before the event.")
    after: float | None = None
    primary: int = 0
    parts: tuple[StoredPart, ...] = Field(min_length=1)
    thumbnail: str | None = Field(None, pattern=_FILE)
    notes: tuple[Note, ...] = ()

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @property
    def main(self) -> StoredPart:
        """Return the primary part."""
        return self.parts[self.primary]

    @property
    def complete(self) -> bool:
        """Return whether all of the asked window is there."""
        return not self.missing

    @property
    def size(self) -> int:
        """Return the bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def stem(self) -> str:
        """Return the name that all files of the clip begin with."""
        return stem_of(self.about.clip, self.asked.begin)

    def to_json(self) -> bytes:
        """Return the file's content."""
        return self.model_dump_json(by_alias=True, indent=1).encode() + b"\n"


def manifest_of(
    result: CutResult, about: About, created: datetime, thumbnail: bool
) -> tuple[Manifest, dict[str, Part]]:
    """Return the manifest of a finished cut, and which part becomes which file."""
    stem = stem_of(about.clip, result.window.begin)
    names = [f"{stem}.mp4" if len(result.parts) == 1 else f"{stem}.{n + 1}.mp4" for n in range(len(result.parts))]
    manifest = Manifest(
        about=about,
        created=created,
        asked=result.window,
        accuracy=result.accuracy,
        covered=result.covered,
        missing=result.missing,
        before=result.before,
        after=result.after,
        primary=result.primary,
        parts=tuple(StoredPart.of(part, name) for part, name in zip(result.parts, names, strict=True)),
        thumbnail=f"{stem}.jpg" if thumbnail else None,
        notes=result.notes,
    )
    return manifest, dict(zip(names, result.parts, strict=True))


def id_digits(clip: str) -> str:
    """Return what stands for a clip's id in names; ids may hold anything, names only this."""
    return hashlib.sha256(clip.encode()).hexdigest()[:ID_DIGITS]


def stem_of(clip: str, begin: datetime) -> str:
    """Return the name of a clip's files without suffix: its begin in UTC and the digits of its id."""
    return f"{begin.astimezone(UTC):%Y%m%dT%H%M%SZ}-{id_digits(clip)}"


def folder_of(stem: str) -> str:
    """Return the folder a clip belongs in, relative to the store."""
    return f"{stem[0:4]}/{stem[4:6]}/{stem[6:8]}"


def begin_of(stem: str) -> datetime:
    """Return the begin that a name tells."""
    return datetime.strptime(stem[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def parse_name(name: str) -> tuple[str, str] | None:
    """Return stem and suffix if the store gave a file this name, else None."""
    match = _STEM.fullmatch(name)
    return (match[1], match[2]) if match else None
