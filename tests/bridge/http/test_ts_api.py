"""A device that pushes to a TS server pushes to the bridge unchanged: the vendor's own commands, by the real curl."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from bridge.config.models import PushClient
from connectors.ts_api.push import PUSH
from tests.bridge.http.harness import Log, serving

CURL = shutil.which("curl")
USER, PASSWORD = "demo", "!1234qwer"
AUTH = "ZGVtbzohMTIzNHF3ZXI="  # the guide's own example, TS-API guide 0.9.20, "Authentication"
CLIENTS = {"booth": PushClient(username=USER, password=SecretStr(PASSWORD), token=SecretStr("tsapi_key_a1b2c3"))}

LPR = {
    "topic": "LPR",
    "src": "F00001",
    "plateNo": "DSP963",
    "when": "2018-02-01T14:30:15-05:00",
    "timeBegin": "2018-02-01T14:30:14-05:00",
}
CALL = {
    "topic": "emergencyCall",
    "device": "vendor/device",
    "src": "0000001",
    "event": "callStart",
    "camera": "1,2,3,4",
    "when": "2018-02-01T14:30:15-05:00",
}

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


async def _curl(*arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run curl; return the status and the body."""
    assert CURL is not None
    pipe = asyncio.subprocess.PIPE
    options = ("-sS", "--max-time", "10", "-w", "\n%{http_code}")
    process = await asyncio.create_subprocess_exec(CURL, *options, *arguments, stdin=pipe, stdout=pipe)
    out, _ = await process.communicate(stdin.encode())
    assert process.returncode == 0
    body, _, status = out.decode().rpartition("\n")
    return int(status), body


@pytest.mark.parametrize("path", ["/api/push", "/api/v1/push"])
@pytest.mark.parametrize("body", [LPR, CALL, [{"topic": "LPR", "src": "F00001", "plateNo": "DSP963"}, CALL]])
@pytest.mark.parametrize(
    ("credentials", "query"),
    [
        (("-u", f"{USER}:{PASSWORD}"), ""),
        ((), f"?auth={AUTH}"),
        ((), f"?auth={AUTH.replace('=', '%3D')}"),
        ((), f"?auth={AUTH.rstrip('=')}"),
        (("-H", "X-API-Key: tsapi_key_a1b2c3"), ""),
        (("-H", "Authorization: Bearer tsapi_key_a1b2c3"), ""),
    ],
    ids=["-u", "auth", "auth escaped", "auth unpadded", "key", "bearer"],
)
async def test_the_guides_commands_work(path: str, body: object, credentials: tuple[str, ...], query: str) -> None:
    """One object or an array, with Basic, `auth=` or a key: 200 and nothing else."""
    log = Log()
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        answer = await _curl(*credentials, "-d", json.dumps(body), f"{server.url}{path}{query}")
    assert answer == (200, "")
    assert len(log.events) == (2 if isinstance(body, list) else 1)
    assert {event.principal for event in log.events} == {"booth"}


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "application/json", "text/plain"])
async def test_the_content_type_may_be_said(kind: str) -> None:
    """As the guide says it, or not."""
    log = Log()
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        arguments = ("-u", f"{USER}:{PASSWORD}", "-H", f"Content-Type: {kind}", "-d", json.dumps(LPR))
        assert await _curl(*arguments, f"{server.url}/api/push") == (200, "")
    (event,) = log.events
    assert event.time == datetime(2018, 2, 1, 19, 30, 15, tzinfo=UTC)


async def test_curl_hears_what_is_wrong() -> None:
    """401 without credentials, 400 with reasons, 200 for what is good beside it."""
    log = Log()
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        url, login = f"{server.url}/api/push", ("-u", f"{USER}:{PASSWORD}")
        assert (await _curl("-d", json.dumps(LPR), url))[0] == 401
        status, body = await _curl(*login, "-d", json.dumps({"topic": "LPR", "src": "F00001"}), url)
        assert status == 400
        assert "plateNo" in json.loads(body)["items"][0]["message"]
        assert (await _curl(*login, "-d", "not json", url))[0] == 400
        assert (await _curl(*login, "-d", json.dumps([{"topic": "LPR"}, CALL]), url)) == (200, "")
    assert [event.type for event in log.events] == ["call.started"]
    assert len(log.parked) == 3


async def test_curl_negotiating_and_waiting_for_100_is_served() -> None:
    """`--anyauth` asks twice; a large body asks before it is sent."""
    log = Log()
    large = json.dumps([{**LPR, "when": f"2018-02-01T14:{n // 60:02}:{n % 60:02}-05:00"} for n in range(900)])
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        login = ("-u", f"{USER}:{PASSWORD}")
        assert await _curl("--anyauth", *login, "-d", json.dumps(LPR), f"{server.url}/api/push") == (200, "")
        expect = ("-H", "Expect: 100-continue", "-d", "@-")
        assert await _curl(*login, *expect, f"{server.url}/api/push", stdin=large) == (200, "")
        assert (await _curl(*login, "-d", "@-", f"{server.url}/api/push", stdin=large * 3))[0] == 413
    assert len(log.events) == 901


async def test_a_plate_camera_cannot_raise_an_alarm() -> None:
    """A client limited to LPR is refused an emergency call, and its plates go through."""
    clients = {"cam": PushClient(password=SecretStr("x"), topics=("LPR",))}
    log = Log()
    async with serving(log, clients=clients, formats=[PUSH]) as server:
        url = f"{server.url}/api/push?auth={base64.b64encode(b'cam:x').decode()}"
        assert (await _curl("-d", json.dumps(CALL), url))[0] == 403
        assert (await _curl("-d", json.dumps([CALL, LPR]), url))[0] == 200
    assert [event.type for event in log.events] == ["plate.read"]
    assert [reason for _, _, reason, _ in log.parked] == ["forbidden_topic"] * 2


async def test_the_same_plate_without_a_time_twice_in_a_minute_is_one() -> None:
    """The id is used again, so the log keeps one; both are answered 200."""
    log = Log()
    body = json.dumps({"topic": "LPR", "src": "F00001", "plateNo": "DSP963"})
    async with serving(log, clients=CLIENTS, formats=[PUSH]) as server:
        for _ in range(2):
            assert (await _curl("-u", f"{USER}:{PASSWORD}", "-d", body, f"{server.url}/api/push")) == (200, "")
    first, second = log.events
    assert first.id == second.id
