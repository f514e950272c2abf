"""`vms-bridge check` and `test`: find mistakes before they meet a gate. Neither opens a connection."""

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


@command
def run_rule_tests(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Rule files; without any those of the configuration.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    only: Annotated[str | None, typer.Option("-k", help="Only tests whose name holds this text.")] = None,
    examples: Annotated[bool, typer.Option("--examples", help="Run the tests of the shipped example rules.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the `tests:` of rule files with a clock of their own, without any network."""
    from bridge.rulebook import action_specs, compile_files, compile_site, shipped_examples
    from rules.trial import run_trials

    specs = action_specs(actions())
    if examples:
        sets = [compile_files(paths, specs) for paths in shipped_examples()]
    elif files:
        sets = [compile_files(files, specs)]
    else:
        sets = [compile_site(load_site(Path(config)), specs)]
    runs = [run_trials(rules, specs, wanted=lambda trial: not only or only in trial.name) for rules in sets]
    results = [result for run in runs for result in run]
    failed = [result for result in results if not result.passed]
    if as_json:
        tests = [
            {"name": r.trial.name, "file": r.trial.file, "passed": r.passed, "difference": r.difference}
            for r in results
        ]
        print_json({"passed": len(results) - len(failed), "failed": len(failed), "tests": tests})
    else:
        for result in results:
            out().print(str(result), markup=False, highlight=False, style=None if result.passed else "red")
        out().print(f"{len(results) - len(failed)} passed, {len(failed)} failed", highlight=False)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _as_json(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "where", "message")}
