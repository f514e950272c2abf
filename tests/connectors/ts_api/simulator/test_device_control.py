"""Device control: accepted at once, done later, refused with every code, and always written down."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from connectors.ts_api.simulator import Simulator, SimulatorConfig
from connectors.ts_api.simulator.config import ChannelConfig, NamedToken

from .client import KEY, token_of, v0_socket

_OK = {"code": 0, "message": "Success"}


@pytest.fixture
async def v1(sim: Simulator) -> Any:
    """A client with the demo key."""
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        yield client


async def test_relays_really_switch(sim: Simulator, http: httpx.AsyncClient) -> None:
    """On and off change the contact, and each change has its time."""
    assert (await http.get("/api/channel/relay?ch=1&on=relay-1,relay-2")).json() == _OK
    assert sim.relay(1, "relay-1").on
    assert (await http.get("/api/channel/relay?ch=1&off=relay-1")).json() == _OK
    relay = sim.relay(1, "relay-1")
    assert [on for _, on in relay.history] == [True, False]
    assert relay.history[0][0] <= relay.history[1][0]
    assert sim.relay(1, "relay-2").on


async def test_off_is_ignored_beside_on(sim: Simulator, http: httpx.AsyncClient) -> None:
    """With both given, only `on` counts."""
    await http.get("/api/channel/relay?ch=1&off=relay-1&on=relay-2")
    assert (sim.relay(1, "relay-1").history, sim.relay(1, "relay-2").on) == ([], True)


async def test_a_command_is_accepted_before_it_is_done(config: SimulatorConfig) -> None:
    """`code: 0` says nothing about the device: it acts later."""
    slow = config.model_copy(update={"device_delay": timedelta(milliseconds=50)})
    async with (
        Simulator(slow) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        assert (await client.get("/api/channel/relay?ch=1&on=relay-1")).json() == _OK
        assert not sim.relay(1, "relay-1").on
        await sim.until(lambda: sim.relay(1, "relay-1").on)
        assert sim.calls[0].done is not None
        assert sim.calls[0].done >= sim.calls[0].at + timedelta(milliseconds=40)


async def test_a_busy_camera_says_so(config: SimulatorConfig) -> None:
    """While a camera works on a command it answers -4 to the next, though not to questions."""
    busy = config.model_copy(update={"busy_time": timedelta(hours=1)})
    async with (
        Simulator(busy) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        assert (await client.get("/api/channel/ptz?ch=1&home")).json()["code"] == 0
        assert (await client.get("/api/channel/relay?ch=1&on=relay-1")).json()["code"] == -4
        assert (await client.get("/api/channel/relay?ch=1&ls")).json()["code"] == 0
        assert (await client.get("/api/channel/ptz?ch=2&home")).json()["code"] == 0


@pytest.mark.parametrize("code", range(-9, 0))
async def test_every_code_can_be_injected(sim: Simulator, http: httpx.AsyncClient, code: int) -> None:
    """A fault makes one command of one channel fail with any code, and only that."""
    sim.faults.set("control", channel=1, command="relay", code=code)
    assert (await http.get("/api/channel/relay?ch=1&on=relay-1")).json()["code"] == code
    assert not sim.relay(1, "relay-1").on
    assert (await http.get("/api/channel/ptz?ch=1&home")).json()["code"] == 0


_REFUSED = [
    ("relay?ch=9&on=relay-1", -5),
    ("relay?on=relay-1", -5),
    ("relay?ch=1&on=nothing", -6),
    ("relay?ch=1&on=", -8),
    ("relay?ch=1", -7),
    ("relay?ch=2&on=relay-1", -2),
    ("ptz?ch=3&home", -2),
    ("ptz?ch=1", -7),
    ("ptz?ch=1&move=0.5,2", -8),
    ("ptz?ch=1&move=left", -8),
    ("preset?ch=1&go=9", -6),
    ("preset?ch=3&go=1", -2),
    ("preset?ch=1", -7),
    ("aux?ch=1&on=2", -8),
    ("aux?ch=2&on=0", -2),
    ("aux?ch=1", -7),
]


@pytest.mark.parametrize(("call", "code"), _REFUSED)
async def test_what_makes_no_sense_is_refused(http: httpx.AsyncClient, call: str, code: int) -> None:
    """v0 refuses with HTTP 200 and a code."""
    answer = await http.get(f"/api/channel/{call}")
    assert (answer.status_code, answer.json()["code"]) == (200, code)


async def test_without_the_right_the_code_is_minus_one(sim: Simulator) -> None:
    """A user without Control gets HTTP 200 and -1 on v0, HTTP 403 on v1; both are recorded."""
    async with httpx.AsyncClient(base_url=sim.url, auth=("viewer", "viewer")) as client:
        answer = await client.get("/api/channel/relay?ch=1&on=relay-1")
        assert (answer.status_code, answer.json()["code"]) == (200, -1)
    bearer = {"Authorization": f"Bearer {(await token_of(sim, 'viewer:viewer'))['accessToken']}"}
    async with httpx.AsyncClient(base_url=sim.url, headers=bearer) as client:
        assert (await client.put("/api/v1/channel/1/relay/relay-1?state=on")).status_code == 403
    assert [(call.dialect, call.user, call.code) for call in sim.calls] == [
        ("v0", "viewer", -1),
        ("v1", "viewer", -1),
    ]


async def test_a_camera_that_is_away_is_not_ready(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A disconnected camera answers -3 to commands; its presets are still listed from memory."""
    await sim.event("channelStatus", channel=1, code=404)
    assert (await http.get("/api/channel/ptz?ch=1&home")).json()["code"] == -3
    assert (await http.get("/api/channel/preset?ch=1&list")).json()[0]["code"] == 0
    assert (await http.get("/api/channel/preset?ch=1&reload")).json()[0]["code"] == -3


async def test_moving_goes_on_until_stop(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Motion is continuous; stop, or a bare move, ends it."""
    await http.get("/api/channel/ptz?ch=1&move=0.5,-0.5")
    await http.get("/api/channel/ptz?ch=1&zoom=1")
    assert sim.site.channels[1].ptz.moving == {"move": "0.5,-0.5", "zoom": "1"}
    await http.get("/api/channel/ptz?ch=1&move")
    assert sim.site.channels[1].ptz.moving == {}


async def test_setting_a_preset_may_give_another_token(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The token in the answer is the one that counts."""
    answer = (await http.get("/api/channel/preset?ch=1&set=2&name=Barrier")).json()
    assert answer["token"] == "preset4"
    assert sim.site.channels[1].presets == {"1": "Overview", "3": "Call station", "preset4": "Barrier"}
    added = (await http.get("/api/channel/preset?ch=1&add&name=New")).json()
    assert (added["token"], added["name"]) == ("preset5", "New")
    assert (await http.get("/api/channel/preset?ch=1&go=preset5")).json() == _OK
    assert sim.site.channels[1].ptz.preset == "preset5"
    removed = (await http.get("/api/channel/preset?ch=1&rm=1,preset5")).json()
    assert [item["code"] for item in removed["preset"]] == [0, 0]
    assert "code" not in removed


async def test_old_servers_take_the_name_with_the_token(config: SimulatorConfig) -> None:
    """Before 0.9.17 it is `set=<token>,<name>`."""
    old = config.model_copy(update={"api_version": "0.9.16", "reassign_presets": False})
    async with (
        Simulator(old) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        await client.get("/api/channel/preset?ch=1&set=2,Barrier")
        assert sim.site.channels[1].presets["2"] == "Barrier"


async def test_a_rebooting_camera_goes_away(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Reboot is seen as status -5."""
    async with v0_socket(sim, "channelStatus") as socket:
        await socket.read()
        await socket.read()
        await http.get("/api/channel/reboot?ch=2")
        assert (await socket.read())["status"] == {"code": -5}


async def test_v1_control_uses_paths_and_verbs(sim: Simulator, v1: httpx.AsyncClient) -> None:
    """The same devices answer to v1's paths."""
    assert (await v1.put("/api/v1/channel/1/relay/relay-1?state=on")).json() == _OK
    assert (await v1.put("/api/v1/channel/1/aux/0?state=on")).json() == _OK
    assert (await v1.get("/api/v1/channel/1/preset/2/go")).json() == _OK
    assert (await v1.get("/api/v1/channel/1/ptz?move=0.1,0.1")).json() == _OK
    presets = (await v1.get("/api/v1/channel/1/preset")).json()
    assert presets["preset"][0] == {"token": "1", "name": "Overview", "devName": "Overview"}
    stored = (await v1.post("/api/v1/channel/1/preset?name=Here")).json()
    assert (await v1.put(f"/api/v1/channel/1/preset/{stored['token']}?name=There")).status_code == 200
    assert (await v1.delete("/api/v1/channel/1/preset/1")).status_code == 200
    assert sim.relay(1, "relay-1").on
    assert sim.site.channels[1].aux[0].on
    commands = [(call.dialect, call.command) for call in sim.calls]
    assert commands[:3] == [("v1", "relay"), ("v1", "aux"), ("v1", "preset")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "3/ptz?home", 500),
        ("GET", "9/ptz?home", 400),
        ("PUT", "1/relay/nothing?state=on", 400),
        ("PUT", "1/relay/relay-1", 400),
        ("POST", "1/reboot", 403),
    ],
)
async def test_v1_fails_with_http_codes(v1: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    """500 where a camera cannot turn, 400 for nonsense, 403 where an administrator is needed."""
    assert (await v1.request(method, f"/api/v1/channel/{path}")).status_code == status


async def test_a_stuck_relay_accepts_and_stays(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The nastiest failure: success in the answer, nothing at the contact."""
    sim.faults.set("stuck_relay", channel=1, times=1)
    assert (await http.get("/api/channel/relay?ch=1&on=relay-1")).json() == _OK
    assert not sim.relay(1, "relay-1").on
    await http.get("/api/channel/relay?ch=1&on=relay-1")
    assert sim.relay(1, "relay-1").on


async def test_a_camera_without_onvif_can_do_nothing(config: SimulatorConfig) -> None:
    """No ONVIF, no control: -2 to everything."""
    plain = ChannelConfig(chid=1, onvif=False, relays=(NamedToken(token="1", name="Gate"),))
    async with (
        Simulator(config.model_copy(update={"channels": (plain,)})) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        assert (await client.get("/api/channel/relay?ch=1&on=1")).json()["code"] == -2
