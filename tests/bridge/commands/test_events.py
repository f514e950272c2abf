"""`vms-bridge events` against a real log: through the running bridge, and without one."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.newest import newest
from bridge.bus.server import EmbeddedServer
from bridge.commands.events import describe
from bridge.commands.tail import in_use, reaching
from bridge.config.load import load
from bridge.counting import IntakeCounts
from bridge.registry import Registry
from bridge.runtime.metrics import Metrics
from bridge.schema.event import VmsEvent
from bridge.schema.subjects import Subjects
from connectors import BUILTIN
from tests.bridge.bus.helpers import NOW, event
from tests.bridge.commands.helpers import cli, going, write_site

STREAM = "VMS-home-EVENTS"
EVENTS = [
    event(1),
    event(2, "motion.ended"),
    event(3, "plate.read", subject="2", data={"plate": "12AB345", "plate_raw": "12 AB 345", "score": 97}),
    event(4, "bridge.tick", source="home/bridge", subject=None, data={"due": NOW}),
    event(5, source="home/nvr2", subject="7"),
]


async def _fill(site: Path, events: list[VmsEvent]) -> None:
    config = load(site / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {}).config
    async with EmbeddedServer(config.bus, site / "data") as server, Bus.open("home", config.bus, server) as bus:
        emit = await bus.intake(IntakeCounts(Metrics("test")))
        await (await emit(events))


@pytest.fixture
async def filled(site: Path) -> Path:
    """A site whose log holds a few events, and no bridge running."""
    write_site(site)
    await _fill(site, EVENTS)
    return site


def _ids(text: str) -> list[str]:
    return [json.loads(line)["id"] for line in text.splitlines()]


async def _shown(site: Path, *options: str) -> list[str]:
    done = await asyncio.to_thread(cli, "events", "--json", *options, cwd=site)
    assert done.returncode == 0, done.stderr
    return _ids(done.stdout)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["e1", "e2", "e3", "e5"]),
        (("--all",), ["e1", "e2", "e3", "e4", "e5"]),
        (("--kind", "bridge.tick"), ["e4"]),
        (("--kind", "motion.*", "--source", "nvr1"), ["e1", "e2"]),
        (("--kind", "plate.read"), ["e3"]),
        (("--channel", "7"), ["e5"]),
        (("--contains", "12ab345"), ["e3"]),
        (("--limit", "2"), ["e3", "e5"]),
        (("--since", "1h"), ["e1", "e2", "e3", "e5"]),
        (("--since", "2200-01-01"), []),
    ],
)
async def test_options_choose(filled: Path, options: tuple[str, ...], expected: list[str]) -> None:
    """Each option keeps what it names, oldest first."""
    assert await _shown(filled, *options) == expected


async def test_a_line_for_people_says_when_what_and_where(filled: Path) -> None:
    """The time is the site's; the bridge's own ticks are left out."""
    done = await asyncio.to_thread(cli, "events", cwd=filled)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[2].split()[:4] == ["2026-01-10", "13:00:00", "plate.read", "nvr1/2"]
    assert "plate=12AB345" in lines[2]


async def test_the_newest_are_found_backwards_and_nothing_is_left_behind(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans of one event give the same as one read, and no consumer stays on the server."""
    monkeypatch.setattr("bridge.bus.newest.SPAN", 1)
    loaded = load(filled / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {})
    wanted = Subjects("home").events(kind="motion.started")
    async with reaching(loaded) as connection:
        found = await newest(connection, STREAM, wanted, 2)
        assert [VmsEvent.decode(message.data).id for message in found] == ["e1", "e5"]
        assert [VmsEvent.decode(m.data).id for m in await newest(connection, STREAM, wanted, 1)] == ["e5"]
        assert await _consumers(connection) == []
        assert await asyncio.to_thread(in_use, filled / "data")
    assert not await asyncio.to_thread(in_use, filled / "data")


async def _consumers(connection: Connection) -> list[str]:
    answer = await connection.api(f"CONSUMER.NAMES.{STREAM}")
    return list(answer.get("consumers") or [])


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    """A plate is whatever its sender liked."""
    hostile = event(1, "plate.read", data={"plate": "A", "plate_raw": "\x1b[2J", "score": 1})
    line = describe(hostile, NOW.tzinfo)  # type: ignore[arg-type]
    assert "\x1b" not in line
    assert "\\x1b[2J" in line


def test_follow_shows_what_comes_while_the_bridge_runs(site: Path) -> None:
    """It attaches to the running bridge, shows what is written after a restart, and ends on Ctrl-C with 130."""
    write_site(site)
    with going("run", cwd=site) as bridge:
        bridge.line("listening", "err")
        assert "bridge.started" in cli("events", "--json", cwd=site).stdout
        with going("events", "-f", "--json", "--limit", "1", "--all", cwd=site) as tail:
            assert json.loads(tail.line())["specversion"] == "1.0"
            # A restart is what surely writes an event; the tail survives that the server was gone.
            bridge.stop()
            with going("run", cwd=site) as again:
                again.line("listening", "err")
                started = json.loads(tail.line("bridge.started"))
                assert started["source"] == "home/bridge"
                assert tail.stop(signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--kind", "plate.raed"), 2, "--kind: unknown kind 'plate.raed'; did you mean 'plate.read'?"),
        (("--since", "soon"), 2, "--since: 'soon' is neither a duration (1h, 30m, 7d) nor an ISO time"),
        ((), 3, "start the bridge first: vms-bridge run"),
        (("--limit", "-1"), 2, "--limit"),
    ],
)
def test_what_cannot_be_shown_is_said(site: Path, options: tuple[str, ...], code: int, words: str) -> None:
    """Cause and cure, and a code."""
    write_site(site)
    done = cli("events", *options, cwd=site)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


async def test_follow_without_a_bridge_is_refused(filled: Path) -> None:
    """A tail would hold the data directory, and no bridge could start."""
    done = await asyncio.to_thread(cli, "events", "-f", cwd=filled)
    assert done.returncode == 3
    assert "no bridge is running" in done.stderr
