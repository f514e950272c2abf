"""The embedded nats-server: a supervised child process that belongs to one data directory.

`async with EmbeddedServer(config, data_dir) as server:` takes the directory for this process alone,
ends what a killed bridge left running there, writes the configuration, starts the server and waits
for its word that it is ready. While we live it is restarted on the same port when it dies, and when
its store broke and the disk has room again; when we die, the kernel ends it.
It knows nothing about streams: what is stored is the business of the rest of this package.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.bus import binary, child, server_config
from bridge.bus.datadir import MIB, Lock, Room, make, share_out, write_private
from bridge.bus.server_config import Access, Identity
from bridge.bus.server_log import FULL, ServerLog
from bridge.config.models import BusConfig
from bridge.errors import StartError

_log = logging.getLogger(__name__)

_READY = "Server is ready"
_TAKEN = "address already in use"
_NOTHING_LEFT = MIB
"""Room with which a server cannot even start."""
_SILENCE = 60.0
"""Seconds without a word before we give up on a start; while it restores streams it says so, one by one."""
_BACK_OFF = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each restart; the last one repeats."""


class EmbeddedServer:
    """See the module. Constructing it does nothing."""

    def __init__(self, config: BusConfig, data_dir: Path, lock: Lock | None = None) -> None:
        """`lock`: the data directory's, if the caller holds it already; the server's own if not."""
        self._config = config
        self._data_dir = data_dir.absolute()
        self._directory = self._data_dir / "bus"
        self._file = self._directory / "nats.conf"
        self._state = self._directory / "server.json"
        self._lock = None if lock else Lock(self._data_dir)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._binary: binary.Binary | None = None
        self._identity: Identity | None = None
        self._room: Room | None = None
        self._log = ServerLog(())
        self.restarts = 0
        """How often it was started again."""
        self.sha256 = ""
        """Hash of the program; known shortly after the start."""

    # --- what others need to know ----------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens, without credentials."""
        return f"nats://{self.access.address}"

    @property
    def access(self) -> Access:
        """How the bridge logs in."""
        return self._who.nats

    @property
    def mqtt(self) -> Access | None:
        """How MQTT clients log in; None when the listener is off."""
        return self._who.mqtt

    @property
    def mqtt_url(self) -> str | None:
        """Where MQTT clients connect to, without credentials."""
        return f"mqtt://{self.mqtt.address}" if self.mqtt else None

    @property
    def version(self) -> str:
        """The server's version, `2.15.1`."""
        return self._binary.version if self._binary else ""

    @property
    def program(self) -> Path | None:
        """The file that runs."""
        return self._binary.path if self._binary else None

    @property
    def directory(self) -> Path:
        """Where it keeps what is stored."""
        return self._directory

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def room(self) -> Room:
        """How the disk is shared out."""
        if self._room is None:
            raise StartError("the embedded server was not started", "enter it with `async with`")
        return self._room

    @property
    def trouble(self) -> str | None:
        """What is wrong with it now, in words; None if nothing is."""
        if self.pid is None:
            return f"nats-server is not running: {self._words}"
        return f"its store takes nothing: {self._words}" if self._log.store_broken.is_set() else None

    @property
    def _words(self) -> str:
        """Why, as it said itself; a server that could not even start on a full disk may have said nothing."""
        try:
            full = shutil.disk_usage(self._directory).free < _NOTHING_LEFT
        except OSError:  # the disk itself is gone
            full = False
        return FULL if full else self._log.words

    @property
    def _who(self) -> Identity:
        if self._identity is None:
            raise StartError("the embedded server was not started", "enter it with `async with`")
        return self._identity

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._lock is not None:
            await asyncio.to_thread(self._lock.take)
        try:
            await self._prepare()
            await self._first_start()
        except BaseException:
            await self._stop()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="nats-server")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    def settled(self) -> None:
        """Say that the streams have the sizes of `room`: at the next start no more than that is set aside."""
        server_config.remember(self._state, self._who, self.room.reserved)

    async def _prepare(self) -> None:
        await asyncio.to_thread(make, self._directory)
        orphan = await asyncio.to_thread(child.left_over, self._directory / "nats-server.pid", self._file)
        if orphan is not None:
            _log.warning("stopping a nats-server left over from a bridge that was killed", extra={"pid": orphan})
            await child.stop_left_over(orphan)
        self._binary = await asyncio.to_thread(binary.find, self._config.binary)

    async def _first_start(self) -> None:
        await asyncio.to_thread(self._write_files)
        try:
            await self._start()
        except StartError:
            if _TAKEN not in self._log.complaint:
                raise
            # Somebody took the free port between our look and the server's: look once more.
            await self._end_process()
            await asyncio.to_thread(self._write_files)
            await self._start()

    def _write_files(self) -> None:
        who = server_config.identity(self._state, self._config)
        mqtt = self._config.mqtt is not None
        room = share_out(self._directory, self._config.max_bytes, mqtt=mqtt, reserved=who.reserved)
        # Promise first, use after: a crash in between must not leave streams larger than the store.
        server_config.remember(self._state, who, max(who.reserved, room.reserved))
        write_private(self._file, server_config.render(self._config, who, room, self._directory))
        self._identity, self._room = who, room
        self._log = ServerLog(who.secrets)

    async def _start(self) -> None:
        try:
            self._process = await child.spawn([str(self.program), "-c", self._file])
        except OSError as exc:
            raise StartError(f"{self.program} cannot be run ({exc.strerror})", "correct bus.binary") from exc
        ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self._process, ready), name="nats-server log")
        await ready

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Future[None]) -> None:
        """Read the log until the process ends; `ready` gets the outcome of the start."""
        lines = process.stderr
        while lines is not None:
            try:
                async with asyncio.timeout(None if ready.done() else _SILENCE):
                    raw = await lines.readline()
            except TimeoutError:
                ready.set_exception(StartError("nats-server does not become ready", "look at its disk and its log"))
                return
            except ValueError:  # a line longer than the reader's limit: dropped by it already
                continue
            if not raw:
                break
            if self._log.line(raw) == _READY and not ready.done():
                ready.set_result(None)
        if not ready.done():
            ready.set_exception(self._why_not())

    def _why_not(self) -> StartError:
        """Return why the server ended before it was ready, from its own last words."""
        said = self._log.complaint
        cures = (
            (_TAKEN, "choose another bus.port or bus.mqtt.port, or 0 for a free one"),
            ("no space left", "free some room, or choose another data_dir"),
            ("permission denied", "let the bridge's user own the data directory"),
            ("insufficient storage", "free some room: the disk is smaller than what the streams were promised"),
        )
        cure = next((cure for sign, cure in cures if sign in said), "see docs/design/bus.md")
        return StartError(f"nats-server does not start: {said}", cure)

    async def _keep(self) -> None:
        """Restart the server when it ended by itself, or when only that brings its store back."""
        self.sha256 = await asyncio.to_thread(self._binary.sha256) if self._binary else ""
        while self._process is not None:
            await self._ended_or_broken(self._process)
            _log.error("nats-server is started again: %s", self.trouble, extra={"code": self._process.returncode})
            await self._end_process()
            await self._start_again()

    async def _ended_or_broken(self, process: asyncio.subprocess.Process) -> None:
        """Return when the process has ended, or when its store broke and the disk has room again."""
        ended = asyncio.ensure_future(process.wait())
        broken = asyncio.ensure_future(self._log.store_broken.wait())
        try:
            await asyncio.wait((ended, broken), return_when=asyncio.FIRST_COMPLETED)
            while not ended.done() and not await asyncio.to_thread(self._disk_has_room):
                await asyncio.wait((ended,), timeout=1.0)
        finally:
            ended.cancel()
            broken.cancel()

    def _disk_has_room(self) -> bool:
        disk = shutil.disk_usage(self._directory)
        return disk.free >= min(disk.total // 20, 1024 * MIB)

    async def _start_again(self) -> None:
        for attempt in range(1_000_000):
            await asyncio.sleep(_BACK_OFF[min(attempt, len(_BACK_OFF) - 1)])
            self._log = ServerLog(self._who.secrets)
            try:
                await self._start()
            except StartError as exc:
                _log.error("nats-server cannot be started again: %s", exc.cause)
                await self._end_process()
            else:
                self.restarts += 1
                return

    async def _end_process(self) -> None:
        if self._process is not None:
            await child.stop(self._process)
        if self._reader is not None:
            await self._reader
            self._reader = None

    async def _stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._end_process()
        if self._lock is not None:
            self._lock.release()
