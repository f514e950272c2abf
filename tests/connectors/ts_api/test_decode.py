"""What a message belongs to, what it says, and what makes an event itself; by the choices R-4 to R-26."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bridge.sdk import RAW_LIMIT, Origin, PayloadError, kinds
from connectors.ts_api.decode import Control, classify, decode, decode_parts
from connectors.ts_api.topics import TOPICS, Topic, families, offered_since, topic
from tests.connectors.ts_api.recorded import RECEIVED, context, load, utc

LPR = load("event.lpr.json")
BATCH = load("v1.ws.events.lpr.batch.json")
MOTION = load("event.motionChanges.json")


def ids(message: Any, **changes: Any) -> list[str]:
    return [event.id for event in decode(message, context=context(**changes))]


def refusal(message: Any, **changes: Any) -> str:
    with pytest.raises(PayloadError) as caught:
        decode(message, context=context(**changes))
    return caught.value.reason


def named(found: Topic | Control) -> str:
    assert isinstance(found, Topic)
    return found.name


# --- which topic (R-4, R-14, R-15) -----------------------------------------------------------------------


def test_r4_an_untagged_message_has_the_topic_of_its_connection() -> None:
    """So every topic whose messages come untagged has a connection of its own."""
    assert named(classify(load("event.object.face.json"), "bodyTemperature")) == "bodyTemperature"
    assert named(classify({"anything": 1}, "packing")) == "packing"


def test_r4_a_topic_in_the_message_counts_more_than_the_connections() -> None:
    """What the server says is true."""
    assert named(classify({"topic": "LPR"}, "object")) == "LPR"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("event.object.face.json", "object"),
        ("event.object.human.json", "object"),
        ("event.object.vehicle.json", "object"),
        ("event.bodyTemperature.json", "bodyTemperature"),
        ("event.bodyTemperature.ko.json", "bodyTemperature"),
    ],
)
def test_r4_without_a_connection_the_shape_decides(name: str, expected: str) -> None:
    """An `objId` with attributes is an object; with linked channels and none, a temperature."""
    assert named(classify(load(name))) == expected


def test_r4_topics_that_may_come_untagged_or_misread_ch_are_alone() -> None:
    """All others share one connection, in the order asked."""
    wanted = ["channelStatus", "object", "LPR", "parkingCount", "LPR", "bodyTemperature", "packing", "newTopic"]
    assert families(wanted) == [
        ("channelStatus", "LPR"),
        ("object",),
        ("parkingCount",),
        ("bodyTemperature",),
        ("packing",),
        ("newTopic",),
    ]
    assert families([]) == []
    assert all(row.alone for row in TOPICS.values() if not row.tagged)


def test_r14_the_type_of_a_body_temperature_is_ignored() -> None:
    """The English guide's `vehicle` is a slip; there is no value either."""
    (event,) = decode(load("event.bodyTemperature.json"), context=context(topic="bodyTemperature"))
    assert event.type == "temperature.alarm"
    assert set(event.data.model_dump()) == {"object_id", "likelihood", "linked_channels"}


@pytest.mark.parametrize("name", ["packing", "vehicleTracking", "somethingNewer"])
def test_r15_a_topic_without_a_documented_payload_passes_through(name: str) -> None:
    """Opaque, under its name, without its secrets."""
    message = {"topic": name, "chid": 2, "videoSrc": "rtsp://u:p@h/1", "timestamp": "2026-01-10T12:00:00Z"}
    (event,) = decode(message, context=context())
    assert (event.type, event.subject, event.time) == ("vendor.event", "2", utc("2026-01-10 12:00"))
    assert isinstance(event.data, kinds.VendorEvent)
    assert event.data.topic == name
    assert event.data.body == message | {"videoSrc": "rtsp://***@h/1"}


@pytest.mark.parametrize(
    "message",
    [
        {"topic": "emergencyCall", "event": "callTransferred", "caller": "1"},
        {"topic": "channelStatus", "event": "channelTilted", "chid": 1},
        {"topic": "recordingStatus", "event": "paused", "channel": []},
        {"topic": "parkingSpot", "event": "reserved", "spots": []},
        {"topic": "object", "type": "animal", "objId": 1, "chid": 1},
    ],
)
def test_a_word_newer_than_the_table_passes_through(message: dict[str, Any]) -> None:
    """A known topic may learn a new event; it is kept, not refused."""
    (event,) = decode(message, context=context())
    assert event.type == "vendor.event"
    assert isinstance(event.data, kinds.VendorEvent)
    assert event.data.topic == message["topic"]


def test_topics_are_known_since_their_level() -> None:
    """For servers too old to be asked what they offer."""
    assert offered_since((0, 2, 0), "v0") == []
    assert offered_since((0, 7, 0), "v0") == ["channelStatus", "LPR", "emergencyCall", "systemEvent"]
    assert "parkingSpot" not in offered_since((0, 9, 20), "v0")
    assert "packing" not in offered_since((1, 1, 0), "v1")
    assert topic("nonsense").alone


# --- plates (R-12) ---------------------------------------------------------------------------------------


def test_r12_a_batch_is_one_event_a_plate() -> None:
    """Each with what it shares and what is its own, and its own part of the original."""
    first, second = decode(BATCH, context=context("v1."))
    assert [e.data.model_dump()["plate"] for e in (first, second)] == ["12가3456", "34나5678"]
    assert first.id != second.id
    assert json.loads(second.raw or "") == BATCH | {"plates": [BATCH["plates"][1]]}


def test_r12_equal_plates_in_one_batch_are_told_apart() -> None:
    """By their place in it."""
    twice = BATCH | {"plates": [BATCH["plates"][0]] * 2}
    assert len(set(ids(twice))) == 2


def test_r12_one_bad_plate_does_not_take_the_others_along() -> None:
    """The rest of the batch goes on, and the refusal names the part."""
    broken = BATCH | {"plates": [{"score": 1}, BATCH["plates"][1], "x", {"plateNo": "-"}]}
    found = decode_parts(broken, context=context())
    assert [event.data.model_dump()["plate"] for event in found.events] == ["34나5678"]
    assert [(error.reason, str(error)) for error in found.refused] == [
        ("missing_field", "plates[0]: plateNo is missing"),
        ("bad_field", "plates[2] is not an object"),
        ("bad_field", "plates[3]: plateNo is no number plate"),
    ]
    assert decode(broken, context=context()) == found.events


def test_r12_a_picture_without_plates_is_nothing() -> None:
    """And no error either."""
    assert decode(BATCH | {"plates": []}, context=context()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"deviceCode": None, "srcCode": "A01"}, {"device": "A01"}),
        ({"image": ["http://h/a.jpg", "http://h/b.jpg"]}, {"image": "/a.jpg"}),
        ({"image": None}, {"image": None}),
        ({"score": 95.5}, {"score": 95.5}),
        ({"score": 250}, {"score": None}),
        ({"direction": "EXIT"}, {"direction": "exit"}),
        ({"direction": "sideways"}, {"direction": None}),
        ({"parkingLot": {"entrance": 1}}, {"lot": {"entrance": "1", "exit": None}}),
        ({"parkingLot": {}}, {"lot": None}),
        ({"roi": {"offset": [1.4, 2.6], "size": [3, 4]}}, {"region": {"x": 1, "y": 3, "width": 3, "height": 4}}),
        ({"roi": {"offset": [1]}}, {"region": None}),
        ({"linkedChannel": []}, {"linked_channels": ()}),
        ({"plateNo": " 서울 12가-3456 "}, {"plate": "서울12가3456", "plate_raw": " 서울 12가-3456 "}),
        ({"plateNo": 123456}, {"plate": "123456"}),
        ({"timeBegin": "soon"}, {"first_seen": None}),
    ],
)
def test_r12_the_members_of_a_plate_come_in_many_forms(change: dict[str, Any], expected: dict[str, Any]) -> None:
    """And what says nothing is nothing."""
    (event,) = decode(LPR | change, context=context())
    data = event.data.model_dump()
    assert {name: data[name] for name in expected} == expected


def test_a_reader_that_is_no_camera_is_its_own_subject() -> None:
    """External devices have no channel; their code is what rules know them by."""
    (event,) = decode({k: v for k, v in LPR.items() if k != "chid"} | {"deviceCode": "F00001"}, context=context())
    assert event.subject == "F00001"


@pytest.mark.parametrize("plate", ["", "---", None, {}, "X" * 33])
def test_a_plate_must_be_one(plate: Any) -> None:
    """An event without one would match nothing and mean nothing."""
    assert refusal(LPR | {"plateNo": plate}) in ("missing_field", "bad_field")


# --- time (R-11) -----------------------------------------------------------------------------------------


def test_r11_a_time_without_offset_is_the_servers() -> None:
    """And says so."""
    (event,) = decode(LPR | {"timestamp": "2026-01-10T21:00:00"}, context=context())
    assert (event.time, event.timequality) == (utc("2026-01-10 12:00"), "server")


@pytest.mark.parametrize(
    "timestamp", [None, "", "soon", 1768046400, "1970-01-01T00:00:07Z", "2026-11-01T01:30:00", "2026-03-08T02:30:00"]
)
def test_r11_without_a_usable_time_it_happened_on_receipt(timestamp: Any) -> None:
    """It says whether none was given, or one that makes no sense; in the hours of daylight saving too."""
    (event,) = decode(LPR | {"timestamp": timestamp}, context=context(zone=ZoneInfo("America/New_York")))
    assert (event.time, event.timequality) == (RECEIVED, "received" if timestamp is None else "doubtful")


def test_r11_the_original_time_stays_readable() -> None:
    """UTC in the event, the server's own words in `raw`."""
    (event,) = decode(LPR, context=context())
    assert json.loads(event.raw or "")["timestamp"] == "2018-06-27T10:42:06.575-05:00"


# --- identity --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["event.lpr.json", "event.parkingCount.json", "event.channelStatus.currentStatus.json", "event.object.face.json"],
)
def test_the_same_message_has_the_same_ids_whenever_it_comes(name: str) -> None:
    """However often, and however much later."""
    message = load(name)
    later = ids(json.loads(json.dumps(message)), received=RECEIVED + timedelta(hours=1))
    assert ids(message) == later
    assert len(set(later)) == len(later)


def test_another_source_or_site_makes_another_event() -> None:
    """Two servers may well say the same."""
    assert len({*ids(LPR), *ids(LPR, source="nvr2"), *ids(LPR, site="work")}) == 3


def test_an_untimed_message_is_told_apart_by_its_receipt() -> None:
    """A car read again tomorrow is another read; within a millisecond it is the same."""
    single = load("v1.ws.events.lpr.single.json")
    assert ids(single) != ids(single, received=RECEIVED + timedelta(days=1))
    assert ids(single) == ids(single, received=RECEIVED + timedelta(microseconds=400))
    assert ids(MOTION) != ids(MOTION, received=RECEIVED + timedelta(seconds=1))


def test_a_picture_with_a_stamp_in_its_name_is_identity_enough() -> None:
    """The vendor's stills are named after the microsecond."""
    untimed = {k: v for k, v in LPR.items() if k != "timestamp"}
    assert ids(untimed) == ids(untimed, received=RECEIVED + timedelta(hours=1))
    latest = untimed | {"image": "/lpr/latest.jpg"}
    assert ids(latest) != ids(latest, received=RECEIVED + timedelta(hours=1))


def test_a_log_line_that_has_grown_is_another_event_of_the_same_line() -> None:
    """Language does not matter, substance does."""
    row = load("event.systemEvent.systemShutdown.json")
    assert ids(row) == ids(row | {"typeName": "시스템 로그", "codeName": "시스템 종료"})
    grown = row | {"timeRange": [*row["timeRange"], "2018-12-26T15:30:00-05:00"]}
    assert ids(row) != ids(grown)
    first, second = (decode(message, context=context())[0] for message in (row, grown))
    assert first.correlation == second.correlation
    assert isinstance(second.data, kinds.SystemLog)
    assert second.data.ended == utc("2018-12-26 20:30")


# --- what belongs together -------------------------------------------------------------------------------


def correlation(message: Any, **changes: Any) -> str | None:
    return decode(message, context=context(**changes))[0].correlation


def test_the_two_ends_of_a_call_belong_together() -> None:
    """There is no call id; the caller is the tie."""
    start, end = load("event.emergencyCall.callStart.json"), load("event.emergencyCall.callEnd.json")
    assert correlation(start) == correlation(end)
    assert correlation(start) != correlation(start | {"caller": "0000003"})
    assert correlation(start) != correlation(start, source="nvr2")


def test_the_two_ends_of_motion_belong_together() -> None:
    """Channel by channel."""
    off = {"topic": "motionChanges", "updated": [{"chid": 1, "motion": False}]}
    assert correlation(MOTION) == correlation(off)


def test_the_reads_of_one_stay_belong_together() -> None:
    """Reader, plate and first sight; another visit is another one."""
    assert correlation(LPR) == correlation(LPR | {"image": "http://h/other.jpg", "timestamp": "2018-06-27T10:42:07Z"})
    assert correlation(LPR) != correlation(LPR | {"timeBegin": "2018-06-27T11:00:00-05:00"})
    unseen = LPR | {"timeBegin": None}
    assert correlation(unseen) == correlation(unseen | {"timestamp": None})
    assert correlation(unseen | {"image": None}) is None


# --- state -----------------------------------------------------------------------------------------------


def test_snapshots_are_marked_and_changes_are_not() -> None:
    """`currentStatus` says so itself; the first motionChanges and parkingCount are told by whoever counts."""
    for name in ("event.channelStatus.currentStatus.json", "event.recordingStatus.currentStatus.json"):
        assert {event.origin for event in decode(load(name), context=context())} == {Origin.RESYNC}
    for name in ("event.motionChanges.json", "event.parkingCount.json"):
        assert {event.origin for event in decode(load(name), context=context())} == {Origin.LIVE}
        assert {event.origin for event in decode(load(name), context=context(snapshot=True))} == {Origin.RESYNC}


def test_r6_the_codes_of_a_v1_socket_are_told_by_the_message() -> None:
    """0 is connected in v1 and no answer in v0, where one code above 200 shows whose they are."""
    entries = [{"chid": 1, "status": {"code": 0}}, {"chid": 2, "status": {"code": 401}}]
    message = {"topic": "channelStatus", "event": "currentStatus", "channel": entries}
    states = [e.data.model_dump()["state"] for e in decode(message, context=context("v1."))]
    assert states == ["disconnected", "auth_failed"]
    states = [e.data.model_dump()["state"] for e in decode(message | {"channel": entries[:1]}, context=context("v1."))]
    assert states == ["connected"]


def test_r9_channels_added_together_are_one_event_each() -> None:
    """And a swap is one event: who moves twice has moved nothing."""
    added = {"topic": "channelStatus", "event": "channelAdded", "chid": [4, 5]}
    assert [(e.type, e.subject) for e in decode(added, context=context())] == [
        ("channel.added", "4"),
        ("channel.added", "5"),
    ]
    assert len(set(ids(added))) == 2
    assert refusal(added | {"event": "channelSwapped", "chid": [4]}) == "bad_field"


def test_a_lot_may_be_overfull_and_a_counter_may_drift_below_nothing() -> None:
    """Counts are kept as they are; free spaces are never fewer than none."""
    lots = [{"id": 1, "count": 25, "maxCount": 20}, {"id": 2, "count": -2, "maxCount": 20}, {"id": 3, "count": 1}]
    found = decode({"topic": "parkingCount", "updated": lots}, context=context())
    assert [(e.data.model_dump()["count"], e.data.model_dump()["available"]) for e in found] == [
        (25, 0),
        (-2, 22),
        (1, None),
    ]


def test_r25_channels_in_the_log_are_counted_from_1() -> None:
    """Only in incidents of recording and storage, and only inside `param`."""
    row = {"topic": "systemEvent", "id": 1, "type": 0, "code": 5, "timeRange": ["2026-01-10T12:00:00Z"], "chid": 3}
    lost = row | {"param": {"droppedFrames": 5, "chid": 0, "channelList": [0, 7, "x"]}}
    (event,) = decode(lost, context=context())
    assert isinstance(event.data, kinds.SystemLog)
    assert (event.subject, event.data.param) == ("3", {"droppedFrames": 5, "chid": 1, "channelList": [1, 8, "x"]})
    (other,) = decode(row | {"param": {"chid": 0, "reason": "user"}}, context=context())
    assert isinstance(other.data, kinds.SystemLog)
    assert other.data.param == {"chid": 0, "reason": "user"}


def test_the_live_log_is_not_percent_decoded() -> None:
    """The same member is encoded in the fetched log and plain here."""
    row = {"topic": "systemEvent", "id": 1, "type": 0, "timeRange": ["2026-01-10T12:00:00Z"]}
    (event,) = decode(row | {"param": {"storagePath": "E:\\50%25"}}, context=context())
    assert isinstance(event.data, kinds.SystemLog)
    assert event.data.param == {"storagePath": "E:\\50%25"}


# --- bounds, secrets, refusals ---------------------------------------------------------------------------


def test_r26_a_snapshot_of_megabytes_becomes_small_events() -> None:
    """One a channel, each with its own part; a part too long to keep is left out whole."""
    entry = load("event.channelStatus.currentStatus.json")["channel"][0]
    entries = [entry | {"chid": n, "src": [{"src": "http://localhost/" + "x" * 60_000}]} for n in range(1, 145)]
    entries[7]["src"] = [{"src": "http://localhost/" + "x" * RAW_LIMIT}]
    message = {"topic": "channelStatus", "event": "currentStatus", "channel": entries}
    assert len(json.dumps(message)) > 8 * 1024 * 1024
    events = decode(message, context=context())
    assert [event.subject for event in events] == [str(n) for n in range(1, 145)]
    assert max(len(event.encode()) for event in events) < 128 * 1024
    assert [event.subject for event in events if event.raw is None] == ["8"]


def test_what_the_log_could_not_take_is_refused() -> None:
    """An opaque event of half a megabyte, a code that cannot be filed."""
    assert refusal({"topic": "packing", "x": "x" * 500_000}) == "too_large"
    assert refusal({"topic": "x" * 100}) == "bad_field"
    assert refusal({"topic": "emergencyCall", "event": "callStart", "caller": "가" * 100}) == "bad_name"


def test_secrets_are_in_no_part_of_an_event() -> None:
    """Addresses of cameras and players carry them."""
    message = load("event.channelStatus.videoStreamReady.json")
    message["src"][0]["src"] = "rtmp://admin:hunter2@localhost/live/ch1main?auth=aHVudGVyMg"
    (event,) = decode(message, context=context())
    (plate,) = decode(LPR | {"image": "http://h/a.jpg?token=hunter2"}, context=context())
    for found in (event, plate):
        assert b"hunter2" not in found.encode()
        assert b"aHVudGVyMg" not in found.encode()
    assert "/live/ch1main" in str(event.data)


def test_more_parts_than_any_server_has_are_refused() -> None:
    """A broken server must not keep the loop busy."""
    assert refusal({"topic": "motionChanges", "updated": [{"chid": 1, "motion": True}] * 10_001}) == "too_many_items"


def test_raw_can_be_turned_off_and_changes_nothing_else() -> None:
    """The id is the same with and without."""
    (with_raw,), (without,) = decode(LPR, context=context()), decode(LPR, context=context(keep_raw=False))
    assert without == with_raw.model_copy(update={"raw": None})


def deep(levels: int) -> Any:
    found: Any = 0
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ([], "not_object"),
        ("LPR", "not_object"),
        ({}, "untagged"),
        ({"hello": "world"}, "untagged"),
        ({"topic": "LPR"}, "missing_field"),
        ({"topic": "LPR", "plates": "x"}, "bad_field"),
        ({"topic": "motionChanges"}, "missing_field"),
        ({"topic": "motionChanges", "updated": [{"chid": 1, "motion": "maybe"}]}, "bad_field"),
        ({"topic": "channelStatus", "event": "statusChanged", "chid": 1}, "missing_field"),
        ({"topic": "channelStatus", "event": "statusChanged", "status": {"code": 200}}, "missing_field"),
        ({"topic": "emergencyCall", "event": "callStart"}, "missing_field"),
        ({"topic": "emergencyCall", "caller": "1"}, "missing_field"),
        ({"topic": "parkingCount", "updated": [{"id": 1}]}, "missing_field"),
        ({"topic": "systemEvent", "type": 0}, "missing_field"),
        ({"topic": "object", "chid": 1, "objId": 1}, "missing_field"),
        ({"topic": "LPR", "plateNo": "A1", "deviceName": "\ud800"}, "bad_text"),
        ({"topic": "LPR", "plateNo": "A1", "score": float("nan")}, "bad_text"),
        ({"topic": "LPR", "plateNo": "A1", "x": deep(100_000)}, "too_deep"),
    ],
)
def test_a_message_that_cannot_be_used_is_refused_with_a_reason(message: Any, reason: str) -> None:
    """A short code for metrics and dead letters, and words for people."""
    assert refusal(message) == reason
