"""End what a source began and never ended: a motion, a call. Pure but for the clock it is asked with.

The end that is made up says so: reason `timeout`, origin `bridge`. Rules may act on it as on any end, but
it says nothing about how things are: the state is not known after it, until the source tells it again.
What lasts is counted from when it is stored, so no end is ever written before what it ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import CallEnded, CallStarted, MotionEnded, Payload

_ENDS = {"motion.started": "motion.ended", "call.started": "call.ended"}
_BEGINS = {end: begin for begin, end in _ENDS.items()}
KINDS = frozenset(_ENDS | _BEGINS)
"""What `heard` and `settled` want to know of."""
_MADE_UP = frozenset({Origin.REPLAY, Origin.TEST})
MOST = 10_000
"""Things that may last at once; the oldest is forgotten."""

_Key = tuple[str, str | None, str]


class Stuck:
    """What lasts now, as the log has it. `limits` says how long each kind may."""

    def __init__(self, limits: Mapping[str, timedelta]) -> None:
        self._limits = {kind: limit.total_seconds() for kind, limit in limits.items()}
        self._lasting: dict[_Key, tuple[VmsEvent, float]] = {}
        self._under_way: Counter[_Key] = Counter()
        """Beginnings and ends that are handed over and not stored yet. Nothing is made up meanwhile: it would be
        written behind an end, or before the beginning."""

    def heard(self, event: VmsEvent) -> None:
        """Note a beginning or an end on its way to the log."""
        key = self._key(event)
        if key is not None:
            self._under_way[key] += 1

    def settled(self, event: VmsEvent, mono: float, *, stored: bool) -> None:
        """Note what became of it. What begins again lasts anew: somebody is still there."""
        key = self._key(event)
        if key is None:
            return
        self._under_way[key] -= 1
        if self._under_way[key] <= 0:
            del self._under_way[key]
        if not stored:
            return  # whoever has it tries again, and until then what the log has counts
        if event.type in _BEGINS:
            self._lasting.pop(key, None)
        elif key in self._lasting or key not in self._under_way or event.origin is not Origin.RESYNC:
            # Else it was no news beside a beginning that is under way: only that one may come to stand in the log.
            self._begin(key, event, mono)

    def resume(self, began: VmsEvent, now: datetime, mono: float) -> None:
        """Go on with what began before the bridge started; it lasts since it was received."""
        key = self._key(began)
        if key is not None:
            self._begin(key, began, mono - max(0.0, (now - began.received).total_seconds()))

    def overdue(self, now: datetime, mono: float) -> list[VmsEvent]:
        """Return an end for everything that has lasted too long; again, until it is stored."""
        return [
            _end_of(event, now)
            for key, (event, since) in self._lasting.items()
            if mono - since >= self._limits[key[2]] and key not in self._under_way
        ]

    def _key(self, event: VmsEvent) -> _Key | None:
        begin = _BEGINS.get(event.type, event.type)
        if event.origin in _MADE_UP or begin not in self._limits:
            return None
        return event.source, event.subject, begin

    def _begin(self, key: _Key, event: VmsEvent, since: float) -> None:
        known = self._lasting.pop(key, None)
        if event.origin is Origin.RESYNC and known is not None:
            event = known[0]  # still on: the one that began it is in the log, this one may not be
        self._lasting[key] = (event, since)
        if len(self._lasting) > MOST:
            self._lasting.pop(next(iter(self._lasting)))


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
