"""`vms-bridge run`: the bridge itself, in the foreground, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.commands.output import ConfigOption, command, err
from bridge.commands.site import DEFAULT_CONFIG, actions, connectors, load_site

if TYPE_CHECKING:
    from bridge.config.load import Loaded


@command
def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Listen, decide, act. Stops cleanly on Ctrl-C and SIGTERM; SIGHUP reads the rule files, as `reload` does."""
    import uvloop

    from bridge.runtime.log import configure
    from bridge.runtime.redact import Redactor

    loaded = load_site(Path(config))
    redactor = Redactor()
    redactor.add_all(loaded.config, *loaded.sources.values())
    configure(loaded.config.log.level, loaded.config.log.format, redactor)
    uvloop.run(_run(loaded))


async def _run(loaded: Loaded) -> None:
    from bridge.app import Registries, running
    from bridge.runtime.collector import settle

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # At a terminal it says that the terminal is gone.
    stopping = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.stdin.isatty() else [])]
    for number in stopping:
        loop.add_signal_handler(number, stop.set)
    if signal.SIGHUP not in stopping:
        loop.add_signal_handler(signal.SIGHUP, _not_yet)
    async with running(loaded, Registries(connectors(), actions())) as bridge:
        settle()
        if signal.SIGHUP not in stopping:
            loop.add_signal_handler(signal.SIGHUP, bridge.reloader.ask)
        err().print(f"listening on {bridge.http.url}; Ctrl-C stops", markup=False, highlight=False)
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(bridge.wait())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in waits:
                task.cancel()
            await asyncio.wait(waits)


def _not_yet() -> None:
    """Leave a wish for reading the files alone while they are being read for the first time."""
