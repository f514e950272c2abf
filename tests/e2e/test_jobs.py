"""The ten jobs of the guide, all at one bridge: what the simulated server, the receiver and the broker see of each.

The site is the shipped one. What is different here is named below: addresses, a door that acts, and the spans
that a test cannot wait for. The clock is the real one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from paho.mqtt.client import Client

from bridge.demo.folder import webhook_secret
from bridge.demo.receiver import Receiver, receiving
from bridge.rulebook import shipped_examples
from bridge.schema.kinds import ActionEnded, ClipReady, ListChanged
from connectors.ts_api.simulator import Simulator, SimulatorConfig
from tests.e2e.site import Bridge, bridge, subscriber

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

JOBS = shipped_examples()[1][0].parent.parent
SHORTER: dict[str, dict[str, str]] = {
    "call-escalation": {"within: 60s": "within: 2s", "within: 5m": "within: 2s", "for: 5s": "for: 1s"},
    "camera-down": {"for: 10m": "for: 2s"},
    "loitering": {
        "for: 45s": "for: 2s",
        '{from: "20:00", to: "06:00"}': '[{from: "00:00", to: "12:00"}, {from: "12:00", to: "00:00"}]',
    },
    "night-arming": {"for: 20s": "for: 1s"},
    "tailgating": {"before: 15s, after: 5s": "before: 1s, after: 1s"},
    "visitor": {"cooldown: 10s": "cooldown: 1s"},
    "wrong-way": {"for: 10s": "for: 1s"},
}
"""What is shorter here than in the shipped rules: ten minutes are two seconds. All else is as it is shipped."""
NEIGHBOURS = ("21TA100", "22TA200")
"""Two more residents, who have not been read yet."""
SERVER: dict[str, Any] = {
    "zone": "Europe/Berlin",
    "piece": "2s",
    "motion_tick": "0s",
    "channels": [
        {"chid": 1, "relays": [{"token": f"relay-{n}", "name": f"relay {n}"} for n in (1, 2, 3)]},
        {"chid": 2, "presets": [{"token": "1", "name": "Overview"}, {"token": "3", "name": "Call station"}]},
        {"chid": 3, "relays": [{"token": "relay-1", "name": "Ramp"}]},
        *({"chid": chid} for chid in range(4, 13)),
    ],
    "call_stations": [
        {"id": 1, "code": "0000001", "name": "B1 stairs"},
        {"id": 2, "code": "0000002", "name": "B2 stairs"},
    ],
    "lots": [{"id": 1, "name": "P1", "capacity": 10}],
    "spots": [],
    "plate_sources": [
        {"id": chid, "code": f"1-1-{chid}", "name": f"Lane {chid}", "channel": chid} for chid in (1, 3, 4)
    ],
}


@dataclass
class Site:
    """The bridge, and the world around it."""

    bridge: Bridge
    sim: Simulator
    receiver: Receiver
    broker: Client
    mqtt: dict[str, list[bytes]]

    def hooks(self, **members: Any) -> list[Any]:
        """Return the webhooks that came with all of these members."""
        return [body for body in self.receiver.received.values() if members.items() <= body.items()]

    def told(self, topic: str) -> list[str]:
        """Return what was published on a topic so far."""
        return [payload.decode() for payload in self.mqtt[f"vms/{topic}"]]

    def switched(self, relay: str, channel: int = 1) -> list[bool]:
        """Return every change of a relay's contact."""
        return [on for _, on in self.sim.relay(channel, relay).history]

    async def read(self, plate: str, channel: int = 1, **members: Any) -> None:
        """A plate is read on its way in."""
        await self.sim.event("LPR", channel=channel, plateNo=plate, **{"score": 97, "direction": "entry", **members})

    async def drives_up(self, plate: str) -> None:
        """A plate is read once the barrier is down again: until then the door refuses the next opening."""
        await self.until(lambda: not self.sim.relay(1, "relay-1").on)
        await self.read(plate)

    async def moves(self, channel: int, motion: bool) -> None:
        """Something begins to move, or stops. The server's messages carry no time: two in one millisecond are one."""
        kind = "motion.started" if motion else "motion.ended"
        before = len(self.bridge.of(kind))
        await self.sim.event("motionChanges", channel=channel, motion=motion)
        await self.until(lambda: len(self.bridge.of(kind)) > before)

    def say(self, topic: str, payload: str) -> None:
        """Publish on the broker, as reception or a panel would."""
        self.broker.publish(f"vms/home/{topic}", payload, qos=1)

    def opened(self) -> int:
        """Return how often the gate has opened, by the log."""
        ends = [event.data for event in self.bridge.of("action.ended")]
        return sum(isinstance(end, ActionEnded) and end.action == "open" and end.outcome == "done" for end in ends)

    async def until(self, *conditions: Any) -> None:
        """Return once all of them hold."""
        await self.bridge.until(lambda: all(condition() for condition in conditions))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One bridge with all ten jobs."""
    folder, secret = tmp_path_factory.mktemp("jobs"), webhook_secret()
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(Simulator(SimulatorConfig.model_validate(SERVER)))
        receiver, hook = await stack.enter_async_context(receiving(secret))
        _copy_rules(folder / "rules")
        config = _config(sim.url, {"url": hook, "secret": secret, "allow_private": True})
        up = await stack.enter_async_context(bridge(folder, config, sources=["nvr1"]))
        broker, mqtt = await stack.enter_async_context(subscriber(up.listener, "world"))
        yield Site(up, sim, receiver, broker, mqtt)


def _copy_rules(folder: Path) -> None:
    shutil.copytree(JOBS / "rules", folder)
    with (folder / "residents.csv").open("a", encoding="utf-8") as residents:
        residents.writelines(f"{plate},,,,,\n" for plate in NEIGHBOURS)
    for name, spans in SHORTER.items():
        path = folder / f"{name}.yaml"
        rules, tests, rest = path.read_text(encoding="utf-8").partition("\ntests:\n")
        for long, short in spans.items():
            assert long in rules, f"{name} has no {long!r} any more"
            rules = rules.replace(long, short)
        path.write_text(rules + tests + rest, encoding="utf-8")


def _config(server: str, receiver: dict[str, Any]) -> str:
    config = yaml.safe_load((JOBS / "bridge.yaml").read_text(encoding="utf-8"))
    config["sources"]["nvr1"]["url"] = server
    config["webhooks"]["backoffice"] = receiver
    config["doors"]["main-gate"] |= {"mode": "act", "pulse": "200ms", "cooldown": "100ms", "same_plate": "100ms"}
    config["outputs"]["siren"]["cooldown"] = "100ms"  # two jobs share it
    config["safety"] = {"hold_off": "0s", "trusted_clocks": ["nvr1"]}
    config["bus"] = {"mqtt": {"port": 0}}
    config["mqtt"] = {"broker": "embedded", "commands": config["mqtt"]["commands"]}
    config["http"] = {"port": 0}
    return yaml.safe_dump(config)


async def test_a_resident_comes_in_and_nobody_else(site: Site) -> None:
    """Not a stranger, not on a reading of two minutes ago, and once for two readings."""
    pulses, opened = len(site.switched("relay-1")), site.opened()
    await site.read("99ZZ999")
    await site.read("12AB345", age="2m")
    await site.drives_up("12AB345")
    await site.read("12AB345")
    await site.until(
        lambda: any("12AB345" in told for told in site.told("gates/main-gate/in")),
        lambda: len(site.switched("relay-1")) == pulses + 2,
    )
    (told,) = (json.loads(told) for told in site.told("gates/main-gate/in") if "12AB345" in told)
    assert told == {"plate": "12AB345", "gate": "done"}
    assert site.switched("relay-1")[pulses:] == [True, False]
    assert site.opened() == opened + 1


async def test_the_sign_follows_the_lot_without_flickering(site: Site) -> None:
    """Full at two spaces left, still full at four, free at nine; panel and lamp alike."""
    await site.until(lambda: site.told("lots/1/sign") == ["FREE"])
    await site.sim.event("parkingCount", lot=1, count=8)
    await site.until(lambda: site.switched("relay-3") == [True])
    await site.sim.event("parkingCount", lot=1, count=6)
    await site.sim.event("parkingCount", lot=1, count=8)
    await site.sim.event("parkingCount", lot=1, count=1)
    await site.until(lambda: site.switched("relay-3") == [True, False], lambda: len(site.told("lots/1/sign")) == 3)
    assert site.told("lots/1/sign") == ["FREE", "FULL", "FREE"]


async def test_the_second_car_on_one_opening_is_told_with_a_clip(site: Site) -> None:
    """Two cars of which each had an opening of its own are not; the one that follows them is."""
    opened = site.opened()
    for number, plate in enumerate(NEIGHBOURS, 1):
        await site.drives_up(plate)
        await site.until(lambda number=number: site.opened() == opened + number)
        await site.sim.event("object", channel=2, type="vehicle")
    await site.sim.event("object", channel=2, type="vehicle")
    await site.until(lambda: site.hooks(text="Two vehicles on one opening"))
    (hook,) = site.hooks(text="Two vehicles on one opening")
    assert hook["clip"].endswith(".mp4")
    made = [event.data for event in site.bridge.of("clip.ready")]
    vehicles = [event.id for event in site.bridge.of("object.detected") if event.subject == "2"]
    assert {clip.causes[-1] for clip in made if isinstance(clip, ClipReady) and clip.rule == "tailgating"} == {
        vehicles[2]
    }


async def test_a_call_that_nobody_answers_goes_on_to_everybody(site: Site) -> None:
    """An answered one stays with the desk; the camera looks there while it lasts, and goes home."""
    sirens, camera = len(site.switched("relay-2")), site.sim.site.channels[2].ptz
    for event in ("callStart", "callEnd"):
        await site.sim.event("emergencyCall", event=event, caller="0000002")
    await site.until(lambda: site.hooks(text="Emergency call from B2 stairs", to="desk"), lambda: camera.preset == "1")
    await site.sim.event("emergencyCall", event="callStart", caller="0000001")
    await site.until(lambda: site.hooks(to="everybody"), lambda: site.told("emergency/0000001"))
    assert [body["text"] for body in site.hooks(to="chief")] == ["Nobody answers B1 stairs"]
    assert [body["text"] for body in site.hooks(to="everybody")] == ["Still nobody at B1 stairs"]
    assert json.loads(site.told("emergency/0000001")[0]) == {"state": "escalated"}
    assert site.told("emergency/0000002") == []
    assert site.switched("relay-2")[sirens : sirens + 1] == [True]
    assert camera.preset == "3"
    await site.sim.event("emergencyCall", event="callEnd", caller="0000001")
    await site.until(lambda: camera.preset == "1")


async def test_a_camera_that_stays_away_is_told_and_told_back(site: Site) -> None:
    """One that is back in time is nobody's business."""
    await site.sim.event("channelStatus", channel=7, code=404)
    await site.sim.event("channelStatus", channel=8, code=404)
    await site.sim.event("channelStatus", channel=8, code=200)
    await site.until(lambda: site.hooks(camera="7", state="disconnected"))
    await site.sim.event("channelStatus", channel=7, code=200)
    await site.until(lambda: site.hooks(camera="7", state="back"), lambda: len(site.told("cameras/7/down")) == 2)
    assert site.told("cameras/7/down") == ["yes", "no"]
    assert site.hooks(camera="8") == []


async def test_who_loiters_is_one_alert(site: Site) -> None:
    """Who crosses the yard is none; who stays, and goes on, is one."""
    for motion in (True, False, True):
        await site.moves(5, motion)
    await site.until(lambda: site.hooks(text="Somebody loiters in the yard"))
    for motion in (False, True, False, True):
        await site.moves(5, motion)
    await site.until(lambda: len(site.bridge.of("custom.loitering")) == 2)
    assert [body["how"] for body in site.hooks(text="Somebody loiters in the yard")] == ["stays"]


async def test_a_visitor_whose_plate_came_by_mqtt_comes_in_once(site: Site) -> None:
    """Not before he is announced, and not a second time; the next visitor is."""
    pulses = len(site.switched("relay-1"))
    await site.read("77GH777")
    for number, plate in enumerate(("77GH777", "88JJ888"), 1):
        site.say("list/visitors/set", json.dumps({"add": [plate], "for": "8h"}))
        await site.until(lambda plate=plate: plate in _changed(site, "added"))
        await site.drives_up(plate)
        await site.until(
            lambda number=number: len(site.told("visitors/arrived")) == number,
            lambda plate=plate: plate in _changed(site, "removed"),
            lambda number=number: len(site.switched("relay-1")) == pulses + 2 * number,
        )
        await site.read("77GH777")
    arrived = [json.loads(told) for told in site.told("visitors/arrived")]
    assert arrived == [{"plate": "77GH777", "gate": "done"}, {"plate": "88JJ888", "gate": "done"}]


def _changed(site: Site, how: str) -> list[str]:
    changes = [event.data for event in site.bridge.of("list.changed")]
    return [value for change in changes if isinstance(change, ListChanged) for value in getattr(change, how)]


async def test_who_drives_up_the_ramp_is_warned_of(site: Site) -> None:
    """Down the ramp is the right way."""
    for channel, plate in ((3, "11AA111"), (4, "11AA111"), (4, "22BB222"), (3, "22BB222")):
        await site.read(plate, channel)
    await site.until(
        lambda: site.hooks(text="Wrong way on the ramp"), lambda: site.switched("relay-1", 3) == [True, False]
    )
    await site.until(lambda: site.told("ramp/wrong-way"))
    assert [body["plate"] for body in site.hooks(text="Wrong way on the ramp")] == ["22BB222"]
    assert [json.loads(told)["plate"] for told in site.told("ramp/wrong-way")] == ["22BB222"]


async def test_the_siren_is_armed_by_a_message(site: Site) -> None:
    """A person by day is a colleague; at night, once the mode says so, he is an alarm. A car is none."""
    text = "A person at camera 5"
    sirens = len(site.switched("relay-2"))
    await site.sim.event("object", channel=5, type="human")
    site.say("mode/set", "night")
    await site.until(lambda: site.told("site/mode") == ["night"])
    await site.sim.event("object", channel=5, type="vehicle")
    await site.sim.event("object", channel=5, type="human")
    await site.until(lambda: site.hooks(text=text), lambda: len(site.switched("relay-2")) == sirens + 2)
    site.say("mode/set", "home")
    await site.until(lambda: site.told("site/mode") == ["night", "home"])
    assert len(site.hooks(text=text)) == 1
    assert site.switched("relay-2")[sirens:] == [True, False]


async def test_five_cameras_are_one_alert(site: Site) -> None:
    """Along the fence and back; another zone is another alert."""
    for channel in (6, 7, 8, 9, 10, 9, 8, 7, 6, 12):
        await site.moves(channel, True)
        await site.moves(channel, False)
    await site.until(lambda: site.hooks(zone="Hall"), lambda: site.hooks(zone="North fence"))
    assert [body["first"] for body in site.hooks(zone="North fence")] == ["6"]
    assert [body["first"] for body in site.hooks(zone="Hall")] == ["12"]
