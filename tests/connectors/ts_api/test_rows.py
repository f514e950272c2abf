"""Rows of the server's logs: back-filled events, and how their live twins are recognised."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bridge.sdk import Origin, PayloadError, VmsEvent, kinds
from connectors.ts_api.decode import decode
from connectors.ts_api.rows import Log, Row, read_page
from connectors.ts_api.twins import live_keys
from tests.connectors.ts_api.recorded import context, load, utc

LIVE_PLATE = load("event.lpr.json")
NAME = "39612.161192.1576732638241699.plate.jpg"
PLATE = {
    "id": 70,
    "plateNo": "DSP963",
    "srcCode": "1-1-7",
    "timeRange": ["2018-06-27T10:42:02.573-05:00", "2018-06-27T10:42:20.000-05:00"],
    "vod": [{"chid": 1, "videoSrc": "http://h/watch"}, {"chid": 2}],
}


def rows(log: Log, *found: Any, **changes: Any) -> list[Row]:
    page = read_page(log, {"totalCount": len(found), "at": 0, "data": list(found)}, context=context(**changes))
    assert page.refused == []
    return list(page.rows)


def live(message: Any, **changes: Any) -> VmsEvent:
    return decode(message, context=context(**changes))[0]


def are_twins(row: Row, event: VmsEvent) -> bool:
    return not set(row.twins).isdisjoint(live_keys(event))


def test_a_row_never_looks_live() -> None:
    """Whatever the caller's context says: what comes from a log opens no door."""
    (row,) = rows("plates", PLATE, origin=Origin.LIVE)
    assert (row.event.origin, row.event.via) == (Origin.BACKFILL, "log")


def test_a_row_has_the_channel_its_live_form_had() -> None:
    """The reader's own comes first; an external reader has none."""
    (row,) = rows("plates", PLATE)
    assert row.event.subject == live(LIVE_PLATE).subject == "1"
    assert row.event.data.model_dump()["linked_channels"] == ("2",)
    (external,) = rows("plates", PLATE | {"srcCode": "F00001"})
    assert external.event.subject == "F00001"
    assert external.event.data.model_dump()["linked_channels"] == ("1", "2")


# --- twins -----------------------------------------------------------------------------------------------


def test_a_picture_recognises_its_twin() -> None:
    """By file name, whatever the address around it."""
    other = PLATE | {"timeRange": ["2018-06-27T09:00:00Z"], "image": ["/x/other.jpg", f"http://10.0.0.1/y/{NAME}?a=1"]}
    (row,) = rows("plates", other)
    assert are_twins(row, live(LIVE_PLATE))
    assert not are_twins(row, live(LIVE_PLATE | {"image": "http://h/another.jpg"}))


@pytest.mark.parametrize(
    ("began", "same"),
    [
        ("2018-06-27T10:42:02.573-05:00", True),
        ("2018-06-27T10:42:03.5-05:00", True),
        ("2018-06-27T10:42:01.6-05:00", True),
        ("2018-06-27T10:42:09-05:00", False),
        ("2018-06-27T10:41:50-05:00", False),
    ],
)
def test_without_a_picture_reader_plate_and_first_sight_do(began: str, same: bool) -> None:
    """Within a second."""
    (row,) = rows("plates", PLATE | {"timeRange": [began]})
    assert are_twins(row, live(LIVE_PLATE | {"image": None})) is same


@pytest.mark.parametrize("change", [{"plateNo": "DSP964"}, {"srcCode": "1-1-8"}])
def test_another_plate_or_reader_is_no_twin(change: dict[str, Any]) -> None:
    """Two lanes side by side."""
    (row,) = rows("plates", PLATE | change)
    assert not are_twins(row, live(LIVE_PLATE | {"image": None}))


def test_a_plate_pushed_to_both_is_recognised() -> None:
    """What a device pushed here and to the server comes back in the server's log."""
    from connectors.ts_api.push import PUSH

    body = b'{"topic":"LPR","src":"F1","plateNo":"DSP 963","when":"2018-06-27T10:42:03-05:00"}'
    (item,) = PUSH.decode(
        body, site="home", source="push", principal="x", received=context().received, zone=ZoneInfo("UTC")
    )
    (row,) = rows("plates", PLATE | {"srcCode": "F1"})
    assert item.event is not None
    assert are_twins(row, item.event)


def test_an_object_is_recognised_by_picture_or_by_id_and_time() -> None:
    """v1 leaves the id out; then the picture must do."""
    face = load("event.object.face.json")
    (row,) = rows("objects", face)
    assert are_twins(row, live(face))
    assert are_twins(row, live({k: v for k, v in face.items() if k != "image"}))
    (bare,) = rows("objects", {k: v for k, v in face.items() if k not in ("objId", "likelihood")})
    assert bare.event.data.model_dump()["object_id"] is None
    assert are_twins(bare, live(face))
    assert not are_twins(row, live(load("event.object.human.json")))


def test_a_line_of_the_system_log_has_one_id_heard_or_fetched() -> None:
    """Encoded texts and the language of the asker make no difference."""
    heard = load("event.systemEvent.systemShutdown.json") | {"param": {"storagePath": "E:\\rec"}}
    fetched = {k: v for k, v in heard.items() if k != "topic"}
    (row,) = rows("events", fetched | {"param": {"storagePath": "E%3A%5Crec"}, "codeName": "시스템 종료"})
    assert row.event.id == live(heard).id
    assert row.event.data.model_dump()["param"] == {"storagePath": "E:\\rec"}


def test_kinds_without_a_log_have_no_keys() -> None:
    """Nothing to be confused with."""
    for name in ("event.emergencyCall.callStart.json", "event.motionChanges.json", "event.bodyTemperature.json"):
        assert live_keys(live(load(name))) == ()


# --- rows that change ------------------------------------------------------------------------------------


def test_a_plate_row_that_grows_stays_one_event() -> None:
    """The car stands there a little longer."""
    (first,) = rows("plates", PLATE)
    (later,) = rows("plates", PLATE | {"timeRange": [PLATE["timeRange"][0], "2018-06-27T10:50:00-05:00"], "score": 9})  # type: ignore[index]
    assert first.event.id == later.event.id
    assert first.event.time == later.event.time


def test_an_ongoing_incident_comes_again_as_another_version() -> None:
    """Tied by correlation, and marked so that it is asked for again."""
    row = {"id": 9, "type": 0, "code": 40, "chid": None, "timeRange": ["2026-08-31T19:36:41", "2026-08-31T19:40:00"]}
    open_row = row | {"param": {"droppedFrames": 10, "ongoing": True}}
    done_row = row | {
        "timeRange": [row["timeRange"][0], "2026-08-31T20:22:30"],  # type: ignore[index]
        "param": {"droppedFrames": 74213, "ongoing": False},
    }
    (first,), (last,) = rows("events", open_row), rows("events", done_row)
    assert (first.ongoing, last.ongoing) == (True, False)
    assert first.event.id != last.event.id
    assert first.event.correlation == last.event.correlation
    assert isinstance(last.event.data, kinds.SystemLog)
    assert last.event.data.ended == utc("2026-08-31 11:22:30")


@pytest.mark.parametrize(
    ("param", "corrected"),
    [
        ({"droppedFrames": 1, "windowSec": 10, "chid": 2}, {"droppedFrames": 1, "windowSec": 10, "chid": 3}),
        ({"statusCode": -9, "stalledSec": 1, "chid": 0}, {"statusCode": -9, "stalledSec": 1, "chid": 1}),
        ({"secs": 3, "streamFps": 5, "chid": 0}, {"secs": 3, "streamFps": 5, "chid": 1}),
        ({"statusCode": 0, "chid": 0}, {"statusCode": 0, "chid": 0}),
        ({"chid": 4, "uid": "kim"}, {"chid": 4, "uid": "kim"}),
        ({}, {}),
    ],
)
def test_r24_r25_incidents_are_known_by_their_members(param: dict[str, Any], corrected: dict[str, Any]) -> None:
    """Numbers differ between servers and names are translated; members are neither."""
    (row,) = rows("events", {"id": 1, "type": 0, "timeRange": ["2026-01-01T00:00:00Z"], "param": param})
    assert row.event.data.model_dump()["param"] == corrected


def test_in_the_repeated_hour_a_row_gets_the_earlier_reading() -> None:
    """There is no receipt to fall back on; it may be an hour late to the truth and moves nothing."""
    zone = ZoneInfo("America/New_York")
    (row,) = rows("plates", PLATE | {"timeRange": ["2026-11-01T01:30:00"]}, zone=zone)
    assert (row.event.time, row.event.timequality) == (utc("2026-11-01 05:30"), "server")


# --- pages -----------------------------------------------------------------------------------------------


def test_a_page_says_whether_more_follows() -> None:
    """By what the server counted, not by what was understood."""
    page = read_page("plates", {"totalCount": 5, "at": 2, "data": [PLATE, {"id": 1}]}, context=context())
    assert (page.total, page.at, page.count, page.last, len(page.rows), len(page.refused)) == (5, 2, 2, False, 1, 1)
    assert read_page("plates", {"totalCount": 4, "at": 2, "data": [PLATE, PLATE]}, context=context()).last
    assert read_page("plates", {"totalCount": 9, "at": 2, "data": []}, context=context()).last
    assert read_page("plates", {"data": [PLATE]}, context=context()).last


@pytest.mark.parametrize(
    ("log", "row", "reason"),
    [
        ("plates", "x", "bad_field"),
        ("plates", {"plateNo": "A1"}, "missing_field"),
        ("plates", PLATE | {"plateNo": None}, "missing_field"),
        ("plates", PLATE | {"timeRange": ["soon"]}, "bad_field"),
        ("objects", {"chid": 1, "type": "animal", "timestamp": "2026-01-01T00:00:00Z"}, "bad_field"),
        ("objects", {"chid": 1, "type": "face"}, "missing_field"),
        ("events", {"id": 1, "type": 0}, "missing_field"),
        ("events", {"id": 1, "type": 0, "timeRange": ["soon"]}, "bad_field"),
        ("events", {"type": 0, "timeRange": ["2026-01-01"]}, "missing_field"),
    ],
)
def test_a_row_that_cannot_be_used_does_not_hold_up_the_page(log: Log, row: Any, reason: str) -> None:
    """It is counted with its reason."""
    page = read_page(log, {"totalCount": 1, "at": 0, "data": [row]}, context=context())
    assert (page.rows, [error.reason for error in page.refused]) == ([], [reason])


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"data": 7}])
def test_an_answer_that_is_no_page_is_refused(answer: Any) -> None:
    """An error body, a list of addresses."""
    with pytest.raises(PayloadError):
        read_page("events", answer, context=context())
