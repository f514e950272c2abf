"""Searches: recorded days and minutes, event log, plates, objects. TS-API guide 0.9.20 Find, v1 guide
1.1.0.

Limits are the vendor's: 50 rows without `maxCount` (v1 objects: 100), three days of minutes, newest
first unless `sort=asc`. Pages count from a moving end, so rows that arrive between two pages shift
them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from . import eventtypes
from .call import Call
from .happenings import DetectedObject, LogRow
from .levels import PRODUCT_LACKS
from .logbook import EventRow, ObjectRow, PlateRow, search
from .parts import Message
from .times import midnight

Row = TypeVar("Row", EventRow, PlateRow, ObjectRow)

_ROWS = 50
_ROWS_OF_OBJECTS_ON_V1 = 100
_MOST_MINUTES = timedelta(days=3)
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
# Search words that name an attribute otherwise than the row does.
_CLOTHES = {"topClothes": "tops", "bottomClothes": "bottoms"}
_PLAIN_ATTRIBUTES = ("gender", "age", "hat", "glasses", "mask", "bag")


async def find(call: Call) -> Any:
    """Answer `/api/find?what=...`."""
    what = call.text("what")
    handlers = {
        "recDays": recorded_days,
        "recMinutes": recorded_minutes_v0,
        "eventLog": event_log,
        "carNo": plate_log,
        "similarCarNo": similar_plates,
        "object": object_log,
    }
    if what not in handlers or what in PRODUCT_LACKS[call.world.config.product]:
        raise HTTPException(400, "unknown what")
    return await handlers[what](call)


# Recordings


async def recorded_days(call: Call) -> Any:
    """List the days with recordings; asked in UTC, days are cut in UTC."""
    call.need_x_host()
    begin = call.time("timeBegin") or call.world.recorder.since
    end = call.time("timeEnd") or call.world.now()
    chosen = call.numbers("ch")
    channels = chosen or sorted(call.world.site.channels)
    by_channel = {chid: _days(call, chid, begin, end) for chid in channels}
    head = {"timeBegin": call.view.row_stamp(begin), "timeEnd": call.view.row_stamp(end)}
    if chosen:
        return head | {"data": [{"chid": chid, "data": _months(days)} for chid, days in by_channel.items()]}
    every = sorted({day for days in by_channel.values() for day in days})
    return head | {"data": _months(every)}


def _days(call: Call, chid: int, begin: datetime, end: datetime) -> list[datetime]:
    zone = begin.tzinfo if call.text("timeBegin").endswith("Z") else call.world.zone
    recorder, now = call.world.recorder, call.world.now()
    found, day = [], midnight(max(begin, recorder.since).astimezone(zone).date(), zone or call.world.zone)
    while day < min(end, now):
        if recorder.pieces(chid, day, day + _DAY, 1):
            found.append(day)
        day = midnight(day.date() + _DAY, day.tzinfo or call.world.zone)
    return found


def _months(days: list[datetime]) -> list[Message]:
    months: dict[tuple[int, int], list[int]] = {}
    for day in days:
        months.setdefault((day.year, day.month), []).append(day.day)
    return [{"year": year, "month": month, "days": listed} for (year, month), listed in months.items()]


async def recorded_minutes_v0(call: Call) -> Any:
    """List the recorded minutes per channel and hour; one bound means one day."""
    begin, end = call.time("timeBegin"), call.time("timeEnd")
    if begin is None and end is None:
        raise HTTPException(400, "timeBegin or timeEnd is required")
    begin = begin or (end or call.world.now()) - _DAY
    end = end or begin + _DAY
    _within_limit(begin, end)
    data = []
    for chid in call.numbers("ch") or sorted(call.world.site.channels):
        hours: dict[tuple[int, int, int, int], list[int]] = {}
        for minute in _minutes(call, chid, begin, end):
            at = minute.astimezone(call.world.zone)
            hours.setdefault((at.year, at.month, at.day, at.hour), []).append(at.minute)
        listed = [
            {"year": year, "month": month, "day": day, "hour": hour, "minutes": minutes}
            for (year, month, day, hour), minutes in hours.items()
        ]
        data.append({"chid": chid, "data": listed})
    return {"timeBegin": call.view.stamp(begin), "timeEnd": call.view.stamp(end), "data": data}


async def recorded_minutes_v1(call: Call) -> Any:
    """List the recorded minutes as a string of 0 and 1 that begins with `timeBegin`."""
    begin, end = call.needed_time("timeBegin"), call.needed_time("timeEnd")
    _within_limit(begin, end)
    data = []
    for chid in call.numbers("ch") or sorted(call.world.site.channels):
        recorded = set(_minutes(call, chid, begin, end))
        count = -(-(end - begin) // _MINUTE)
        first = begin.replace(second=0, microsecond=0)
        digits = "".join("01"[first + number * _MINUTE in recorded] for number in range(count))
        data.append({"chid": chid, "minutes": digits})
    return {"timeBegin": call.view.row_stamp(begin), "timeEnd": call.view.row_stamp(end), "data": data}


def _minutes(call: Call, chid: int, begin: datetime, end: datetime) -> list[datetime]:
    """Return the minutes whose middle was recorded."""
    found, minute = [], begin.replace(second=0, microsecond=0)
    while minute < min(end, call.world.now()):
        if call.world.recorder.is_recorded(chid, minute + _MINUTE / 2):
            found.append(minute)
        minute += _MINUTE
    return found


def _within_limit(begin: datetime, end: datetime) -> None:
    if not timedelta(0) < end - begin <= _MOST_MINUTES:
        raise HTTPException(400, "the range must be positive and at most 3 days")


# Logs


async def event_log(call: Call) -> Any:
    """Search the event log."""
    if call.world.faults.use("growing_log"):
        call.world.happen(LogRow(topic="systemEvent", type=0, code=25, param={"n": len(call.world.log.events)}))
    wanted, kinds = call.channels(), call.numbers("type")

    def matches(row: EventRow) -> bool:
        number = eventtypes.number(row.type, v1=call.v1)
        if number is None or (kinds is not None and number not in kinds):
            return False
        limits = (wanted.channels if call.v1 else None, wanted.allowed)
        return all(limit is None or bool(limit & set(row.channels)) or not row.channels for limit in limits)

    return _page(call, call.world.log.events, _ROWS, matches, call.world.parts.event_row)


async def plate_log(call: Call) -> Any:
    """Search the plate log; `export` gives addresses of files instead."""
    if call.flag("export") and call.view.since("0.9.18"):
        name = f"{call.world.now().astimezone(call.world.zone):%Y-%m-%dT%H.%M.%S}"
        return [call.view.url(f"/download/{name}.{'csv' if call.v1 else 'xls'}")]
    if call.v1:
        call.needed_time("timeBegin")
        call.needed_time("timeEnd")
    keyword, sources = call.text("keyword"), call.numbers("src")
    codes = {item.code for item in call.world.config.plate_sources if sources and item.id in sources}

    def matches(row: PlateRow) -> bool:
        return keyword in row.plate_no and (sources is None or row.source in codes)

    return _page(call, call.world.log.plates, _ROWS, matches, call.world.parts.plate_row)


async def similar_plates(call: Call) -> Any:
    """List plates that share most characters with the keyword."""
    keyword, most = call.text("keyword"), call.number("maxCount", 10)
    if not keyword:
        raise HTTPException(400, "keyword is required")
    plates = dict.fromkeys(row.plate_no for row in call.world.log.plates)
    shared = {plate: len(set(plate) & set(keyword)) / len(set(keyword)) for plate in plates}
    close = [plate for plate in plates if shared[plate] >= 0.5]
    return sorted(close, key=lambda plate: -shared[plate])[:most]


async def object_log(call: Call) -> Any:
    """Search the object log."""
    if call.world.faults.use("growing_log"):
        age = timedelta(seconds=len(call.world.log.objects) * 7 % 90)
        call.world.happen(DetectedObject(topic="object", type="human", quiet=True, age=age))
    wanted, kinds = call.channels(), call.words("objectType")

    def matches(row: ObjectRow) -> bool:
        here = wanted.channel(row.chid) and (kinds is None or row.type in kinds)
        return here and _has_attributes(call, row.attributes)

    rows = _ROWS_OF_OBJECTS_ON_V1 if call.v1 else _ROWS
    return _page(call, call.world.log.objects, rows, matches, call.world.parts.object_row)


def _has_attributes(call: Call, attributes: Message) -> bool:
    for name in _PLAIN_ATTRIBUTES:
        asked = call.words(name)
        if asked and str(attributes.get(name)).lower() not in asked:
            return False
    for name, kind in _CLOTHES.items():
        asked = call.words(name)
        worn = [item for item in attributes.get("clothes", []) if item.get("type") == kind]
        if asked and not any(_all_in(asked, [item.get("length"), *item.get("colors", [])]) for item in worn):
            return False
    asked = call.words("vehicleType")
    return not asked or _all_in(asked, [attributes.get("vehicleType"), *attributes.get("colors", [])])


def _all_in(asked: list[str], there: list[Any]) -> bool:
    known = {str(item).lower() for item in there}
    return all(word.lower() in known for word in asked)


def _page(
    call: Call,
    rows: list[Row],
    default_count: int,
    matches: Callable[[Row], bool],
    entry: Callable[[Row, Any], Message],
) -> Message:
    begin, end = call.time("timeBegin"), call.time("timeEnd")
    call.world.log.catch_up(call.world.now())
    if expiry := call.world.faults.use("shrinking_log"):
        del rows[: expiry.copies]
    page = search(
        rows,
        begin=begin,
        end=end,
        at=max(0, call.number("at", 0)),
        count=max(0, call.number("maxCount", default_count)),
        ascending=call.text("sort") == "asc",
        matches=matches,
    )
    return {"totalCount": page.total, "at": page.at, "data": [entry(row, call.view) for row in page.rows]}


async def download(call: Call) -> Response:
    """Serve an exported plate list: the rows as tab-separated text, whatever the name says."""
    lines = [f"{row.id}\t{row.plate_no}\t{call.view.stamp(row.begin)}" for row in call.world.log.plates]
    return PlainTextResponse("\n".join(lines))
