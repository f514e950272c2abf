"""Scenarios and the control paths: what drives the simulator."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from bridge.sdk import ConfigError, StartError
from connectors.ts_api.simulator import Simulator, SimulatorConfig, load, shipped
from connectors.ts_api.simulator.scenario import parse

from .client import v0_socket

_BAD = """\
name: broken
colour: red
steps:
  - {at: soon, event: {topic: LPR, plateNo: 12AB345}}
  - at: 2s
    event:
      topic: LPR
      plateNo: 12AB345
      speed: 90
  - at: 3s
    event: {topic: crowd}
  - at: 4s
  - at: 5s
    fault: {name: gremlins}
  - event: {topic: motionChanges, channel: 3}
"""


def test_every_mistake_is_reported_with_its_place() -> None:
    """One reading finds them all: file, line, column, where, what."""
    with pytest.raises(ConfigError) as refused:
        parse(_BAD, "broken.yaml")
    lines = [str(problem) for problem in refused.value.problems]
    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in lines] == [
        "broken.yaml:2:1: colour",
        "broken.yaml:4:6: steps[0].at",
        "broken.yaml:9:7: steps[1].event.speed",
        "broken.yaml:11:5: steps[2].event",
        "broken.yaml:12:5: steps[3]",
        "broken.yaml:14:13: steps[4].fault.name",
        "broken.yaml:15:5: steps[5].at",
        "broken.yaml:15:5: steps[5].event.motion",
    ]
    assert "a step needs one of event, fault, clear, note" in lines[4]
    assert "not a duration" in lines[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: x\nname: y\n", 'twice.yaml:2:1: found duplicate key "name"'),
        ("name: [x\n", "twice.yaml:2:1: "),
        ("", "twice.yaml:1:1: "),
    ],
)
def test_what_is_not_yaml_is_reported_too(text: str, problem: str) -> None:
    """Broken YAML has a place as well."""
    with pytest.raises(ConfigError) as refused:
        parse(text, "twice.yaml")
    assert str(refused.value).startswith(problem)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The reason stands beside the name."""
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        load(tmp_path / "gone.yaml")


def test_steps_repeat() -> None:
    """`repeat` and `every` make one step many."""
    text = "name: x\nsteps: [{at: 1s, note: a, repeat: 3, every: 2s}, {at: 2s, note: b}]"
    moments = [(at.total_seconds(), step.note) for at, step in parse(text).timeline()]
    assert moments == [(1, "a"), (2, "b"), (3, "a"), (5, "a")]


async def test_the_demo_tells_its_story(config: SimulatorConfig) -> None:
    """The shipped scenario brings every kind of event once or more, in a quarter of a minute of its own time."""
    demo = load(shipped("demo"))
    assert demo.timeline()[-1][0] == timedelta(seconds=15)
    topics = "LPR,emergencyCall,motionChanges,channelStatus,parkingCount,object,systemEvent"
    async with Simulator(config) as sim, v0_socket(sim, topics) as socket:
        for _ in range(4):
            await socket.read()
        await sim.play(demo, speed=100)
        seen = [await socket.read() for _ in range(14)]
    plates = [message["plateNo"] for message in seen if message.get("topic") == "LPR"]
    assert plates == ["12AB345", "12AB345", "99ZZ999", "34CD678"]
    calls = [message for message in seen if message.get("topic") == "emergencyCall"]
    assert [call["event"] for call in calls] == ["callStart", "callEnd"]
    assert [linked["chid"] for linked in calls[0]["linkedChannel"]] == [1, 2]
    states = [message["status"]["code"] for message in seen if message.get("event") == "statusChanged"]
    assert states == [404, 200]
    assert sum("objId" in message for message in seen) == 1
    assert sum(message.get("topic") == "systemEvent" for message in seen) == 1
    assert sum(message.get("topic") == "parkingCount" for message in seen) == 2
    motion = [message["updated"][0] for message in seen if message.get("topic") == "motionChanges"]
    assert motion == [{"chid": 3, "motion": True}, {"chid": 3, "motion": False}]


async def test_scenarios_set_and_clear_faults(sim: Simulator) -> None:
    """A fault of a step is in force until cleared."""
    text = "name: x\nsteps: [{at: 0s, fault: {name: vod_empty}}, {at: 1s, clear: vod_empty, note: back}]"
    await sim.play(parse(text), speed=100)
    assert sim.faults.active() == []
    assert sim.player is not None
    assert (sim.player.done, sim.player.note) == (2, "back")


async def test_a_port_in_use_is_named(sim: Simulator) -> None:
    """The error says which address, and what to do."""
    with pytest.raises(StartError, match=rf"127\.0\.0\.1:{sim.port}.*choose another port"):
        async with Simulator(SimulatorConfig(port=sim.port)):
            pass


async def test_a_configured_scenario_plays(config: SimulatorConfig, tmp_path: Path) -> None:
    """It begins when the server is up; a bad one keeps the server from starting."""
    path = tmp_path / "one.yaml"
    path.write_text("name: one\nsteps: [{at: 0s, event: {topic: LPR, plateNo: HELLO}}]")
    async with Simulator(config.model_copy(update={"scenario": path})) as sim:
        await sim.until(lambda: bool(sim.log.plates))
    path.write_text("name: one\nsteps: []")
    with pytest.raises(ConfigError, match=r"one\.yaml:2:1: steps"):
        async with Simulator(config.model_copy(update={"scenario": path})):
            pass


# The control paths


async def test_events_and_faults_over_http(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Everything a test does in-process can be done over HTTP."""
    async with v0_socket(sim, "LPR") as socket:
        await socket.read()
        answer = await http.post("/_sim/events", json=[{"topic": "LPR", "plateNo": "12AB345"}])
        assert answer.json() == {"happened": 1}
        assert (await socket.read())["plateNo"] == "12AB345"
        (listed,) = (await http.get("/_sim/sockets")).json()
        assert (listed["dialect"], listed["topics"], listed["sent"]) == ("v0", ["LPR"], 2)
        assert (await http.put("/_sim/faults/vod_empty", json={"times": 2})).json()["times"] == 2
        active = (await http.get("/_sim/faults")).json()["active"]
        assert [fault["name"] for fault in active] == ["vod_empty"]
        assert (await http.delete("/_sim/faults/vod_empty")).json() == {"active": []}
        assert (await http.delete("/_sim/sockets?how=reset")).json() == {"disconnected": 1}
        await socket.closed()


async def test_calls_and_relays_over_http(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Commands received and contacts switched can be looked at."""
    await http.get("/api/channel/relay?ch=1&on=relay-1")
    (call,) = (await http.get("/_sim/calls")).json()
    assert (call["command"], call["channel"], call["args"], call["code"]) == ("relay", 1, {"on": "relay-1"}, 0)
    relays = (await http.get("/_sim/relays")).json()
    assert relays[0]["on"] is True
    assert relays[0]["history"][0][1] is True
    await http.post("/_sim/reset")
    assert (await http.get("/_sim/calls")).json() == []
    assert not sim.relay(1, "relay-1").on


async def test_the_server_changes_over_http(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Level, legacy switch and licence can change while it runs."""
    await http.patch("/_sim/server", json={"legacyOff": True, "apiVersion": "1.0.0"})
    assert (await http.get("/api/info?apiVersion")).status_code == 404
    assert (await http.get("/api/v1/info?apiVersion")).json() == {"apiVersion": "TS-API@1.0.0"}


async def test_a_scenario_over_http(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A shipped one by name, or one's own as text; mistakes come back with their places."""
    started = (await http.post("/_sim/scenario", json={"name": "demo", "speed": 1000})).json()
    assert (started["name"], started["total"]) == ("parking gate", 15)
    await sim.until(lambda: sim.player is not None and sim.player.done == 15)
    assert (await http.get("/_sim/scenario")).json()["note"] == "end"
    bad = await http.post("/_sim/scenario", json={"yaml": "name: x\nsteps: [{at: 1s}]"})
    assert bad.status_code == 400
    assert bad.json()["error"][0].startswith("scenario:2:9: steps[0]: ")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "events", {"topic": "LPR"}),
        ("POST", "events", {"topic": "motionChanges", "channel": 99, "motion": True}),
        ("PUT", "faults/gremlins", {}),
        ("DELETE", "faults/gremlins", None),
        ("POST", "scenario", {"name": "../../etc/passwd"}),
        ("POST", "scenario", {"name": "nothing"}),
        ("PATCH", "server", {"apiVersion": "new"}),
        ("DELETE", "sockets?how=gently", None),
    ],
)
async def test_control_mistakes_are_explained(http: httpx.AsyncClient, method: str, path: str, body: object) -> None:
    """A wrong order changes nothing and says why."""
    answer = await http.request(method, f"/_sim/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_the_control_paths_are_for_this_machine(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A name that is not loopback is refused even from here: a web page could use it."""
    assert (await http.get("/_sim/", headers={"Host": "cameras.example"})).status_code == 403
