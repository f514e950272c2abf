"""Move cameras, switch outputs, restart cameras: one request each, and what the answer means.

The server answers before the device has acted, so success is "accepted", never "done". There is no
pulse and no relative move: timing is the caller's. Nothing is repeated here, except that a token the
device has meanwhile changed is looked up again by its name, and that what only makes things safer or
comes out the same is tried a second time when the device answered with an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from bridge.sdk import (
    ActionError,
    ActionRejectedError,
    ActionUnavailableError,
    ActionUnknownError,
    PtzPreset,
    Relay,
)

from .failures import INVALID_REQUEST, INVALID_TOKEN, DeviceFailedError
from .system import Capability, System, ordered
from .tokens import N, Tokens, presets_in, relays_in
from .values import Dialect
from .wire import Call

_STILL = 0.0005
"""A speed below this is none: it would be written as 0."""
_NONE: Mapping[str, str | None] = MappingProxyType({})


class _Paths(NamedTuple):
    """The requests of one dialect; TS-API guide 0.9.20 and v1 guide 1.1.0, "Device control"."""

    dialect: Dialect

    def ptz(self, channel: str, **motion: str | None) -> Call:
        return self._call(channel, "ptz", motion)

    def presets(self, channel: str) -> Call:
        return self._call(channel, "preset", {"list": None}) if self.dialect == "v0" else self._call(channel, "preset")

    def go(self, channel: str, token: str) -> Call:
        if self.dialect == "v0":
            return self._call(channel, "preset", {"go": token})
        return self._call(channel, f"preset/{quote(token, safe='')}/go")

    def relays(self, channel: str, word: str = "ls") -> Call:
        return self._call(channel, "relay", {word: None}) if self.dialect == "v0" else self._call(channel, "relay")

    def switch(self, channel: str, command: str, token: str, on: bool) -> Call:
        state = "on" if on else "off"
        if self.dialect == "v0":
            return self._call(channel, command, {state: token})
        return self._call(channel, f"{command}/{quote(token, safe='')}", {"state": state}, "PUT")

    def reboot(self, channel: str) -> Call:
        return self._call(channel, "reboot", {}, "GET" if self.dialect == "v0" else "POST")

    def _call(self, channel: str, command: str, params: Mapping[str, str | None] = _NONE, method: str = "GET") -> Call:
        if self.dialect == "v0":
            return Call(f"/api/channel/{command}", {"ch": channel, **params}, method)
        return Call(f"/api/v1/channel/{channel}/{command}", params, method)


class Control(Capability):
    """Device control; ControlsPtz, SwitchesRelays, SwitchesAux and Reboots of the contracts."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._presets: Tokens[PtzPreset] = Tokens("preset")
        self._relays: Tokens[Relay] = Tokens("relay")

    async def ptz_presets(self, channel: str) -> Sequence[PtzPreset]:
        """Return the channel's presets, as the server remembers them. Raises ActionError."""
        answer = await self._listed(channel, lambda paths: paths.presets(channel), camera=True)
        found = presets_in(answer, channel)
        self._presets.keep(channel, found)
        return found

    async def ptz_goto(self, channel: str, preset: str) -> None:
        """Go to a preset, by token or by name. Raises ActionError."""
        await self._named(
            self._presets,
            self.ptz_presets,
            channel,
            preset,
            lambda paths, token: paths.go(channel, token),
            camera=True,
            twice=True,
        )

    async def ptz_move(self, channel: str, pan: float, tilt: float, zoom: float) -> None:
        """Start moving, or stop if all speeds are 0. Raises ActionError.

        Turning and zooming are two requests: if the second fails the camera turns, so that is `unknown`
        whatever the second was answered, and the caller stops it at once.
        """
        if not all(-1 <= speed <= 1 for speed in (pan, tilt, zoom)):
            raise ActionRejectedError(f"speeds are -1 to 1, not {pan:g}, {tilt:g}, {zoom:g}", "invalid_parameters")
        x, y, z = _speed(pan), _speed(tilt if self._system.config.invert_y else -tilt), _speed(zoom)
        if x == y == z == "0":
            await self.ptz_stop(channel)
        if (x, y) != ("0", "0"):
            await self._send(channel, lambda paths: paths.ptz(channel, move=f"{x},{y}"), camera=True)
        if z != "0":
            try:
                await self._send(channel, lambda paths: paths.ptz(channel, zoom=z), camera=True)
            except ActionError as exc:
                if (x, y) == ("0", "0"):
                    raise
                raise ActionUnknownError(f"the camera turns, but does not zoom: {exc}") from exc

    async def ptz_stop(self, channel: str) -> None:
        """Stop moving. Raises ActionError."""
        await self._send(channel, lambda paths: paths.ptz(channel, stop=None), camera=True, twice=True)

    async def relays(self, channel: str) -> Sequence[Relay]:
        """Return the channel's outputs. Raises ActionError."""
        try:
            answer = await self._listed(channel, lambda paths: paths.relays(channel))
        except ActionRejectedError as exc:
            if exc.reason not in (INVALID_REQUEST, "invalid"):
                raise
            # The migration guide writes `list` where the guide has `ls`.
            answer = await self._listed(channel, lambda paths: paths.relays(channel, "list"))
        found = relays_in(answer, channel)
        self._relays.keep(channel, found)
        return found

    async def switch_relay(self, channel: str, relay: str, on: bool) -> None:
        """Switch one output, by token or by name. Raises ActionError."""
        await self._named(
            self._relays,
            self.relays,
            channel,
            relay,
            lambda paths, token: paths.switch(channel, "relay", token, on),
            camera=False,
            twice=not on,
        )

    async def switch_aux(self, channel: str, aux: int, on: bool) -> None:
        """Switch auxiliary number `aux`, counted from 0 as the server does. Raises ActionError."""
        await self._send(channel, lambda paths: paths.switch(channel, "aux", str(aux), on), twice=not on)

    async def reboot(self, channel: str) -> None:
        """Restart the channel's camera; it is away for about a minute. Raises ActionError."""
        await self._send(channel, lambda paths: paths.reboot(channel))

    def forget_channels(self) -> None:
        """Forget what is remembered by channel number: the numbers mean other cameras now."""
        self._presets.forget()
        self._relays.forget()

    async def _named(
        self,
        tokens: Tokens[N],
        fetch: Callable[[str], Awaitable[Sequence[N]]],
        channel: str,
        wanted: str,
        call: Callable[[_Paths, str], Call],
        *,
        camera: bool,
        twice: bool,
    ) -> None:
        token = tokens.find(channel, wanted)
        remembered = token is not None
        if token is None:
            token = await self._look_up(tokens, fetch, channel, wanted)
        try:
            await self._send(channel, lambda paths: call(paths, token), camera=camera, twice=twice)
        except ActionRejectedError as exc:
            if exc.reason != INVALID_TOKEN or not remembered:
                raise
            # Devices give a preset another token when it is set again. Nothing was done, so ask anew.
            tokens.forget(channel)
            again = await self._look_up(tokens, fetch, channel, wanted)
            if again == token:
                raise
            await self._send(channel, lambda paths: call(paths, again), camera=camera, twice=twice)

    async def _look_up(
        self, tokens: Tokens[N], fetch: Callable[[str], Awaitable[Sequence[N]]], channel: str, wanted: str
    ) -> str:
        await fetch(channel)
        token = tokens.find(channel, wanted)
        if token is None:
            raise tokens.unknown(channel, wanted)
        return token

    async def _listed(self, channel: str, call: Callable[[_Paths], Call], *, camera: bool = False) -> Any:
        """Ask for a list. That switches nothing, so nothing is in doubt if no answer comes."""
        try:
            return await self._send(channel, call, camera=camera)
        except ActionUnknownError as exc:
            raise ActionUnavailableError(str(exc)) from exc

    async def _send(
        self, channel: str, call: Callable[[_Paths], Call], *, camera: bool = False, twice: bool = False
    ) -> Any:
        """Send one command. `twice`: once more if the device answered with an error, -9."""
        if not channel.isascii() or not channel.isdigit():
            raise ActionRejectedError(f"{channel!r} is not a channel number", "invalid_channel")
        async with ordered():
            api = await self._system.api()
        request = call(_Paths(api.found.dialect))
        try:
            return await api.rest.command(request, camera=camera)
        except ActionRejectedError as exc:
            if exc.reason == "missing":
                self._system.forget()
            raise
        except DeviceFailedError:
            if not twice:
                raise
        return await api.rest.command(request, camera=camera)


def _speed(value: float) -> str:
    return "0" if abs(value) < _STILL else f"{value:.3f}".rstrip("0").rstrip(".")
