"""`vms-bridge backtest`: what other rules would have decided on what was stored. Nothing can come of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.events import harmless, since_when
from bridge.commands.explain import in_order, known_rule, progress
from bridge.commands.output import ConfigOption, JsonOption, command, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, actions, load_site
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from bridge.config.load import Loaded
    from bridge.past.backtest import Report
    from bridge.past.compare import Difference, Told
    from rules.ruleset import RuleSet

_SHOWN = 10
"""Firings of each sort and rule that are shown to people; `--json` has up to a thousand."""


@command
def backtest(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[str, typer.Option(help="From then on: `7d`, `12h`, or an ISO time (the site's zone).")] = "7d",
    until: Annotated[str | None, typer.Option(help="Up to then; default: now.")] = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option(help="The new rules: these files, all together; default: the site's own as they are now."),
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Only tell of this rule.")] = None,
    warm_up: Annotated[
        str, typer.Option(help="So long before, new and changed rules begin to look, remembering nothing.")
    ] = "1h",
    as_json: JsonOption = False,
) -> None:
    """Compare what new rules would have decided on the stored events with what was decided.

    It reads through the bridge that runs, or a stopped bridge's data, with rights to read and no others.
    """
    import uvloop

    from bridge.runtime.collector import settle

    logging.basicConfig(level=logging.CRITICAL)
    loaded = load_site(Path(config))
    zone = loaded.config.tzinfo
    new = _compiled(loaded, rules)
    begin, end = since_when(since, zone), since_when(until, zone, "--until")
    begin = begin or datetime.now(UTC)
    in_order(begin, end, since)
    settle()  # what the rules are made of stays
    report = uvloop.run(_run(loaded, new, begin, end, _span(warm_up), rule))
    if rule is not None:
        report.rules = {name: one for name, one in report.rules.items() if name == rule}
    if as_json:
        print_json(report.as_json())
    else:
        _show(report, zone)


def _span(text: str) -> timedelta:
    from bridge.schema.units import parse_duration

    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--warm-up: {text!r} is no duration (1h, 30m, 1d)") from error


def _compiled(loaded: Loaded, paths: list[Path] | None) -> RuleSet:
    from bridge.rulebook import action_specs, compile_site
    from rules.load import load_documents

    documents = load_documents([path.absolute() for path in paths], loaded.folder) if paths else None
    return compile_site(loaded, action_specs(actions()), documents)


async def _run(
    loaded: Loaded, new: RuleSet, since: datetime, until: datetime | None, warm_up: timedelta, rule: str | None
) -> Report:
    from bridge.commands.tail import reaching
    from bridge.past.backtest import Backtest
    from bridge.rulebook import action_specs

    async with reaching(loaded, role="reader") as connection:
        with progress("events") as say:
            test = Backtest(connection, loaded.config.site, action_specs(actions()), say)
            if rule is not None:  # first: the look back may take minutes
                known_rule(rule, new.by_id.keys() | await test.known_rules(rule))
            return await test.run(new, since, until, warm_up)


# --- for people -----------------------------------------------------------------------------------------


def _show(report: Report, zone: ZoneInfo) -> None:
    from rich.table import Table

    from bridge.past.compare import by_weight

    console = out()
    rate = f" ({report.events / report.seconds:,.0f}/s)" if report.seconds else ""
    console.print(
        f"{report.events:,} events since {_time(report.began or report.since, zone)}{rate}; "
        f"compared since {_time(report.since, zone)}",
        markup=False, highlight=False,
    )  # fmt: skip
    table = Table("rule", "fired", "would fire", "gained", "lost", "changed", "")
    ordered = by_weight(report.rules)
    for name, one in ordered:
        counts = (f"{count:,}" for count in (one.old, one.new, one.gained, one.lost, one.changed))
        table.add_row(harmless(name), *counts, _word(report, name))
    if ordered:
        console.print(table)
    for name, one in ordered:
        for line in _fires(name, one, zone):
            console.print(harmless(line), markup=False, highlight=False)
    for line in _closing(report, zone):
        console.print(line, markup=False, highlight=False)


def _word(report: Report, name: str) -> str:
    if name in report.new:
        return "new"
    if name in report.removed:
        return "removed"
    return "changed" if name in report.changed else ""


def _fires(name: str, one: Difference, zone: ZoneInfo) -> Iterator[str]:
    for sort, count, fires in (("gained", one.gained, one.gained_fires), ("lost", one.lost, one.lost_fires)):
        for fire in fires[:_SHOWN]:
            yield f"{sort:<8} {name:<24} {_fire(fire, zone)}"
        if count > _SHOWN:
            yield f"{sort:<8} {name:<24} and {count - _SHOWN:,} more (--json)"
    for both in one.changed_fires[:_SHOWN]:
        either = both["new"] or both["old"]
        if either is not None:
            yield f"changed  {name:<24} {_fire(either, zone)}: {_orders(both['old'])} -> {_orders(both['new'])}"
    if one.changed > _SHOWN:
        yield f"changed  {name:<24} and {one.changed - _SHOWN:,} more (--json)"


def _fire(fire: Told, zone: ZoneInfo) -> str:
    key = f" [{fire['key']}]" if fire["key"] else ""
    return f"{_time(datetime.fromisoformat(fire['at']), zone)}  {fire['event']}{key}"


def _orders(fire: Told | None) -> str:
    if fire is None or not fire["orders"]:
        return "nothing"
    return ", ".join(f"{order['action']} {order['params']}" for order in fire["orders"])


def _closing(report: Report, zone: ZoneInfo) -> Iterator[str]:
    if not any(one.any for one in report.rules.values()):
        yield "no difference"
    if report.new or report.changed:
        began = f"at {_time(report.began, zone)}" if report.began else "with the log"
        names = ", ".join((*report.new, *report.changed))
        yield f"new and changed rules began {began} and remembered nothing then: {names}"
    if report.left_out:
        yield f"{report.left_out:,} events came of orders that the new rules did not give, and were not shown to them"
    for note in report.notes:
        yield f"note: {harmless(note)}"


def _time(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
