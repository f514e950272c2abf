"""Who gets in: v0 passwords as clients mangle them, sessions, v1 tokens, keys, permissions, licences."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from connectors.ts_api.simulator import Simulator, SimulatorConfig
from connectors.ts_api.simulator.config import UserConfig

from .client import ADMIN_AUTH, KEY, sample, token_of, v0_socket, v1_socket

# base64 of this pair has `+`, `/` and `=`, everything that goes wrong in a query
_AWKWARD = UserConfig(name="bob", password="a:b>>>???~~~", admin=True)  # type: ignore[arg-type]
_AWKWARD_AUTH = base64.b64encode(b"bob:a:b>>>???~~~").decode()


@pytest.fixture
def config(config: SimulatorConfig) -> SimulatorConfig:
    """The default users and one with an awkward password."""
    return config.model_copy(update={"users": (*config.users, _AWKWARD)})


@pytest.fixture
async def http(sim: Simulator) -> Any:
    """A client without credentials."""
    async with httpx.AsyncClient(base_url=sim.url) as client:
        yield client


@pytest.mark.parametrize(
    "query",
    [
        quote(_AWKWARD_AUTH, safe=""),
        _AWKWARD_AUTH,
        _AWKWARD_AUTH.rstrip("="),
        _AWKWARD_AUTH.replace("+", "%20"),
    ],
    ids=["encoded", "bare", "without padding", "plus as space"],
)
async def test_auth_is_read_however_it_was_mangled(http: httpx.AsyncClient, query: str) -> None:
    """Encoded, bare, without padding, with spaces for plus: all are the same password."""
    assert "+" in _AWKWARD_AUTH
    assert _AWKWARD_AUTH.endswith("=")
    answer = await http.get(f"/api/info?whoAmI&auth={query}")
    assert answer.json()["whoAmI"]["uid"] == "bob"


async def test_basic_works_on_calls_and_files(http: httpx.AsyncClient) -> None:
    """Basic is good for every HTTP path; a file without it asks for it."""
    assert (await http.get("/api/enum?what=channel", auth=("admin", "admin"))).status_code == 200
    assert (await http.get("/hls/ch1main/index.m3u8", auth=("admin", "admin"))).status_code == 200
    refused = await http.get("/hls/ch1main/index.m3u8")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")


async def test_a_session_lives_in_a_cookie_and_on_sockets_in_a_parameter(
    sim: Simulator, http: httpx.AsyncClient
) -> None:
    """Login sets a cookie that calls honour; sockets want its value as `session=`; logout ends it."""
    assert (await http.get("/api/auth", params={"login": ADMIN_AUTH})).status_code == 200
    assert (await http.get("/api/enum?what=channel")).status_code == 200
    cookie = http.cookies["TSSESSION"]
    async with v0_socket(sim, "LPR", auth="", session=cookie) as socket:
        assert (await socket.read())["topics"] == ["LPR"]
    await http.get("/api/auth?logout")
    http.cookies.set("TSSESSION", cookie)
    assert (await http.get("/api/enum?what=channel")).status_code == 401


async def test_what_is_open_and_what_is_not(http: httpx.AsyncClient) -> None:
    """Facts of the server are open; `whoAmI`, and everything else, is not; `all` is a 401 with a body."""
    assert (await http.get("/api/info?apiVersion&siteName&timezone&product&license")).status_code == 200
    assert (await http.get("/api/info?whoAmI")).status_code == 401
    everything = await http.get("/api/info?all")
    assert everything.status_code == 401
    assert set(everything.json()) == set(sample("http.info.all.401"))
    for path in ("enum?what=channel", "find?what=eventLog", "vod", "status", "system?info", "channel/info"):
        assert (await http.get(f"/api/{path}")).status_code == 401, path


async def test_only_administrators_restart(http: httpx.AsyncClient) -> None:
    """Restart needs more than a user."""
    assert (await http.get("/api/system?restart", auth=("demo", "!1234qwer"))).status_code == 403
    answer = await http.get("/api/system?restart", auth=("admin", "admin"))
    assert answer.json() == sample("http.system.restart")


async def test_legacy_off_answers_404_to_everything_old(config: SimulatorConfig) -> None:
    """With v0 switched off, every v0 path is a 404 with the vendor's message."""
    async with (
        Simulator(config.model_copy(update={"legacy_off": True})) as sim,
        httpx.AsyncClient(base_url=sim.url, auth=("admin", "admin")) as client,
    ):
        for path in ("info?apiVersion", "enum?what=channel", "nothing"):
            answer = await client.get(f"/api/{path}")
            assert answer.status_code == 404
        assert answer.json() == sample("v1.http.error.legacyDisabled")
        assert (await client.get("/api/v1/info")).status_code == 200


# v1


async def test_refreshing_rotates_and_logging_out_ends(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A refresh token works once; after logout neither token works."""
    first = await token_of(sim)
    assert set(first) == set(sample("v1.http.auth.login.response"))
    second = await http.post("/api/v1/auth/refresh", json={"refreshToken": first["refreshToken"]})
    assert set(second.json()) == set(sample("v1.http.auth.refresh.response"))
    again = await http.post("/api/v1/auth/refresh", json={"refreshToken": first["refreshToken"]})
    assert again.status_code == 401
    bearer = {"Authorization": f"Bearer {second.json()['accessToken']}"}
    assert (await http.get("/api/v1/channel", headers=bearer)).status_code == 200
    await http.post("/api/v1/auth/logout", json={"refreshToken": second.json()["refreshToken"]})
    assert (await http.get("/api/v1/channel", headers=bearer)).status_code == 401


async def test_an_expired_token_is_a_401(footage_cache: Any) -> None:
    """Access tokens end by themselves, refresh tokens live on."""
    moment = datetime(2026, 1, 10, 12, tzinfo=UTC)
    now = [moment]
    config = SimulatorConfig(cache_dir=footage_cache)
    async with (
        Simulator(config, now=lambda: now[0]) as sim,
        httpx.AsyncClient(base_url=sim.url) as client,
    ):
        pair = await token_of(sim)
        query = {"token": pair["accessToken"]}
        assert (await client.get("/api/v1/channel", params=query)).status_code == 200
        now[0] = moment + timedelta(hours=1)
        assert (await client.get("/api/v1/channel", params=query)).status_code == 401
        renewed = await client.post("/api/v1/auth/refresh", json={"refreshToken": pair["refreshToken"]})
        assert renewed.status_code == 200


async def test_keys_are_made_shown_once_and_revoked(sim: Simulator, http: httpx.AsyncClient) -> None:
    """An administrator makes a key; it is listed without itself; revoked, it stops working."""
    bearer = {"Authorization": f"Bearer {(await token_of(sim))['accessToken']}"}
    wanted = sample("v1.http.auth.apikey.create.request") | {"ipWhitelist": ["127.0.0.0/8"]}
    made = (await http.post("/api/v1/auth/apikey", json=wanted, headers=bearer)).json()
    assert set(made) == set(sample("v1.http.auth.apikey.create.response"))
    key = {"X-API-Key": made["key"]}
    assert (await http.get("/api/v1/channel", headers=key)).status_code == 200
    listed = (await http.get("/api/v1/auth/apikey", headers=bearer)).json()
    assert made["id"] in {item["id"] for item in listed}
    assert made["key"] not in str(listed)
    assert (await http.delete(f"/api/v1/auth/apikey/{made['id']}", headers=bearer)).status_code == 200
    assert (await http.get("/api/v1/channel", headers=key)).status_code == 401


@pytest.mark.parametrize(
    ("limits", "path", "status"),
    [
        ({"permissions": ["remote"]}, "event/log", 403),
        ({"permissions": ["playback"]}, "channel", 403),
        ({"permissions": ["remote"]}, "channel/1/ptz?home", 403),
        ({"permissions": ["remote"]}, "auth/apikey", 403),
        ({"permissions": ["*"]}, "event/log", 200),
        ({"permissions": ["channel:read"]}, "channel", 200),
        ({"permissions": ["remote"], "ipWhitelist": ["192.168.1.0/24"]}, "channel", 401),
        ({"permissions": ["remote"], "expiresAt": 1}, "channel", 401),
        ({}, "channel", 200),
    ],
)
async def test_keys_do_what_they_may(
    sim: Simulator, http: httpx.AsyncClient, limits: dict[str, Any], path: str, status: int
) -> None:
    """A missing permission is a 403; a key from elsewhere or past its time is a 401."""
    key = sim.world.access.create_key({"name": "test", **limits}).key
    answer = await http.get(
        f"/api/v1/{path}", params={"apikey": key} if "?" not in path else None, headers={"X-API-Key": key}
    )
    assert answer.status_code == status


async def test_a_key_for_some_channels_sees_only_those(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Other channels are not listed, and their events never come."""
    key = sim.world.access.create_key({"channels": [2]}).key
    listed = (await http.get("/api/v1/channel", headers={"X-API-Key": key})).json()
    assert [entry["chid"] for entry in listed] == [2]
    async with v1_socket(sim, "object", {"X-API-Key": key}) as socket:
        await socket.read()
        await sim.event("object", channel=1, type="human")
        await sim.event("object", channel=2, type="face")
        assert (await socket.read())["type"] == "face"


async def test_what_is_not_licensed_is_not_there(config: SimulatorConfig) -> None:
    """v1 answers 404 to features the licence lacks, and leaves their topics out."""
    lacking = config.model_copy(update={"unlicensed": frozenset({"lpr", "parking", "eventBackup", "push"})})
    async with Simulator(lacking) as sim, httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        for path in ("lpr/source", "parking/lot"):
            assert (await client.get(f"/api/v1/{path}")).status_code == 404
        assert (await client.post("/api/v1/push", json={})).status_code == 404
        assert (await client.put("/api/v1/event/trigger", json={})).status_code == 404
        topics = (await client.get("/api/v1/event/realtime")).json()
        assert "parkingCount" not in topics
        assert "LPR" in topics


async def test_x_host_is_wanted_where_the_vendor_wants_it(sim: Simulator, http: httpx.AsyncClient) -> None:
    """v1 vod and recording days without X-Host are a 400."""
    key = {"X-API-Key": KEY["X-API-Key"]}
    assert (await http.get("/api/v1/vod", headers=key)).status_code == 400
    assert (await http.get("/api/v1/recording/days", headers=key)).status_code == 400
    assert (await http.get("/api/v1/channel", headers=key)).status_code == 200
    live = (await http.get("/api/v1/vod", headers=KEY)).json()
    assert live[0]["src"][0]["src"] == "rtmp://server.example/live/ch1main"
