"""`vms-bridge demo`: see everything work, with nothing but this package."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.output import Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import actions, connectors


@command
def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where the demo keeps its files.")] = Path("vms-bridge-demo"),
    once: Annotated[bool, typer.Option("--once", help="Play the scenario once, print a summary and stop.")] = False,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the bridge's log as well.")] = False,
) -> None:
    """Run a simulated VMS, the bridge and four example rules, and watch what happens and why.

    The configuration, the rules and the clips stay in the folder, to look at and to change.
    With --once the exit code is 0 only if everything happened that had to.
    """
    import uvloop

    from bridge.app import Registries
    from bridge.demo.run import play

    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)
    console = err() if as_json else out()
    registries = Registries(connectors(), actions())
    summary = uvloop.run(play(folder.absolute(), console, registries, once=once, quiet=as_json))
    if as_json:
        print_json(summary)
    if once and not summary["complete"]:
        raise typer.Exit(Exit.FAILED)
