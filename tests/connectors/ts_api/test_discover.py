"""What a server is, and what it has."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from bridge.sdk import (
    ChannelInfo,
    ConnectorAuthError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
    Describes,
    PtzPreset,
    Relay,
    TellsClock,
)
from connectors.ts_api import discover
from connectors.ts_api.connector import TsApi
from connectors.ts_api.discover import level_of
from connectors.ts_api.system import Api
from tests.clock import START, VirtualClock

from .support import API_KEY, Script, config, html, ok, sample

V0, V1 = "GET /api/info", "GET /api/v1/info"
OLD, NEW = ok({"apiVersion": "TS-API@0.9.20"}), ok(sample("v1.http.info"))
NO_V1 = httpx.Response(404)
LEGACY_OFF = httpx.Response(404, json=sample("v1.http.error.legacyDisabled"))
KEY_ONLY = {"username": None, "password": None, "api_key": API_KEY}


async def find(script: Script, **values: Any) -> Api:
    return await script.connector(**values)._system.api()


DIALECTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({V0: OLD, V1: NEW}, {}, "v0"),
    ({V0: OLD, V1: NEW}, {"api_key": API_KEY}, "v1"),
    ({V0: OLD, V1: NEW}, KEY_ONLY, "v1"),
    ({V0: OLD, V1: NEW}, {"credentials": "login"}, "v1"),
    ({V0: OLD, V1: NEW}, {"dialect": "v1"}, "v1"),
    ({V0: OLD, V1: NEW}, {"dialect": "v0", "api_key": API_KEY}, "v0"),
    ({V0: OLD, V1: NO_V1}, {"api_key": API_KEY}, "v0"),
    ({V0: OLD, V1: html(200)}, {"api_key": API_KEY}, "v0"),
    ({V0: LEGACY_OFF, V1: NEW}, {}, "v1"),
]


@pytest.mark.parametrize(("replies", "values", "dialect"), DIALECTS)
async def test_the_dialect_is_found(replies: dict[str, Any], values: dict[str, Any], dialect: str) -> None:
    """v1 where there is a key and the server has it, v0 otherwise; the configuration can force one."""
    assert (await find(Script(replies), **values)).found.dialect == dialect


MISFITS: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({V0: LEGACY_OFF}, {"dialect": "v0"}, ConnectorUnsupportedError, "Legacy API"),
    ({V0: OLD}, KEY_ONLY, ConnectorUnsupportedError, "does not offer the API"),
    ({V0: html(200), V1: html(200)}, {}, ConnectorUnavailableError, "is `url` right"),
    ({V0: html(502), V1: html(502)}, {}, ConnectorUnavailableError, "HTTP 502"),
    ({V0: ok({"hello": 1}), V1: ok([])}, {}, ConnectorUnavailableError, "names no apiVersion"),
]


@pytest.mark.parametrize(("replies", "values", "error", "words"), MISFITS)
async def test_a_server_that_does_not_fit_is_explained(
    replies: dict[str, Any], values: dict[str, Any], error: type[Exception], words: str
) -> None:
    """One sentence, and the right kind of trouble."""
    with pytest.raises(error) as caught:
        await find(Script(replies), **values)
    assert words in str(caught.value)


async def test_probing_shows_no_credentials() -> None:
    """Both info calls are open; a wrong host should learn nothing."""
    script = Script({V0: OLD})
    await find(script)
    assert all("authorization" not in request.headers for request in script.requests)


async def test_facts_are_read() -> None:
    """From the v1 sample, and from v0 with its encoded name."""
    found = (await find(Script({V1: NEW}), **KEY_ONLY)).found
    assert (found.product, found.product_version, found.name) == ("TS-NVR", "2.14.1", "Main Office")
    assert (found.level, found.zone_name) == ((1, 1, 0), "Asia/Seoul")
    old = (await find(Script({V0: ok(sample("http.info.all.401"))}))).found
    assert (old.name, old.level) == ("My home server", (0, 3, 0))
    assert datetime(2026, 1, 1, tzinfo=old.zone).utcoffset() == timedelta(hours=-5)


async def test_the_zone_can_be_overridden() -> None:
    """For a server whose clock is right and whose zone is not."""
    found = (await find(Script({V1: NEW}), **KEY_ONLY, zone="Europe/Berlin")).found
    assert found.zone_name == "Europe/Berlin"


async def test_the_clock_is_compared() -> None:
    """By the date of an answer, which has whole seconds."""
    clock = VirtualClock()
    ahead = (START + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    script = Script({V0: ok({"apiVersion": "TS-API@0.9.20"}, date=ahead)})
    connector = script.connector(clock)
    offset = (await connector._system.api()).found.clock_offset
    assert offset is not None
    assert abs(offset - timedelta(seconds=90)) <= timedelta(seconds=0.5)
    assert (await find(Script({V0: OLD}))).found.clock_offset is None


async def test_the_clock_is_asked_for_each_time() -> None:
    """By one request, in the dialect that was found; what it said before does not count."""
    clock = VirtualClock()
    said = {"apiVersion": "TS-API@0.9.20"}

    def at(seconds: float) -> str:
        return (clock.now() + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")

    script = Script({V0: [ok(said, date=at(0)), ok(said, date=at(3600)), ok(said), httpx.Response(503)]})
    connector = script.connector(clock)
    assert isinstance(connector, TellsClock)
    await connector._system.api()
    assert await connector.clock_offset() == timedelta(seconds=3600.5)
    assert await connector.clock_offset() is None
    with pytest.raises(ConnectorUnavailableError):
        await connector.clock_offset()
    await connector.aclose()
    with pytest.raises(ConnectorUnavailableError):
        await connector.clock_offset()


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("TS-API@0.9.20", (0, 9, 20)),
        ("ts-rest-api@0.1.0", (0, 1, 0)),
        ("TS-API@1.1", (1, 1, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_levels_are_numbers(version: str, level: tuple[int, int, int]) -> None:
    """0.9.4 is before 0.9.20."""
    assert level_of(version) == level
    assert level_of("TS-API@0.9.4") < level_of("TS-API@0.9.20")


# --- topics --------------------------------------------------------------------------------------------------


async def topics(script: Script, **values: Any) -> discover.Topics:
    api = await find(script, **values)
    return await discover.topics(config(**values), api.rest, api.found)


ENUM = "GET /api/enum"
LISTED = ok(sample("http.enum.realtimeEvent"))


async def test_all_that_is_offered_is_listened_to() -> None:
    """And what v0 may have without listing it is tried by itself."""
    found = await topics(Script({ENUM: LISTED}))
    assert found.sure == tuple(sample("http.enum.realtimeEvent"))
    assert found.maybe == ("bodyTemperature",)


async def test_v1_lists_what_it_has() -> None:
    """Nothing is guessed there."""
    script = Script({V1: NEW, "GET /api/v1/event/realtime": ok(sample("v1.http.event.realtime"))})
    found = await topics(script, **KEY_ONLY)
    assert found.sure == tuple(sample("v1.http.event.realtime"))
    assert found.maybe == ()


async def test_wishes_are_kept_and_the_missing_named() -> None:
    """What the server does not list may still be there."""
    found = await topics(Script({ENUM: LISTED}), topics=["LPR", "parkingSpot"])
    assert (found.sure, found.maybe, found.missing) == (("LPR",), ("parkingSpot",), ("parkingSpot",))


async def test_an_old_server_is_known_by_its_level() -> None:
    """It cannot be asked before 0.9.6."""
    script = Script({ENUM: httpx.Response(400)}, "TS-API@0.8.0")
    assert set((await topics(script)).sure) == {
        "channelStatus",
        "LPR",
        "emergencyCall",
        "systemEvent",
        "motionChanges",
    }


async def test_a_wrong_password_shows_here() -> None:
    """The first call that needs one."""
    with pytest.raises(ConnectorAuthError):
        await topics(Script({ENUM: httpx.Response(401)}))


# --- describing ----------------------------------------------------------------------------------------------


def described(**replies: Any) -> TsApi:
    def enum(request: httpx.Request) -> httpx.Response:
        what = request.url.params["what"]
        return ok(sample("http.enum.channel.caps")) if what == "channel" else LISTED

    return Script(
        {
            ENUM: enum,
            "GET /api/channel/preset": replies.get("preset", ok(sample("http.channel.preset.list"))),
            "GET /api/channel/relay": replies.get("relay", ok(sample("http.channel.relay.ls"))),
        }
    ).connector()


async def test_channels_are_described_with_presets_and_outputs() -> None:
    """What discovery and the check of rules need."""
    connector = described()
    assert isinstance(connector, Describes)
    info = await connector.describe()
    first, second = info.channels
    assert first == ChannelInfo(
        "1",
        "Front door",
        ptz=True,
        presets=(PtzPreset("1", "Front Door"), PtzPreset("2", "Garage")),
        relays=(
            Relay("7657b9aa-61d6-4b4f-a70a-c91e8657dfcf", "Stairway"),
            Relay("cffd1289-cb2c-4d82-8c6f-c7634b432f57", "Warehouse"),
        ),
        aux=0,
        reboot=True,
    )
    assert (second.channel, second.name) == ("2", "CH2")
    assert (info.dialect, info.version, info.zone) == ("v0", "TS-API@0.9.20", "America/New_York")


async def test_a_camera_that_does_not_answer_does_not_hold_up_the_others() -> None:
    """It has no presets until it does."""
    info = await described(preset=ok({"code": -3, "message": "not ready"})).describe()
    assert info.channels[0].presets == ()
    assert len(info.channels[0].relays) == 2


@pytest.mark.parametrize(
    ("replies", "values", "what", "codes"),
    [
        ({ENUM: ok(sample("http.enum.lprSrc"))}, {}, "plates", ["F00001", "1-1-1"]),
        ({ENUM: ok(sample("http.enum.emergencyCall"))}, {}, "calls", ["0000001"]),
        ({V1: NEW, "GET /api/v1/lpr/source": ok(sample("v1.http.lpr.source"))}, KEY_ONLY, "plates", ["GATE-IN"]),
        ({V1: NEW, "GET /api/v1/emergency": ok(sample("v1.http.emergency"))}, KEY_ONLY, "calls", ["EM-001"]),
        ({V1: NEW}, KEY_ONLY, "calls", []),
    ],
)
async def test_devices_are_listed(replies: dict[str, Any], values: dict[str, Any], what: Any, codes: list[str]) -> None:
    """By the code that events carry; none without the licence."""
    api = await find(Script(replies), **values)
    assert [device.code for device in await discover.devices(api.rest, api.found, what)] == codes
