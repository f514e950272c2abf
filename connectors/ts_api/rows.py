"""Turn rows of the server's own logs into events, for what happened while nobody listened. Pure.

Three logs, both dialects: plates (`find?what=carNo`, `/api/v1/lpr/log`), objects (`find?what=object`,
`/api/v1/object/log`), and the event log (`find?what=eventLog`, `/api/v1/event/log`). Facts: TS-API
guide 0.9.20, "Search"; v1 guide 1.1.0 and its changelog.

Rows are not final. A plate row's span grows while the car stands there: it stays one event, whose time
is the first sight. A system log row that is `ongoing` comes again with the same id, a wider span and
new details: each version is an event of its own, tied by `correlation`.

v1 writes rows in the server's wall clock without offset, so in the hour that daylight saving repeats a
row may mean two moments. Which one is told by the stamp in the name of its still, or else by the span
that was asked for; where neither tells, it is the earlier, and its twins are looked for at both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal

from pydantic import ValidationError

from bridge.sdk import Origin, PayloadError, TwinKeys, VmsEvent, kinds

from .decode import build, compact
from .draft import MISSING, WRONG, DecodeContext, Draft, Message, need, refusal
from .read_places import log_row
from .read_sightings import OBJECTS, images, object_correlation, object_detected, plate_correlation, plate_read
from .times import Moment, readings
from .twins import READERS, object_row, plate_row
from .values import basename, channel_of, channels, code, decoded, integer, items, members, word

Log = Literal["plates", "objects", "events"]

Span = tuple[datetime, datetime]

_EXTERNAL = re.compile(r"F\d+", re.ASCII)
_STAMP = re.compile(r"\.(\d{16})\.", re.ASCII)
"""Microseconds since 1970 in the name of a still, UTC."""
_NEAR = timedelta(minutes=15)
"""A still and the time of its row are not further apart; the readings of one wall clock are, by at least 30 minutes."""
_SHIFTED = ("timestamp", "timeRange")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as an event, and the keys by which the same may have come live."""

    event: VmsEvent
    keys: TwinKeys
    place: str
    """What names the row in its log, whatever becomes of it."""
    ongoing: bool = False
    """The row will change; ask for it again later."""
    ended: datetime | None = None
    """Its last moment so far, where that is not its time; the later one, if it may be two."""

    @property
    def twins(self) -> Sequence[str]:
        """What its live form may be known by."""
        return self.keys.seeks

    @property
    def last(self) -> datetime:
        """The last moment it tells of."""
        return self.ended or self.event.time


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


def read_page(log: Log, answer: Any, *, context: DecodeContext, span: Span | None = None) -> Page:
    """Return the rows of one answer. `context.received` is when it was read, `span` what was asked for.

    Raises PayloadError if it is no page of a log at all.
    """
    page = members(answer)
    listed = page.get("data")
    if not isinstance(listed, list):
        raise PayloadError(MISSING if listed is None else WRONG, "the answer holds no rows")
    at = integer(page.get("at")) or 0
    total = integer(page.get("totalCount"))
    found = [_row(log, row, context, span) for row in listed]
    return Page(
        total=at + len(listed) if total is None else total,
        at=at,
        count=len(listed),
        rows=[row for row in found if isinstance(row, Row)],
        refused=[row for row in found if isinstance(row, PayloadError)],
    )


def _row(log: Log, row: Any, context: DecodeContext, span: Span | None) -> Row | PayloadError:
    if not isinstance(row, dict):
        return PayloadError(WRONG, "a row is no object")
    try:
        compact(row)
        past = replace(context, origin=Origin.BACKFILL, via="log", snapshot=False)
        return _READERS[log](_placed(row, past.zone, span), past)
    except ValidationError as exc:
        return refusal(exc)
    except RecursionError:
        return PayloadError("too_deep", "a row is nested too deeply")
    except PayloadError as error:
        return error


# --- times -----------------------------------------------------------------------------------------------


def _placed(row: Message, zone: tzinfo, span: Span | None) -> Message:
    """Return the row with an offset on each time that could mean two moments, if something tells which."""
    changed: dict[str, Any] = {}
    for name in _SHIFTED:
        value = row.get(name)
        ends = value if isinstance(value, list) else [value]
        sure = [_sure(end, row, zone, span) for end in ends]
        if any(sure):
            told = [moment.isoformat() if moment else end for moment, end in zip(sure, ends, strict=True)]
            changed[name] = told if isinstance(value, list) else told[0]
    return {**row, **changed} if changed else row


def _sure(value: Any, row: Message, zone: tzinfo, span: Span | None) -> datetime | None:
    """Return which moment an ambiguous time means; None if it is not ambiguous, or nobody can tell."""
    could = [moment.time for moment in readings(value, zone)]
    if len(could) < 2:
        return None
    for stamp in _stamps(row):
        nearest = min(could, key=lambda moment: abs(moment - stamp))
        if abs(nearest - stamp) <= _NEAR:
            return nearest
    inside = [moment for moment in could if span and span[0] <= moment <= span[1]]
    return inside[0] if len(inside) == 1 else None


def _stamps(row: Message) -> Iterator[datetime]:
    for path in images(row):
        if found := _STAMP.search(basename(path) or ""):
            yield datetime.fromtimestamp(int(found[1]) / 1e6, UTC)


def _span(row: Message, context: DecodeContext) -> list[list[Moment]]:
    """Return the readings of each end of a row's span, the second only if there is one.

    Raises PayloadError without a begin.
    """
    value = row.get("timeRange")
    ends: list[Any] = [value] if isinstance(value, str) else items(value)
    read_ends = [readings(end, context.zone) for end in ends[:2]]
    need(read_ends[0] or None if read_ends else None, "timeRange", row)
    return [end for end in read_ends if end]


def _times(moments: Iterable[Moment]) -> list[datetime]:
    return [moment.time for moment in moments]


# --- plates ----------------------------------------------------------------------------------------------


def _plate(row: Message, context: DecodeContext) -> Row:
    seen = _span(row, context)
    first = seen[0][0]
    shown = {**row, "srcName": decoded("plates", "srcName", row.get("srcName"), context.dialect)}
    device = code(row.get("srcCode"))
    own, linked = _channels(row, device)
    data = plate_read({**shown, "linkedChannel": linked}, first.time, device)
    draft = Draft(
        "plate.read",
        own or device,
        data,
        row,
        first,
        correlation=plate_correlation(data, context),
        identity=("plates", code(row.get("id")), data.device, data.plate, first.time.isoformat()),
    )
    keys = plate_row(data, images(row), _times(seen[0]), _times(seen[-1]))
    event = build("LPR", draft, context)
    return Row(event, keys, code(row.get("id")) or event.id, ended=seen[-1][-1].time)


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


# --- objects and the event log ---------------------------------------------------------------------------


def _object(row: Message, context: DecodeContext) -> Row:
    data = object_detected(row, need(OBJECTS.get(word(row.get("type")) or ""), "type", row))
    channel = need(channel_of(row), "chid", row)
    moments = need(readings(row.get("timestamp"), context.zone) or None, "timestamp", row)
    draft = Draft(
        "object.detected",
        channel,
        data,
        row,
        moments[0],
        correlation=object_correlation(channel, data, context),
        identity=("objects", *_object_identity(channel, data, moments[0].time)),
    )
    event = build("object", draft, context)
    return Row(event, object_row(channel, data, _times(moments)), event.id)


def _object_identity(channel: str, data: kinds.ObjectDetected, time: datetime) -> tuple[object, ...]:
    return (data.image,) if data.image else (channel, data.object_id, data.object, time.isoformat())


def _event(row: Message, context: DecodeContext) -> Row:
    seen = _span(row, context)  # a row without a begin has no place in time
    event = build("systemEvent", log_row(row, context, place="log"), context)
    data = event.data
    assert isinstance(data, kinds.SystemLog)  # noqa: S101 - a log row is nothing else
    return Row(event, READERS["system.log"](event), data.log_id, data.ongoing is True, seen[-1][-1].time)


_READERS: Mapping[Log, Callable[[Message, DecodeContext], Row]] = {
    "plates": _plate,
    "objects": _object,
    "events": _event,
}
