"""Lists and the mode, changed by people and programs: written down, decided by, copied for others, and healed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from bridge.bus.bus import Bus
from bridge.bus.kv import Bucket
from bridge.clock import SystemClock
from bridge.config.models import ApiClient, MqttCommands
from bridge.engine_host import EngineHost
from bridge.errors import ActionRejectedError, StoreUnavailableError
from bridge.http.callers import Callers
from bridge.http.lists import ListsApi
from bridge.http.verify import Throttle
from bridge.live.lists import ListDesk
from bridge.live.messages import Messages
from bridge.live.modes import ModeDesk
from bridge.live.projection import Projection
from bridge.rulebook import StoredRuleSets
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import RulesChanged
from rules.ruleset import SiteSettings
from tests.bridge.bus.helpers import event, running_bus, until
from tests.rules.support import ACTIONS, rules_of

RULES = rules_of(
    """
    lists:
      residents: {plates: residents.csv, tags: [staff]}
      words: {values: [red]}
    rules:
      - id: in
        when: {kind: plate.read}
        match: {plate: {in: residents}, device: {not_in: words}}
        then: [{webhook: x}]
    """,
    residents="plate\nA1\n",
    site=SiteSettings(name="home"),
)
CLIENTS = {
    "booking": ApiClient(token=SecretStr("booking-0123456789"), role="operator", lists=("residents",)),
    "wall": ApiClient(token=SecretStr("wall-0123456789abcd"), role="viewer"),
}


class _Sets:
    rules = RULES


class _Progress:
    def stepped(self, events: int, orders: Sequence[Any], seconds: float) -> None:
        """Nobody counts."""


class Desk:
    """A bus, an engine on it, and everything that changes lists and the mode."""

    def __init__(self, bus: Bus, host: EngineHost, projection: Projection, emit: Any) -> None:
        self.bus, self.host, self.projection, self._emit = bus, host, projection, emit
        self.events: list[VmsEvent] = []
        self.down = False
        self.lists = ListDesk("home", _Sets(), host, self.emit, SystemClock())
        self.modes = ModeDesk("home", ("home", "night"), host, self.emit, SystemClock())
        callers = Callers(CLIENTS, "local-token", Throttle(SystemClock()), SystemClock())
        app = Starlette(routes=ListsApi(callers, self.lists, self.modes, SystemClock()).routes())
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge")

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if self.down:
            raise StoreUnavailableError("the store is away")
        self.events += events
        stored: asyncio.Future[None] = await self._emit(events)
        return stored

    async def ask(self, who: str, method: str, path: str, **said: Any) -> httpx.Response:
        token = CLIENTS[who].token.get_secret_value() if who in CLIENTS else "local-token"
        body = {"json": said} if said else {}
        return await self.http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **body)


async def _copies(bucket: Bucket) -> list[Any]:
    return [json.loads(entry.value or b"null") async for _, entry in bucket.items()]


@asynccontextmanager
async def engine(bus: Bus, emit: Any) -> AsyncIterator[tuple[EngineHost, Projection]]:
    async def traces(_: Sequence[Any]) -> None:
        """Nobody keeps them."""

    sets = StoredRuleSets(bus.contents, ACTIONS)
    await sets.store(RULES)
    projection = Projection(bus.kv("lists"), bus.kv("modes"), SystemClock())
    host = EngineHost(
        "home", bus.event_log(), bus.engine_store, sets, traces, emit, SystemClock(), _Progress(), None, projection
    )
    task = asyncio.create_task(host.run())
    await asyncio.wait_for(host.started.wait(), 5)
    host.wake()
    yield host, projection
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running_bus(tmp_path) as bus:
        emit = await bus.intake()
        named = event("rules", "rules.changed", data=RulesChanged(ruleset=RULES.hash, rules=1))
        await (await emit([named]))
        async with engine(bus, emit) as (host, projection):
            await until(lambda: host.ruleset)
            yield Desk(bus, host, projection, emit)


async def test_a_change_is_an_event_with_who_made_it_and_counts_at_once(desk: Desk) -> None:
    """A yes says so; what the list holds is asked by the list's own way of comparing."""
    said: dict[str, Any] = {"values": ["vis-1 7"], "tags": ["staff"], "reason": "a visit", "for": "2h"}
    answer = await desk.ask("booking", "POST", "/api/lists/residents/add", **said)
    assert (answer.status_code, answer.json()) == (200, {"list": "residents", "added": ["VIS17"], "applied": True})
    (made,) = desk.events
    assert (made.type, made.origin, made.principal, made.source) == (
        "list.changed", Origin.COMMAND, "api:booking", "home/bridge",
    )  # fmt: skip
    data: Any = made.data
    assert (data.added, data.tags, data.reason) == (("VIS17",), ("staff",), "a visit")
    assert abs(data.valid_until - made.time - timedelta(hours=2)) < timedelta(minutes=1)
    shown = (await desk.ask("wall", "GET", "/api/lists/residents?value=vis17")).json()
    assert (shown["file"], shown["changed"]["tags"]) == (False, ["staff"])
    await desk.ask("booking", "POST", "/api/lists/residents/remove", values=["a1"])
    entries = (await desk.ask("wall", "GET", "/api/lists/residents")).json()["entries"]
    assert [(one["value"], one["listed"]) for one in entries] == [("A1", False), ("VIS17", True)]
    await desk.ask("booking", "POST", "/api/lists/residents/reset", values=["a1", "vis17"])
    lists = (await desk.ask("wall", "GET", "/api/lists")).json()["lists"]
    assert [(one["list"], one["file"], one["changed"]) for one in lists] == [("residents", 1, 0), ("words", 1, 0)]


REFUSED: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("wall", "lists/residents/add", {"values": ["A1"]}, 403, "role"),
    ("booking", "lists/words/add", {"values": ["A1"]}, 403, "scope"),
    ("local", "lists/resident/add", {"values": ["A1"]}, 404, "unknown_list"),
    ("local", "lists/residents/add", {"values": ["--"]}, 409, "bad_value"),
    ("local", "lists/residents/add", {"values": []}, 422, "bad_body"),
    ("local", "lists/residents/add", {"values": ["A1"], "tags": ["boss"]}, 409, "unknown_tag"),
    ("local", "lists/residents/add", {"values": ["A1"], "valid_until": "2026-01-01T00:00:00Z"}, 409, "never_valid"),
    ("local", "lists/residents/add", {"values": ["A1"], "valid_until": "2026-01-01"}, 422, "bad_body"),
    ("local", "lists/residents/remove", {"values": ["A1"], "tags": ["staff"]}, 409, "never_valid"),
    ("local", "mode", {"mode": "nihgt"}, 404, "unknown_mode"),
    ("wall", "mode", {"mode": "night"}, 403, "role"),
]


async def test_what_cannot_be_is_refused_and_written_nowhere(desk: Desk) -> None:
    """With a reason for programs, and words."""
    for who, path, said, status, reason in REFUSED:
        answer = await desk.ask(who, "POST", f"/api/{path}", **said)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert desk.events == []


async def test_what_cannot_be_written_down_is_no_yes(desk: Desk) -> None:
    """And changes nothing."""
    desk.down = True
    answer = await desk.ask("local", "POST", "/api/lists/residents/add", values=["B2"])
    assert (answer.status_code, answer.json()["reason"]) == (503, "store_unavailable")
    assert desk.lists.show("residents")["entries"] == []


async def test_the_mode_is_set_and_known(desk: Desk) -> None:
    """By the engine's own memory of it."""
    assert (await desk.ask("wall", "GET", "/api/mode")).json() == {
        "mode": None,
        "since": None,
        "modes": ["home", "night"],
    }
    await desk.ask("booking", "POST", "/api/mode", mode="home")
    done = await desk.ask("local", "POST", "/api/mode", mode="night", reason="bedtime", person="ann")
    assert done.json() == {"mode": "night", "previous": "home", "applied": True}
    assert (desk.events[-1].principal, desk.modes.state()["mode"]) == ("cli:ann", "night")


async def test_copies_follow_and_are_healed_after_a_crash(desk: Desk) -> None:
    """What was committed and not copied, and what was copied and is no more, is put right at the next start."""
    await desk.lists.change("residents", "add", ["B2", "x" * 100], "cli:ann")
    await desk.lists.change("residents", "remove", ["A1"], "cli:ann")
    await desk.modes.set("night", "cli:ann")
    lists, modes = desk.bus.kv("lists"), desk.bus.kv("modes")
    assert await _copies(lists) == []
    await desk.projection.flush()
    assert [(one["value"], one["listed"]) for one in await _copies(lists)] == [
        ("B2", True), ("X" * 100, True), ("A1", False),
    ]  # fmt: skip
    assert [one["mode"] for one in await _copies(modes)] == ["night"]
    await desk.lists.change("residents", "reset", ["B2", "A1"], "cli:ann")
    await desk.lists.change("residents", "add", ["C3"], "cli:ann")
    again = Projection(lists, modes, SystemClock())  # the one before died with what it had in hand
    await again.heal(desk.host.state())
    assert sorted(one["value"] for one in await _copies(lists)) == ["C3", "X" * 100]


async def test_very_many_values_go_through_in_one_read(desk: Desk) -> None:
    """More than one commit takes, also from events that the engine reads at once."""
    plates = [f"P{number:04}" for number in range(2000)]
    changes = [desk.lists.change("residents", "add", plates[at : at + 250], "x") for at in range(0, 2000, 250)]
    assert all(done["applied"] for done in await asyncio.gather(*changes))
    shown: Any = desk.lists.show("residents")
    assert (shown["changed"], len(shown["entries"]), shown["entries"][0]["value"]) == (2000, 1000, "P0000")
    found, state = await desk.bus.engine_store.load()
    assert (found and found.seq, len([key for key in state if key.rule == "$list/residents"])) == (9, 2000)


async def test_messages_change_what_was_opened_to_them(desk: Desk) -> None:
    """By topics, with the broker's word for who may; what is wrong is logged and changes nothing."""
    topics: dict[str, Callable[[bytes], None]] = {}
    messages = Messages(MqttCommands(lists=("residents",), mode=True), desk.lists, desk.modes, SystemClock())
    messages.listen(topics.__setitem__, "home")
    assert sorted(topics) == ["home/list/residents/set", "home/mode/set"]
    for wrong in (
        b"{",
        b"{}",
        b'{"add": ["A"], "remove": ["B"]}',
        b'{"add": ["A"], "until": 3}',
        b"\xff",
        b'{"add": [""]}',
    ):
        topics["home/list/residents/set"](wrong)
    topics["home/mode/set"](b"nihgt")
    topics["home/list/residents/set"](b'{"add": ["b-2"], "for": "2h"}')
    topics["home/mode/set"](b'{"mode": "home"}')
    topics["home/mode/set"](b"night")
    await until(lambda: len(desk.events) == 3)
    await until(lambda: desk.modes.state()["mode"] == "night")
    assert [(one.type, one.principal, one.via) for one in desk.events] == [
        ("list.changed", "mqtt", "mqtt"), ("mode.changed", "mqtt", "mqtt"), ("mode.changed", "mqtt", "mqtt"),
    ]  # fmt: skip
    await messages.aclose()


async def test_more_than_there_is_room_for_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed already can still be changed, and taken back."""
    monkeypatch.setattr("bridge.live.lists.MAX_CHANGED", 2)
    await desk.lists.change("residents", "add", ["B2", "C3"], "x")
    with pytest.raises(ActionRejectedError, match="reset some"):
        await desk.lists.change("residents", "add", ["D4"], "x")
    await desk.lists.change("residents", "add", ["B2"], "x", tags=["staff"])
    await desk.lists.change("residents", "reset", ["C3"], "x")
    await desk.lists.change("residents", "add", ["D4"], "x")
