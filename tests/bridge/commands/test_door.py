"""Doors and the kill switch at the command line, with a real bridge and a simulated server, and without any bridge."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.clock import SystemClock
from bridge.commands.site import load_site
from bridge.placed import agreed_before, note_agreed
from bridge.safety.settings import Settings
from tests.bridge.commands.helpers import cli, going, here

PLATE = "12AB345"


def _site(folder: Path, server: dict[str, Any], **door: Any) -> None:
    place = {"source": "nvr1", "channel": 1, "relay": "relay-1", "idle": "off"}
    config = {
        "site": "yard",
        "http": {"port": 0},
        "sources": {
            "nvr1": {
                "type": "ts-api",
                "url": server["url"],
                "username": server["username"],
                "password": server["password"],
            }
        },
        "outputs": {"barrier": place},
        "doors": {"main": {"output": "barrier", "mode": "act", "cooldown": "0s", "pulse": "300ms"} | door},
        "safety": {"hold_off": "0s"},
        "rules": [],
    }
    (folder / "bridge.yaml").write_text(json.dumps(config), encoding="utf-8")


def test_a_person_at_the_machine_opens_stops_and_kills(site: Path, server: dict[str, Any]) -> None:
    """Open, stop, refused, release, kill, refused, reset, open: each said, and each in the log with who did it."""
    _site(site, server)
    with going("run", cwd=site) as program:
        program.line("listening on", "err")
        opened = cli("door", "open", "main", "-r", "a delivery", cwd=site)
        assert (opened.returncode, opened.stdout.strip()) == (0, "done"), opened.stderr
        assert cli("door", "hold", "main", cwd=site).returncode == 0
        refused = cli("door", "open", "main", cwd=site)
        assert (refused.returncode, "held by hand" in refused.stdout) == (1, True)
        assert cli("door", "release", "main", cwd=site).returncode == 0
        assert cli("kill", "-r", "smoke", cwd=site).returncode == 0
        state = json.loads(cli("door", "list", "--json", cwd=site).stdout)
        assert state["kill"]["reason"] == "smoke"
        assert json.loads(cli("door", "open", "main", "--json", cwd=site).stdout)["reason"] == "kill_switch"
        assert cli("kill", "--reset", cwd=site).returncode == 0
        assert cli("door", "open", "main", cwd=site).returncode == 0
        told = cli("events", "--kind", "command.given", "--json", cwd=site).stdout
    events = [json.loads(line) for line in told.splitlines()]
    assert [event["data"]["command"] for event in events] == [
        "open", "hold", "open", "unhold", "kill", "open", "unkill", "open",
    ]  # fmt: skip
    assert all(event["principal"].startswith("cli:") for event in events)


def test_the_kill_switch_and_a_hold_need_no_bridge(site: Path, server: dict[str, Any]) -> None:
    """With nothing running they are latched all the same; what needs a bridge says so."""
    _site(site, server)
    assert cli("kill", cwd=site).returncode == 0
    assert (site / "data" / "safety" / "kill").exists()
    assert cli("kill", "--reset", cwd=site).returncode == 0
    assert not (site / "data" / "safety" / "kill").exists()
    assert cli("door", "hold", "main", cwd=site).returncode == 0
    assert cli("door", "hold", "mian", cwd=site).returncode == 2
    alone = cli("door", "open", "main", cwd=site)
    assert (alone.returncode, "no bridge runs here" in alone.stderr) == (3, True)


def test_a_clock_that_went_back_is_shown_and_accepted(site: Path, server: dict[str, Any]) -> None:
    """A mark of a day ahead keeps the door shut over a restart; doctor says so, a person accepts, and it opens."""
    _site(site, server)
    until = datetime.now(UTC) + timedelta(days=1)
    (site / "data" / "safety").mkdir(parents=True)
    (site / "data" / "safety" / "clock").write_text(json.dumps({"until": until.isoformat(), "accepted": False}))
    with going("run", cwd=site) as program:
        program.line("listening on", "err")
        assert json.loads(cli("door", "open", "main", "--json", cwd=site).stdout)["reason"] == "clock_stepped"
        assert "vms-bridge clock accept" in cli("clock", "list", cwd=site).stdout
        found = json.loads(cli("doctor", "--offline", "--json", cwd=site).stdout)["findings"]
        [told] = [finding for finding in found if finding["about"] == "our clock"]
        assert "vms-bridge clock accept" in told["cure"]
        assert cli("clock", "accept", "-r", "NTP was wrong", cwd=site).returncode == 0
        assert "ours is trusted" in cli("clock", "list", cwd=site).stdout
        assert cli("clock", "accept", "nobody", cwd=site).returncode != 0
        opened = cli("door", "open", "main", cwd=site)
        assert opened.returncode == 0, opened.stdout + opened.stderr
        told_of = cli("events", "--kind", "command.given", "--contains", "accept_clock", "--json", cwd=site).stdout
    [event] = [json.loads(line) for line in told_of.splitlines()]
    assert event["principal"].startswith("cli:")


def test_changed_settings_wait_for_a_person(
    site: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart with a looser door: told with its fields, refused, agreed to by its number, and it opens."""
    _site(site, server)
    agreed = load_site(site / "bridge.yaml").config
    asyncio.run(Settings(agreed, site / "data" / "safety", SystemClock()).load(first=True))  # as a first start does
    _site(site, server, min_score=0)
    monkeypatch.chdir(site)
    with going("run", cwd=site) as program:
        program.line("listening on", "err")
        assert json.loads(here("door", "open", "main", "--json").stdout)["reason"] == "unconfirmed"
        shown = here("door", "settings")
        assert (shown.exit_code, "doors/main/min_score: default → 0" in shown.stdout) == (1, True)
        number = json.loads(here("door", "settings", "--json").stdout)["confirm"]
        assert number in shown.stdout
        assert here("door", "settings", "--confirm", number, "-r", "good light").exit_code == 0
        assert here("door", "open", "main").exit_code == 0
        told = {line["type"]: line["data"] for line in map(json.loads, here("events", "--json").stdout.splitlines())}
    assert told["settings.changed"] == {
        "confirm": number,
        "outputs": ["barrier"],
        "changes": [{"setting": "doors/main/min_score", "now": "0.0"}],
    }
    assert agreed_before(site / "data"), "from now on its copy must be there"


def test_who_removes_what_was_agreed_to_has_not_agreed(
    site: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an earlier start its copy is gone: health says so, nothing opens, and a person agrees."""
    _site(site, server, min_score=0)
    (site / "data").mkdir()
    note_agreed(site / "data")
    monkeypatch.chdir(site)
    with going("run", cwd=site) as program:
        program.line("listening on", "err")
        assert json.loads(here("door", "open", "main", "--json").stdout)["reason"] == "unconfirmed"
        ready = httpx.get(json.loads((site / "data" / "api.json").read_text())["url"] + "/readyz").text
        assert "agreement_lost" in ready
        number = json.loads(here("door", "settings", "--json").stdout)["confirm"]
        assert here("door", "settings", "--confirm", number, "-r", "as it was").exit_code == 0
        assert here("door", "open", "main").exit_code == 0
