"""Which firings wait, and where they are found: by an order's end, by an event, by their rule and key.

Each firing that waits, or stands in line, is a value of its own; here is only what leads to it, made
from the values alone. A look-up costs what it finds, however many others wait. Decides nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bridge.sdk import StateKey

FIRINGS = "$firing/"
"""What the rule names begin with under which firings are kept, those of each rule under its own."""
MOST_FIRINGS = 10_000
"""Of one rule that may wait or stand in line."""
MOST_BYTES = 64 * 1024 * 1024
"""Of all of them together, as JSON. Both bounds are there for the memory of the machine alone."""
_NONE: Mapping[StateKey, Any] = {}


def firing_key(place: StateKey, firing: str) -> StateKey:
    """Return where a firing of a rule and key is kept."""
    return StateKey(f"{FIRINGS}{place.rule}", f"{place.key}/{firing}")


def place_of(filed: StateKey) -> StateKey:
    """Return where the value of a firing's rule and key is."""
    return StateKey(filed.rule.removeprefix(FIRINGS), filed.key.rpartition("/")[0])


class Held(NamedTuple):
    """What of a firing's value leads to it."""

    number: int
    size: int
    begun: bool
    orders: tuple[str, ...]
    hears: bool


def held(value: Mapping[str, Any]) -> Held:
    """Read what leads to a firing. Raises AttributeError, KeyError, TypeError or ValueError if that makes no sense."""
    orders, begun = tuple(value.get("orders", ())), {int(index) for index in value["waiting"]}
    return Held(int(value["number"]), int(value["size"]), bool(begun), orders, "hears" in value)


class Waiting:
    """All firings that wait. Those of one rule and key are in the order in which they began to."""

    def __init__(self) -> None:
        self._begun: dict[StateKey, OrderedDict[StateKey, int]] = {}
        self._line: dict[StateKey, OrderedDict[StateKey, int]] = {}
        self._orders: dict[str, dict[StateKey, None]] = {}
        self._hearing: dict[str, dict[StateKey, dict[StateKey, int]]] = {}
        """By rule and then by place, where steps wait for an event."""
        self._of_rule: dict[str, tuple[int, int]] = {}
        """How many there are of a rule, and their bytes."""

    def note(self, filed: StateKey, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        """Take note of a value that was replaced."""
        before, after = held(old) if old else None, held(new) if new else None
        if before is not None:
            self._forget(filed, before, stays=after is not None and _place(after) == _place(before))
        if after is not None:
            self._add(filed, after)
        count, size = self._of_rule.pop(filed.rule, (0, 0))
        count += (after is not None) - (before is not None)
        if count:
            self._of_rule[filed.rule] = count, size + (after.size if after else 0) - (before.size if before else 0)

    def _add(self, filed: StateKey, one: Held) -> None:
        place = place_of(filed)
        (self._begun if one.begun else self._line).setdefault(place, OrderedDict())[filed] = one.number
        for order in one.orders:
            self._orders.setdefault(order, {})[filed] = None
        if one.hears:
            self._hearing.setdefault(place.rule, {}).setdefault(place, {})[filed] = one.number

    def _forget(self, filed: StateKey, one: Held, *, stays: bool) -> None:
        """Take a firing out of what leads to it; one that `stays` keeps its place among those of its key."""
        place = place_of(filed)
        if not stays:
            _take_out(self._begun if one.begun else self._line, place, filed)
        for order in one.orders:
            _take_out(self._orders, order, filed)
        if one.hears:
            of_rule = self._hearing[place.rule]
            _take_out(of_rule, place, filed)
            if not of_rule:
                del self._hearing[place.rule]

    # --- look-ups -----------------------------------------------------------------------------------

    def begun(self, place: StateKey) -> Sequence[StateKey]:
        """Return the firings of a rule and key whose steps wait, first the one that began first."""
        return tuple(self._begun.get(place, _NONE))

    def is_begun(self, place: StateKey) -> bool:
        """Tell whether steps of some firing of a rule and key wait."""
        return place in self._begun

    def first_in_line(self, place: StateKey) -> StateKey | None:
        """Return who is next to begin."""
        return next(iter(self._line.get(place, _NONE)), None)

    def next_number(self, place: StateKey) -> int:
        """Return the number of the next firing of a rule and key: one more than that of the last one still there."""
        last = self._line.get(place) or self._begun.get(place)
        return last[next(reversed(last))] + 1 if last else 0

    def of_rule(self, rule: str) -> tuple[int, int]:
        """Return how many firings of a rule there are, and how many bytes they take."""
        return self._of_rule.get(f"{FIRINGS}{rule}", (0, 0))

    def for_order(self, order: str) -> Sequence[StateKey]:
        """Return the firings that wait for the end of an order."""
        return tuple(self._orders.get(order, ()))

    @property
    def hears(self) -> bool:
        """Some step waits for an event."""
        return bool(self._hearing)

    def is_hearing(self, rule: str) -> bool:
        """Tell whether steps of some firing of a rule wait for an event."""
        return rule in self._hearing

    def hearing(self, rule: str, place: StateKey | None = None) -> Sequence[StateKey]:
        """Return the firings of a rule, or of one of its keys, with steps that wait for an event."""
        places = self._hearing.get(rule, {})
        chosen = sorted(places) if place is None else [place] if place in places else []
        return [filed for one in chosen for filed, _ in sorted(places[one].items(), key=_by_number)]


def _place(one: Held) -> tuple[bool, int]:
    return one.begun, one.number


def _by_number(one: tuple[StateKey, int]) -> int:
    return one[1]


def _take_out(table: dict[Any, Any], key: Any, filed: StateKey) -> None:
    """Take a firing out of a row, and a row that is empty then out of its table."""
    row = table[key]
    del row[filed]
    if not row:
        del table[key]
