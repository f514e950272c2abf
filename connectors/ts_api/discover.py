"""Find out what a server is: which dialect and level, where it stands in time, what it offers.

Asks and reads tolerantly; decides nothing about events. Paths and defaults are the tables at the top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal

from bridge.sdk import ChannelInfo, Clock, ConnectorUnavailableError, ConnectorUnsupportedError

from .config import TsApiConfig
from .failures import Failure, Kind
from .rest import Rest
from .times import zone_of
from .topics import TOPICS, Level, offered_since
from .values import Dialect, channel_of, channels, code, decoded, flag, integer, items, members, text
from .wire import Answer, Call, Wire

_INFO: Mapping[Dialect, str] = {"v0": "/api/info", "v1": "/api/v1/info"}
_FACTS = ("apiVersion", "siteName", "timezone", "product")
_OFFERED: Mapping[Dialect, Call] = {
    "v0": Call("/api/enum", {"what": "realtimeEvent"}),
    "v1": Call("/api/v1/event/realtime"),
}
_CHANNELS: Mapping[Dialect, Call] = {
    "v0": Call("/api/enum", {"what": "channel", "caps": None}),
    "v1": Call("/api/v1/channel", {"caps": None}),
}
_LISTS: Mapping[tuple[Dialect, str], Call] = {
    ("v0", "plates"): Call("/api/enum", {"what": "lprSrc"}),
    ("v1", "plates"): Call("/api/v1/lpr/source"),
    ("v0", "calls"): Call("/api/enum", {"what": "emergencyCall"}),
    ("v1", "calls"): Call("/api/v1/emergency"),
}
_VERSION = re.compile(r"(?:^|@)(\d+)\.(\d+)(?:\.(\d+))?")
_ABSENT = frozenset({Kind.MISSING, Kind.INVALID, Kind.NONSENSE, Kind.UNAUTHORIZED, Kind.FORBIDDEN})
"""What a server without a dialect may answer on its paths: 404, or its login page."""


@dataclass(frozen=True, slots=True)
class Basics:
    """What a server says about itself without credentials."""

    dialect: Dialect
    version: str
    level: Level
    product: str
    product_version: str
    name: str
    zone: tzinfo
    zone_name: str
    clock_offset: timedelta | None
    """Server's clock less ours; None if it sends no date. Good to about a second."""

    def has(self, *level: int) -> bool:
        """Tell whether the server has what came with a level."""
        return self.level >= level


@dataclass(frozen=True, slots=True)
class Camera:
    """A channel, and how many presets and outputs there may be; None where the server does not say."""

    info: ChannelInfo
    presets: int | None
    outputs: int | None


@dataclass(frozen=True, slots=True)
class Device:
    """A plate reader or a call button: its code is what events carry."""

    code: str
    name: str
    channels: tuple[str, ...]


# --- the server itself ---------------------------------------------------------------------------------


async def basics(config: TsApiConfig, wire: Wire, clock: Clock) -> Basics:
    """Probe the dialects and read what needs no credentials. Raises ConnectorError."""
    failures: list[Failure] = []
    for dialect in _to_try(config):
        asked = clock.now()
        answer = await wire.send(Call(_INFO[dialect], dict.fromkeys(_FACTS)))
        if isinstance(answer, Answer) and _version(answer.data):
            return _basics(config, dialect, answer, asked, clock.now())
        failure = answer if isinstance(answer, Failure) else _no_version(dialect)
        if failure.kind not in _ABSENT:
            raise failure.of_source()
        failures.append(failure)
    raise _neither(failures)


def _to_try(config: TsApiConfig) -> Sequence[Dialect]:
    """Return the dialects in order: v1 first where an API key is configured, v0 first otherwise."""
    if config.dialect != "auto":
        return (config.dialect,)
    by_key = config.api_key is not None and config.credentials != "login"
    if config.username is None:
        return ("v1",)
    return ("v1", "v0") if by_key or config.credentials == "login" else ("v0", "v1")


def _no_version(dialect: Dialect) -> Failure:
    return Failure(Kind.NONSENSE, f"GET {_INFO[dialect]}: the answer names no apiVersion")


def _neither(failures: Sequence[Failure]) -> ConnectorUnavailableError | ConnectorUnsupportedError:
    message = "; ".join(failure.message for failure in failures)
    if all(failure.kind is Kind.MISSING for failure in failures):
        return ConnectorUnsupportedError(f"the server does not offer the API: {message}")
    return ConnectorUnavailableError(f"no TS-API server answers: {message}")


def _basics(config: TsApiConfig, dialect: Dialect, answer: Answer, asked: datetime, heard: datetime) -> Basics:
    data, version = answer.data, _version(answer.data)
    product, zone = members(data.get("product")), members(data.get("timezone"))
    name = config.zone or text(zone.get("name"))
    return Basics(
        dialect=dialect,
        version=version,
        level=level_of(version),
        product=text(product.get("name")) or "TS-API server",
        product_version=text(product.get("version")) or "",
        name=text(decoded("info", "siteName", data.get("siteName"), dialect)) or "",
        zone=zone_of(name, None if config.zone else text(zone.get("bias"))),
        zone_name=name or text(zone.get("bias")) or "UTC",
        clock_offset=_ahead(answer.date, asked, heard),
    )


async def clock_offset(dialect: Dialect, wire: Wire, clock: Clock) -> timedelta | None:
    """Return how far the server's clock is ahead of ours now; None if it sends no date. Raises ConnectorError."""
    asked = clock.now()
    answer = await wire.send(Call(_INFO[dialect], {"apiVersion": None}))
    if isinstance(answer, Failure):
        raise answer.of_source()
    return _ahead(answer.date, asked, clock.now())


def _ahead(date: datetime | None, asked: datetime, heard: datetime) -> timedelta | None:
    # The date has whole seconds, so on average the server's clock is half a second further.
    return None if date is None else date + timedelta(seconds=0.5) - (asked + (heard - asked) / 2)


def _version(data: Any) -> str:
    return text(members(data).get("apiVersion")) or ""


def level_of(version: str) -> Level:
    """Read `TS-API@0.9.20` or `ts-rest-api@0.1.0`; compared as numbers, 0.9.4 is before 0.9.20."""
    match = _VERSION.search(version)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


# --- what it offers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topics:
    """Which topics to ask for: those that must work, and those the server may have without saying so."""

    sure: tuple[str, ...]
    maybe: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Wished for by the user, and not among what the server lists."""


async def topics(config: TsApiConfig, rest: Rest, found: Basics) -> Topics:
    """Return what to subscribe to. Raises ConnectorError."""
    answer = await rest.exchange(_OFFERED[found.dialect])
    if isinstance(answer, Failure):
        if answer.kind not in (Kind.MISSING, Kind.INVALID):
            raise answer.of_source()
        offered = offered_since(found.level, found.dialect)
    else:
        offered = [topic for topic in items(answer.data) if isinstance(topic, str)]
    if config.topics is None:
        return Topics(tuple(offered), tuple(_unlisted(found, offered)))
    wanted = tuple(dict.fromkeys(config.topics))
    missing = tuple(topic for topic in wanted if topic not in offered)
    return Topics(tuple(topic for topic in wanted if topic in offered), missing, missing)


def _unlisted(found: Basics, offered: Sequence[str]) -> list[str]:
    """Return topics that a v0 server may have and not list; v1 lists what it has."""
    if found.dialect != "v0":
        return []
    rows = [row for row in TOPICS.values() if "v0" in row.dialects and not row.listed and row.since <= found.level]
    return [row.name for row in rows if row.name not in offered]


async def cameras(rest: Rest, found: Basics) -> list[Camera]:
    """Return the server's channels and what their cameras can do. Raises ConnectorError."""
    data = await rest.query(_CHANNELS[found.dialect])
    return [camera for row in items(data) if (camera := _camera(row)) is not None]


async def devices(rest: Rest, found: Basics, what: Literal["plates", "calls"]) -> list[Device]:
    """Return plate readers or call buttons; none where the licence has none. Raises ConnectorError."""
    answer = await rest.exchange(_LISTS[found.dialect, what])
    if isinstance(answer, Failure):
        if answer.kind in (Kind.MISSING, Kind.INVALID):
            return []
        raise answer.of_source()
    rows = [members(row) for row in items(answer.data)]
    return [
        Device(name, text(row.get("name")) or name, channels(row.get("linkedChannel")))
        for row in rows
        if (name := code(row.get("code"))) is not None
    ]


def _camera(row: Any) -> Camera | None:
    chid = channel_of(members(row))
    if chid is None:
        return None
    caps = members(row.get("caps"))
    info = ChannelInfo(
        channel=chid,
        name=text(row.get("title")) or text(row.get("displayName")) or f"CH{chid}",
        ptz=bool(caps.get("pantilt") or caps.get("zoom")) if {"pantilt", "zoom"} & caps.keys() else None,
        aux=integer(caps.get("aux")),
        reboot=flag(caps.get("reboot")),
    )
    return Camera(info, integer(caps.get("maxPreset")), integer(caps.get("relayOutputs")))
