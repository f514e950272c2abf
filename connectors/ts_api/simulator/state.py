"""The changing half of the simulated site: cameras, devices, lots, spots. Plain values, changed by
`world`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .config import ChannelConfig, LotConfig, SimulatorConfig, SpotConfig

# Channel status codes of v0 (TS-API guide 0.9.20, channelStatus), English and Korean.
STATUS_NAMES: dict[int, tuple[str, str]] = {
    -5: ("Rebooting", "재부팅 중"),
    -4: ("Reconnecting", "재연결 중"),
    -3: ("Connecting", "연결 중"),
    -2: ("Loading", "불러오는 중"),
    -1: ("Not used", "사용 안 함"),
    0: ("No response", "응답 없음"),
    1: ("Used", "사용"),
    2: ("Video available", "영상 있음"),
    200: ("Connected", "연결됨"),
    401: ("Camera login failed", "카메라 로그인 실패"),
    403: ("Camera blocked", "카메라 차단"),
    404: ("No network connection", "네트워크 연결 없음"),
    408: ("Camera timeout", "카메라 응답 시간 초과"),
    410: ("No video input", "영상 입력 없음"),
    503: ("Camera service failure", "카메라 서비스 오류"),
    1000: ("Playback complete", "재생 완료"),
    1404: ("File not found", "파일 없음"),
}
CONNECTED = 200

# The four codes of the v1 guide; the same numbers mean other things in v0.
_V1_STATUS = {
    0: ("Connected", "연결됨"),
    -1: ("Disconnected", "연결 끊김"),
    -2: ("Connecting", "연결 중"),
    -3: ("Authentication failed", "인증 실패"),
}
_TO_V1 = {CONNECTED: 0, 2: 0, -3: -2, -4: -2, -5: -2, -2: -2, 401: -3}


def status_of(code: int, *, v1: bool, korean: bool) -> tuple[int, str]:
    """Return the code in a dialect and its name in a language."""
    if v1:
        code = _TO_V1.get(code, -1)
    names = (_V1_STATUS if v1 else STATUS_NAMES).get(code, (f"Status {code}", f"상태 {code}"))
    return code, names[korean]


@dataclass
class Relay:
    """A relay output. `history` holds every change as (when, on)."""

    token: str
    name: str
    on: bool = False
    history: list[tuple[datetime, bool]] = field(default_factory=list)

    def switch(self, on: bool, now: datetime) -> None:
        """Put the contact where it should be; a repeat of the same state is no change."""
        if on != self.on:
            self.on = on
            self.history.append((now, on))


@dataclass
class Ptz:
    """Where a camera looks: the preset it went to last, or how it moves now."""

    preset: str | None = None
    moving: dict[str, str] = field(default_factory=dict)


@dataclass
class Channel:
    """A camera and the devices on it."""

    config: ChannelConfig
    chid: int
    title: str
    code: int = CONNECTED
    motion: bool = False
    streaming: bool = True
    recording: bool = True
    failed_at: datetime | None = None
    presets: dict[str, str] = field(default_factory=dict)
    relays: dict[str, Relay] = field(default_factory=dict)
    aux: dict[int, Relay] = field(default_factory=dict)
    ptz: Ptz = field(default_factory=Ptz)
    busy_until: datetime | None = None

    @classmethod
    def of(cls, config: ChannelConfig) -> Channel:
        """Return a camera as configured, connected and at rest."""
        return cls(
            config=config,
            chid=config.chid,
            title=config.title,
            presets={preset.token: preset.name for preset in config.presets},
            relays={relay.token: Relay(relay.token, relay.name) for relay in config.relays},
            aux={number: Relay(str(number), f"AUX {number + 1}") for number in range(config.aux)},
        )

    @property
    def display_name(self) -> str:
        """`CH1. Front door`, or `CH2` for a camera without a title."""
        return f"CH{self.chid}. {self.title}" if self.title else f"CH{self.chid}"

    @property
    def connected(self) -> bool:
        """Whether video comes in; streams exist only then."""
        return self.code in (CONNECTED, 2)

    @property
    def caps(self) -> dict[str, Any]:
        """What the camera can do, as `caps` of the guide."""
        moves = bool(self.config.presets) and self.config.onvif
        return {
            "pantilt": moves,
            "zoom": moves,
            "focus": moves,
            "iris": moves,
            "home": moves,
            "maxPreset": 128 if moves else 0,
            "aux": len(self.aux),
            "digitalInputs": 1,
            "relayOutputs": len(self.relays),
            "reboot": self.config.onvif,
        }


@dataclass
class Lot:
    """A parking counter or a group of them."""

    config: LotConfig
    own: int

    def count(self, lots: dict[int, Lot]) -> int:
        """Return the cars in it; a group counts its members."""
        if not self.config.members:
            return self.own
        return sum(lots[member].count(lots) for member in self.config.members if member in lots)


@dataclass
class Spot:
    """A zone of the parking guide."""

    config: SpotConfig
    plate_no: str = ""
    score: float = 0
    ev: bool = False
    bike: bool = False
    since: datetime | None = None
    occupied: bool = False


class Site:
    """Everything that has a state."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.channels = {item.chid: Channel.of(item) for item in config.channels}
        self.lots = {item.id: Lot(item, item.count) for item in config.lots}
        self.spots = {item.id: Spot(item) for item in config.spots}
        self.plate_sources = {item.code: item for item in config.plate_sources}
        self.call_stations = {item.code: item for item in config.call_stations}

    def groups_of(self, lot: int) -> list[int]:
        """Return the groups that count a lot."""
        return [number for number, item in self.lots.items() if lot in item.config.members]
