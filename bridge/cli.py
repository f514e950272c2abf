"""The command `vms-bridge`."""

from __future__ import annotations

from typing import Annotated

import typer

import bridge
from bridge.commands.audit import audit
from bridge.commands.backtest import backtest
from bridge.commands.backup import backup, restore
from bridge.commands.bench import bench
from bridge.commands.check import check
from bridge.commands.demo import demo
from bridge.commands.diff import diff
from bridge.commands.dlq import dlq
from bridge.commands.doctor import doctor
from bridge.commands.door import breaker, clock, door, kill
from bridge.commands.events import events
from bridge.commands.explain import explain
from bridge.commands.init import init
from bridge.commands.lists import lists, mode
from bridge.commands.reload import reload
from bridge.commands.ruletests import run_rule_tests
from bridge.commands.run import run
from bridge.commands.simulate import simulate
from bridge.commands.store import store

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For commands that hand their options over to somebody else."""

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


app.command()(demo)
app.command()(run)
app.command()(reload)
app.command()(check)
app.command("test")(run_rule_tests)
app.command()(events)
app.command()(diff)
app.command()(explain)
app.command()(backtest)
app.command()(backup)
app.command()(restore)
app.command()(init)
app.command()(doctor)
app.command(context_settings=_PASS_ON)(simulate)
app.command()(kill)
app.add_typer(door)
app.add_typer(breaker)
app.add_typer(clock)
app.add_typer(store)
app.add_typer(lists)
app.add_typer(mode)
app.add_typer(bench)
app.add_typer(dlq)
app.add_typer(audit)


def main() -> None:
    """Run the command line."""
    app()
