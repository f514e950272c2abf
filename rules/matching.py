"""The `match` of a rule: from what the user wrote to tests, one for each question however many rules ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rules.conditions import DISTANCE, OPERATORS, Like, Lists, Test, inverse
from rules.fields import Field
from rules.moment import Moment
from rules.plates import DEFAULT_DISTANCE
from rules.report import Spot, unknown_key


class Unlike(Test):
    """At least one of some tests does not hold: what was true is not true any more."""

    __slots__ = ("_tests",)

    def __init__(self, tests: Sequence[Test]) -> None:
        wanted = " and ".join(f"{test.name} {test.wanted}" for test in tests)
        exact = all(test.exact for test in tests)
        asks = inverse(frozenset().union(*(test.asks for test in tests)))
        super().__init__(tests[0].field, f"not {wanted}", lambda value, moment: False, exact=exact, asks=asks)
        self._tests = tuple(tests)

    def holds(self, moment: Moment) -> bool:
        """Tell whether any of them does not hold."""
        return not all(moment.holds(test) for test in self._tests)


class Conditions:
    """Makes tests, and hands out the same one for the same question."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._made: dict[Any, Test] = {}

    def read(self, field: Field, value: Any, spot: Spot) -> list[Test]:
        """Return the tests that a `match` entry stands for; reports what is wrong with it."""
        if not isinstance(value, dict):
            name = "in" if isinstance(value, list) else "equals"
            return self._one(field, name, value, spot)
        if not value:
            spot.problem(f"`{field.path}`: say what it must be, for instance {{equals: ...}}")
        tests: list[Test] = []
        for name, argument in value.items():
            if name == "like":
                distance = value.get(DISTANCE, DEFAULT_DISTANCE)
                tests += self._one(field, name, Like(argument, distance), spot / name)
            elif name == DISTANCE and "like" in value:
                continue
            elif name in OPERATORS:
                tests += self._one(field, name, argument, spot / name)
            else:
                (spot / name).problem(f"`{field.path}`: {_unknown_operator(name)}", key=True)
        if why := _never(field, value, tests):
            spot.pointless(f"`{field.path}`: {why}, so nothing ever matches")
        return tests

    def _one(self, field: Field, name: str, argument: Any, spot: Spot) -> list[Test]:
        key = (field, name, _frozen(argument))
        if key not in self._made:
            try:
                self._made[key] = OPERATORS[name](field, argument, self._lists)
            except ValueError as error:
                spot.problem(f"`{field.path}`: {error}")
                return []
        return [self._made[key]]


def _never(field: Field, value: dict[str, Any], tests: Sequence[Test]) -> str | None:
    """Return why no value passes all tests of an entry; None if one may."""
    if value.get("exists") is False and len(tests) > 1:
        return "what is absent passes nothing but `exists: false`"
    low = next((test for test in tests if test.shape == "lower"), None)
    high = next((test for test in tests if test.shape == "upper"), None)
    if low is None or high is None or field.many or high.bound >= low.bound:
        return None
    return f"nothing is {low.wanted} and {high.wanted}"


def _unknown_operator(name: str) -> str:
    if name == DISTANCE:
        return "`distance` belongs beside `like`: {like: 12AB345, distance: 1}"
    return unknown_key(name, OPERATORS).replace("unknown key", "unknown operator")


def _frozen(argument: Any) -> Any:
    if isinstance(argument, Like):
        return tuple(map(_frozen, argument))
    if isinstance(argument, dict):
        return tuple((key, _frozen(value)) for key, value in sorted(argument.items()))
    if isinstance(argument, list):
        return tuple(map(_frozen, argument))
    return (type(argument), argument)  # 1, 1.0 and true are equal in Python, not in a rule
