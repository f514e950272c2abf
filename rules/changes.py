"""What differs between two rule sets: which rules and lists, and whether it concerns anything that moves. Pure.

A rule differs when it says something else, or when the schedule it names does. What a list holds is
no part of the rules that ask it: a new resident is no change of the rule that opens the gate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.sdk import ActionClass
from rules.patterns.clock import Rings
from rules.rule import Rule
from rules.ruleset import RuleSet
from rules.steps import Act

MOVING = frozenset({ActionClass.ACTUATING, ActionClass.VENDOR_START})
"""Orders of these classes are never simply repeated: what they do is done."""


@dataclass(frozen=True, slots=True)
class Change:
    """From one rule set to another. Names are sorted."""

    old: str
    new: str
    """The hashes of the two sets."""
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    """Lists that are new, gone, or hold something else."""
    moving: tuple[str, ...] = ()
    """Those of the rules that open, switch or start something, before or after."""

    @property
    def confirmation(self) -> str:
        """What confirms exactly this change."""
        return hashlib.sha256(f"{self.old} {self.new}".encode()).hexdigest()[:12]

    def __str__(self) -> str:
        parts = [("added", self.added), ("changed", self.changed), ("removed", self.removed), ("lists", self.lists)]
        return "; ".join(f"{word}: {_some(names)}" for word, names in parts if names) or "nothing that decides"


def change_between(old: RuleSet, new: RuleSet) -> Change:
    """Return what differs."""
    before, after = old.by_id, new.by_id
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    changed = {
        name for name in after.keys() & before.keys() if _meaning(before[name], old) != _meaning(after[name], new)
    }
    moving = {
        name
        for rules, names in ((before, removed | changed), (after, added | changed))
        for name in names
        if moves(rules[name])
    }
    return Change(old.hash, new.hash, *map(_sorted, (added, changed, removed, _lists(old, new), moving)))


def moves(rule: Rule) -> bool:
    """Tell whether a rule may open, switch or start something. One in the shadow does nothing."""
    classes = {step.does.action_class for step in rule.steps if isinstance(step.does, Act)}
    return not rule.shadow and not MOVING.isdisjoint(classes)


def _meaning(rule: Rule, rules: RuleSet) -> tuple[object, ...]:
    place, during = rules.place, rule.during
    timed = during is not None or isinstance(rule.pattern, Rings)
    where = (place.zone.key, place.latitude, place.longitude) if timed else None
    holidays = place.holidays if during is not None and during.needs_holidays else None
    return (rule.version, repr(during), where, holidays)


def _lists(old: RuleSet, new: RuleSet) -> set[str]:
    names = old.lists.keys() ^ new.lists.keys()
    return names | {name for name in old.lists.keys() & new.lists.keys() if not old.lists[name].same(new.lists[name])}


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
