"""Every documented message decodes to the right kind with the right fields, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from bridge.sdk import Origin, PayloadError, VmsEvent
from connectors.ts_api.decode import Control, classify, decode
from connectors.ts_api.push import PUSH
from connectors.ts_api.rows import Log, read_page
from tests.connectors.ts_api.recorded import DATA, RECEIVED, SEOUL, context, load, manifest, utc

LIVE, RESYNC, BACKFILL = Origin.LIVE, Origin.RESYNC, Origin.BACKFILL


@dataclass(frozen=True)
class Seen:
    """What one event must be; fields of `data` that are not named are not compared."""

    kind: str
    subject: str | None
    time: datetime = RECEIVED
    quality: str = "device"
    origin: Origin = LIVE
    data: Mapping[str, Any] = field(default_factory=dict)


def received(kind: str, subject: str | None, **data: Any) -> Seen:
    return Seen(kind, subject, RECEIVED, "received", LIVE, data)


def at(time: str, kind: str, subject: str | None, origin: Origin = LIVE, quality: str = "device", **data: Any) -> Seen:
    return Seen(kind, subject, utc(time), quality, origin, data)


def stream(protocol: str, profile: str, path: str, width: int, height: int) -> dict[str, Any]:
    return {"protocol": protocol, "profile": profile, "path": path, "width": width, "height": height}


UP = {"state": "connected", "code": 200, "message": "Connected"}
STAIRS = {"caller": "0000002", "name": "B1 Stairs", "device": "Sammul/Vizufon", "linked_channels": ("1", "2")}
FEVER = {"object_id": "182", "likelihood": 99.6, "linked_channels": ("1",)}
STORAGE = "/storage/e/0/0/7/7673/object"

EVENTS: dict[str, list[Seen]] = {
    "event.channelStatus.currentStatus.json": [
        at("2018-07-20 20:05:45.956", "channel.status", "1", RESYNC, **UP),
        at("2018-07-20 20:05:45.956", "channel.status", "2", RESYNC, **UP),
    ],
    "event.channelStatus.statusChanged.json": [at("2018-07-20 21:05:45.956", "channel.status", "1", **UP)],
    "event.channelStatus.nameChanged.json": [
        at("2018-07-20 21:05:45.956", "channel.renamed", "1", name="Camera1", display_name="CH1. Camera1")
    ],
    "event.channelStatus.videoSrcModified.json": [
        at("2018-07-20 21:01:45.956", "channel.stream", "1", change="source_modified", streams=())
    ],
    "event.channelStatus.videoStreamReady.json": [
        at(
            "2018-07-20 21:03:45.956",
            "channel.stream",
            "1",
            change="ready",
            streams=(
                stream("rtmp", "main", "/live/ch1main", 1920, 1080),
                stream("hls", "main", "/hls/ch1main/index.m3u8", 1920, 1080),
                stream("rtmp", "sub", "/live/ch1sub", 640, 360),
                stream("hls", "sub", "/hls/ch1sub/index.m3u8", 640, 360),
            ),
        )
    ],
    "event.channelStatus.videoStreamChanged.json": [
        at("2018-07-20 21:03:45.956", "channel.stream", "1", change="changed")
    ],
    "event.channelStatus.channelAdded.json": [at("2018-07-20 21:05:45.956", "channel.added", "1")],
    "event.channelStatus.channelRemoved.json": [at("2018-07-20 21:05:45.956", "channel.removed", "1")],
    "event.channelStatus.channelSwapped.json": [at("2018-07-20 21:05:45.956", "channel.swapped", "1", other="2")],
    "event.lpr.json": [
        at(
            "2018-06-27 15:42:06.575",
            "plate.read",
            "1",
            plate="DSP963",
            plate_raw="DSP963",
            score=98,
            direction="entry",
            device="1-1-7",
            device_name="B1 Parking Lot",
            first_seen=utc("2018-06-27 15:42:02.573"),
            lot={"entrance": "1", "exit": "2"},
            linked_channels=("2",),
            region={"x": 964, "y": 560, "width": 187, "height": 51},
            image="/storage/e/0/0/0/39/39612.161192.1576732638241699.plate.jpg",
        )
    ],
    "event.emergencyCall.callStart.json": [at("2018-06-27 15:56:16.316", "call.started", "0000002", **STAIRS)],
    "event.emergencyCall.callStart.verbose.json": [at("2018-06-27 15:56:16.316", "call.started", "0000002", **STAIRS)],
    "event.emergencyCall.callEnd.json": [at("2018-06-27 15:59:26.322", "call.ended", "0000002", **STAIRS)],
    "event.systemEvent.storagePathChanged.json": [
        at(
            "2018-11-15 18:16:38.054",
            "system.log",
            None,
            log_id="16384",
            log_type=0,
            type_name="System log",
            code=30,
            code_name="Storage path changed",
            began=utc("2018-11-15 18:16:38.054"),
            ended=None,
            ongoing=None,
            param={"storagePathBefore": "D:\\recData\\", "storagePathAfter": "E:\\recData\\"},
            comment="Storage path changed from D:\\recData\\ to E:\\recData\\.",
        )
    ],
    "event.systemEvent.systemShutdown.json": [
        at("2018-12-26 20:29:20.013", "system.log", None, log_id="19138", code=2, param={}, comment=None)
    ],
    "event.motionChanges.json": [
        received("motion.started", "1"),
        received("motion.ended", "2", reason="seen"),
        received("motion.started", "5"),
    ],
    "event.parkingCount.json": [
        at(
            "2019-02-19 04:11:12.119",
            "parking.count",
            "11",
            lot="11",
            name="Total",
            lot_type="group",
            count=3,
            capacity=31,
            available=28,
            members=("12", "13"),
        ),
        at("2019-02-19 04:11:12.119", "parking.count", "12", lot_type="counter", count=2, capacity=21, available=19),
        at("2019-02-19 04:11:12.119", "parking.count", "13", name="B2 Parking Lot", count=1, capacity=10, available=9),
    ],
    "event.recordingStatus.currentStatus.json": [
        at("2020-03-25 15:01:53.841", "recording.status", "1", RESYNC, streaming=True, recording=True),
        at("2020-03-25 15:01:53.841", "recording.status", "2", RESYNC, streaming=False, recording=False),
        at("2020-03-25 15:01:53.841", "recording.status", "3", RESYNC, streaming=True, recording=False),
    ],
    "event.recordingStatus.statusChanged.json": [
        at(
            "2020-03-25 15:08:30.003",
            "recording.status",
            "3",
            streaming=True,
            recording=False,
            failed_since=utc("2020-03-25 15:07:09.646"),
        )
    ],
    "event.object.face.json": [
        at(
            "2020-05-25 18:56:02.558",
            "object.detected",
            "1",
            object="face",
            object_id="132",
            parent_id="130",
            likelihood=71.1,
            gender="female",
            age="adult",
            hat=True,
            glasses=False,
            mask=False,
            bag=None,
            image=f"{STORAGE}/7673854/7673854.4411971.1590382562558672.object._c1_t2_s552x400.jpg",
        )
    ],
    "event.object.human.json": [
        at(
            "2020-05-25 18:56:18.461",
            "object.detected",
            "1",
            object="human",
            object_id="142",
            gender="female",
            hat=True,
            bag=True,
            clothes=(
                {"part": "tops", "length": "long", "colors": ("white",)},
                {"part": "bottoms", "length": "long", "colors": ("blue",)},
            ),
        )
    ],
    "event.object.vehicle.json": [
        at(
            "2020-05-25 19:23:58.768",
            "object.detected",
            "1",
            object="vehicle",
            object_id="182",
            likelihood=99.6,
            vehicle_type="car",
            colors=("white",),
        )
    ],
    "event.bodyTemperature.json": [at("2020-05-25 19:23:58.768", "temperature.alarm", "1", **FEVER)],
    "event.bodyTemperature.ko.json": [at("2020-05-25 19:23:58.768", "temperature.alarm", "1", **FEVER)],
    "v1.ws.events.lpr.batch.json": [
        received("plate.read", "1", plate="12가3456", score=95, device="A01", image="/storage/lpr/..."),
        received("plate.read", "1", plate="34나5678", score=88, device="A02", image="/storage/lpr/..."),
    ],
    "v1.ws.events.lpr.single.json": [received("plate.read", None, plate="12가3456", device=None, score=None)],
    "v1.ws.events.parkingSpot.currentStatus.json": [
        at(
            "2024-01-01 01:00:00",
            "parking.spot",
            "123",
            RESYNC,
            spot="123",
            name="A-001",
            channel="1",
            spot_type="spot",
            category="normal",
            occupied=True,
            plate="12가3456",
            score=95.5,
            ev=False,
            bike=False,
            since=utc("2024-01-01 00:30:00"),
        ),
        at(
            "2024-01-01 01:00:00",
            "parking.spot",
            "200",
            RESYNC,
            name="Main Gate",
            spot_type="entrance",
            category=None,
            occupied=None,
            plate=None,
        ),
    ],
}

CONTROLS: dict[str, Control] = {
    "event.subscriber.json": Control(
        "hello", ("LPR", "emergencyCall"), subscriber="cd57c82b-7e8c-4b04-91eb-520f6a9773ce"
    ),
    "event.subscriber.channelStatus.json": Control(
        "hello", ("channelStatus",), subscriber="1a3dc2de-d3b5-4983-933a-49a86ac8ad3d"
    ),
    "v1.ws.events.subscribed.json": Control("subscribed", ("channelStatus",)),
    "v1.ws.events.unsubscribed.json": Control("unsubscribed", ("channelStatus",)),
    "v1.ws.events.error.unknownTopic.json": Control("error", ("unknownTopic",), message="unknown topic"),
    "v1.ws.events.error.unknownCommand.json": Control("error", message="unknown command"),
    "v1.ws.events.error.invalidJson.json": Control("error", message="invalid JSON"),
}

# What a client says to the server; a server that says so is not understood.
REFUSED: dict[str, str] = {
    "v1.ws.events.subscribe.LPR.json": "untagged",
    "v1.ws.events.subscribe.channelStatus.ch.json": "untagged",
    "v1.ws.events.subscribe.channelStatus.json": "untagged",
    "v1.ws.events.subscribe.object.json": "untagged",
    "v1.ws.events.subscribe.parkingSpot.json": "untagged",
    "v1.ws.events.unsubscribe.json": "untagged",
}

CALL = {"caller": "0000001", "device": "vendor/device", "linked_channels": ("1", "2", "3", "4"), "name": None}
PUSHES: dict[str, list[Seen]] = {
    "push.lpr.json": [
        at(
            "2018-02-01 19:30:15",
            "plate.read",
            "F00001",
            plate="DSP963",
            device="F00001",
            first_seen=utc("2018-02-01 19:30:14"),
        )
    ],
    "push.emergencyCall.json": [at("2018-02-01 19:30:15", "call.started", "0000001", **CALL)],
    "push.array.json": [
        received("plate.read", "F00001", plate="DSP963", first_seen=None),
        at("2018-02-01 19:30:15", "call.started", "0000001", **CALL),
    ],
    "v1.push.lpr.json": [
        at("2024-01-01 03:00:00", "plate.read", "1", LIVE, "server", plate="12가3456", device="1"),
    ],
    "v1.push.lpr.spaceTime.json": [
        at("2026-01-15 01:30:00", "plate.read", "booth-01", LIVE, "server", plate="12AB3456"),
    ],
    "v1.push.emergencyCall.json": [
        at("2024-01-01 01:00:00", "call.started", "1", LIVE, "server", caller="1", linked_channels=("1", "2")),
    ],
}

PARAM = "v1.http.event.log.param."
ROWS: dict[str, tuple[Log, list[Seen]]] = {
    "http.find.carNo.json": (
        "plates",
        [
            at(
                "2018-02-21 14:07:29",
                "plate.read",
                "1",
                BACKFILL,
                plate="55EV96",
                score=95,
                direction="entry",
                device="1-1-1",
                device_name="The Empire State",
                first_seen=utc("2018-02-21 14:07:29"),
                linked_channels=("2", "3", "4"),
                image="/storage/e/0/0/0/39/39589.161142.1576732385942440.plate.jpg",
            ),
            at("2018-02-21 13:00:00.915", "plate.read", "1", BACKFILL, plate="DSP963", direction="exit"),
            at("2018-02-20 23:12:05.828", "plate.read", "1", BACKFILL, plate="L647AN", score=None, image=None),
        ],
    ),
    "http.find.object.json": (
        "objects",
        [
            at("2020-05-25 19:58:15.819", "object.detected", "1", BACKFILL, object="face", object_id="837"),
            at("2020-05-25 19:58:14.449", "object.detected", "1", BACKFILL, object="face", gender="male"),
            at("2020-05-25 19:58:14.185", "object.detected", "1", BACKFILL, object="human", likelihood=62.2),
            at("2020-05-25 19:55:21.557", "object.detected", "1", BACKFILL, object="vehicle", colors=("gray",)),
        ],
    ),
    "http.find.eventLog.json": (
        "events",
        [
            at(
                "2018-02-19 23:24:26.002",
                "system.log",
                None,
                BACKFILL,
                log_id="518",
                code=25,
                param={"storagePath": "E:\\recData\\", "statusCode": 0},
            ),
            at("2018-02-19 23:24:20.249", "system.log", None, BACKFILL, log_type=1, comment="admin: Auto-login"),
            at("2018-02-19 17:11:08.680", "system.log", None, BACKFILL, log_id="469", code_name="License applied"),
        ],
    ),
    "v1.http.lpr.log.json": (
        "plates",
        [
            at(
                "2024-01-01 01:00:00",
                "plate.read",
                "1",
                BACKFILL,
                "server",
                plate="12가3456",
                score=95.5,
                device="GATE-IN",
                device_name="Entrance Gate",
                image="/lpr/image1.jpg",
            )
        ],
    ),
    "v1.http.lpr.log.absoluteUrl.json": (
        "plates",
        [at("2024-01-01 01:00:00", "plate.read", "1", BACKFILL, "server", image="/lpr/image1.jpg")],
    ),
    "v1.http.event.log.json": (
        "events",
        [at("2024-01-01 01:00:00", "system.log", "1", BACKFILL, "server", log_id="1", log_type=1, code=100)],
    ),
    PARAM + "frameDrop.json": (
        "events",
        [
            at(
                "2026-08-31 10:36:41",
                "system.log",
                None,
                BACKFILL,
                "server",
                ongoing=True,
                param={
                    "period": ["2026-08-31T19:36:41", "2026-08-31T20:22:30"],
                    "channels": 9,
                    "channelList": [1, 2, 3, 5, 8, 9, 12, 13, 16],
                    "droppedFrames": 74213,
                    "ongoing": True,
                },
            )
        ],
    ),
    PARAM + "missingRecording.json": (
        "events",
        [
            at(
                "2026-08-31 10:36:41",
                "system.log",
                None,
                BACKFILL,
                "server",
                ongoing=None,
                param={"secs": 30, "streamFps": 15, "storage": 2, "freeMB": 10240, "anchorAge": -1, "queuePct": 0},
            )
        ],
    ),
    PARAM + "storageStall.loss.json": (
        "events",
        [
            at(
                "2026-08-31 10:36:41",
                "system.log",
                None,
                BACKFILL,
                "server",
                ongoing=True,
                param={
                    "storagePath": "G:\\recData",
                    "statusCode": -9,
                    "stalledSec": 67,
                    "stallCount": 19,
                    "chid": 4,
                    "lostSec": 200,
                    "channels": 9,
                    "channelList": [1, 2, 3, 5, 8, 9, 12, 13, 16],
                    "droppedFrames": 74213,
                    "ongoing": True,
                },
            )
        ],
    ),
    PARAM + "storageStall.noLoss.json": (
        "events",
        [
            at(
                "2026-08-31 10:36:41",
                "system.log",
                None,
                BACKFILL,
                "server",
                ongoing=None,
                param={"storagePath": "G:\\recData", "statusCode": -9, "stalledSec": 20},
            )
        ],
    ),
}

# Answers of the same calls that hold no rows of a log.
NO_ROWS = {
    "http.find.carNo.export.json",  # addresses of spreadsheets
    "http.find.similarCarNo.json",  # plates alone
    "http.find.recDays.json",  # calendars of recordings: the REST half reads them
    "http.find.recDays.byChannel.json",
    "http.find.recMinutes.json",
}


def check(events: list[VmsEvent], expected: list[Seen]) -> None:
    assert [(e.type, e.subject, e.time, e.timequality, e.origin) for e in events] == [
        (s.kind, s.subject, s.time, s.quality, s.origin) for s in expected
    ]
    for event, seen in zip(events, expected, strict=True):
        data = event.data.model_dump()
        assert {name: data[name] for name in seen.data} == dict(seen.data)
        assert event.source == "home/nvr1"
        assert event.received == RECEIVED
        assert VmsEvent.decode(event.encode()) == event


@pytest.mark.parametrize("name", EVENTS)
def test_a_documented_event_means_what_the_guide_says(name: str) -> None:
    """Kind, subject, time, its quality, provenance, and the fields that matter."""
    check(list(decode(load(name), context=context(name))), EVENTS[name])


@pytest.mark.parametrize("name", CONTROLS)
def test_a_documented_control_message_is_recognised_and_is_no_event(name: str) -> None:
    """Handshakes and answers are about the connection."""
    assert classify(load(name)) == CONTROLS[name]
    assert decode(load(name), context=context(name)) == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_client_says_is_refused_from_a_server(name: str) -> None:
    """With a reason, for the dead letters."""
    with pytest.raises(PayloadError) as caught:
        decode(load(name), context=context(name))
    assert caught.value.reason == REFUSED[name]


@pytest.mark.parametrize("name", PUSHES)
def test_a_documented_push_means_what_the_guide_says(name: str) -> None:
    """As the device sends it, unchanged."""
    items = PUSH.decode(
        (DATA / name).read_bytes(), site="home", source="nvr1", principal="gate", received=RECEIVED, zone=SEOUL
    )
    assert [item.reason for item in items] == [None] * len(PUSHES[name])
    events = [item.event for item in items if item.event]
    check(events, PUSHES[name])
    assert {(event.via, event.principal) for event in events} == {("push", "gate")}


@pytest.mark.parametrize("name", ROWS)
def test_a_documented_log_row_means_what_the_guide_says(name: str) -> None:
    """The rows of the three logs; a sample of `param` alone is put into the row it is from."""
    log, expected = ROWS[name]
    answer = load(name)
    if name.startswith(PARAM):
        row = {"id": 7, "type": 0, "code": 40, "chid": None, "timeRange": ["2026-08-31T19:36:41"], "param": answer}
        answer = {"totalCount": 1, "at": 0, "data": [row]}
    page = read_page(log, answer, context=context(name))
    assert page.refused == []
    check([row.event for row in page.rows], expected)


@pytest.mark.parametrize("name", sorted(NO_ROWS))
def test_an_answer_without_rows_of_a_log_is_refused(name: str) -> None:
    """Nothing is made up from something else."""
    if name.startswith("http.find.rec"):
        assert read_page("events", load(name), context=context(name)).rows == []
    else:
        with pytest.raises(PayloadError):
            read_page("plates", load(name), context=context(name))


def test_no_documented_message_is_left_out() -> None:
    """Every event, push and log-row sample has a row above."""
    ours = ("event.", "push.", "v1.push.", "v1.ws.events.", "http.find.", "v1.http.lpr.log", "v1.http.event.log")
    known = {*EVENTS, *CONTROLS, *REFUSED, *PUSHES, *ROWS, *NO_ROWS}
    assert {name for name in manifest() if name.startswith(ours)} == known
