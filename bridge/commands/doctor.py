"""`vms-bridge doctor`: can this machine keep the promise? One line for each thing, and what to do about it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.output import ConfigOption, Exit, JsonOption, command, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, actions, connectors
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.commands.findings import Finding
    from bridge.config.load import Loaded

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


@command
def doctor(
    config: ConfigOption = DEFAULT_CONFIG,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing outside this machine.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at everything the bridge needs, and say what is wrong and what helps.

    Switches nothing and writes nothing that stays. The exit code is 1 if there is a problem; a warning is none.
    """
    logging.basicConfig(level=logging.CRITICAL)  # what went wrong is said once, as a finding
    found: list[Finding] = []
    for finding in _examination(Path(config), offline=offline):
        found.append(finding)
        if not as_json:
            _say(finding)
    problems = sum(finding.verdict == "problem" for finding in found)
    warnings = sum(finding.verdict == "warning" for finding in found)
    if as_json:
        print_json({"ok": not problems, "findings": [finding.as_json() for finding in found]})
    else:
        out().print(f"{problems} problems, {warnings} warnings", highlight=False)
    if problems:
        raise typer.Exit(Exit.FAILED)


def _examination(config: Path, *, offline: bool) -> Iterator[Finding]:
    from bridge.commands import examine_machine as machine
    from bridge.commands import examine_site as site
    from bridge.commands.tail import data_dir

    yield from machine.programs()
    yield machine.video()
    yield from machine.clock()
    loaded: list[Loaded] = []
    yield from _configuration(config, loaded)
    if not loaded:
        yield machine.nats_server("auto")
        return
    if not loaded[0].config.bus.servers:
        yield machine.nats_server(loaded[0].config.bus.binary)
    yield from machine.disk(data_dir(loaded[0]))
    yield from site.ports(loaded[0])
    yield from site.stepped(loaded[0], datetime.now(UTC))
    if not offline:
        yield from asyncio.run(_all(loaded[0]))


async def _all(loaded: Loaded) -> list[Finding]:
    from bridge.commands.examine_site import reach

    return [finding async for finding in reach(loaded)]


def _configuration(path: Path, loaded: list[Loaded]) -> Iterator[Finding]:
    """Read it and compile its rules; what was read is put into `loaded`. Without a file the defaults are."""
    from bridge.commands.findings import ok, problem, warning
    from bridge.config.load import load
    from bridge.rulebook import action_specs, compile_site

    here = path.exists()
    if not here:
        yield problem(
            "configuration", f"there is no {path}", "write one with `vms-bridge init`, or name it with --config"
        )
    try:
        site = load(path if here else None, connectors())
        loaded.append(site)
        rules = compile_site(site, action_specs(actions()))
    except ConfigError as error:
        for one in error.problems:
            yield problem("configuration", str(one) if one.file else one.message, "correct it: vms-bridge check")
        return
    for told in (*site.warnings, *rules.warnings):
        yield warning("configuration", str(told), "see docs/ref/config.md")
    if here:
        yield ok("configuration", f"{path}: {len(site.sources)} sources, {len(rules.rules)} rules")


def _say(finding: Finding) -> None:
    from rich.text import Text

    line = Text(f"{finding.verdict!s:<8}", style=_STYLES[finding.verdict])
    line.append(f" {finding.about:<14} {finding.message}", style="default")
    if finding.cure:
        line.append(f"; {finding.cure}", style="bold")
    out().print(line, highlight=False)
