"""What the simulated server is: product, level, licence, users, channels and devices.

The defaults make a small car park that exercises all topics; a test or a user changes only what matters.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from .levels import Feature, Level, Product
from .recorder import MAX_CHANNELS
from .times import Duration, find_zone

Right = Literal["DataExport", "Control", "Settings", "Playback", "LPR", "Remote"]
Permission = Literal["remote", "playback", "control", "dataExport", "settings", "*"]

ALL_RIGHTS: tuple[Right, ...] = ("DataExport", "Control", "Settings", "Playback", "LPR", "Remote")
DEMO_KEY = "tsapi_key_demo_0123456789abcdef"


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UserConfig(_Node):
    """A user of the server."""

    name: str = Field(description="User id.")
    password: SecretStr = Field(description="May contain colons.")
    admin: bool = Field(False, description="May restart the server and manage API keys.")
    rights: tuple[Right, ...] = Field(ALL_RIGHTS, description="What the user may do.")


class ApiKeyConfig(_Node):
    """A v1 API key that exists from the start."""

    id: str = Field(description="Name in `/api/v1/auth/apikey/{id}`.")
    key: SecretStr = Field(description="What clients send.")
    name: str = Field("Simulator", description="Shown in the list.")
    permissions: tuple[Permission, ...] = Field(
        ("remote", "playback", "control", "dataExport"), description="What the key may do."
    )
    channels: tuple[int, ...] = Field((), description="Only these channels; empty means all.")


class NamedToken(_Node):
    """A relay or a preset of a camera."""

    token: str = Field(description="The device's own name for it.")
    name: str = Field(description="What people call it.")


class ChannelConfig(_Node):
    """A camera."""

    chid: int = Field(ge=1, lt=MAX_CHANNELS, description="Channel number.")
    title: str = Field("", description="Name; may be empty.")
    presets: tuple[NamedToken, ...] = Field((), description="PTZ presets; a camera with any can be moved.")
    relays: tuple[NamedToken, ...] = Field((), description="Relay outputs.")
    aux: int = Field(0, ge=0, description="Auxiliary outputs, numbered from 0.")
    onvif: bool = Field(True, description="Without ONVIF the camera cannot be controlled at all.")


class PlateSourceConfig(_Node):
    """A plate recognition device or zone."""

    id: int = Field(description="What `src=` of the plate search takes.")
    code: str = Field(description="What events carry.")
    name: str = Field(description="Shown name.")
    channel: int | None = Field(None, description="The camera of a zone; an outside device has none.")
    linked: tuple[int, ...] = Field((), description="Linked channels.")
    entrance: int | None = Field(None, description="Lot that a car enters here.")
    exit: int | None = Field(None, description="Lot that a car leaves here.")


class CallStationConfig(_Node):
    """An emergency call button."""

    id: int = Field(description="Number of the station.")
    code: str = Field(description="Location code: `caller` of its events.")
    name: str = Field(description="Location name.")
    linked: tuple[int, ...] = Field((), description="Channels shown during a call.")
    device: str = Field("Sammul/Vizufon", description="`vendor/model`.")


class LotConfig(_Node):
    """A parking counter, or a group of counters when it has members."""

    id: int = Field(description="Lot number.")
    name: str = Field(description="Shown name.")
    capacity: int = Field(ge=0, description="Places.")
    count: int = Field(0, ge=0, description="Cars at the start; a group counts its members.")
    members: tuple[int, ...] = Field((), description="Lots that make up a group.")


class SpotConfig(_Node):
    """A zone of the parking guide."""

    id: int = Field(description="Zone number.")
    chid: int = Field(description="Its camera.")
    name: str = Field(description="Shown name.")
    type: Literal["spot", "entrance", "exit", "noParking", "recognition"] = Field("spot", description="Kind.")
    category: Literal["normal", "disabled", "compact", "eco_friendly", "ev_charging", "women_family"] | None = Field(
        "normal", description="For spots only."
    )
    lot: int | None = Field(None, description="Lot that the spot belongs to.")


def _tokens(names: dict[str, str]) -> tuple[NamedToken, ...]:
    return tuple(NamedToken(token=token, name=name) for token, name in names.items())


_GATE_RELAYS = _tokens({"relay-1": "Gate", "relay-2": "Siren"})
_PRESETS = _tokens({"1": "Overview", "2": "Gate", "3": "Call station"})
_CHANNELS = (
    ChannelConfig(chid=1, title="Entrance gate", presets=_PRESETS, relays=_GATE_RELAYS, aux=2),
    ChannelConfig(chid=2, title="B1 stairs", presets=_PRESETS),
    ChannelConfig(chid=3, title="Yard"),
    ChannelConfig(chid=4),
)


class SimulatorConfig(_Node):
    """A whole simulated TS-API server."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="TCP port; 0 picks a free one.")
    api_version: str = Field("1.1.0", description="API level, 0.1.0 to 1.1.0; below 1.0.0 there is no v1.")
    product: Product = Field(Product.LPR, description="TS-CMS, TS-NVR or TS-LPR.")
    legacy_off: bool = Field(False, description="v0 switched off by the administrator.")
    unlicensed: frozenset[Feature] = Field(
        frozenset({"face", "tracking"}), description="What the licence lacks: v1 answers 404 to it."
    )
    site_name: str = Field("My home server", description="Name of the site.")
    zone: str = Field("America/New_York", description="Time zone of the server.")
    lang: str = Field("en-US", description="Language of messages when a call names none.")
    variant: Literal["en", "ko"] = Field("en", description="Which guide's form ambiguous messages take.")

    quirks: bool = Field(
        True, description="The vendor's inconsistencies: untagged topics, missing times, encoded texts."
    )

    users: tuple[UserConfig, ...] = Field(
        (
            UserConfig(name="admin", password=SecretStr("admin"), admin=True),
            UserConfig(
                name="demo",
                password=SecretStr("!1234qwer"),
                rights=("DataExport", "Control", "Playback", "LPR", "Remote"),
            ),
            UserConfig(name="viewer", password=SecretStr("viewer"), rights=("Remote",)),
        ),
        description="Users; the passwords are public, like everything here.",
    )
    api_keys: tuple[ApiKeyConfig, ...] = Field(
        (ApiKeyConfig(id="key_demo", key=SecretStr(DEMO_KEY)),), description="API keys."
    )
    cookie: str = Field("TSSESSION", description="Session cookie; its real name is not documented.")
    token_lifetime: Duration = Field(timedelta(hours=1), description="Of v1 access tokens.")
    refresh_lifetime: Duration = Field(timedelta(days=7), description="Of v1 refresh tokens.")
    refusal: Literal["drop", "401", "close"] = Field(
        "drop",
        description="How a v0 socket refuses: TCP closed without an answer, HTTP 401, or upgrade then close.",
    )
    v1_socket_codes: Literal["v0", "v1"] = Field(
        "v0", description="Status codes on v1 sockets; the documents do not say which set."
    )
    v1_lists_hls: bool = Field(
        True, description="List HLS on v1 too, which the vendor does not: it is what the simulator plays."
    )
    require_x_host: bool = Field(True, description="v1 vod and recording days want the X-Host header.")
    ping_interval: Duration = Field(timedelta(seconds=30), description="Of event sockets.")
    motion_tick: Duration = Field(
        timedelta(seconds=1),
        description="Motion is compared this often, so shorter pulses vanish; 0: at once.",
    )

    channels: tuple[ChannelConfig, ...] = Field(_CHANNELS, description="Cameras.")
    plate_sources: tuple[PlateSourceConfig, ...] = Field(
        (
            PlateSourceConfig(id=1, code="F00001", name="F00001", linked=(1, 2)),
            PlateSourceConfig(id=2, code="1-1-1", name="B1 Parking Lot", channel=1, linked=(2,), entrance=1, exit=2),
        ),
        description="Plate recognition.",
    )
    call_stations: tuple[CallStationConfig, ...] = Field(
        (CallStationConfig(id=1, code="0000001", name="B1 stairs", linked=(1, 2)),),
        description="Emergency calls.",
    )
    lots: tuple[LotConfig, ...] = Field(
        (
            LotConfig(id=1, name="B1 Parking Lot", capacity=50, count=3),
            LotConfig(id=2, name="B2 Parking Lot", capacity=40, count=25),
            LotConfig(id=3, name="Basement Parking Lot", capacity=90, members=(1, 2)),
        ),
        description="Parking counters.",
    )
    spots: tuple[SpotConfig, ...] = Field(
        (
            SpotConfig(id=101, chid=3, name="A-001", lot=1),
            SpotConfig(id=102, chid=3, name="A-002", category="ev_charging", lot=1),
            SpotConfig(id=200, chid=1, name="Main Gate", type="entrance", category=None),
        ),
        description="Parking guide zones.",
    )

    device_delay: Duration = Field(timedelta(0), description="From accepting a command to doing it.")
    busy_time: Duration = Field(timedelta(0), description="A camera answers -4 this long after a command.")
    reassign_presets: bool = Field(True, description="Setting a preset moves it to a new token.")

    footage: tuple[Path, ...] = Field((), description="Real videos to play; none: the drawn clock.")
    cache_dir: Path | None = Field(None, description="Where made video is kept; none: a temporary folder.")
    piece: Duration = Field(timedelta(seconds=10), description="Length of recorded pieces.")
    segment: Duration = Field(timedelta(seconds=2), description="Length of live segments.")
    recorded_days: float = Field(7, gt=0, description="How far back recordings exist at the start.")
    backup_delay: Duration = Field(
        timedelta(minutes=2), description="From event + postAlarm until the files of an event backup appear."
    )
    backup_scale: float = Field(
        1, ge=0, description="Factor on the whole wait for event backups; 0 makes them appear at once."
    )
    scenario: Path | None = Field(None, description="Scenario to play once the server is up.")

    @field_validator("api_version")
    @classmethod
    def _level_is_known(cls, value: str) -> str:
        return str(Level.parse(value))

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        find_zone(value)
        return value

    @model_validator(mode="after")
    def _numbers_are_unique(self) -> SimulatorConfig:
        for what, numbers in (
            ("channels", [channel.chid for channel in self.channels]),
            ("lots", [lot.id for lot in self.lots]),
            ("spots", [spot.id for spot in self.spots]),
        ):
            if len(set(numbers)) != len(numbers):
                raise ValueError(f"{what}: a number appears twice")
        return self
