"""What a source said is stored in the order in which it said it, whatever the log refuses on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from bridge.bus import publish
from bridge.bus.acks import Acks
from bridge.bus.intake import JetIntake
from bridge.bus.publish import Publisher
from bridge.bus.state_book import StateBook
from bridge.bus.window import Limits
from bridge.bus.wire import BATCH_HAS_DUPLICATE, MSG_ID, TOO_LARGE, Ack, Outgoing, RefusedError
from bridge.contracts import TwinKeys
from bridge.errors import StoreUnavailableError
from bridge.runtime.twins import TwinMatcher
from bridge.schema.event import Origin, VmsEvent
from bridge.tap import Tap
from connectors.ts_api.delivery import Delivery
from tests.clock import START, VirtualClock, settle
from tests.fakes import RecordingSession

NOT_NOW = 10008
"""JetStream is temporarily unavailable."""
FULL = 10077


class Server(Acks):
    """A log that refuses what a test wants, and otherwise keeps what it is sent."""

    def __init__(self, refuse: Callable[[Outgoing], int | None] = lambda _: None) -> None:
        self.refuse = refuse
        self.log: list[str] = []
        self.at_once = self.most = 0
        self.silent = False

    async def send(self, message: Outgoing) -> asyncio.Future[Ack]:
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            answer_with: Ack | RefusedError = self._take([message])
        except RefusedError as exc:
            answer_with = exc

        def tell() -> None:
            self.at_once -= 1
            if answer.done():
                return
            if isinstance(answer_with, RefusedError):
                answer.set_exception(answer_with)
            else:
                answer.set_result(answer_with)

        if not self.silent:
            asyncio.get_running_loop().call_soon(tell)
        return answer

    async def store(self, messages: Sequence[Outgoing], patience: float) -> Ack:
        await asyncio.sleep(0)
        return self._take(messages)

    def _take(self, messages: Sequence[Outgoing]) -> Ack:
        names = [message.headers[MSG_ID] for message in messages]
        if len(names) > 1 and set(names) & set(self.log):
            raise RefusedError(BATCH_HAS_DUPLICATE, "duplicate")
        for message in messages:
            if (code := self.refuse(message)) is not None:
                raise RefusedError(code, "no")
        new = [name for name in names if name not in self.log]
        self.log += new
        return Ack(len(self.log), duplicate=not new)


class Up:
    """A connection that is there."""

    connected, lost_for, max_payload = True, 0.0, 1024 * 1024


def publisher(server: Server, **limits: Any) -> Publisher:
    return Publisher(Up(), server, "EVENTS", Limits(pause=0.001, **limits))  # type: ignore[arg-type]


def said(source: str, number: int) -> Outgoing:
    name = f"{source}{number}"
    return Outgoing(f"vms.home.event.{source}.motion.started.1", b"{}", {MSG_ID: name})


def of(source: str, log: Sequence[str]) -> list[str]:
    return [name for name in log if name[0] == source]


@pytest.mark.parametrize("count", [2, 30])
async def test_what_is_refused_for_the_moment_is_stored_before_what_comes_after_it(count: int) -> None:
    """An end is never written before its beginning; the messages of other sources do not wait for it."""
    refusals = iter([NOT_NOW] * 3)
    server = Server(lambda message: next(refusals, None) if message.headers[MSG_ID] == "a0" else None)
    async with publisher(server) as it:
        futures = [await it.put([said("a", number)]) for number in range(count)]
        futures += [await it.put([said("b", number)]) for number in range(count)]
        await asyncio.gather(*futures)
    for source in "ab":
        assert of(source, server.log) == [f"{source}{number}" for number in range(count)]


async def test_a_message_that_would_always_be_refused_holds_nobody_up() -> None:
    """It alone is refused, at once."""
    server = Server(lambda message: TOO_LARGE if message.headers[MSG_ID] == "a1" else None)
    async with publisher(server) as it:
        futures = [await it.put([said("a", number)]) for number in range(3)]
        await asyncio.wait(futures)
    assert [bool(future.exception()) for future in futures] == [False, True, False]
    assert server.log == ["a0", "a2"]


async def test_what_is_refused_for_too_long_is_refused_with_all_that_is_behind_it() -> None:
    """Then it is for the senders, who begin with the first."""
    server = Server(lambda message: NOT_NOW if message.headers[MSG_ID] == "a1" else None)
    async with publisher(server, patience=0.05) as it:
        futures = [await it.put([said("a", number)]) for number in range(4)]
        await asyncio.wait(futures)
        assert [bool(future.exception()) for future in futures] == [False, True, True, True]
    assert server.log == ["a0"]


async def test_a_few_of_several_sources_go_at_once_and_in_their_order() -> None:
    """Each source has one on its way; and as nothing is refused, they stand as they were put, whoever they are of."""
    server = Server()
    mixed = [said(source, number) for source, number in zip("aabcabdb", range(8), strict=True)]
    async with publisher(server) as it:
        await (await it.put(mixed))
    assert server.log == [message.headers[MSG_ID] for message in mixed]
    assert server.most == 3


class Guard:
    """Lets in, or keeps waiting."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def admit(self, size: int) -> None:
        await self.open.wait()


def plate(number: int, via: str, source: str) -> VmsEvent:
    return VmsEvent.model_validate(
        {
            "id": f"{via}{number}",
            "type": "plate.read",
            "source": f"home/{source}",
            "subject": "1",
            "time": START + timedelta(seconds=number),
            "timequality": "device",
            "received": START,
            "origin": Origin.LIVE,
            "via": via,
            "data": {"plate": f"P{number}", "plate_raw": f"P{number}"},
        }
    )


class _Uncounted:
    def twin(self, source: str, via: str) -> None: ...


def keys(event: VmsEvent) -> TwinKeys:
    name = [f"{event.data.plate}"]  # type: ignore[attr-defined]
    return TwinKeys(name, name)


class Way(RecordingSession):
    """The whole way from a connector's delivery to the log."""

    def __init__(self, it: Publisher) -> None:
        super().__init__(VirtualClock())
        self.guard = Guard()
        book = StateBook(None, None, None, "EVENTS")  # type: ignore[arg-type]
        intake = JetIntake(it, book, self.guard, "home", None, self.clock)  # type: ignore[arg-type]
        tap = Tap(intake, [])
        tap.follow(frozenset({"plate.read"}), lambda _event, _stored: None)
        known = {"plate.read": keys}
        self.emit = TwinMatcher(tap, {"home/a": known}, known, _Uncounted(), twin_of={"home/gate": ["home/a"]})  # type: ignore[assignment]


async def refused_behind_a_twin(way: Way, it: Publisher, delivery: Delivery) -> None:
    """Have everything refused when the delivery waits for a push that is the same, and for an event of its own."""
    way.guard.open.clear()
    pushed = asyncio.create_task(way.emit([plate(1, "push", "gate")]))
    await settle()
    putting = asyncio.create_task(delivery.put(way, [plate(1, "ws", "a"), plate(2, "ws", "a")]))
    await settle()
    way.guard.open.set()
    await asyncio.gather(putting, pushed)
    await settle()
    assert it.pending == 2
    it.refuse_all(StoreUnavailableError("no"))


async def test_a_sender_has_heard_of_a_refusal_before_anything_more_is_taken() -> None:
    """The longest way takes as many turns of the event loop as the publisher waits, and not one less."""
    server = Server()
    server.silent = True
    async with publisher(server) as it:
        way, delivery = Way(it), Delivery()
        await refused_behind_a_twin(way, it, delivery)
        turns = 0
        while not delivery.kept:
            assert it._telling, "more would be taken, and its sender does not know yet"
            await asyncio.sleep(0)
            turns += 1
        assert delivery.kept == 2
        assert turns == publish.TURNS
        await asyncio.sleep(0)
        assert not it._telling


async def test_whatever_is_refused_each_source_is_stored_in_its_order() -> None:
    """Refusals of every kind by chance, at any moment, with deliveries that try again."""
    chance = random.Random(7)

    def refuse(_: Outgoing) -> int | None:
        return chance.choice([None, None, None, NOT_NOW, FULL])

    server = Server(refuse)
    async with publisher(server, pending=10, batch=20) as it:
        ways = [(Way(it), Delivery(), source) for source in "bc"]
        retries = [asyncio.create_task(delivery.retry(way)) for way, delivery, _ in ways]
        for number in range(100):
            for way, delivery, source in ways:
                event = plate(number, source, source)
                await delivery.put(way, [event])
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
                if chance.random() < 0.1:
                    await way.clock.advance(2)  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while len(server.log) < 200:
                for way, _, _ in ways:
                    await way.clock.advance(2)  # type: ignore[attr-defined]
                await asyncio.sleep(0.001)
        for retry in retries:
            retry.cancel()
    for source in "bc":
        assert [name for name in server.log if name.startswith(f"home/{source}/")] == [
            f"home/{source}/{source}{number}" for number in range(100)
        ]
