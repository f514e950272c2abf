"""`vms-bridge simulate`: hand over to the simulator of a system."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from bridge.commands.output import command
from bridge.errors import ConfigError


@command
def simulate(
    context: typer.Context,
    system: Annotated[str, typer.Argument(help="The system, e.g. ts-api. `simulate ts-api --help` shows its options.")],
) -> None:
    """Run a simulated video system, to try rules or to test against.

    It is faithful to the vendor's documents, quirks included, and can be told to misbehave.
    """
    from bridge.commands.site import connectors

    spec = connectors().get(system)
    if spec.simulator is None:
        raise ConfigError(f"there is no simulator of {system}")
    module, _, attribute = spec.simulator.partition(":")
    application = getattr(import_module(module), attribute)
    typer.main.get_command(application).main(
        context.args, prog_name=f"vms-bridge simulate {system}", standalone_mode=False
    )
