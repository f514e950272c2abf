"""The demo on the screen: what happened, what the rules made of it, what was done; and the summary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bridge.demo.story import Line, Story

_SHOWN = {
    "plate.read": ("plate", "score", "direction"),
    "call.started": ("name",),
    "call.ended": ("name",),
    "object.detected": ("object", "likelihood"),
    "parking.count": ("name", "count", "capacity"),
    "channel.status": ("state", "message"),
    "recording.status": ("streaming", "recording"),
    "system.log": ("comment", "code_name"),
}
_PLACE = {"parking.count": "lot", "call.started": "from", "call.ended": "from"}
"""What the subject of an event is, where it is no channel."""
SETTLED = 1.0
"""Seconds after which an event is settled if nothing more was heard of it."""
_MARK = {"done": ("✓", "green"), "expired": ("✗", "yellow"), "refused": ("✗", "yellow")}


def what(line: Line) -> str:
    """Return an event in a few words."""
    event = line.event
    fields = event.data.model_dump()
    seen = [str(fields[name]) for name in _SHOWN.get(event.type, ()) if fields.get(name) not in (None, "")]
    place = f" {_PLACE.get(event.type, 'ch')} {event.subject}" if event.subject else ""
    return f"{event.type}{place}: {' '.join(seen)}" if seen else f"{event.type}{place}"


def why(line: Line) -> Text:
    """Return what the rules made of it: those that fired, else the first that did not and its reason."""
    fired = [rule for rule, words in line.why.items() if words == "fired"]
    if fired:
        return Text(", ".join(fired), style="bold")
    rest = [f"{rule} {words}" for rule, words in line.why.items()]
    return Text(rest[0] if rest else "no rule asks for this", style="dim")


def done(line: Line) -> Text:
    """Return what was done about it, with its end."""
    parts = Text()
    for name, words in line.done.items():
        mark, style = _MARK.get(words.partition(":")[0], ("✗", "red"))
        parts.append(f"{mark} {name.partition('#')[0]}", style=style)
        parts.append("  " if words == "done" else f" ({words})  ", style=style)
    return parts


def live(story: Story, heading: str, rows: int) -> Group:
    """Return the live table: the newest events of the sources."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for name, ratio in (("time", None), ("what happened", 5), ("rules", 4), ("done", 6)):
        table.add_column(name, ratio=ratio, no_wrap=ratio is None, overflow="ellipsis")
    lines = [line for line in story.lines.values() if line.event.origin != "resync" or line.done]
    for line in lines[-rows:]:
        table.add_row(f"{line.event.received:%H:%M:%S}", what(line), why(line), done(line))
    return Group(Text(heading), table)


class Feed:
    """The story as plain lines, where there is no screen: an event once it is settled, and what is done later."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, tuple[int, float]] = {}
        """Of each event how much was known of it, and since when."""
        self._told: dict[str, set[str]] = {}
        """Of each event that was printed which of its actions were."""

    def update(self, story: Story, now: float, *, ended: bool = False) -> None:
        """Print what has been the same for a second; with `ended` all that was not printed yet."""
        for key, line in story.lines.items():
            known = len(line.why) + len(line.done)
            if self._seen.get(key, (-1, now))[0] != known:
                self._seen[key] = known, now
            if (ended or now - self._seen[key][1] >= SETTLED) and (line.event.origin != "resync" or line.done):
                self._tell(key, line)

    def _tell(self, key: str, line: Line) -> None:
        told = self._told.get(key)
        news = {name: words for name, words in line.done.items() if told is None or name not in told}
        if told is not None and not news:
            return
        self._told[key] = (told or set()) | set(news)
        parts = [why(line)] if told is None else []
        parts += [done(Line(line.event, done=news))] if news else []
        words = "  |  ".join(part.plain.strip() for part in parts)
        time = f"{line.event.received:%H:%M:%S}"
        self._console.print(f"{time}  {what(line)}  |  {words}", markup=False, highlight=False, soft_wrap=True)


def _pairs(title: str, first: str, rows: Iterator[tuple[str, str]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column(first)
    table.add_column("", justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def summary(console: Console, story: Story, clips: Path, seconds: float, *, judged: bool) -> None:
    """Print what the demo came to; `judged` beside what the scenario, played once, must lead to."""
    console.print(_pairs("Events", "kind", ((kind, str(count)) for kind, count in story.kinds.items())))
    console.print(_pairs("Rules fired", "rule", ((rule, str(n)) for rule, n in sorted(story.fired.items()))))
    outcomes = (
        (action, ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
        for action, counts in story.outcomes.items()
    )
    console.print(_pairs("Actions", "action", outcomes))
    table = Table(title="Clips", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in ("file", "seconds", "complete"):
        table.add_column(name, overflow="fold")
    for clip in story.clips:
        table.add_row(str(clips / clip.path), f"{clip.duration:.1f}", "yes" if clip.complete else "no")
    console.print(table)
    if not judged:
        console.print(f"\nit ran for {seconds:.0f} s; the clips are in {clips}", highlight=False)
        return
    for expectation, seen in story.check():
        good = seen == expectation.times
        mark = "[green]✓[/green]" if good else "[red]✗[/red]"
        note = "" if good else f"  [red](expected {expectation.times}, saw {seen})[/red]"
        console.print(f" {mark} {expectation.words}{note}", highlight=False)
    verdict = "[green]everything happened that had to[/green]" if story.complete else "[red]something is missing[/red]"
    console.print(f"\n{verdict}, in {seconds:.0f} s; the clips are in {clips}", highlight=False)
