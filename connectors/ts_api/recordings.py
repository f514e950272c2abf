"""Find recorded pieces and live streams of a channel, with what it takes to fetch them.

Addresses are the server's own, put right: its host, its encoding, our credentials in headers. It
fetches nothing and joins nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from bridge.sdk import ConnectorUnsupportedError, LiveStream, Piece

from .addresses import Value, query
from .auth import Credentials
from .discover import Basics
from .failures import Failure, Kind
from .system import Api, Capability
from .times import read
from .values import Dialect
from .wire import Call

_VOD: Mapping[Dialect, str] = {"v0": "/api/vod", "v1": "/api/v1/vod"}
_PAGE = 50
"""Most files the server lists at once ("vod", `limit`)."""
_PAGES = 200
"""Pages after which something is wrong: at a minute a file this is a week."""
_MILLISECOND = timedelta(milliseconds=1)
_SLACK = timedelta(milliseconds=500)
"""Files follow one another with less than this between them."""
# Best first for a recorder: packets as they come, before packets in files.
_PROTOCOLS = ("rtsp", "rtmp", "flv", "hls", "hlv", "websocket-flv")
_PROFILES = ("main", "sub")
_SPELLING = {"hlv": "hls"}  # a slip of the English guide


class Recordings(Capability):
    """HasRecordings and HasLiveStreams of the contracts."""

    async def recordings(self, channel: str, since: datetime, until: datetime) -> Sequence[Piece]:
        """Return the recorded files that touch the span, oldest first. Raises ConnectorError."""
        api = await self._system.api()
        rows = await self._rows(api, channel, since, until)
        headers = await _headers(api.rest.credentials)
        pieces = {piece.url: piece for row in rows for piece in self._pieces(row, api.found, headers)}
        touching = [piece for piece in pieces.values() if piece.begin < until and piece.end > since]
        return sorted(touching, key=lambda piece: (piece.begin, piece.end))

    def http_client(self) -> httpx.AsyncClient:
        """Return the client that fetches files: credentials for this server only. The connector closes it."""
        return self._system.files()

    async def live_streams(self, channel: str) -> Sequence[LiveStream]:
        """Return the live addresses, best first; none while the camera is not connected. Raises ConnectorError."""
        api = await self._system.api()
        call = Call(_VOD[api.found.dialect], {"ch": channel, "when": "now"})
        answer = await api.rest.exchange(call)
        if isinstance(answer, Failure):
            if answer.kind is Kind.MISSING and api.found.dialect == "v1":
                return []  # on v0 it is the legacy API being switched off
            raise answer.of_source()
        headers = await _headers(api.rest.credentials)
        streams = [
            stream
            for row in _of_channel(answer.data, channel)
            for source in _dicts(row.get("src"))
            if (stream := self._stream(source, api.rest.credentials, headers)) is not None
        ]
        return sorted(streams, key=_rank)

    # --- recorded ---

    async def _rows(self, api: Api, channel: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return the server's file rows that may touch the span, oldest first."""
        rows = await self._page(api, channel, since, until)
        first = _begin(rows[0], api.found) if rows else None
        if first is None or first > since + _SLACK:
            # Whether a file that began before `when` is listed is not said; ask for the one before.
            rows = await self._before(api, channel, since, rows) + rows
        seen = {_file(row) for row in rows}
        page, begin = rows, since
        for _ in range(_PAGES):
            end = max((span[1] for row in page for span in _spans(row, api.found)), default=begin)
            if len(page) < _PAGE or not begin < end < until:
                return rows
            begin = end
            page = await self._page(api, channel, begin, until)
            rows += [row for row in page if _file(row) not in seen]
            seen |= {_file(row) for row in page}
        raise ConnectorUnsupportedError(f"channel {channel} has more than {_PAGE * _PAGES} files in the span")

    async def _page(self, api: Api, channel: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return the first files from a time on."""
        params: dict[str, Value] = {
            "ch": channel,
            "when": stamp(since),
            # Without a duration only one second is searched; only one unit may be used.
            "duration": f"{max(1, math.ceil((until - since) / _MILLISECOND))}ms",
            "limit": _PAGE,
        }
        return await self._ask(api, channel, params)

    async def _before(
        self, api: Api, channel: str, since: datetime, rows: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the file before the first one found, or before the time if none was."""
        file = _file(rows[0]) if rows else None
        if file is not None:
            return await self._ask(api, channel, {"ch": channel, "id": file, "prev": None})
        return await self._ask(api, channel, {"ch": channel, "when": stamp(since), "otherwise": "nearBefore"})

    async def _ask(self, api: Api, channel: str, params: dict[str, Value]) -> list[dict[str, Any]]:
        # From 0.9.9 on the live stream can be kept out of the answer; before, it is known by having no end.
        flags: dict[str, Value] = {"nolive": None} if api.found.has(0, 9, 9) else {}
        return _of_channel(await api.rest.query(Call(_VOD[api.found.dialect], {**params, **flags})), channel)

    def _pieces(self, row: Mapping[str, Any], found: Basics, headers: Mapping[str, str]) -> Iterable[Piece]:
        """Return one piece for each span of time in a row, from the largest picture."""
        sources = [source for source in _dicts(row.get("src")) if _span(source, found) is not None]
        taken = set()
        for source in sorted(sources, key=_area, reverse=True):
            span, url = _span(source, found), self._system.host.resolve(str(source.get("src", "")))
            if span is None or span in taken or url is None or not url.startswith("http"):
                continue
            taken.add(span)
            yield Piece(url, *span, headers=headers)

    # --- live ---

    def _stream(
        self, source: Mapping[str, Any], credentials: Credentials, headers: Mapping[str, str]
    ) -> LiveStream | None:
        url = self._system.host.resolve(str(source.get("src", "")))
        if url is None:
            return None
        protocol = str(source.get("protocol") or url.partition(":")[0])
        protocol = _SPELLING.get(protocol, protocol)
        profile = str(source.get("profile") or "main")
        if url.startswith("rtmp:"):
            url += ("&" if "?" in url else "?") + query(credentials.for_query())[1:]
        elif url.startswith("rtsp:"):
            with_user = self._with_user(url)
            if with_user is None:
                return None
            url = with_user
        return LiveStream(url, protocol, profile, headers if url.startswith(("http", "ws")) else {})

    def _with_user(self, url: str) -> str | None:
        """Return an RTSP address with user and password, which it must have; None if we know none."""
        config = self._system.config
        if config.username is None or config.password is None:
            return None
        scheme, _, rest = url.partition("://")
        user, password = quote(config.username, safe=""), quote(config.password.get_secret_value(), safe="")
        return f"{scheme}://{user}:{password}@{rest}"


async def _headers(credentials: Credentials) -> Mapping[str, str]:
    headers = await credentials.headers()
    if isinstance(headers, Failure):
        raise headers.of_source()
    return headers


def stamp(at: datetime) -> str:
    """Write a time for a request: UTC, which every level understands."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _rank(stream: LiveStream) -> tuple[int, int]:
    profile = _PROFILES.index(stream.profile) if stream.profile in _PROFILES else len(_PROFILES)
    protocol = _PROTOCOLS.index(stream.protocol) if stream.protocol in _PROTOCOLS else len(_PROTOCOLS)
    return profile, protocol


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _of_channel(data: Any, channel: str) -> list[dict[str, Any]]:
    return [row for row in _dicts(data) if str(row.get("chid", channel)) == channel]


def _file(row: Mapping[str, Any]) -> int | str | None:
    file = row.get("fileId")
    return file if isinstance(file, (int, str)) and not isinstance(file, bool) else None


def _begin(row: Mapping[str, Any], found: Basics) -> datetime | None:
    return min((span[0] for span in _spans(row, found)), default=None)


def _spans(row: Mapping[str, Any], found: Basics) -> list[tuple[datetime, datetime]]:
    return [span for source in _dicts(row.get("src")) if (span := _span(source, found)) is not None]


def _span(source: Mapping[str, Any], found: Basics) -> tuple[datetime, datetime] | None:
    """Return what a file covers; None for a live entry, which has no end."""
    ends = source.get("timeRange")
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    begin, end = (read(text, found.zone, ambiguous="earlier") for text in ends)
    return (begin.time, end.time) if begin is not None and end is not None and begin.time < end.time else None


def _area(source: Mapping[str, Any]) -> int:
    size = source.get("size")
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return int(size[0] * size[1])
    return 0
