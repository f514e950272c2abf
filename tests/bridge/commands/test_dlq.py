"""`vms-bridge dlq` and `vms-bridge audit` against a real store, without a bridge and beside one."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.bus.bus import Bus
from bridge.bus.server import EmbeddedServer
from bridge.bus.streams import REJECTED_FROM
from bridge.cli import app
from bridge.commands.audit import may_be_trimmed
from bridge.commands.tail import reaching
from bridge.config.load import load
from bridge.registry import Registry
from bridge.schema.event import Origin
from bridge.schema.orders import About, ActionClass
from connectors import BUILTIN
from tests.bridge.bus.helpers import NOW, effect, order, result
from tests.bridge.commands.helpers import PATIENCE, going, write_site

PLATE = "12AB345"


async def _fill(site: Path) -> None:
    """Two ended orders in the trail, three dead letters."""
    config = load(site / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {}).config
    about = About(rule_version="1", origin=Origin.LIVE, occurred=NOW, received=NOW, created=NOW, plate=PLATE)
    async with EmbeddedServer(config.bus, site / "data") as server, Bus.open("home", config.bus, server) as bus:
        await bus.effects.claim(effect(1, status="ended", about=about, result=result(1)))
        await bus.effects.claim(effect(2, status="ended", result=result(2, outcome="refused", reason="kill_switch")))
        appender = bus.appender(site / "data" / "audit")
        await appender.catch_up()
        await appender.anchor()
        noted = {"order": "o9", "rule": "r", "error": "no answer\x1b[2J"}
        await bus.dead.bury("information", "gave_up", order(9).encode(), noted)
        await bus.dead.bury("actuating", "poison", order(8, action_class=ActionClass.ACTUATING).encode(), {})
        await bus.dead.bury("message", "not_json", b"{not json", {"Source": "nvr1", "Error": "line 1"})


@pytest.fixture
def filled(site: Path) -> Path:
    """A site with something in it, and no bridge running."""
    write_site(site)
    asyncio.run(_fill(site))
    return site


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _run(site: Path, *arguments: str, code: int = 0) -> str:
    """Run a command here, without the second that a process of its own takes to begin."""
    done = CliRunner().invoke(app, [*arguments, "--config", str(site / "bridge.yaml")])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout if code == 0 or "--json" in arguments else done.output


async def _records(site: Path, wanted: int) -> None:
    """Wait until the trail of a running bridge has so many records."""
    loaded = load(site / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {})
    async with asyncio.timeout(PATIENCE), reaching(loaded) as connection:
        while (await connection.api("STREAM.INFO.VMS-home-RESULTS"))["state"]["messages"] < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_letters_are_listed_shown_redriven_and_dropped(filled: Path) -> None:
    """What moves something is shown and refused; what a person did is in the trail that the bridge writes next."""
    listed = _lines(_run(filled, "dlq", "list", "--json"))
    assert [(each["letter"], each["class"], each["redrivable"]) for each in listed] == [
        (1, "information", True), (2, "actuating", False), (REJECTED_FROM, "message", False),
    ]  # fmt: skip
    assert (listed[0]["rule"], listed[0]["action"], listed[0]["reason"]) == ("r", "webhook", "gave_up")
    (one,) = _lines(_run(filled, "dlq", "list", "--class", "message", "--json"))
    assert (one["letter"], one["error"]) == (REJECTED_FROM, "line 1")
    shown = _run(filled, "dlq", "list")
    assert "gave_up" in shown
    assert "\x1b" not in shown

    (whole,) = _lines(_run(filled, "dlq", "show", "2", "--json"))
    assert whole["body"]["id"] == "o8"
    assert "never goes again" in whole["why_not"]
    assert "{not json" in _run(filled, "dlq", "show", str(REJECTED_FROM))
    assert "no dead letter 77" in _run(filled, "dlq", "show", "77", code=1)

    did = _lines(_run(filled, "dlq", "redrive", "1", "2", "--json", code=1))
    assert [(each["letter"], each["done"]) for each in did] == [(1, True), (2, False)]
    _run(filled, "dlq", "drop", str(REJECTED_FROM), "--why", "a test")
    assert [each["letter"] for each in _lines(_run(filled, "dlq", "list", "--json"))] == [2]

    waited = {"op": "waits", "id": "0a1b2c3d", "order": "0a1b2c3d4e", "door": "main", "rule": "gate", "event": "e1"}
    (filled / "data" / "safety").mkdir(exist_ok=True)
    (filled / "data" / "safety" / "pending.jsonl").write_text(json.dumps(waited) + "\n", encoding="utf-8")
    with going("run", "--config", str(filled / "bridge.yaml"), cwd=filled) as bridge:
        bridge.line("listening", "err")
        asyncio.run(_records(filled, 7))
        records = _lines(_run(filled, "audit", "export"))
    assert [each["record"]["kind"] for each in records if "kind" in each["record"]] == ["rules.changed"]
    trail = [each["record"] for each in records if "action" in each["record"]]
    assert [(each["action"], each["outcome"]) for each in trail][:4] == [
        ("webhook", "done"), ("webhook", "refused"), ("dlq-redrive", "done"), ("dlq-drop", "done"),
    ]  # fmt: skip
    assert trail[3]["message"].endswith(f"dead letter {REJECTED_FROM} (message, not_json) a test")
    # The order that went again has ended too: this site has no such receiver.
    assert did[0]["order"] in [each["order"] for each in trail[4:]]
    # So has an opening that waited for people when the bridge of before was killed.
    (ended,) = [each for each in trail[4:] if each["action"] == "confirm"]
    assert (ended["rule"], ended["outcome"], ended["reason"]) == ("gate", "refused", "restarted")
    assert json.loads(_run(filled, "audit", "verify", "--json"))["state"] == "intact"


def test_an_altered_trail_is_found(filled: Path) -> None:
    """Verified as it is, then with its end cut off."""
    assert "intact: records 1 to 2" in _run(filled, "audit", "verify")

    async def cut() -> None:
        config = load(filled / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {}).config
        async with EmbeddedServer(config.bus, filled / "data") as server, Bus.open("home", config.bus, server) as bus:
            await bus.connection.api(f"STREAM.MSG.DELETE.{bus.stream('RESULTS')}", {"seq": 2})

    asyncio.run(cut())
    said = json.loads(_run(filled, "audit", "verify", "--json", code=1))
    assert (said["state"], said["altered_at"]) == ("altered", 2)
    assert "altered at 2: the trail ends with 1, and an anchor names 2" in _run(filled, "audit", "verify", code=1)


def test_anchors_kept_elsewhere_count_too(filled: Path) -> None:
    """Whoever deletes the anchors here proves nothing."""
    kept = filled / "kept.jsonl"
    (filled / "data" / "audit" / "anchors.jsonl").rename(kept)
    said = json.loads(_run(filled, "audit", "verify", "--json"))
    assert (said["state"], said["proven_to"], said["unproven"]) == ("unproven", 0, 2)
    assert json.loads(_run(filled, "audit", "verify", "--anchors", str(kept), "--json"))["state"] == "intact"
    kept.write_text("{}")
    assert "no anchor" in _run(filled, "audit", "verify", "--anchors", str(kept), code=2)


def test_a_plate_is_found_and_forgotten(filled: Path) -> None:
    """Its records are found by it, until it is erased; the chain stays whole, and that it was done is written down."""
    (found,) = _lines(_run(filled, "audit", "export", "--plate", PLATE))
    assert found["record"]["order"] == "o1"
    assert PLATE not in _run(filled, "audit", "export", "--raw")
    _run(filled, "backup", str(filled / "copy"))
    assert "restore them with --erased" in _run(filled, "audit", "erase", PLATE)
    assert json.loads(_run(filled, "audit", "erase", PLATE, "--json")) == {"erased": False, "letters": 0}
    assert "no such plate" in _run(filled, "audit", "export", "--plate", PLATE, code=2)
    assert "intact" in _run(filled, "audit", "verify")
    (filled / "data").rename(filled / "old")
    erased = str(filled / "old" / "audit" / "erased.jsonl")
    assert "is not there" in _run(filled, "restore", str(filled / "copy"), "--erased", f"{erased}x", code=2)
    _run(filled, "restore", str(filled / "copy"), "--erased", erased)
    assert "no such plate" in _run(filled, "audit", "export", "--plate", PLATE, code=2)


def test_what_limits_may_have_dropped() -> None:
    """By age or by size; otherwise a missing beginning was taken away."""
    now = datetime(2026, 1, 10, tzinfo=UTC)

    def info(age: int, made: timedelta, filled: float) -> dict[str, Any]:
        return {
            "config": {"max_bytes": 1000, "max_age": age * 86_400 * 1_000_000_000},
            "state": {"bytes": int(filled * 1000)},
            "created": (now - made).isoformat(),
        }

    assert not may_be_trimmed(info(365, timedelta(days=300), 0.5), now)
    assert may_be_trimmed(info(365, timedelta(days=365), 0.5), now)
    assert may_be_trimmed(info(365, timedelta(days=1), 0.95), now)
    assert not may_be_trimmed(info(0, timedelta(days=9000), 0.5), now)
