"""Cameras' PTZ, presets, relays, auxiliary outputs and reboot, as the server drives them.

A command is checked and accepted at once, and carried out later: `code: 0` never means that it
happened. Every command is recorded, refused or not, and relays keep the history of their contact.
Codes: TS-API guide 0.9.20, Device control.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .access import Principal
from .happenings import ChannelStatus
from .state import CONNECTED, Channel

if TYPE_CHECKING:
    from .world import World

Command = Literal["ptz", "preset", "relay", "aux", "reboot"]

OK, NO_RIGHT, UNSUPPORTED, NOT_READY, BUSY = 0, -1, -2, -3, -4
BAD_CHANNEL, BAD_TOKEN, BAD_REQUEST, BAD_PARAMETER, DEVICE_ERROR = -5, -6, -7, -8, -9
MESSAGES: dict[int, str] = {
    OK: "Success",
    NO_RIGHT: "The user does not have the right.",
    UNSUPPORTED: "The device does not support it.",
    NOT_READY: "The device is not ready.",
    BUSY: "The device is busy with the previous command.",
    BAD_CHANNEL: "Invalid channel.",
    BAD_TOKEN: "Invalid channel token.",
    BAD_REQUEST: "Invalid request.",
    BAD_PARAMETER: "Invalid parameters.",
    DEVICE_ERROR: "The device answered with an error.",
}
REBOOTING = -5
_REBOOT_TIME = timedelta(minutes=1)
_PTZ_MOVES = ("move", "zoom", "focus", "iris")
_CAPABILITY: dict[str, str] = {
    "move": "pantilt",
    "zoom": "zoom",
    "focus": "focus",
    "iris": "iris",
    "home": "home",
}


@dataclass
class ControlCall:
    """A command that came in. `code` is the answer, `done` when the device carried it out."""

    at: datetime
    dialect: Literal["v0", "v1"]
    user: str
    channel: int
    command: Command
    args: dict[str, str]
    code: int = OK
    done: datetime | None = None


class Asked(NamedTuple):
    """Who asks which camera, in which dialect."""

    who: Principal
    dialect: Literal["v0", "v1"]
    chid: int


@dataclass
class Devices:
    """All cameras' devices of one world."""

    world: World
    calls: list[ControlCall] = field(default_factory=list)

    def ptz(self, asked: Asked, args: dict[str, str]) -> ControlCall:
        """Move a camera: `home`, `stop`, or one of move, zoom, focus, iris with speeds in -1..1."""
        call = self._received(asked, "ptz", args)
        verbs = [name for name in ("home", "stop", *_PTZ_MOVES) if name in args]
        if self._refused(call, asked):
            return call
        channel = self.world.site.channels[asked.chid]
        if len(verbs) != 1:
            call.code = BAD_REQUEST
        elif not channel.caps[_CAPABILITY.get(verbs[0], "pantilt")]:
            call.code = UNSUPPORTED
        elif verbs[0] in _PTZ_MOVES and not _are_speeds(args[verbs[0]], 2 if verbs[0] == "move" else 1):
            call.code = BAD_PARAMETER
        else:
            self._later(call, channel, lambda: _move(channel, verbs[0], args[verbs[0]]))
        return call

    def presets(self, asked: Asked, *, reload: bool = False) -> ControlCall:
        """List the presets, from memory or (slow) from the camera."""
        call = self._received(asked, "preset", {"reload" if reload else "list": ""})
        if not self._refused(call, asked, reading=not reload) and not self._moves(asked.chid):
            call.code = UNSUPPORTED
        return call

    def store_preset(self, asked: Asked, token: str, name: str) -> tuple[ControlCall, str]:
        """Add (no token) or overwrite a preset; the token in the answer may differ from the one asked for."""
        args = {"set": token, "name": name} if token else {"add": "", "name": name}
        call = self._received(asked, "preset", args)
        if self._refused(call, asked):
            return call, token
        channel = self.world.site.channels[asked.chid]
        if not self._moves(asked.chid):
            call.code = UNSUPPORTED
            return call, token
        token = self._stored(channel, token, name)
        self._later(call, channel, lambda: None)
        return call, token

    def remove_presets(self, asked: Asked, tokens: list[str]) -> ControlCall:
        """Forget presets."""
        call = self._received(asked, "preset", {"rm": ",".join(tokens)})
        if self._can_use_presets(call, asked, tokens):
            channel = self.world.site.channels[asked.chid]
            self._later(call, channel, lambda: _forget(channel, tokens))
        return call

    def go_to_preset(self, asked: Asked, token: str) -> ControlCall:
        """Turn a camera to a preset."""
        call = self._received(asked, "preset", {"go": token})
        if self._can_use_presets(call, asked, [token] if token else []):
            channel = self.world.site.channels[asked.chid]
            self._later(call, channel, lambda: _go(channel, token))
        return call

    def relays(self, asked: Asked) -> ControlCall:
        """List the relays; their state is not part of the answer."""
        call = self._received(asked, "relay", {"ls": ""})
        if not self._refused(call, asked, reading=True) and not self.world.site.channels[asked.chid].relays:
            call.code = UNSUPPORTED
        return call

    def switch_relays(self, asked: Asked, tokens: list[str], *, on: bool) -> ControlCall:
        """Switch relays."""
        call = self._received(asked, "relay", {"on" if on else "off": ",".join(tokens)})
        if self._refused(call, asked):
            return call
        channel = self.world.site.channels[asked.chid]
        if not channel.relays:
            call.code = UNSUPPORTED
        elif not tokens:
            call.code = BAD_PARAMETER
        elif not set(tokens) <= set(channel.relays):
            call.code = BAD_TOKEN
        elif not self.world.faults.use("stuck_relay", channel=asked.chid):
            self._later(call, channel, lambda: self._switch([channel.relays[token] for token in tokens], on))
        return call

    def switch_aux(self, asked: Asked, numbers: list[str], *, on: bool) -> ControlCall:
        """Switch auxiliary outputs, numbered from 0."""
        call = self._received(asked, "aux", {"on" if on else "off": ",".join(numbers)})
        if self._refused(call, asked):
            return call
        channel = self.world.site.channels[asked.chid]
        if not channel.aux:
            call.code = UNSUPPORTED
        elif not numbers or not all(number.isdigit() and int(number) in channel.aux for number in numbers):
            call.code = BAD_PARAMETER
        else:
            self._later(call, channel, lambda: self._switch([channel.aux[int(n)] for n in numbers], on))
        return call

    def reboot(self, asked: Asked) -> ControlCall:
        """Reboot a camera; it is away for about a minute."""
        call = self._received(asked, "reboot", {})
        if self._refused(call, asked):
            return call
        channel = self.world.site.channels[asked.chid]
        if channel.caps["reboot"]:
            self._later(call, channel, lambda: self._go_down(asked.chid))
        else:
            call.code = UNSUPPORTED
        return call

    def reject(self, asked: Asked, command: Command, code: int) -> ControlCall:
        """Record a command that made no sense."""
        call = self._received(asked, command, {})
        if not self._refused(call, asked):
            call.code = code
        return call

    # Checking

    def _received(self, asked: Asked, command: Command, args: dict[str, str]) -> ControlCall:
        call = ControlCall(self.world.now(), asked.dialect, asked.who.name, asked.chid, command, args)
        self.calls.append(call)
        return call

    def _refused(self, call: ControlCall, asked: Asked, *, reading: bool = False) -> bool:
        """Answer what does not depend on the command: right, channel, injected code, connection, busy."""
        channel = self.world.site.channels.get(call.channel)
        fault = self.world.faults.use("control", channel=call.channel, command=call.command)
        if not asked.who.may("control"):
            call.code = NO_RIGHT
        elif channel is None or not asked.who.may_reach(call.channel):
            call.code = BAD_CHANNEL
        elif fault:
            call.code = fault.code
        elif not channel.config.onvif:
            call.code = UNSUPPORTED
        elif channel.code != CONNECTED and not reading:
            call.code = NOT_READY
        elif channel.busy_until and self.world.now() < channel.busy_until and not reading:
            call.code = BUSY
        return call.code != OK

    def _moves(self, chid: int) -> bool:
        return bool(self.world.site.channels[chid].caps["maxPreset"])

    def _can_use_presets(self, call: ControlCall, asked: Asked, tokens: list[str]) -> bool:
        if self._refused(call, asked):
            return False
        if not self._moves(asked.chid):
            call.code = UNSUPPORTED
        elif not tokens:
            call.code = BAD_PARAMETER
        elif not set(tokens) <= set(self.world.site.channels[asked.chid].presets):
            call.code = BAD_TOKEN
        return call.code == OK

    # Doing

    def _later(self, call: ControlCall, channel: Channel, act: Callable[[], None]) -> None:
        config = self.world.config
        if config.busy_time:
            channel.busy_until = self.world.now() + config.busy_time

        def carry_out() -> None:
            act()
            call.done = self.world.now()

        if config.device_delay:
            self.world.spawn(_after(config.device_delay, carry_out), f"{call.command} {call.channel}")
        else:
            carry_out()

    def _switch(self, outputs: Iterable[Any], on: bool) -> None:
        for output in outputs:
            output.switch(on, self.world.now())

    def _stored(self, channel: Channel, token: str, name: str) -> str:
        """Store a preset and return its token, which the device may choose anew."""
        if not token or (token in channel.presets and self.world.config.reassign_presets):
            taken = [int(digits) for item in channel.presets if (digits := item.removeprefix("preset")).isdigit()]
            fresh = f"preset{max(taken, default=0) + 1}"
            name = name or channel.presets.pop(token, "")
            channel.presets.pop(token, None)
            token = fresh
        channel.presets[token] = name or f"Preset {token}"
        return token

    def _go_down(self, chid: int) -> None:
        self.world.happen(ChannelStatus(topic="channelStatus", channel=chid, code=REBOOTING))
        back = ChannelStatus(topic="channelStatus", channel=chid, code=CONNECTED)
        self.world.spawn(_after(_REBOOT_TIME, lambda: self.world.happen(back)), f"reboot {chid}")


async def _after(delay: timedelta, act: Callable[[], None]) -> None:
    await asyncio.sleep(delay.total_seconds())
    act()


def _move(channel: Channel, verb: str, value: str) -> None:
    if verb in ("home", "stop") or not value:
        channel.ptz.moving.clear()
        channel.ptz.preset = "home" if verb == "home" else channel.ptz.preset
    else:
        channel.ptz.moving[verb] = value
        channel.ptz.preset = None


def _go(channel: Channel, token: str) -> None:
    channel.ptz.preset = token
    channel.ptz.moving.clear()


def _forget(channel: Channel, tokens: list[str]) -> None:
    for token in tokens:
        channel.presets.pop(token, None)


def _are_speeds(value: str, most: int) -> bool:
    """Tell whether a value is up to so many decimals in -1..1; a bare `move` means stop."""
    try:
        speeds = [float(part) for part in value.split(",")] if value else []
    except ValueError:
        return False
    return len(speeds) <= most and all(-1 <= speed <= 1 for speed in speeds)
