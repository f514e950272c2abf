"""Results, dead letters and traces."""

from __future__ import annotations

import asyncio

from bridge.bus.bus import Bus
from bridge.bus.pull import scan
from bridge.bus.results import action_ended
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import ActionEnded
from bridge.schema.orders import Result
from tests.bridge.bus.helpers import count, event, result


async def test_a_result_is_filed_once_and_told_to_the_engine(bus: Bus) -> None:
    """However often it is filed there is one record and one event, and both say the same."""
    filed = result(1, step="clip", reason="late", output={"path": "a.mp4"})
    for _ in range(3):
        await bus.results.file(filed)
    results = [message async for batch in scan(bus.connection, bus.stream("RESULTS")) for message in batch]
    assert [message.subject for message in results] == ["vms.home.result.webhook.done"]
    assert Result.decode(results[0].data) == filed
    events = [message async for batch in scan(bus.connection, bus.stream("EVENTS")) for message in batch]
    assert len(events) == 1
    told = VmsEvent.decode(events[0].data)
    assert told == action_ended("home", filed)
    assert told.origin is Origin.BRIDGE
    assert told.source == "home/bridge"
    assert told.correlation == "e1"
    assert isinstance(told.data, ActionEnded)
    assert (told.data.order, told.data.outcome, told.data.output) == ("o1", "done", {"path": "a.mp4"})


async def test_different_results_are_all_filed(bus: Bus) -> None:
    """Results of different orders do not get in each other's way, at once or one by one."""
    await asyncio.gather(*(bus.results.file(result(number)) for number in range(50)))
    assert await count(bus, "RESULTS") == 50
    assert await count(bus, "EVENTS") == 50


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
