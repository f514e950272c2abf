"""`vms-bridge explain`: why a rule fired on an event, or the first thing that did not hold. Reads, never decides."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.events import describe, harmless, since_when
from bridge.commands.output import ConfigOption, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, actions, load_site
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from bridge.config.load import Loaded
    from bridge.contracts import Logged
    from bridge.past.explain import Answer, Explained, Explainer
    from bridge.past.leads import Led

_WIDTH = 30
_MARKS = {
    "fired": "FIRED",
    "queued": "in line",
    "resumed": "went on",
    "unmet": "not fired",
    "inconclusive": "nobody knows",
    "dropped": "dropped",
}


@command
def explain(
    event: Annotated[
        str | None, typer.Argument(help="An event's id, or its place in the log. Without it: `--since`, `--rule`.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    since: Annotated[
        str | None, typer.Option(help="From then on: `1h`, `30m`, or an ISO time (the site's zone); default: 24h.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to then; default: now.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also rules that are about something else.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Of a span of time, so many places at most, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Say why rules fired, or why not, and what came of it.

    It reads through the bridge that runs; when none does, through a server started for the look. What was not written
    down when it was decided is worked out again from the nearest checkpoint before.
    """
    logging.basicConfig(level=logging.CRITICAL)
    if event is None and rule is None and since is None:
        raise ConfigError("name an event, or say --since, or --rule: vms-bridge explain --since 10m")
    loaded = load_site(Path(config))
    zone = loaded.config.tzinfo
    begin = since_when(since, zone) or datetime.now(UTC) - timedelta(days=1)
    end = since_when(until, zone, "--until")
    in_order(begin, end, since or "24h")
    found = asyncio.run(_find(loaded, event, rule, begin, end, limit))
    if as_json:
        for explained in found:
            print_json(_as_json(explained, everything=everything or rule is not None))
    else:
        for explained in found:
            out().print(
                "\n".join(_lines(explained, zone, everything=everything or rule is not None)),
                markup=False,
                highlight=False,
            )
    if event is None and not found:
        err().print("nothing: no rule had anything to decide then", markup=False)


async def _find(
    loaded: Loaded, event: str | None, rule: str | None, begin: datetime, end: datetime | None, limit: int
) -> list[Explained]:
    from bridge.commands.tail import reaching
    from bridge.past.explain import Explainer
    from bridge.rulebook import action_specs

    async with reaching(loaded, role="reader") as connection:
        with progress("reading the log") as say:
            explainer = Explainer(connection, loaded.config.site, action_specs(actions()), say)
            if rule is not None:  # first: the look back may take long
                known_rule(rule, await explainer.known_rules(rule))
            if event is not None:
                return [await explainer.event(await _one(explainer, event), rule)]
            return await _span(explainer, rule, begin, end, limit)


async def _span(
    explainer: Explainer, rule: str | None, begin: datetime, end: datetime | None, limit: int
) -> list[Explained]:
    from collections import deque

    log = explainer.log
    last = (await log.ends()).last if end is None else await log.before(end)
    kept: deque[Explained] = deque(maxlen=limit)
    said: list[Explained] = []
    async with aclosing(explainer.span(await log.before(begin), last, rule)) as spans:
        async for explained in spans:
            (kept if explained.answers else said).append(explained)
    return [*said, *[await explainer.led(explained) for explained in kept]]


def known_rule(name: str, known: Iterable[str]) -> None:
    """Raise ConfigError for a rule that never was: "nothing" about it would read as an answer."""
    from bridge.registry import unknown

    names = set(known)
    if name not in names:
        raise ConfigError(f"--rule: {unknown('rule', name, names)}")


def in_order(begin: datetime, end: datetime | None, since: str) -> None:
    """Raise ConfigError for a span of time that ends before it begins."""
    if end is not None and end <= begin:
        raise ConfigError(f"--until is not after --since ({since}): there is no time between them")


async def _one(explainer: Explainer, event: str) -> Logged:
    found = await explainer.log.find(event)
    if found is None and event.isdecimal():
        found = await explainer.log.at(int(event))
    if found is None:
        ends = await explainer.log.ends()
        raise ConfigError(
            f"there is no event {event!r} in the log, which holds places {ends.first} to {ends.last}; "
            "`vms-bridge events --json` shows ids"
        )
    return found


@contextmanager
def progress(words: str) -> Iterator[Any]:
    """Show how far something is, on standard error where that is a terminal; yields who is to be told."""
    from rich.progress import Progress

    with Progress(console=err(), transient=True, disable=not err().is_terminal) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


# --- for programs ---------------------------------------------------------------------------------------


def _as_json(explained: Explained, *, everything: bool) -> dict[str, Any]:
    logged = explained.logged
    told = [answer for answer in explained.answers if everything or not answer.elsewhere]
    before = explained.unknown_before
    return {
        "seq": logged.seq,
        "stamp": logged.stamp.isoformat(),
        "event": json.loads(logged.event.encode()),
        "answers": [answer.as_json() for answer in told],
        "about_something_else": 0 if everything else len(explained.answers) - len(told),
        "later": [answer.as_json() for answer in explained.later],
        "unknown": explained.unknown,
        "unknown_before": before.isoformat() if before else None,
        "notes": list(explained.notes),
    }


# --- for people -----------------------------------------------------------------------------------------


def _lines(explained: Explained, zone: ZoneInfo, *, everything: bool) -> Iterator[str]:
    logged = explained.logged
    if explained.answers or not (explained.unknown or explained.notes):
        yield describe(logged.event, zone)
        yield harmless(f"  event {logged.event.id}, place {logged.seq} of the log")
    for answer in explained.answers:
        if everything or not answer.elsewhere:
            yield from _answer(answer, logged, zone)
    others = 0 if everything else sum(answer.elsewhere for answer in explained.answers)
    if others:
        yield f"  {others} {'rule is' if others == 1 else 'rules are'} about something else (--all shows why)"
    if not explained.answers and not explained.unknown and not explained.notes:
        yield "  no rule was there to look at it"
    for answer in explained.later:
        yield from _answer(answer, logged, zone)
    if explained.unknown:
        yield _unknown(explained, zone)
    for note in explained.notes:
        yield harmless(f"  note: {note}")


def _unknown(explained: Explained, zone: ZoneInfo) -> str:
    if explained.unknown_before is None:
        return "  state unknown: there is no checkpoint, and the log does not reach back to its beginning"
    return (
        f"  state unknown before {_time(explained.unknown_before, zone)}: what was not written down then is not known"
    )


def _answer(answer: Answer, logged: Logged, zone: ZoneInfo) -> Iterator[str]:
    from rules.trace import saw

    trace = answer.trace
    mark = _MARKS.get(answer.outcome, answer.outcome)
    shadow = " (shadow: decided, not done)" if trace.get("shadow") else ""
    key = f"  [{trace['key']}]" if trace.get("key") else ""
    when = f" at {_time(datetime.fromisoformat(trace['at']), zone)}" if trace["seq"] != logged.seq else ""
    about = f" (about event {trace['event']})" if trace["event"] != logged.event.id else ""
    head = f"  {mark:<12} {trace['rule']:<{_WIDTH}}{key}{when}{about}{shadow}".rstrip()
    if trace.get("condition"):
        yield harmless(
            f"{head}  {trace['condition']}: wanted {trace.get('wanted')}, {saw(trace.get('seen'), trace.get('looked'))}"
        )
    else:
        yield harmless(head)
    for note in (*trace.get("failed", ()), *trace.get("skipped", ())):
        yield harmless(f"               {note}")
    for led in answer.led_to:
        yield harmless(f"               {_led(led, zone)}")


def _led(led: Led, zone: ZoneInfo) -> str:
    what = ", ".join(f"{name}={value}" for name, value in (led.what or {}).items() if value not in (None, "", [], {}))
    name = f" {led.step}" if led.step else ""
    words = f"{led.action or 'order'}{name}{f' ({what})' if what else ''}: {led.status}"
    if led.seconds is not None:
        words += f" after {led.seconds:.1f} s"
    elif led.ended is not None:
        words += f" at {_time(led.ended, zone)}"
    tried = f", {led.attempts} tries" if led.attempts > 1 else ""
    why = ": ".join(part for part in (led.reason, led.message) if part)
    clips = "".join(f", clip {path}" for path in led.clips)
    return f"{words}{tried}{f', {why}' if why else ''}{clips}  <{led.order}>"


def _time(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
