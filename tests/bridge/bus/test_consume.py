"""The event log: order, where it begins, what is no event, holes, and a server that comes and goes."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from bridge.bus.bus import Bus
from bridge.bus.consume import BATCH
from bridge.bus.pull import Pull, place, scan
from bridge.bus.wire import Outgoing, Received
from bridge.contracts import EventLog, Logged
from bridge.schema.kinds import LogHole
from tests.bridge.bus.helpers import count, event, running_bus, until
from tests.bridge.bus.link import linked_bus


async def read(log: EventLog, after: int, number: int, *, ack: bool = False) -> list[Logged]:
    """So many events after a sequence."""
    found: list[Logged] = []
    async with asyncio.timeout(20), aclosing(log.read(after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            assert 0 < len(batch) <= BATCH
            found += batch
            if ack:
                await log.done(batch[-1].seq)
            if len(found) >= number:
                return found
    return found


def ids(found: list[Logged]) -> list[str]:
    """Their ids."""
    return [logged.event.id for logged in found]


def test_the_reply_subject_is_read_in_both_forms() -> None:
    """The old form and the one with domain and account give the same place."""
    old = place("$JS.ACK.S.c.1.42.7.1768046400000001999.3")
    new = place("$JS.ACK._.hash.S.c.1.42.7.1768046400000001999.3.token")
    assert old == new
    assert (old.seq, old.turn, old.left) == (42, 7, 3)
    assert old.stamp.isoformat() == "2026-01-10T12:00:00.000001+00:00"


async def test_events_come_in_order_with_their_place(bus: Bus) -> None:
    """Every event of the log, once, in the order of its sequence, with the server's stamp."""
    intake = await bus.intake()
    await asyncio.gather(*[await intake([event(number)]) for number in range(1234)])
    found = await read(bus.event_log(), 0, 1234, ack=True)
    assert ids(found) == [f"e{number}" for number in range(1234)]
    assert [logged.seq for logged in found] == list(range(1, 1235))
    assert all(one.stamp <= two.stamp for one, two in itertools.pairwise(found))
    assert found[0].event == event(0)


async def test_reading_begins_where_the_reader_says(bus: Bus) -> None:
    """The position on the server does not count: acknowledged or not, the reader gets what he asks for."""
    intake = await bus.intake()
    await (await intake([event(number) for number in range(1, 301)]))
    log = bus.event_log()
    await read(log, 0, 300, ack=True)
    assert ids(await read(bus.event_log(), 0, 300)) == [f"e{number}" for number in range(1, 301)]
    assert ids(await read(bus.event_log(), 298, 2)) == ["e299", "e300"]


async def test_a_lone_event_is_handed_over_at_once(bus: Bus) -> None:
    """A reader that waits gets a single event without any filling up of batches."""
    intake = await bus.intake()
    async with aclosing(bus.event_log().read(0)) as batches:  # type: ignore[type-var]
        loop = asyncio.get_running_loop()
        for number in range(5):
            waiting = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)
            await (await intake([event(number)]))
            stored = loop.time()
            assert ids(list(await waiting)) == [f"e{number}"]
            assert loop.time() - stored < 1.0


async def test_acknowledged_events_show_as_read(bus: Bus) -> None:
    """`done` moves the consumer's position, for people who look."""
    intake = await bus.intake()
    await (await intake([event(number) for number in range(50)]))
    log = bus.event_log("reader")
    async with aclosing(log.read(0)) as batches:  # type: ignore[type-var]
        seen = 0
        while seen < 50:
            seen += len(await anext(batches))
        await log.done(50)
        info = {}
        async with asyncio.timeout(5):
            while info.get("ack_floor", {}).get("stream_seq") != 50:
                info = await bus.connection.api(f"CONSUMER.INFO.{bus.stream('EVENTS')}.reader")
        await log.done(50)


async def test_what_is_no_event_is_buried_and_skipped(bus: Bus) -> None:
    """A message that cannot be read is among the dead letters, whole and with the reason, before reading goes on."""
    intake = await bus.intake()
    await (await intake([event(1)]))
    await bus._acks.store([Outgoing("vms.home.event.x.y.z._", b'{"id": 7}')], 5)
    await bus._acks.store([Outgoing("vms.home.event.x.y.z._", b"\xff\x00")], 5)
    await (await intake([event(2)]))
    assert ids(await read(bus.event_log(), 0, 2)) == ["e1", "e2"]
    assert ids(await read(bus.event_log("other"), 0, 2)) == ["e1", "e2"]
    dead = [message async for batch in scan(bus.connection, bus.stream("DLQ")) for message in batch]
    assert [message.data for message in dead] == [b'{"id": 7}', b"\xff\x00"], "buried once, however often it is read"
    assert dead[0].subject == "vms.home.dlq.event.not%5Fan%5Fevent"
    assert (dead[0].headers or {})["Vms-Sequence"] == "2"
    assert "id" in (dead[0].headers or {})["Vms-Error"]


async def test_a_hole_is_told_and_becomes_an_event(bus: Bus) -> None:
    """Events that were trimmed before they were read are named by first and last sequence."""
    intake = await bus.intake()
    await (await intake([event(number) for number in range(1, 11)]))
    await bus.connection.api(f"STREAM.PURGE.{bus.stream('EVENTS')}", {"seq": 6})
    found = await read(bus.event_log(), 2, 6)
    assert ids(found)[:5] == ["e6", "e7", "e8", "e9", "e10"]
    hole = found[5].event
    assert hole.type == "log.hole"
    assert hole.data == LogHole(first_missing=3, last_missing=5)
    told: list[tuple[int, int]] = []

    async def on_hole(first: int, last: int) -> None:
        told.append((first, last))

    await read(bus.event_log(on_hole=on_hole), 0, 6)
    assert told == [], "who begins at the beginning of what is kept misses nothing"
    await read(bus.event_log(on_hole=on_hole), 5, 6)
    assert told == []
    await read(bus.event_log(on_hole=on_hole), 4, 6)
    assert told == [(5, 5)]


async def test_a_log_that_ends_too_early_is_a_hole(bus: Bus) -> None:
    """A reader that is further than the log (an older copy was restored) is told, and reads what is new."""
    intake = await bus.intake()
    await (await intake([event(1), event(2)]))
    told: list[tuple[int, int]] = []

    async def on_hole(first: int, last: int) -> None:
        told.append((first, last))
        await (await intake([event(3)]))

    assert ids(await read(bus.event_log(on_hole=on_hole), 100, 1)) == ["e3"]
    assert told == [(3, 100)]


async def test_reading_goes_on_over_kills_of_the_server(tmp_path: Path) -> None:
    """With the server killed while events are read, every event comes once and in order."""
    async with running_bus(tmp_path) as bus:
        intake = await bus.intake()
        await (await intake([event(number) for number in range(3000)]))
        server = bus._server
        assert server is not None
        found: list[Logged] = []
        async with asyncio.timeout(30), aclosing(bus.event_log().read(0)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                found += batch
                if len(found) in (100, 1000, 2000) and server.pid is not None:
                    os.kill(server.pid, signal.SIGKILL)
                if len(found) == 3000:
                    break
        assert ids(found) == [f"e{number}" for number in range(3000)]
        assert server.restarts >= 1


async def test_reading_goes_on_over_broken_connections(tmp_path: Path) -> None:
    """What was lost on the way is read again; nothing comes twice."""
    async with linked_bus(tmp_path) as (bus, link):
        intake = await bus.intake()
        await (await intake([event(number) for number in range(2000)]))
        found: list[Logged] = []
        cuts = [300, 700, 1500]
        async with asyncio.timeout(30), aclosing(bus.event_log().read(0)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                found += batch
                if cuts and len(found) >= cuts[0]:
                    cuts.pop(0)
                    link.cut()
                if len(found) == 2000:
                    break
        assert ids(found) == [f"e{number}" for number in range(2000)]


async def test_a_message_lost_on_the_way_is_read_again(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that never reached us is noticed by the next one, and nothing is passed over."""
    intake = await bus.intake()
    await (await intake([event(number) for number in range(250)]))
    arrived, seen = Pull._arrived, 0

    def lossy(pull: Pull, message: Received) -> None:
        nonlocal seen
        seen += 1
        if seen not in (30, 200):
            arrived(pull, message)

    monkeypatch.setattr(Pull, "_arrived", lossy)
    assert ids(await read(bus.event_log(), 0, 250)) == [f"e{number}" for number in range(250)]


async def test_a_deleted_consumer_is_made_again(bus: Bus) -> None:
    """Somebody who deletes the consumer by hand does not stop the engine."""
    intake = await bus.intake()
    log = bus.event_log("engine-0")
    async with aclosing(log.read(0)) as batches:  # type: ignore[type-var]
        await (await intake([event(1)]))
        assert ids(list(await anext(batches))) == ["e1"]
        waiting = asyncio.ensure_future(anext(batches))
        await until(lambda: not waiting.done())
        await bus.connection.api(f"CONSUMER.DELETE.{bus.stream('EVENTS')}.engine-0")
        await (await intake([event(2)]))
        async with asyncio.timeout(15):
            assert ids(list(await waiting)) == ["e2"]


async def test_a_scan_ends_and_leaves_nothing_behind(bus: Bus) -> None:
    """A scan of an empty stream yields nothing; its consumers are gone afterwards."""
    stream = bus.stream("EVENTS")
    assert [batch async for batch in scan(bus.connection, stream)] == []
    intake = await bus.intake()
    await (await intake([event(number) for number in range(2500)]))
    assert sum([len(batch) async for batch in scan(bus.connection, stream)]) == 2500
    assert sum([len(batch) async for batch in scan(bus.connection, stream, after=2490)]) == 10
    assert await count(bus, "EVENTS") == 2500
    info = await bus.connection.api(f"CONSUMER.NAMES.{stream}")
    assert info["consumers"] in (None, [])


@pytest.mark.parametrize("number", [1, 100, 101])
async def test_batches_hold_at_most_a_hundred(bus: Bus, number: int) -> None:
    """A backlog comes in pieces of at most a hundred."""
    intake = await bus.intake()
    await (await intake([event(place) for place in range(number)]))
    assert len(await read(bus.event_log(), 0, number)) == number


async def test_a_connection_that_was_just_lost_can_be_closed(tmp_path: Path) -> None:
    """Nobody has noticed yet, and there is something to say on the way out."""
    async with linked_bus(tmp_path) as (bus, link):
        link.cut()
        async with asyncio.timeout(5):
            while not bus.connection.client._transport._io_writer.is_closing():  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0)
        await bus.connection.client.send(b"PING\r\n")
