"""Everything the simulator says has the members and types of what the vendor's documents print."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from connectors.ts_api.simulator import Simulator, SimulatorConfig

from .client import KEY, differences, sample, v0_socket, v1_socket

_HUMAN = {
    "gender": "female",
    "hat": True,
    "bag": True,
    "clothes": [{"type": "tops", "length": "long", "colors": ["white"]}],
}
_FACE = {"gender": "female", "age": "adult", "hat": True, "glasses": False, "mask": False}
_STORAGE = {"storagePathBefore": "D:\\recData\\", "storagePathAfter": "E:\\recData\\"}

# sample, topic, what happens, extra socket parameters
V0_EVENTS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("event.lpr", "LPR", {"plateNo": "DSP963", "direction": "entry"}, {}),
    ("event.emergencyCall.callStart", "emergencyCall", {"event": "callStart", "caller": "0000001"}, {}),
    ("event.emergencyCall.callEnd", "emergencyCall", {"event": "callEnd", "caller": "0000001"}, {}),
    (
        "event.emergencyCall.callStart.verbose",
        "emergencyCall",
        {"event": "callStart", "caller": "0000001"},
        {"verbose": "true"},
    ),
    ("event.motionChanges", "motionChanges", {"channel": 1, "motion": True}, {}),
    ("event.parkingCount", "parkingCount", {"lot": 1, "change": 1}, {}),
    ("event.recordingStatus.statusChanged", "recordingStatus", {"channel": 3, "failed": True}, {}),
    ("event.object.human", "object", {"type": "human", "attributes": _HUMAN}, {}),
    ("event.object.face", "object", {"type": "face", "parentId": 130, "attributes": _FACE}, {}),
    (
        "event.object.vehicle",
        "object",
        {"type": "vehicle", "attributes": {"vehicleType": "car", "colors": ["white"]}},
        {},
    ),
    ("event.bodyTemperature", "bodyTemperature", {}, {}),
    ("event.systemEvent.systemShutdown", "systemEvent", {"code": 2}, {}),
    (
        "event.systemEvent.storagePathChanged",
        "systemEvent",
        {"code": 30, "param": _STORAGE, "comment": "changed"},
        {},
    ),
    (
        "event.channelStatus.statusChanged",
        "channelStatus",
        {"channel": 1, "code": 404},
        {"verbose": "true"},
    ),
    (
        "event.channelStatus.nameChanged",
        "channelStatus",
        {"channel": 1, "event": "nameChanged", "name": "Gate"},
        {},
    ),
    (
        "event.channelStatus.videoStreamReady",
        "channelStatus",
        {"channel": 1, "event": "videoStreamReady"},
        {"verbose": "true"},
    ),
    *(
        (f"event.channelStatus.{event}", "channelStatus", {"channel": 1, "event": event}, {})
        for event in ("videoSrcModified", "videoStreamChanged", "channelRemoved")
    ),
    (
        "event.channelStatus.channelAdded",
        "channelStatus",
        {"channel": 9, "event": "channelAdded", "name": "New"},
        {},
    ),
    (
        "event.channelStatus.channelSwapped",
        "channelStatus",
        {"channel": 1, "event": "channelSwapped", "swappedWith": 2},
        {},
    ),
]
_WITH_SNAPSHOT = {"channelStatus", "motionChanges", "parkingCount", "recordingStatus", "parkingSpot"}


@pytest.mark.parametrize(("name", "topic", "members", "parameters"), V0_EVENTS, ids=[row[0] for row in V0_EVENTS])
async def test_v0_events_look_like_the_guide(
    sim: Simulator, name: str, topic: str, members: dict[str, Any], parameters: dict[str, Any]
) -> None:
    """Each v0 event has the members and types of its sample, no more and no less."""
    async with v0_socket(sim, topic, **parameters) as socket:
        assert differences(sample("event.subscriber"), await socket.read()) == []
        if topic in _WITH_SNAPSHOT:
            await socket.read()
        await sim.event(topic, **members)
        assert differences(sample(name), await socket.read()) == []


@pytest.mark.parametrize(
    ("name", "topic", "parameters"),
    [
        ("event.channelStatus.currentStatus", "channelStatus", {"verbose": "true"}),
        ("event.motionChanges", "motionChanges", {}),
        ("event.parkingCount", "parkingCount", {}),
        ("event.recordingStatus.currentStatus", "recordingStatus", {}),
    ],
)
async def test_v0_snapshots_look_like_the_guide(
    sim: Simulator, name: str, topic: str, parameters: dict[str, Any]
) -> None:
    """Each topic that begins with the present state does so in the form of its sample."""
    async with v0_socket(sim, topic, **parameters) as socket:
        await socket.read()
        assert differences(sample(name), await socket.read()) == []


async def test_the_korean_form_of_body_temperature(config: SimulatorConfig) -> None:
    """The Korean variant leaves `type` out."""
    async with (
        Simulator(config.model_copy(update={"variant": "ko"})) as sim,
        v0_socket(sim, "bodyTemperature") as socket,
    ):
        await socket.read()
        await sim.event("bodyTemperature")
        assert differences(sample("event.bodyTemperature.ko"), await socket.read()) == []


async def test_v1_parking_spots_look_like_the_guide(sim: Simulator) -> None:
    """parkingSpot has zones of all kinds in the snapshot, and a vehicle where one stands."""
    await sim.event("parkingSpot", spot=101, occupied=True, plateNo="12가3456", score=95.5)
    async with v1_socket(sim, "parkingSpot") as socket:
        await socket.read()
        assert differences(sample("v1.ws.events.parkingSpot.currentStatus"), await socket.read()) == []


async def test_v1_plates_come_in_an_array(sim: Simulator) -> None:
    """From 1.0.1 on one message carries all plates of a picture, under `channel` and `srcCode`."""
    async with v1_socket(sim, "LPR") as socket:
        await socket.read()
        await sim.event("LPR", plateNo="12가3456", also=["34나5678"])
        message = await socket.read()
    recorded = sample("v1.ws.events.lpr.batch")
    assert set(recorded) <= set(message)
    assert [plate["plateNo"] for plate in message["plates"]] == ["12가3456", "34나5678"]
    assert set(recorded["plates"][0]) <= set(message["plates"][0])
    assert message["image"].startswith("/storage/")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("http.enum.channel", "/api/enum?what=channel"),
        ("http.enum.channel.caps", "/api/enum?what=channel&caps"),
        ("http.enum.channel.staticSrc", "/api/enum?what=channel&staticSrc"),
        ("http.enum.lprSrc", "/api/enum?what=lprSrc"),
        ("http.enum.emergencyCall", "/api/enum?what=emergencyCall"),
        ("http.enum.eventType", "/api/enum?what=eventType"),
        ("http.enum.parkingLot", "/api/enum?what=parkingLot"),
        ("http.enum.realtimeEvent", "/api/enum?what=realtimeEvent"),
        ("http.enum.objectType", "/api/enum?what=objectType"),
        ("http.enum.objectAttr.face", "/api/enum?what=objectAttr&type=face"),
        ("http.info.product.lpr", "/api/info?product"),
        ("http.info.timezone", "/api/info?timezone"),
        ("http.info.license.genuine", "/api/info?license"),
        ("http.status", "/api/status"),
        ("http.status.verbose", "/api/status?verbose"),
        ("http.channel.info", "/api/channel/info?caps"),
        ("http.channel.preset.list", "/api/channel/preset?ch=1&list"),
        ("http.channel.relay.ls", "/api/channel/relay?ch=1&ls"),
        ("http.channel.ptz.response", "/api/channel/ptz?ch=1&home"),
        ("http.channel.preset.set", "/api/channel/preset?ch=1&set=1&name=Sweet%20home"),
        ("http.channel.preset.rm", "/api/channel/preset?ch=1&rm=1"),
        ("http.channel.reboot", "/api/channel/reboot?ch=1"),
        ("http.system.health", "/api/system?health"),
        ("http.system.health.supported", "/api/system?health=supported"),
        ("http.system.hddsmart", "/api/system?hddsmart"),
        ("http.find.recDays", "/api/find?what=recDays"),
        ("http.find.recDays.byChannel", "/api/find?what=recDays&ch=1"),
    ],
)
async def test_v0_answers_look_like_the_guide(http: httpx.AsyncClient, name: str, path: str) -> None:
    """Each v0 answer has the members and types of its sample."""
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    assert differences(sample(name), answer.json()) == []


async def test_v0_system_info_has_the_members_of_the_guide(http: httpx.AsyncClient) -> None:
    """System info names the memory `physicalMemory`, and adds the sums of memory and storage."""
    info = (await http.get("/api/system?info")).json()
    assert set(sample("http.system.info")) == set(info)


async def test_live_video_is_listed_as_in_the_guide(http: httpx.AsyncClient) -> None:
    """Live sources have the sample's members; the channel's name is `displayName`, which one sample misprints."""
    listed = (await http.get("/api/vod")).json()
    recorded = sample("http.vod.live")
    for entry in recorded:
        entry["displayName"] = entry.pop("display")
    assert differences(recorded, listed) == []


async def test_v0_logs_look_like_the_guide(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Rows of all three logs have the members and types of their samples."""
    await sim.event("LPR", plateNo="55EV96", direction="entry")
    await sim.event("object", type="face", attributes={"gender": "female"})
    await sim.event("systemEvent", code=25, param={"storagePath": "E:\\recData\\", "statusCode": 0})
    plates = (await http.get("/api/find?what=carNo")).json()
    assert differences(sample("http.find.carNo"), plates) == []
    objects = (await http.get("/api/find?what=object")).json()
    assert set(objects["data"][0]) == set(sample("http.find.object")["data"][0])
    events = (await http.get("/api/find?what=eventLog")).json()
    assert set(events["data"][0]) == set(sample("http.find.eventLog")["data"][0])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("v1.http.channel.status", "channel/status"),
        ("v1.http.emergency", "emergency"),
        ("v1.http.event.realtime", "event/realtime"),
        ("v1.http.event.type", "event/type"),
        ("v1.http.object.type", "object/type"),
        ("v1.http.parking.lot", "parking/lot"),
        ("v1.http.parking.lot.status", "parking/lot/status"),
        ("v1.http.info", "info"),
        ("v1.http.recording.days", "recording/days"),
        (
            "v1.http.recording.minutes",
            "recording/minutes?timeBegin=2026-01-01T00:00:00&timeEnd=2026-01-01T01:00:00",
        ),
        ("v1.http.vod.live", "vod"),
    ],
)
async def test_v1_answers_look_like_the_guide(sim: Simulator, name: str, path: str) -> None:
    """Each v1 answer has the members and types of its sample."""
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    assert differences(sample(name), answer.json()) == []


async def test_v1_logs_look_like_the_guide(sim: Simulator) -> None:
    """v1 rows have no offsets, relative addresses, and a channel that is null for several."""
    await sim.event("LPR", plateNo="12가3456", score=95.5, direction="entry", roi=None)
    await sim.event("channelStatus", channel=1, code=404)
    bounds = {"timeBegin": "2020-01-01", "timeEnd": "2099-01-01"}
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        plates = (await client.get("/api/v1/lpr/log", params=bounds)).json()
        events = (await client.get("/api/v1/event/log?ch=1")).json()
    assert differences(sample("v1.http.lpr.log"), plates) == []
    assert plates["data"][0]["image"][0].startswith("/storage/")
    row = events["data"][0]
    assert differences(sample("v1.http.event.log")["data"][0], row) == []
    assert (row["typeName"], row["code"], row["chid"]) == ("Camera", 101, 1)


async def test_members_appear_with_their_level(config: SimulatorConfig) -> None:
    """An old server lacks what came later: names, abilities, plate pictures."""
    async with Simulator(config.model_copy(update={"api_version": "0.9.2"})) as sim:
        async with v0_socket(sim, "channelStatus") as socket:
            await socket.read()
            assert set((await socket.read())["channel"][0]) == {"chid", "status"}
        async with v0_socket(sim, "LPR") as socket:
            await socket.read()
            await sim.event("LPR", plateNo="DSP963", direction="entry")
            gone = {"image", "score", "roi", "parkingLot", "direction"}
            assert not gone & set(await socket.read())
        async with httpx.AsyncClient(base_url=sim.url) as client:
            assert (await client.get("/api/v1/info")).status_code == 404
            assert (await client.get("/api/info?apiVersion")).json() == {"apiVersion": "TS-API@0.9.2"}
