"""A back-test over a real log: it follows the rules of then, begins at a checkpoint, and can cause nothing."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import bridge.past
from bridge.bus import roles, store_format
from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.server import EmbeddedServer
from bridge.bus.server_config import identity
from bridge.past.backtest import Backtest
from bridge.past.log import Hole
from tests.bridge.bus.helpers import CONFIG, event, until
from tests.bridge.past.world import HOME, World, world
from tests.rules.support import ACTIONS, rules_of

OLD = "rules:\n  - id: moved\n    when: {kind: motion.started}\n    then: [{webhook: x}]\n"
NEVER = OLD + "    if: 'false'\n"
PAIRS = OLD + "  - id: pairs\n    when: {kind: motion.started, count: 2, within: 1h}\n    then: [{webhook: y}]\n"
PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as one:
        yield one


def _motions(first: int, last: int) -> list[object]:
    return [event(number) for number in range(first, last + 1)]


async def _fill(site: World) -> None:
    """Places 1 to 10: rules, four motions, other rules, four motions; a checkpoint after place 3."""
    async with site.running(checkpoints=False) as host:
        await site.use(OLD)
        await site.put(*_motions(1, 2))  # type: ignore[arg-type]
        await site.checkpoint(host, 3)
        await site.put(*_motions(3, 4))  # type: ignore[arg-type]
        await site.use(PAIRS)
        await site.put(*_motions(5, 8))  # type: ignore[arg-type]
        await until(lambda: host.position >= 10)


def _test(site: World) -> Backtest:
    return Backtest(site.bus.connection, "home", ACTIONS)


async def test_the_rules_of_then_against_others(site: World) -> None:
    """What really fired is found again through every change of rules; the difference names events."""
    await _fill(site)
    report = await _test(site).run(rules_of(OLD, site=HOME), PAST)
    told = report.as_json()
    assert {name: (one["old"], one["new"], one["lost"]) for name, one in told["rules"].items()} == {
        "moved": (8, 8, 0),
        "pairs": (2, 0, 2),
    }
    assert [fire["event"] for fire in told["rules"]["pairs"]["lost_fires"]] == ["e6", "e8"]
    assert (report.events, report.removed, report.new, report.changed) == (10, ("pairs",), (), ())
    fired = [trace for trace in site.traces if trace.fired]
    assert len(fired) == sum(one["old"] for one in told["rules"].values())


async def test_it_begins_at_a_checkpoint_and_new_rules_with_nothing(site: World) -> None:
    """Unchanged rules go on with what they knew; a new one has not seen what came before."""
    await _fill(site)
    site_ = await site.log.stamp(4)
    assert site_ is not None
    report = await _test(site).run(rules_of(PAIRS, site=HOME), site_, warm_up=timedelta(0))
    assert report.began == await site.log.stamp(3)
    assert report.events == 7
    pairs = report.rules["pairs"]
    assert (pairs.old, pairs.new, pairs.gained) == (2, 3, 1)
    assert [fire["event"] for fire in pairs.gained_fires] == ["e4"]


async def test_where_the_log_has_no_beginning_any_more(site: World) -> None:
    """It is compared from the first checkpoint on; without one both know nothing, and that is said."""
    await _fill(site)
    await site.bus.connection.api(f"STREAM.PURGE.{site.bus.stream('EVENTS')}", {"seq": 3})
    report = await _test(site).run(rules_of(OLD, site=HOME), PAST)
    assert report.since == await site.log.stamp(3)
    assert "state unknown before" in report.notes[0]
    assert report.rules["moved"].old == 6
    await site.bus.connection.api(f"STREAM.PURGE.{site.bus.stream('CHECKPOINTS')}")
    report = await _test(site).run(rules_of(NEVER, site=HOME), PAST)
    assert report.notes == ["there is no checkpoint: both begin at the start of the log and know nothing"]
    assert (report.rules["moved"].old, report.rules["moved"].lost) == (7, 7)


async def test_what_is_missing_in_the_log_is_said(site: World) -> None:
    """What came after it may have been decided otherwise."""
    await _fill(site)
    for seq in (6, 7):
        await site.bus.connection.api(f"STREAM.MSG.DELETE.{site.bus.stream('EVENTS')}", {"seq": seq})
    report = await _test(site).run(rules_of(PAIRS, site=HOME), PAST)
    assert report.notes == [str(Hole(6, 7))]


async def test_it_works_with_rights_to_read_alone_and_writes_nothing(tmp_path: Path) -> None:
    """As a reader on the real server, which would refuse a write; every stream is afterwards as it was."""
    store_format.claim(tmp_path, "home")
    async with EmbeddedServer(CONFIG, tmp_path) as server, Bus.open("home", CONFIG, server) as bus:
        intake = await bus.intake()
        await _fill(World(bus, intake))
        await intake.known.flush()  # or it writes its copy in the middle
        before = await _streams(bus)
        access = identity(tmp_path / "bus" / "server.json", CONFIG.model_copy(update={"port": 0})).roles["reader"]
        reader = Connection([server.url], access.username, access.password, "test", roles.inbox("reader"))
        async with reader.opened() as link:
            report = await Backtest(link, "home", ACTIONS).run(rules_of(NEVER, site=HOME), PAST)
        assert report.rules["moved"].lost == 8
        assert await _streams(bus) == before


async def _streams(bus: Bus) -> dict[str, object]:
    names = (await bus.connection.api("STREAM.NAMES"))["streams"]
    return {name: (await bus.connection.api(f"STREAM.INFO.{name}"))["state"]["last_seq"] for name in names}


WRITERS = {
    "bridge.bus.acks", "bridge.bus.publish", "bridge.bus.effects", "bridge.bus.engine_store", "bridge.bus.intake",
    "bridge.bus.orders", "bridge.bus.results", "bridge.bus.bus", "bridge.app", "bridge.engine_host", "bridge.services",
    "bridge.safety", "bridge.http", "bridge.runtime", "bridge.actions", "connectors",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(Path(bridge.past.__path__[0]).glob("*.py")), ids=lambda path: path.name)
def test_nothing_that_writes_is_at_hand(path: Path) -> None:
    """No module that looks back knows a publisher, a ledger, an action or a device."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name for name in imported if any(name == one or name.startswith(f"{one}.") for one in WRITERS)}
    calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not calls & {"tell", "ask", "send", "publish", "put", "store"}
