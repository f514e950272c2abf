"""What clients send into the server: pushed events, event triggers, channels added and deleted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from . import devices
from .backups import Trigger
from .call import Call, answer
from .devices import Asked
from .happenings import Call as CallEvent
from .happenings import ChannelStatus, Plate, Pushed
from .levels import PRODUCT_LACKS
from .parts import Message
from .times import parse_time

_CHANNEL_LIMIT = 36
_TAKEN, _NO_SOURCE, _NO_URL, _OVER_LIMIT, _SOME_FAILED, _ALL_FAILED = -1, -2, -3, -4, -5, -6


# Push


async def push(call: Call) -> Any:
    """Answer `/api/push`: 200 with an empty body; events go out and into the log."""
    if "push" in call.world.unlicensed or "push" in PRODUCT_LACKS[call.world.config.product]:
        raise HTTPException(404, "Not found")
    if call.principal is None:
        raise HTTPException(401, "Unauthorized")
    body = await call.json()
    try:
        items = [Pushed.model_validate(item) for item in (body if isinstance(body, list) else [body])]
    except ValidationError as exc:
        raise HTTPException(400, exc.errors()[0]["msg"]) from exc
    for item in items:
        _take(call, item)
    return Response(status_code=200)


def _take(call: Call, item: Pushed) -> None:
    when = _moment(call, item.when)
    if item.topic == "LPR":
        begin = _moment(call, item.time_begin) if item.time_begin else when
        seen_for = max(timedelta(0), when - begin)
        plate = item.plate_no or ""
        call.world.happen(
            Plate(
                topic="LPR",
                channel=None,
                plate_no=plate,
                device_code=item.src,
                at=when,
                seen_for=seen_for,
                score=None,
                image=False,
                roi=None,
            )
        )
    elif item.event:
        linked = None
        if item.camera is not None:
            linked = tuple(int(chid) for chid in item.camera.split(",") if chid.strip().isdigit())
        call.world.happen(
            CallEvent(
                topic="emergencyCall",
                event=item.event,
                caller=item.src,
                device=item.device,
                linked_channel=linked,
                at=when,
            )
        )


def _moment(call: Call, text: str | None) -> datetime:
    try:
        return parse_time(text, call.world.zone) if text else call.world.now()
    except ValueError:
        raise HTTPException(400, f"not a time: {text}") from None


# Event trigger


async def trigger(call: Call) -> Any:
    """Answer an event trigger: logged, tasks begun, the clips' future paths given back."""
    if "eventBackup" in call.world.unlicensed:
        raise HTTPException(404, "Not found")
    try:
        wanted = Trigger.model_validate(await call.json())
    except ValidationError as exc:
        raise HTTPException(400, f"{exc.errors()[0]['loc']}: {exc.errors()[0]['msg']}") from exc
    if not call.client.may("control"):
        code = {"code": devices.NO_RIGHT, "message": devices.MESSAGES[devices.NO_RIGHT]}
        return answer(code, call.request, 403 if call.v1 else 200)
    if wanted.chid not in call.world.site.channels:
        raise HTTPException(400, "Invalid channel")
    for task in wanted.tasks:
        if task.command == "presetGo":
            asked = Asked(call.client, "v1" if call.v1 else "v0", wanted.chid)
            call.world.devices.go_to_preset(asked, task.token)
    number, paths = call.world.backups.trigger(wanted, _moment(call, wanted.timestamp), v1=call.v1)
    return {"eventId": number, "videoURLs": paths}


# Channels


async def add_channels(call: Call) -> Any:
    """Add channels: an array on v0, one object on v1; sources come back with their credentials in them."""
    _needs_settings(call)
    body = await call.json()
    items = body if isinstance(body, list) else [body]
    added, failed, codes = [], [], []
    for item in items:
        code = _fault_of(call, item)
        if code:
            failed.append({"source": _source(item)})
            codes.append(code)
        else:
            added.append(_added(call, item))
    return _outcome("added", added, failed, codes)


def _fault_of(call: Call, item: Message) -> int:
    channels = call.world.site.channels
    if item.get("chid") in channels:
        return _TAKEN
    if not item.get("source"):
        return _NO_SOURCE
    if item.get("device") is not None and not item["device"].get("url"):
        return _NO_URL
    return _OVER_LIMIT if len(channels) >= _CHANNEL_LIMIT else 0


def _added(call: Call, item: Message) -> Message:
    taken = call.world.site.channels
    chid = item.get("chid") or next(number for number in range(1, _CHANNEL_LIMIT + 1) if number not in taken)
    name = str(item.get("name", ""))
    call.world.happen(ChannelStatus(topic="channelStatus", event="channelAdded", channel=chid, name=name))
    kind = "onvif" if item.get("device") else "rtsp" if "://" in str(item["source"]) else "file"
    entry: Message = {"chid": chid, "name": name, "type": kind, "source": _source(item)}
    if kind == "onvif":
        entry["device"] = item["device"]["url"]
    if kind == "file":
        entry["playback"] = item.get("playback", "repeat")
    else:
        entry["tcp"] = bool(item.get("tcp", True))
    if "substream" in item:
        entry["substream"] = bool(item["substream"])
    return entry | {"sharedFrameBuffer": {"data": f"sfb_data_ch{chid}", "event": f"sfb_event_ch{chid}"}}


def _source(item: Message) -> str:
    """Return the address as the server echoes it: with user and password inside."""
    source = str(item.get("source", ""))
    if "uid" not in item or "://" not in source:
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=f"{item['uid']}:{item.get('password', '')}@{parts.netloc}"))


async def delete_channels(call: Call) -> Any:
    """Delete channels by number, or all."""
    _needs_settings(call)
    asked, known = call.request.path_params["chids"], call.world.site.channels
    numbers = sorted(known) if asked == "all" else [int(part) for part in asked.split(",") if part.isdigit()]
    deleted = [chid for chid in numbers if chid in known]
    for chid in deleted:
        call.world.happen(ChannelStatus(topic="channelStatus", event="channelRemoved", channel=chid))
    failed = [chid for chid in numbers if chid not in deleted]
    return _outcome("deleted", deleted, failed, [_ALL_FAILED] * len(failed))


def _outcome(verb: str, done: list[Any], failed: list[Any], codes: list[int]) -> Message:
    if not failed:
        status = {"code": 0, "message": f"Channels were {verb} successfully."}
    elif done:
        status = {"code": _SOME_FAILED, "message": f"Only some channels have been {verb}."}
    else:
        code = codes[0] if len(codes) == 1 else _ALL_FAILED
        status = {"code": code, "message": f"Channels cannot be {verb}."}
    answer: Message = {"status": status}
    return answer | ({verb: done} if done else {}) | ({"failed": failed} if failed else {})


def _needs_settings(call: Call) -> None:
    if not call.client.may("settings"):
        raise HTTPException(403, "Forbidden")
