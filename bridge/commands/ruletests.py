"""`vms-bridge test`: run the tests of rules, say what differs, and what no test has shown. Opens no connection.

What goes to standard output and into files is the same for the same rules, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from bridge.commands.choosing import chooser
from bridge.commands.output import ConfigOption, Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, actions, load_site
from bridge.errors import ConfigError, StartError

if TYPE_CHECKING:
    from rules.coverage import Coverage, Goal
    from rules.ruleset import RuleSet
    from rules.trial import Actions, Trial, TrialResult

MANY = 50
"""Tests of which it is worth showing how far they are."""


@command
def run_rule_tests(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Rule files; without any those of the configuration. With --config: of its site."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    only: Annotated[
        str | None,
        typer.Option("-k", help="Only tests whose file or name holds this: words, `and`, `or`, `not`, brackets."),
    ] = None,
    first: Annotated[bool, typer.Option("-x", help="Stop at the first that fails.")] = False,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the results to this file, as JUnit XML.")] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Tell which rules and conditions no test has shown.")
    ] = False,
    least: Annotated[
        float | None,
        typer.Option("--min", min=0, max=100, help="Fail if less than this percentage was shown; with coverage."),
    ] = None,
    examples: Annotated[bool, typer.Option("--examples", help="Run the tests of the shipped example rules.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the `tests:` of rule files with a clock of their own, without any network."""
    source = context.get_parameter_source("config")
    named = source is not None and source.name == "COMMANDLINE"
    specs, sets = _compiled(files, config, named=named, examples=examples)
    chosen = _chosen(sets, only)
    coverage = coverage or least is not None
    results: list[TrialResult] = []
    reached: list[set[Goal]] = [set() for _ in sets]
    with _progress(len(chosen), lines=not as_json) as step:
        for number, result in _results(sets, specs, chosen, watch=coverage):
            step()
            results.append(replace(result, orders=(), traces=()))  # of many tests they would fill the memory
            reached[number] |= result.reached
            if not as_json:
                out().print(str(result), markup=False, highlight=False, style=None if result.passed else "red")
            if first and not result.passed:
                break
    if junit is not None:
        _write(junit, results)
    shown = _covered(sets, reached) if coverage else None
    failed = sum(not result.passed for result in results)
    if as_json:
        print_json(_as_json(results, len(chosen), shown))
    else:
        _summary(len(results) - failed, failed, len(chosen) - len(results))
        if shown is not None:
            _table(shown)
    lacking = shown is not None and least is not None and shown.percent < least
    if lacking and shown is not None:
        err().print(f"coverage is {shown.percent} %, and must be {least:g} %", style="red", highlight=False)
    if failed or lacking:
        raise typer.Exit(Exit.FAILED)


def _compiled(files: list[Path] | None, config: Path, *, named: bool, examples: bool) -> tuple[Actions, list[RuleSet]]:
    """Return the rules whose tests are to be run; sets that know nothing of each other. `named`: the site is."""
    from bridge.rulebook import action_specs, compile_files, compile_site, shipped_examples

    specs = action_specs(actions())
    if examples:
        return specs, [compile_files(paths, specs) for paths in shipped_examples()]
    if not files:
        return specs, [compile_site(load_site(Path(config)), specs)]
    return specs, [compile_files(files, specs, load_site(Path(config)) if named else None)]


def _chosen(sets: list[RuleSet], only: str | None) -> list[Trial]:
    trials = [trial for rules in sets for trial in rules.trials]
    if not only:
        return trials
    wanted = chooser(only)
    chosen = [trial for trial in trials if wanted(f"{trial.file} {trial.name}")]
    if not chosen:
        raise ConfigError(f"-k {only!r}: no test is called so; there are {len(trials)}")
    return chosen


def _results(
    sets: list[RuleSet], specs: Actions, chosen: list[Trial], *, watch: bool
) -> Iterator[tuple[int, TrialResult]]:
    """Run the chosen tests; yield what came of each, and the number of its set."""
    from rules.trial import trial_results

    meant = {id(trial) for trial in chosen}
    for number, rules in enumerate(sets):
        for result in trial_results(rules, specs, lambda trial: id(trial) in meant, watch=watch):
            yield number, result


def _covered(sets: list[RuleSet], reached: list[set[Goal]]) -> Coverage:
    from rules.coverage import Coverage, covered

    found = [covered(rules, shown).rules for rules, shown in zip(sets, reached, strict=True)]
    return Coverage(tuple(rule for rules in found for rule in rules))


@contextmanager
def _progress(total: int, *, lines: bool) -> Iterator[Any]:
    """Show how far it is, to people who look on, when there is much to do and they do not see the lines anyway."""
    console, seen = err(), lines and out().is_terminal
    off = total < MANY or seen or not console.is_terminal
    # Not redirected: what belongs on standard output goes there, also while the bar is shown.
    with Progress(console=console, transient=True, disable=off, redirect_stdout=False) as progress:
        task = progress.add_task("tests", total=total)
        yield lambda: progress.advance(task)


def _write(path: Path, results: list[TrialResult]) -> None:
    from bridge.commands.junit import junit

    try:
        path.write_bytes(junit(results))
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}", "name another file with --junit") from error


def _summary(passed: int, failed: int, not_run: int) -> None:
    more = f", {not_run} not run" if not_run else ""
    out().print(f"{passed} passed, {failed} failed{more}", highlight=False)


def _table(shown: Coverage) -> None:
    """Print what no test has shown, rule by rule."""
    console = out()
    fired = sum(rule.fired for rule in shown.rules)
    whole = f"coverage: {shown.percent} % ({shown.reached} of {shown.goals}), {fired} of {len(shown.rules)} rules fired"
    console.print(whole, highlight=False, markup=False)
    for rule in shown.rules:
        if rule.missing:
            head = f"  {rule.goals - len(rule.missing):>3} of {rule.goals:<3} {rule.file}:{rule.line} {rule.rule}"
            console.print(head, highlight=False, markup=False)
            for words in rule.words:
                console.print(f"             {words}", highlight=False, markup=False)


def _as_json(results: list[TrialResult], chosen: int, shown: Coverage | None) -> dict[str, Any]:
    passed = sum(result.passed for result in results)
    tests = [
        {
            "name": result.trial.name,
            "file": result.trial.file,
            "line": result.trial.line,
            "passed": result.passed,
            "difference": result.difference,
        }
        for result in results
    ]
    counts = {"passed": passed, "failed": len(results) - passed, "not_run": chosen - len(results)}
    return {**counts, "tests": tests, **({"coverage": shown.as_json()} if shown is not None else {})}
