"""MQTT clients live in an account of their own and reach nothing of ours."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage
from pydantic import SecretStr

from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.server import EmbeddedServer
from bridge.bus.server_config import Access
from bridge.config.models import MqttListener
from bridge.contracts import Head, Step
from bridge.errors import StartError
from tests.bridge.bus.helpers import CONFIG, event, order, until

WITH_MQTT = CONFIG.model_copy(update={"mqtt": MqttListener(port=0)})
TOPICS = (
    "vms/home/order/0/evil",
    "vms/home/effect/evil",
    "vms/home/head/0",
    "vms/home/event/nvr1/call/started/1",
    "$JS/API/STREAM/DELETE/VMS-home-EVENTS",
    "$KV/VMS-home-state/x",
)


class Mqtt:
    """A paho client: connected, with what it received."""

    def __init__(self, access: Access, name: str, password: str | None = None) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.connected, self.refused = threading.Event(), threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=name)
        self.client.username_pw_set(access.username, password or access.password.get_secret_value())
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self._access = access

    def __enter__(self) -> Mqtt:
        self.client.connect(self._access.host, self._access.port)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        (self.refused if reason.is_failure else self.connected).set()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self.received.append((message.topic, message.payload))


async def test_mqtt_reaches_mqtt_and_nothing_of_ours(tmp_path: Path) -> None:
    """Published to our subjects by MQTT: other MQTT clients get it; no subscriber, stream or queue of ours does."""
    async with EmbeddedServer(WITH_MQTT, tmp_path) as server, Bus.open("home", WITH_MQTT, server) as bus:
        assert server.mqtt is not None
        assert server.mqtt_url == f"mqtt://{server.mqtt.address}"
        seen: list[str] = []

        def spy(message: Any) -> None:
            seen.append(message.subject)

        await bus.connection.subscribe("vms.>", spy)
        await bus.engine_store.commit(Step(Head(3, 1, "r"), {}, [order(1)]))
        seen.clear()
        before = await _state(bus)
        with ExitStack() as stack:
            listener = stack.enter_context(Mqtt(server.mqtt, "listener"))
            attacker = stack.enter_context(Mqtt(server.mqtt, "attacker"))
            await until(lambda: listener.connected.is_set() and attacker.connected.is_set())
            subscribed = threading.Event()
            listener.client.on_subscribe = lambda *_: subscribed.set()
            listener.client.subscribe([("#", 1), ("vms/#", 1)])
            await until(subscribed.is_set)
            for qos in (0, 1):
                for topic in TOPICS:
                    attacker.client.publish(topic, order("evil").encode(), qos=qos, retain=qos == 1)
            attacker.client.publish("vms/home/the-end", b"", qos=1)
            await until(lambda: any(topic.endswith("the-end") for topic, _ in listener.received))
            reached = {topic for topic, _ in listener.received}
            assert set(TOPICS[:4]) <= reached, "the listener works: MQTT clients do reach each other"
            intake = await bus.intake()
            await (await intake([event(1)]))  # our own traffic, after all of theirs
            await asyncio.sleep(0)
        assert set(seen) == {"vms.home.event.nvr1.motion.started.1"}
        after = await _state(bus)
        assert after["EVENTS"] == before["EVENTS"] + 1
        assert {name: seq for name, seq in after.items() if name != "EVENTS"} == {
            name: seq for name, seq in before.items() if name != "EVENTS"
        }


async def test_mqtt_hears_nothing_of_ours(tmp_path: Path) -> None:
    """Events and orders that we store are not delivered to an MQTT client that subscribes to everything."""
    async with EmbeddedServer(WITH_MQTT, tmp_path) as server, Bus.open("home", WITH_MQTT, server) as bus:
        assert server.mqtt is not None
        with Mqtt(server.mqtt, "listener") as listener:
            await until(listener.connected.is_set)
            subscribed = threading.Event()
            listener.client.on_subscribe = lambda *_: subscribed.set()
            listener.client.subscribe([("#", 1), ("vms/#", 0)])
            await until(subscribed.is_set)
            intake = await bus.intake()
            await (await intake([event(number) for number in range(20)]))
            await bus.engine_store.commit(Step(Head(1, 1, "r"), {}, [order(1)]))
            listener.client.publish("own", b"", qos=1)
            await until(lambda: listener.received)
            assert {topic for topic, _ in listener.received} == {"own"}


async def test_credentials_are_for_one_door_only(tmp_path: Path) -> None:
    """The MQTT password does not open NATS, ours does not open MQTT, and a wrong one opens nothing."""
    config = CONFIG.model_copy(update={"mqtt": MqttListener(port=0, username="ha", password=SecretStr("pass word"))})
    async with EmbeddedServer(config, tmp_path) as server:
        assert server.mqtt is not None
        assert server.mqtt.username == "ha"
        with Mqtt(server.mqtt, "right") as right, Mqtt(server.mqtt, "wrong", "x") as wrong:
            await until(lambda: right.connected.is_set() and wrong.refused.is_set())
        ours = Access(server.mqtt.host, server.mqtt.port, server.access.username, server.access.password)
        with Mqtt(ours, "ours") as crossed:
            await until(crossed.refused.is_set)
        connection = Connection([server.url], "ha", SecretStr("pass word"), "crossed")
        with pytest.raises(StartError, match="refuses our credentials"):
            async with connection.opened(patience=5):
                pass


async def test_without_the_setting_there_is_no_listener(tmp_path: Path) -> None:
    """The MQTT listener is off unless the user asks for it."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        assert server.mqtt is None
        assert "mqtt" not in (tmp_path / "bus" / "nats.conf").read_text().lower()


async def _state(bus: Bus) -> dict[str, int]:
    """The last sequence of every stream of ours."""
    names = ("EVENTS", "ENGINE", "RESULTS", "DLQ", "REJECTED", "TRACES", "CHECKPOINTS")
    infos = [await bus.connection.api(f"STREAM.INFO.{bus.stream(name)}") for name in names]
    return {name: info["state"]["last_seq"] for name, info in zip(names, infos, strict=True)}
