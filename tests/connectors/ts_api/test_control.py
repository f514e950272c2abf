"""What is asked of the server to move and switch things, and what its answers lead to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.clock import SystemClock
from bridge.safety.releases import ReleaseJournal, Target
from bridge.sdk import (
    ActionRejectedError,
    ActionUnavailableError,
    ActionUnknownError,
    ControlsPtz,
    PtzPreset,
    Reboots,
    Relay,
    SwitchesAux,
    SwitchesRelays,
)
from connectors.ts_api.connector import TsApi
from tests.bridge.actions.support import Locator
from tests.fakes import eventually

from .support import API_KEY, Script, config, context, ok, sample

DONE = ok(sample("http.channel.ptz.response"))
PRESETS = ok(sample("http.channel.preset.list"))
RELAYS = ok(sample("http.channel.relay.ls"))
STAIRWAY = "7657b9aa-61d6-4b4f-a70a-c91e8657dfcf"


def code(number: int) -> httpx.Response:
    return ok({"code": number, "message": "no"})


def v0(replies: dict[str, Any], **values: Any) -> tuple[TsApi, Script]:
    script = Script({f"GET /api/channel/{command}": reply for command, reply in replies.items()})
    return script.connector(**values), script


def v1(replies: dict[str, Any], **values: Any) -> tuple[TsApi, Script]:
    paths = {line.replace(" ", " /api/v1/channel/"): reply for line, reply in replies.items()}
    script = Script(paths, "TS-API@1.1.0", "v1")
    return script.connector(api_key=API_KEY, **values), script


def test_a_connector_can_do_what_its_contracts_say() -> None:
    """Whoever looks for a capability finds it."""
    connector, _ = v0({})
    for capability in (ControlsPtz, SwitchesRelays, SwitchesAux, Reboots):
        assert isinstance(connector, capability)


async def test_motion_is_asked_for_as_the_guide_says() -> None:
    """Tilt + is up for us; the server's + y is down."""
    connector, script = v0({"ptz": DONE})
    await connector.ptz_move("1", 0.5, 0.25, 0)
    await connector.ptz_move("1", -1, 0, 0.1)
    await connector.ptz_move("1", 0, 0, -0.1)
    await connector.ptz_move("1", 0, 0, 0)
    await connector.ptz_stop("1")
    assert script.asked == [
        "GET /api/channel/ptz?ch=1&move=0.5,-0.25",
        "GET /api/channel/ptz?ch=1&move=-1,0",
        "GET /api/channel/ptz?ch=1&zoom=0.1",
        "GET /api/channel/ptz?ch=1&zoom=-0.1",
        "GET /api/channel/ptz?ch=1&stop",
        "GET /api/channel/ptz?ch=1&stop",
    ]


async def test_tilt_can_be_turned_round() -> None:
    """For cameras that take + y as up."""
    connector, script = v0({"ptz": DONE}, invert_y=True)
    await connector.ptz_move("1", 0, 0.25, 0)
    assert script.asked == ["GET /api/channel/ptz?ch=1&move=0,0.25"]


@pytest.mark.parametrize("speeds", [(1.1, 0, 0), (0, -2, 0), (0, 0, float("nan"))])
async def test_an_impossible_speed_is_not_sent(speeds: tuple[float, float, float]) -> None:
    """Nothing moves on a mistake."""
    connector, script = v0({"ptz": DONE})
    with pytest.raises(ActionRejectedError):
        await connector.ptz_move("1", *speeds)
    assert script.asked == []


async def test_v1_is_asked_by_path_and_verb() -> None:
    """The same five things in the other dialect."""
    connector, script = v1(
        {
            "GET 1/ptz": DONE,
            "GET 1/preset": PRESETS,
            "GET 1/preset/2/go": DONE,
            "GET 1/relay": RELAYS,
            f"PUT 1/relay/{STAIRWAY}": DONE,
            "PUT 1/aux/0": DONE,
            "POST 1/reboot": DONE,
        }
    )
    await connector.ptz_move("1", 0.5, 0, 0)
    await connector.ptz_goto("1", "Garage")
    await connector.switch_relay("1", "Stairway", True)
    await connector.switch_relay("1", "Stairway", False)
    await connector.switch_aux("1", 0, True)
    await connector.reboot("1")
    assert [line.replace("/api/v1/channel/", "") for line in script.asked] == [
        "GET 1/ptz?move=0.5,0",
        "GET 1/preset",
        "GET 1/preset/2/go",
        "GET 1/relay",
        f"PUT 1/relay/{STAIRWAY}?state=on",
        f"PUT 1/relay/{STAIRWAY}?state=off",
        "PUT 1/aux/0?state=on",
        "POST 1/reboot",
    ]
    assert all(request.headers["x-api-key"] == API_KEY for request in script.requests[1:])


PRESET_FORMS = [
    sample("http.channel.preset.list"),
    [{"token": "1", "name": "Front Door"}, {"token": "2", "name": "Garage"}],
    {"chid": 1, "preset": [{"token": "1", "name": "Front Door", "devName": "x"}, {"token": 2, "name": "Garage"}]},
    [{"chid": 7, "preset": [{"token": "9", "name": "Other"}]}, *sample("http.channel.preset.list")],
]


@pytest.mark.parametrize("form", PRESET_FORMS)
async def test_presets_are_read_in_every_form(form: Any) -> None:
    """A bare array, an array by channel, or one object; of this channel only."""
    connector, _ = v0({"preset": ok(form)})
    assert await connector.ptz_presets("1") == [PtzPreset("1", "Front Door"), PtzPreset("2", "Garage")]


async def test_relays_are_listed() -> None:
    """With token and name."""
    connector, _ = v0({"relay": RELAYS})
    assert (await connector.relays("1"))[0] == Relay(STAIRWAY, "Stairway")


async def test_a_name_is_looked_up_once() -> None:
    """A gate does not wait for a list every time."""
    connector, script = v0({"relay": [RELAYS, DONE, DONE, DONE]})
    await connector.switch_relay("1", "stairway", True)
    await connector.switch_relay("1", "Stairway", False)
    await connector.switch_relay("1", STAIRWAY, False)
    assert script.asked == [
        "GET /api/channel/relay?ch=1&ls",
        f"GET /api/channel/relay?ch=1&on={STAIRWAY}",
        f"GET /api/channel/relay?ch=1&off={STAIRWAY}",
        f"GET /api/channel/relay?ch=1&off={STAIRWAY}",
    ]


async def test_only_what_the_camera_lists_is_sent() -> None:
    """A text from outside cannot become a second token or another parameter."""
    connector, script = v0({"relay": RELAYS})
    with pytest.raises(ActionRejectedError, match="it has: 'Stairway', 'Warehouse'") as caught:
        await connector.switch_relay("1", f"{STAIRWAY},other", True)
    assert caught.value.reason == "unknown_relay"
    assert len(script.asked) == 1


async def test_a_name_borne_twice_is_refused() -> None:
    """Better no gate than the wrong gate."""
    twice = [{"token": "a", "name": "Gate"}, {"token": "b", "name": "Gate"}]
    connector, _ = v0({"relay": ok({"chid": 1, "relay": twice})})
    with pytest.raises(ActionRejectedError, match="use the token") as caught:
        await connector.switch_relay("1", "Gate", True)
    assert caught.value.reason == "ambiguous"


async def test_the_other_word_for_the_list_is_tried() -> None:
    """The migration guide writes `list` where the guide has `ls`."""
    connector, script = v0({"relay": [code(-7), RELAYS]})
    assert len(await connector.relays("1")) == 2
    assert script.asked[1] == "GET /api/channel/relay?ch=1&list"


async def test_a_token_that_changed_is_looked_up_again() -> None:
    """Setting a preset anew gives it another token; the name is what people mean."""
    moved = ok([{"chid": 1, "preset": [{"token": "8", "name": "Garage"}]}])
    connector, script = v0({"preset": [PRESETS, DONE, code(-6), moved, DONE]})
    await connector.ptz_goto("1", "Garage")
    await connector.ptz_goto("1", "Garage")
    assert [line.partition("&")[2] for line in script.asked] == ["list", "go=2", "go=2", "list", "go=8"]


async def test_a_token_that_is_wrong_stays_wrong() -> None:
    """One look, not a loop."""
    connector, script = v0({"preset": [PRESETS, code(-6)]})
    with pytest.raises(ActionRejectedError):
        await connector.ptz_goto("1", "Garage")
    assert len(script.asked) == 2


async def test_what_makes_safe_is_tried_twice_on_a_device_error() -> None:
    """Off and stop; on never, because nobody knows what the device did."""
    connector, script = v0({"relay": [RELAYS, code(-9), code(-9), DONE], "ptz": [code(-9), DONE]})
    with pytest.raises(ActionUnknownError, match="the device answered with an error"):
        await connector.switch_relay("1", "Stairway", True)
    await connector.switch_relay("1", "Stairway", False)
    await connector.ptz_stop("1")
    sent = [line.partition("&")[2].partition("=")[0] for line in script.asked]
    assert sent == ["ls", "on", "off", "off", "stop", "stop"]


async def test_a_device_error_leaves_nothing_on(tmp_path: Path) -> None:
    """A gate may stand open that the device calls an error: it is switched back at once, and so is a camera stopped."""
    connector, script = v0({"relay": [RELAYS, code(-9), DONE], "ptz": [code(-9), DONE]})
    services = Locator()
    services.put_source("nvr", connector)
    journal = ReleaseJournal(tmp_path, services, SystemClock())
    paying = asyncio.create_task(journal.run())
    await asyncio.sleep(0)
    hour = timedelta(hours=1)
    gate, camera = Target("relay", "nvr", "1", "Stairway"), Target("ptz", "nvr", "1")
    with pytest.raises(ActionUnknownError):
        await journal.away(gate, "o1", hour, lambda: None, lambda: connector.switch_relay("1", "Stairway", True))
    with pytest.raises(ActionUnknownError):
        await journal.away(camera, "o2", hour, lambda: None, lambda: connector.ptz_move("1", 1, 0, 0))
    await eventually(lambda: not journal.owed())
    sent = {line.partition("&")[2].partition("=")[0] for line in script.asked}
    assert sent == {"ls", "on", "off", "move", "stop"}
    paying.cancel()
    await asyncio.wait([paying])


@pytest.mark.parametrize("answer", [code(-9), code(-2), code(-3)])
async def test_a_camera_that_turns_and_does_not_zoom_is_in_doubt(answer: httpx.Response) -> None:
    """It turns, whatever came of the zoom: who sent it must stop it. Without a turn the answer is the zoom's own."""
    connector, _ = v0({"ptz": [DONE, answer, code(-2)]})
    with pytest.raises(ActionUnknownError):
        await connector.ptz_move("1", 1, 0, 0.5)
    with pytest.raises(ActionRejectedError):
        await connector.ptz_move("1", 0, 0, 0.5)


async def test_a_list_that_does_not_come_leaves_nothing_in_doubt() -> None:
    """Nothing was switched yet: worth another try, and no alarm."""
    connector, script = v0({"relay": code(-9), "preset": code(-9)})
    with pytest.raises(ActionUnavailableError):
        await connector.switch_relay("1", "Stairway", True)
    with pytest.raises(ActionUnavailableError):
        await connector.ptz_goto("1", "Garage")
    assert len(script.asked) == 2


@pytest.mark.parametrize("channel", ["", "1,2", "-1", "1&stop", "gate", "١"])
async def test_a_channel_is_a_number(channel: str) -> None:
    """Anything else is refused here: v0 would take `1,2` as two cameras."""
    connector, script = v0({"ptz": DONE})
    with pytest.raises(ActionRejectedError) as caught:
        await connector.ptz_stop(channel)
    assert caught.value.reason == "invalid_channel"
    assert script.requests == []


async def test_a_server_that_is_away_is_worth_another_try() -> None:
    """Nothing was sent, so nothing can have happened."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    script = Script({"GET /api/info": refuse, "GET /api/v1/info": refuse})
    with pytest.raises(ActionUnavailableError, match="cannot reach"):
        await script.connector().switch_relay("1", "Gate", True)


async def test_no_answer_to_a_command_is_unknown() -> None:
    """It may have been done."""

    def silent(request: httpx.Request) -> httpx.Response:
        if "on" in request.url.params:
            raise httpx.ReadTimeout("")
        return RELAYS

    connector, _ = v0({"relay": silent})
    with pytest.raises(ActionUnknownError):
        await connector.switch_relay("1", "Stairway", True)


async def test_legacy_switched_off_is_found_out_at_the_next_order() -> None:
    """The order that met it is refused; the next one speaks v1."""
    gone = httpx.Response(404, json=sample("v1.http.error.legacyDisabled"))
    script = Script({"GET /api/channel/ptz": gone})
    connector = script.connector()
    with pytest.raises(ActionRejectedError):
        await connector.ptz_stop("1")
    with pytest.raises(ActionRejectedError):
        await connector.ptz_stop("1")
    assert [request.url.path for request in script.requests].count("/api/info") == 2


async def test_swapped_channels_forget_their_tokens() -> None:
    """A number means another camera now."""
    connector, script = v0({"preset": [PRESETS, DONE, PRESETS, DONE]})
    await connector.ptz_goto("1", "Garage")
    connector.channels_changed()
    await connector.ptz_goto("1", "Garage")
    assert len(script.asked) == 4


async def test_many_orders_do_not_wait_one_after_another_for_a_server_that_is_away() -> None:
    """Who asked while somebody looked shares the answer."""
    looks = 0

    async def refuse(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        raise httpx.ConnectError("refused")

    connector = TsApi(config(), context(), httpx.MockTransport(refuse))
    orders = [connector.ptz_stop("1") for _ in range(10)]
    errors = await asyncio.gather(*orders, return_exceptions=True)
    assert {type(error) for error in errors} == {ActionUnavailableError}
    assert looks == 1
    with pytest.raises(ActionUnavailableError):
        await connector.ptz_stop("1")
    assert looks == 2
