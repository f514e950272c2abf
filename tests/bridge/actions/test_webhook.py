"""Webhooks over real sockets: signed so that others can verify, retried when it helps, and never past the guard."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from bridge.actions import endpoints, http_client, webhook
from bridge.actions.endpoints import BREAK_AFTER, Delivery, Webhooks, retry_after, signature
from bridge.actions.http_client import HttpClient
from bridge.config.models import WebhookConfig
from bridge.contracts import Known
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.schema.orders import StepResult
from tests.bridge.actions.receiver import Receiver, receiving
from tests.bridge.actions.support import Locator, make_order, running, until
from tests.bridge.actions.test_addresses import NEVER, PRIVATE
from tests.clock import VirtualClock

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OLD = "whsec_" + base64.b64encode(b"another secret, just as long ...").decode()


class Real(VirtualClock):
    """Stands still, but at the real time: verifiers compare time stamps with theirs."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))


@asynccontextmanager
async def sending(
    receiver: Receiver, clock: VirtualClock | None = None, resolver: AbstractResolver | None = None, **config: Any
) -> AsyncIterator[Webhooks]:
    fields = {"url": receiver.url, "allow_private": True} | config
    http = HttpClient(resolver)
    try:
        yield Webhooks({"backoffice": WebhookConfig(**fields)}, http, clock or Real())
    finally:
        await http.aclose()


def _delivery(**more: Any) -> Delivery:
    fields = {"id": "order1", "method": "POST", "content_type": "application/json", "body": b"{}", "to": "backoffice"}
    return Delivery(**(fields | more))


async def _order(receiver: Receiver, folder: Path, params: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    clock = Real()
    async with (
        sending(receiver, secret=SECRET) as hooks,
        running(folder, clock, actions={"webhook": webhook.SPEC}) as s,
    ):
        s.services.put(hooks)
        order = make_order(clock, "webhook", params, **more)
        return order, await s.do(order)


async def test_the_default_body_is_a_cloudevent_that_its_sdk_reads(tmp_path: Path) -> None:
    """Type, source, id and data as in the log; the order and rule as extensions; no raw."""
    async with receiving() as receiver:
        order, result = await _order(receiver, tmp_path, {"to": "backoffice"})
    assert (result.outcome, result.output) == ("done", {"status": 200})
    (request,) = receiver.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    body = json.loads(request.body)
    assert (body["type"], body["source"], body["id"], body["order"]) == ("plate.read", "site/nvr", "event1", order.id)
    assert body["data"]["plate"] == "12AB345"
    assert "raw" not in body
    event = _with_the_sdk(request.headers, request.body)
    assert (event.get_id(), event.get_type(), event.get_extension("rule")) == ("event1", "plate.read", "a-rule")


def _with_the_sdk(headers: dict[str, str], body: bytes) -> Any:
    return from_http_event(HTTPMessage(headers=headers, body=body))


async def test_results_of_earlier_steps_go_along(tmp_path: Path) -> None:
    """`with: entry` puts the step's outcome and output under `data.steps`; one that is not there is pending."""
    steps = {"entry": StepResult(outcome="done", output={"path": "a.mp4"})}
    async with receiving() as receiver:
        await _order(receiver, tmp_path, {"to": "backoffice", "with": ["entry", "exit"]}, steps=steps)
    sent = json.loads(receiver.requests[0].body)["data"]["steps"]
    assert sent == {
        "entry": {"outcome": "done", "output": {"path": "a.mp4"}},
        "exit": {"outcome": "pending", "output": {}},
    }


async def test_the_signature_verifies_with_the_standard_library(tmp_path: Path) -> None:
    """The id is the order's; a changed body is noticed; while secrets change, both verify."""
    async with receiving() as receiver:
        order, _ = await _order(receiver, tmp_path, {"to": "backoffice"})
        async with sending(receiver, secret=SECRET, secrets=[OLD]) as hooks:
            await hooks.send(_delivery())
    first, second = receiver.requests
    assert first.headers["webhook-id"] == order.id
    Webhook(SECRET).verify(first.body, first.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(first.body + b" ", first.headers)
    for secret in (SECRET, OLD):
        Webhook(secret).verify(second.body, second.headers)


@settings(max_examples=1000, deadline=None)
@given(
    st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True), st.text(max_size=200), st.binary(min_size=24, max_size=64)
)
def test_our_signature_is_the_librarys(name: str, body: str, key: bytes) -> None:
    """Bit for bit, over bodies that are not ASCII too, and theirs is ours."""
    now = datetime.now(UTC).replace(microsecond=0)
    secret = "whsec_" + base64.b64encode(key).decode()
    ours = signature(name, int(now.timestamp()), body.encode(), [SecretStr(secret)])
    assert ours == Webhook(secret).sign(name, now, body)
    headers = {"webhook-id": name, "webhook-timestamp": f"{now.timestamp():.0f}", "webhook-signature": ours}
    Webhook(secret).verify(body.encode(), headers, json_parse=False)


async def test_each_try_has_its_own_time_stamp_and_the_same_id(tmp_path: Path) -> None:
    """So a receiver can drop what it has seen and refuse what is old."""
    clock = VirtualClock()
    async with (
        receiving() as receiver,
        sending(receiver, clock, secret=SECRET) as hooks,
        running(tmp_path, clock, actions={"webhook": webhook.SPEC}) as site,
    ):
        site.services.put(hooks)
        receiver.answer("503 Busy", Retry_After="100")
        order = make_order(clock, "webhook", {"to": "backoffice"})
        site.queue.put(order)
        while order.id not in site.disk.acked:
            await site.advance(10, step=10)
            await asyncio.sleep(0.005)
    first, second = (request.headers for request in receiver.requests)
    assert first["webhook-id"] == second["webhook-id"] == order.id
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) >= 80
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        ("200 OK", None, None),
        ("204 No Content", None, None),
        ("301 Moved", ActionRejectedError, "redirected"),
        ("307 Moved", ActionRejectedError, "redirected"),
        ("400 Bad", ActionRejectedError, "rejected"),
        ("401 No", ActionRejectedError, "rejected"),
        ("404 No", ActionRejectedError, "rejected"),
        ("410 Gone", ActionRejectedError, "gone"),
        ("408 Late", ActionUnavailableError, None),
        ("425 Early", ActionUnavailableError, None),
        ("429 Slow down", ActionUnavailableError, None),
        ("500 Oops", ActionUnavailableError, None),
        ("502 Bad gateway", ActionUnavailableError, None),
        ("503 Busy", ActionUnavailableError, None),
        ("504 Late", ActionUnavailableError, None),
    ],
)
async def test_what_each_answer_means(answer: str, error: type[Exception] | None, reason: str | None) -> None:
    """2xx is success, a redirect is not followed, 4xx is a no, the rest is worth another try."""
    async with receiving() as receiver, sending(receiver) as hooks:
        receiver.answer(answer, Location="http://127.0.0.1/elsewhere")
        if error is None:
            assert await hooks.send(_delivery()) == int(answer[:3])
        else:
            with pytest.raises(error) as caught:
                await hooks.send(_delivery())
            assert getattr(caught.value, "reason", None) == reason
            assert "hunter2" not in str(caught.value)
        assert len(receiver.requests) == 1


async def test_who_is_gone_is_not_asked_again() -> None:
    """410 switches a receiver off."""
    async with receiving() as receiver, sending(receiver) as hooks:
        receiver.answer("410 Gone")
        for _ in range(2):
            with pytest.raises(ActionRejectedError) as caught:
                await hooks.send(_delivery())
            assert caught.value.reason == "gone"
        assert len(receiver.requests) == 1
        assert hooks.gone == {"backoffice"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("-5", None),
        ("soon", None),
        ("1e3", None),
        ("9" * 40, 10**9),
        ("Sat, 10 Jan 2026 12:02:00 GMT", 120),
        ("Sat, 10 Jan 2026 11:00:00 GMT", 0),
        ("Sat, 10 Jan 2026 13:02:00 +0100", 120),
    ],
)
def test_retry_after(header: str | None, seconds: int | None) -> None:
    """Seconds or a date; what cannot be read is as if it were not there."""
    now = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
    assert retry_after(header, now) == (None if seconds is None else timedelta(seconds=seconds))


async def test_a_receiver_that_fails_again_and_again_is_left_alone() -> None:
    """After five failures nothing is sent for a while; then one try goes first, and success ends it."""
    clock = Real()
    async with receiving() as receiver, sending(receiver, clock) as hooks:
        for _ in range(BREAK_AFTER):
            receiver.answer("500 Oops")
            with pytest.raises(ActionUnavailableError):
                await hooks.send(_delivery())
        with pytest.raises(ActionUnavailableError, match="left alone") as caught:
            await hooks.send(_delivery())
        assert caught.value.retry_after == timedelta(seconds=30)
        assert len(receiver.requests) == BREAK_AFTER
        await clock.advance(30)
        receiver.answer("500 Oops")
        with pytest.raises(ActionUnavailableError, match="500"):
            await hooks.send(_delivery())
        with pytest.raises(ActionUnavailableError) as caught:
            await hooks.send(_delivery())
        assert caught.value.retry_after == timedelta(seconds=60)
        await clock.advance(60)
        receiver.answers.append(b"hang")
        probe = asyncio.create_task(hooks.send(_delivery()))
        await until(lambda: len(receiver.requests) == BREAK_AFTER + 2)
        with pytest.raises(ActionUnavailableError, match="tried again"):
            await hooks.send(_delivery())
        probe.cancel()
        await asyncio.wait((probe,))
        assert await hooks.send(_delivery()) == 200
        assert await hooks.send(_delivery()) == 200


async def test_what_fails_together_makes_one_rest() -> None:
    """A link that breaks takes all with it that is under way: that is one outage, and not a dozen."""
    clock = Real()
    async with receiving() as receiver, sending(receiver, clock) as hooks:
        for _ in range(3 * BREAK_AFTER):
            receiver.answer("500 Oops")
        together = [hooks.send(_delivery()) for _ in range(3 * BREAK_AFTER)]
        said = await asyncio.gather(*together, return_exceptions=True)
        assert all(isinstance(one, ActionUnavailableError) for one in said)
        with pytest.raises(ActionUnavailableError, match="left alone") as caught:
            await hooks.send(_delivery())
        assert caught.value.retry_after == timedelta(seconds=30)


async def test_a_silent_receiver_is_given_up_in_time() -> None:
    """The limit of a try is the webhook's own."""
    async with receiving() as receiver, sending(receiver, timeout="50ms") as hooks:
        receiver.answers.append(b"hang")
        with pytest.raises(ActionUnavailableError, match="in time"):
            await hooks.send(_delivery())


async def test_an_endless_answer_is_not_read() -> None:
    """The status counts; no more than 64 KiB and what the sockets hold is taken."""
    async with receiving() as receiver, sending(receiver) as hooks:
        receiver.answers.append(b"endless")
        assert await hooks.send(_delivery()) == 200
        await asyncio.sleep(0)
        assert receiver.sent < 16 * 1024**2
        assert await hooks.send(_delivery()) == 200


async def test_a_body_that_stalls_does_not_undo_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 200 whose body never comes is a 200."""
    monkeypatch.setattr(http_client, "BODY_TIMEOUT", 0.05)
    async with receiving() as receiver, sending(receiver) as hooks:
        receiver.answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        assert await hooks.send(_delivery()) == 200


async def test_connections_are_kept_open() -> None:
    """Ten messages, one connection."""
    async with receiving() as receiver, sending(receiver) as hooks:
        for _ in range(10):
            await hooks.send(_delivery())
        assert (len(receiver.requests), receiver.connections) == (10, 1)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200", b"garbage\r\n\r\n", b""])
async def test_nonsense_is_worth_another_try(answer: bytes) -> None:
    """Half a head, no HTTP at all, nothing: the receiver may be restarting."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver = Receiver(port=server.sockets[0].getsockname()[1])
    async with sending(receiver) as hooks:
        with pytest.raises(ActionUnavailableError) as caught:
            await hooks.send(_delivery())
        assert "hunter2" not in str(caught.value)
    server.close()


async def test_cookies_and_the_proxy_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a receiver or the environment says changes the next request."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with receiving() as receiver, sending(receiver) as hooks:
        receiver.answer("200 OK", Set_Cookie="a=b; Path=/")
        for _ in range(2):
            await hooks.send(_delivery())
    assert "cookie" not in receiver.requests[1].headers


@pytest.mark.parametrize(
    ("params", "body", "content_type"),
    [
        ({"body": {"text": "ü"}}, '{"text":"ü"}', "application/json"),
        ({"body": [1]}, "[1]", "application/json"),
        ({"body": "a=1"}, "a=1", "text/plain; charset=utf-8"),
        ({"body": "a=1", "headers": {"Content-Type": "application/x"}}, "a=1", "application/x"),
    ],
)
async def test_a_body_of_ones_own(tmp_path: Path, params: dict[str, Any], body: str, content_type: str) -> None:
    """For receivers that want their own form; it is signed like any other."""
    async with receiving() as receiver:
        await _order(receiver, tmp_path, {"to": "backoffice", "method": "PUT"} | params)
    (request,) = receiver.requests
    assert (request.method, request.body.decode(), request.headers["content-type"]) == ("PUT", body, content_type)
    Webhook(SECRET).verify(request.body, request.headers, json_parse=False)


async def test_configured_headers_are_sent_and_secrets_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Also not with every logger at debug."""
    caplog.set_level(logging.DEBUG)
    async with receiving() as receiver:
        headers = {"Authorization": "Bearer hunter3"}
        async with sending(receiver, secret=SECRET, headers=headers) as hooks:
            await hooks.send(_delivery())
            receiver.answer("500 Oops")
            with pytest.raises(ActionUnavailableError) as caught:
                await hooks.send(_delivery(body=b"hunter4"))
    assert receiver.requests[0].headers["authorization"] == "Bearer hunter3"
    said = caplog.text + str(caught.value) + repr(_delivery(url=receiver.url, body=b"hunter4"))
    for secret in ("hunter2", "hunter3", "hunter4", SECRET):
        assert secret not in said


@pytest.mark.parametrize("secret", ["whsec_!!!", "whsec_"])
async def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    """And not shown."""
    async with receiving() as receiver, sending(receiver, secret=secret) as hooks:
        with pytest.raises(ActionRejectedError) as caught:
            await hooks.send(_delivery())
        assert caught.value.reason == "bad_secret"
        assert receiver.requests == []


class Names(AbstractResolver):
    """A resolver that says what the test says, a different thing each time if need be."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        kind = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            ResolveResult(hostname=host, host=each, port=port, family=kind[":" in each], proto=0, flags=0)
            for each in answer
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [["8.8.8.8", "127.0.0.1"]],
        [["::1"]],
        [["::ffff:127.0.0.1"]],
        [["169.254.169.254"]],
    ],
)
async def test_a_name_that_stands_for_a_private_address_is_refused(answers: list[list[str]]) -> None:
    """One bad address among good ones is enough; nothing is sent."""
    async with receiving() as receiver:
        url = f"http://inside.example:{receiver.port}/"
        async with sending(receiver, resolver=Names(*answers), url=url, allow_private=False) as hooks:
            with pytest.raises(ActionRejectedError) as caught:
                await hooks.send(_delivery())
        assert caught.value.reason == "forbidden_address"
        assert (receiver.requests, receiver.connections) == ([], 0)


async def test_a_name_is_resolved_anew_for_each_connection_and_checked_each_time() -> None:
    """Rebinding gains nothing: what is connected to is what was checked."""
    async with receiving() as receiver:
        url = f"http://rebind.example:{receiver.port}/"
        resolver = Names(["127.0.0.1"], ["169.254.169.254"])
        async with sending(receiver, resolver=resolver, url=url) as hooks:
            receiver.answers.append(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            assert await hooks.send(_delivery()) == 200
            assert receiver.requests[0].headers["host"] == f"rebind.example:{receiver.port}"
            with pytest.raises(ActionRejectedError, match=r"169\.254"):
                await hooks.send(_delivery())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0", "localhost", "[fe80::1%25lo]"],
)
async def test_no_way_of_writing_an_address_gets_past(host: str) -> None:
    """Numbers, hex, short and mapped forms: refused or unreachable, and nothing is sent."""
    async with receiving() as receiver:
        async with sending(receiver, url=f"http://{host}:{receiver.port}/", allow_private=False) as hooks:
            with pytest.raises((ActionRejectedError, ActionUnavailableError)):
                await hooks.send(_delivery())
        assert (receiver.requests, receiver.connections) == ([], 0)


def _writings(address: str) -> list[str]:
    """Ways to write a forbidden address that some resolver or library takes for it."""
    try:
        parts = IPv4Address(address).packed
    except ValueError:
        return [f"[{address.replace('%', '%25')}]"] if ":" in address else []
    number = int.from_bytes(parts, "big")
    octal, dotless = ".".join(f"0{part:o}" for part in parts), address.replace(".", "。")
    mapped = [f"[::ffff:{address}]", f"[::{address}]", f"[64:ff9b::{address}]"]
    number_forms = [str(number), hex(number), octal, ".".join(map(hex, parts))]
    return [address, f"{address}.", dotless, address.replace(".", "%2e"), *number_forms, *mapped]


async def test_no_way_of_writing_a_forbidden_address_gets_past() -> None:
    """Hundreds of them, at the port of a receiver that would notice: refused or unknown, and nothing is sent."""
    hosts = [host for address in (*PRIVATE, *NEVER) for host in _writings(address)]
    assert len(hosts) > 150
    async with receiving() as receiver:
        urls = {f"w{n}": f"http://{host}:{receiver.port}/" for n, host in enumerate(hosts)}
        http = HttpClient()
        hooks = Webhooks({name: WebhookConfig(url=url) for name, url in urls.items()}, http, VirtualClock())
        for name in urls:
            with pytest.raises((ActionRejectedError, ActionUnavailableError)):
                await hooks.send(_delivery(to=name))
        await http.aclose()
        assert (receiver.requests, receiver.connections) == ([], 0)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/", "http://", "http://u:p@x/", "unix:/x", "x", "http://[::1", "//x/"]
)
async def test_urls_we_do_not_send_to(url: str) -> None:
    """Refused before anything is resolved, without repeating the URL."""
    async with receiving() as receiver, sending(receiver, url=url) as hooks:
        with pytest.raises(ActionRejectedError) as caught:
            await hooks.send(_delivery())
        assert caught.value.reason == "bad_url"
        assert "u:p" not in str(caught.value)


async def test_tls_is_verified_by_name_at_the_checked_address(tmp_path: Path, tls: tuple[Path, ssl.SSLContext]) -> None:
    """The certificate must be for the name in the URL; its authority can be one of our own."""
    ca_file, context = tls
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    names = Names(["127.0.0.1"])
    good, bad = (f"https://{host}:{receiver.port}/" for host in ("hooks.example", "other.example"))
    async with sending(receiver, resolver=names, url=good, ca_file=ca_file) as hooks:
        assert await hooks.send(_delivery()) == 200
    for url, ca in ((bad, ca_file), (good, None)):
        async with sending(receiver, resolver=names, url=url, ca_file=ca) as hooks:
            with pytest.raises(ActionUnavailableError, match="TLS"):
                await hooks.send(_delivery())
    assert len(receiver.requests) == 1
    server.close()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for hooks.example, its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"to": "a", "url": "http://x/"},
        {"to": "a", "headers": {"Webhook-Id": "x"}},
        {"to": "a", "headers": {"host": "x"}},
        {"to": "a", "timeout": "1h"},
        {"to": "a", "method": "GET"},
    ],
)
def test_parameters_that_make_no_sense(params: dict[str, Any]) -> None:
    """Are refused at load."""
    with pytest.raises(ValidationError):
        webhook.WebhookParams.model_validate(params)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"to": "backofice"}, "did you mean 'backoffice'"),
        ({"url": "http://{{ event.data.plate }}.example/"}, "host"),
        ({"url": "ftp://x/"}, "http://"),
        ({"url": "https://x.example/{{ event.data.plate }}"}, None),
        ({"to": "backoffice"}, None),
    ],
)
def test_problems_visible_at_load(params: dict[str, Any], problem: str | None) -> None:
    """Unknown names, and events that would choose the host."""
    known = Known(webhooks=frozenset({"backoffice"}))
    found = list(webhook.SPEC.check(webhook.WebhookParams.model_validate(params), known))
    assert found == [] if problem is None else problem in found[0]


async def test_an_unknown_receiver_is_refused() -> None:
    """The configuration can change between check and order."""
    async with receiving() as receiver, sending(receiver) as hooks:
        with pytest.raises(ActionRejectedError, match="backoffice"):
            await hooks.send(_delivery(to="backofice"))


async def test_the_memory_for_receivers_is_bounded() -> None:
    """Names that come from events cannot fill it."""
    async with receiving() as receiver, sending(receiver) as hooks:
        for number in range(1100):
            with pytest.raises(ActionRejectedError):
                await hooks.send(_delivery(to=None, url=f"http://10.0.{number // 250}.{number % 250}/"))
        assert len(hooks._breakers) <= 1001
    assert webhook.SPEC.timeout > endpoints.MAX_TIMEOUT
    with pytest.raises(ActionRejectedError):
        Locator().get(Webhooks)
