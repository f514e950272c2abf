"""`vms-bridge reload`: let the bridge that runs read its rule files now, and agree to changes of what moves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.commands.ask import ask
from bridge.commands.output import ConfigOption, Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, load_site

_WORDS = {"added": "new", "changed": "changed", "removed": "gone", "lists": "other entries in list"}


@command
def reload(
    confirm: Annotated[
        str | None, typer.Option("--confirm", help="Agree to the change of this number, which may move things.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept with the command.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read the rule files now, all or nothing. The bridge also does so by itself when they change."""
    said = {} if confirm is None else {"confirm": confirm}
    result = ask(load_site(Path(config)), "POST", "/api/rules/reload", reason, said)
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result["outcome"] == "refused":
        raise typer.Exit(Exit.CONFIG)
    if result["outcome"] == "waits":
        raise typer.Exit(Exit.FAILED)


def _show(result: dict[str, Any]) -> None:
    for problem in result.get("problems", ()):
        place = f"{problem['file']}:{problem['line']}:{problem['column']}: " if problem["line"] else ""
        where = f"{problem['where']}: " if problem["where"] else ""
        err().print(f"{place}{where}{problem['message']}", style="red", markup=False, highlight=False)
    for part, words in _WORDS.items():
        for name in result.get(part, ()):
            moves = ", and may move things" if part != "lists" and name in result["moving"] else ""
            _say(f"{words}: {name}{moves}")
    match result["outcome"]:
        case "refused":
            _say("nothing was changed: the rules of before decide")
        case "waits":
            _say(f"nothing was changed; if this is meant: vms-bridge reload --confirm {result['confirm']}")
        case "changed":
            _say(f"{result['rules']} rules decide from now on")
        case _:
            _say(f"the files say what decides already: {result['rules']} rules")


def _say(words: str) -> None:
    out().print(words, markup=False, highlight=False)
