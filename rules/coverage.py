"""What the tests of rules have shown: which rules fired, and which conditions were met, and made the difference.

A condition is *met* when it was asked and held, and *decisive* when it was the first that did not hold, so that the
rule did not fire because of it. Both is told by how rules looked at the events of the tests; nothing here decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bridge.sdk import format_duration
from rules.gates import AROUND, FULL
from rules.matching import Unlike
from rules.patterns import OneEvent
from rules.patterns.absent import AFTER, FOLLOWS
from rules.patterns.held import BEGIN, END
from rules.patterns.sequence import InOrder
from rules.rule import Rule, Trigger
from rules.ruleset import RuleSet
from rules.steps import Catch, Listen, Step

Side = Literal["fired", "met", "decisive", "seen", "told", "answered"]
ON_ENTRY = ("when.kind", "when.source", "when.channel", "when.include", "loop", "per")
"""Conditions of every rule, asked before its pattern and gates; no test needs to show them."""
_PARTS = {AFTER: "after", FOLLOWS: "absent", END: "until", "heard": "silent"}
_LACKS: dict[Side, str] = {
    "fired": "never fired",
    "met": "never met",
    "decisive": "never decisive",
    "seen": "never seen",
    "told": "never needed",
    "answered": "never answered",
}


class Goal(NamedTuple):
    """One thing that a test can show of a rule."""

    rule: str
    condition: str
    """`match.score`, `sequence[1].match.score`, `cooldown`, `then[2] webhook`; empty for the rule as a whole."""
    wanted: str
    side: Side

    def __str__(self) -> str:
        words = f"{self.condition} {self.wanted}".strip()
        return f"{words}: {_LACKS[self.side]}" if words else _LACKS[self.side]


# --- what there is to show -------------------------------------------------------------------------------


def goals_of(rule: Rule, triggers: Sequence[Trigger]) -> list[Goal]:
    """Return everything that tests can show of a rule, in the order in which it is asked."""
    goals = [Goal(rule.id, "", "", "fired")]
    for trigger in triggers:
        part = part_of(rule, trigger)
        if part and (len(triggers) > 1 or trigger.role == "heard"):
            goals.append(Goal(rule.id, part, "", "seen"))
        for name, wanted in tests_of(rule, trigger):
            goals += _both(rule, name, wanted)
    for name in AROUND:
        if (value := asked(rule, name)) is not None:
            goals += _both(rule, name, value)
    for step in rule.steps:
        if step.condition is not None:
            goals += _both(rule, step.label, f"if {step.condition.text}")
        if isinstance(step.does, Catch):
            goals.append(Goal(rule.id, catch_name(step), "", "told"))
        elif isinstance(step.does, Listen):
            goals.append(Goal(rule.id, step.label, "", "answered"))
    return list(dict.fromkeys(goals))


def _both(rule: Rule, name: str, wanted: str) -> list[Goal]:
    return [Goal(rule.id, name, wanted, "met"), Goal(rule.id, name, wanted, "decisive")]


def asked(rule: Rule, name: str) -> str | None:
    """Return what a rule asks for around its pattern, in words; None if it does not."""
    value: Any = getattr(rule, "condition" if name == "if" else name)
    if value is None or (name == "concurrency" and value != "single"):
        return None  # only `single` keeps a rule from firing
    if name == "if":
        return str(value.text)
    return format_duration(value) if hasattr(value, "total_seconds") else str(value)


def catch_name(step: Step) -> str:
    """Return what an `on_error` is called: where it stands says that it is one."""
    return step.label.removesuffix(f" {step.does.word}")


def part_of(rule: Rule, trigger: Trigger) -> str:
    """Return what of its rule's `when` a trigger is: `sequence[1]`; empty if it is all of it."""
    role = trigger.role
    if not role.isdigit():
        return _PARTS.get(role, "")
    word = "sequence" if isinstance(rule.pattern, InOrder) else "any" if isinstance(rule.pattern, OneEvent) else "all"
    return f"{word}[{role}]"


def tests_of(rule: Rule, trigger: Trigger) -> list[tuple[str, str]]:
    """Return the tests that a trigger asks in order; that something is so no longer nobody has written down."""
    part = part_of(rule, trigger)
    prefix = f"{part}." if part and trigger.role != BEGIN else ""
    return [(f"{prefix}{test.name}", test.wanted) for test in trigger.tests if not isinstance(test, Unlike)]


def conditions_of(rule: Rule, triggers: Sequence[Trigger]) -> set[str]:
    """Return the names of everything that can keep a rule from firing, as traces have them."""
    names = {test.name for trigger in triggers for test in trigger.tests}
    names |= {name for name in AROUND if asked(rule, name) is not None}
    return names | {*ON_ENTRY, "when", FULL}


# --- the sum ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """What was shown of one rule, and what was not."""

    rule: str
    file: str
    line: int
    goals: int
    missing: tuple[Goal, ...]

    @property
    def fired(self) -> bool:
        """It fired in some test."""
        return all(goal.side != "fired" for goal in self.missing)

    @property
    def words(self) -> list[str]:
        """What is missing, a line for each condition; of a rule that never fired that says it all."""
        if not self.fired:
            return [_LACKS["fired"]]
        lacks: dict[str, list[str]] = {}
        for goal in self.missing:
            lacks.setdefault(f"{goal.condition} {goal.wanted}".strip(), []).append(_LACKS[goal.side])
        return [f"{name}: {', '.join(sides)}" for name, sides in lacks.items()]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        missing = [
            {"condition": g.condition, "wanted": g.wanted, "lacks": g.side, "words": str(g)} for g in self.missing
        ]
        place = {"rule": self.rule, "file": self.file, "line": self.line, "fired": self.fired}
        return {**place, "goals": self.goals, "reached": self.goals - len(self.missing), "missing": missing}


@dataclass(frozen=True, slots=True)
class Coverage:
    """What some tests have shown of the rules."""

    rules: tuple[RuleCoverage, ...]

    @property
    def goals(self) -> int:
        """How much there is to show."""
        return sum(rule.goals for rule in self.rules)

    @property
    def reached(self) -> int:
        """How much of it was shown."""
        return self.goals - sum(len(rule.missing) for rule in self.rules)

    @property
    def percent(self) -> float:
        """The same of a hundred, rounded down; of nothing everything was shown."""
        return (self.reached * 1000 // self.goals) / 10 if self.goals else 100.0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        fired = sum(rule.fired for rule in self.rules)
        whole = {"percent": self.percent, "goals": self.goals, "reached": self.reached, "fired": fired}
        return {**whole, "rules": [rule.as_json() for rule in self.rules]}


def covered(rules: RuleSet, reached: Iterable[Goal]) -> Coverage:
    """Return what was shown of a rule set; rules in the order of their files."""
    shown = frozenset(reached)
    found: list[RuleCoverage] = []
    triggers: Mapping[str, Sequence[Trigger]] = rules.triggers_of
    for rule in sorted(rules.rules, key=lambda rule: (rule.file, rule.line, rule.id)):
        goals = goals_of(rule, triggers.get(rule.id, ()))
        missing = tuple(goal for goal in goals if goal not in shown)
        found.append(RuleCoverage(rule.id, rule.file, rule.line, len(goals), missing))
    return Coverage(tuple(found))
