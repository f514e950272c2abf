"""Device control over HTTP in both dialects; `devices` decides, this module speaks.

v0 answers HTTP 200 with a code to everything. v1 answers 403 without the permission, 400 to nonsense,
and 500 where a camera cannot be turned.
"""

from __future__ import annotations

from typing import Any, Literal

from . import devices
from .call import Call, answer
from .devices import Asked, ControlCall
from .levels import Level
from .parts import Message

_SET_WITH_NAME_PARAMETER = Level(0, 9, 17)
_HTTP_OK = 200  # what cameras answer, as `deviceResponseCode`
_STATUS_ON_V1 = {
    devices.NO_RIGHT: 403,
    devices.BAD_CHANNEL: 400,
    devices.BAD_TOKEN: 400,
    devices.BAD_REQUEST: 400,
    devices.BAD_PARAMETER: 400,
}
_CAMERA_FAILED = (devices.UNSUPPORTED, devices.NOT_READY, devices.DEVICE_ERROR)


def _asked(call: Call, chid: int | None = None) -> Asked:
    if chid is None:
        chid = int(call.request.path_params["chid"]) if call.v1 else (call.numbers("ch") or [0])[0]
    dialect: Literal["v0", "v1"] = "v1" if call.v1 else "v0"
    return Asked(call.client, dialect, chid)


def _result(done: ControlCall) -> Message:
    return {"code": done.code, "message": devices.MESSAGES[done.code]}


def _answered(call: Call, done: ControlCall, success: Any = None) -> Any:
    """Return what the dialect says to a command that was accepted or refused."""
    if done.code == devices.OK:
        return success if success is not None else _result(done)
    if not call.v1:
        return _result(done)
    status = _STATUS_ON_V1.get(done.code, 200)
    if done.command in ("ptz", "preset") and done.code in _CAMERA_FAILED:
        status = 500
    if done.code == devices.BAD_CHANNEL:
        return answer({"code": -1, "message": "Invalid channel"}, call.request, status)
    return answer(_result(done), call.request, status)


def _list(value: str) -> list[str]:
    return [item for item in value.split(",") if item]


async def ptz(call: Call) -> Any:
    """Turn a camera, on either dialect."""
    verbs = ("home", "stop", "move", "zoom", "focus", "iris")
    args = {name: call.text(name) for name in verbs if call.has(name)}
    return _answered(call, call.world.devices.ptz(_asked(call), args))


# v0


async def preset_v0(call: Call) -> Any:
    """Answer `/api/channel/preset` with whichever verb is in the query."""
    if call.has("list") or call.has("reload"):
        chids = call.numbers("ch") or sorted(call.world.site.channels)
        return [_presets_entry(call, chid) for chid in chids]
    if call.has("add"):
        return _stored(call, "", call.text("name"))
    if call.has("set"):
        token, name = call.text("set"), call.text("name")
        if call.world.level < _SET_WITH_NAME_PARAMETER:
            token, _, name = token.partition(",")
        return _stored(call, token, name)
    if call.has("rm"):
        return _removed(call, _list(call.text("rm")))
    if call.has("go"):
        return _answered(call, call.world.devices.go_to_preset(_asked(call), call.text("go")))
    return _answered(call, call.world.devices.reject(_asked(call), "preset", devices.BAD_REQUEST))


def _presets_entry(call: Call, chid: int) -> Message:
    done = call.world.devices.presets(_asked(call, chid), reload=call.has("reload"))
    entry = {"chid": chid, **_result(done)}
    if done.code == devices.OK:
        presets = call.world.site.channels[chid].presets
        entry["preset"] = [{"name": name, "token": token} for token, name in presets.items()]
    return entry


def _stored(call: Call, token: str, name: str) -> Any:
    asked = _asked(call)
    done, stored = call.world.devices.store_preset(asked, token, name)
    if done.code != devices.OK:
        return _answered(call, done)
    named = call.world.site.channels[asked.chid].presets[stored]
    head = {"chid": asked.chid, "deviceResponseCode": _HTTP_OK}
    return head | _result(done) | {"token": stored, "name": named}


def _removed(call: Call, tokens: list[str]) -> Any:
    """Answer `rm`, which has a code for each preset and none for the whole."""
    asked = _asked(call)
    done = call.world.devices.remove_presets(asked, tokens)
    if call.v1 and done.code != devices.OK:
        return _answered(call, done)
    each = [{"deviceResponseCode": _HTTP_OK, **_result(done), "token": token} for token in tokens]
    return {"chid": asked.chid, "preset": each}


async def relay_v0(call: Call) -> Any:
    """Answer `/api/channel/relay`; `off` is ignored beside `on`. A document writes `list` for `ls`."""
    if call.has("ls") or call.has("list"):
        return _relays(call)
    for state in ("on", "off"):
        if call.has(state):
            tokens = _list(call.text(state))
            return _answered(call, call.world.devices.switch_relays(_asked(call), tokens, on=state == "on"))
    return _answered(call, call.world.devices.reject(_asked(call), "relay", devices.BAD_REQUEST))


def _relays(call: Call) -> Any:
    asked = _asked(call)
    done = call.world.devices.relays(asked)
    if done.code != devices.OK:
        return _answered(call, done)
    relays = call.world.site.channels[asked.chid].relays.values()
    listed = [{"name": relay.name, "token": relay.token} for relay in relays]
    return {"chid": asked.chid, **_result(done), "relay": listed}


async def aux_v0(call: Call) -> Any:
    """Answer `/api/channel/aux`."""
    for state in ("on", "off"):
        if call.has(state):
            numbers = _list(call.text(state))
            return _answered(call, call.world.devices.switch_aux(_asked(call), numbers, on=state == "on"))
    return _answered(call, call.world.devices.reject(_asked(call), "aux", devices.BAD_REQUEST))


async def reboot(call: Call) -> Any:
    """Reboot a camera, on either dialect; v1 asks for an administrator."""
    if call.v1 and not (call.client.admin or call.client.may("settings")):
        return answer({"code": -1, "message": "Forbidden"}, call.request, 403)
    return _answered(call, call.world.devices.reboot(_asked(call)))


# v1


async def presets_v1(call: Call) -> Any:
    """List the presets of a camera."""
    asked = _asked(call)
    done = call.world.devices.presets(asked, reload=call.flag("reload"))
    if done.code != devices.OK:
        return _answered(call, done)
    presets = call.world.site.channels[asked.chid].presets
    listed = [{"token": token, "name": name, "devName": name} for token, name in presets.items()]
    return {"chid": asked.chid, "preset": listed}


async def add_preset_v1(call: Call) -> Any:
    """Add a preset."""
    return _stored(call, "", call.text("name"))


async def set_preset_v1(call: Call) -> Any:
    """Overwrite a preset."""
    return _stored(call, call.request.path_params["token"], call.text("name"))


async def remove_preset_v1(call: Call) -> Any:
    """Remove a preset."""
    return _removed(call, [call.request.path_params["token"]])


async def go_to_preset_v1(call: Call) -> Any:
    """Turn to a preset."""
    return _answered(call, call.world.devices.go_to_preset(_asked(call), call.request.path_params["token"]))


async def relays_v1(call: Call) -> Any:
    """List the relays."""
    return _relays(call)


async def relay_v1(call: Call) -> Any:
    """Switch a relay."""
    on = _state(call)
    if on is None:
        return _answered(call, call.world.devices.reject(_asked(call), "relay", devices.BAD_PARAMETER))
    tokens = [call.request.path_params["token"]]
    return _answered(call, call.world.devices.switch_relays(_asked(call), tokens, on=on))


async def aux_v1(call: Call) -> Any:
    """Switch an auxiliary output."""
    on = _state(call)
    if on is None:
        return _answered(call, call.world.devices.reject(_asked(call), "aux", devices.BAD_PARAMETER))
    numbers = [call.request.path_params["token"]]
    return _answered(call, call.world.devices.switch_aux(_asked(call), numbers, on=on))


def _state(call: Call) -> bool | None:
    return {"on": True, "off": False}.get(call.text("state"))
