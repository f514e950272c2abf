"""`vms-bridge bench`: what the bridge costs on this machine, beside the least that anybody could write."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from bridge.commands.output import JsonOption, command, err, out, print_json
from bridge.commands.site import actions, connectors

if TYPE_CHECKING:
    from bridge.app import Registries
    from bridge.bench.report import Figure, Say

bench = typer.Typer(
    name="bench",
    help="Measure this machine: each figure stands beside a floor from the same run. Best with nothing else running.",
    no_args_is_help=True,
)

LongOption = Annotated[bool, typer.Option("--long", help="Measure longer; without it, it ends within 50 s.")]
FolderOption = Annotated[
    Path | None,
    typer.Option("--dir", help="A folder on the disk to measure; default: the system's folder for temporary files."),
]
EventsOption = Annotated[int | None, typer.Option("--events", min=200, help="Events in one round, instead of either.")]


@bench.command()
@command
def pipeline(
    as_json: JsonOption = False, long: LongOption = False, folder: FolderOption = None, events: EventsOption = None
) -> None:
    """Measure events a second from a socket through the log and 1,000 rules to a stored order; 5 % have one."""
    from bridge.bench.pipeline import measure

    rounds = 1 if events else 5 if long else 3
    count = events or (100_000 if long else 8_000)
    _run("pipeline", lambda *args: measure(*args, count=count - count % 20, rounds=rounds), folder, as_json)


@bench.command()
@command
def latency(
    as_json: JsonOption = False, long: LongOption = False, folder: FolderOption = None, events: EventsOption = None
) -> None:
    """Measure milliseconds from a frame on the socket to the command at the video system, at 200 events/s."""
    from bridge.bench.latency import measure

    rounds = 1 if events else 5 if long else 2
    count = events or (4_000 if long else 1_000)
    _run("latency", lambda *args: measure(*args, count=count, rounds=rounds), folder, as_json)


def _run(
    name: str,
    measure: Callable[[Registries, Path, Say], Awaitable[list[Figure]]],
    folder: Path | None,
    as_json: bool,
) -> None:
    import uvloop

    from bridge.app import Registries
    from bridge.bench.report import as_json as report

    logging.basicConfig(level=logging.CRITICAL)
    progress = err()

    def say(words: str) -> None:
        progress.print(words, markup=False, highlight=False)

    with tempfile.TemporaryDirectory(dir=folder, prefix="vms-bridge-bench-") as place:

        async def work() -> list[Figure]:
            return await measure(Registries(connectors(), actions()), Path(place), say)

        figures = uvloop.run(work())
        result = report(name, figures, Path(place))
    if as_json:
        print_json(result)
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    table = Table("what", "value", "unit", "floor", "ratio", "goal", "met", title=f"bench {result['bench']}")
    for row in result["results"]:
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        numbers = (_text(row[name]) for name in ("value", "floor", "ratio"))
        value, floor, ratio = numbers
        table.add_row(row["what"], value, row["unit"], floor, ratio, row["goal"] or "", met)
    console = out()
    console.print(table)
    for name, fact in result["machine"].items():
        console.print(f"{name}: {fact}", markup=False, highlight=False)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
