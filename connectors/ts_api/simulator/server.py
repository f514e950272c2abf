"""The simulated TS-API server as a thing to start: in a test with `async with`, or from the command line
with `serve`.

It listens with uvicorn's protocols on one port, for both dialects, and leaves signals and logging to
its host.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bridge.sdk import ConfigError, StartError

from . import scenario as scripts
from .config import SimulatorConfig
from .control import control_routes
from .devices import ControlCall
from .faults import Faults
from .feed import Feed
from .happenings import HAPPENING
from .link import Link
from .logbook import Logbook
from .recorder import Gap, Recorder
from .reels import ClockReel, Reel, load_file
from .routes import application
from .scenario import Player, Scenario
from .state import Relay, Site
from .times import find_zone
from .world import World

_KEEP_ALIVE_SECONDS = 75
_PATIENCE_SECONDS = 2


class Simulator:
    """A TS-CMS, TS-NVR or TS-LPR on a local port.

    `async with Simulator(config) as sim:` listens until the block ends. `now` replaces the wall clock.
    """

    def __init__(
        self, config: SimulatorConfig | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.config = config or SimulatorConfig()
        self._now = now
        self._stack = AsyncExitStack()
        self._player: Player | None = None
        self._world: World | None = None
        self._port = 0

    # Life

    async def __aenter__(self) -> Simulator:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        script = await asyncio.to_thread(scripts.load, self.config.scenario) if self.config.scenario else None
        listener = self._listener()
        self._stack.callback(listener.close)
        cache = self.config.cache_dir or await self._temporary_folder()
        recorder = Recorder(
            await asyncio.to_thread(self._reels, cache),
            cache=cache,
            piece_ms=_milliseconds(self.config.piece),
            segment_ms=_milliseconds(self.config.segment),
            since=self._now() - timedelta(days=self.config.recorded_days),
            now=self._clock,
            zone=find_zone(self.config.zone),
        )
        self._world = World(self.config, recorder, now=self._clock, monotonic=time.monotonic)
        self._stack.push_async_callback(self._world.stop)
        await self._listen(listener)
        if self.config.motion_tick:
            self._world.spawn(self._world.watch_motion(), "motion")
        if script:
            self.play(script)

    def _clock(self) -> datetime:
        """Return the time as the simulated server has it."""
        skew = self._world.faults.get("skew") if self._world else None
        return self._now() + timedelta(seconds=skew.by) if skew else self._now()

    async def _temporary_folder(self) -> Path:
        folder = await asyncio.to_thread(TemporaryDirectory, prefix="ts-api-")
        self._stack.push_async_callback(asyncio.to_thread, folder.cleanup)
        return Path(folder.name)

    def _listener(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.config.host else socket.AF_INET
        # With the protocol named asyncio turns Nagle's algorithm off on every connection; without it a small
        # message waits for the acknowledgement of the one before, 40 ms and more.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.config.host, self.config.port))
        except OSError as exc:
            listener.close()
            where = f"{self.config.host}:{self.config.port}"
            cause = f"the simulator cannot listen on {where}: {exc.strerror}"
            raise StartError(cause, "choose another port, or stop what uses it") from exc
        self._port = listener.getsockname()[1]
        return listener

    async def _listen(self, listener: socket.socket) -> None:
        settings = uvicorn.Config(
            application(self.world, control_routes(self)),
            ws=Link,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the simulator's own clock says it
            ws_ping_interval=self.config.ping_interval.total_seconds(),
            ws_ping_timeout=None,  # the vendor only pings
            ws_per_message_deflate=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        settings.load()
        state = ServerState()
        loop = asyncio.get_running_loop()

        def protocol() -> HttpToolsProtocol:
            return HttpToolsProtocol(config=settings, server_state=state, app_state={})

        server = await loop.create_server(protocol, sock=listener, backlog=1024)
        self._stack.push_async_callback(_close, server, state)
        self._stack.callback(self.world.stopping.set)

    def _reels(self, cache: Path) -> list[Reel]:
        if not self.config.footage:
            return [
                ClockReel(
                    cache,
                    find_zone(self.config.zone),
                    _milliseconds(self.config.piece),
                    _milliseconds(self.config.segment),
                )
            ]
        return [_opened(path, cache) for path in self.config.footage]

    # Addresses

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """The base address, `http://127.0.0.1:54321`."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self._port}"

    # What tests and the control paths look at

    @property
    def world(self) -> World:
        """Everything inside; only while it runs."""
        if self._world is None:
            raise RuntimeError("the simulator is not running")
        return self._world

    @property
    def site(self) -> Site:
        """Cameras, lots and spots as they are now."""
        return self.world.site

    @property
    def log(self) -> Logbook:
        """The three logs."""
        return self.world.log

    @property
    def faults(self) -> Faults:
        """Faults to set and clear."""
        return self.world.faults

    @property
    def calls(self) -> list[ControlCall]:
        """Every device command that came in, oldest first."""
        return self.world.devices.calls

    @property
    def feeds(self) -> list[Feed]:
        """The event sockets that are connected."""
        return list(self.world.hub.feeds)

    @property
    def player(self) -> Player | None:
        """The scenario that plays or has played last."""
        return self._player

    def relay(self, channel: int, token: str) -> Relay:
        """Return a relay with its state and history."""
        return self.site.channels[channel].relays[token]

    async def until(self, condition: Callable[[], bool], timeout: float = 5) -> None:
        """Wait until something is so; TimeoutError when it does not come about."""
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 -- the condition is the caller's, nobody signals it
                await asyncio.sleep(0.005)

    # What tests and the control paths do

    async def event(self, topic: str, **members: Any) -> None:
        """Let something happen, in the members of its topic: `await sim.event("LPR", plateNo="12AB345")`.

        A pydantic ValidationError says what is wrong with the members; UnknownThingError what does not exist.
        """
        self.world.happen(HAPPENING.validate_python({"topic": topic, **members}))
        await asyncio.sleep(0)  # let the sockets' writers run

    def play(self, script: Scenario, speed: float = 1) -> asyncio.Task[None]:
        """Play a scenario beside everything else; await the task to see its end."""
        world = self.world
        self._player = Player(script, happen=world.happen, set_fault=world.faults.set, clear_fault=world.faults.clear)
        return world.spawn(self._player.run(speed), f"scenario {script.name}")

    def disconnect(self, how: Literal["reset", "close", "torn"] = "reset") -> int:
        """End all event sockets: by a TCP reset, a proper close, or in the middle of a frame."""
        feeds = self.feeds
        for feed in feeds:
            if how == "reset":
                feed.link.vanish()
            elif how == "torn":
                feed.link.tear('{"topic":"motionChanges","updated":[]}')
            else:
                feed.end()
        return len(feeds)

    def expire_tokens(self, *, refresh: bool = False) -> int:
        """Make all v1 tokens invalid now and close the sockets that were opened with one."""
        count = self.world.access.expire_tokens(refresh=refresh)
        for feed in self.feeds:
            if feed.principal.via == "token":
                feed.end()
        return count

    def change_password(self, user: str, password: str) -> None:
        """Give a user another password and close the event sockets; their next opening is refused."""
        self.world.access.change_password(user, password)
        self.disconnect("close")

    def lose_recording(self, begin: datetime, end: datetime, channel: int | None = None) -> None:
        """Make a hole in the recording of a channel, or of all."""
        self.world.recorder.gaps.append(Gap(channel, begin, end))

    def reset(self) -> None:
        """Go back to the start: state, logs, faults, credentials; sockets are dropped."""
        self.disconnect()
        self.world.reset()


async def serve(config: SimulatorConfig, started: Callable[[Simulator], None] = lambda _: None) -> None:
    """Run a simulator until cancelled; `started` is called once it listens."""
    async with Simulator(config) as simulator:
        started(simulator)
        await asyncio.Event().wait()


async def _close(server: asyncio.Server, state: ServerState) -> None:
    """Stop listening and end every connection at once: a simulator owes nobody a goodbye."""
    server.close()
    for connection in list(state.connections):
        if connection.transport is not None:
            connection.transport.abort()
    if state.tasks:
        # Handlers end by themselves when their connection is lost; only one that hangs is cancelled.
        _, hanging = await asyncio.wait(set(state.tasks), timeout=_PATIENCE_SECONDS)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    await server.wait_closed()


def _opened(path: Path, cache: Path) -> Reel:
    try:
        return load_file(path, cache)
    except (OSError, ValueError, IndexError) as exc:
        raise ConfigError(f"{path}: not a video that can be played: {exc}") from exc


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)
