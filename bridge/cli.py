"""The command `vms-bridge`."""

from __future__ import annotations

from typing import Annotated

import typer

import bridge

app = typer.Typer(
    name="vms-bridge",
    help="Turn what cameras and video management systems know into action.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vms-bridge {bridge.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Turn what cameras and video management systems know into action."""


def main() -> None:
    """Run the command line."""
    app()
