"""`vms-bridge check`: find mistakes before they meet a gate. Opens no connection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.output import ConfigOption, Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, actions, load_site
from bridge.errors import ConfigError


@command
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of rule files, for editors, and check nothing.")
    ] = False,
) -> None:
    """Check the configuration and the rules completely; say everything that is wrong, with its place."""
    from bridge.rulebook import action_specs, compile_site, schema_of_rules

    if schema:
        typer.echo(schema_of_rules(actions()), nl=False)
        return

    try:
        loaded = load_site(Path(config))
        rules = compile_site(loaded, action_specs(actions()))
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": [_as_json(problem) for problem in error.problems]})
        raise typer.Exit(Exit.CONFIG) from error
    for warning in rules.warnings:
        err().print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    if as_json:
        print_json({"ok": True, "rules": len(rules.rules), "sources": sorted(loaded.sources), "problems": []})
    else:
        count, tests = len(rules.rules), len(rules.trials)
        out().print(f"ok: {len(loaded.sources)} sources, {count} rules, {tests} tests of rules", highlight=False)


def _as_json(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "where", "message")}
