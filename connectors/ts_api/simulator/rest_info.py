"""Answers about the server itself and the state of its cameras: info, status, channel info."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from .call import Call, answer
from .config import ALL_RIGHTS
from .levels import (
    EXTENSIONS_V0,
    EXTENSIONS_V1,
    PRODUCT_VERSIONS,
    V1_PRODUCT_NAMES,
    V1_PRODUCT_VERSION,
)
from .parts import Message
from .times import bias


async def info(call: Call) -> Any:
    """Answer info: flags combine; `all` without credentials is a 401 that has a body."""
    facts = _facts(call)
    if call.has("all"):
        wanted = list(facts)
        whole = {name: facts[name] for name in wanted}
        if call.principal is None:
            return answer(whole, call.request, 401)
        return whole | {"whoAmI": _who_am_i(call)}
    if call.has("whoAmI"):
        if call.principal is None or (call.v1 and call.principal.via == "apikey"):
            raise HTTPException(401, "authentication required")
        facts["whoAmI"] = _who_am_i(call)
    asked = {name: value for name, value in facts.items() if call.has(name)}
    if not asked:
        if call.v1:
            return facts
        raise HTTPException(400, "nothing asked")
    return asked


def _facts(call: Call) -> Message:
    world, config = call.world, call.world.config
    zone = {"name": config.zone, "bias": bias(world.now(), world.zone)}
    # One sample of the guide prints the site name encoded, in `?all`, and one plain.
    name = call.world.parts.encoded(config.site_name, call.view) if call.has("all") else config.site_name
    return {
        "apiVersion": f"TS-API@{call.view.level}",
        "siteName": name,
        "timezone": zone,
        "product": _product(call),
        "license": _license(call),
    }


def _product(call: Call) -> Message:
    product = call.world.config.product
    if call.v1:
        return {"name": V1_PRODUCT_NAMES.get(product, str(product)), "version": V1_PRODUCT_VERSION}
    return {"name": str(product), "version": PRODUCT_VERSIONS[product]}


def _license(call: Call) -> Message:
    world, lacks = call.world, call.world.unlicensed
    table = EXTENSIONS_V1 if call.v1 else EXTENSIONS_V0
    entry: Message = {"type": "genuine", "maxChannels": 36}
    if call.view.since("0.9.12"):
        counters = ["nLprZone", "nDevEmCall", "nChObjDetection", "nChFaceRecognition"]
        counters += ["nChTrafficCount", "nChSpeedometer"]
        if call.v1:  # each guide's own list
            counters = [*(name for name in counters if name != "nDevEmCall"), "nChPeopleCount"]
        entry |= dict.fromkeys(counters, 36) | {"fisheyeCamSupports": True, "mediaType": "USB dongle"}
    shown = [name for name, feature in table if feature not in lacks]
    if world.level < (0, 9, 7):
        shown = [name for name in shown if name in ("lprExt", "emergencyCall")]
    return entry | {"extension": shown}


def _who_am_i(call: Call) -> Message:
    principal = call.client
    entry: Message = {"uid": principal.name, "name": principal.name}
    if call.v1:
        return entry | {"accessRights": {right: right in principal.rights for right in ALL_RIGHTS}}
    if call.view.since("0.5.0"):
        entry["accessRights2"] = {right: right in principal.rights for right in ALL_RIGHTS}
    return entry | {"accessRights": [right for right in ALL_RIGHTS if right in principal.rights]}


async def status(call: Call) -> Any:
    """Answer `/api/status`."""
    listed = []
    for channel in call.world.parts.channels(call.channels()):
        entry = {"chid": channel.chid, "status": call.world.parts.status(channel.code, call.view)}
        if call.flag("recordingStatus") and call.view.since("0.9.5"):
            entry["recordingStatus"] = call.world.parts.recording(channel, call.view)
        listed.append(entry)
    return listed


async def channel_status(call: Call) -> Any:
    """Answer `/api/v1/channel/status`, which has codes of its own."""
    words = call.world.view(v1=True, host="", lang=call.view.lang, verbose=True)
    return [
        {
            "chid": channel.chid,
            "status": call.world.parts.status(channel.code, words, v1_codes=True),
            "recording": channel.recording,
        }
        for channel in call.world.parts.channels(call.channels())
    ]


async def channel_info(call: Call) -> Any:
    """Answer channel info: the ONVIF facts and, if asked, the abilities of cameras."""
    wanted = call.channels()
    one = call.request.path_params.get("chid")
    listed = []
    for channel in call.world.parts.channels(wanted):
        if one is not None and channel.chid != int(one):
            continue
        entry: Message = {"chid": channel.chid, "type": "onvif" if channel.config.onvif else "rtsp"}
        if call.flag("caps"):
            entry["caps"] = channel.caps
        if channel.config.onvif:
            entry["onvif"] = _onvif(channel.chid)
        listed.append(entry)
    if one is not None and not listed:
        raise HTTPException(404, "Invalid channel")
    return listed


def _onvif(chid: int) -> Message:
    model = "SNP-3120"
    basic = {"city": "seoul", "country": "korea", "deviceType": "NVT", "host": f"192.168.0.{210 + chid}:80"}
    product = {
        "firmwareVersion": "3.01_140915",
        "hardwareId": model,
        "macAddress": f"00:09:18:73:E9:{chid:02X}",
    }
    product |= {"manufacturer": "Samsung Techwin", "model": model, "serialNumber": f"C5FS6V3D4011{chid:02d}"}
    return {"basic": basic | {"location": "", "name": model}, "product": product}
