"""Pushes: as the vendor's devices send them, bounded, and never one item's fault on another."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sdk import PUSH_DEPTH, PUSH_ITEMS, PUSH_KEYS, PUSH_TEXT, Origin, PayloadError, PushItem, VmsEvent
from connectors.ts_api.push import FUTURE, PUSH
from connectors.ts_api.times import EARLIEST
from tests.connectors.ts_api.recorded import RECEIVED, SEOUL, load, utc

PLATE = load("push.lpr.json")
CALL = load("push.emergencyCall.json")


def push(body: Any, *, zone: tzinfo = SEOUL, principal: str | None = "gate", **changes: Any) -> list[PushItem]:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    fields = {"site": "home", "source": "push", "principal": principal, "received": RECEIVED, "zone": zone}
    return list(PUSH.decode(raw, **fields | changes))


def event(body: Any, **changes: Any) -> VmsEvent:
    (item,) = push(body, **changes)
    assert item.event is not None, item
    return item.event


def reason(item: Any) -> str | None:
    (found,) = push(item)
    assert found.event is None
    return found.reason


def body_reason(body: bytes) -> str:
    with pytest.raises(PayloadError) as caught:
        push(body)
    return caught.value.reason


def nested(levels: int) -> Any:
    found: Any = 0
    for _ in range(levels):
        found = [found]
    return found


def test_both_paths_of_the_vendor_are_served() -> None:
    """A device is only told another host."""
    assert PUSH.paths == ("/api/push", "/api/v1/push")


def test_a_push_is_live_and_says_who_pushed() -> None:
    """It may open doors, so it must be known whose it is."""
    found = event(PLATE)
    assert (found.origin, found.via, found.principal) == (Origin.LIVE, "push", "gate")
    assert json.loads(found.raw or "") == PLATE


# --- R-21 ------------------------------------------------------------------------------------------------


def test_r21_a_bad_item_does_not_hold_up_a_good_one() -> None:
    """A bad plate must not block an emergency call; the order is kept."""
    items = push([PLATE | {"plateNo": ""}, CALL, "x", {"topic": "LPR"}, PLATE])
    assert [(item.event.type if item.event else None, item.reason) for item in items] == [
        (None, "bad_field"),
        ("call.started", None),
        (None, "not_object"),
        (None, "missing_field"),
        ("plate.read", None),
    ]
    assert items[0].error == "plateNo is not usable"
    assert json.loads(items[0].raw) == PLATE | {"plateNo": ""}


@pytest.mark.parametrize("member", ["topic", "src", "plateNo"])
def test_r21_a_plate_needs_these(member: str) -> None:
    """And nothing else."""
    assert reason({k: v for k, v in PLATE.items() if k != member}) == "missing_field"
    assert event({"topic": "LPR", "src": "F1", "plateNo": "A1"}).subject == "F1"


@pytest.mark.parametrize("member", ["topic", "src", "event"])
def test_r21_a_call_needs_these(member: str) -> None:
    """v1's own examples leave out the rest."""
    assert reason({k: v for k, v in CALL.items() if k != member}) == "missing_field"
    assert event({"topic": "emergencyCall", "src": "1", "event": "callEnd"}).type == "call.ended"


def test_r21_members_that_are_not_known_are_accepted() -> None:
    """They stay in the original."""
    found = event(PLATE | {"lane": 2})
    assert '"lane":2' in (found.raw or "")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (PLATE | {"topic": "motionChanges"}, "unknown_topic"),
        (PLATE | {"topic": "lpr"}, "unknown_topic"),
        (PLATE | {"topic": 7}, "bad_field"),
        (PLATE | {"src": {}}, "bad_field"),
        (PLATE | {"src": "가" * 60}, "bad_name"),
        (PLATE | {"plateNo": "X" * 33}, "bad_field"),
        (PLATE | {"plateNo": "A\x001"}, "bad_text"),
        (PLATE | {"note": "\x9b31m"}, "bad_text"),
        (CALL | {"event": "callHold"}, "bad_field"),
        (CALL | {"event": ["callStart"]}, "bad_field"),
        ([PLATE], "not_object"),
        (PLATE | {"x": nested(PUSH_DEPTH)}, "too_deep"),
        (PLATE | {"x": [0] * PUSH_KEYS}, "too_many_keys"),
        (PLATE | {"x": "x" * (PUSH_TEXT + 1)}, "long_string"),
        (PLATE | {"x" * (PUSH_TEXT + 1): 1}, "long_string"),
    ],
)
def test_r21_an_item_that_cannot_be_used_has_a_reason(item: Any, expected: str) -> None:
    """From a short list, for metrics."""
    (found,) = push([item])
    assert (found.event, found.reason) == (None, expected)


def test_an_item_at_the_bounds_is_accepted() -> None:
    """The bounds are what they say."""
    assert event(PLATE | {"x": nested(PUSH_DEPTH - 1)})
    assert event(PLATE | {"x": [0] * (PUSH_KEYS - len(PLATE) - 1)})
    assert event(PLATE | {"x": "x" * PUSH_TEXT})
    assert len(push([PLATE] * PUSH_ITEMS)) == PUSH_ITEMS


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"topic":"LPR"} x', "not_json"),
        (b'{"score":NaN}', "not_json"),
        (b'{"plateNo":"\\ud800"}', "not_json"),
        (b'{"plateNo":"\xff"}', "not_json"),
        (b"[" * 100_000 + b"]" * 100_000, "not_json"),
        (b"<html>", "not_json"),
        (b"topic=LPR&src=1", "not_json"),
        (b"[]", "empty"),
        (b'"LPR"', "not_object"),
        (b"null", "not_object"),
        (b"[" + b"{}," * PUSH_ITEMS + b"{}]", "too_many_items"),
    ],
)
def test_r21_a_body_that_cannot_be_read_is_refused_whole(body: bytes, expected: str) -> None:
    """The sender gets 400."""
    assert body_reason(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"topic":"LPR","src":"F1","plateNo":"A1","plateNo":"B2"}',
        b'{"topic":"LPR","src":"F1","plateNo":"A1","x":[{"a":1,"a":1}]}',
    ],
)
def test_a_member_named_twice_is_refused(body: bytes) -> None:
    """Readers of JSON disagree which one counts; a gate must not depend on it."""
    (item,) = push(body)
    assert (item.event, item.reason) == (None, "duplicate_key")
    (item, good) = push(b"[" + body + b"," + json.dumps(CALL).encode() + b"]")
    assert item.reason == "duplicate_key"
    assert good.event is not None


def test_a_number_beyond_all_numbers_is_refused() -> None:
    """`1e400` is infinity to some readers."""
    raw = json.dumps(PLATE)[:-1].encode() + b',"score":1e400}'
    (item,) = push(raw)
    assert (item.event, item.reason) == (None, "bad_text")


def test_a_byte_order_mark_is_skipped() -> None:
    """Windows devices write one."""
    assert event(b"\xef\xbb\xbf" + json.dumps(PLATE).encode()).data.model_dump()["plate"] == "DSP963"


def test_texts_are_composed() -> None:
    """The same name in two Unicode forms is the same name."""
    decomposed = "Cafe\u0301"
    assert event(CALL | {"src": decomposed}).subject == "Caf\u00e9"
    assert event(CALL | {"src": decomposed}).id == event(CALL | {"src": "Caf\u00e9"}).id


# --- R-22 ------------------------------------------------------------------------------------------------


def test_r22_without_a_time_it_happened_on_receipt() -> None:
    """Left out or null: the sender speaks now."""
    for item in (CALL | {"when": None}, {name: value for name, value in CALL.items() if name != "when"}):
        assert (event(item).time, event(item).timequality) == (RECEIVED, "received")


@pytest.mark.parametrize(
    "when",
    [
        "",
        "soon",
        0,
        "2099-01-01T00:00:00Z",
        (RECEIVED + FUTURE + timedelta(seconds=1)).isoformat(),
        "1970-01-01T00:00:00Z",
    ],
)
def test_r22_without_a_sane_time_it_happened_on_receipt_and_says_so(when: Any) -> None:
    """A device without a clock is not refused, an emergency call least of all; but nothing opens for it."""
    found = event(CALL | {"when": when})
    assert (found.time, found.timequality) == (RECEIVED, "doubtful")


@given(
    st.one_of(
        st.none(), st.text(max_size=40), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(), st.lists(st.integers(), max_size=2),
        st.datetimes(timezones=st.sampled_from([UTC, None, SEOUL])).map(datetime.isoformat),
        st.datetimes(RECEIVED.replace(tzinfo=None) - FUTURE, RECEIVED.replace(tzinfo=None) + 2 * FUTURE).map(str),
    )
)  # fmt: skip
def test_r22_whatever_stands_there_only_what_is_left_out_counts_as_now(when: Any) -> None:
    """Any value: a time within bounds is taken as it is, nothing is taken as nothing, and the rest is in doubt."""
    (item,) = push(json.dumps(PLATE | {"when": when}).encode())
    found = item.event
    if found is None:
        assert item.reason == "bad_text"
    elif when is None:
        assert (found.time, found.timequality) == (RECEIVED, "received")
    elif found.timequality == "doubtful":
        assert found.time == RECEIVED
    else:
        assert found.timequality in ("device", "server")
        assert EARLIEST <= found.time <= RECEIVED + FUTURE
        assert isinstance(when, str)


@given(st.integers(0, 18 * 60))
def test_a_time_that_means_two_moments_opens_nothing(minutes: int) -> None:
    """In the night when clocks go back: what the device's clock shows twice is in doubt, all else is one moment."""
    new_york = ZoneInfo("America/New_York")
    local = datetime.fromisoformat("2026-10-31T20:00") + timedelta(minutes=minutes)
    twice = "2026-11-01T01:00" <= local.isoformat() < "2026-11-01T02:00"
    received = utc("2026-11-01 07:00")
    found = event(PLATE | {"when": local.isoformat()}, zone=new_york, received=received)
    if twice:
        assert (found.time, found.timequality) == (received, "doubtful")
    else:
        assert (found.time, found.timequality) == (local.replace(tzinfo=new_york).astimezone(UTC), "server")


def test_r22_a_time_within_a_day_ahead_is_taken() -> None:
    """It is accepted, and opens nothing."""
    ahead = RECEIVED + FUTURE
    assert event(CALL | {"when": ahead.isoformat()}).time == ahead


def test_a_time_without_offset_is_in_the_configured_zone() -> None:
    """Unless daylight saving makes two moments of it."""
    assert event(PLATE | {"when": "2026-01-15 10:30:00"}).time == utc("2026-01-15 01:30")
    new_york = ZoneInfo("America/New_York")
    repeated = event(PLATE | {"when": "2026-11-01T01:30:00"}, zone=new_york, received=utc("2026-11-01 06:30"))
    assert (repeated.time, repeated.timequality) == (utc("2026-11-01 06:30"), "doubtful")


# --- identity --------------------------------------------------------------------------------------------


def test_the_same_push_has_the_same_id() -> None:
    """Sent again because no answer came, in another form, or in an array."""
    first = event(PLATE)
    assert event(PLATE, received=RECEIVED + timedelta(hours=1)).id == first.id
    assert event(dict(reversed(PLATE.items()))).id == first.id
    assert event([PLATE | {"lane": 2}]).id == first.id
    assert event(PLATE | {"when": "2018-02-01T19:30:15Z"}).id == first.id


@pytest.mark.parametrize("change", [{"plateNo": "DSP964"}, {"src": "F00002"}, {"when": "2018-02-01T14:30:16-05:00"}])
def test_another_plate_device_or_time_is_another_event(change: dict[str, str]) -> None:
    """What makes it itself."""
    assert event(PLATE | change).id != event(PLATE).id


def test_another_sender_or_the_end_of_a_call_is_another_event() -> None:
    """Two devices may well read the same plate."""
    assert event(PLATE, principal="other").id != event(PLATE).id
    assert event(CALL).id != event(CALL | {"event": "callEnd"}).id
    assert event(CALL).correlation == event(CALL | {"event": "callEnd"}).correlation


@pytest.mark.parametrize("when", [None, "2099-01-01T00:00:00Z"])
def test_without_a_sane_time_the_receipt_tells_pushes_apart(when: str | None) -> None:
    """The same car comes again tomorrow, also where the device's clock stands still."""
    push_ = PLATE | {"when": when}
    assert event(push_).id == event(push_).id
    assert event(push_).id != event(push_, received=RECEIVED + timedelta(seconds=1)).id


# --- what it says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("camera", "linked"),
    [("1,2", ("1", "2")), ("", ()), (None, ()), (3, ("3",)), ([1, 2], ("1", "2")), ("x,4", ("4",))],
)
def test_camera_names_the_linked_channels(camera: Any, linked: tuple[str, ...]) -> None:
    """An empty one restores the screen of the vendor's client; to us it links nothing."""
    assert event(CALL | {"camera": camera}).data.model_dump()["linked_channels"] == linked


def test_a_source_that_is_a_number_is_one() -> None:
    """v1 speaks of ids."""
    assert event(PLATE | {"src": 1}).subject == "1"


def test_a_reader_that_knows_score_and_direction_may_say_so() -> None:
    """The guide has neither; a door with a minimum score needs one."""
    data = event(PLATE | {"score": 97.5, "direction": "entry"}).data.model_dump()
    assert (data["score"], data["direction"]) == (97.5, "entry")
    assert event(PLATE).data.model_dump()["score"] is None


def test_secrets_are_not_kept_of_good_or_bad_items() -> None:
    """Dead letters are read by people."""
    good, bad = push([PLATE | {"url": "rtsp://u:hunter2@h/1"}, {"topic": "x", "password": "hunter2"}])
    assert good.event is not None
    assert "hunter2" not in good.raw + bad.raw + (good.event.raw or "")
