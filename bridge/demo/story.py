"""What happened in the demo, gathered from the bus alone, and whether it is what had to happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.safety.reasons import WORDS
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


EXPECTED: tuple[Expectation, ...] = (
    Expectation("residents-open-gate", "open", "done", 1, "the gate opens for the resident, once"),
    Expectation("residents-open-gate", "open", "expired", 1, "and not for a message that is two minutes old"),
    Expectation("residents-open-gate", "clip", "done", 2, "both leave a clip"),
    Expectation("residents-open-gate", "webhook", "done", 2, "and the back office hears of both, with the clip"),
    Expectation("strangers-are-noted", "mqtt", "done", 1, "the stranger is reported, nothing opens"),
    Expectation("emergency-call", "ptz", "done", 1, "the camera turns to the call station"),
    Expectation("emergency-call", "relay", "done", 1, "the siren sounds"),
    Expectation("emergency-call", "mqtt", "done", 1, "the call is on MQTT"),
    Expectation("emergency-call", "clip", "done", 1, "both cameras' footage is saved"),
    Expectation("emergency-call", "webhook", "done", 2, "the back office hears at once, and again with the clip"),
    Expectation("emergency-call-ended", "mqtt", "done", 1, "and that it ended"),
    Expectation("motion-on", "mqtt", "done", 1, "motion is reported"),
    Expectation("motion-off", "mqtt", "done", 1, "and its end"),
    Expectation("channel-down", "mqtt", "done", 1, "the lost camera is reported on MQTT"),
    Expectation("channel-down", "webhook", "done", 1, "and to the back office"),
)
"""What the scenario `demo` must lead to with the shipped rules."""

_WORDS = {reason.value: words for reason, words in WORDS.items()}


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
    changes: int = 0
    """Grows with everything that is noted; who draws the story need not draw it twice."""

    def event(self, event: VmsEvent) -> None:
        """Note an event of a source; of the bridge's own only clips."""
        self.changes += 1
        if event.id in self.lines:
            return
        if isinstance(event.data, ClipReady):
            self.clips.append(event.data)
        if event.origin not in ("bridge", "timer"):
            self.lines[event.id] = Line(event)

    def trace(self, trace: Mapping[str, Any]) -> None:
        """Note why a rule fired or did not."""
        self.changes += 1
        line = self.lines.get(trace["event"])
        if trace["fired"]:
            self.fired[trace["rule"]] += 1
        if line is not None and trace["outcome"] in ("fired", "unmet"):
            line.why[trace["rule"]] = "fired" if trace["fired"] else f"no: {trace.get('condition')}"

    def result(self, result: Result) -> None:
        """Note the end of an order."""
        self.changes += 1
        self.results[result.order] = result
        for cause in result.causes[-1:]:
            if cause in self.lines:
                because = result.message or _WORDS.get(result.reason or "")
                words = f"{result.outcome}: {because}" if because else result.outcome
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
    def settled(self) -> bool:
        """Everything expected has happened, or more: nothing is left to wait for."""
        return all(seen >= expectation.times for expectation, seen in self.check())

    @property
    def complete(self) -> bool:
        """Everything that had to happen happened, as often as it had to."""
        return all(seen == expectation.times for expectation, seen in self.check())
