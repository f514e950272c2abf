"""MQTT through the whole bridge: the same message on the embedded listener and on a real Mosquitto."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.bridge.actions.brokers import Kind, broker
from tests.e2e.site import Bridge, Place, bridge, subscriber

CONFIG = """\
site: home
zone: UTC
http: {{port: 0, push: {{gate: {{username: gate, password: s3cret}}}}}}
{mqtt}
rules: [rules/*.yaml]
"""
RULES = """\
lists:
  guests: {plates: []}
rules:
  - id: greet
    when: {kind: plate.read}
    match: {plate: {in: guests}}
    mode: party
    then:
      - mqtt: {topic: "hello/{{ event.data.plate }}"}
  - id: tell
    when: {kind: plate.read}
    then:
      - mqtt: {topic: "gate/{{ event.data.plate }}", payload: {plate: "{{ event.data.plate }}"}, retain: true}
"""
OURS = ("vms/home/event/gate/plate/read/1", "vms/home/order/0/evil", "vms/home/effect/evil", "vms/home/head/0")
"""The subjects of the bridge as an MQTT client would have to call them."""


@asynccontextmanager
async def _site(folder: Path, kind: Kind, more: str = "") -> AsyncIterator[tuple[Bridge, Place]]:
    """A bridge with its own listener, or with a Mosquitto beside it; `more` of its `mqtt` section."""
    if kind == "nats-server":
        mqtt = f"bus: {{mqtt: {{port: 0}}}}\nmqtt: {{broker: embedded{more}}}"
        async with bridge(folder, CONFIG.format(mqtt=mqtt), RULES) as site:
            yield site, site.listener
        return
    async with (
        broker("mosquitto", folder) as served,
        bridge(folder, CONFIG.format(mqtt=f"mqtt: {{port: {served.port}{more}}}"), RULES) as site,
    ):
        yield site, Place(served.port)


async def _push(site: Bridge, plate: str) -> None:
    body = {"topic": "LPR", "src": "F00001", "plateNo": plate}
    async with httpx.AsyncClient(base_url=site.running.http.url, auth=("gate", "s3cret")) as http:
        (await http.post("/api/push", json=body)).raise_for_status()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["nats-server", "mosquitto"])
async def test_a_message_of_a_rule_arrives_at_a_subscriber(tmp_path: Path, kind: Kind) -> None:
    """An event that comes in goes out as a message, alike on both brokers; and messages change lists and the mode."""
    opened = ", commands: {lists: [guests], mode: true}"
    async with _site(tmp_path, kind, opened) as (site, place), subscriber(place, "listener") as (client, got):
        await _push(site, "12AB345")
        await site.until(lambda: "vms/gate/12AB345" in got)
        assert json.loads(got["vms/gate/12AB345"][-1]) == {"plate": "12AB345"}
        assert got["vms/home/bridge/state"] == [b"online"]
        client.publish("vms/home/list/guests/set", json.dumps({"add": ["34-CD567"], "for": "2h"}), qos=1)
        client.publish("vms/home/mode/set", "party", qos=1)
        await site.until(lambda: site.of("mode.changed"))
        await _push(site, "34CD567")
        await site.until(lambda: "vms/hello/34CD567" in got)
        assert "vms/hello/12AB345" not in got
        assert [(one.principal, one.via) for one in site.of("list.changed")] == [("mqtt", "mqtt")]


@pytest.mark.timeout(120)
async def test_an_mqtt_client_is_no_source_of_events_or_orders(tmp_path: Path) -> None:
    """With the listener's own credentials nothing reaches the log, the orders or the engine's head."""
    async with _site(tmp_path, "nats-server") as (site, place), subscriber(place, "attacker") as (attacker, got):
        await _push(site, "FIRST1")
        await site.until(lambda: site.of("plate.read"))
        forged = site.of("plate.read")[0].model_copy(update={"id": "forged"}).encode()
        for topic in OURS:
            attacker.publish(topic, forged, qos=1)
        await site.until(lambda: set(OURS) <= set(got))
        await _push(site, "SECOND2")
        await site.until(lambda: "vms/gate/SECOND2" in got)
        assert [event.id for event in site.of("plate.read") if event.id == "forged"] == []
        assert len(site.of("plate.read")) == 2
        assert site.dead == []
