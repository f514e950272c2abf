"""When an event socket counts as dead, with time that passes when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from bridge.sdk import ConnectorUnavailableError
from connectors.ts_api.config import TsApiConfig
from connectors.ts_api.link import Door, Link
from tests.clock import VirtualClock
from tests.fakes import eventually

from .far_side import AUTH, FarSide

DEFAULTS = {"ping_interval": "3s", "ping_patience": "3s", "link_dead_after": "75s"}


class Watched:
    """An open link to a far side, and the watch over it."""

    def __init__(self, far: FarSide, link: Link, clock: VirtualClock) -> None:
        self.far, self.link, self.clock = far, link, clock
        self.signs = 0
        self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        async with aclosing(self.link.watch()) as signs:
            async for _ in signs:
                self.signs += 1

    @property
    def connection(self) -> Any:
        return self.link._connection

    async def tick(self, pong: bool = True) -> None:
        """Let 3 s pass once the last ping is answered."""
        await self.clock.until_asleep()
        if pong:
            await eventually(lambda: self.link._pong is not None and self.link._pong.done())
        await self.clock.advance(3)

    async def death(self) -> tuple[float, str]:
        """Return when the link was found dead, and why."""
        with pytest.raises(ConnectorUnavailableError) as caught:
            await asyncio.wait_for(self.task, 5)
        return self.clock.monotonic(), str(caught.value)


@asynccontextmanager
async def watched(**values: Any) -> AsyncIterator[Watched]:
    async with FarSide().running() as far:
        clock = VirtualClock()
        url = f"ws{far.url[4:]}/wsapi/subscribeEvents?topics=LPR&auth={AUTH}"
        link = Link(far.config(**{**DEFAULTS, **values}), clock, Door("LPR", ("LPR",), url, {}, {}), None)
        assert await link.open() is None
        watching = Watched(far, link, clock)
        try:
            yield watching
        finally:
            watching.task.cancel()
            await asyncio.wait({watching.task})
            await link.close()


def test_a_half_open_link_is_noticed_within_10_seconds_by_default() -> None:
    """The interval until the next ping, the patience after it, and the time for a goodbye."""
    values = TsApiConfig(url="http://x", username="a", password="b")
    assert values.ping_interval + values.ping_patience + values.close_timeout < timedelta(seconds=10)
    assert values.link_dead_after == timedelta(seconds=75)


async def test_a_server_that_stops_answering_pings_is_dead() -> None:
    """Within two rounds of the ping that nobody answered."""
    async with watched() as it:
        await it.tick()
        await it.tick()
        frozen_at = it.clock.monotonic()
        await it.clock.until_asleep()
        next(iter(it.far.sockets)).transport.pause_reading()
        for _ in range(3):
            if not it.task.done():
                await it.clock.advance(3)
        when, why = await it.death()
        assert "no answer to pings" in why
        assert when - frozen_at <= 6


async def test_a_server_that_never_answers_pings_has_75_seconds() -> None:
    """Some do not; what they promise is to say something every 30 s."""
    async with watched() as it:
        next(iter(it.far.sockets)).transport.pause_reading()
        for _ in range(24):
            await it.tick(pong=False)
        assert not it.task.done()
        await it.clock.advance(3)
        when, why = await it.death()
        assert "said nothing for 75 s" in why
        assert when == 75


async def test_answers_to_pings_do_not_replace_what_the_server_promised_to_say() -> None:
    """A socket that works does not prove that there is a server behind it."""
    async with watched(link_dead_after="9s") as it:
        for _ in range(3):
            await it.tick()
        when, why = await it.death()
        assert (when, it.signs) == (9, 0)
        assert "said nothing for 9 s" in why


async def test_a_server_that_pings_is_alive() -> None:
    """Without any event, for as long as it likes."""
    async with watched(link_dead_after="9s") as it:
        for _ in range(10):
            spoken = it.connection.spoken
            for socket in list(it.far.sockets):
                await socket.ping()
            await eventually(lambda spoken=spoken: it.connection.spoken > spoken)
            await it.tick()
        assert not it.task.done()
        assert it.signs == 10


async def test_a_reader_that_is_held_up_is_not_a_dead_link() -> None:
    """What waits unread includes the answers to our pings; its time begins anew once the network is read again."""
    async with watched() as it:
        await it.tick()
        it.connection.transport.pause_reading()
        next(iter(it.far.sockets)).transport.pause_reading()
        await it.clock.advance(300)
        assert not it.task.done()
        assert it.signs == 0
        it.connection.transport.resume_reading()
        resumed_at = it.clock.monotonic()
        for _ in range(2):
            if not it.task.done():
                await it.clock.advance(3)
        when, why = await it.death()
        assert "no answer to pings" in why
        assert when - resumed_at <= 6


async def test_a_dead_link_is_noticed_though_its_reader_is_held_up() -> None:
    """A log that takes nothing says nothing of the link, as long as there is room for what comes."""
    async with watched() as it:
        await it.tick()
        it.link.in_hand = 1
        next(iter(it.far.sockets)).transport.pause_reading()
        await it.clock.until_asleep()
        for _ in range(3):
            if not it.task.done():
                await it.clock.advance(3)
        when, why = await it.death()
        assert "no answer to pings" in why
        assert when <= 9


async def test_what_is_not_read_is_not_heard() -> None:
    """A message that waits proves that the link lives, not that we know what it says."""
    async with watched() as it:
        await it.tick()
        read_until = it.link.read_until
        await it.far.send(b"1")
        await eventually(lambda: it.connection.whole == 1)
        await it.tick()
        assert (it.link.unread, it.signs, it.link.read_until) == (True, 0, read_until)
        async with aclosing(it.link.messages()) as messages:
            assert await anext(messages) == [b"1"]
        await it.far.send(b"2")
        await eventually(lambda: it.connection.whole == 1)
        await it.connection.take()
        await it.tick()
        assert (it.link.unread, it.signs) == (False, 1)
        assert it.link.read_until > read_until


async def test_a_part_of_a_long_message_is_a_sign_of_life() -> None:
    """A large snapshot over a slow line takes its time."""
    async with watched(link_dead_after="9s") as it:
        for number in range(5):
            spoken = it.connection.spoken
            for socket in list(it.far.sockets):
                # The header says 1 MiB; only a little of it comes each time.
                header = b"\x81\x7f" + (1 << 20).to_bytes(8, "big") if number == 0 else b""
                socket.transport.write(header + b"x" * 1000)
            await eventually(lambda spoken=spoken: it.connection.spoken > spoken)
            await it.tick(pong=False)
            it.link.answers_pings = False
        assert not it.task.done()


async def test_unanswered_pings_do_not_pile_up() -> None:
    """A server that never answers is pinged once."""
    async with watched() as it:
        next(iter(it.far.sockets)).transport.pause_reading()
        for _ in range(10):
            await it.tick(pong=False)
        assert len(it.connection.pending_pings) == 1


async def test_messages_that_came_together_are_handed_out_together() -> None:
    """In their order, and all of them, also when the server ends the connection behind them."""
    async with watched() as it, aclosing(it.link.messages()) as messages:
        for sent in ([b"1"], [b"2", b"3", b"4"]):
            for message in sent:
                await it.far.send(message)
            await eventually(lambda sent=sent: it.connection.whole == len(sent))
            assert await anext(messages) == sent
        await it.far.send(b"5")
        await it.far.send(b"6")
        await eventually(lambda: it.connection.whole == 2)
        await it.far.drop()
        assert await anext(messages) == [b"5", b"6"]
        with pytest.raises(ConnectorUnavailableError):
            await anext(messages)
