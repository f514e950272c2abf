"""Which recorded files and live streams a channel has, and how they are asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from bridge.sdk import ConnectorUnsupportedError, HasLiveStreams, HasRecordings
from connectors.ts_api.recordings import stamp

from .support import API_KEY, Script, ok, sample

T0 = datetime(2018, 2, 5, 22, 57, 12, 935000, tzinfo=UTC)
"""When the first file of the recorded sample begins."""


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def row(number: int, begin: datetime, end: datetime, **more: Any) -> dict[str, Any]:
    source = {"src": f"/storage/{number}.mp4", "size": [1920, 1080], "timeRange": [stamp(begin), stamp(end)]}
    return {"chid": 1, "title": "x", "fileId": number, "src": [{**source, **more}]}


class Recorder:
    """A server that keeps ten-second files and answers `vod` as the guide says."""

    def __init__(self, count: int, lists_running: bool = True) -> None:
        self.files = [(number, at(10 * number), at(10 * number + 10)) for number in range(count)]
        self.lists_running = lists_running
        self.asked: list[dict[str, list[str]]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        params = parse_qs(request.url.query.decode(), keep_blank_values=True)
        self.asked.append(params)
        if "prev" in params:
            return self._rows([file for file in self.files if file[0] == int(params["id"][0]) - 1])
        when = datetime.fromisoformat(params["when"][0])
        if "otherwise" in params:
            return self._rows([file for file in self.files if file[1] < when][-1:])
        until = when + timedelta(milliseconds=int(params["duration"][0].removesuffix("ms")))
        found = [f for f in self.files if f[1] < until and (f[2] > when if self.lists_running else f[1] >= when)]
        return self._rows(found[: int(params["limit"][0])])

    def _rows(self, files: list[tuple[int, datetime, datetime]]) -> httpx.Response:
        return ok([row(*file) for file in files])


def names(pieces: Any) -> list[str]:
    return [piece.url.rpartition("/")[2] for piece in pieces]


def test_the_connector_says_so() -> None:
    """Whoever looks for recordings finds them."""
    connector = Script({}).connector()
    assert isinstance(connector, HasRecordings)
    assert isinstance(connector, HasLiveStreams)


async def test_the_guides_answer_becomes_pieces() -> None:
    """On our server, with its times in UTC, and with what it takes to fetch them."""
    script = Script({"GET /api/vod": ok(sample("http.vod.recorded"))})
    pieces = await script.connector().recordings("1", T0, at(600))
    assert [piece.url for piece in pieces] == [
        "http://nvr.test:8080/storage/e/0/0/0/0/100.mp4",
        "http://nvr.test:8080/storage/e/0/0/0/0/104.mp4",
    ]
    assert pieces[0].begin == T0
    assert pieces[0].end == T0 + timedelta(seconds=7, milliseconds=101)
    assert pieces[0].headers["Authorization"].startswith("Basic ")
    assert "CANARY" not in repr(pieces)
    assert script.query()["when"] == ["2018-02-05T22:57:12.935Z"]
    assert script.query()["duration"] == ["600000ms"]
    assert script.query()["limit"] == ["50"]
    assert "nolive" in script.query()


async def test_v1_fetches_with_the_key_in_a_header() -> None:
    """Relative addresses, times without offset in the server's zone."""
    local = {"timeRange": ["2018-02-05T17:57:12.935", "2018-02-05T17:57:20.036"]}
    script = Script({"GET /api/v1/vod": ok([row(100, T0, at(1), **local)])}, "TS-API@1.1.0", "v1")
    (piece,) = await script.connector(api_key=API_KEY).recordings("1", T0, at(60))
    assert piece.url == "http://nvr.test:8080/storage/100.mp4"
    assert piece.begin == T0
    assert piece.headers == {"X-API-Key": API_KEY}


async def test_only_pieces_that_touch_the_span_are_returned() -> None:
    """A server may list its neighbours too."""
    recorder = Recorder(10)
    pieces = await Script({"GET /api/vod": recorder.answer}).connector().recordings("1", at(25), at(40))
    assert names(pieces) == ["2.mp4", "3.mp4"]


async def test_a_file_that_began_before_is_asked_for() -> None:
    """Whether `when` lists it is not documented; the clip needs it."""
    recorder = Recorder(10, lists_running=False)
    pieces = await Script({"GET /api/vod": recorder.answer}).connector().recordings("1", at(25), at(40))
    assert names(pieces) == ["2.mp4", "3.mp4"]
    assert "prev" in recorder.asked[1]


async def test_a_span_inside_one_file_is_found() -> None:
    """Nothing begins in it, so the file before is the one."""
    recorder = Recorder(10, lists_running=False)
    pieces = await Script({"GET /api/vod": recorder.answer}).connector().recordings("1", at(21), at(22))
    assert names(pieces) == ["2.mp4"]
    assert recorder.asked[1]["otherwise"] == ["nearBefore"]


@pytest.mark.parametrize("lists_running", [True, False])
async def test_long_spans_come_in_pages(lists_running: bool) -> None:
    """The server lists 50 files at most; all are found, in order, once."""
    recorder = Recorder(130, lists_running)
    pieces = await Script({"GET /api/vod": recorder.answer}).connector().recordings("1", at(5), at(1295))
    assert names(pieces) == [f"{number}.mp4" for number in range(130)]
    assert len(recorder.asked) <= 5


async def test_nothing_recorded_is_nothing() -> None:
    """Not an error: it may come."""
    assert await Script({"GET /api/vod": ok([])}).connector().recordings("1", T0, at(10)) == []


async def test_a_live_entry_is_no_piece() -> None:
    """Old servers list the live stream when asked about the last minute."""
    live = {"chid": 1, "title": "x", "src": [{"src": "rtmp://x/live/ch1main", "protocol": "rtmp"}]}
    script = Script({"GET /api/vod": ok([row(1, T0, at(10)), live])}, "TS-API@0.9.8")
    assert names(await script.connector().recordings("1", T0, at(20))) == ["1.mp4"]
    assert "nolive" not in script.query()


async def test_the_largest_picture_of_a_span_is_taken() -> None:
    """One piece for each span of time."""
    both = row(1, T0, at(10))
    both["src"] = [{**both["src"][0], "src": "/small.mp4", "size": [640, 480]}, *both["src"]]
    pieces = await Script({"GET /api/vod": ok([both])}).connector().recordings("1", T0, at(10))
    assert names(pieces) == ["1.mp4"]


async def test_a_product_without_recordings_says_so() -> None:
    """TS-CMS keeps none."""
    with pytest.raises(ConnectorUnsupportedError):
        await Script({}).connector().recordings("1", T0, at(10))


HOSTILE: list[Any] = [
    None,
    7,
    "x",
    {},
    [None, 7],
    [{"chid": 1, "src": "x"}],
    [{"chid": 1, "src": [7, {"timeRange": 3}]}],
]


@pytest.mark.parametrize("answer", HOSTILE)
async def test_a_strange_answer_holds_no_pieces(answer: Any) -> None:
    """And raises nothing unforeseen."""
    script = Script({"GET /api/vod": ok(answer)})
    assert await script.connector().recordings("1", T0, at(10)) == []
    assert await script.connector().live_streams("1") == []


# --- live ----------------------------------------------------------------------------------------------------


async def test_live_streams_of_v0_are_put_right() -> None:
    """Our host, a slip of the guide mended, main before sub, RTMP before files."""
    script = Script({"GET /api/vod": ok(sample("http.vod.live"))})
    streams = await script.connector().live_streams("1")
    assert [(stream.profile, stream.protocol) for stream in streams] == [
        ("main", "rtmp"),
        ("main", "flv"),
        ("main", "hls"),
        ("sub", "rtmp"),
        ("sub", "flv"),
        ("sub", "hls"),
    ]
    assert streams[0].url.startswith("rtmp://nvr.test/live/ch1main?auth=")
    assert streams[1].url == "http://nvr.test:8080/live?port=1935&app=live&stream=ch1main"
    assert streams[1].headers["Authorization"].startswith("Basic ")
    assert "CANARY" not in repr(streams)


async def test_rtsp_comes_first_and_carries_user_and_password() -> None:
    """Basic is mandatory there; without a user it is left out."""
    answer = ok(sample("v1.http.vod.live"))
    script = Script({"GET /api/v1/vod": answer}, "TS-API@1.1.0", "v1")
    first = (await script.connector(api_key=API_KEY).live_streams("1"))[0]
    assert first.protocol == "rtsp"
    assert first.url == "rtsp://bridge:CANARY-pass%3Aword@nvr.test/live/ch1main"
    assert dict(first.headers) == {}
    by_key = await script.connector(api_key=API_KEY, username=None, password=None).live_streams("1")
    assert "rtsp" not in {stream.protocol for stream in by_key}


async def test_a_camera_without_picture_has_no_streams() -> None:
    """Streams exist only while it is connected."""
    script = Script({"GET /api/vod": ok(sample("http.vod.live"))})
    assert await script.connector().live_streams("2") == []
    idle = Script({"GET /api/v1/vod": httpx.Response(404)}, "TS-API@1.1.0", "v1")
    assert await idle.connector(api_key=API_KEY).live_streams("1") == []
