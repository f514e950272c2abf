"""Signed pushes: the official library's signatures are good, every change breaks them, and none counts twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks.webhooks import Webhook

from bridge.config.models import PushClient
from bridge.http.app import HttpServer
from bridge.http.signature import MAX_ID, Replays, Signed, Verdict, read
from tests.bridge.http.harness import Log, serving
from tests.clock import VirtualClock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
CLIENTS = {"acme": PushClient(secret=SecretStr(SECRET)), "both": PushClient(secrets=(SecretStr(OTHER),))}
BODY = json.dumps({"plate": "A"})


def signed(
    clock: VirtualClock, *, secret: str = SECRET, message: str = "msg_1", body: str = BODY, off: float = 0
) -> dict[str, str]:
    """The headers of a request signed by the official library."""
    at = clock.now() + timedelta(seconds=off)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message, at, body),
        "content-type": "application/json",
    }


async def post(server: HttpServer, headers: dict[str, str], body: str = BODY, **extra: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.post("/push", content=body, headers=headers, **extra)


async def test_a_signed_push_is_taken_once() -> None:
    """It needs nothing else; the same again is answered yes and changes nothing, and so is a retry stamped anew."""
    log, clock = Log(), VirtualClock()
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        answers = [await post(server, signed(clock)) for _ in range(3)]
        await clock.advance(30)
        answers.append(await post(server, signed(clock)))
        other = await post(server, signed(clock, secret=OTHER))
    assert [answer.status_code for answer in [*answers, other]] == [200] * 5
    assert [event.source for event in log.events] == ["yard/acme", "yard/both"]
    assert log.seen == [("acme", "repeated")] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "x" * (MAX_ID + 1)},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "\u0661"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1a,AAAA"},
        {"webhook-signature": "v1,\u00e4"},
        {"webhook-signature": " ".join(["v1,AAAA"] * 1000)},
    ],
)
async def test_whatever_is_changed_breaks_it(change: dict[str, str]) -> None:
    """401, and the log never hears of it."""
    log, clock = Log(), VirtualClock()
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        headers = {name: value.encode() for name, value in (signed(clock) | change).items()}
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.post("/push", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (401, "wrong_signature")
    assert log.seen == [("?", "wrong_signature")]
    assert log.batches == []


async def test_another_body_or_secret_breaks_it() -> None:
    """The body is covered; a secret of nobody is nobody's."""
    log, clock = Log(), VirtualClock()
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        changed = await post(server, signed(clock), BODY.replace("A", "B"))
        stranger = await post(server, signed(clock, secret="whsec_" + "QUJD" * 8))
    assert [changed.status_code, stranger.status_code] == [401, 401]
    assert log.batches == []


@pytest.mark.parametrize(("off", "status"), [(-299, 200), (8, 200), (-302, 401), (12, 401)])
async def test_a_time_stamp_is_good_for_five_minutes(off: float, status: int) -> None:
    """And a few seconds before its time: clocks differ."""
    log, clock = Log(), VirtualClock()
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        await clock.advance(1000)
        assert (await post(server, signed(clock, off=off))).status_code == status


async def test_what_was_stamped_before_the_start_is_not_taken() -> None:
    """What was seen then is forgotten: a recording of it would count again."""
    log, clock = Log(), VirtualClock()
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        await clock.advance(5)
        assert (await post(server, signed(clock, off=-6))).json()["reason"] == "stale"
        assert (await post(server, signed(clock, off=-4))).status_code == 200


async def test_what_could_not_be_stored_may_come_again() -> None:
    """The same request, for a 503 is no receipt."""
    log, clock = Log(), VirtualClock()
    log.refuses = True
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        first = await post(server, signed(clock))
        log.refuses = False
        second = await post(server, signed(clock))
    assert [first.status_code, second.status_code] == [503, 200]
    assert len(log.events) == 1


async def test_guessing_signatures_is_slowed_down() -> None:
    """As guessing passwords is."""
    log, clock = Log(), VirtualClock()
    async with serving(log, clients=CLIENTS, clock=clock) as server:
        bad = signed(clock) | {"webhook-signature": "v1,AAAA"}
        codes = [(await post(server, bad)).status_code for _ in range(11)]
        assert (await post(server, signed(clock))).status_code == 429
    assert codes == [401] * 10 + [429]


async def test_a_password_opens_nothing_where_a_signature_is_asked_for() -> None:
    """A client with a secret alone has no other way in."""
    async with serving(Log(), clients=CLIENTS) as server:
        answer = await post(server, {}, auth=("acme", SECRET))
        bearer = await post(server, {"authorization": f"Bearer {SECRET}"})
    assert [answer.status_code, bearer.status_code] == [401, 401]


def test_memory_is_bounded_and_forgetting_lets_nothing_through() -> None:
    """When the memory is full the oldest stamps stop being good, so that what was forgotten cannot come again."""
    start = datetime(2026, 1, 10, tzinfo=UTC)
    replays = Replays(start, most=10)
    for number in range(100):
        now = start + timedelta(seconds=number)
        one = _signed(f"m{number}", now)
        assert replays.claim("c", one, now) is Verdict.NEW
        replays.settle("c", one, taken=True)
        assert len(replays) <= 10
    for number in range(100):
        again = replays.claim("c", _signed(f"m{number}", start + timedelta(seconds=number)), now)
        assert again in (Verdict.DONE, Verdict.STALE)


@pytest.mark.parametrize(("ahead", "verdict"), [(10, Verdict.NEW), (11, Verdict.STALE), (120, Verdict.STALE)])
def test_a_stamp_from_the_future_is_not_taken(ahead: float, verdict: Verdict) -> None:
    """It would be taken once more after a restart, which remembers nothing and refuses only what was stamped before."""
    start = datetime(2026, 1, 10, tzinfo=UTC)
    one = _signed("m", start + timedelta(seconds=ahead))
    assert Replays(start - timedelta(days=1)).claim("c", one, start) is verdict


def test_time_empties_the_memory() -> None:
    """A stamp that is no good any more needs no remembering."""
    start = datetime(2026, 1, 10, tzinfo=UTC)
    replays = Replays(start)
    replays.claim("c", _signed("m", start), start)
    replays.settle("c", _signed("m", start), taken=True)
    later = start + timedelta(seconds=301)
    assert replays.claim("c", _signed("m", start), later) is Verdict.STALE
    assert len(replays) == 0


def test_what_was_forgotten_is_not_new_when_our_clock_goes_back() -> None:
    """Set forward by mistake, any request empties the memory; set right again, the stamp of before would be good."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    replays, one = Replays(start - timedelta(days=1)), _signed("m1", start)
    assert replays.claim("c", one, start) is Verdict.NEW
    replays.settle("c", one, taken=True)
    ahead = start + timedelta(hours=1)
    assert replays.claim("c", _signed("m2", ahead), ahead) is Verdict.NEW
    assert replays.claim("c", one, start + timedelta(seconds=60)) is Verdict.STALE
    later = start + timedelta(seconds=1)
    assert replays.claim("c", _signed("m3", later), later) is Verdict.NEW, "what comes after it is good"


def test_two_at_once_are_one() -> None:
    """While the first is being stored, the second has to wait and see."""
    start = datetime(2026, 1, 10, tzinfo=UTC)
    replays = Replays(start)
    assert replays.claim("c", _signed("m", start), start) is Verdict.NEW
    assert replays.claim("c", _signed("m", start), start) is Verdict.IN_HAND
    assert replays.claim("d", _signed("m", start), start) is Verdict.NEW


def _signed(message: str, at: datetime) -> Signed:
    found = read({"webhook-id": message, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": ""})
    assert found is not None
    return found


@pytest.mark.parametrize("secret", ["whsec_???", "short", "whsec_QUJD"])
def test_a_secret_that_cannot_sign_is_a_mistake_of_the_configuration(secret: str) -> None:
    """It is not repeated in the words about it."""
    with pytest.raises(ValidationError, match=r"is not `whsec_` and base64|is shorter than 16 bytes") as caught:
        PushClient(secret=SecretStr(secret))
    assert secret not in str(caught.value)
