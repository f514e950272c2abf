"""`vms-bridge dlq`: what was given up, and what a person does about it."""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.output import ConfigOption, Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, load_site
from bridge.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from zoneinfo import ZoneInfo

    from bridge.bus.letters import DeadLetterBox, Letter
    from bridge.bus.roles import Role
    from bridge.config.load import Loaded

dlq = typer.Typer(
    name="dlq",
    help="What was given up: look at it, send it on its way again, drop it.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

Numbers = Annotated[list[int], typer.Argument(min=1, help="Numbers of dead letters, as `dlq list` shows them.")]


@dlq.command("list")
@command
def list_letters(
    config: ConfigOption = DEFAULT_CONFIG,
    action_class: Annotated[
        str | None, typer.Option("--class", help="Only this class: `information`, `actuating`, `message`, …")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason: `gave_up`, `poison`, …")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only what was given up since: `1h`, `7d`, or an ISO time (the site's zone).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="So many at most, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show the newest dead letters, oldest first; with --json one object a line."""
    from bridge.commands.events import since_when

    loaded = _load(config)
    moment = since_when(since, loaded.config.tzinfo)

    async def show() -> None:
        async with _reached(loaded, role="reader") as box:
            letters = await box.newest(limit, action_class=action_class, reason=reason, since=moment)
        _print_list(letters, loaded.config.tzinfo, as_json=as_json)

    asyncio.run(show())


@dlq.command()
@command
def show(
    number: Annotated[int, typer.Argument(min=1, help="Number of a dead letter.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show all there is of one dead letter, and whether it can go again."""
    loaded = _load(config)

    async def look() -> None:
        async with _reached(loaded, role="reader") as box:
            letter = await box.get(number)
        if as_json:
            print_json(letter.as_json(whole=True))
        else:
            _print_letter(letter, loaded.config.tzinfo)

    asyncio.run(look())


@dlq.command()
@command
def redrive(numbers: Numbers, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Send orders on their way again, as new orders of their own. What moves something never goes again."""
    loaded = _load(config)

    async def again(box: DeadLetterBox, number: int) -> dict[str, Any]:
        return {"order": await box.redrive(number, datetime.now(UTC))}

    asyncio.run(_each(loaded, numbers, again, "goes again", as_json=as_json))


@dlq.command()
@command
def drop(
    numbers: Numbers,
    why: Annotated[str, typer.Option(help="Why, for the audit trail.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take dead letters away for good. That they were dropped, and by whom, stays in the audit trail."""
    loaded = _load(config)

    async def away(box: DeadLetterBox, number: int) -> dict[str, Any]:
        await box.drop(number, datetime.now(UTC), why)
        return {}

    asyncio.run(_each(loaded, numbers, away, "dropped", as_json=as_json))


def _load(config: Path) -> Loaded:
    logging.basicConfig(level=logging.CRITICAL)  # what the bus says of itself is for the bridge's log
    return load_site(Path(config))


def principal() -> str:
    """Return who does this, for the records."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "cli"


@asynccontextmanager
async def _reached(loaded: Loaded, role: Role | None = None) -> AsyncIterator[DeadLetterBox]:
    """Reach the letters; who only looks does so with no more rights than that."""
    from bridge.bus.letters import DeadLetterBox
    from bridge.commands.tail import reaching

    async with reaching(loaded, role=role) as connection:
        yield DeadLetterBox(connection, loaded.config.site, principal())


async def _each(
    loaded: Loaded,
    numbers: Sequence[int],
    work: Callable[[DeadLetterBox, int], Awaitable[dict[str, Any]]],
    done: str,
    *,
    as_json: bool,
) -> None:
    """Do something with each letter, say what came of it, and fail if one could not be done."""
    failed = 0
    async with _reached(loaded) as box:
        for number in numbers:
            try:
                more = await work(box, number)
            except StoreUnavailableError:
                raise
            except StoreError as error:
                failed += 1
                if as_json:
                    print_json({"letter": number, "done": False, "error": str(error)})
                else:
                    err().print(str(error), style="red", markup=False, highlight=False)
                continue
            if as_json:
                print_json({"letter": number, "done": True, **more})
            else:
                said = "".join(f" as {name} {value}" for name, value in more.items())
                out().print(f"dead letter {number} {done}{said}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(Exit.FAILED)


# --- for the eyes -----------------------------------------------------------------------------------


def _print_list(letters: Sequence[Letter], zone: ZoneInfo, *, as_json: bool) -> None:
    if as_json:
        for letter in letters:
            print_json(letter.as_json())
        return
    if not letters:
        out().print("no dead letters")
        return
    from rich.table import Table
    from rich.text import Text

    from bridge.commands.events import harmless

    table = Table(box=None, pad_edge=False)
    for heading in ("letter", "given up", "class", "reason", "rule", "action", "again?", "error"):
        table.add_column(heading, justify="right" if heading == "letter" else "left", overflow="fold")
    for letter in letters:
        order = letter.order
        when = letter.stored.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
        who = (order.rule, order.action) if order else ("", letter.headers.get("Source", ""))
        again = "yes" if letter.obstacle is None else "no"
        row = (str(letter.seq), when, letter.action_class, letter.reason, *who, again, letter.error)
        table.add_row(*(Text(harmless(text)) for text in row))
    out().print(table)


def _print_letter(letter: Letter, zone: ZoneInfo) -> None:
    from bridge.commands.events import harmless

    lines = [
        f"dead letter {letter.seq}: {letter.action_class}, {letter.reason}",
        f"given up    {letter.stored.astimezone(zone).isoformat(sep=' ', timespec='seconds')}",
        *(f"{name:<12}{value}" for name, value in sorted(letter.headers.items())),
        f"again?      {letter.obstacle or f'yes: vms-bridge dlq redrive {letter.seq}'}",
    ]
    body = letter.content
    text = body if isinstance(body, str) else json.dumps(body, indent=1, ensure_ascii=False)
    for line in [*lines, "", *text.splitlines()]:
        out().print(harmless(line), markup=False, highlight=False)
