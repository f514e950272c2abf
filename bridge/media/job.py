"""What is asked of a media worker and what it answers, as values that cross a process border as JSON.

Nothing here touches a file or PyAV: both sides of the pipe import it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bridge.media.walltime import to_utc

UtcTime = Annotated[datetime, AfterValidator(to_utc)]


class Model(BaseModel):
    """A frozen value; a misspelt member is an error on either side of the pipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Accuracy(StrEnum):
    """How the edges of the clip meet the asked window."""

    KEYFRAME = "keyframe"
    """Packets as recorded, from the keyframe at or before the begin: never shorter than asked."""
    EDIT_LIST = "edit_list"
    """The same packets; an edit list makes players show exactly the window."""
    EXACT = "exact"
    """Decoded and encoded again: the file holds exactly the window."""


class Span(Model):
    """A stretch of wall-clock time, begin included, end excluded."""

    begin: UtcTime
    end: UtcTime

    @property
    def seconds(self) -> float:
        """Return its length."""
        return (self.end - self.begin).total_seconds()


class Window(Span):
    """What is asked for; `event` is the moment the clip is about, if there is one."""

    event: UtcTime | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.begin >= self.end:
            raise ValueError("a window must end after it begins")
        return self

    @classmethod
    def around(cls, event: datetime, before: timedelta, after: timedelta) -> Self:
        """Return the window from `before` the event to `after` it."""
        return cls(begin=event - before, end=event + after, event=event)


class PieceFile(Model):
    """A local recording and the wall-clock time it covers: its first picture was taken at `begin`."""

    path: Path
    begin: UtcTime
    end: UtcTime


class Limits(Model):
    """What a job may use; recordings come from machines that may be broken or hostile."""

    max_bytes: int = Field(2 * 1024**3, gt=0, description="Largest clip, bytes, all parts together.")
    max_pixels: int = Field(40_000_000, gt=0, description="Largest picture, width x height; 8K is 33 million.")
    max_seconds: float = Field(3600, gt=0, description="Longest window, seconds.")
    max_pieces: int = Field(2000, gt=0, description="Most pieces one clip may be joined from.")
    max_streams: int = Field(16, gt=0, description="Most streams one piece may have.")
    join_gap: float = Field(
        10, ge=0, description="A hole up to this long stays in one file, the picture held; seconds."
    )


class CutJob(Model):
    """Cut one clip. `out` is a new file in an existing directory; further parts get `.2` and so on."""

    pieces: tuple[PieceFile, ...] = Field(min_length=1)
    window: Window
    out: Path
    accuracy: Accuracy = Accuracy.KEYFRAME
    limits: Limits = Limits()


class Note(Model):
    """Something that was not as it should be; `code` is from a short list, for metrics."""

    code: str
    text: str
    piece: int | None = Field(None, description="Which piece, in the order they were given.")


class Part(Model):
    """One playable file of a clip: same camera parameters throughout, no hole longer than the join gap."""

    path: Path
    size: int = Field(description="Bytes.")
    sha256: str
    covered: Span = Field(description="Wall-clock time of the pictures a player shows.")
    duration: float = Field(description="Seconds a player shows.")
    lead: float = Field(0, description="Seconds of pictures in the file ahead of what is shown (edit list).")
    codec: str
    width: int
    height: int
    audio: str | None = None
    frames: int = Field(description="Pictures in the file.")
    keyframes: int
    pts_first: int = Field(description="Of the pictures in the file, in units of `time_base`.")
    pts_last: int
    time_base: str = Field(description="Seconds per unit, as a fraction.")


class CutResult(Model):
    """A finished cut. The primary part is the one with the event, or the longest."""

    parts: tuple[Part, ...] = Field(min_length=1)
    primary: int = 0
    accuracy: Accuracy
    window: Window
    covered: Span = Field(description="From the first picture to the end of the last, over all parts.")
    missing: tuple[Span, ...] = Field((), description="Parts of the window without pictures.")
    before: float | None = Field(None, description="Unbroken seconds of pictures before the event.")
    after: float | None = Field(None, description="Unbroken seconds of pictures after it.")
    pieces_used: tuple[int, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def main(self) -> Part:
        """Return the primary part."""
        return self.parts[self.primary]

    @property
    def complete(self) -> bool:
        """Return whether all of the window is there."""
        return not self.missing

    @property
    def size(self) -> int:
        """Return the bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def duration(self) -> float:
        """Return the seconds all parts show."""
        return sum(part.duration for part in self.parts)


class StreamInfo(Model):
    """One stream of a file."""

    kind: str
    codec: str
    width: int | None = None
    height: int | None = None
    rate: float | None = Field(None, description="Pictures or samples per second.")
    duration: float | None = None


class Inspection(Model):
    """What a look into a file found."""

    format: str
    size: int
    duration: float | None
    streams: tuple[StreamInfo, ...]
    frames: int | None = Field(None, description="Video packets; only after a check that reads all of them.")
    keyframes: int | None = None


class InspectJob(Model):
    """Look into a file: its streams; with `thorough` read every packet and decode the first keyframe."""

    path: Path
    thorough: bool = False
    limits: Limits = Limits()


class ThumbnailJob(Model):
    """Make a JPEG of the first keyframe at or after `at` seconds into what the file shows."""

    path: Path
    out: Path
    at: float = 0
    max_width: int = Field(640, ge=16, le=7680)
    limits: Limits = Limits()


class Thumbnail(Model):
    """A JPEG that was made."""

    path: Path
    width: int
    height: int
    at: float = Field(description="Seconds into the clip.")


def missing_spans(window: Span, covered: Iterable[Span], tolerance: float) -> tuple[Span, ...]:
    """Return the stretches of the window longer than `tolerance` seconds that no span covers."""
    missing, reached = [], window.begin
    for span in sorted(covered, key=lambda each: each.begin):
        if (min(span.begin, window.end) - reached).total_seconds() > tolerance:
            missing.append(Span(begin=reached, end=min(span.begin, window.end)))
        reached = max(reached, span.end)
    if (window.end - reached).total_seconds() > tolerance:
        missing.append(Span(begin=reached, end=window.end))
    return tuple(missing)
