"""Dead letters over HTTP, in a real store: who may what, what goes again and what never, and who is named for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from bridge.bus.bus import Bus
from bridge.bus.letters import DeadLetterBox
from bridge.bus.pull import scan
from bridge.bus.streams import REJECTED_FROM
from bridge.clock import SystemClock
from bridge.config.models import ApiClient
from bridge.http.callers import Callers
from bridge.http.letters import LettersApi
from bridge.http.verify import Throttle
from bridge.schema.audit import AuditRecord
from bridge.schema.orders import ActionClass
from tests.bridge.bus.helpers import count, order, running_bus

CLIENTS = {
    name: ApiClient(token=SecretStr(f"{name}-0123456789abcdef"), role=role)
    for name, role in (("wall", "viewer"), ("guard", "operator"), ("chief", "admin"))
}


class Office:
    """A store with three dead letters, and people at its API."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self.bus, self.folder = bus, folder
        self.told: list[tuple[Any, ...]] = []
        clock = SystemClock()
        api = LettersApi(
            Callers(CLIENTS, "local", Throttle(clock), clock),
            lambda who: DeadLetterBox(bus.connection, "home", who),
            lambda *said: self.told.append(said),
            clock,
        )
        app = Starlette(routes=api.routes())
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge")

    async def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        token = CLIENTS[who].token.get_secret_value() if who in CLIENTS else who
        return await self.http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)

    async def trail(self) -> list[AuditRecord]:
        await self.bus.appender(self.folder / "audit").catch_up()
        found = scan(self.bus.connection, self.bus.stream("RESULTS"))
        return [AuditRecord.decode(message.data) async for batch in found for message in batch]

    async def letters(self) -> int:
        return await count(self.bus, "DLQ") + await count(self.bus, "REJECTED")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with running_bus(tmp_path) as bus:
        await bus.dead.bury("information", "gave_up", order(9).encode(), {"error": "no answer"})
        await bus.dead.bury("actuating", "poison", order(8, action_class=ActionClass.ACTUATING).encode(), {})
        await bus.dead.bury("message", "not_json", b"{not json", {"Source": "nvr1", "Error": "line 1"})
        place = Office(bus, tmp_path)
        yield place
        await place.http.aclose()


async def test_who_looks_sees_what_was_given_up(office: Office) -> None:
    """A list without bodies, by class, reason and age; one letter with all there is, and why it cannot go again."""
    listed = (await office.ask("wall", "GET", "/api/dlq")).json()["letters"]
    assert [(each["letter"], each["class"], each["redrivable"]) for each in listed] == [
        (1, "information", True), (2, "actuating", False), (REJECTED_FROM, "message", False),
    ]  # fmt: skip
    assert all("body" not in each for each in listed)
    for query, letters in (
        ({"class": "message"}, [REJECTED_FROM]),
        ({"reason": "gave_up"}, [1]),
        ({"limit": 2}, [2, REJECTED_FROM]),
        ({"since": "1h"}, [1, 2, REJECTED_FROM]),
        ({"since": (SystemClock().now() + timedelta(hours=1)).isoformat()}, []),
    ):
        answer = await office.ask("wall", "GET", "/api/dlq", params=query)
        assert [each["letter"] for each in answer.json()["letters"]] == letters, query
    whole = (await office.ask("wall", "GET", "/api/dlq/2")).json()
    assert whole["body"]["id"] == "o8"
    assert "never goes again" in whole["why_not"]
    assert (await office.ask("wall", "GET", f"/api/dlq/{REJECTED_FROM}")).json()["body"] == "{not json"


async def test_information_goes_again_and_it_is_known_who_sent_it(office: Office) -> None:
    """As a new order; in the audit trail and in the log stands the name of the token."""
    answer = await office.ask("guard", "POST", "/api/dlq/1/redrive", json={"reason": "the receiver is back"})
    assert (answer.status_code, answer.json()["letter"]) == (200, 1)
    assert office.told == [("redrive", "1", ("api:guard",), "the receiver is back")]
    [record] = await office.trail()
    assert record.action == "dlq-redrive"
    assert record.message == f"api:guard: dead letter 1 (information, gave_up) as order {answer.json()['order']}"
    assert (await office.ask("guard", "POST", "/api/dlq/1/redrive")).status_code == 404


@pytest.mark.parametrize("number", [2, REJECTED_FROM])
async def test_what_moves_something_or_is_no_order_never_goes_again(office: Office, number: int) -> None:
    """Not even for an admin; the letter stays, and nothing is written down."""
    answer = await office.ask("chief", "POST", f"/api/dlq/{number}/redrive")
    assert (answer.status_code, answer.json()["reason"]) == (409, "not_redrivable")
    assert (office.told, await office.trail(), await office.letters()) == ([], [], 3)


async def test_an_admin_drops_a_letter_and_that_stays(office: Office) -> None:
    """The letter is gone; who dropped it and why is in the trail."""
    assert (await office.ask("chief", "POST", "/api/dlq/2/drop", json={"reason": "seen"})).status_code == 200
    [record] = await office.trail()
    assert record.message == "api:chief: dead letter 2 (actuating, poison) seen"
    assert office.told == [("drop", "2", ("api:chief",), "seen")]
    assert (await office.ask("wall", "GET", "/api/dlq/2")).status_code == 404


@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        ("", "GET", "/api/dlq", 401),
        ("a wrong token", "GET", "/api/dlq/1", 401),
        ("wall", "POST", "/api/dlq/1/redrive", 403),
        ("guard", "POST", "/api/dlq/1/drop", 403),
        ("chief", "POST", "/api/dlq/77/drop", 404),
        ("wall", "GET", "/api/dlq/one", 404),
        ("wall", "GET", "/api/dlq?limit=100000", 422),
        ("wall", "GET", "/api/dlq?since=yesterday", 422),
        ("wall", "GET", "/api/dlq?reason=%3E", 200),
    ],
)
async def test_who_may_not_is_told_so(office: Office, who: str, method: str, path: str, status: int) -> None:
    """And nothing changes."""
    answer = await office.ask(who, method, path)
    assert answer.status_code == status, answer.text
    assert (office.told, await office.letters()) == ([], 3)
