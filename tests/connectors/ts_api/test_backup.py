"""Having the server keep an event's footage: what is asked, what is promised."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from bridge.sdk import ActionRejectedError, ActionUnknownError, BacksUpEvents, BackupReceipt
from connectors.ts_api.backup import server_time
from connectors.ts_api.connector import TsApi

from .support import API_KEY, Script, ok, sample

AT = datetime(2022, 11, 29, 15, 13, 9, 646000, tzinfo=UTC)
PUT = "PUT /api/event/trigger"


async def back_up(connector: TsApi, **changes: Any) -> BackupReceipt:
    wanted: dict[str, Any] = {
        "channels": ["1", "2", "3", "4"],
        "title": "fire outbreak",
        "comment": {"location": "Building 101, 5th floor", "tel": "119"},
        "preset": "preset1",
    } | changes
    return await connector.back_up("1", AT, timedelta(seconds=5), timedelta(minutes=1), **wanted)


def test_the_connector_says_so() -> None:
    """Whoever looks for it finds it."""
    assert isinstance(Script({}).connector(), BacksUpEvents)


async def test_the_request_is_the_guides() -> None:
    """Both ends and all channels are always given: defaults differ between the dialects."""
    script = Script({PUT: ok(sample("http.eventTrigger.response"))})
    receipt = await back_up(script.connector())
    sent = json.loads(script.requests[-1].content)
    expected = sample("http.eventTrigger.request")
    expected["tasks"][1]["postAlarm"] = "60s"
    assert sent == expected
    assert receipt.event_id == "1234"
    assert receipt.paths[0] == "/event-storage/e/20221129/101309/ch1-20221129-101309.mp4"
    assert len(receipt.paths) == 4
    assert receipt.ready_at == AT + timedelta(seconds=60 + 120)


async def test_the_channel_of_the_event_is_always_among_them() -> None:
    """v1 would leave it out."""
    script = Script({"PUT /api/v1/event/trigger": ok(sample("v1.http.event.trigger.response"))}, "TS-API@1.1.0", "v1")
    receipt = await back_up(script.connector(api_key=API_KEY), channels=["2"], preset=None)
    sent = json.loads(script.requests[-1].content)
    assert sent["tasks"] == [{"command": "eventBackup", "preAlarm": "5s", "postAlarm": "60s", "chids": [1, 2]}]
    assert receipt.event_id == "12345"


async def test_a_second_file_of_the_same_second_can_be_fetched() -> None:
    """Its name has brackets, which addresses write otherwise."""
    script = Script({PUT: ok(sample("http.eventTrigger.response.duplicate"))})
    assert (await back_up(script.connector())).paths[0].endswith("/ch1-20221129-101309%282%29.mp4")


async def test_the_other_path_is_tried_and_remembered() -> None:
    """The guides disagree; one 404 tells."""
    script = Script({"PUT /api/event-videos/trigger": ok(sample("http.eventTrigger.response"))})
    connector = script.connector()
    await back_up(connector)
    await back_up(connector)
    assert script.asked == [PUT, "PUT /api/event-videos/trigger", "PUT /api/event-videos/trigger"]


async def test_without_the_licence_it_is_refused() -> None:
    """Both paths answer 404; trying again would not help."""
    with pytest.raises(ActionRejectedError) as caught:
        await back_up(Script({}).connector())
    assert caught.value.reason == "missing"


async def test_only_a_path_that_is_not_there_leads_to_the_other() -> None:
    """Anything else may have been taken, and a second request would make a second backup."""

    def silent(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("")

    script = Script({PUT: silent})
    with pytest.raises(ActionUnknownError):
        await back_up(script.connector())
    assert script.asked == [PUT]


async def test_an_answer_without_an_event_is_unknown() -> None:
    """It was taken, but nobody can find it."""
    with pytest.raises(ActionUnknownError):
        await back_up(Script({PUT: ok({"code": 0})}).connector())


async def test_the_right_is_missing() -> None:
    """A code in a good answer is a refusal."""
    with pytest.raises(ActionRejectedError) as caught:
        await back_up(Script({PUT: ok({"code": -1, "message": "no"})}).connector())
    assert caught.value.reason == "forbidden"


async def test_more_than_an_hour_is_refused_here() -> None:
    """The server's limit."""
    script = Script({PUT: ok(sample("http.eventTrigger.response"))})
    with pytest.raises(ActionRejectedError, match="1 h"):
        await script.connector().back_up(
            "1", AT, timedelta(0), timedelta(hours=2), channels=[], title="", comment=None, preset=None
        )
    assert script.requests == []


def test_times_are_the_servers_own() -> None:
    """Without an offset, as the guide shows; with one in the hour that comes twice."""
    new_york = ZoneInfo("America/New_York")
    assert server_time(AT, new_york) == "2022-11-29T10:13:09.646"
    assert server_time(datetime(2022, 11, 6, 5, 30, tzinfo=UTC), new_york) == "2022-11-06T01:30:00.000-04:00"
    assert server_time(datetime(2022, 11, 6, 6, 30, tzinfo=UTC), new_york) == "2022-11-06T01:30:00.000-05:00"
    assert server_time(datetime(2022, 11, 6, 7, 30, tzinfo=UTC), new_york) == "2022-11-06T02:30:00.000"
