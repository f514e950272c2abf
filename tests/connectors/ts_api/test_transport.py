"""What requests do on real sockets: one request is sent once, and what breaks is told from what never began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from connectors.ts_api.addresses import Host
from connectors.ts_api.failures import Failure, Kind
from connectors.ts_api.wire import Answer, Call, Wire, client
from tests.fakes import eventually

from .support import config

SWITCH = Call("/api/channel/relay", {"ch": 1, "on": "gate"})
OK = b'HTTP/1.1 200 OK\r\nSet-Cookie: S=1; Path=/\r\nContent-Length: 10\r\n\r\n{"code":0}'

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers with `replies` in turn, over as many connections as it takes, and keeps what it was sent."""

    def __init__(self, *replies: bytes | Reply) -> None:
        self._replies = list(replies)
        self.requests: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._replies:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                reply = self._replies.pop(0)
                if isinstance(reply, bytes):
                    writer.write(reply)
                else:
                    await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def wire_to(server: Server, **values: Any) -> AsyncIterator[Wire]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    settings = config(url=url, **values)
    wire = Wire(settings, Host(url), None)
    try:
        yield wire
    finally:
        await wire.aclose()
        listening.close()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def failure(wire: Wire, call: Call = SWITCH) -> Failure:
    answer = await wire.send(call)
    assert isinstance(answer, Failure)
    return answer


@pytest.mark.parametrize("cut", [hang_up, reset])
async def test_a_request_is_never_sent_twice(cut: Reply) -> None:
    """Not even a GET on a kept connection that breaks under it: on v0 it opens a gate."""
    server = Server(OK, cut, OK)
    async with wire_to(server) as wire:
        assert isinstance(await wire.send(SWITCH), Answer)
        broken = await failure(wire)
    assert broken.kind is Kind.UNANSWERED
    assert (len(server.requests), server.connections) == (2, 1)


async def test_a_server_that_does_not_listen_was_sent_nothing() -> None:
    """So the order may be tried again."""
    async with wire_to(Server()) as wire:
        pass
    settings = config(url=wire._host.url)
    closed = Wire(settings, wire._host, None)
    refused = await failure(closed)
    await closed.aclose()
    assert refused.kind is Kind.UNREACHED
    assert "cannot reach http://127.0.0.1" in refused.message


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the connection broke"),
        (silence, "no answer"),
    ],
)
async def test_what_breaks_after_sending_is_not_known(reply: bytes | Reply, words: str) -> None:
    """It may have been done, whatever came back instead of an answer."""
    async with wire_to(Server(reply), request_timeout="300ms") as wire:
        broken = await failure(wire)
    assert broken.kind is Kind.UNANSWERED
    assert words in broken.message


async def test_waiting_for_a_free_connection_is_not_sending() -> None:
    """Who found every connection taken has sent nothing."""
    server = Server(silence)
    async with wire_to(server, max_requests=1, request_timeout="2s") as wire:
        first = asyncio.create_task(wire.send(SWITCH))
        await eventually(lambda: server.requests)
        request = httpx.Request("GET", wire._host.url, extensions={"timeout": {"pool": 0.05}})
        with pytest.raises(httpx.ConnectError):
            await wire._transport.handle_async_request(request)
        first.cancel()
        await asyncio.wait([first])
    assert len(server.requests) == 1


async def test_a_long_answer_is_cut_off_and_a_redirect_not_followed() -> None:
    """The next request has a connection of its own again, and brings back no cookie."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 200_000
    away = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/api/x\r\nContent-Length: 0\r\n\r\n"
    server = Server(long, away, OK)
    async with wire_to(server, answer_limit="64KiB") as wire:
        assert "longer than 65536 bytes" in (await failure(wire)).message
        assert "sent on to http://127.0.0.1" in (await failure(wire)).message
        assert isinstance(await wire.send(SWITCH), Answer)
    assert len(server.requests) == 3
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_an_address_means_what_was_written() -> None:
    """Names of presets hold anything; and a blank is no plus sign, which not every server reads as one."""
    server = Server(OK)
    async with wire_to(server) as wire:
        answer = await wire.send(Call("/api/channel/preset", {"list": None, "go": "a b+c/d%é&="}))
    assert isinstance(answer, Answer)
    target = server.requests[0].split()[1]
    assert target.replace(b"/", b"%2F") == b"%2Fapi%2Fchannel%2Fpreset?list&go=a%20b%2Bc%2Fd%25%C3%A9%26%3D"


async def test_files_come_the_same_way() -> None:
    """The client for files keeps no cookies and follows nothing either."""
    server = Server(OK, OK)
    async with wire_to(server) as wire:
        settings = config(url=wire._host.url)
        async with client(settings, None, 2, settings.download_timeout) as files:
            for _ in range(2):
                answer = await files.get(settings.url + "/clip.mp4")
                assert answer.json() == {"code": 0}
    assert b"accept-encoding: identity" in server.requests[1].lower()
    assert b"cookie" not in server.requests[1].lower()
