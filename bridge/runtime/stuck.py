"""End what a source began and never ended: a motion, a call. Pure but for the clock it is asked with.

The end that is made up says so: reason `timeout`, origin `bridge`. Rules may act on it as on any end, but
it says nothing about how things are: the state is not known after it, until the source tells it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import CallEnded, CallStarted, MotionEnded, Payload

_ENDS = {"motion.started": "motion.ended", "call.started": "call.ended"}
_BEGINS = {end: begin for begin, end in _ENDS.items()}
_MADE_UP = frozenset({Origin.REPLAY, Origin.TEST})
MOST = 10_000
"""Things that may last at once; the oldest is forgotten."""

_Key = tuple[str, str | None, str]


class Stuck:
    """What lasts now. `limits` says how long each kind may."""

    def __init__(self, limits: Mapping[str, timedelta]) -> None:
        self._limits = {kind: limit.total_seconds() for kind, limit in limits.items()}
        self._lasting: dict[_Key, tuple[VmsEvent, float]] = {}

    def heard(self, event: VmsEvent, mono: float) -> None:
        """Note what begins and ends. What begins again lasts anew: somebody is still there."""
        if event.origin in _MADE_UP:
            return
        if event.type in self._limits:
            key = (event.source, event.subject, event.type)
            if event.origin is Origin.RESYNC and key in self._lasting:
                event = self._lasting[key][0]  # still on: the one that began it is in the log, this one may not be
            self._lasting.pop(key, None)
            self._lasting[key] = (event, mono)
            if len(self._lasting) > MOST:
                self._lasting.pop(next(iter(self._lasting)))
        elif event.type in _BEGINS:
            self._lasting.pop((event.source, event.subject, _BEGINS[event.type]), None)

    def overdue(self, now: datetime, mono: float) -> list[VmsEvent]:
        """Return an end for everything that has lasted too long, and forget it."""
        late = [key for key, (_, since) in self._lasting.items() if mono - since >= self._limits[key[2]]]
        return [_end_of(self._lasting.pop(key)[0], now) for key in late]


def _end_of(event: VmsEvent, now: datetime) -> VmsEvent:
    return VmsEvent(
        id=stable_id("timeout", event.id),
        type=_ENDS[event.type],
        source=event.source,
        subject=event.subject,
        time=now,
        timequality="received",
        received=now,
        origin=Origin.BRIDGE,
        via="bridge",
        correlation=event.correlation or event.id,
        data=_data(event.data),
    )


def _data(began: Payload) -> Payload:
    if isinstance(began, CallStarted):
        return CallEnded(
            caller=began.caller,
            name=began.name,
            device=began.device,
            linked_channels=began.linked_channels,
            reason="timeout",
        )
    return MotionEnded(reason="timeout")
