"""No client keeps the port busy: each phase of a connection ends in time, and nothing grows without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import cast

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.contracts import PushFormat
from bridge.http.app import HttpServer
from bridge.http.limits import Gate, GuardedProtocol, Limits, address_key, begin_waiting
from tests.bridge.http.harness import FORMAT, Log, serving

SHORT = Limits(first_byte=0.1, header=0.2, body=0.4, grace=0.1, keep_alive=0.2, write=0.2)
LONG = Limits(first_byte=30, header=30, body=30, grace=30, keep_alive=30, write=30)
AUTH = b"Authorization: Basic Ym9vdGg6cGFzczp3b3Jk\r\n"
BODY = b'{"plate": "A"}'
HEAD = b"POST /push HTTP/1.1\r\nHost: h\r\n" + AUTH
HELLO = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
PUSH = HEAD + b"Content-Length: 14\r\n\r\n" + BODY


@asynccontextmanager
async def _socket(
    server: HttpServer, address: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _hello(server: HttpServer) -> bytes:
    async with _socket(server) as (reader, writer):
        writer.write(HELLO)
        return await _all(reader)


async def _all(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the other side hangs up; a reset is an end too."""
    got = b""
    async with asyncio.timeout(5):
        try:
            while part := await reader.read(65536):
                got += part
        except ConnectionError:
            pass
    return got


@pytest.mark.parametrize(
    ("limits", "sent", "status", "reason"),
    [
        (replace(LONG, first_byte=0.1), b"", b"", "slow_first_byte"),
        (replace(LONG, first_byte=0.1), b"\r\n\r\n\r\n", b"", "slow_first_byte"),
        (replace(LONG, header=0.1), b"P", b"408", "slow_header"),
        (replace(LONG, header=0.1), HEAD, b"408", "slow_header"),
        (replace(LONG, body=0.1, grace=0.1), HEAD + b"Content-Length: 14\r\n\r\n" + BODY[:5], b"408", "slow_body"),
        (replace(LONG, grace=0.1), HEAD + b"Content-Length: 14\r\n\r\n", b"408", "slow_body"),
        (replace(LONG, grace=0.1), HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{", b"408", "slow_body"),
    ],
)
async def test_a_client_that_stops_in_the_middle_is_dropped(
    limits: Limits, sent: bytes, status: bytes, reason: str
) -> None:
    """Whatever it was about to say: nothing yet, half a header, half a body."""
    log = Log()
    async with serving(log, limits=limits) as server, _socket(server) as (reader, writer):
        writer.write(sent)
        answer = await _all(reader)
    assert answer[9:12] == status
    assert log.seen[0] == ("connection", reason)
    assert log.batches == []


async def test_a_trickle_is_not_enough() -> None:
    """A header byte now and then does not move the deadline: it counts from the first one."""
    log = Log()
    async with serving(log, limits=replace(LONG, header=0.2)) as server, _socket(server) as (reader, writer):

        async def trickle() -> None:
            for byte in HEAD * 10:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(trickle())
        answer = await _all(reader)
        dripping.cancel()
    assert answer.startswith(b"HTTP/1.1 408")
    assert log.seen == [("connection", "slow_header")]


async def test_an_answer_does_not_give_the_next_header_more_time() -> None:
    """A request and the beginning of another: the second is as late as if it had come alone."""
    log = Log()
    async with serving(log, limits=replace(LONG, header=0.2)) as server, _socket(server) as (reader, writer):
        writer.write(HELLO.replace(b"close", b"keep-alive") + b"POST /pu")
        assert (await _all(reader)).count(b"HTTP/1.1 200") == 1
    assert log.seen == [("connection", "slow_header")]


async def test_an_idle_connection_is_closed_without_fuss() -> None:
    """Keep-alive has an end; that is nobody's fault and is not counted."""
    log = Log()
    async with serving(log, limits=replace(LONG, keep_alive=0.1)) as server, _socket(server) as (reader, writer):
        writer.write(PUSH)
        answer = await _all(reader)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in answer
    assert log.seen == []


async def test_blank_lines_do_not_keep_a_connection() -> None:
    """What is not a request is not a sign of life."""
    log = Log()
    async with serving(log, limits=replace(LONG, keep_alive=0.15)) as server, _socket(server) as (reader, writer):
        writer.write(PUSH)

        async def blank() -> None:
            while True:
                writer.write(b"\r\n")
                await asyncio.sleep(0.02)

        blanking = asyncio.create_task(blank())
        assert (await _all(reader)).startswith(b"HTTP/1.1 200")
        blanking.cancel()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(2000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000,
        b"GET /" + b"a" * 20_000,
    ],
)
async def test_a_large_header_is_431(sent: bytes) -> None:
    """Whether it ends or not."""
    log = Log()
    async with serving(log, limits=LONG) as server, _socket(server) as (reader, writer):
        writer.write(sent)
        answer = await _all(reader)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    assert ("connection", "large_header") in log.seen
    assert log.requests == []


@pytest.mark.parametrize(
    "filler",
    [b"1;" + b"x" * 500 + b"\r\n \r\n", b"1\r\n \r\n" * 100],
    ids=["chunk extensions", "body"],
)
async def test_an_endless_body_is_cut_off(filler: bytes) -> None:
    """Also one that hides its bytes where no body counter sees them."""
    log = Log()
    limits = replace(LONG, unread_bytes=100_000)
    async with serving(log, limits=limits) as server, _socket(server) as (reader, writer):

        async def pour() -> None:
            writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(filler)
                await writer.drain()

        pouring = asyncio.create_task(pour())
        await _all(reader)
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
    assert ("connection", "large_body") in log.seen
    assert log.batches == []


async def test_endless_trailers_are_cut_off() -> None:
    """What comes after the body is as bounded as what comes before."""
    log = Log()
    async with serving(log, limits=replace(LONG, unread_bytes=50_000)) as server, _socket(server) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 20_000)
        await _all(reader)
    assert ("connection", "large_body") in log.seen
    assert log.batches == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    """A few sent ahead are fine."""
    log = Log()
    async with serving(log, limits=LONG) as server, _socket(server) as (reader, writer):
        writer.write(PUSH * 4 + HEAD + b"Content-Length: 14\r\nConnection: close\r\n\r\n" + BODY)
        answer = await _all(reader)
    assert answer.count(b"HTTP/1.1 200") == 5


async def test_a_flood_of_pipelined_requests_is_dropped() -> None:
    """They would all be held in memory while the first one waits."""
    log = Log()
    log.held = asyncio.Event()
    async with serving(log, limits=LONG) as server, _socket(server) as (reader, writer):
        writer.write(PUSH * 200)
        assert await _all(reader) == b""
        log.held.set()
    assert log.seen == [("connection", "pipeline")]


async def test_idle_sockets_of_an_address_keep_nobody_there_out() -> None:
    """Its share is full of what says nothing: what does so the longest goes, not whoever has something to say."""
    log = Log()
    async with (
        serving(log, limits=replace(LONG, per_address=2)) as server,
        _socket(server) as (first, _),
        _socket(server) as (second, writer),
    ):
        assert (await _hello(server)).startswith(b"HTTP/1.1 200")
        assert await _all(first) == b""
        writer.write(HELLO)
        assert (await _all(second)).startswith(b"HTTP/1.1 200")
    assert log.seen == [("connection", "made_room")]


async def test_one_address_has_its_share_and_others_have_theirs() -> None:
    """While it is served as much as it may, it is refused in one line; what is served and idles makes room."""
    log = Log()
    log.held = asyncio.Event()
    async with serving(log, limits=replace(LONG, per_address=1)) as server, _socket(server) as (reader, writer):
        writer.write(PUSH)
        await until_served(log)
        assert (await _hello(server)).startswith(b"HTTP/1.1 429")
        async with _socket(server, "127.0.0.2") as (other, asking):
            asking.write(HELLO)
            assert (await _all(other)).startswith(b"HTTP/1.1 200")
        log.held.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert (await _hello(server)).startswith(b"HTTP/1.1 200")
    assert log.seen == [("connection", "too_many_from_address"), ("connection", "made_room")]


async def test_whoever_is_made_to_wait_keeps_nobody_out() -> None:
    """An answer that is held back on purpose takes no place that somebody needs."""
    log, waiting, over = Log(), asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        begin_waiting(request)
        waiting.set()
        await over.wait()
        return Response()

    more = [Route("/slow", slow)]
    limits = replace(LONG, per_address=1)
    async with serving(log, limits=limits, more=more) as server, _socket(server) as (reader, writer):
        writer.write(HELLO.replace(b"healthz", b"slow"))
        async with asyncio.timeout(5):
            await waiting.wait()
        assert (await _hello(server)).startswith(b"HTTP/1.1 200")
        assert await _all(reader) == b""
        over.set()
    assert log.seen[0] == ("connection", "made_room")


async def test_when_all_places_are_taken_by_requests_it_is_503() -> None:
    """Whoever is being served is not cut off for somebody who comes later."""
    log = Log()
    log.held = asyncio.Event()
    async with serving(log, limits=replace(LONG, connections=1)) as server, _socket(server) as (reader, writer):
        writer.write(PUSH)
        await until_served(log)
        assert (await _hello(server)).startswith(b"HTTP/1.1 503")
        log.held.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert log.seen == [("connection", "too_many_connections")]


async def until_served(log: Log) -> None:
    """Wait until a push waits for the log."""
    async with asyncio.timeout(5):
        await log.asked.wait()


@pytest.mark.parametrize("sent", [b"", b"POST /pu", HEAD + b"Content-Length: 14\r\n\r\n{"])
async def test_whoever_dawdles_makes_room(sent: bytes) -> None:
    """In whatever phase; the one that does so the longest goes, and the place is used again."""
    log = Log()
    async with (
        serving(log, limits=replace(LONG, connections=2)) as server,
        _socket(server) as (first, writer),
        _socket(server) as (_, second),
    ):
        writer.write(sent)
        await writer.drain()
        second.write(HELLO.replace(b"close", b"keep-alive"))
        assert (await _hello(server)).startswith(b"HTTP/1.1 200")
        assert await _all(first) == b""
    assert log.seen == [("connection", "made_room")]


async def test_the_greediest_address_makes_room_first() -> None:
    """An address with one connection keeps it while another has many."""
    log = Log()
    async with (
        serving(log, limits=replace(LONG, connections=3)) as server,
        _socket(server, "127.0.0.2") as (lone, lone_writer),
        _socket(server, "127.0.0.3") as (greedy, _),
        _socket(server, "127.0.0.3"),
    ):
        assert (await _hello(server)).startswith(b"HTTP/1.1 200")
        assert await _all(greedy) == b""
        lone_writer.write(HELLO)
        assert (await _all(lone)).startswith(b"HTTP/1.1 200")


async def test_an_answer_that_nobody_reads_is_thrown_away() -> None:
    """A client that asks and never reads cannot hold memory."""
    log = Log()
    limits = replace(LONG, write=0.1)
    async with serving(log, limits=limits, scraped=b"#" * 20_000_000) as server, _socket(server) as (reader, writer):
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            await log.dropped.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await _all(reader)) < 20_000_000
    assert log.seen == [("connection", "slow_reader")]


async def test_an_answer_that_is_read_slowly_arrives() -> None:
    """Slow is not silent: whoever takes some now and then gets it all."""
    log = Log()
    limits = replace(LONG, write=0.5)
    async with serving(log, limits=limits, scraped=b"#" * 8_000_000) as server, _socket(server) as (reader, writer):
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert len(await _all(reader)) > 8_000_000
    assert log.seen == []


async def test_a_slow_client_does_not_hold_up_others() -> None:
    """Others are served while one dawdles, and what it leaves behind is cleaned up."""
    log = Log()
    async with serving(log, limits=SHORT) as server, _socket(server) as (slow, half):
        half.write(HEAD)
        async with _socket(server) as (reader, writer):
            writer.write(PUSH)
            async with asyncio.timeout(5):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await _all(slow)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /push HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /push HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /push HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_hung_up_on(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A TLS hello, noise, two lengths: 400, and nothing in the log that a stranger could fill."""
    log = Log()
    async with serving(log, limits=SHORT) as server, _socket(server) as (reader, writer):
        writer.write(sent)
        answer = await _all(reader)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408"))
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_stopping_waits_for_the_request_in_hand() -> None:
    """A push that is being stored gets its answer; idle connections are closed at once."""
    log = Log()
    log.hold_futures = True
    async with asyncio.timeout(5):
        async with serving(log, limits=LONG) as server:
            idle, _idle = await asyncio.open_connection("127.0.0.1", server.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(PUSH)
            await log.arrived.wait()
            asyncio.get_running_loop().call_later(0.05, log.futures[0].set_result, None)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer or reader.at_eof()
        assert await idle.read() == b""
    for end in (writer, _idle):
        end.close()
        await end.wait_closed()


async def test_a_request_with_no_end_does_not_hold_up_stopping() -> None:
    """Half a body is given up at once when the bridge stops."""
    log = Log()
    async with asyncio.timeout(2):
        async with serving(log, limits=LONG) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(HEAD + b"Content-Length: 14\r\nExpect: 100-continue\r\n\r\n{")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await _all(reader)).startswith(b"HTTP/1.1 503")
        writer.close()
        await writer.wait_closed()
    assert log.batches == []


def test_an_ipv6_network_is_one_address() -> None:
    """One host has a whole /64 to come from; a mapped IPv4 address is that address."""
    assert address_key("2001:db8:1:2:3::4") == address_key("2001:db8:1:2:ffff::1") == "2001:db8:1:2::"
    assert address_key("fe80::1%eth0") == "fe80::"
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1")
    assert address_key("unix") == "unix"


def test_the_gate_forgets_who_left() -> None:
    """No memory is kept of addresses without a connection."""
    gate = Gate(Limits())
    guest = cast("GuardedProtocol", object())
    for number in range(1000):
        address = f"192.0.2.{number}"
        assert gate.enter(address) is None
        gate.leave(guest, address)
    assert gate.open == 0


async def test_two_formats_cannot_share_a_path() -> None:
    """Which of them a push was for could not be told."""
    with pytest.raises(Exception, match="two connectors want pushes at /push"):
        async with serving(Log(), formats=(FORMAT, PushFormat(paths=("/push",), decode=FORMAT.decode))):
            pass
