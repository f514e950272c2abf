"""MQTT against real brokers: what is acknowledged has arrived, and an outage is told at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge.actions import mqtt
from bridge.actions.mqtt_client import MAX_PAYLOAD, MqttPublisher, check_topic
from bridge.clock import SystemClock
from bridge.config.models import MqttConfig
from bridge.contracts import Known
from bridge.errors import ActionRejectedError, ActionUnavailableError
from tests.bridge.actions.brokers import Broker, Kind, broker, free_port
from tests.bridge.actions.support import Locator, make_order, running, until
from tests.clock import VirtualClock

BOTH = pytest.mark.parametrize("kind", ["mosquitto", "nats-server"])


class Listener:
    """Somebody else on the broker, with the retained and the fresh messages it saw."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self.subscribed = False
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_message = lambda _c, _d, m: self.got.append((m.topic, m.payload, m.retain))
        self._client.on_connect = lambda c, *_: c.subscribe("vms/#", 1)
        self._client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def of(self, topic: str) -> list[bytes]:
        return [payload for name, payload, _ in self.got if name == topic]


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[Listener]:
    listener = await asyncio.to_thread(Listener, port)
    try:
        await until(lambda: listener.subscribed)
        yield listener
    finally:
        await asyncio.to_thread(listener.close)


@asynccontextmanager
async def publishing(port: int, **config: Any) -> AsyncIterator[MqttPublisher]:
    publisher = MqttPublisher(MqttConfig(port=port, **config), "site", "i1", SystemClock())
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()


@BOTH
async def test_an_order_arrives_at_a_subscriber(tmp_path: Path, kind: Kind) -> None:
    """Alike on Mosquitto with MQTT 5 and on nats-server, which refuses 5, with 3.1.1."""
    clock = VirtualClock()
    async with (
        broker(kind, tmp_path) as served,
        listening(served.port) as listener,
        publishing(served.port) as publisher,
        running(tmp_path / "site", clock, actions={"mqtt": mqtt.SPEC}) as site,
    ):
        site.services.put(publisher)
        await until(lambda: publisher.connected)
        assert publisher.version == ("5" if kind == "mosquitto" else "3.1.1")
        texts = make_order(clock, "mqtt", {"topic": "gate/Front Door", "payload": "open"}, 1)
        values = make_order(clock, "mqtt", {"topic": "gate/x", "payload": {"plate": "가12"}}, 2)
        event = make_order(clock, "mqtt", {"topic": "gate/event", "retain": True}, 3)
        for order in (texts, values, event):
            assert (await site.do(order)).outcome == "done"
        await until(lambda: len(listener.got) >= 4)
        assert listener.of("vms/gate/Front%20Door") == [b"open"]
        assert json.loads(listener.of("vms/gate/x")[0]) == {"plate": "가12"}
        assert json.loads(listener.of("vms/gate/event")[0])["id"] == "event3"


@BOTH
async def test_the_state_topic_says_online_and_offline(tmp_path: Path, kind: Kind) -> None:
    """Retained; offline after a clean stop, and by the broker's word after a death."""
    async with broker(kind, tmp_path) as served, listening(served.port) as listener:
        states = lambda: listener.of("vms/site/bridge/state")  # noqa: E731
        async with publishing(served.port) as publisher:
            await until(lambda: publisher.connected and states() == [b"online"])
        await until(lambda: states() == [b"online", b"offline"])
        async with publishing(served.port) as publisher:
            await until(lambda: publisher.connected and len(states()) == 3)
            assert publisher._session is not None
            publisher._session.client._sock.close()  # type: ignore[union-attr] - die without a word
            await until(lambda: len(states()) >= 4)
            assert states()[3] == b"offline"


@BOTH
async def test_the_state_topic_says_whether_the_bridge_can_be_relied_on(tmp_path: Path, kind: Kind) -> None:
    """Each change once, over a reconnect as it is then; other messages are published all the same."""
    async with broker(kind, tmp_path) as served, listening(served.port) as listener:
        states = lambda: listener.of("vms/site/bridge/state")  # noqa: E731
        async with publishing(served.port) as publisher:
            publisher.available(False)
            await until(lambda: publisher.connected and states() == [b"offline"])
            assert await publisher.publish("still", b"here")
            publisher.available(True)
            await until(lambda: states() == [b"offline", b"online"])
            publisher.available(True)
            publisher.available(False)
            await until(lambda: states() == [b"offline", b"online", b"offline"])


@BOTH
async def test_an_outage_is_survived(tmp_path: Path, kind: Kind) -> None:
    """While the broker is away orders wait in the ledger; when it is back they are published, each at least once."""
    clock = VirtualClock()
    async with (
        broker(kind, tmp_path) as served,
        publishing(served.port) as publisher,
        running(tmp_path / "site", clock, actions={"mqtt": mqtt.SPEC}) as site,
    ):
        site.services.put(publisher)
        await until(lambda: publisher.connected)
        await served.stop()
        orders = [make_order(clock, "mqtt", {"topic": f"n/{n}", "payload": str(n)}, n) for n in range(20)]
        site.queue.put(*orders)
        await until(lambda: len(site.queue.delays) >= 20)
        assert {effect.effect.status for effect in site.disk.effects.values()} == {"waiting"}
        await served.start()
        async with listening(served.port) as listener:
            await until(lambda: publisher.connected)
            await site.advance(60, step=1)
            results = await site.ended(*orders)
            assert {result.outcome for result in results} == {"done"}
            await until(lambda: len({topic for topic, _, _ in listener.got if "/n/" in topic}) == 20)


async def test_a_broker_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    """Publishing does not hang, and the reason can be shown."""
    async with publishing(free_port()) as publisher:
        await until(lambda: publisher.problem != "not connected yet")
        assert "refused" in str(publisher.problem)
        with pytest.raises(ActionUnavailableError, match="refused"):
            await publisher.publish("a", b"x")


async def test_an_older_retry_does_not_replace_a_newer_retained_message(tmp_path: Path) -> None:
    """What a retained topic says stays true."""
    now = SystemClock().now()
    async with broker("mosquitto", tmp_path) as served, publishing(served.port) as publisher:
        await until(lambda: publisher.connected)
        assert await publisher.publish("lamp", b"off", retain=True, stamp=now)
        assert not await publisher.publish("lamp", b"on", retain=True, stamp=now - timedelta(seconds=1))
        assert await publisher.publish("lamp", b"on", retain=True, stamp=now)
        async with listening(served.port) as listener:
            await until(lambda: listener.of("vms/lamp"))
            assert listener.of("vms/lamp") == [b"on"]


async def test_a_wrong_password_is_shown_and_not_hammered(tmp_path: Path) -> None:
    """The broker's no is the problem shown; the password is not in it."""
    served = Broker("mosquitto", tmp_path / "m", free_port())
    await served.start()
    await served.stop()
    (tmp_path / "m" / "broker.conf").write_text(f"listener {served.port} 127.0.0.1\nallow_anonymous false\n")
    clock = VirtualClock()
    config = MqttConfig(port=served.port, username="u", password="hunter2")
    served.process = await asyncio.create_subprocess_exec("/usr/sbin/mosquitto", "-c", str(tmp_path / "m/broker.conf"))
    try:
        await served.until_it_listens()
        publisher = MqttPublisher(config, "site", "i1", clock)
        task = asyncio.create_task(publisher.run())
        await until(lambda: clock.waits)
        assert "Not authorized" in str(publisher.problem)
        assert "hunter2" not in str(publisher.problem)
        assert clock.waits[0] >= 20
        task.cancel()
        await asyncio.wait((task,))
    finally:
        await served.stop()


async def test_what_no_broker_takes_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    """A topic or payload that would end the connection never reaches it."""
    publisher = MqttPublisher(MqttConfig(), "site", "i1", SystemClock())
    with pytest.raises(ActionRejectedError, match="bytes"):
        await publisher.publish("a", b"x" * (MAX_PAYLOAD + 1))
    with pytest.raises(ActionRejectedError):
        await publisher.publish("a/#", b"x")


@pytest.mark.parametrize(
    "topic", ["", "$SYS/x", "a/+/b", "a/#", "a\x00b", "a\nb", "x" * 1025, "/".join("a" * 65), "\ud800"]
)
def test_bad_topics(topic: str) -> None:
    """Wildcards, system topics, control characters, and what is too long or too deep."""
    with pytest.raises(ActionRejectedError) as caught:
        check_topic(topic)
    assert caught.value.reason == "bad_topic"


def test_topics_are_checked_at_load() -> None:
    """A literal topic that can never be published is an error in the rule file; a templated one is seen later."""
    params = mqtt.MqttParams(topic="a/#")
    assert list(mqtt.SPEC.check(params, Known(mqtt=True)))
    assert list(mqtt.SPEC.check(mqtt.MqttParams(topic="a"), Known(mqtt=False)))
    assert not list(mqtt.SPEC.check(mqtt.MqttParams(topic="a/{{ x + y }}"), Known()))


def test_without_a_broker_the_action_is_refused() -> None:
    """A site without `mqtt` says so."""
    with pytest.raises(ActionRejectedError, match="MqttPublisher"):
        Locator().get(MqttPublisher)


@BOTH
async def test_what_is_said_to_us_is_heard_and_what_is_retained_is_not(tmp_path: Path, kind: Kind) -> None:
    """A message on a topic that is listened to arrives; one that was retained was said to somebody else, long ago."""
    heard: list[bytes] = []
    async with broker(kind, tmp_path) as at:
        publisher = MqttPublisher(MqttConfig(port=at.port), "site", "i1", SystemClock())
        publisher.listen("site/kill/set", heard.append)
        async with listening(at.port) as other:
            other._client.publish("vms/site/kill/set", b"old", 1, retain=True).wait_for_publish(5)
            await until(lambda: other.of("vms/site/kill/set"))
            task = asyncio.create_task(publisher.run())
            await until(lambda: publisher.connected)
            other._client.publish("vms/site/kill/set", b"smoke", 1)
            await until(lambda: heard)
            task.cancel()
            await asyncio.wait((task,))
    assert heard == [b"smoke"]
