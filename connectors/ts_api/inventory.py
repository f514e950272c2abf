"""Describe a server: its channels, what their cameras can do, the topics it offers, how far its clock is off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from bridge.sdk import ActionError, ChannelInfo, PtzPreset, Relay, SystemInfo

from . import discover
from .discover import Camera
from .system import System

_AT_ONCE = 4
"""Cameras asked at the same time: each answer may wait for a device."""

T = TypeVar("T")


class Asks(Protocol):
    """Whoever can ask a camera for its presets and outputs."""

    async def ptz_presets(self, channel: str) -> Sequence[PtzPreset]:
        """Return the channel's presets."""
        ...

    async def relays(self, channel: str) -> Sequence[Relay]:
        """Return the channel's outputs."""
        ...


async def describe(system: System, control: Asks) -> SystemInfo:
    """Ask the server and its cameras. A camera that does not answer has no presets here. Raises ConnectorError."""
    api = await system.find()
    found = api.found
    topics = await discover.topics(system.config, api.rest, found)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def full(camera: Camera) -> ChannelInfo:
        async with turns:
            presets = await _or_none(control.ptz_presets, camera) if camera.info.ptz and camera.presets != 0 else ()
            relays = await _or_none(control.relays, camera) if camera.outputs else ()
        return replace(camera.info, presets=tuple(presets), relays=tuple(relays))

    cameras = await discover.cameras(api.rest, found)
    wanted = {str(channel) for channel in system.config.channels}
    chosen = [camera for camera in cameras if not wanted or camera.info.channel in wanted]
    return SystemInfo(
        product=found.product,
        version=f"{found.product_version}, {found.version}" if found.product_version else found.version,
        dialect=found.dialect,
        name=found.name,
        zone=found.zone_name,
        channels=await asyncio.gather(*map(full, chosen)),
        topics=topics.sure,
        clock_offset=found.clock_offset,
    )


async def _or_none(ask: Callable[[str], Awaitable[Sequence[T]]], camera: Camera) -> Sequence[T]:
    try:
        return await ask(camera.info.channel)
    except ActionError:
        return ()
