"""Where reading a piece begins, and which sound goes with the pictures. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from bridge.media.source import Source
from bridge.media.walltime import SECOND

if TYPE_CHECKING:
    from av.packet import Packet

    from bridge.media.part import CopiedPart

    Packets = Iterator[Packet[Any]]

STRAIGHT_ON: Final = SECOND // 2
"""A piece that begins this soon after the last continues it, even in the middle of a group of pictures."""


def from_keyframe_before(source: Source, moment: int) -> Packets:
    """Return packets from the last keyframe at or before the moment, or from the first keyframe.

    Nothing is returned if the pictures end before the moment, unless so shortly that another piece may go straight on.
    """
    video, wanted = source.video.index, source.ticks(moment)
    packets = source.packets(moment)
    held: list[Packet[Any]] = []
    found, last = False, 0
    for packet in packets:
        if packet.stream_index == video:
            pts, dts = packet.pts or 0, packet.dts or 0
            if packet.is_keyframe and (pts <= wanted or not found):
                # Sound of this time may lie ahead of the keyframe in the file; older sound is dropped later.
                held = [each for each in held if each.stream_index != video]
                found = True
            elif not found:
                continue
            if dts > wanted:
                return chain(held, (packet,), packets)
            last = pts
        held.append(packet)
    split = source.split is not None and source.split.moment <= moment
    ended = source.micros(last) < moment - STRAIGHT_ON
    return iter(()) if split or ended or not found else iter(held)


def from_keyframe_after(source: Source, moment: int | None) -> Packets:
    """Return packets from the first keyframe at or after the moment; None takes the first there is."""
    video, wanted = source.video.index, None if moment is None else source.ticks(moment)
    packets = source.packets(moment)
    for packet in packets:
        if packet.stream_index == video and packet.is_keyframe and (wanted is None or (packet.pts or 0) >= wanted):
            return chain((packet,), packets)
    return iter(())


class Sound:
    """Decides which audio packets of a piece go along with its video, up to `end` (µs)."""

    def __init__(self, source: Source, end: int) -> None:
        self._source, self._early = source, list[Any]()
        self.ended = source.audio is None
        if source.audio is not None and source.audio.time_base is not None:
            self._base = source.audio.time_base
            self._end = self._ticks(end)
            self._begin: int | None = None

    def _ticks(self, micros: int) -> int:
        first = self._source.first * self._source.time_base / self._base
        return round(first + (micros - self._source.begin) / (self._base * SECOND))

    def wants(self, packet: Packet[Any]) -> bool:
        """Return whether the packet is before the end."""
        if packet.pts is None or packet.pts >= self._end:
            self.ended = True
            return False
        return True

    def give(self, packet: Packet[Any], part: CopiedPart | None) -> None:
        """Write the packet; before the first picture is known it waits."""
        if part is None:
            self._early.append(packet)
        elif self._begin is None or (packet.pts or 0) >= self._begin:
            part.audio(packet)

    def begin(self, micros: int | None, part: CopiedPart) -> None:
        """Note when the pictures begin, if they begin anew; sound before that is dropped."""
        if self._source.audio is None:
            return
        self._begin = None if micros is None else self._ticks(micros)
        early, self._early = self._early, []
        for packet in early:
            self.give(packet, part)
