"""Streams and buckets: one table, made and changed idempotently."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from blockbuster import blockbuster_ctx

from bridge.bus import binary, streams
from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.server import EmbeddedServer
from bridge.config.models import BusConfig
from bridge.errors import StartError
from tests.bridge.bus.helpers import CONFIG, count, event, running_bus, until


async def config_of(connection: Connection, name: str) -> dict[str, Any]:
    """The server's idea of a stream."""
    config: dict[str, Any] = (await connection.api(f"STREAM.INFO.{name}"))["config"]
    return config


async def test_every_stream_is_as_the_design_says(bus: Bus) -> None:
    """The limits, windows and switches that the promise rests on are the server's settings."""
    events = await config_of(bus.connection, "VMS-home-EVENTS")
    assert events["subjects"] == ["vms.home.event.>"]
    assert events["retention"] == "limits"
    assert events["discard"] == "old"
    assert events["duplicate_window"] == 600 * 10**9
    assert events.get("max_age", 0) == 0, "it would take what nobody has decided on"
    assert events["max_bytes"] == CONFIG.max_bytes
    assert events["allow_atomic"] is True
    engine = await config_of(bus.connection, "VMS-home-ENGINE")
    assert engine["max_msgs_per_subject"] == 1
    assert engine["discard"] == "new"
    assert engine["allow_atomic"] is True
    assert engine["allow_msg_ttl"] is True
    assert engine.get("max_age", 0) == 0
    for name in ("RESULTS", "DLQ", "REJECTED", "TRACES", "CHECKPOINTS"):
        assert (await config_of(bus.connection, f"VMS-home-{name}"))["retention"] == "limits"
    for bucket in streams.BUCKETS:
        assert (await config_of(bus.connection, f"KV_VMS-home-{bucket}"))["subjects"] == [f"$KV.VMS-home-{bucket}.>"]


async def test_a_second_start_changes_nothing_and_a_new_setting_changes_the_stream(tmp_path: Path) -> None:
    """The same table again asks for no change; another `keep` and size are taken over, and the events stay."""
    async with running_bus(tmp_path) as bus:
        intake = await bus.intake()
        await (await intake([event(1)]))
        assert await streams.changes(bus.connection, streams.table("home", CONFIG), 1) == {}
    smaller = BusConfig(keep=timedelta(hours=1), max_bytes=16 * 1024**2)
    async with running_bus(tmp_path, smaller) as bus:
        assert (await config_of(bus.connection, "VMS-home-TRACES"))["max_age"] == 3600 * 10**9
        assert (await config_of(bus.connection, "VMS-home-EVENTS"))["max_bytes"] == 16 * 1024**2
        assert await count(bus, "EVENTS") == 1


async def test_a_log_that_an_earlier_version_made_has_no_age_any_more(bus: Bus) -> None:
    """Its limit is taken off at the start, before anything is too old."""
    name = bus.stream("EVENTS")
    old = {**await config_of(bus.connection, name), "max_age": 7 * 86400 * 10**9}
    await bus.connection.api(f"STREAM.UPDATE.{name}", old)
    await streams.ensure(bus.connection, streams.table("home", CONFIG), 1)
    assert (await config_of(bus.connection, name)).get("max_age", 0) == 0


async def test_a_server_that_takes_only_small_messages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, with what to set there: a large event would hold up its source for ever."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        config = BusConfig(servers=(server.url,), username=server.access.username, password=server.access.password)
        monkeypatch.setattr(Connection, "max_payload", 65_536)
        with pytest.raises(StartError, match=r"no message of more than 65536 bytes: set `max_payload`"):
            async with Bus.open("home", config):
                pass


async def test_two_sites_share_a_server(tmp_path: Path) -> None:
    """Sites have streams of their own, whatever characters are in their names."""
    async with (
        EmbeddedServer(CONFIG, tmp_path) as server,
        Bus.open("home", CONFIG, server) as home,
        Bus.open("a.b_c d", CONFIG, server) as other,
    ):
        assert other.stream("EVENTS") == "VMS-a_2Eb_5Fc_20d-EVENTS"
        intake = await other.intake()
        await (await intake([event(1, source="a.b_c d/nvr1")]))
        assert await count(other, "EVENTS") == 1
        assert await count(home, "EVENTS") == 0


async def test_an_existing_server_is_used_as_configured(tmp_path: Path) -> None:
    """With `bus.servers` no server is started; credentials come from the configuration."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        config = BusConfig(servers=(server.url,), username=server.access.username, password=server.access.password)
        async with Bus.open("home", config) as bus:
            assert bus.health().ok
            assert not bus.health().embedded
        with pytest.raises(StartError, match=r"refuses our credentials: correct bus\.username"):
            async with Bus.open("home", config.model_copy(update={"password": None})):
                pass


async def test_a_server_that_is_not_there_is_refused_without_its_credentials() -> None:
    """The message names host and port, and not the password in the URL."""
    connection = Connection(["nats://user:hunter2@127.0.0.1:1"], None, None, "test")
    with pytest.raises(StartError, match=r"NATS at 127\.0\.0\.1:1 does not answer") as caught:
        async with connection.opened(patience=0.3):
            pass
    assert "hunter2" not in str(caught.value)


async def test_no_server_at_all_is_refused() -> None:
    """Neither embedded nor configured is a mistake of the caller, told as one."""
    with pytest.raises(StartError, match="no NATS to connect to"):
        async with Bus.open("home", CONFIG):
            pass


async def test_a_server_without_jetstream_or_too_old_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing server that cannot keep the promise is refused at start, with what to do about it."""
    (tmp_path / "ports").mkdir()
    arguments = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", tmp_path / "ports"]
    plain = await asyncio.create_subprocess_exec(
        binary.find("auto").path, *arguments, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: any(file.read_text() for file in (tmp_path / "ports").iterdir()))
        file = next((tmp_path / "ports").iterdir())
        config = BusConfig(servers=tuple(json.loads(file.read_text())["nats"]))
        with pytest.raises(StartError, match=r"has no JetStream .*: turn JetStream on there"):
            async with Bus.open("home", config):
                pass
        monkeypatch.setattr("bridge.bus.binary.OLDEST", (99, 0, 0))
        with pytest.raises(StartError, match=r"is older than 99\.0\.0: upgrade it"):
            async with Bus.open("home", config):
                pass
    finally:
        plain.terminate()
        await plain.wait()


def test_it_runs_on_uvloop(tmp_path: Path) -> None:
    """Server, bus, intake and log work on uvloop as on asyncio's own loop; the server dies with us there too."""

    async def main() -> list[str]:
        async with running_bus(tmp_path) as bus:
            assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
            intake = await bus.intake()
            await (await intake([event(number) for number in range(200)]))
            async with aclosing(bus.event_log().read(0)) as batches:  # type: ignore[type-var]
                found: list[str] = []
                while len(found) < 200:  # a batch is what is there at once: how much that is, the machine says
                    found += [logged.event.id for logged in await anext(batches)]
                return found

    assert uvloop.run(main()) == [f"e{number}" for number in range(200)]


async def test_the_event_loop_is_not_blocked(tmp_path: Path) -> None:
    """Starting, storing, reading and stopping do no file or socket work on the event loop's time."""
    with blockbuster_ctx("bridge.bus"):
        async with running_bus(tmp_path) as bus:
            intake = await bus.intake()
            await (await intake([event(1)]))
            await bus.guard.look()
            await bus.contents.put(b"x" * 1_000_000)
