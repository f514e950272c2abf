"""`vms-bridge simulate ts-api`: the simulator for people."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from bridge.sdk import ConfigError, parse_duration

from .config import DEMO_KEY, SimulatorConfig
from .scenario import load, shipped
from .server import Simulator, serve

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
def ts_api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8090,
    api_version: Annotated[str, typer.Option(help="API level, 0.1.0 to 1.1.0; below 1.0.0 there is no v1.")] = "1.1.0",
    product: Annotated[str, typer.Option(help="TS-CMS, TS-NVR or TS-LPR.")] = "TS-LPR",
    zone: Annotated[str, typer.Option(help="The server's time zone.")] = "America/New_York",
    legacy_off: Annotated[bool, typer.Option("--legacy-off", help="The v0 API is switched off.")] = False,
    no_quirks: Annotated[bool, typer.Option("--no-quirks", help="Without the vendor's inconsistencies.")] = False,
    footage: Annotated[
        list[Path] | None, typer.Option(help="Real video to serve instead of the drawn clock; may be repeated.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep drawn video here, for a quicker start.")] = None,
    scenario: Annotated[
        str | None, typer.Option(help="A scenario file to play, or the name of a shipped one: demo.")
    ] = None,
    piece: Annotated[str, typer.Option(help="Length of recorded pieces; a piece can be had when it is full.")] = "10s",
    backup_delay: Annotated[str, typer.Option(help="Until the files of an event backup appear.")] = "2m",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line with the address, for scripts.")] = False,
) -> None:
    """Run a simulated TS-API server: both dialects on one port, with real H.264 video.

    Users: admin/admin and demo/!1234qwer. Inject events and faults, and see the control calls it
    received, under /_sim/ (docs/ref/simulator-ts-api.md). It is for tests: never open it to a network.
    """
    try:
        config = SimulatorConfig.model_validate(
            {
                "host": host,
                "port": port,
                "api_version": api_version,
                "product": product,
                "zone": zone,
                "legacy_off": legacy_off,
                "quirks": not no_quirks,
                "footage": footage or (),
                "cache_dir": cache,
                "piece": parse_duration(piece),
                "backup_delay": parse_duration(backup_delay),
                "scenario": _scenario(scenario),
            }
        )
    except (ValidationError, ValueError) as error:
        details = error.errors() if isinstance(error, ValidationError) else []
        words = "; ".join(f"--{'.'.join(str(p) for p in e['loc']).replace('_', '-')}: {e['msg']}" for e in details)
        raise ConfigError(words or str(error)) from error
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serve(config, as_json))


def _scenario(name: str | None) -> Path | None:
    if name is None:
        return None
    path = Path(name) if name.endswith((".yaml", ".yml")) else shipped(name)
    load(path)
    return path


async def _serve(config: SimulatorConfig, as_json: bool) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await serve(config, lambda simulator: _announce(simulator, as_json))


def _announce(simulator: Simulator, as_json: bool) -> None:
    if as_json:
        line = json.dumps({"url": simulator.url, "username": "admin", "password": "admin", "api_key": DEMO_KEY})
    else:
        line = f"TS-API simulator on {simulator.url} (admin/admin; control: {simulator.url}/_sim/; Ctrl-C ends it)"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
