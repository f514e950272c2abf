"""Keys by which one happening is recognised when it comes by two ways: live, and from the server's log.

`live_keys` is what an event heard live (or pushed) answers to; a log row's `twins` list every key its
live form may have had. One in common means the same happening. Keys are texts, so whoever matches needs
no TS-API knowledge; tolerances are spelled out as neighbouring keys.

The server's log has its own ids and keeps no reference to what was sent live. A still's file name is
unique and the best key; without one, reader, plate and first sight within a second are (TS-API guide
0.9.20, "Search: carNo" and "object"). System log rows need no keys: heard or fetched, they have one id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bridge.sdk import VmsEvent, kinds

from .values import basename

_TOLERANCE = 1
"""Seconds by which the log's first sight of a plate may differ from the live one."""


def live_keys(event: VmsEvent) -> tuple[str, ...]:
    """Return the keys of an event that was heard live; none if its kind is not in any log."""
    data = event.data
    if isinstance(data, kinds.PlateRead):
        seen = data.first_seen or event.time
        return (*_picture_keys([data.image]), _plate_key(data, _second(seen)))
    if isinstance(data, kinds.ObjectDetected):
        return (*_picture_keys([data.image]), *_object_keys(event, data))
    return ()


def plate_twins(data: kinds.PlateRead, images: Iterable[str], seen: Iterable[datetime]) -> tuple[str, ...]:
    """Return the keys that live reads behind one log row may have; `seen` are the ends of the row's span."""
    seconds = {_second(time) + shift for time in seen for shift in range(-_TOLERANCE, _TOLERANCE + 1)}
    return (*_picture_keys(images), *(_plate_key(data, second) for second in sorted(seconds)))


def _picture_keys(paths: Iterable[str | None]) -> list[str]:
    names = (basename(path) for path in paths)
    return [f"picture:{name}" for name in dict.fromkeys(names) if name]


def _plate_key(data: kinds.PlateRead, second: int) -> str:
    return f"plate:{data.device or ''}:{data.plate}:{second}"


def _object_keys(event: VmsEvent, data: kinds.ObjectDetected) -> list[str]:
    if data.object_id is None or event.timequality == "received":
        return []
    return [f"object:{event.subject}:{data.object_id}:{round(event.time.timestamp() * 1000)}"]


def _second(time: datetime) -> int:
    return int(time.timestamp() // 1)
