"""Play the demo: simulator, receiver and bridge together, watched on the bus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from nats.aio.msg import Msg
from rich.console import Console
from rich.live import Live

from bridge.app import Registries, Running, running
from bridge.bus.child import die_with_parent
from bridge.config.load import load
from bridge.demo import view
from bridge.demo.folder import prepare, webhook_secret
from bridge.demo.receiver import Receiver, receiving
from bridge.demo.story import Story
from bridge.errors import StartError
from bridge.schema.audit import AuditRecord
from bridge.schema.event import VmsEvent
from bridge.schema.subjects import Subjects

ZONE = "America/New_York"
PATIENCE = 50.0
"""Seconds after the scenario's beginning within which everything must have happened."""
LENGTH = 15.0
"""Seconds that the scenario takes."""


async def play(folder: Path, console: Console, registries: Registries, *, once: bool, quiet: bool) -> dict[str, Any]:
    """Run the demo, once or until Ctrl-C; return the summary as JSON. Raises StartError."""
    began = time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        console.print("starting the simulated server, the receiver and the bridge …")
        simulator = await enter(simulating())
        secret = webhook_secret()
        receiver, receiver_url = await enter(receiving(secret))
        path = prepare(folder, simulator_url=simulator, receiver_url=receiver_url, secret=secret, zone=ZONE)
        loaded = load(path, registries.connectors)
        bridge = await enter(running(loaded, registries))
        story = await _watch(bridge)
        await bridge.listening("nvr1")
        heading = _heading(path, simulator, bridge)
        screen = stack.enter_context(_screen(console, quiet))
        feed = None if quiet or screen is not None else view.Feed(console)
        http = await enter(httpx.AsyncClient(base_url=simulator))
        while True:
            (await http.post("/_sim/scenario", json={"name": "demo"})).raise_for_status()
            await _show(screen, story, heading, console, stop, once=once, feed=feed)
            if once or stop.is_set():
                break
    seconds = time.monotonic() - began
    clips = folder / "clips"
    if not quiet:
        view.summary(console, story, clips, seconds, judged=once)
    found = _as_json(story, receiver, clips, seconds)
    return found | _judgement(story) if once else found


@asynccontextmanager
async def simulating() -> AsyncIterator[str]:
    """Run the simulator as a process of its own; yield its URL. Raises StartError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "simulate", "ts-api", "--port", "0", "--json", "--piece", "4s", "--zone", ZONE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, preexec_fn=die_with_parent(),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    if process.stdout is None or process.stderr is None:
        raise StartError("the simulator has no output", "this is a bug: please report it")
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        if not line:
            words = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise StartError(
                f"the simulator did not start: {words[-1] if words else 'no reason given'}", "try it alone"
            )
        draining = asyncio.create_task(process.stderr.read(), name="demo[simulator]")
        yield json.loads(line)["url"]
        draining.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _watch(bridge: Running) -> Story:
    story = Story()
    root = Subjects(bridge.config.site).root

    async def event(message: Msg) -> None:
        story.event(VmsEvent.decode(message.data))

    async def trace(message: Msg) -> None:
        story.trace(json.loads(message.data))

    async def result(message: Msg) -> None:
        story.result(AuditRecord.decode(message.data))

    for subject, take in ((f"{root}.event.>", event), (f"{root}.trace.>", trace), (f"{root}.result.*.*", result)):
        await bridge.bus.connection.client.subscribe(subject, cb=take)
    return story


async def _show(
    screen: Live | None,
    story: Story,
    heading: str,
    console: Console,
    stop: asyncio.Event,
    *,
    once: bool,
    feed: view.Feed | None,
) -> None:
    """Show the story until it is settled, told or stopped."""
    began, drawn = time.monotonic(), -1
    while not stop.is_set() and (elapsed := time.monotonic() - began) < PATIENCE:
        if screen is not None and drawn != story.changes:
            drawn = story.changes
            screen.update(view.live(story, heading, max(5, console.height - 9)), refresh=True)
        if feed is not None:
            feed.update(story, time.monotonic())
        if once and elapsed > LENGTH and story.settled:
            break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await stop.wait()
    if feed is not None:
        feed.update(story, time.monotonic(), ended=True)


@contextlib.contextmanager
def _screen(console: Console, quiet: bool) -> Any:
    if quiet or not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False) as screen:
        yield screen


def _heading(path: Path, simulator: str, bridge: Running) -> str:
    mqtt = bridge.server.mqtt if bridge.server else None
    broker = f", MQTT {mqtt.address}" if mqtt else ""
    return f"configuration {path}\nsimulator {simulator}   bridge {bridge.http.url}{broker}   Ctrl-C ends"


def _as_json(story: Story, receiver: Receiver, clips: Path, seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 1),
        "events": story.kinds,
        "rules_fired": dict(sorted(story.fired.items())),
        "actions": story.outcomes,
        "clips": [{"path": str(clips / c.path), "seconds": c.duration, "complete": c.complete} for c in story.clips],
        "webhooks": {"received": len(receiver.received), "refused": receiver.refused},
    }


def _judgement(story: Story) -> dict[str, Any]:
    return {
        "complete": story.complete,
        "expected": [
            {"rule": e.rule, "action": e.action, "outcome": e.outcome, "times": e.times, "seen": seen, "words": e.words}
            for e, seen in story.check()
        ],
    }
