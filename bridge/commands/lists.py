"""`vms-bridge list` and `mode`: look at the lists and the mode of the site, and change them while the bridge runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from bridge.commands.ask import ask
from bridge.commands.output import ConfigOption, JsonOption, command, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, load_site
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.config.load import Loaded

lists = typer.Typer(name="list", help="Lists of plates and texts: look at them, change them.", no_args_is_help=True)
mode = typer.Typer(name="mode", help="The mode of the site: look at it, set it.", no_args_is_help=True)

AT_ONCE = 250
"""Values that one request takes."""

Name = Annotated[str, typer.Argument(help="Name of the list.")]
Values = Annotated[list[str], typer.Argument(help="Plates or texts.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept with the change.")]
Until = Annotated[
    str | None,
    typer.Option("--until", help="When it ends: 2h, 2026-01-31 (that day included), 2026-01-31T18:00."),
]


@command
def show(
    name: Annotated[str | None, typer.Argument(help="Name of the list; without it all lists.")] = None,
    value: Annotated[str | None, typer.Argument(help="One plate or text of it.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the lists, what was changed in one at run time, or what is known of one value."""
    path = "/api/lists" if name is None else f"/api/lists/{quote(name, safe='')}"
    if value is not None:
        path += f"?value={quote(value, safe='')}"
    found = ask(load_site(Path(config)), "GET", path)
    if as_json:
        print_json(found)
    elif name is None:
        for one in found["lists"]:
            _say(f"{one['list']}: {one['file']} in the file, {one['changed']} changed since")
        if not found["lists"]:
            _say("there are no lists; they are written under `lists` in a rule file")
    elif value is None:
        _say(f"{name}: {found['file']} in the file, {found['changed']} changed since")
        for one in found["entries"]:
            _say(_entry(one))
        if found["changed"] > len(found["entries"]):
            _say("and more; name one value to see it")
    else:
        _say(f"{found['value']}: {'in' if found['file'] else 'not in'} the file")
        if found["changed"]:
            _say(_entry(found["changed"]))


@command
def add(
    name: Name,
    values: Values,
    start: Annotated[str | None, typer.Option("--from", help="When it begins to count; as for --until.")] = None,
    until: Until = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="How it is tagged; may be given again.")] = None,
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List values, whatever the file says of them."""
    loaded = load_site(Path(config))
    said = _times(loaded, start, until) | ({"tags": list(tag)} if tag else {})
    _change(loaded, name, "add", values, reason, said, as_json)


@command
def remove(
    name: Name,
    values: Values,
    until: Until = None,
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take values out of a list, whatever the file says of them."""
    loaded = load_site(Path(config))
    _change(loaded, name, "remove", values, reason, _times(loaded, None, until), as_json)


@command
def reset(
    name: Name,
    values: Values,
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let the file count again for these values."""
    _change(load_site(Path(config)), name, "reset", values, reason, {}, as_json)


@command
def show_mode(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the mode of the site, since when, and which there are."""
    loaded = load_site(Path(config))
    found = ask(loaded, "GET", "/api/mode")
    if as_json:
        print_json(found)
        return
    _say(f"{found['mode']}, since {_local(loaded, found['since'])}" if found["mode"] else "no mode was ever set")
    if found["modes"]:
        _say(f"there are: {', '.join(found['modes'])}")


@command
def set_mode(
    name: Annotated[str, typer.Argument(help="The mode.")],
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Set the mode of the site."""
    done = ask(load_site(Path(config)), "POST", "/api/mode", reason, {"mode": name})
    if as_json:
        print_json(done)
    else:
        _say(f"{done['mode']}{_not_yet([done])}")


lists.command("show")(show)
lists.command("add")(add)
lists.command("remove")(remove)
lists.command("reset")(reset)
mode.command("show")(show_mode)
mode.command("set")(set_mode)


def _change(
    loaded: Loaded, name: str, do: str, values: list[str], reason: str | None, said: dict[str, Any], as_json: bool
) -> None:
    path = f"/api/lists/{quote(name, safe='')}/{do}"
    parts = [values[first : first + AT_ONCE] for first in range(0, len(values), AT_ONCE)]
    done = [ask(loaded, "POST", path, reason, {"values": [*part], **said}) for part in parts]
    if as_json:
        print_json(done[0] if len(done) == 1 else done)
        return
    word = {"add": "added", "remove": "removed", "reset": "reset"}[do]
    for one in done:
        _say(f"{word}: {', '.join(one[word])}{_not_yet([one])}")


def _local(loaded: Loaded, stamp: str) -> str:
    """Return a time as the site's wall clock showed it."""
    from datetime import datetime

    return datetime.fromisoformat(stamp).astimezone(loaded.config.tzinfo).strftime("%Y-%m-%d %H:%M:%S")


def _not_yet(done: list[dict[str, Any]]) -> str:
    return "" if all(one["applied"] for one in done) else " (written down; the engine has not come to it yet)"


def _times(loaded: Loaded, start: str | None, until: str | None) -> dict[str, Any]:
    """Return the times of a change as the bridge takes them. Raises ConfigError."""
    times = {"valid_from": _moment(loaded, start, end=False), "valid_until": _moment(loaded, until, end=True)}
    return {name: moment.isoformat() for name, moment in times.items() if moment is not None}


def _moment(loaded: Loaded, text: str | None, *, end: bool) -> datetime | None:
    """Read a span from now, a day, or a time; without an offset by the site's wall clock."""
    from datetime import timedelta

    from bridge.clock import SystemClock
    from bridge.schema.units import parse_duration, parse_moment

    if text is None:
        return None
    try:
        return SystemClock().now() + parse_duration(text)
    except ValueError:
        pass
    try:
        moment = parse_moment(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time; write 2h, 2026-01-31 or 2026-01-31T18:00") from None
    if len(text) == len("2026-01-31"):
        moment += timedelta(days=end)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=loaded.config.tzinfo)


def _entry(one: dict[str, Any]) -> str:
    parts = [one["value"], "listed" if one["listed"] else "not listed"]
    parts += [f"{word} {one[name]}" for name, word in (("valid_from", "from"), ("valid_until", "until")) if name in one]
    return ", ".join([*parts, *(f"#{tag}" for tag in one.get("tags", ()))])


def _say(words: str) -> None:
    out().print(words, markup=False, highlight=False)
