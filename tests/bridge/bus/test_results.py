"""Dead letters and traces."""

from __future__ import annotations

import asyncio

from bridge.bus.bus import Bus
from bridge.bus.pull import scan
from tests.bridge.bus.helpers import event


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
