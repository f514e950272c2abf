"""Turn rows of the server's own logs into events, for what happened while nobody listened. Pure.

Three logs, both dialects: plates (`find?what=carNo`, `/api/v1/lpr/log`), objects (`find?what=object`,
`/api/v1/object/log`), and the event log (`find?what=eventLog`, `/api/v1/event/log`). Facts: TS-API
guide 0.9.20, "Search"; v1 guide 1.1.0 and its changelog.

Rows are not final. A plate row's span grows while the car stands there: it stays one event, whose time
is the first sight. A system log row that is `ongoing` comes again with the same id, a wider span and
new details: each version is an event of its own, tied by `correlation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from bridge.sdk import Missed, Origin, PayloadError, VmsEvent, kinds

from .decode import build, compact
from .draft import MISSING, WRONG, DecodeContext, Draft, Message, need, refusal
from .read_places import log_row
from .read_sightings import OBJECTS, images, object_correlation, object_detected, plate_correlation, plate_read
from .times import Moment, read
from .twins import live_keys, plate_twins
from .values import channel_of, channels, code, decoded, integer, items, members, word

Log = Literal["plates", "objects", "events"]

_EXTERNAL = re.compile(r"F\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as an event, and the keys by which the same may have come live."""

    event: VmsEvent
    twins: tuple[str, ...] = ()
    ongoing: bool = False
    """The row will change; ask for it again later."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: `count` rows starting at `at` of `total`, the ones understood, and why others were not."""

    total: int
    at: int
    count: int
    rows: Sequence[Row]
    refused: Sequence[PayloadError] = ()

    @property
    def last(self) -> bool:
        """Tell whether nothing follows."""
        return self.count == 0 or self.at + self.count >= self.total


def read_page(log: Log, answer: Any, *, context: DecodeContext) -> Page:
    """Return the rows of one answer. `context.received` is when it was read.

    Raises PayloadError if it is no page of a log at all.
    """
    page = members(answer)
    listed = page.get("data")
    if not isinstance(listed, list):
        raise PayloadError(MISSING if listed is None else WRONG, "the answer holds no rows")
    at = integer(page.get("at")) or 0
    total = integer(page.get("totalCount"))
    found = [_row(log, row, context) for row in listed]
    return Page(
        total=at + len(listed) if total is None else total,
        at=at,
        count=len(listed),
        rows=[row for row in found if isinstance(row, Row)],
        refused=[row for row in found if isinstance(row, PayloadError)],
    )


def as_missed(rows: Iterable[Row], unfetchable: Sequence[str] = ()) -> Missed:
    """Return rows in the form a connector hands back-filled events over."""
    listed = sorted(rows, key=lambda row: row.event.time)
    twins = {row.event.id: row.twins for row in listed if row.twins}
    return Missed([row.event for row in listed], twins, unfetchable)


def _row(log: Log, row: Any, context: DecodeContext) -> Row | PayloadError:
    if not isinstance(row, dict):
        return PayloadError(WRONG, "a row is no object")
    try:
        compact(row)
        return _READERS[log](row, replace(context, origin=Origin.BACKFILL, via="log", snapshot=False))
    except ValidationError as exc:
        return refusal(exc)
    except RecursionError:
        return PayloadError("too_deep", "a row is nested too deeply")
    except PayloadError as error:
        return error


# --- plates ----------------------------------------------------------------------------------------------


def _plate(row: Message, context: DecodeContext) -> Row:
    seen = _span(row, context)
    shown = {**row, "srcName": decoded("plates", "srcName", row.get("srcName"), context.dialect)}
    device = code(row.get("srcCode"))
    own, linked = _channels(row, device)
    data = plate_read({**shown, "linkedChannel": linked}, seen[0].time, device)
    draft = Draft(
        "plate.read",
        own or device,
        data,
        row,
        seen[0],
        correlation=plate_correlation(data, context),
        identity=("plates", code(row.get("id")), data.device, data.plate, seen[0].time.isoformat()),
    )
    return Row(build("LPR", draft, context), plate_twins(data, images(row), [moment.time for moment in seen]))


def _channels(row: Message, device: str | None) -> tuple[str | None, list[str]]:
    """Return a row's own channel and the linked ones, as the live message has them.

    The log lists all in `vod`, the reader's own first; a reader that is no camera of the server
    (`F00001`) has none of its own.
    """
    listed = list(channels([members(piece).get("chid") for piece in items(row.get("vod"))]))
    own = channel_of(row)
    if own is None and listed and not _EXTERNAL.fullmatch(device or ""):
        own = listed[0]
    return own, [channel for channel in listed if channel != own]


def _span(row: Message, context: DecodeContext) -> list[Moment]:
    """Return the ends of a row's span, the second only if there is one. Raises PayloadError without a begin."""
    value = row.get("timeRange")
    ends: list[Any] = [value] if isinstance(value, str) else items(value)
    began = need(_time(ends[0], context) if ends else None, "timeRange", row)
    ended = _time(ends[1], context) if len(ends) > 1 else None
    return [began] if ended is None else [began, ended]


def _time(value: Any, context: DecodeContext) -> Moment | None:
    """Return a row's time; in the hour that daylight saving repeats, the earlier reading."""
    return read(value, context.zone, ambiguous="earlier")


# --- objects and the event log ---------------------------------------------------------------------------


def _object(row: Message, context: DecodeContext) -> Row:
    data = object_detected(row, need(OBJECTS.get(word(row.get("type")) or ""), "type", row))
    channel = need(channel_of(row), "chid", row)
    moment = need(_time(row.get("timestamp"), context), "timestamp", row)
    draft = Draft(
        "object.detected",
        channel,
        data,
        row,
        moment,
        correlation=object_correlation(channel, data, context),
        identity=("objects", *_object_identity(channel, data, moment.time)),
    )
    event = build("object", draft, context)
    return Row(event, live_keys(event))


def _object_identity(channel: str, data: kinds.ObjectDetected, time: datetime) -> tuple[object, ...]:
    return (data.image,) if data.image else (channel, data.object_id, data.object, time.isoformat())


def _event(row: Message, context: DecodeContext) -> Row:
    _span(row, context)  # a row without a begin has no place in time
    event = build("systemEvent", log_row(row, context, place="log"), context)
    return Row(event, ongoing=getattr(event.data, "ongoing", None) is True)


_READERS: Mapping[Log, Callable[[Message, DecodeContext], Row]] = {
    "plates": _plate,
    "objects": _object,
    "events": _event,
}
