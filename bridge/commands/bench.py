"""`vms-bridge bench`: what the bridge costs on this machine, beside the least that anybody could write."""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from bridge.commands.output import Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import actions, connectors
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.app import Registries
    from bridge.bench.faults.outcome import Outcome
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
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=1, help="Repeat a run: what happens by chance, happens by this.")
]
RowsOption = Annotated[str | None, typer.Option("--rows", help="Only these rows: `F1,F3`.")]
PageOption = Annotated[Path | None, typer.Option("--page", help="Write the table into this Markdown file.")]
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


@bench.command()
@command
def rules(
    as_json: JsonOption = False, long: LongOption = False, folder: FolderOption = None, events: EventsOption = None
) -> None:
    """Measure what an event costs with 10 to 10,000 rules, how long those take to load, and what 100,000 keys weigh."""
    from bridge.bench.keys import KEYS
    from bridge.bench.rules import SIZES, measure

    rounds = 1 if events else 5 if long else 3
    count, keys = events or (20_000 if long else 4_000), 2_000 if events else KEYS
    sizes = SIZES[:3] if events else SIZES
    _run("rules", lambda *args: measure(*args, count=count, rounds=rounds, keys=keys, sizes=sizes), folder, as_json)


@bench.command()
@command
def backtest(
    as_json: JsonOption = False, long: LongOption = False, folder: FolderOption = None, events: EventsOption = None
) -> None:
    """Measure stored events a second that a back-test of 100 rules reads and decides about, by old and new rules."""
    from bridge.bench.backtest import measure

    rounds = 1 if events else 3 if long else 2
    count = events or (1_000_000 if long else 100_000)
    _run("backtest", lambda *args: measure(*args, count=count - count % 20, rounds=rounds), folder, as_json)


@bench.command()
@command
def rest(
    as_json: JsonOption = False, long: LongOption = False, folder: FolderOption = None, events: EventsOption = None
) -> None:
    """Measure memory and CPU of a bridge with 10 sources, 100 cameras and 100 rules to which nothing happens."""
    from bridge.bench.rest import measure

    seconds = events / 200 if events else 120 if long else 20
    _run("rest", lambda *args: measure(*args, seconds=seconds), folder, as_json)


@bench.command()
@command
def faults(
    as_json: JsonOption = False,
    long: Annotated[bool, typer.Option("--long", help="The release sizes: hours, not seconds.")] = False,
    folder: FolderOption = None,
    seed: SeedOption = None,
    rows: RowsOption = None,
    page: PageOption = None,
) -> None:
    """Break things around bridges started for it, and compare what they promised with what is there."""
    from bridge.bench.faults.page import publish
    from bridge.bench.faults.run import ROWS, run, short_rows
    from bridge.bench.report import machine
    from bridge.bench.revision import revision

    wanted = rows.upper().split(",") if rows else list(ROWS) if long else short_rows()
    unknown = sorted(set(wanted) - set(ROWS))
    if unknown:
        raise ConfigError(f"--rows: there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    chosen = seed or secrets.randbelow(2**31) + 1
    commit = revision()  # now: somebody may commit while it runs
    with tempfile.TemporaryDirectory(dir=folder, prefix="vms-bridge-faults-", ignore_cleanup_errors=True) as place:
        _say(f"seed {chosen}")
        outcomes = run(wanted, Path(place), chosen, release=long, say=_say)
        found = machine(Path(place))
    if page is not None:
        publish(page, outcomes, chosen, found, commit)
    result = {"bench": "faults", "seed": chosen, "rows": [outcome.as_json() for outcome in outcomes], "machine": found}
    if as_json:
        print_json(result)
    else:
        _show_faults(outcomes)
    if not all(outcome.passed or outcome.skipped for outcome in outcomes):
        raise typer.Exit(Exit.FAILED)


def _show_faults(outcomes: list[Outcome]) -> None:
    table = Table("row", "what is broken", "size", "promised", "lost", "doubled", "wrong", "control", "")
    for outcome in outcomes:
        counts = (f"{count:,}" for count in (outcome.acked, outcome.lost, outcome.doubled, outcome.wrong))
        control = "" if outcome.control is None else "failed" if outcome.control.failed else "PASSED"
        words = "passed" if outcome.passed else outcome.skipped or "FAILED"
        table.add_row(outcome.row, outcome.fault, outcome.size, *counts, control, words)
    out().print(table)
    for outcome in outcomes:
        for problem in outcome.problems:
            out().print(f"{outcome.row}: {problem}", markup=False, highlight=False, style="red")
        for words in outcome.slow:
            out().print(
                f"{outcome.row}: slow: {words} (judged by --long)", markup=False, highlight=False, style="yellow"
            )


def _say(words: str) -> None:
    err().print(words, markup=False, highlight=False)


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
    with tempfile.TemporaryDirectory(dir=folder, prefix="vms-bridge-bench-") as place:

        async def work() -> list[Figure]:
            return await measure(Registries(connectors(), actions()), Path(place), _say)

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
