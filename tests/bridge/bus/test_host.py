"""The host of subscribers: nothing that fails is lost, and nothing fails for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from faststream.nats import JStream, NatsBroker
from faststream.security import SASLPlaintext
from nats.js.api import ConsumerConfig

from bridge.bus import host as host_module
from bridge.bus.bus import Bus
from bridge.bus.host import POISON_AFTER, Host
from bridge.bus.pull import scan
from bridge.errors import StoreUnavailableError
from bridge.schema.orders import Effect
from tests.bridge.bus.helpers import effect, until

Handle = Callable[[Effect, int], Awaitable[None]]


class Seen:
    """A handler that fails as it is told to, and an observer."""

    def __init__(self, *answers: BaseException | None) -> None:
        self.answers = list(answers)
        self.deliveries: list[tuple[str, int]] = []
        self.outcomes: list[str] = []

    async def handle(self, found: Effect, seq: int) -> None:
        self.deliveries.append((found.order, seq))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer

    def handled(self, subscriber: str, outcome: str, seconds: float) -> None:
        assert subscriber == "test"
        assert seconds >= 0
        self.outcomes.append(outcome)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages come again at once."""
    monkeypatch.setattr(host_module, "BACK_OFF", (0.01,))
    monkeypatch.setattr(host_module, "_RESTART", (0.01,))


def _host(bus: Bus, seen: Seen, dead: Any = None) -> Host:
    host = Host.beside(bus.connection, dead or bus.dead, seen)
    host.subscribe("test", "vms.home.effect.*", bus.stream("ENGINE"), Effect, seen.handle, "A test.")
    return host


async def _waiting(bus: Bus, consumer: str) -> int:
    """How many messages a consumer has before it: not delivered, or delivered and not answered."""
    info = await bus.connection.api(f"CONSUMER.INFO.{bus.stream('ENGINE')}.{consumer}")
    return int(info["num_pending"]) + int(info["num_ack_pending"])


async def _settled(bus: Bus, consumer: str) -> None:
    async with asyncio.timeout(10):
        while await _waiting(bus, consumer):  # noqa: ASYNC110 - the server is asked
            await asyncio.sleep(0.01)


async def test_a_handler_that_raises_does_not_lose_its_message(bus: Bus) -> None:
    """It comes again until it is done, and the next one comes after."""
    seen = Seen(ValueError("not now"), KeyError("nor now"))
    await bus.effects.claim(effect(1))
    async with _host(bus, seen).opened():
        await until(lambda: len(seen.deliveries) == 3)
        await bus.effects.claim(effect(2))
        await until(lambda: len(seen.deliveries) == 4)
        await _settled(bus, "test")
    assert seen.deliveries == [("o1", 1)] * 3 + [("o2", 2)]
    assert seen.outcomes == ["later", "later", "done", "done"]


async def test_what_raises_past_our_care_is_not_lost_either(bus: Bus) -> None:
    """An error that no wrapper of ours turns into a word for FastStream is left to its policy, which must be ours."""

    class Careless(Seen):
        def handled(self, subscriber: str, outcome: str, seconds: float) -> None:
            super().handled(subscriber, outcome, seconds)
            if len(self.outcomes) < 3:
                raise ValueError("a metric that fails, around the handler")

    seen = Careless()
    await bus.effects.claim(effect(1))
    async with _host(bus, seen).opened():
        await until(lambda: len(seen.deliveries) == 3)
        await _settled(bus, "test")
    assert seen.deliveries == [("o1", 1)] * 3


async def test_faststreams_own_default_would_lose_it(bus: Bus) -> None:
    """The control: registered without our policy, the message of a handler that raised never comes again."""
    username, password = bus.connection.credentials or ("", None)
    assert password is not None
    broker = NatsBroker(
        list(bus.connection.servers),
        security=SASLPlaintext(username, password.get_secret_value()),
        logger=None,
        apply_types=False,
    )
    deliveries: list[Any] = []

    async def handle(message: Any) -> None:
        deliveries.append(message)
        raise ValueError("not now")

    broker.subscriber(
        "vms.home.effect.*",
        queue="control",
        stream=JStream(bus.stream("ENGINE"), declare=False),
        config=ConsumerConfig(durable_name="control", ack_wait=0.5),
    )(handle)
    await bus.effects.claim(effect(1))
    await broker.start()
    try:
        await until(lambda: deliveries)
        await _settled(bus, "control")  # the server has nothing left for it: lost
    finally:
        await broker.stop()
    assert len(deliveries) == 1


async def test_what_fails_again_and_again_becomes_a_dead_letter(bus: Bus) -> None:
    """After five deliveries, with body, reason and where it came from; the next one is not held up by it."""
    seen = Seen(*[ValueError("never")] * POISON_AFTER)
    await bus.effects.claim(effect(1))
    async with _host(bus, seen).opened():
        await until(lambda: len(seen.deliveries) == POISON_AFTER)
        await bus.effects.claim(effect(2))
        await until(lambda: ("o2", 2) in seen.deliveries)
        await _settled(bus, "test")
    assert seen.outcomes == ["later"] * (POISON_AFTER - 1) + ["poison", "done"]
    (dead,) = [message async for batch in scan(bus.connection, bus.stream("DLQ")) for message in batch]
    assert dead.subject == "vms.home.dlq.record.poison"
    assert dead.data == effect(1).encode()
    headers = dead.headers or {}
    assert headers["Vms-Subscriber"] == "test"
    assert headers["Vms-Subject"] == "vms.home.effect.o1"
    assert (headers["Vms-Stream-Sequence"], headers["Vms-Tries"]) == ("1", str(POISON_AFTER))
    assert headers["Vms-Error"] == "ValueError: never"


async def test_a_message_is_let_go_of_only_when_its_dead_letter_is_written(bus: Bus) -> None:
    """While the dead letters cannot be written it comes again, and is buried then."""
    tries = []

    class Dead:
        async def bury(self, action_class: str, reason: str, body: bytes, headers: Mapping[str, str]) -> None:
            tries.append(headers["Tries"])
            if len(tries) < 3:
                raise StoreUnavailableError("no room")
            await bus.dead.bury(action_class, reason, body, headers)

    seen = Seen(*[ValueError("never")] * 20)
    await bus.effects.claim(effect(1))
    async with _host(bus, seen, Dead()).opened():
        await until(lambda: len(tries) == 3)
        await _settled(bus, "test")
    assert tries == ["5", "6", "7"]
    assert len(seen.deliveries) == 7


async def test_an_outage_of_the_store_is_no_poison(bus: Bus) -> None:
    """What cannot be written now comes again as often as it takes."""
    seen = Seen(*[StoreUnavailableError("away")] * (POISON_AFTER + 3))
    await bus.effects.claim(effect(1))
    async with _host(bus, seen).opened():
        await until(lambda: "done" in seen.outcomes)
        await _settled(bus, "test")
    assert seen.outcomes == ["later"] * (POISON_AFTER + 3) + ["done"]
    assert [message async for batch in scan(bus.connection, bus.stream("DLQ")) for message in batch] == []


async def test_what_cannot_be_read_is_a_dead_letter_at_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """It would not get better; and what is in it is not written into the log."""
    seen = Seen()
    await bus.connection.client.jetstream().publish("vms.home.effect.bad", b'{"password": "hunter2"}')
    with caplog.at_level(logging.DEBUG):
        async with _host(bus, seen).opened():
            await until(lambda: seen.outcomes)
            await _settled(bus, "test")
    assert (seen.outcomes, seen.deliveries) == (["poison"], [])
    assert [m.subject async for batch in scan(bus.connection, bus.stream("DLQ")) for m in batch] == [
        "vms.home.dlq.record.unreadable"
    ]
    assert "hunter2" not in caplog.text


async def test_a_connection_closed_for_good_is_replaced(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py closes one after an error line of the server; the subscribers begin again on a new one."""
    clients = []
    connect = NatsBroker.connect

    async def noted(broker: NatsBroker) -> Any:
        clients.append(await connect(broker))
        return clients[-1]

    monkeypatch.setattr(NatsBroker, "connect", noted)
    seen = Seen()
    async with _host(bus, seen).opened():
        await bus.effects.claim(effect(1))
        await until(lambda: len(seen.deliveries) == 1)
        await clients[-1].close()
        await bus.effects.claim(effect(2))
        await until(lambda: ("o2", 2) in seen.deliveries)
    assert all(client.is_closed for client in clients)


async def test_it_ends_although_a_cancellation_is_swallowed(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` of Python 3.11 does now and then, while the subscribers are begun."""
    begun = asyncio.Event()

    async def start(broker: NatsBroker) -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(NatsBroker, "start", start)
    async with asyncio.timeout(10) as limit:
        async with _host(bus, Seen()).opened():
            await begun.wait()
    assert not limit.expired()


async def test_a_name_is_given_once(bus: Bus) -> None:
    """Two subscribers of one name would share their messages without knowing."""
    host = _host(bus, Seen())
    with pytest.raises(ValueError, match="test already"):
        host.subscribe("test", "vms.home.effect.*", bus.stream("ENGINE"), Effect, Seen().handle, "Another.")
