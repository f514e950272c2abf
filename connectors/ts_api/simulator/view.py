"""How one client sees the server: dialect, level, language, addresses. Renderers ask it, not the request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import quote

from .levels import LAST_V0, Level
from .times import local, zoned

_RELATIVE_URLS = Level(1, 0, 2)
# The labels the vendor gives to picture sizes.
_LABELS = {1080: "1080p", 720: "720p", 480: "VGA", 360: "360p"}
_SUB_SIZE = (640, 360)


@dataclass(frozen=True)
class View:
    """One client's view."""

    v1: bool
    server: Level
    host: str
    zone: tzinfo
    lang: str = "en-US"
    verbose: bool = False
    korean_forms: bool = False
    v1_codes: bool = False
    v1_hls: bool = True

    @property
    def level(self) -> Level:
        """The API level of the dialect; v0 stopped at 0.9.20."""
        return self.server if self.v1 else min(self.server, Level.parse(LAST_V0))

    def since(self, level: str) -> bool:
        """Tell whether the server has what came with a level."""
        return self.server >= Level.parse(level)

    def url(self, path: str) -> str:
        """Return an address in JSON: relative on v1 from 1.0.2 on, absolute before and on v0."""
        if self.v1 and self.server >= _RELATIVE_URLS:
            return path
        return f"http://{self.host}{path}"

    def watch(self, channel: int, when: datetime | None = None) -> str:
        """Return the address of the HTML player; `when` is percent-encoded down to `-` and `.`."""
        if when is None:
            return self.url(f"/watch?ch={channel}")
        return self.url(f"/watch?ch={channel}&when={_encoded(zoned(when, self.zone))}")

    def stamp(self, moment: datetime) -> str:
        """Return a time as sockets and v0 queries write it."""
        return zoned(moment, self.zone)

    def row_stamp(self, moment: datetime) -> str:
        """Return a time as queries write it: v1 leaves the offset out."""
        return local(moment, self.zone) if self.v1 else zoned(moment, self.zone)

    def sources(self, channel: int, size: tuple[int, int]) -> list[dict[str, Any]]:
        """Return the live addresses of a channel, as `/api/vod` lists them; always absolute."""
        return [item for profile in ("main", "sub") for item in self._profile(channel, profile, size)]

    def static_sources(self, channel: int, size: tuple[int, int]) -> list[dict[str, Any]]:
        """Return the addresses that channelStatus carries: rtmp and hls."""
        return [item for item in self.sources(channel, size) if item["protocol"] in ("rtmp", "hls")]

    def streams(self, channel: int, size: tuple[int, int]) -> list[dict[str, Any]]:
        """Return `linkedChannel[].streams`, which lack protocol and profile."""
        unnamed = ("protocol", "profile")
        return [
            {key: value for key, value in item.items() if key not in unnamed}
            for item in self.static_sources(channel, size)
        ]

    def _profile(self, channel: int, profile: str, size: tuple[int, int]) -> list[dict[str, Any]]:
        bare, name = _without_port(self.host), f"ch{channel}{profile}"
        width, height = size if profile == "main" else _SUB_SIZE
        port = "" if self.v1 and self.since("1.1.0") else "port=1935&"
        flv = f"{self.host}/live?{port}app=live&stream={name}"
        found = [
            ("rtmp", f"rtmp://{bare}/live/{name}", "rtmp/mp4"),
            ("flv", f"http://{flv}", "video/x-flv"),
        ]
        if self.v1 and self.since("1.1.0"):
            found += [
                ("websocket-flv", f"ws://{flv}", "video/x-flv"),
                ("rtsp", f"rtsp://{bare}/live/{name}", "application/x-rtsp"),
            ]
        if not self.v1 or self.v1_hls:
            found.append(("hls", f"http://{self.host}/hls/{name}/index.m3u8", "application/x-mpegurl"))
        label = _LABELS.get(height, f"{width}x{height}")
        return [
            {
                "protocol": protocol,
                "profile": profile,
                "src": src,
                "type": kind,
                "label": label,
                "size": [width, height],
            }
            for protocol, src, kind in found
        ]


def _encoded(stamp: str) -> str:
    """Percent-encode a time as the guide does: down to `-` and `.`, except the sign of the offset."""
    body, offset = stamp[:-6], stamp[-6:]
    return quote(body).replace("-", "%2D").replace(".", "%2E") + quote(offset)


def _without_port(host: str) -> str:
    return host if host.endswith("]") else host.rsplit(":", 1)[0]
