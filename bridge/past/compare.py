"""Hold two ways of deciding against each other, firing by firing. Pure: it is told what both decided and answers.

A firing of one is the same as one of the other if it is of the same rule and key and the same event
decided. Then its orders are compared by what they want, not by their ids, which name the rule's version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from bridge.schema.orders import Order
from rules.engine import Decision
from rules.trace import Trace

LISTED = 1000
"""Firings of each sort and rule that are kept by name; of more only the number."""
OPEN = 10_000
"""Firings of one that the other may still have as well; of more the oldest count as different. Timers of both fire
within a second or so of each other, everything else at the same event."""
ORDERS = 200_000
"""Orders that are remembered as given by both, the newest."""
_TOLD = frozenset({"fired", "resumed"})


Told = dict[str, Any]
"""A firing as it is told: place and time, event, key, and what its orders want."""


class Fire(NamedTuple):
    """One firing, or what a step that waited did later, as it is told."""

    seq: int
    at: datetime
    event: str
    key: str
    outcome: str
    orders: tuple[Order, ...]

    def as_json(self) -> Told:
        """Return it as JSON."""
        return {
            "seq": self.seq,
            "at": self.at.isoformat(),
            "event": self.event,
            "key": self.key,
            "orders": [wanted(order) for order in self.orders],
        }


def wanted(order: Order) -> dict[str, Any]:
    """Return what an order wants, without what depends on when and by which version of the rule it was given."""
    return {
        "action": order.action,
        "class": order.action_class.value,
        "params": order.model_dump(mode="json", include={"params"})["params"],
    }


@dataclass
class Difference:
    """What is different for one rule."""

    old: int = 0
    new: int = 0
    """Firings."""
    gained: int = 0
    lost: int = 0
    changed: int = 0
    """Firings of both that want something else done, and steps that went on otherwise."""
    gained_fires: list[Told] = field(default_factory=list)
    lost_fires: list[Told] = field(default_factory=list)
    changed_fires: list[dict[str, Told | None]] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether anything is different."""
        return bool(self.gained or self.lost or self.changed)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "old": self.old,
            "new": self.new,
            "gained": self.gained,
            "lost": self.lost,
            "changed": self.changed,
            "gained_fires": self.gained_fires,
            "lost_fires": self.lost_fires,
            "changed_fires": self.changed_fires,
        }


_Name = tuple[str, str, str, str]
"""Rule, key, event and outcome: what makes two firings one."""


class Comparison:
    """What both decided, side by side. Firings before `since` are matched and not counted."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self.rules: dict[str, Difference] = {}
        self.same_as: dict[str, str] = {}
        """Orders of the old rules, and those of the new ones that stand for them."""
        self._open: tuple[dict[_Name, list[Fire]], dict[_Name, list[Fire]]] = ({}, {})

    def add(self, old: Iterable[Decision], new: Iterable[Decision]) -> None:
        """Take what one event led to."""
        for side, decisions in enumerate((old, new)):
            for decision in decisions:
                if decision.traces:
                    self._take(side, decision)

    def _take(self, side: int, decision: Decision) -> None:
        orders = {order.id: order for order in decision.orders}
        for trace in decision.traces:
            if trace.outcome in _TOLD:
                made = tuple(orders[name] for name in trace.orders if name in orders)
                fire = Fire(trace.seq, trace.at, trace.event, trace.key or "", trace.outcome, made)
                self._place(side, trace, fire)

    def _place(self, side: int, trace: Trace, fire: Fire) -> None:
        difference = self.rules.get(trace.rule)
        if difference is None:
            difference = self.rules[trace.rule] = Difference()
        if trace.outcome == "fired" and fire.at >= self._since:
            if side:
                difference.new += 1
            else:
                difference.old += 1
        name = (trace.rule, fire.key, fire.event, fire.outcome)
        others = self._open[1 - side].get(name)
        if others is None:
            self._open[side].setdefault(name, []).append(fire)
            if len(self._open[side]) > OPEN:
                self._settle(side, next(iter(self._open[side])))
            return
        other = others.pop(0)
        if not others:
            del self._open[1 - side][name]
        self._match(difference, *((other, fire) if side else (fire, other)))

    def _match(self, difference: Difference, old: Fire, new: Fire) -> None:
        for one, two in zip(old.orders, new.orders, strict=False):
            self.same_as[one.id] = two.id
        while len(self.same_as) > ORDERS:
            del self.same_as[next(iter(self.same_as))]
        if old.at < self._since:
            return
        if len(old.orders) != len(new.orders) or any(
            wanted(one) != wanted(two) for one, two in zip(old.orders, new.orders, strict=True)
        ):
            difference.changed += 1
            _list(difference.changed_fires, old, new)

    def finish(self) -> Mapping[str, Difference]:
        """Return what is different by rule, once there is nothing more to come."""
        for side, fires in enumerate(self._open):
            for name in list(fires):
                self._settle(side, name)
        for difference in self.rules.values():
            for listed in (difference.gained_fires, difference.lost_fires):
                listed.sort(key=lambda told: (told["at"], told["seq"]))
        return self.rules

    def _settle(self, side: int, name: _Name) -> None:
        """Note firings that only one of both had."""
        difference = self.rules[name[0]]
        for fire in self._open[side].pop(name):
            if fire.at < self._since:
                continue
            if fire.outcome == "resumed":
                difference.changed += 1
                _list(difference.changed_fires, *((None, fire) if side else (fire, None)))
            elif side:
                difference.gained += 1
                if len(difference.gained_fires) < LISTED:
                    difference.gained_fires.append(fire.as_json())
            else:
                difference.lost += 1
                if len(difference.lost_fires) < LISTED:
                    difference.lost_fires.append(fire.as_json())


def _list(listed: list[dict[str, Told | None]], old: Fire | None, new: Fire | None) -> None:
    if len(listed) < LISTED:
        listed.append({"old": old.as_json() if old else None, "new": new.as_json() if new else None})


def by_weight(rules: Mapping[str, Difference]) -> Sequence[tuple[str, Difference]]:
    """Return the rules, those with the most differences first, then by name."""
    return sorted(rules.items(), key=lambda item: (-(item[1].gained + item[1].lost + item[1].changed), item[0]))
