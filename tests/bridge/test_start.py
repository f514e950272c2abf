"""A start that fails: what was left away from idle goes back all the same."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.app import Registries, running
from bridge.bus.bus import Bus
from bridge.bus.datadir import Lock
from bridge.bus.server import EmbeddedServer
from bridge.commands.site import actions, connectors
from bridge.config.load import load
from bridge.errors import BridgeError, StoreUnavailableError
from bridge.safety import releases
from bridge.safety.cameras import Cameras
from bridge.safety.causes import Causes
from bridge.safety.clocks import SourceClocks
from bridge.safety.facts import Facts
from bridge.safety.ownclock import OwnClock
from bridge.safety.readings import Readings
from bridge.safety.swaps import Swaps
from connectors.ts_api.simulator import Simulator, SimulatorConfig
from tests.bridge.actions.receiver import receiving
from tests.bridge.bus.helpers import event, until

SITE = """
site: home
data_dir: data
rules: [rules.yaml]
http: {{port: {port}}}
sources:
  nvr: {{type: ts-api, url: "{url}", username: admin, password: admin}}
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def _wrong_rule(folder: Path) -> None:
    (folder / "rules.yaml").write_text("rules: [{id: x, when: {kind: plate.raed}}]")


def _newer_data(folder: Path) -> None:
    (folder / "data" / "store.json").write_text('{"format": 999, "site": "home"}')


def _lost_agreement(folder: Path) -> None:
    (folder / "data" / "safety" / "settings.json").mkdir()


def _nothing(_: Path) -> None:
    """Only the port is taken."""


@pytest.mark.parametrize(
    ("wrong", "port", "said"),
    [
        (_nothing, None, "in use"),
        (_wrong_rule, 0, "plate.read"),
        (_newer_data, 0, "format 999"),
        (_lost_agreement, 0, "settings.json"),
    ],
)
async def test_a_start_that_fails_brings_back_what_was_left_on(
    tmp_path: Path, taken: int, wrong: Callable[[Path], None], port: int | None, said: str
) -> None:
    """The gate was opened, the bridge was killed, and does not come up again: the gate is closed, then it says why."""
    target = {"kind": "relay", "source": "nvr", "channel": "1", "relay": "relay-1"}
    journal = tmp_path / "data" / "safety" / "releases.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"op": "arm", "id": "o1", "target": target}) + "\n")
    (tmp_path / "rules.yaml").write_text("rules: []")
    wrong(tmp_path)
    async with Simulator(SimulatorConfig(port=0)) as nvr:
        nvr.relay(1, "relay-1").switch(True, datetime.now(UTC))
        site = tmp_path / "bridge.yaml"
        site.write_text(SITE.format(port=taken if port is None else port, url=nvr.url))
        with pytest.raises(BridgeError, match=said):
            async with running(load(site, connectors()), Registries(connectors(), actions())):
                raise AssertionError("it came up")
        assert not nvr.relay(1, "relay-1").on
    assert "confirmed" in journal.read_text()


async def test_a_start_that_fails_tells_people_what_it_could_not_bring_back(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks after the gate now, and nothing but the release journal had come up."""
    target = {"kind": "relay", "source": "nvr", "channel": "1", "relay": "relay-1"}
    journal = tmp_path / "data" / "safety" / "releases.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"op": "arm", "id": "o1", "target": target}) + "\n")
    (tmp_path / "rules.yaml").write_text("rules: []")
    monkeypatch.setattr(releases, "STOP_GRACE", 0.2)
    async with receiving() as phone:
        site = tmp_path / "bridge.yaml"
        hook = f"webhooks: {{phone: {{url: '{phone.url}', allow_private: true}}}}\nsafety: {{alerts: [phone]}}\n"
        site.write_text(SITE.format(port=taken, url="http://127.0.0.1:1") + hook)
        with pytest.raises(BridgeError, match="in use"):
            async with running(load(site, connectors()), Registries(connectors(), actions())):
                raise AssertionError("it came up")
        [told] = phone.requests
    assert json.loads(told.body)["text"].startswith("relay/nvr/1/relay-1 is not back at idle, and the bridge stops: ")


async def test_a_bridge_starts_on_a_log_that_is_full_of_what_nobody_has_decided_on(tmp_path: Path) -> None:
    """It says that it is there although nothing else is taken, reads what takes the room, and goes on."""
    (tmp_path / "rules.yaml").write_text("rules: []")
    site = tmp_path / "bridge.yaml"
    site.write_text(SITE.format(port=0, url="http://127.0.0.1:1") + "bus: {max_bytes: 2MiB}\n")
    loaded = load(site, connectors())
    config, large = loaded.config.bus, {"data": {"topic": "x"}, "raw": "x" * 60_000}
    async with EmbeddedServer(config, tmp_path / "data") as server, Bus.open("home", config, server) as bus:
        intake = await bus.intake()
        with suppress(StoreUnavailableError):
            for number in range(100):
                await (await intake([event(number, "vendor.event", **large)]))
        assert bus.guard.refusing is not None
    async with running(loaded, Registries(connectors(), actions())) as up:
        await until(lambda: up.bus.guard.refusing is None, 40)
        await up.bus.guard.admit(1)


async def test_another_bridge_on_the_same_data_is_told_first_and_moves_nothing(tmp_path: Path, taken: int) -> None:
    """What is owed is the other's to pay; that the rules are wrong as well, and the port is its, is no news."""
    (tmp_path / "bridge.yaml").write_text(SITE.format(port=taken, url="http://127.0.0.1:1"))
    _wrong_rule(tmp_path)
    lock = Lock(tmp_path / "data")
    lock.take()
    with pytest.raises(BridgeError, match="is in use by process"):
        async with running(load(tmp_path / "bridge.yaml", connectors()), Registries(connectors(), actions())):
            raise AssertionError("it came up")
    lock.release()


async def test_whatever_protects_outputs_hears_what_comes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them, before it is stored; whether a cause can be trusted, after what is known of clocks."""
    heard: list[tuple[type, str]] = []
    watchers = (Swaps, Facts, SourceClocks, OwnClock, Causes, Readings, Cameras)
    for kind in watchers:
        monkeypatch.setattr(kind, "heard", lambda _, event, kind=kind: heard.append((kind, event.type)))
    (tmp_path / "rules.yaml").write_text("rules: []")
    (tmp_path / "bridge.yaml").write_text(SITE.format(port=0, url="http://127.0.0.1:1"))
    async with running(load(tmp_path / "bridge.yaml", connectors()), Registries(connectors(), actions())):
        told = [kind for kind, event in heard if event == "bridge.started"]
    assert told == list(watchers)
