"""The whole bridge in a test: a simulator as a process of its own, the real wiring, its log on the bus watched."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from json import loads
from pathlib import Path
from typing import NamedTuple

from nats.aio.msg import Msg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bridge.app import Registries, Running, running
from bridge.clock import Clock
from bridge.commands.site import actions, connectors
from bridge.config.load import load
from bridge.schema.event import VmsEvent
from bridge.schema.subjects import Subjects, unescape
from tests.bridge.commands.helpers import PATIENCE, going


@contextmanager
def simulator(cwd: Path, *options: str) -> Iterator[str]:
    """Run `vms-bridge simulate ts-api` with these options; yield its URL."""
    with going("simulate", "ts-api", "--port", "0", "--json", *options, cwd=cwd) as program:
        yield loads(program.line("url"))["url"]


class Place(NamedTuple):
    """Where a broker is, and how to log in there."""

    port: int
    username: str = ""
    password: str = ""


@asynccontextmanager
async def subscriber(place: Place, name: str) -> AsyncIterator[tuple[Client, dict[str, list[bytes]]]]:
    """Somebody else on the broker who subscribes to everything; with all that he got, by topic."""
    got: dict[str, list[bytes]] = defaultdict(list)
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id=name)
    if place.username:
        client.username_pw_set(place.username, place.password)
    client.on_message = lambda _client, _data, message: got[message.topic].append(message.payload)
    client.on_connect = lambda client, *_: client.subscribe("#", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    await asyncio.to_thread(client.connect, "127.0.0.1", place.port)
    client.loop_start()
    try:
        assert await asyncio.to_thread(subscribed.wait, 20)
        yield client, got
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


class Letter(NamedTuple):
    """A dead letter: why, and what it says of itself."""

    reason: str
    headers: dict[str, str]
    body: bytes


class Bridge:
    """A bridge that runs in this process, with all it has logged, and buried, since it came up."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.events: list[VmsEvent] = []
        self.dead: list[Letter] = []

    @property
    def listener(self) -> Place:
        """Where the MQTT listener of its own server is."""
        assert self.running.server is not None
        access = self.running.server.mqtt
        assert access is not None
        return Place(access.port, access.username, access.password.get_secret_value())

    async def watch(self) -> None:
        """Begin to collect."""

        async def event(message: Msg) -> None:
            self.events.append(VmsEvent.decode(message.data))

        async def letter(message: Msg) -> None:
            self.dead.append(
                Letter(unescape(message.subject.rpartition(".")[2]) or "", message.headers or {}, message.data)
            )

        root = Subjects(self.running.config.site).root
        await self.running.bus.connection.client.subscribe(f"{root}.event.>", cb=event)
        await self.running.bus.connection.client.subscribe(f"{root}.dlq.>", cb=letter)

    def of(self, kind: str) -> list[VmsEvent]:
        """Return the events of a kind, in the order of the log."""
        return [event for event in self.events if event.type == kind]

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Return once the condition holds. Fails after so many seconds, with the kinds seen."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - what the bridge does comes over the bus
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it did not happen; seen: {[event.type for event in self.events]}") from None


@asynccontextmanager
async def bridge(
    folder: Path, config: str, rules: str = "", sources: Sequence[str] = (), clock: Clock | None = None
) -> AsyncIterator[Bridge]:
    """Bring the bridge up in a folder, and wait until it hears these sources."""
    (folder / "bridge.yaml").write_text(config, encoding="utf-8")
    (folder / "rules").mkdir(exist_ok=True)
    if rules:
        (folder / "rules" / "rules.yaml").write_text(rules, encoding="utf-8")
    loaded = load(folder / "bridge.yaml", connectors())
    async with running(loaded, Registries(connectors(), actions()), clock) as up:
        site = Bridge(up)
        await site.watch()
        for source in sources:
            await up.listening(source, PATIENCE)
        yield site
