"""`vms-bridge backup` and `restore`: what was stored comes back, from a running bridge too, or is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import snapshot
from bridge.bus.anchors import read_anchors, read_key
from bridge.bus.bus import Bus
from bridge.bus.marks import WAY_OUT, Damage
from bridge.bus.pull import scan
from bridge.bus.server import EmbeddedServer
from bridge.commands import archive
from bridge.config.load import load
from bridge.contracts import Head, Step
from bridge.registry import Registry
from bridge.schema.audit import AuditRecord, TrailCheck, read_record
from bridge.schema.subjects import Subjects
from connectors import BUILTIN
from tests.bridge.bus.helpers import effect, event, order, result
from tests.bridge.commands.helpers import cli, going, write_site


async def _on_the_bus(site: Path, work: Callable[[Bus], Any]) -> Any:
    config = load(site / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {}).config
    async with EmbeddedServer(config.bus, site / "data") as server, Bus.open("home", config.bus, server) as bus:
        return await work(bus)


async def _fill(bus: Bus) -> None:
    intake = await bus.intake()
    await (await intake([event(number, raw="x" * 3000) for number in range(1, 301)]))
    await bus.engine_store.commit(Step(Head(300, 1, "r"), {}, [order(1), order(2)]))
    await bus.effects.claim(effect(1))
    await bus.dead.bury("message", "bad", b"?", {})
    await bus.kv("lists").put("residents", b"[]")


async def _content(bus: Bus) -> tuple[list[str], Head | None, bytes | None]:
    ids: list[str] = []
    async with aclosing(bus.event_log("test").read(0)) as log:
        async for batch in log:
            ids += [logged.event.id for logged in batch]
            if len(ids) >= 300:
                break
    entry = await bus.kv("lists").get("residents")
    return ids, await bus.engine_store.head(), entry.value if entry else None


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with data and no bridge running, and a backup of it in `b`."""
    site = tmp_path_factory.mktemp("filled")
    write_site(site)
    asyncio.run(_on_the_bus(site, _fill))
    (site / "data" / "safety").mkdir()
    (site / "data" / "safety" / "killswitch").write_text("on")
    done = cli("backup", "b", "--json", cwd=site)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["VMS-home-EVENTS"]["messages"] == 300
    return site


@pytest.fixture
def site(filled: Path, tmp_path: Path) -> Path:
    """A copy of the site whose data are gone."""
    shutil.copytree(filled, tmp_path / "site", ignore=shutil.ignore_patterns("data"))
    return tmp_path / "site"


async def test_what_is_lost_before_the_first_start_is_noticed(site: Path) -> None:
    """How far each stream went is noted at the restore: an engine that is gone then is told, with what it leads to."""
    loaded = load(site / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {})
    await archive.read(site / "b", loaded.config, site / "data", site / "data" / "clips")
    [engine] = (site / "data" / "bus").rglob("VMS-home-ENGINE")
    shutil.rmtree(engine)
    [damage] = await _on_the_bus(site, _damage)
    assert str(damage).startswith("VMS-home-ENGINE has lost messages 1 to ")
    assert "with the ids they had" in damage.cure
    assert "dry_run" in damage.cure
    assert damage.cure.startswith(WAY_OUT)


async def _damage(bus: Bus) -> tuple[Damage, ...]:
    return bus.damage


async def test_everything_comes_back(filled: Path, site: Path) -> None:
    """Events with their numbers, the engine's position, orders, the ledger, lists, and the small files."""
    done = await asyncio.to_thread(cli, "restore", "b", cwd=site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "restored and complete"
    assert "the kill switch is pulled" in done.stderr
    assert json.loads((site / "data" / "safety" / "kill").read_bytes())["principal"] == "restore"
    before, after = [await _on_the_bus(where, _content) for where in (filled, site)]
    assert after == before
    assert after[0] == [f"e{number}" for number in range(1, 301)]
    assert after[1] is not None
    assert after[1].seq == 300

    async def ledger(bus: Bus) -> Any:
        return await bus.effects.find("o1"), bus.damage

    found, damage = await _on_the_bus(site, ledger)
    assert found is not None
    assert damage == ()
    assert (site / "data" / "safety" / "killswitch").read_text() == "on"
    passwords = [json.loads((where / "data/bus/server.json").read_text())["password"] for where in (filled, site)]
    assert passwords[0] != passwords[1], "the backup holds no passwords"


async def _end(bus: Bus, *numbers: int) -> None:
    """Have orders end, just now."""
    for number in numbers:
        ended = result(number, ended=datetime.now(UTC))
        await bus.effects.claim(effect(number, status="ended", result=ended))


async def _trail(bus: Bus, folder: Path) -> tuple[list[str], str | None]:
    """Return the orders in the trail, and what is wrong with it."""
    check = TrailCheck(read_anchors(folder), read_key(folder), Subjects("home"), trimmed=False)
    orders = []
    async for batch in scan(bus.connection, bus.stream("RESULTS")):
        for message in batch:
            check.take(message.subject, message.data)
            record = read_record(message.data)
            orders.append(record.order if isinstance(record, AuditRecord) else record.kind)
    check.verdict()
    return orders, check.why


async def test_the_trail_of_a_busy_site_goes_on_after_a_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders end between any two things that the backup takes: each is in the trail, once, in one chain."""
    write_site(tmp_path)
    config = load(tmp_path / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {}).config
    data, numbers, take = tmp_path / "data", iter(range(1, 1000)), snapshot.take

    async def write(bus: Bus) -> None:
        appender = bus.appender(data / "audit")

        async def work() -> None:
            await _end(bus, next(numbers), next(numbers))
            await appender.catch_up()
            await appender.anchor()

        async def busy(*what: Any) -> Any:
            try:
                return await take(*what)
            finally:
                await work()

        await work()
        monkeypatch.setattr(snapshot, "take", busy)
        await archive.write(bus.connection, config, data, tmp_path / "b", datetime.now(UTC), clips=None)

    async def go_on(bus: Bus) -> None:
        assert (await _trail(bus, data / "audit"))[1] is None
        await bus.appender(data / "audit").catch_up()
        await _end(bus, 1001, 1002)
        await bus.appender(data / "audit").catch_up()
        orders, why = await _trail(bus, data / "audit")
        assert why is None
        assert orders == [f"o{number}" for number in range(1, len(orders) - 1)] + ["o1001", "o1002"]
        assert len(orders) > 4

    await _on_the_bus(tmp_path, write)
    shutil.rmtree(data)
    await archive.read(tmp_path / "b", config, data, data / "clips")
    await _on_the_bus(tmp_path, go_on)


def test_nobody_else_may_read_it(filled: Path) -> None:
    """Events are personal data."""
    for path in (filled / "b").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_running_bridge_is_backed_up(site: Path) -> None:
    """Without stopping it; and nothing can be restored into what it uses."""
    with going("run", cwd=site) as program:
        program.line("listening on", stream="err")
        done = cli("backup", "live", cwd=site)
        assert done.returncode == 0, done.stderr
        refused = cli("restore", "live", cwd=site)
        assert refused.returncode == 3
        assert "is in use by process" in refused.stderr
    shutil.rmtree(site / "data")
    done = cli("restore", "live", "--json", cwd=site)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["VMS-home-EVENTS"]["messages"] >= 1
    with going("run", cwd=site) as program:
        program.line("listening on", stream="err")


def test_data_are_not_overwritten(filled: Path) -> None:
    """Neither a site's nor a backup's."""
    done = cli("restore", "b", cwd=filled)
    assert (done.returncode, "holds data already" in done.stderr) == (3, True)
    done = cli("backup", "b", cwd=filled)
    assert (done.returncode, "is not empty" in done.stderr) == (3, True)


def _flip(backup: Path) -> None:
    path = backup / "streams" / "VMS-home-EVENTS.tar.s2"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(backup: Path) -> None:
    path = backup / "streams" / "VMS-home-ENGINE.tar.s2"
    path.write_bytes(path.read_bytes()[:-10])


def _lose(backup: Path) -> None:
    next((backup / "files").rglob("killswitch")).unlink()


def _unfinished(backup: Path) -> None:
    (backup / "manifest.json").unlink()


def _change(**what: Any) -> Callable[[Path], None]:
    def change(backup: Path) -> None:
        path = backup / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | what))

    return change


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_flip, "was changed or damaged"),
        (_cut, "was changed or damaged"),
        (_lose, "is no backup, or not a whole one"),
        (_unfinished, "is no backup, or not a whole one"),
        (_change(version=2), "which is newer"),
        (_change(store_format=99), "which is newer"),
        (_change(site="away"), "is of the site 'away'"),
        (_change(files={"../x": "00"}), "manifest.json is damaged"),
        (_change(streams=7), "manifest.json is damaged"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused(site: Path, harm: Callable[[Path], None], said: str) -> None:
    """Before anything is written."""
    harm(site / "b")
    done = cli("restore", "b", cwd=site)
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert not (site / "data" / "bus").exists()


def test_a_restore_that_did_not_end_is_noticed(site: Path) -> None:
    """No bridge starts on half of the data; restoring again begins afresh."""
    (site / "data" / "bus").mkdir(parents=True)
    (site / "data" / "restoring").touch()
    done = cli("run", cwd=site)
    assert done.returncode == 3
    assert "a restore into" in done.stderr
    assert cli("restore", "b", cwd=site).returncode == 0
    assert not (site / "data" / "restoring").exists()


def test_servers_of_the_users_own_are_backed_up_there(tmp_path: Path) -> None:
    """Said, with the tool for it."""
    write_site(tmp_path, "bus: {servers: ['nats://127.0.0.1:1']}")
    for name in ("backup", "restore"):
        done = cli(name, "b", cwd=tmp_path)
        assert (done.returncode, "nats account backup" in done.stderr) == (2, True)
