"""Rules that lead to each other without end, found before they run: what one writes into the log, another waits for.

An edge is certain where nothing that is known only later could keep the second rule from firing; possible where a
condition, a schedule, a rest or a value from an event decides. A ring of certain edges is an error, another one a
warning. What is not seen here, or not told because it is only possible, is cut off when it runs (`rules.loops`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.sdk import Written
from rules.conditions import Test
from rules.loops import MOST_HOPS
from rules.patterns import OneEvent
from rules.patterns.absent import FOLLOWS
from rules.patterns.held import END
from rules.rule import Rule, Trigger
from rules.steps import Act, Listen, Step, never_reached
from rules.templates import Params, Template

MAX_PAIRS = 500_000
"""Steps and triggers that are held against each other."""
_SHOWN = 5
"""Rules of a long ring that are named at its beginning, and at its end."""
_LOOKED_FROM = 50
"""Rules of a group from which a shortest ring is looked for."""
_ENDS = frozenset({FOLLOWS, END, "heard"})
"""Roles of events that end a wait; none of them makes a rule fire."""
_ABOUT_ORDERS = "action.ended"
"""Every order ends with one, and a rule never fires from its own. Only told where it is certain: rules that
look for failures would all be suspects."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A step of one rule that may make another fire."""

    source: Rule
    step: Step
    target: Rule
    certain: bool

    def __str__(self) -> str:
        return f"{self.source.id} ({self.step.label})"


@dataclass(frozen=True, slots=True)
class Ring:
    """Rules that lead to each other."""

    edges: tuple[Edge, ...]
    certain: bool

    def __str__(self) -> str:
        shown = [str(edge) for edge in self.edges]
        if len(shown) > 2 * _SHOWN:
            shown[_SHOWN:-_SHOWN] = [f"... {len(shown) - 2 * _SHOWN} more ..."]
        way = " → ".join([*shown, self.edges[0].source.id])
        cure = "let one of them ask what the other changes, or give it a `cooldown`"
        if self.certain:
            return f"these rules lead to each other without end: {way}; {cure}"
        return (
            f"these rules may lead to each other without end: {way}; they are cut off after {MOST_HOPS} firings. {cure}"
        )


def find_rings(rules: Sequence[Rule], triggers: Sequence[Trigger], site: str) -> tuple[list[Ring], bool]:
    """Return one ring for each group of rules that lead to each other, and whether all could be looked at."""
    edges, whole = _edges(rules, triggers, site)
    certain = list(_rings([edge for edge in edges if edge.certain], certain=True))
    told = {edge.source.id for ring in certain for edge in ring.edges}
    possible = [ring for ring in _rings(edges, certain=False) if not told & {edge.source.id for edge in ring.edges}]
    return [*certain, *possible], whole


# --- edges -----------------------------------------------------------------------------------------------


def _edges(rules: Sequence[Rule], triggers: Sequence[Trigger], site: str) -> tuple[list[Edge], bool]:
    waiting: dict[str, list[Trigger]] = {}
    for trigger in triggers:
        if trigger.role not in _ENDS and trigger.kind is not None:
            waiting.setdefault(trigger.kind, []).append(trigger)
    found: dict[tuple[str, int, str], Edge] = {}
    left = MAX_PAIRS
    for rule in rules:
        for step, written in _writes(rule):
            for trigger in waiting.get(written.kind, ()):
                left -= 1
                if left < 0:
                    return list(found.values()), False
                if trigger.rule is rule and written.kind == _ABOUT_ORDERS:
                    continue
                fires = _fires(rule, step, written, trigger, site)
                if fires is not None and (fires or written.kind != _ABOUT_ORDERS):
                    found[rule.id, step.index, trigger.rule.id] = Edge(rule, step, trigger.rule, fires)
    return list(found.values()), True


def _writes(rule: Rule) -> Iterator[tuple[Step, Written]]:
    if rule.shadow:
        return
    never = {step.index for step in never_reached(rule.steps)}
    for step in rule.steps:
        if isinstance(step.does, Act) and step.index not in never:
            spec = step.does.spec
            yield step, Written(_ABOUT_ORDERS, {"rule": rule.id, "action": spec.name, "step": step.name})
            if spec.writes is not None:
                known, whole = _known(step.does.params)
                written = spec.writes(known, whole)
                if written is not None:
                    yield step, written


def _known(params: Params) -> tuple[dict[str, Any], bool]:
    """Return the parameters without those that depend on the event, and whether there were none of these."""
    if not params.templates:
        return params.raw, True
    filled = params.filled(lambda template: template)
    return _without(filled), False


def _without(values: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in values.items() if not isinstance(value, Template)}
    return {key: _without(value) if isinstance(value, dict) else value for key, value in known.items()}


def _fires(rule: Rule, step: Step, written: Written, trigger: Trigger, site: str) -> bool | None:
    """Tell whether a rule fires from what a step writes: certainly, perhaps (False), or not at all (None)."""
    if trigger.sources is not None and f"{site}/bridge" not in trigger.sources:
        return None
    if trigger.channels is not None and written.channel is not None and written.channel not in trigger.channels:
        return None
    answers = [_answer(test, written) for test in trigger.tests]
    if False in answers or not _in_mode(written, trigger.rule):
        return None
    if None in answers or (trigger.channels is not None and written.channel is None):
        return False
    return _always_reached(rule, step) and _unconditional(trigger.rule)


def _in_mode(written: Written, rule: Rule) -> bool:
    """Tell whether a rule may act in the mode that is written; one that waits for more may fire in a later one."""
    mode = written.data.get("mode") if written.kind == "mode.changed" else None
    return rule.mode is None or mode is None or not isinstance(rule.pattern, OneEvent) or rule.mode.hold(mode)


def _answer(test: Test, written: Written) -> bool | None:
    """Tell whether a test holds for what is written; None if that depends."""
    value: Any = written.data
    for part in test.field.path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return test.answer(None) if written.whole else None
        value = value[part]
    return test.answer(value)


def _always_reached(rule: Rule, step: Step) -> bool:
    before = [one for one in rule.steps if one.index <= step.index]
    fixed = not any(one.condition is not None or isinstance(one.does, Listen) for one in before)
    return fixed and step.handler is None


def _unconditional(rule: Rule) -> bool:
    """Tell whether a rule fires from each event that it is about."""
    asked = (rule.during, rule.condition, rule.mode, rule.cooldown, rule.quiet_for, rule.limit)
    return isinstance(rule.pattern, OneEvent) and not any(one is not None for one in asked)


# --- rings -----------------------------------------------------------------------------------------------


def _rings(edges: Iterable[Edge], *, certain: bool) -> Iterator[Ring]:
    """Yield a shortest ring of each group of rules in which every one leads to every other."""
    out: dict[str, list[Edge]] = {}
    for edge in edges:
        out.setdefault(edge.source.id, []).append(edge)
    for group in _groups(out):
        rings = [ring for name in sorted(group)[:_LOOKED_FROM] if (ring := _shortest(name, out, group))]
        if rings:
            yield Ring(min(rings, key=len), certain)


def _shortest(start: str, out: Mapping[str, Sequence[Edge]], group: frozenset[str]) -> tuple[Edge, ...] | None:
    """Return the shortest way from a rule back to itself."""
    ways: dict[str, tuple[Edge, ...]] = {start: ()}
    queue = [start]
    for name in queue:
        for edge in out.get(name, ()):
            if edge.target.id == start:
                return (*ways[name], edge)
            if edge.target.id in group and edge.target.id not in ways:
                ways[edge.target.id] = (*ways[name], edge)
                queue.append(edge.target.id)
    return None


def _groups(out: Mapping[str, Sequence[Edge]]) -> Iterator[frozenset[str]]:
    """Yield the strongly connected parts (Tarjan, without recursion: a chain may be as long as there are rules)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    inside: set[str] = set()
    for root in sorted(out):
        if root in number:
            continue
        work: list[tuple[str, Iterator[Edge]]] = [(root, iter(out[root]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        inside.add(root)
        while work:
            name, following = work[-1]
            edge = next(following, None)
            if edge is not None:
                target = edge.target.id
                if target not in number:
                    number[target] = low[target] = len(number)
                    stack.append(target)
                    inside.add(target)
                    work.append((target, iter(out.get(target, ()))))
                elif target in inside:
                    low[name] = min(low[name], number[target])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[name])
            if low[name] == number[name]:
                cut = stack.index(name)
                group, stack = frozenset(stack[cut:]), stack[:cut]
                inside -= group
                yield group
