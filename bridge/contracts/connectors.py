"""What a connector is given, what it can do, and how the registry knows it.

A system implements the capabilities that it has and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import httpx
from pydantic import BaseModel, ConfigDict, JsonValue

from bridge.clock import Clock
from bridge.schema.event import VmsEvent


class Emit(Protocol):
    """Hand events to the durable log, in order.

    Returns as soon as there is room (that is the back-pressure); the future it returns is done
    when every one of them is stored and synced. `StoreUnavailableError`, raised at once if none of them is
    taken, else by the future, says that they could not be: nothing was promised then, and whoever can must
    send again.
    """

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        """Take the events over; see the class."""
        ...


class Session(Protocol):
    """What a connector is given for one session with its system."""

    @property
    def emit(self) -> Emit:
        """Hand over events; what was heard also keeps the link alive."""
        ...

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    def ready(self, *, topics: Iterable[str] = (), dialect: str | None = None, version: str | None = None) -> None:
        """Say that events are arriving now; ends the outage and the back-off. May be called again."""
        ...

    def heard(self) -> None:
        """Say that the link is alive although no event came: a ping, an ignored message."""
        ...

    def degraded(self, code: str, message: str) -> None:
        """Show a lasting flaw in health without ending the session: a topic refused, TLS not verified."""
        ...

    def missed(self, since: datetime, until: datetime, cause: str) -> None:
        """Say that not all of what was heard in a span (by `received`) is written down, or will be.

        It is a gap then, like one in which nothing was heard: fetched from the source's own log if it keeps one
        (`Backfills`), and told by a `source.gap` of that cause.
        """
        ...

    async def park(self, message: str | bytes, reason: str, error: str) -> None:
        """Put one message that could not be understood among the dead letters. Returns when it is stored."""
        ...


@runtime_checkable
class Listens(Protocol):
    """Delivers events."""

    async def run(self, session: Session) -> None:
        """Be one session: connect, say `ready`, emit until the link ends. Reconnecting is not ours.

        Raises ConnectorUnavailableError, ConnectorAuthError or ConnectorUnsupportedError.
        """
        ...


class TwinKeys(NamedTuple):
    """How one happening is recognised when it comes by two ways. Keys are texts that only their connector understands.

    Two events of different ways (`via`) are one happening if one seeks a key by which the other is
    known. Tolerances are spelled out as neighbouring keys, so whoever compares knows no vendor.
    """

    known_by: Sequence[str] = ()
    """What later events may find this one by."""
    seeks: Sequence[str] = ()
    """By what this one may find an earlier one."""


TwinReader = Callable[[VmsEvent], TwinKeys]
"""Returns the keys of an event as it stands; pure and quick, for it sees every event of its kind."""


@dataclass(frozen=True, slots=True)
class Missed:
    """What a system's own log says about a span of time: one page of it.

    `twins` gives the keys of events, by id; an event without any is known by its id alone.
    """

    events: Sequence[VmsEvent]
    twins: Mapping[str, TwinKeys] = field(default_factory=dict)
    log: str = ""
    """Which of the system's logs says so, as a short word: `plates`."""
    unfetchable: Sequence[str] = ()
    """Topics that no log keeps, or whose log cannot be read."""
    begins: datetime | None = None
    """The log's oldest row, where it is younger than the span: what was before it is gone."""
    refused: int = 0
    """Rows that could not be understood."""


@runtime_checkable
class Backfills(Protocol):
    """Can tell afterwards what happened while nobody listened."""

    def missed(self, since: datetime, until: datetime) -> AsyncIterator[Missed]:
        """Yield what happened in the span, page by page, each log oldest first.

        More than that may be yielded: rows that touch the span, and the same row again. What ends
        after `until` is left out, because it was heard live. Raises ConnectorError, then ask again.
        """
        ...


@dataclass(frozen=True, slots=True)
class PtzPreset:
    """A remembered camera position."""

    token: str
    name: str


@dataclass(frozen=True, slots=True)
class Relay:
    """A switched output of a device."""

    token: str
    name: str


@runtime_checkable
class ControlsPtz(Protocol):
    """Turns cameras. Speeds are -1 to 1: pan + right, tilt + up, zoom + in; motion lasts until `ptz_stop`.

    All methods raise ActionUnavailableError (worth another try), ActionRejectedError (would be refused
    again) or ActionUnknownError (sent, no answer).
    """

    async def ptz_presets(self, channel: str) -> Sequence[PtzPreset]:
        """Return the channel's presets."""
        ...

    async def ptz_goto(self, channel: str, preset: str) -> None:
        """Go to a preset, by token or by name."""
        ...

    async def ptz_move(self, channel: str, pan: float, tilt: float, zoom: float) -> None:
        """Start moving."""
        ...

    async def ptz_stop(self, channel: str) -> None:
        """Stop moving."""
        ...


@runtime_checkable
class SwitchesRelays(Protocol):
    """Switches outputs. Errors as ControlsPtz."""

    async def relays(self, channel: str) -> Sequence[Relay]:
        """Return the channel's outputs."""
        ...

    async def switch_relay(self, channel: str, relay: str, on: bool) -> None:
        """Switch one output, by token or by name. Raises as ControlsPtz."""
        ...


@runtime_checkable
class SwitchesAux(Protocol):
    """Switches auxiliary functions of a camera: wiper, light, heater. Errors as ControlsPtz."""

    async def switch_aux(self, channel: str, aux: int, on: bool) -> None:
        """Switch auxiliary number `aux`, counted from 0."""
        ...


@runtime_checkable
class Reboots(Protocol):
    """Restarts cameras. Errors as ControlsPtz."""

    async def reboot(self, channel: str) -> None:
        """Restart the channel's camera."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """One recorded file: where it is, what span of time it covers, and how to ask for it."""

    url: str
    begin: datetime
    end: datetime
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LiveStream:
    """A live address and how to ask for it."""

    url: str = field(repr=False)
    protocol: str
    profile: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@runtime_checkable
class HasRecordings(Protocol):
    """Keeps recordings that can be fetched."""

    async def recordings(self, channel: str, since: datetime, until: datetime) -> Sequence[Piece]:
        """Return the recorded pieces that touch the span, oldest first; empty if there are none (yet)."""
        ...

    def http_client(self) -> httpx.AsyncClient:
        """Return the client that may fetch its pieces: right trust, right limits. The connector closes it."""
        ...


@runtime_checkable
class HasLiveStreams(Protocol):
    """Offers live pictures."""

    async def live_streams(self, channel: str) -> Sequence[LiveStream]:
        """Return the live addresses of a channel, best first."""
        ...


@dataclass(frozen=True, slots=True)
class BackupReceipt:
    """What a system promised to keep of an event."""

    event_id: str
    paths: Sequence[str]
    ready_at: datetime


@runtime_checkable
class BacksUpEvents(Protocol):
    """Keeps the footage of an event on its own side. Not repeatable: each call makes another backup."""

    async def back_up(
        self,
        channel: str,
        at: datetime,
        before: timedelta,
        after: timedelta,
        *,
        channels: Sequence[str],
        title: str,
        comment: JsonValue,
        preset: str | None,
    ) -> BackupReceipt:
        """Ask for it. Errors as ControlsPtz."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A channel and what its camera can do; None where the system does not say."""

    channel: str
    name: str
    ptz: bool | None = None
    presets: Sequence[PtzPreset] = ()
    relays: Sequence[Relay] = ()
    aux: int | None = None
    reboot: bool | None = None


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What a system is and has."""

    product: str
    version: str
    dialect: str
    name: str
    zone: str
    channels: Sequence[ChannelInfo]
    topics: Sequence[str] = ()
    clock_offset: timedelta | None = None


@runtime_checkable
class Describes(Protocol):
    """Can say what it has."""

    async def describe(self) -> SystemInfo:
        """Ask the system. Raises ConnectorError."""
        ...


@runtime_checkable
class TellsClock(Protocol):
    """Can be asked what its clock shows. It is, every minute: without it no event of the source opens a door."""

    async def clock_offset(self) -> timedelta | None:
        """Return how far the clock that its events are stamped by is ahead of ours, or None if it does not say.

        One light request, not what was known from before. Raises ConnectorError.
        """
        ...


@dataclass(frozen=True, slots=True)
class PushItem:
    """One item of a pushed body: an event, or why it is none (a reason code and words)."""

    event: VmsEvent | None
    raw: str
    reason: str | None = None
    error: str | None = None


PushDecoder = Callable[..., Sequence[PushItem]]
"""`decode(body: bytes, *, site, source, principal, received, zone) -> items`; pure.

Raises PayloadError when the body as a whole cannot be read. `zone` is a tzinfo for times without offset.
"""


@dataclass(frozen=True, slots=True)
class PushFormat:
    """A vendor's way of pushing to us: where, and how to read it."""

    paths: Sequence[str]
    decode: PushDecoder


class ConnectorConfig(BaseModel):
    """What a user writes under `sources.<name>`; every field described, secrets as SecretStr."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str

    def only_channels(self) -> frozenset[str] | None:
        """Return the channels that it takes events of, whatever the system has; None: all."""
        return None


C = TypeVar("C", bound=ConnectorConfig)


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a connector is built with besides its configuration."""

    site: str
    name: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class ConnectorSpec(Generic[C]):
    """A connector as the registry knows it.

    `build` only stores its arguments; the object it returns implements the capabilities it can and
    `async def aclose()`.
    """

    name: str
    summary: str
    config: type[C]
    build: Callable[[C, SourceContext], Connector]
    push: PushFormat | None = None
    simulator: str | None = None
    """`module:attribute` of the Typer app behind `vms-bridge simulate <name>`."""
    twins: Mapping[str, TwinReader] = field(default_factory=dict)
    """By kind, how events that may come by more than one way are recognised."""


class Connector(Protocol):
    """Any connector: it can be closed. All else is capability."""

    async def aclose(self) -> None:
        """Let go of connections. Idempotent."""
        ...
