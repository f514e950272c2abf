"""`vms-bridge check`: find mistakes before they meet a gate. Opens no connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.output import ConfigOption, Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, actions, examine_site
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config.load import Examined
    from bridge.systems import Told


@command
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of rule files, for editors, and check nothing.")
    ] = False,
) -> None:
    """Check the configuration and the rules completely; say everything that is wrong, with its place.

    Channels and presets are held against what the systems said last while the bridge ran, if the data directory has it.
    """
    from bridge.rulebook import action_specs, check_site, schema_of_rules

    if schema:
        typer.echo(schema_of_rules(actions()), nl=False)
        return

    systems: Mapping[str, Told] = {}
    try:
        found = examine_site(Path(config))
        systems = _systems(found)
        rules = check_site(found, action_specs(actions()), systems)
    except ConfigError as error:
        if not as_json:
            _show_ages(systems, error)
            raise
        problems = [_as_json(problem) for problem in error.problems]
        print_json({"ok": False, "problems": problems, "channels_as_of": _ages(systems)})
        raise typer.Exit(Exit.CONFIG) from error
    for warning in rules.warnings:
        err().print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    count, tests, sources = len(rules.rules), len(rules.trials), sorted(found.written.get("sources", ()))
    if as_json:
        told = {"ok": True, "rules": count, "sources": sources, "problems": []}
        print_json({**told, "channels_as_of": _ages(systems)})
    else:
        out().print(f"ok: {len(sources)} sources, {count} rules, {tests} tests of rules", highlight=False)


def _systems(found: Examined) -> Mapping[str, Told]:
    """Return what the sources said last that they have, where a bridge has written it down."""
    from bridge.commands.tail import data_dir
    from bridge.systems import told

    return told(data_dir(found.loaded), found.written.get("sources", ())) if found.loaded is not None else {}


def _ages(systems: Mapping[str, Told]) -> dict[str, str]:
    return {name: told.at.isoformat(timespec="seconds") for name, told in sorted(systems.items())}


def _show_ages(systems: Mapping[str, Told], error: ConfigError) -> None:
    """Say how old what we know of channels and presets is: one that is new was perhaps not there yet."""
    if not any("channel" in problem.message or "preset" in problem.message for problem in error.problems):
        return
    for name, at in _ages(systems).items():
        words = f"channels and presets of {name} as it said at {at}; a running bridge asks every half hour"
        err().print(f"note: {words}", markup=False, highlight=False)


def _as_json(problem: object) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "where", "message")}
