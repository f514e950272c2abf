"""The port itself: health, metrics, and where it listens."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator

import httpx
import pytest

import bridge
from bridge.errors import StartError
from tests.bridge.http.harness import BOOTH, Log, serving


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


async def test_it_says_what_it_is() -> None:
    """For whoever opens the address in a browser."""
    async with serving(Log()) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/")
    assert answer.json() == {
        "name": "vms-event-bridge",
        "version": bridge.__version__,
        "paths": ["/healthz", "/metrics", "/push", "/readyz", "/v1/push"],
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_alive_is_200() -> None:
    """That it answers is the message."""
    async with serving(Log()) as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        assert (await client.head("/healthz")).status_code == 200


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_ready_says_why_not(ready: bool, status: int) -> None:
    """The status is for load balancers, the detail for people."""
    detail = {"status": "x", "parts": {"bus": {"level": "down"}}}
    async with serving(Log(), ready=(ready, detail)) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (status, detail)


async def test_metrics_are_prometheus_text_and_can_be_switched_off() -> None:
    """Served as they are rendered."""
    async with serving(Log()) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/metrics")
        assert answer.text == "up 1\n"
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    async with serving(Log(), metrics=False) as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/push", 405), ("POST", "/healthz", 405), ("POST", "/push/", 404)],
)
async def test_what_is_not_there_says_so_in_json(method: str, path: str, status: int) -> None:
    """As TS-API v1 writes errors; nothing redirects credentials elsewhere."""
    async with serving(Log()) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["code"] == -1


async def test_requests_are_counted_by_route() -> None:
    """Not by path: a stranger could make as many as he likes."""
    log = Log()
    async with serving(log) as server, httpx.AsyncClient(base_url=server.url) as client:
        await client.get("/healthz")
        await client.get("/whatever/1")
        await client.post("/v1/push", json={"plate": "A"})
    assert log.requests == [("/healthz", 200), ("other", 404), ("/v1/push", 401)]


async def test_a_bug_in_a_callback_is_500_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The port lives on."""
    log = Log()
    async with serving(log) as server, httpx.AsyncClient(base_url=server.url) as client:
        server._metrics = lambda: 1 / 0  # type: ignore[assignment, return-value]
        assert (await client.get("/metrics")).status_code == 500
        assert (await client.get("/healthz")).status_code == 200
    assert log.requests[0] == ("/metrics", 500)
    assert "ZeroDivisionError" in caplog.text


async def test_no_log_line_holds_a_query(caplog: pytest.LogCaptureFixture) -> None:
    """TS-API devices put their password there."""
    caplog.set_level(logging.DEBUG)
    async with serving(Log()) as server, httpx.AsyncClient(base_url=server.url) as client:
        for logger in ("httpx", "httpcore"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        await client.post("/push?auth=c2VjcmV0OmNhbmFyeQ==", content=b"{}")
        await client.post("/push", content=b"{}", auth=("canary-user", "canary-pw"))
    assert "c2VjcmV0" not in caplog.text
    assert "canary" not in caplog.text
    assert "a push with wrong credentials" in caplog.text


async def test_a_port_in_use_is_said_with_its_cure(taken: int) -> None:
    """One line for the person who started it."""
    with pytest.raises(StartError) as caught:
        async with serving(Log(), port=taken):
            pass
    assert str(caught.value) == f"port {taken} on 127.0.0.1 is in use: stop the other program or set http.port"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine: set http.host to one, or to 127.0.0.1"),
        ("no such host", "the address 'no such host' cannot be resolved: set http.host to an address of this machine"),
    ],
)
async def test_an_address_that_is_not_ours_is_said_with_its_cure(host: str, said: str) -> None:
    """The same."""
    with pytest.raises(StartError) as caught:
        async with serving(Log(), host=host):
            pass
    assert str(caught.value) == said


async def test_ipv6_works() -> None:
    """Where the machine has it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        async with serving(Log(), host="::1") as server, httpx.AsyncClient(base_url=server.url) as client:
            assert server.url.startswith("http://[::1]:")
            assert (await client.get("/healthz")).status_code == 200
    except StartError as error:
        pytest.skip(str(error))


async def test_a_port_is_free_again_after_stopping() -> None:
    """A restart finds it."""
    async with serving(Log()) as server, httpx.AsyncClient(base_url=server.url, auth=BOOTH) as client:
        port = server.port
        await client.post("/push", content=json.dumps({"plate": "A"}))
    async with serving(Log(), port=port) as server:
        assert server.port == port
