"""What a request that fails means, for the source and for an order; and what every recorded answer reads as."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from bridge.sdk import (
    ActionError,
    ActionRejectedError,
    ActionUnavailableError,
    ActionUnknownError,
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
)
from connectors.ts_api.addresses import Host
from connectors.ts_api.auth import Basic
from connectors.ts_api.rest import Rest
from connectors.ts_api.wire import Call, Wire

from .support import PASSWORD, USER, config, html, ok, sample, samples

CALL = Call("/api/channel/relay", {"ch": 1, "on": "tok"})


def raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def reply(_: httpx.Request) -> httpx.Response:
        raise error

    return reply


def rest(reply: Callable[[httpx.Request], httpx.Response], **values: object) -> Rest:
    settings = config(**values)
    wire = Wire(settings, Host(settings.url), None, httpx.MockTransport(reply))
    return Rest(wire, Basic(USER, PASSWORD))


def always(response: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: response


LEGACY_OFF = sample("v1.http.error.legacyDisabled")

Case = tuple[Callable[[httpx.Request], httpx.Response], type[ConnectorError], type[ActionError], str]
FAILURES: dict[str, Case] = {
    "refused": (
        raising(httpx.ConnectError("All connection attempts failed")),
        ConnectorUnavailableError,
        ActionUnavailableError,
        "cannot reach http://nvr.test:8080",
    ),
    "connect timeout": (
        raising(httpx.ConnectTimeout("")),
        ConnectorUnavailableError,
        ActionUnavailableError,
        "cannot reach",
    ),
    "no answer": (
        raising(httpx.ReadTimeout("")),
        ConnectorUnavailableError,
        ActionUnknownError,
        "no answer in time",
    ),
    "hung up": (
        raising(httpx.RemoteProtocolError("Server disconnected without sending a response.")),
        ConnectorUnavailableError,
        ActionUnknownError,
        "the connection broke: Server disconnected",
    ),
    "502 page": (always(html(502)), ConnectorUnavailableError, ActionUnknownError, "HTTP 502, a web page"),
    "504": (always(httpx.Response(504)), ConnectorUnavailableError, ActionUnknownError, "a proxy got no answer"),
    "503": (
        always(httpx.Response(503, headers={"retry-after": "7"})),
        ConnectorUnavailableError,
        ActionUnavailableError,
        "cannot take it now",
    ),
    "200 page": (always(html(200)), ConnectorUnavailableError, ActionUnknownError, "a web page instead of JSON"),
    "truncated": (
        always(httpx.Response(200, content=b'{"code":0,"mess')),
        ConnectorUnavailableError,
        ActionUnknownError,
        "broken JSON",
    ),
    "deep": (
        always(httpx.Response(200, content=b"[" * 100_000)),
        ConnectorUnavailableError,
        ActionUnknownError,
        "broken JSON",
    ),
    "401": (
        always(httpx.Response(401, json={"code": -1, "message": "Unauthorized"})),
        ConnectorAuthError,
        ActionRejectedError,
        "does not accept the credentials",
    ),
    "403": (always(httpx.Response(403)), ConnectorAuthError, ActionRejectedError, "lacks the right"),
    "legacy off": (
        always(httpx.Response(404, json=LEGACY_OFF)),
        ConnectorUnsupportedError,
        ActionRejectedError,
        "Legacy API (v0) is disabled",
    ),
    "400": (always(httpx.Response(400)), ConnectorUnsupportedError, ActionRejectedError, "does not understand"),
    "invalid channel": (
        always(httpx.Response(400, json=sample("v1.http.error.invalidChannel"))),
        ConnectorUnsupportedError,
        ActionRejectedError,
        "'Invalid channel'",
    ),
    "500": (always(httpx.Response(500)), ConnectorUnavailableError, ActionUnknownError, "the server failed"),
    "redirect": (
        always(httpx.Response(302, headers={"location": "https://other.example/login?auth=SECRET"})),
        ConnectorUnavailableError,
        ActionUnknownError,
        "sent on to https://other.example; `url` must name it",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_failure_has_one_meaning(case: str) -> None:
    """For the source: wait, or have a person look. For an order: again, never, or nobody knows."""
    reply, of_source, of_order, words = FAILURES[case]
    subject = rest(reply)
    with pytest.raises(of_source) as source:
        await subject.query(CALL)
    with pytest.raises(of_order) as order:
        await subject.command(CALL)
    for error in (source.value, order.value):
        assert words in str(error)
        assert "SECRET" not in str(error)
        assert "CANARY" not in str(error)


async def test_the_server_says_when_to_come_back() -> None:
    """`Retry-After` reaches whoever retries."""
    with pytest.raises(ActionUnavailableError) as caught:
        await rest(always(httpx.Response(503, headers={"retry-after": "7"}))).command(CALL)
    assert caught.value.retry_after == timedelta(seconds=7)


async def test_an_answer_longer_than_the_limit_is_not_read() -> None:
    """The limit holds while reading, not afterwards."""
    chunks_read = 0

    async def endless() -> object:
        nonlocal chunks_read
        while True:
            chunks_read += 1
            yield b"x" * 65536

    response = httpx.Response(200, content=endless())  # type: ignore[arg-type]
    with pytest.raises(ConnectorUnavailableError, match="longer than 131072 bytes"):
        await rest(always(response), answer_limit="128KiB").query(CALL)
    assert chunks_read <= 3


async def test_a_cookie_is_never_sent_back() -> None:
    """A session cookie would be a second, silent way in."""
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return ok({}, **{"set-cookie": "TSSESSION=abc; Path=/"})

    subject = rest(reply)
    await subject.query(CALL)
    await subject.query(CALL)
    assert all("cookie" not in request.headers for request in seen)
    assert all(request.headers["x-host"] == "nvr.test:8080" for request in seen)


async def test_credentials_are_in_the_header_and_not_in_the_address() -> None:
    """Addresses end up in logs."""
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return ok({})

    await rest(reply).query(CALL)
    assert seen[0].headers["authorization"].startswith("Basic ")
    assert "auth" not in str(seen[0].url)


@pytest.mark.parametrize("name", [*samples("http."), *samples("v1.http.")])
async def test_every_recorded_answer_is_read(name: str) -> None:
    """Whatever the guides show as an answer comes through unchanged."""
    body = sample(name)
    assert await rest(always(ok(body))).query(CALL) == body


CODES = [
    (-1, ActionRejectedError, "forbidden"),
    (-2, ActionRejectedError, "unsupported"),
    (-3, ActionUnavailableError, timedelta(seconds=2)),
    (-4, ActionUnavailableError, timedelta(seconds=1)),
    (-5, ActionRejectedError, "invalid_channel"),
    (-6, ActionRejectedError, "invalid_token"),
    (-7, ActionRejectedError, "invalid_request"),
    (-8, ActionRejectedError, "invalid_parameters"),
    (-9, ActionUnknownError, None),
    (-77, ActionUnknownError, None),
]


@pytest.mark.parametrize(("code", "error", "says"), CODES)
@pytest.mark.parametrize("shape", ["object", "array"])
async def test_a_result_code_is_an_error(code: int, error: type[ActionError], says: object, shape: str) -> None:
    """Only "not ready" and "busy" are worth another try; of an error of the device nobody knows what it did."""
    body = {"chid": 1, "code": code, "message": "Words"}
    with pytest.raises(error) as caught:
        await rest(always(ok([body] if shape == "array" else body))).command(CALL)
    detail = getattr(caught.value, "reason", None) or getattr(caught.value, "retry_after", None)
    assert detail == says
    assert "'Words'" in str(caught.value)


@pytest.mark.parametrize("answer", [ok({"code": 0, "message": "Success"}), ok({}), ok([]), httpx.Response(204)])
async def test_success_is_no_code_or_zero(answer: httpx.Response) -> None:
    """Even an empty body will do."""
    await rest(always(answer)).command(CALL)


async def test_a_camera_that_is_offline_is_worth_another_try() -> None:
    """v1 answers 500 to PTZ for a camera that is offline: nothing has happened."""
    offline = always(httpx.Response(500, json={"code": -1, "message": "Camera is offline"}))
    with pytest.raises(ActionUnavailableError):
        await rest(offline).command(CALL, camera=True)
    with pytest.raises(ActionUnknownError):
        await rest(offline).command(CALL)


async def test_a_code_inside_a_500_counts() -> None:
    """If the server says more than "failed", that is taken."""
    busy = always(httpx.Response(500, json={"code": -4, "message": "busy"}))
    with pytest.raises(ActionUnavailableError):
        await rest(busy).command(CALL)
