"""What `match` can ask of a field: one function for each operator, and the checks that stop mistakes at load.

A test is made once and shared by all rules that ask the same; it also says how the index may find
it (equality, membership, bounds). An absent field fails every test but `exists: false`; a field
with several values passes when one of them does, `not_in` when none is in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from bridge.sdk import canonical_plate, parse_moment, unknown
from rules.fields import Field, Type
from rules.lists import ValueList
from rules.moment import Moment
from rules.plates import DEFAULT_DISTANCE, FAR_ENTRIES, MAX_DISTANCE, Looks
from rules.regex import MAX_SUBJECT
from rules.regex import pattern as pattern_of
from rules.report import shown


class Like(NamedTuple):
    """What something should be like, and within how many slips."""

    written: Any
    distance: Any = DEFAULT_DISTANCE


Check = Callable[[Any, Moment], bool]
Shape = Literal["equal", "member", "lower", "upper", "other"]


class Test:
    """One question about one field, shared by every rule that asks it. `wanted` is it in words."""

    __slots__ = ("_absent", "_check", "asks", "bound", "exact", "field", "name", "shape", "values", "wanted")
    __test__ = False

    def __init__(
        self,
        field: Field,
        wanted: str,
        check: Check,
        *,
        shape: Shape = "other",
        values: frozenset[Any] = frozenset(),
        bound: Any = None,
        absent: bool = False,
        exact: bool = True,
        asks: frozenset[tuple[str, bool]] = frozenset(),
    ) -> None:
        self.field, self.wanted, self._check, self._absent = field, wanted, check, absent
        self.name = f"match.{field.path}"
        self.shape: Shape = shape
        self.values, self.bound = values, bound
        self.exact = exact
        """What passes is what was asked for, and not only like it."""
        self.asks = asks
        """The named lists that decide, and whether what is in them passes, or what is not."""

    def holds(self, moment: Moment) -> bool:
        """Tell whether it holds."""
        value = moment.value(self.field)
        if value is None or value == []:
            return self._absent
        return self._check(value, moment)

    def answer(self, value: Any) -> bool | None:
        """Tell whether it holds for a value whenever that comes; None where more than the value decides."""
        if value is None:
            return self._absent
        if isinstance(value, (dict, list)):
            return None
        if self.shape == "equal":
            return token(self.field, value) in self.values
        if self.shape in {"lower", "upper"} and _is_number(value) and _is_number(self.bound):
            return bool(value >= self.bound if self.shape == "lower" else value <= self.bound)
        return None


class Lists:
    """The named lists that conditions may use, and which of them they did."""

    def __init__(self, lists: Mapping[str, ValueList]) -> None:
        self._lists = lists
        self.used: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Every name."""
        return sorted(self._lists)

    def get(self, name: str) -> ValueList | None:
        """Return a list and remember that it is used."""
        self.used.add(name)
        return self._lists.get(name)


# --- values ----------------------------------------------------------------------------------------


def token(field: Field, value: Any) -> Any:
    """Return a value as sets and the index compare it: in free JSON `true` must not equal 1."""
    if field.type is not Type.ANY:
        return value
    if isinstance(value, (dict, list)):
        return None
    return (isinstance(value, bool), value)


def _constant(field: Field, value: Any) -> Any:
    """Return a value of the file as the field's type. Raises ValueError with what the field holds."""
    if field.type is Type.TEXT:
        return _text(field, value)
    if field.type is Type.TIME:
        return _time(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if field.type is Type.NUMBER and not number:
        raise ValueError(f"it is a number, and {shown(value)} is not")
    if field.type is Type.BOOL and not isinstance(value, bool):
        raise ValueError(f"it is true or false, and {shown(value)} is neither")
    if isinstance(value, (dict, list)) or value is None:
        raise ValueError(f"cannot be compared with {shown(value)}; for absent write {{exists: false}}")
    return value


def _text(field: Field, value: Any) -> str:
    value = str(value) if type(value) is int else value
    if not isinstance(value, str):
        raise ValueError(f"it is text, and {shown(value)} is not; put it in quotes")
    if field.choices is not None and value not in field.choices:
        raise ValueError(unknown("value", value, sorted(field.choices)))
    if not field.plate:
        return value
    plate = canonical_plate(value)
    if not plate:
        raise ValueError("an empty plate matches nothing")
    return plate


def _time(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            moment = parse_moment(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment
    raise ValueError(f"it is a time, and {shown(value)} is not; write 2026-01-31T18:00:00+01:00")


def _ordered(field: Field, value: Any) -> Any:
    if field.type not in {Type.NUMBER, Type.TIME, Type.ANY}:
        raise ValueError(f"it is {field.type.value}, which has no order; only numbers and times have")
    if field.type is Type.ANY and not _is_number(value):
        raise ValueError(f"{shown(value)} is not a number")
    return _constant(field, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _show(values: Sequence[Any]) -> str:
    if len(values) > 8:
        return f"{', '.join(_say(value) for value in values[:8])}, ... ({len(values)})"
    return ", ".join(_say(value) for value in values)


def _say(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else shown(value)


def _any_of(field: Field, check: Check) -> Check:
    """Make a check of one value one of a field's values."""
    if not field.many:
        return check
    return lambda values, moment: any(check(value, moment) for value in values)


# --- operators -------------------------------------------------------------------------------------


def _equals(field: Field, argument: Any, lists: Lists) -> Test:
    if isinstance(argument, list):
        raise ValueError("`equals` takes one value; for several write `in`")
    return _among(field, f"equals {_say(argument)}", [argument])


def _among(field: Field, wanted: str, arguments: Sequence[Any]) -> Test:
    values = frozenset(token(field, _constant(field, value)) for value in arguments)
    check: Check = lambda value, moment: token(field, value) in values  # noqa: E731
    if field.type is not Type.ANY:
        check = lambda value, moment: value in values  # noqa: E731
    return Test(field, wanted, _any_of(field, check), shape="equal", values=values)


def _in(field: Field, argument: Any, lists: Lists) -> Test:
    if isinstance(argument, list):
        if not argument:
            raise ValueError("`in` must not be empty")
        return _among(field, f"in {_show(argument)}", argument)
    return _member(field, argument, lists)


def _member(field: Field, argument: Any, lists: Lists) -> Test:
    if field.type not in {Type.TEXT, Type.ANY}:
        raise ValueError(f"it is {field.type.value}; named lists hold texts")
    name, tag, found = _named_list(argument, lists)
    canonical = found.plates and not field.plate

    def check(value: Any, moment: Moment) -> bool:
        if not isinstance(value, str):
            return False
        key = canonical_plate(value) if canonical else value
        return found.has(key, moment, tag)

    wanted = f"in {name}" + (f" with tag {tag}" if tag else "")
    return Test(field, wanted, _any_of(field, check), shape="member", asks=frozenset({(name, True)}))


def _named_list(argument: Any, lists: Lists) -> tuple[str, str | None, ValueList]:
    name, tag = _list_reference(argument)
    found = lists.get(name)
    if found is None:
        raise ValueError(unknown("list", name, lists.names))
    if tag is not None and tag not in found.tags:
        raise ValueError(unknown(f"tag of list {name!r}", tag, sorted(found.tags)))
    return name, tag, found


def _list_reference(argument: Any) -> tuple[str, str | None]:
    if isinstance(argument, str):
        return argument, None
    if isinstance(argument, dict) and argument.keys() <= {"list", "tag"} and isinstance(argument.get("list"), str):
        return argument["list"], None if argument.get("tag") is None else str(argument["tag"])
    raise ValueError("takes the name of a list, {list: name, tag: text}, or values: [A, B]")


def _not_in(field: Field, argument: Any, lists: Lists) -> Test:
    inner = _in(field, argument, lists)
    return Test(field, f"not {inner.wanted}", lambda value, moment: not moment.holds(inner), asks=inverse(inner.asks))


def inverse(asks: frozenset[tuple[str, bool]]) -> frozenset[tuple[str, bool]]:
    """Return the lists that decide, the other way round."""
    return frozenset((name, not passes) for name, passes in asks)


def _at_least(field: Field, argument: Any, lists: Lists) -> Test:
    bound = _ordered(field, argument)
    check = _comparing(field, lambda value: value >= bound)
    return Test(field, f"at least {_say(argument)}", check, shape="lower", bound=bound)


def _at_most(field: Field, argument: Any, lists: Lists) -> Test:
    bound = _ordered(field, argument)
    check = _comparing(field, lambda value: value <= bound)
    return Test(field, f"at most {_say(argument)}", check, shape="upper", bound=bound)


def _between(field: Field, argument: Any, lists: Lists) -> Test:
    if not isinstance(argument, list) or len(argument) != 2:
        raise ValueError("`between` takes two values: [from, to], both included")
    low, high = (_ordered(field, value) for value in argument)
    if high < low:
        raise ValueError(
            f"`between` has its ends the wrong way round: {_say(argument[0])} is above {_say(argument[1])}"
        )
    check = _comparing(field, lambda value: low <= value <= high)
    return Test(field, f"between {_say(argument[0])} and {_say(argument[1])}", check)


def _comparing(field: Field, compare: Callable[[Any], bool]) -> Check:
    if field.type is Type.ANY:
        return _any_of(field, lambda value, moment: _is_number(value) and compare(value))
    return _any_of(field, lambda value, moment: compare(value))


def _glob(field: Field, argument: Any, lists: Lists) -> Test:
    if not isinstance(argument, str):
        raise ValueError(f"`glob` takes a text with * and ?, got {shown(argument)}")
    pattern = canonical_plate(argument) if field.plate else argument
    parts = {"*": ".*", "?": "."}
    compiled = pattern_of("".join(parts.get(char) or re.escape(char) for char in pattern))
    match: Callable[[str], bool | None] = compiled.fullmatch
    start = pattern[:-1]
    if pattern.endswith("*") and not set(start) & set("*?"):
        # Most globs look like this, and the way to RE2 and back costs more than all the rest of a rule.
        match = _starting(start)
    return Test(field, f"like {argument}", _matching(field, "glob", match))


def _starting(start: str) -> Callable[[str], bool | None]:
    return lambda value: value.startswith(start) or None


def _regex(field: Field, argument: Any, lists: Lists) -> Test:
    if not isinstance(argument, str):
        raise ValueError(f"`regex` takes a pattern, got {shown(argument)}")
    return Test(field, f"matching {argument}", _matching(field, "regex", pattern_of(argument).search))


def _matching(field: Field, name: str, match: Callable[[str], Any]) -> Check:
    if field.type not in {Type.TEXT, Type.ANY}:
        raise ValueError(f"it is {field.type.value}; `{name}` looks at texts")

    def check(value: Any, moment: Moment) -> bool:
        return isinstance(value, str) and len(value) <= MAX_SUBJECT and match(value) is not None

    return _any_of(field, check)


def _like(field: Field, argument: Any, lists: Lists) -> Test:
    if field.type not in {Type.TEXT, Type.ANY}:
        raise ValueError(f"it is {field.type.value}; `like` compares plates")
    written, distance = argument if isinstance(argument, Like) else Like(argument)
    if type(distance) is not int or not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(f"`distance` is 0 to {MAX_DISTANCE} slips of a reader, got {shown(distance)}")
    if isinstance(written, dict):
        return _like_listed(field, written, distance, lists)
    plates = [_some_plate(one) for one in (written if isinstance(written, list) else [written])]
    if not plates:
        raise ValueError("`like` must not be empty")
    looks = Looks(dict.fromkeys(plates))
    check: Check = lambda value, moment: isinstance(value, str) and bool(looks.like(value, distance))  # noqa: E731
    return Test(field, f"like {_show(plates)} within {distance}", _any_of(field, check), exact=False)


def _like_listed(field: Field, argument: Any, distance: int, lists: Lists) -> Test:
    name, tag, found = _named_list(argument, lists)
    if not found.plates:
        raise ValueError(f"list {name!r} holds texts; `like` compares plates")
    if distance > 1 and len(found) > FAR_ENTRIES:
        raise ValueError(
            f"list {name!r} holds {len(found)} plates; a distance of {distance} is for {FAR_ENTRIES} at most, "
            f"and of so many some would be like nearly every plate. With 1 there is no limit"
        )

    def check(value: Any, moment: Moment) -> bool:
        if not isinstance(value, str):
            return False
        near = (*found.looks.like(value, distance), *moment.like(name, value, distance))
        return any(found.has(one, moment, tag) for one in near)

    wanted = f"like one of {name}" + (f" with tag {tag}" if tag else "") + f" within {distance}"
    return Test(field, wanted, _any_of(field, check), exact=False, asks=frozenset({(name, True)}))


def _some_plate(value: Any) -> str:
    value = str(value) if type(value) is int else value
    if not isinstance(value, str):
        raise ValueError(f"`like` takes a plate, several, or {{list: name, tag: text}}, got {shown(value)}")
    if not canonical_plate(value):
        raise ValueError("an empty plate is like nothing")
    return canonical_plate(value)


def _exists(field: Field, argument: Any, lists: Lists) -> Test:
    if not isinstance(argument, bool):
        raise ValueError(f"`exists` is true or false, got {shown(argument)}")
    return Test(field, "present" if argument else "absent", lambda value, moment: argument, absent=not argument)


OPERATORS: dict[str, Callable[[Field, Any, Lists], Test]] = {
    "equals": _equals,
    "in": _in,
    "not_in": _not_in,
    "at_least": _at_least,
    "at_most": _at_most,
    "between": _between,
    "glob": _glob,
    "regex": _regex,
    "like": _like,
    "exists": _exists,
}
"""Every operator of `match`."""
DISTANCE = "distance"
"""Stands beside `like` and says how much."""
