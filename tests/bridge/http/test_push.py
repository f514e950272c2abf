"""A push is answered 200 when it is written down, and not before; everything else has its own honest answer."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from bridge.config.models import PushClient
from bridge.errors import StoreUnavailableError
from bridge.http.app import HttpServer
from bridge.http.limits import Limits
from tests.bridge.http.harness import BOOTH, Log, serving
from tests.clock import VirtualClock, settle

GOOD = {"plate": "12AB345", "at": "2026-01-10T12:00:00"}


@asynccontextmanager
async def _client(server: HttpServer, auth: tuple[str, str] | None = BOOTH) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, auth=auth) as client:
        yield client


class TestTheReceipt:
    """What the answer promises."""

    async def test_a_good_push_is_answered_200_with_nothing_in_it(self) -> None:
        """As a TS server answers; the event says who pushed it and where it belongs."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json=GOOD)
        assert (answer.status_code, answer.content) == (200, b"")
        (event,) = log.events
        assert (event.source, event.principal) == ("yard/booth", "booth")
        assert event.time == datetime(2026, 1, 10, 12, tzinfo=UTC)

    async def test_no_answer_before_the_event_is_synced(self) -> None:
        """The future of the log decides, not the call."""
        log = Log()
        log.hold_futures = True
        async with serving(log) as server, _client(server) as client:
            asking = asyncio.create_task(client.post("/push", json=GOOD))
            async with asyncio.timeout(5):
                await log.arrived.wait()
            await settle()
            assert not asking.done()
            log.futures[0].set_result(None)
            assert (await asking).status_code == 200

    async def test_an_array_is_taken_as_a_whole(self) -> None:
        """In order, in one hand-over."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json=[{**GOOD, "plate": plate} for plate in "ABC"])
        assert answer.status_code == 200
        assert [[event.data.model_dump()["plate"] for event in batch] for batch in log.batches] == [["A", "B", "C"]]

    async def test_a_bad_item_does_not_hold_up_a_good_one(self) -> None:
        """The bad one is parked, with its reason, before the sender is told that all is well."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json=[{"plate": 3}, GOOD, {"plate": "x" * 5000}])
        assert answer.status_code == 200
        assert len(log.events) == 1
        assert [(source, reason) for source, _, reason, _ in log.parked] == [
            ("booth", "no_plate"),
            ("booth", "long_string"),
        ]
        assert json.loads(log.parked[0][1]) == {"plate": 3}

    async def test_nothing_good_is_400_with_every_reason(self) -> None:
        """So that whoever set up the device can see what is wrong."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json=[{"plate": 3}, 7])
        assert answer.status_code == 400
        assert answer.json() == {
            "code": -1,
            "reason": "no_valid_item",
            "message": "no item is valid",
            "items": [
                {"reason": "no_plate", "message": "there is no plate"},
                {"reason": "not_object", "message": "an item must be a JSON object"},
            ],
        }
        assert len(log.parked) == 2

    async def test_a_store_that_is_away_is_503(self) -> None:
        """The sender keeps the event and is told when to come again."""
        log = Log()
        log.refuses = True
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json=GOOD)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert log.seen == [("booth", "store_unavailable")]

    async def test_a_write_that_fails_later_is_503(self) -> None:
        """Taken over and then not stored is not stored."""
        log = Log()
        log.hold_futures = True
        async with serving(log) as server, _client(server) as client:
            for end in (lambda f: f.set_exception(StoreUnavailableError("disk full")), lambda f: f.cancel()):
                log.arrived.clear()
                asking = asyncio.create_task(client.post("/push", json=GOOD))
                async with asyncio.timeout(5):
                    await log.arrived.wait()
                end(log.futures[-1])
                assert (await asking).status_code == 503

    @pytest.mark.parametrize("where", ["emit", "ack"])
    async def test_a_slow_store_is_503_in_time(self, where: str) -> None:
        """Nobody waits for ever, neither for room nor for the acknowledgement."""
        log = Log()
        log.hold_futures = True
        if where == "emit":
            log.held = asyncio.Event()
        async with serving(log, limits=Limits(store=0.05)) as server, _client(server) as client:
            answer = await client.post("/push", json=GOOD)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert log.seen == [("booth", "store_slow")]
        if where == "ack":
            log.futures[0].set_exception(StoreUnavailableError("too late for anybody to hear"))

    async def test_what_cannot_be_parked_is_not_acknowledged(self) -> None:
        """A bad item counts too: 503, and the repeat finds the good ones already there."""
        log = Log()
        log.park_refuses = True
        async with serving(log) as server, _client(server) as client:
            body = [GOOD, {"plate": 3}]
            assert (await client.post("/push", json=body)).status_code == 503
            log.park_refuses = False
            assert (await client.post("/push", json=body)).status_code == 200
        first, second = log.events
        assert first.id == second.id

    async def test_a_decoder_with_a_bug_loses_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        """The body is parked and refused: a device that repeats it for ever would not make it better."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json={"crash": True})
        assert answer.status_code == 400
        assert log.parked == [("booth", '{"crash":true}', "decoder_bug", "KeyError in the decoder")]
        assert "a push decoder failed in an unforeseen way" in caplog.text

    async def test_a_body_that_the_format_refuses_is_parked(self) -> None:
        """With the format's own reason."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json={"refuse": True})
        assert answer.status_code == 400
        assert answer.json()["items"] == [{"reason": "no_good", "message": "the whole is no good"}]
        assert log.parked[0][2] == "no_good"


class TestRepeats:
    """The same again."""

    async def test_the_same_without_a_time_is_the_same_happening_for_a_minute(self) -> None:
        """The id and the time of the first one are used again, so the log keeps one."""
        log, clock = Log(), VirtualClock()
        async with serving(log, clock=clock) as server, _client(server) as client:
            for wait in (0, 59, 2):
                await clock.advance(wait)
                assert (await client.post("/push", json={"plate": "A"})).status_code == 200
        first, second, third = log.events
        assert first == second
        assert third.id != first.id
        assert [event.timequality for event in log.events] == ["received", "received", "doubtful"]

    async def test_a_client_may_say_that_it_sends_nothing_twice(self) -> None:
        """Then the same a minute later is the same thing again."""
        log, clock = Log(), VirtualClock()
        clients = {"booth": PushClient(password=SecretStr(BOOTH[1]), repeats=timedelta(0))}
        async with serving(log, clock=clock, clients=clients) as server, _client(server) as client:
            for wait in (0, 61):
                await clock.advance(wait)
                assert (await client.post("/push", json={"plate": "A"})).status_code == 200
        assert [event.timequality for event in log.events] == ["received", "received"]
        assert len({event.id for event in log.events}) == 2

    async def test_a_repeat_after_a_failure_is_still_the_first(self) -> None:
        """A door that asks how old the event is hears when it was first said, not when it could be stored."""
        log, clock = Log(), VirtualClock()
        async with serving(log, clock=clock) as server, _client(server) as client:
            log.refuses = True
            assert (await client.post("/push", json={"plate": "A"})).status_code == 503
            log.refuses = False
            await clock.advance(20)
            assert (await client.post("/push", json={"plate": "A"})).status_code == 200
        assert (clock.now() - log.events[0].received).total_seconds() == 20

    async def test_other_content_or_another_sender_is_another_happening(self) -> None:
        """Only the very same from the very same source is a repeat."""
        log, clock = Log(), VirtualClock()
        clients = {"a": PushClient(password=SecretStr("x")), "b": PushClient(password=SecretStr("y"))}
        async with serving(log, clock=clock, clients=clients) as server:
            for auth, plate in ((("a", "x"), "A"), (("a", "x"), "B"), (("b", "y"), "A")):
                async with _client(server, auth) as client:
                    await client.post("/push", json={"plate": plate})
        assert len({event.id for event in log.events}) == 3


class TestWhoMayPush:
    """Credentials, in every form that devices send."""

    PAIR = base64.b64encode(b"booth:pass:word").decode()

    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("", {"Authorization": f"Basic {PAIR}"}),
            ("", {"Authorization": f"basic {PAIR.rstrip('=')}"}),
            (f"?auth={PAIR}", {}),
            (f"?auth={PAIR.rstrip('=')}", {}),
            (f"?auth={PAIR.replace('=', '%3D')}", {}),
            (f"?x=1&auth={PAIR}&y=2", {}),
            ("", {"Authorization": "Bearer tsapi_key_123"}),
            ("", {"X-API-Key": "tsapi_key_123"}),
        ],
    )
    async def test_every_documented_form_is_taken(self, query: str, headers: dict[str, str]) -> None:
        """Basic and `auth=` of v0, Bearer and X-API-Key of v1; padding may be lost or escaped."""
        log = Log()
        async with serving(log) as server, _client(server, None) as client:
            answer = await client.post(f"/push{query}", json=GOOD, headers=headers)
        assert answer.status_code == 200

    async def test_a_plus_that_became_a_space_is_a_plus(self) -> None:
        """A sender that forgets to escape its base64 is understood."""
        password = "~~>>>???"
        pair = base64.b64encode(f"booth:{password}".encode()).decode()
        assert "+" in pair or "/" in pair
        log, clients = Log(), {"booth": PushClient(password=SecretStr(password))}
        async with serving(log, clients=clients) as server, _client(server, None) as client:
            raw = httpx.URL(server.url, path="/push", query=f"auth={pair}".encode())
            assert (await client.post(raw, json=GOOD)).status_code == 200

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    async def test_umlauts_are_taken_in_both_encodings(self, encoding: str) -> None:
        """Which one a device sends is said nowhere."""
        pair = base64.b64encode("booth:Tür-größe".encode(encoding)).decode()
        log, clients = Log(), {"booth": PushClient(password=SecretStr("Tür-größe"))}
        async with serving(log, clients=clients) as server, _client(server, None) as client:
            answer = await client.post("/push", json=GOOD, headers={"Authorization": f"Basic {pair}"})
        assert answer.status_code == 200

    async def test_a_question_mark_does_not_stand_for_what_latin_1_cannot_say(self) -> None:
        """A password of six Cyrillic letters is not six question marks."""
        log, clients = Log(), {"booth": PushClient(password=SecretStr("пароль"))}
        async with serving(log, clients=clients) as server, _client(server, ("booth", "??????")) as client:
            assert (await client.post("/push", json=GOOD)).status_code == 401

    @pytest.mark.parametrize(
        ("query", "headers", "message"),
        [
            ("", {}, "credentials are needed"),
            ("", {"Authorization": "Digest x"}, "credentials are needed"),
            ("", {"Authorization": "Basic !!!"}, "wrong credentials"),
            ("", {"Authorization": "Basic " + base64.b64encode(b"booth:pass").decode()}, "wrong credentials"),
            ("", {"Authorization": "Basic " + base64.b64encode(b"tsapi_key_123").decode()}, "wrong credentials"),
            ("", {"Authorization": "Bearer booth:pass:word"}, "wrong credentials"),
            ("", {"X-API-Key": ""}, "wrong credentials"),
            ("?auth=", {}, "wrong credentials"),
            ("?token=tsapi_key_123", {}, "credentials are needed"),
            ("?apikey=tsapi_key_123", {}, "credentials are needed"),
            ("?" + "&".join(f"a{n}=1" for n in range(30)), {}, "credentials are needed"),
        ],
    )
    async def test_anything_else_is_401(self, query: str, headers: dict[str, str], message: str) -> None:
        """With the challenge that makes plain clients send Basic."""
        log = Log()
        async with serving(log) as server, _client(server, None) as client:
            answer = await client.post(f"/push{query}", json=GOOD, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert answer.json()["message"] == message
        assert log.batches == []

    @pytest.mark.parametrize("query", ["?token=tsapi_key_123", "?apikey=tsapi_key_123"])
    async def test_tokens_in_the_query_only_where_allowed(self, query: str) -> None:
        """They end up in other programs' logs; whoever needs them says so."""
        log = Log()
        async with serving(log, allow_query_auth=True) as server, _client(server, None) as client:
            assert (await client.post(f"/push{query}", json=GOOD)).status_code == 200

    async def test_without_clients_nobody_may(self) -> None:
        """Nothing is open by default, not even on loopback: any program here could open a gate."""
        log = Log()
        async with serving(log, clients={}) as server, _client(server) as client:
            assert (await client.post("/push", json=GOOD)).status_code == 401

    async def test_guessing_is_slowed_down(self) -> None:
        """Ten wrong ones a minute; then even the right one has to wait, or guessing would pay."""
        log, clock = Log(), VirtualClock()
        async with serving(log, clock=clock) as server:
            async with _client(server, ("booth", "wrong")) as guesser:
                codes = [(await guesser.post("/push", json=GOOD)).status_code for _ in range(12)]
            async with _client(server) as client:
                refused = await client.post("/push", json=GOOD)
                await clock.advance(61)
                again = await client.post("/push", json=GOOD)
        assert codes == [401] * 10 + [429] * 2
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert again.status_code == 200

    async def test_asking_without_credentials_is_not_guessing(self) -> None:
        """Many clients ask once without, to hear the challenge."""
        log = Log()
        async with serving(log) as server:
            async with _client(server, None) as shy:
                for _ in range(20):
                    assert (await shy.post("/push", json=GOOD)).status_code == 401
            async with _client(server) as client:
                assert (await client.post("/push", json=GOOD)).status_code == 200

    async def test_a_browser_may_not_push(self) -> None:
        """A page must not use the credentials that its reader's browser remembers."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", json=GOOD, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        assert log.batches == []

    async def test_a_client_has_its_own_source_topics_and_zone(self) -> None:
        """A plate camera has no business raising emergency calls."""
        booth = PushClient(password=SecretStr("x"), source="gate", topics=("LPR",), zone="Asia/Seoul")
        log = Log()
        async with serving(log, clients={"booth": booth}) as server, _client(server, ("booth", "x")) as client:
            good = await client.post("/push", json={**GOOD, "topic": "LPR"})
            bad = await client.post("/push", json={**GOOD, "topic": "emergencyCall"})
            mixed = await client.post("/push", json=[{**GOOD, "topic": "LPR"}, {**GOOD, "topic": "emergencyCall"}])
        assert [good.status_code, bad.status_code, mixed.status_code] == [200, 403, 200]
        assert [event.source for event in log.events] == ["yard/gate"] * 2
        assert log.events[0].time == datetime(2026, 1, 10, 3, tzinfo=UTC)
        assert [reason for _, _, reason, _ in log.parked] == ["forbidden_topic"] * 2

    async def test_a_client_speaks_for_its_own_channels(self) -> None:
        """The camera at the back door must not open the gate at the front."""
        back = PushClient(password=SecretStr("x"), channels=("back",))
        log = Log()
        async with serving(log, clients={"back": back}) as server, _client(server, ("back", "x")) as client:
            answers = [
                await client.post("/push", json={**GOOD, **where}) for where in ({"at_": "back"}, {"at_": "front"}, {})
            ]
        assert [answer.status_code for answer in answers] == [200, 403, 403]
        assert answers[1].json()["reason"] == "out_of_scope"
        assert [event.subject for event in log.events] == ["back"]
        assert [reason for _, _, reason, _ in log.parked] == ["forbidden_channel"] * 2

    async def test_a_scope_may_name_our_kinds(self) -> None:
        """`plate.read` says it for every vendor."""
        booth = PushClient(password=SecretStr("x"), topics=("plate.read",))
        log = Log()
        async with serving(log, clients={"booth": booth}) as server, _client(server, ("booth", "x")) as client:
            assert (await client.post("/push", json=GOOD)).status_code == 200


class TestTheBody:
    """What it may be."""

    @pytest.mark.parametrize(
        "kind",
        [
            "application/json",
            "application/json; charset=UTF-8",
            "application/JSON;charset=utf-8",
            "application/vnd.vendor+json",
            "application/x-www-form-urlencoded",
            "text/plain",
            "",
        ],
    )
    async def test_json_is_taken_under_every_name_devices_give_it(self, kind: str) -> None:
        """Plain `curl -d` calls it a form; simple devices call it nothing."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            headers = {"Content-Type": kind} if kind else {}
            answer = await client.post("/push", content=json.dumps(GOOD).encode(), headers=headers)
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "multipart/form-data; boundary=x"},
            {"Content-Type": "application/xml"},
            {"Content-Type": "application/json; charset=utf-16"},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            {"Content-Type": "application/json", "Content-Encoding": "br"},
        ],
    )
    async def test_anything_else_is_415(self, headers: dict[str, str]) -> None:
        """No compression: a small body must not become a large one."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            assert (await client.post("/push", content=b"x" * 1000, headers=headers)).status_code == 415

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_large_body_is_413(self, chunked: bool) -> None:
        """Whether it says so or not, it is counted; the connection is good for another request."""
        log = Log()

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b" " * 1000

        async with serving(log, max_body="10KiB") as server, _client(server) as client:
            answer = await client.post("/push", content=parts() if chunked else b" " * 40_000)
            assert answer.status_code == 413
            assert (await client.post("/push", json=GOOD)).status_code == 200

    async def test_the_limit_itself_is_allowed(self) -> None:
        """The last byte counts."""
        log = Log()
        body = json.dumps(GOOD).encode().ljust(10 * 1024)
        async with serving(log, max_body="10KiB") as server, _client(server) as client:
            assert (await client.post("/push", content=body)).status_code == 200
            assert (await client.post("/push", content=body + b" ")).status_code == 413

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not_json"),
            (b"{", "not_json"),
            (b'{"plate": NaN}', "not_json"),
            (b'{"plate": 1e400}', "not_json"),
            (b'{"plate": ' + b"9" * 5000 + b"}", "not_json"),
            (b"plate=12AB345", "not_json"),
            (b'{"plate": "\xff"}', "not_utf8"),
            ('{"plate": "x"}'.encode("utf-16"), "not_utf8"),
            (b"[]", "empty"),
            (b"3", "not_object"),
            (b"null", "not_object"),
            (b"[[]]", "not_object"),
            (b"[" + b"{}," * 1000 + b"{}]", "too_many_items"),
            (b"[" * 50_000 + b"]" * 50_000, "too_deep"),
            (b'{"plate": "A", "x": ' + b"[" * 16 + b"]" * 16 + b"}", "too_deep"),
            (json.dumps({"plate": "A", **{str(n): n for n in range(200)}}).encode(), "too_many_keys"),
            (json.dumps({"plate": "A", "x": [{str(n): n} for n in range(200)]}).encode(), "too_many_keys"),
            (json.dumps({"plate": "x" * 4097}).encode(), "long_string"),
            (json.dumps({"plate": "A", "k" * 4097: 1}).encode(), "long_string"),
            (b'{"plate": "A", "plate": "B"}', "duplicate_key"),
            (b'{"plate": "A", "x": [{"y": 1, "y": 1}]}', "duplicate_key"),
            (b'{"plate": "A\\u0000"}', "bad_text"),
            (b'{"plate": "\\ud800"}', "bad_text"),
            (b'{"plate": "A\x01"}', "not_json"),
        ],
    )  # fmt: skip
    async def test_json_that_cannot_be_trusted_is_400_and_parked(self, body: bytes, reason: str) -> None:
        """Each with a reason of its own; nothing of it reaches the decoder."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            answer = await client.post("/push", content=body)
        assert answer.status_code == 400
        assert answer.json()["items"][0]["reason"] == reason
        assert [parked[2] for parked in log.parked] == [reason]
        assert log.batches == []

    @pytest.mark.parametrize(
        "item",
        [
            {"plate": "A", "x": json.loads("[" * 14 + "]" * 14)},
            {"plate": "A", **{str(n): n for n in range(199)}},
            {"plate": "A", "x": "y" * 4096},
            {"plate": "가나 12 \u0413"},
            {"plate": "A", "x": "two\nlines\t"},
        ],
    )
    async def test_what_is_within_bounds_is_taken(self, item: dict[str, Any]) -> None:
        """A limit is what is still allowed."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            assert (await client.post("/push", json=item)).status_code == 200

    async def test_a_byte_order_mark_is_no_mistake(self) -> None:
        """Some devices are written on Windows."""
        log = Log()
        async with serving(log) as server, _client(server) as client:
            assert (await client.post("/push", content=b"\xef\xbb\xbf" + json.dumps(GOOD).encode())).status_code == 200
