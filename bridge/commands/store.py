"""`vms-bridge store accept`: say that it is known what the store has lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.ask import ask
from bridge.commands.output import ConfigOption, command, out
from bridge.commands.site import DEFAULT_CONFIG, load_site

store = typer.Typer(name="store", help="The store of events and orders, where it was damaged.", no_args_is_help=True)


@store.callback()
def _store() -> None:
    """The store of events and orders, where it was damaged."""


@command
def accept(
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept with the command.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Say that you know what the store has lost; until then the bridge shows itself degraded, after restarts too."""
    lost = ask(load_site(Path(config)), "POST", "/api/store/accept", reason)["accepted"]
    for each in lost:
        out().print(f"accepted: {each}", highlight=False, markup=False)
    if not lost:
        out().print("nothing was lost that is not accepted already")


store.command("accept")(accept)
