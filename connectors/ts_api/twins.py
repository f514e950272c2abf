"""Keys by which one happening is recognised when it comes by two ways: live, pushed, and from the server's log.

A key is a text; two events are one happening if one seeks what the other is known by, so whoever
compares them needs no TS-API knowledge. Tolerances are spelled out as neighbouring keys.

The server's log has its own ids and keeps no reference to what was sent live (TS-API guide 0.9.20,
"Search: carNo" and "object"). What there is:

| key | says |
|---|---|
| `picture:<name>` | the file name of a still is unique |
| `plate:<reader>:<plate>:<second>` | the vehicle was first seen then: a row of the plate log is one stay |
| `read:<reader>:<plate>:<second>` | it was read then: one stay may be read many times |
| `object:<channel>:<id>:<ms>` | this object was seen then |
| `row:<id>:<version>` | a line of the event log, as it was after its last change |

A log row is found among live events by picture or first sight: then its stay is known. A live event is
found among rows by picture or by the moment of the last reading only, because a car that still stands
there is a new reading, for which a door may have to open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from bridge.sdk import TwinKeys, TwinReader, VmsEvent, kinds, stable_id

from .times import UNTIMED
from .values import basename

_NEIGHBOURS = (-1, 0, 1)
"""Seconds by which two ways may differ about one moment."""
_NOT_LIVE = frozenset({"push", "log"})
"""Ways of arrival whose times are another clock's than the event socket's."""
_SMALLEST_SHIFT = 1800
"""Seconds that daylight saving shifts by, or a multiple of it."""


def _of_plate(event: VmsEvent) -> TwinKeys:
    data = event.data
    assert isinstance(data, kinds.PlateRead)  # noqa: S101 - the kind says so
    whose = f":{data.device or ''}:{data.plate}:"
    second = _second(event.time)
    stay = f"plate{whose}{_second(data.first_seen) if data.first_seen else second}"
    picture = basename(data.image)
    if event.via in _NOT_LIVE:
        read = [f"read{whose}{second + shift}" for shift in _NEIGHBOURS]
        return TwinKeys((*_picture_keys([data.image]), stay, *read), (*_picture_keys([data.image]), *read))
    # Every plate that is heard comes here.
    moment = f"read{whose}{second}"
    if picture is None:
        return TwinKeys((stay, moment), (moment,))
    still = f"picture:{picture}"
    return TwinKeys((still, stay, moment), (still, moment))


def _of_object(event: VmsEvent) -> TwinKeys:
    data = event.data
    assert isinstance(data, kinds.ObjectDetected)  # noqa: S101 - the kind says so
    times = [] if event.timequality in UNTIMED else [event.time]
    keys = (*_picture_keys([data.image]), *_object_keys(event.subject, data, times))
    return TwinKeys(keys, keys)


def _of_row(event: VmsEvent) -> TwinKeys:
    key = (_row_key(event),)
    return TwinKeys(key, key)


READERS: Mapping[str, TwinReader] = {
    "plate.read": _of_plate,
    "object.detected": _of_object,
    "system.log": _of_row,
}
"""By kind. What is in no log, and pushed by nobody, has no keys."""


def live_keys(event: VmsEvent) -> tuple[str, ...]:
    """Return what an event heard live (or pushed) is known by; nothing if its kind is not in any log."""
    reader = READERS.get(event.type)
    return tuple(reader(event).known_by) if reader else ()


def plate_row(data: kinds.PlateRead, images: Iterable[str], begun: list[datetime], ended: list[datetime]) -> TwinKeys:
    """Return the keys of a row of the plate log, which is one stay.

    `begun` and `ended` are the readings of its first and last sight: two where daylight saving repeats the hour.
    """
    pictures = _picture_keys(images)
    read = _plate_keys("read", data, ended)
    stay = _plate_keys("plate", data, [*begun, *ended])
    return TwinKeys((*pictures, *read), (*pictures, *stay, *read))


def object_row(channel: str, data: kinds.ObjectDetected, times: Iterable[datetime]) -> TwinKeys:
    """Return the keys of a row of the object log; `times` as those of a plate."""
    keys = (*_picture_keys([data.image]), *_object_keys(channel, data, times))
    return TwinKeys(keys, keys)


def _picture_keys(paths: Iterable[str | None]) -> list[str]:
    names = (basename(path) for path in paths)
    return [f"picture:{name}" for name in dict.fromkeys(names) if name]


def _plate_keys(what: str, data: kinds.PlateRead, times: Iterable[datetime]) -> list[str]:
    seconds = {_second(time) + shift for time in times for shift in _NEIGHBOURS}
    return [f"{what}:{data.device or ''}:{data.plate}:{second}" for second in sorted(seconds)]


def _object_keys(channel: str | None, data: kinds.ObjectDetected, times: Iterable[datetime]) -> list[str]:
    if data.object_id is None:
        return []
    return [f"object:{channel}:{data.object_id}:{round(time.timestamp() * 1000)}" for time in times]


def _row_key(event: VmsEvent) -> str:
    """Name a version of a line by what does not change when one way has read its hour otherwise than another."""
    data = event.data
    assert isinstance(data, kinds.SystemLog)  # noqa: S101 - the kind says so
    lasted = data.ended - data.began if data.ended else None
    within = round(data.began.timestamp() * 1000) % (_SMALLEST_SHIFT * 1000)
    param = sorted((name, repr(value)) for name, value in data.param.items())
    return f"row:{data.log_id}:{stable_id(data.log_type, data.code, within, lasted, param)}"


def _second(time: datetime) -> int:
    return int(time.timestamp())  # none is before 1970
