"""Cut a clip out of recorded pieces: choose what to read, join it on the wall clock, say what was covered.

Runs in a worker process, never beside an event loop. Packets are copied, not decoded, unless the job asks
for `exact`. Pieces may overlap, come in any order, miss stretches, change their parameters or be broken:
what can be used is used, and the result says what is missing. How pieces are joined and why:
docs/design/clips.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.errors import ActionError, ActionRejectedError, ActionUnavailableError
from bridge.media.entry import STRAIGHT_ON, Sound, from_keyframe_after, from_keyframe_before
from bridge.media.exact import EncodedPart
from bridge.media.job import (
    Accuracy,
    CutJob,
    CutResult,
    Limits,
    Note,
    Part,
    PieceFile,
    Span,
    Window,
    missing_spans,
)
from bridge.media.opening import media_errors
from bridge.media.outcome import TOLERANCE, around_event, clip_span, primary_part
from bridge.media.part import WRITING, CopiedPart
from bridge.media.source import Source
from bridge.media.walltime import SECOND, from_micros, micros_to_ticks, to_micros

if TYPE_CHECKING:
    from bridge.media.entry import Packets

SLIP: Final = SECOND // 5
"""Recorders round the times of their pieces: up to this much overlap is shifted away, no picture is lost."""

_SOUND_BEHIND: Final = 3 * SECOND
"""How far audio packets may lie behind the video of the same time in a file."""


def cut(job: CutJob) -> CutResult:
    """Cut one clip and return what it became; on any error the files begun are removed.

    Raises:
        ActionUnavailableError: no footage (yet), broken recordings, disk full; trying again later can help.
        ActionRejectedError: the job or the recordings break a limit, or are no video.
    """
    if job.window.seconds > job.limits.max_seconds:
        raise ActionRejectedError(
            f"a clip of {job.window.seconds:.0f} s is longer than the {job.limits.max_seconds:.0f} s allowed",
            "too_long",
        )
    if len(job.pieces) > job.limits.max_pieces:
        raise ActionRejectedError(f"{len(job.pieces)} pieces are more than allowed", "too_many")
    cutter = _Cutter(job.pieces, job.window, job.out, job.limits, job.accuracy)
    try:
        with media_errors(WRITING):
            return cutter.run()
    except BaseException:
        cutter.discard()
        raise
    finally:
        cutter.close()


class _Cutter:
    """The state of one cut: the file being written, how far it reaches, what was found on the way."""

    def __init__(
        self, pieces: Sequence[PieceFile], window: Window, out: Path, limits: Limits, accuracy: Accuracy
    ) -> None:
        self._pieces, self._window, self._out = list(pieces), window, out
        self._given = list(range(len(pieces)))
        """For each piece, which of the given ones it is (a part of)."""
        self._limits, self._accuracy = limits, accuracy
        self._begin, self._end = to_micros(window.begin), to_micros(window.end)
        self._opened: dict[int, Source | None] = {}
        self._refusals: list[ActionError] = []
        self._part: CopiedPart | None = None
        self._parts: list[Part] = []
        self._paths: list[Path] = []
        self._scratch: list[Path] = []
        self._spans: list[tuple[int, int]] = []
        self._used: list[int] = []
        self._notes: list[Note] = []

    def run(self) -> CutResult:
        queue = self._in_order()
        while queue:
            index = queue.popleft()
            if self._part is not None and self._part.reached >= self._end:
                break
            source = self._open(index)
            if source is None:
                continue
            if self._spans and source.end <= self._spans[-1][1] + SLIP:
                self._note("covered", "another piece has its pictures already", source.index)
            else:
                self._take(source, self._handover(source, queue))
            source.close()
            if source.split is not None and source.split.moment < self._end:
                queue.appendleft(self._rest_of(source, index))
        self._finish_part()
        return self._result()

    def _rest_of(self, source: Source, index: int) -> int:
        """Make a piece of what comes after a change of parameters inside a piece; return its index."""
        number = len(self._pieces)
        path = self._out.with_name(f"{self._out.stem}.rest{number}{self._out.suffix}")
        self._scratch.append(path)
        moment = source.write_rest(path)
        self._pieces.append(PieceFile(path=path, begin=from_micros(moment), end=self._pieces[index].end))
        self._given.append(self._given[index])
        return number

    def close(self) -> None:
        for path in self._scratch:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        for source in self._opened.values():
            if source is not None:
                source.close()

    def discard(self) -> None:
        if self._part is not None:
            self._part.abort()
        for path in self._paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _in_order(self) -> deque[int]:
        """Return the pieces that can have pictures of the window, by begin, the longest first."""
        times = {index: (to_micros(piece.begin), to_micros(piece.end)) for index, piece in enumerate(self._pieces)}
        wanted = [i for i, (begin, end) in times.items() if begin < self._end and end > self._begin and end > begin]
        wanted.sort(key=lambda i: (times[i][0], -times[i][1]))
        before = [i for i, (begin, end) in times.items() if begin < end <= self._begin]
        if wanted and before:
            last = max(before, key=lambda i: times[i][1])
            if times[wanted[0]][0] - times[last][1] <= STRAIGHT_ON and self._begins_inside_a_group(wanted[0]):
                wanted.insert(0, last)
        return deque(wanted)

    def _begins_inside_a_group(self, index: int) -> bool:
        source = self._open(index)
        return source is not None and (key := source.first_keyframe()) is not None and key > self._begin

    def _open(self, index: int) -> Source | None:
        if index not in self._opened:
            piece = self._pieces[index]
            try:
                self._opened[index] = source = Source(
                    piece.path, to_micros(piece.begin), to_micros(piece.end), self._given[index], self._limits
                )
            except (ActionRejectedError, ActionUnavailableError) as exc:
                self._opened[index] = None
                self._refusals.append(exc)
                self._note("unreadable", str(exc), self._given[index])
            else:
                for stream in source.left_out:
                    self._note("stream_left_out", stream, source.index)
        return self._opened[index]

    def _handover(self, source: Source, queue: deque[int]) -> int | None:
        """Return when an overlapping later piece that reaches further takes over, or None."""
        if source.end >= self._end:
            return None
        for index in queue:
            if to_micros(self._pieces[index].begin) >= source.end - SLIP:
                return None
            if to_micros(self._pieces[index].end) <= source.end:
                continue
            later = self._open(index)
            if later is not None and later.end > source.end:
                keyframe = later.first_keyframe()
                if keyframe is not None and keyframe < min(source.end, self._end):
                    return keyframe
        return None

    def _take(self, source: Source, handover: int | None) -> None:
        """Write what this piece has of the window, up to where another takes over."""
        if handover is not None and handover <= self._begin:
            return
        packets, straight = self._entered(source)
        self._copy(source, packets, handover, straight=straight)
        if source.broken is not None:
            self._note("cut_short", f"reading stopped: {source.broken}", source.index)
        if source.repaired:
            self._note("time_stamps", f"{source.repaired} packets without a time stamp", source.index)

    def _entered(self, source: Source) -> tuple[Packets, bool]:
        """Return the usable packets of a piece, and whether they go straight on from the last piece."""
        if self._part is not None:
            gap = source.begin - self._part.reached
            if not self._part.accepts(source.signature):
                self._note("parameters", "the camera's parameters change: a new part begins", source.index)
                self._finish_part()
            elif gap > self._limits.join_gap * SECOND:
                self._finish_part()
            elif -SLIP <= gap <= STRAIGHT_ON:
                return source.packets(), True
        if not self._spans:
            return from_keyframe_before(source, self._begin), False
        reached = self._spans[-1][1]
        if source.begin < reached - SLIP:
            return from_keyframe_after(source, reached - SLIP), False
        return from_keyframe_after(source, None), False

    def _copy(self, source: Source, packets: Packets, handover: int | None, *, straight: bool) -> None:
        video = source.video.index
        end = source.ticks(self._end if handover is None else handover)
        patience = micros_to_ticks(_SOUND_BEHIND, source.time_base)
        sound = Sound(source, self._end if handover is None else handover)
        part: CopiedPart | None = None
        floor, top, over = -(1 << 62), -(1 << 62), False
        for packet in packets:
            if packet.stream_index != video:
                if sound.wants(packet):
                    sound.give(packet, part)
                elif over and sound.ended:
                    break
                continue
            pts, dts = packet.pts or 0, packet.dts or 0
            # All pictures before the end come ahead of the first packet that is decoded after it. Where
            # another piece takes over nothing may reach into it: stop at the first picture that would.
            over = over or (pts >= end if handover is not None else dts >= end and pts > top)
            if over:
                if sound.ended or dts - end > patience:
                    break
                continue
            if part is None:
                # In the middle of a group the time stamps continue those of the piece before: nothing to shift.
                part = self._attach(source, source.micros(pts), slip=straight and packet.is_keyframe)
                floor = floor if straight else pts
                sound.begin(None if straight else source.micros(pts), part)
            if pts < floor:  # refers to pictures before the keyframe, which are not here
                continue
            top = max(top, pts)
            part.video(packet)
        if part is not None:
            self._detach(part, source.index)

    def _attach(self, source: Source, first: int, *, slip: bool) -> CopiedPart:
        if self._part is None:
            self._part = self._new_part(source, first)
        self._part.attach(source, max(0, self._part.reached - source.begin) if slip else 0)
        return self._part

    def _detach(self, part: CopiedPart, index: int) -> None:
        if spans := part.detach():
            self._spans.extend(spans)
            if index not in self._used:
                self._used.append(index)

    def _new_part(self, source: Source, first: int) -> CopiedPart:
        number = len(self._parts) + 1
        out = self._out if number == 1 else self._out.with_name(f"{self._out.stem}.{number}{self._out.suffix}")
        if out.exists():
            raise ActionRejectedError("the clip's file exists already", "exists")
        self._paths.append(out)
        budget = self._limits.max_bytes - sum(part.size for part in self._parts)
        if self._accuracy is Accuracy.EXACT:
            return EncodedPart(out, source, max(first, self._begin), self._end, self._limits, budget)
        origin = max(first, self._begin) if self._accuracy is Accuracy.EDIT_LIST else first
        return CopiedPart(out, source, origin, self._limits, budget)

    def _finish_part(self) -> None:
        if self._part is None:
            return
        part, self._part = self._part, None
        self._parts.append(part.finish(None if self._accuracy is Accuracy.KEYFRAME else self._end))

    def _note(self, code: str, text: str, piece: int) -> None:
        self._notes.append(Note(code=code, text=text, piece=piece))

    def _result(self) -> CutResult:
        spans = [Span(begin=from_micros(begin), end=from_micros(end)) for begin, end in self._spans]
        inside = [clipped for span in spans if (clipped := clip_span(span, self._window)) is not None]
        if not inside:
            raise self._nothing()
        if self._accuracy is not Accuracy.KEYFRAME:
            spans = inside
        before, after = around_event(self._window, spans)
        return CutResult(
            parts=tuple(self._parts),
            primary=primary_part(self._parts, self._window),
            accuracy=self._accuracy,
            window=self._window,
            covered=Span(begin=min(s.begin for s in spans), end=max(s.end for s in spans)),
            missing=missing_spans(self._window, spans, TOLERANCE),
            before=before,
            after=after,
            pieces_used=tuple(self._used),
            notes=tuple(self._notes),
        )

    def _nothing(self) -> ActionError:
        """Return the error for a window without a single picture: what the pieces said, if they did."""
        rejected = next((each for each in self._refusals if isinstance(each, ActionRejectedError)), None)
        if rejected is not None and len(self._refusals) == len(self._opened):
            return ActionRejectedError(f"no usable footage: {rejected}", rejected.reason)
        if self._refusals:
            return ActionUnavailableError(f"no usable footage: {self._refusals[0]}")
        if self._notes:
            return ActionUnavailableError(f"no usable footage: {self._notes[0].text}")
        return ActionUnavailableError("no footage of the asked time")
