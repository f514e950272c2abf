"""A clip through the whole bridge: event, rule, order, recordings over real sockets, file, manifest, `clip.ready`.

What it shows is proven by its own pixels: of drawn footage by the clock in the picture, of real
footage by being, picture for picture, what the recorder had at that time.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import av
import httpx
import pytest
from av.video.frame import VideoFrame

from bridge.media.manifest import Manifest
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import ClipReady
from connectors.ts_api.simulator.clock_picture import Reading, read_code, to_epoch_ms
from connectors.ts_api.simulator.media import probe
from connectors.ts_api.simulator.reels import ORIGIN_MS
from tests.bridge.media.footage import real_clip
from tests.e2e.site import bridge, simulator

BEFORE, AFTER = timedelta(seconds=3), timedelta(seconds=4)
FOOTAGE = {"1": "bikes.mp4", "2": "bigbuckbunny.mp4", "3": "carphone_pristine.mp4"}
"""By the camera that plays it; pieces begin where the video has a keyframe."""

CONFIG = """\
site: home
zone: America/New_York
http: {{port: 0}}
sources: {{nvr1: {{type: ts-api, url: "{url}", username: admin, password: admin}}}}
clips: {{dir: clips, workers: 1}}
rules: [rules/*.yaml]
"""
RULES = """\
rules:
  - id: keep-the-call
    when: {{kind: call.started, source: nvr1}}
    then:
      - clip: {{channels: {channels}, before: 3s, after: 4s, accuracy: {accuracy}}}
"""


@pytest.fixture(scope="module", params=["keyframe", "exact"])
def accuracy(request: pytest.FixtureRequest) -> str:
    """How a clip is cut."""
    return str(request.param)


async def _clips(folder: Path, url: str, channels: list[int], accuracy: str) -> tuple[VmsEvent, list[VmsEvent]]:
    """Let an emergency call happen; return its event and the clips that came of it."""
    rules = RULES.format(channels=channels, accuracy=accuracy)
    async with bridge(folder, CONFIG.format(url=url), rules, ["nvr1"]) as site, httpx.AsyncClient(base_url=url) as http:
        call = {"topic": "emergencyCall", "event": "callStart", "caller": "0000001"}
        (await http.post("/_sim/events", json=call)).raise_for_status()
        await site.until(lambda: len(site.of("clip.ready")) + len(site.of("clip.failed")) >= len(channels))
        assert site.of("clip.failed") == []
        (called,) = site.of("call.started")
        return called, site.of("clip.ready")


@pytest.mark.timeout(120)
async def test_a_clip_of_real_footage_is_whole_and_shows_what_was_recorded(tmp_path: Path) -> None:
    """One call, three cameras with real video: each file decodes to its end, plays from the start of its download,
    covers the asked window, and its pictures are those of the recorder at that time.
    """
    files = [part for name in FOOTAGE.values() for part in ("--footage", str(real_clip(name)))]
    with simulator(tmp_path, "--piece", "4s", *files) as url:
        called, ready = await _clips(tmp_path, url, [1, 2, 3], "keyframe")
    assert {event.subject for event in ready} == set(FOOTAGE)
    for event in ready:
        path, manifest = _stored(tmp_path / "clips", event, called)
        pictures = _play(path)
        assert len(pictures) == manifest.main.frames
        footage = real_clip(FOOTAGE[str(event.subject)])
        _shows(pictures, manifest.main.covered.begin, footage)


@pytest.mark.timeout(120)
async def test_the_clock_in_the_picture_proves_the_window(tmp_path: Path, accuracy: str) -> None:
    """First and last picture were taken at or outside the ends of the window, and none between is missing."""
    with simulator(tmp_path, "--piece", "4s", "--cache", str(tmp_path / "cache")) as url:
        called, ready = await _clips(tmp_path, url, [1, 2], accuracy)
    assert {event.subject for event in ready} == {"1", "2"}
    for event in ready:
        path, manifest = _stored(tmp_path / "clips", event, called)
        seen = [reading for picture in _play(path) if (reading := read_code(picture))]
        frame = manifest.main.duration * 1000 / len(seen)
        assert len(seen) == manifest.main.frames
        assert {reading.channel for reading in seen} == {int(str(event.subject))}
        begin, end = to_epoch_ms(called.time - BEFORE), to_epoch_ms(called.time + AFTER)
        assert seen[0].epoch_ms <= begin + frame
        assert seen[-1].epoch_ms + frame >= end - frame
        assert _longest_step(seen) <= frame + 1
        assert abs(seen[0].epoch_ms - to_epoch_ms(manifest.main.covered.begin)) <= frame
        if accuracy == "exact":
            assert seen[0].epoch_ms >= begin - frame
            assert seen[-1].epoch_ms <= end + frame
        else:
            assert seen[0].epoch_ms <= begin
            assert seen[-1].epoch_ms + frame >= end


# What a clip must be


def _stored(store: Path, event: VmsEvent, called: VmsEvent) -> tuple[Path, Manifest]:
    """Return the file and the manifest of a clip; both say what `clip.ready` says, and what was asked is covered."""
    ready = event.data
    assert isinstance(ready, ClipReady)
    path = store / ready.path
    manifest = Manifest.model_validate_json(path.with_suffix(".json").read_bytes())
    content = path.read_bytes()
    assert ready.sha256 == manifest.main.sha256 == hashlib.sha256(content).hexdigest()
    assert ready.size == manifest.main.size == len(content)
    assert ready.causes == manifest.about.events == (called.id,)
    assert event.correlation == called.id
    assert manifest.about.source == called.source == "home/nvr1"
    assert manifest.about.channel == event.subject
    assert (manifest.asked.begin, manifest.asked.end) == (called.time - BEFORE, called.time + AFTER)
    assert manifest.covered.begin <= manifest.asked.begin
    assert manifest.covered.end >= manifest.asked.end
    assert (ready.began, ready.ended) == (manifest.main.covered.begin, manifest.main.covered.end)
    assert manifest.complete
    assert ready.complete
    assert manifest.before is not None
    assert manifest.before >= BEFORE.total_seconds()
    assert manifest.after is not None
    assert manifest.after >= AFTER.total_seconds()
    assert ready.thumbnail is not None
    assert (store / ready.thumbnail).stat().st_size > 100
    return path, manifest


def _play(path: Path) -> list[VideoFrame]:
    """Decode a file from first to last packet, as strictly as the decoder can be told."""
    boxes = list(_boxes(path.read_bytes()))
    assert boxes.index("moov") < boxes.index("mdat"), f"it plays only when it is all there: {boxes}"
    pictures: list[VideoFrame] = []
    with av.open(str(path), options={"err_detect": "explode"}) as container:
        video = container.streams.video[0]
        video.codec_context.options = {"err_detect": "explode"}
        stamps = []
        for packet in container.demux(video):
            assert not packet.is_corrupt
            if packet.size:
                assert packet.dts is not None
                stamps.append(packet.dts)
            pictures += packet.decode()
        assert all(before < after for before, after in pairwise(stamps))
        assert len(pictures) == len(stamps), "a packet gives no picture"
        shown = [picture.pts for picture in pictures if picture.pts is not None]
        assert len(shown) == len(set(shown)) == len(pictures)
    return pictures


def _boxes(content: bytes) -> Iterator[str]:
    """Yield the names of the outermost boxes of an MP4."""
    at = 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, at + 8)
        yield name.decode()
        at += size or len(content)


def _shows(pictures: list[VideoFrame], begin: datetime, footage: Path) -> None:
    """Assert that a clip which begins at this time is the footage, played round and round since the origin."""
    with av.open(str(footage)) as container:
        recorded = [_print(picture) for picture in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
    assert rate is not None
    into = (to_epoch_ms(begin) - ORIGIN_MS) % probe(footage).duration_ms
    first = round(into / 1000 * rate) % len(recorded)
    seen = [_print(picture) for picture in pictures]
    assert seen == [recorded[(first + number) % len(recorded)] for number in range(len(seen))]


def _print(picture: VideoFrame) -> str:
    """Return what tells one picture from another: a hash of its light and dark."""
    plane = picture.planes[0]
    pixels, line = bytes(plane), plane.line_size
    rows = (pixels[y * line : y * line + picture.width] for y in range(picture.height))
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _longest_step(seen: list[Reading]) -> int:
    return max(after.epoch_ms - before.epoch_ms for before, after in pairwise(seen))
