"""`vms-bridge diff`: what differs in meaning between two sets of rule files. Opens no connection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.output import Exit, JsonOption, command, out, print_json
from bridge.commands.site import actions


@command
def diff(
    old: Annotated[Path, typer.Argument(help="A rule file, or a folder of them.")],
    new: Annotated[Path, typer.Argument(help="What to compare it with.")],
    as_json: JsonOption = False,
) -> None:
    """Say what differs in meaning between two rule files or folders: 0 nothing, 1 something, 2 cannot be compared."""
    from bridge.rulebook import action_specs, meaning_of_files
    from rules.differing import difference

    specs = action_specs(actions())
    found = difference(meaning_of_files(old, specs), meaning_of_files(new, specs))
    if as_json:
        print_json(found.as_json())
    else:
        for line in found.lines():
            out().print(line, markup=False, highlight=False)
        if found.same:
            out().print("the same in meaning", highlight=False)
    if not found.same:
        raise typer.Exit(Exit.FAILED)
