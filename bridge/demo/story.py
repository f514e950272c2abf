"""What happened in the demo, gathered from the bus alone, and whether it is what had to happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.schema.event import VmsEvent
from bridge.schema.kinds import ClipReady
from bridge.schema.orders import Result


class Expectation(NamedTuple):
    """So many orders of a rule and action end like this."""

    rule: str
    action: str
    outcome: str
    times: int
    words: str


EXPECTED: tuple[Expectation, ...] = ()
"""What the scenario `demo` must lead to with the shipped rules."""


@dataclass
class Line:
    """One event of the story: what it was, what rules made of it, and what was done."""

    event: VmsEvent
    why: dict[str, str] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)


@dataclass
class Story:
    """Everything that was seen on the bus."""

    lines: dict[str, Line] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)
    clips: list[ClipReady] = field(default_factory=list)

    def event(self, event: VmsEvent) -> None:
        """Note an event of a source; of the bridge's own only clips."""
        if event.id in self.lines:
            return
        if isinstance(event.data, ClipReady):
            self.clips.append(event.data)
        if event.origin not in ("bridge", "timer"):
            self.lines[event.id] = Line(event)

    def trace(self, trace: Mapping[str, Any]) -> None:
        """Note why a rule fired or did not."""
        line = self.lines.get(trace["event"])
        if trace["fired"]:
            self.fired[trace["rule"]] += 1
        if line is not None:
            line.why[trace["rule"]] = "fired" if trace["fired"] else str(trace.get("words") or "did not fire")

    def result(self, result: Result) -> None:
        """Note the end of an order."""
        self.results[result.order] = result
        for cause in result.causes[-1:]:
            if cause in self.lines:
                words = result.outcome if result.outcome == "done" else f"{result.outcome}: {result.reason}"
                self.lines[cause].done[f"{result.action}#{result.order}"] = words

    @property
    def kinds(self) -> dict[str, int]:
        """Events by kind, the bridge's own left out."""
        return dict(sorted(Counter(line.event.type for line in self.lines.values()).items()))

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """Orders by action and outcome."""
        found: dict[str, Counter[str]] = {}
        for result in self.results.values():
            found.setdefault(result.action, Counter())[result.outcome] += 1
        return {action: dict(sorted(counts.items())) for action, counts in sorted(found.items())}

    def count(self, expectation: Expectation) -> int:
        """How often it happened."""
        wanted = (expectation.rule, expectation.action, expectation.outcome)
        return sum((r.rule, r.action, r.outcome) == wanted for r in self.results.values())

    def check(self) -> Iterator[tuple[Expectation, int]]:
        """Yield each expectation with what was seen."""
        for expectation in EXPECTED:
            yield expectation, self.count(expectation)

    @property
    def complete(self) -> bool:
        """Everything that had to happen happened, as often as it had to."""
        return all(seen == expectation.times for expectation, seen in self.check())
