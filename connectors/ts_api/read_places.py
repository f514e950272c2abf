"""Read what TS-API says about places and itself: call buttons, counting lots, parking spaces, its own log.

Facts: TS-API guide 0.9.20, "Event topics" emergencyCall, parkingCount, systemEvent, and "Event log";
v1 guide 1.1.0, parkingSpot and the rows that change in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from bridge.sdk import canonical_plate, kinds

from .draft import DecodeContext, Draft, Drafted, Message, each, need, opaque, part_of
from .times import Moment, read
from .values import channel_of, channels, code, decoded, flag, integer, items, members, percent, redact, text

_CALLS: Mapping[str, tuple[str, type[kinds.CallStarted] | type[kinds.CallEnded]]] = {
    "callStart": ("call.started", kinds.CallStarted),
    "callEnd": ("call.ended", kinds.CallEnded),
}
_LOT_TYPES: Mapping[str, Literal["counter", "group"]] = {"counter": "counter", "group": "group"}
_SNAPSHOT = "currentStatus"

# Rows whose `param` counts channels from 0 (guide 0.9.20 "Event log"; v1 changelog 1.0.3 and 1.1.0):
# storage stalls, frame drops, missing recordings. Their code numbers differ between servers and their
# names are translated, so they are known by members that nothing else has.
_ZERO_BASED: tuple[frozenset[str], ...] = (
    frozenset({"statusCode", "stalledSec"}),
    frozenset({"droppedFrames"}),
    frozenset({"secs", "streamFps"}),
)


# --- emergencyCall ---------------------------------------------------------------------------------------


def emergency_call(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read emergencyCall. There is no call id: start and end of a caller belong together."""
    event = need(text(message.get("event")), "event", message)
    if event not in _CALLS:
        yield from opaque("emergencyCall", message, context)
        return
    caller = need(code(message.get("caller")), "caller", message)
    moment = context.moment(message.get("timestamp"))
    yield call(event, caller, channels(message.get("linkedChannel")), message, context, moment)


def call(
    event: str, caller: str, linked: tuple[str, ...], message: Message, context: DecodeContext, moment: Moment | None
) -> Draft:
    """Return one end of a call, heard or pushed. `event` is callStart or callEnd."""
    kind, payload = _CALLS[event]
    data = payload(
        caller=caller,
        name=text(message.get("name")),
        device=text(message.get("device")),
        linked_channels=linked,
    )
    return Draft(kind, caller, data, message, moment, correlation=context.correlation("call", caller))


def is_call(event: Any) -> bool:
    """Tell whether an `event` is one end of a call."""
    return isinstance(event, str) and event in _CALLS


# --- parking ---------------------------------------------------------------------------------------------


def parking_count(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read parkingCount; its first message is the present state of all lots."""

    def one(_: int, entry: Message) -> Draft:
        lot = need(code(entry.get("id")), "id", entry)
        count = need(integer(entry.get("count")), "count", entry)
        capacity = integer(entry.get("maxCount"))
        data = kinds.ParkingCount(
            lot=lot,
            name=text(entry.get("name")),
            lot_type=_LOT_TYPES.get(text(entry.get("type")) or ""),
            count=count,
            capacity=capacity,
            available=None if capacity is None else max(0, capacity - count),
            members=tuple(member for item in items(entry.get("member")) if (member := code(item)) is not None),
        )
        moment = context.moment(message.get("timestamp"))
        return Draft("parking.count", lot, data, part_of(message, "updated", entry), moment, snapshot=context.snapshot)

    return each(message.get("updated"), "updated", one)


def parking_spot(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read parkingSpot: spaces and what stands on them; gates and zones appear in the snapshot only."""
    if message.get("event") not in (None, _SNAPSHOT, "statusChanged"):
        return opaque("parkingSpot", message, context)

    def one(_: int, entry: Message) -> Draft:
        return Draft(
            "parking.spot",
            need(code(entry.get("id")), "id", entry),
            _spot(entry, context),
            part_of(message, "spots", entry),
            context.moment(message.get("timestamp")),
            snapshot=message.get("event") == _SNAPSHOT,
        )

    return each(message.get("spots"), "spots", one)


def _spot(entry: Message, context: DecodeContext) -> kinds.ParkingSpot:
    vehicle = members(entry.get("vehicle"))
    raw = text(vehicle.get("plateNo"))
    return kinds.ParkingSpot(
        spot=need(code(entry.get("id")), "id", entry),
        name=text(entry.get("name")),
        channel=channel_of(entry),
        spot_type=text(entry.get("type")),
        category=text(entry.get("category")),
        occupied=flag(entry.get("occupied")),
        plate=(canonical_plate(raw) or None) if raw else None,
        plate_raw=raw,
        score=percent(vehicle.get("score")),
        ev=flag(vehicle.get("ev")),
        bike=flag(vehicle.get("bike")),
        since=context.time(vehicle.get("since")),
    )


# --- systemEvent and the event log -----------------------------------------------------------------------


def system_event(message: Message, context: DecodeContext) -> Iterator[Drafted]:
    """Read systemEvent, which is the row of the event log with a topic."""
    yield log_row(message, context, place="live")


def log_row(row: Message, context: DecodeContext, *, place: Literal["live", "log"]) -> Draft:
    """Return one row of the server's log, heard live or fetched.

    Both ways give the same id, and a row that has grown gives another one: type, times and details
    make it, not the words, which come in the language of whoever asked. In the hour that daylight
    saving repeats, a fetched row without offset gets the earlier reading.
    """
    log_id = need(code(row.get("id")), "id", row)
    log_type = need(integer(row.get("type")), "type", row)
    began, ended = _span(row.get("timeRange"), context)
    param = _param(members(row.get("param")), place, context)
    data = kinds.SystemLog(
        log_id=log_id,
        log_type=log_type,
        type_name=text(row.get("typeName")),
        code=integer(row.get("code")),
        code_name=text(row.get("codeName")),
        began=began.time,
        ended=ended,
        ongoing=flag(param.get("ongoing")),
        param=param,
        comment=text(redact(row.get("comment"))),
    )
    identity = ("log", log_id, log_type, data.code, began.time.isoformat(), ended, _flat(param))
    moment = None if began.quality == "received" else began
    if place == "live":
        moment = context.moment(next(iter(items(row.get("timeRange"))), row.get("timeRange")))
    correlation = context.correlation("log", log_id)
    return Draft("system.log", channel_of(row), data, row, moment, correlation=correlation, identity=identity)


def _span(value: Any, context: DecodeContext) -> tuple[Moment, Any]:
    ends = [value] if isinstance(value, str) else items(value)
    read_ends = [read(end, context.zone, ambiguous="earlier") for end in ends[:2]]
    began = (read_ends[0] if read_ends else None) or Moment(context.received, "received")
    ended = read_ends[1].time if len(read_ends) == 2 and read_ends[1] else None
    return began, ended if ended and ended >= began.time else None


def _param(param: Message, place: str, context: DecodeContext) -> dict[str, Any]:
    """Return a row's details: texts decoded once, secrets out, channels counted from 1."""
    plain = {name: decoded(place, name, value, context.dialect) for name, value in param.items()}
    if any(signs <= plain.keys() for signs in _ZERO_BASED):
        plain |= _one_based(plain)
    redacted: dict[str, Any] = redact(plain)
    return redacted


def _one_based(param: Message) -> dict[str, Any]:
    fixed: dict[str, Any] = {}
    if (channel := integer(param.get("chid"))) is not None:
        fixed["chid"] = channel + 1
    if isinstance(listed := param.get("channelList"), list):
        fixed["channelList"] = [item if (n := integer(item)) is None else n + 1 for item in listed]
    return fixed


def _flat(param: Message) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((name, repr(value)) for name, value in param.items()))
