"""Dead letters and traces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from bridge.bus.bus import Bus
from bridge.bus.pull import scan
from bridge.bus.results import JetDeadLetters, JetTraces, action_ended, event_message
from bridge.bus.wire import Outgoing
from bridge.schema.base import stable_id
from bridge.schema.event import own_event
from bridge.schema.kinds import ActionEnded
from bridge.schema.subjects import Subjects
from tests.bridge.bus.helpers import event, result

if TYPE_CHECKING:
    from bridge.bus.acks import Acks
    from bridge.bus.connect import Connection
    from bridge.bus.publish import Publisher


async def test_a_dead_letter_keeps_body_reason_and_headers(bus: Bus) -> None:
    """What was buried can be looked at: whole, unless it is larger than the server takes."""
    await bus.dead.bury("information", "gave up", b"\x00\xff", {"Error": "line\r\nbreak", "bad name:": "v"})
    await bus.dead.bury("information", "gave up", b"\x00\xff", {"Error": "again"})
    await bus.dead.bury("event", "huge", b"x" * 3_000_000, {})
    dead = [message async for batch in scan(bus.connection, bus.stream("DLQ")) for message in batch]
    assert [message.subject for message in dead] == ["vms.home.dlq.information.gave%20up", "vms.home.dlq.event.huge"]
    headers = dead[0].headers or {}
    assert dead[0].data == b"\x00\xff"
    assert "\n" not in headers["Vms-Error"]
    assert headers["Vms-bad-name-"] == "v"
    assert (dead[1].headers or {})["Vms-Full-Size"] == "3000000"
    assert 900_000 < len(dead[1].data) < 1_048_576


class Kept:
    """Takes what is stored, as acknowledgements do."""

    def __init__(self) -> None:
        self.stored: list[tuple[list[Outgoing], float]] = []

    async def store(self, messages: list[Outgoing], patience: float) -> None:
        self.stored.append((messages, patience))


class Limits:
    """A connection that knows how much a message may hold."""

    max_payload = 16 * 1024 + 100


async def test_a_letter_is_cut_where_the_server_would_refuse_it() -> None:
    """With room for its headers, each of which is cut too; what it says of itself makes it one, however often."""
    kept = Kept()
    dead = JetDeadLetters(cast("Connection", Limits()), cast("Acks", kept), "home")
    for body in (b"x" * 100, b"x" * 101):
        await dead.bury("information", "gave_up", body, {"A-1 b:ö": "v" * 1025})
    (((whole,), patience), ((cut,), _)) = kept.stored
    names = {"Vms-A-1-b--": "v" * 1024, "Nats-Msg-Id": stable_id("information", "gave_up", (b"x" * 100).hex())}
    assert whole == Outgoing(Subjects("home").dead("information", "gave_up"), b"x" * 100, names)
    assert (cut.body, cut.headers["Vms-Full-Size"], patience) == (b"x" * 100, "101", 15.0)
    assert len({message.headers["Nats-Msg-Id"] for messages, _ in kept.stored for message in messages}) == 2


async def test_a_trace_without_an_id_is_stored_each_time() -> None:
    """Nothing tells two of them apart, so nothing may take the second for the first."""
    put: list[list[Outgoing]] = []

    class Puts:
        async def put(self, messages: list[Outgoing]) -> None:
            put.append(messages)

    traces = JetTraces(cast("Publisher", Puts()), "home")
    await traces.write("gate/night", b"why")
    await traces.write("gate/night", b"why", "t1")
    subject = "vms.home.trace.gate%2Fnight"
    assert put == [[Outgoing(subject, b"why", {})], [Outgoing(subject, b"why", {"Nats-Msg-Id": "t1"})]]


def test_the_event_of_an_end_says_all_that_the_end_says() -> None:
    """When it ended, after which event, and how many rules it has come through; of the same end it is the same."""
    end = result(1, step="clip", reason="late", message="too late", attempts=3, output={"x": 1}, causes=("e1", "e2"))
    told = action_ended("home", end, 2)
    data = ActionEnded(
        order="o1", rule="r", action="webhook", step="clip", outcome="done", reason="late", message="too late",
        attempts=3, output={"x": 1},
    )  # fmt: skip
    name = stable_id("action.ended", "home", "o1")
    assert told == own_event("home", "action.ended", data, end.ended, id=name, correlation="e2", hops=2)
    bare = action_ended("home", result(1, causes=()), 0)
    assert (bare.correlation, bare.hops) == (None, None)


def test_an_event_is_known_by_its_source_and_its_id() -> None:
    """Two systems may both count from one."""
    told = event(1)
    subjects = Subjects("home")
    expected = Outgoing(subjects.event(told), told.encode(), {"Nats-Msg-Id": "home/nvr1/e1"})
    assert event_message(subjects, told) == expected


async def test_traces_are_kept_by_rule(bus: Bus) -> None:
    """Traces are written in order; the same id is stored once."""
    futures = [await bus.traces.write("gate/night", b"%d" % number, f"t{number % 5}") for number in range(10)]
    await asyncio.gather(*futures)
    traces = [message async for batch in scan(bus.connection, bus.stream("TRACES")) for message in batch]
    assert [message.data for message in traces] == [b"%d" % number for number in range(5)]
    assert traces[0].subject == "vms.home.trace.gate%2Fnight"


async def test_health_tells_what_is_going_on(bus: Bus) -> None:
    """Connected, healthy, which server, and how far behind the engine is."""
    intake = await bus.intake()
    await (await intake([event(1), event(2)]))
    await bus.guard.look()
    health = bus.health()
    assert health.ok
    assert health.connected
    assert health.embedded
    assert health.trouble is None
    assert health.refusing is None
    assert health.server_version.startswith("2.")
    assert (health.backlog.messages, health.backlog.unread) == (2, 2)
    assert health.totals.stored == 2
