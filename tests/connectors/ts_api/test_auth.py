"""Logins are few, renewals are one at a time, and credentials go to one server."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from bridge.sdk import ConnectorAuthError, ConnectorUnavailableError
from connectors.ts_api.addresses import Host
from connectors.ts_api.auth import ApiKey, Basic, FileAuth, Login, credentials_for
from connectors.ts_api.failures import Failure
from connectors.ts_api.rest import Rest
from connectors.ts_api.wire import Call, Wire
from tests.clock import VirtualClock

from .support import PASSWORD, URL, USER, config, ok, sample

CALL = Call("/api/v1/channel")


class Server:
    """A v1 server with rotating tokens."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.log: list[str] = []
        self.valid: str | None = None
        self.refresh: str | None = None
        self.password = PASSWORD
        self.count = 0
        self.slow = False

    def login(self, **values: Any) -> tuple[Login, Rest]:
        settings = config(**values)
        wire = Wire(settings, Host(settings.url), None, httpx.MockTransport(self.answer))
        credentials = Login(USER, PASSWORD, wire, self.clock)
        return credentials, Rest(wire, credentials)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        self.log.append(name)
        await asyncio.sleep(0)
        if name == "login":
            given = base64.b64decode(json.loads(request.content)["auth"]).decode()
            return self._new() if given == f"{USER}:{self.password}" else httpx.Response(401)
        if name == "refresh":
            return self._new() if json.loads(request.content)["refreshToken"] == self.refresh else httpx.Response(401)
        good = self.valid is not None and request.headers.get("authorization") == f"Bearer {self.valid}"
        return ok([]) if good else httpx.Response(401)

    def _new(self) -> httpx.Response:
        self.count += 1
        self.valid, self.refresh = f"CANARY-access{self.count}", f"CANARY-refresh{self.count}"
        body = sample("v1.http.auth.login.response")
        return ok({**body, "accessToken": self.valid, "refreshToken": self.refresh})


async def test_one_login_serves_many_requests() -> None:
    """The token is kept."""
    server = Server()
    _, rest = server.login()
    for _ in range(3):
        await rest.query(CALL)
    assert server.log == ["login", "channel", "channel", "channel"]


async def test_a_token_is_renewed_at_80_percent_of_its_life() -> None:
    """Before it runs out, by refresh and not by password."""
    server = Server()
    _, rest = server.login()
    await rest.query(CALL)
    await server.clock.advance(3600 * 0.8 - 1)
    await rest.query(CALL)
    await server.clock.advance(1)
    await rest.query(CALL)
    assert server.log == ["login", "channel", "channel", "refresh", "channel"]


async def test_a_token_that_runs_out_in_the_middle_costs_one_refresh_and_one_retry() -> None:
    """The request that met the 401 succeeds."""
    server = Server()
    _, rest = server.login()
    await rest.query(CALL)
    server.valid = None
    await rest.query(CALL)
    assert server.log == ["login", "channel", "channel", "refresh", "channel"]


async def test_many_requests_share_one_renewal() -> None:
    """A refresh kills the old refresh token, so there must never be two at once."""
    server = Server()
    _, rest = server.login()
    await rest.query(CALL)
    server.valid = None
    await asyncio.gather(*(rest.query(CALL) for _ in range(5)))
    assert server.log.count("refresh") == 1
    assert server.log.count("login") == 1


async def test_a_dead_refresh_token_leads_to_a_login() -> None:
    """After a restart of the server it knows neither token."""
    server = Server()
    _, rest = server.login()
    await rest.query(CALL)
    server.valid = server.refresh = None
    await rest.query(CALL)
    assert server.log == ["login", "channel", "channel", "refresh", "login", "channel"]


async def test_a_wrong_password_is_tried_once_in_half_a_minute() -> None:
    """Many orders must not lock the account."""
    server = Server()
    server.password = "changed"
    _, rest = server.login()
    for _ in range(4):
        with pytest.raises(ConnectorAuthError):
            await rest.query(CALL)
    assert server.log == ["login"]
    server.password = PASSWORD
    await server.clock.advance(30)
    await rest.query(CALL)
    assert server.log == ["login", "login", "channel"]


async def test_a_401_that_stays_is_an_error() -> None:
    """One retry, not a loop."""
    server = Server()
    _, rest = server.login()
    server.clock = VirtualClock()

    async def refuse(request: httpx.Request) -> httpx.Response:
        server.log.append(request.url.path)
        return server._new() if "auth" in request.url.path else httpx.Response(401)

    settings = config()
    wire = Wire(settings, Host(settings.url), None, httpx.MockTransport(refuse))
    rest = Rest(wire, Login(USER, PASSWORD, wire, server.clock))
    with pytest.raises(ConnectorAuthError):
        await rest.query(CALL)
    assert len(server.log) == 4


async def test_an_answer_without_a_token_is_nonsense() -> None:
    """And not a crash."""
    settings = config()
    wire = Wire(settings, Host(settings.url), None, httpx.MockTransport(lambda _: ok({"accessToken": 7})))
    with pytest.raises(ConnectorUnavailableError, match="holds no token"):
        await Rest(wire, Login(USER, PASSWORD, wire, VirtualClock())).query(CALL)


async def test_closing_logs_out() -> None:
    """The refresh token would live for a week."""
    server = Server()
    credentials, rest = server.login()
    await rest.query(CALL)
    await credentials.aclose()
    await credentials.aclose()
    assert server.log == ["login", "channel", "logout"]


# --- which credentials -------------------------------------------------------------------------------------


async def test_a_key_is_preferred_on_v1_and_useless_on_v0() -> None:
    """As the guide recommends; `credentials: login` turns it round."""
    settings = config(api_key="CANARY-api-key")
    wire = Wire(settings, Host(settings.url), None)
    clock = VirtualClock()
    assert isinstance(credentials_for(settings, "v1", wire, clock), ApiKey)
    assert isinstance(credentials_for(settings, "v0", wire, clock), Basic)
    assert isinstance(credentials_for(config(api_key="k", credentials="login"), "v1", wire, clock), Login)
    with pytest.raises(ConnectorAuthError, match="needs `username` and `password`"):
        credentials_for(config(username=None, password=None, api_key="k"), "v0", wire, clock)
    await wire.aclose()


async def test_the_guides_example_is_encoded_as_it_shows() -> None:
    """`demo:!1234qwer` is `ZGVtbzohMTIzNHF3ZXI=`."""
    assert await Basic("demo", "!1234qwer").headers() == {"Authorization": "Basic ZGVtbzohMTIzNHF3ZXI="}
    assert Basic("demo", "!1234qwer").for_query() == {"auth": "ZGVtbzohMTIzNHF3ZXI="}


# --- files -------------------------------------------------------------------------------------------------


async def test_files_of_another_host_get_no_credentials() -> None:
    """Even if somebody builds such an address."""
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async def key() -> ApiKey:
        return ApiKey("CANARY-api-key")

    auth = FileAuth(key, "nvr.test:8080")
    async with httpx.AsyncClient(transport=httpx.MockTransport(reply), auth=auth) as files:
        await files.get(f"{URL}/storage/1.mp4")
        await files.get("http://evil.example/storage/1.mp4")
        await files.get("http://nvr.test:8081/storage/1.mp4")
    assert ["x-api-key" in request.headers for request in seen] == [True, False, False]


async def test_a_file_is_asked_for_again_with_a_new_token() -> None:
    """A token may run out between two pieces of a clip."""
    server = Server()
    credentials, rest = server.login()
    await rest.query(CALL)
    server.valid = None

    async def get() -> Login:
        return credentials

    auth = FileAuth(get, "nvr.test:8080")
    async with httpx.AsyncClient(transport=httpx.MockTransport(server.answer), auth=auth) as files:
        assert (await files.get(f"{URL}/storage/1.mp4")).status_code == 200
    assert server.log[-3:] == ["1.mp4", "refresh", "1.mp4"]


async def test_a_login_that_fails_is_told_as_a_value() -> None:
    """Whoever asks decides what it means: an outage, or an order that cannot be sent."""
    server = Server()
    server.password = "changed"
    credentials, _ = server.login()
    assert isinstance(await credentials.headers(), Failure)
