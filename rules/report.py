"""What is wrong in a rule file, said at the right place. Collects; refuses nothing by itself.

A model's errors are turned into sentences, and the parts they concern are taken out, so that what
is left can still be checked: a user sees all mistakes of a file at once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from bridge.sdk import Mark, Problem, YamlFile, YamlKey, YamlPath, nearest, shortened
from rules.parts import NAME_PATTERN

M = TypeVar("M", bound=BaseModel)
_ROUNDS = 4
_HERE: Any = object()
_NOTHING: Mapping[str, Any] = {}
_KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "datetime_type": "a time",
    "datetime_parsing": "a time",
    "datetime_from_date_parsing": "a time",
    "timezone_aware": "a time with its offset",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
}
"""What pydantic's type errors want, in words."""


ENOUGH = 200
"""Problems of one file after which no further parts of it are read: a file can be made of nothing else."""


class Report:
    """The problems and warnings of one file."""

    def __init__(self, root: YamlFile, *, accepted: bool = False) -> None:
        self.file, self.root, self.accepted = root.file, root, accepted
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def at(self, path: Sequence[YamlKey], where: str = "") -> Spot:
        """Return a place to report at."""
        return Spot(self, tuple(path), where)

    @property
    def full(self) -> bool:
        """There are problems enough; what else is wrong is told when these are mended."""
        return len(self.problems) >= ENOUGH

    def position(self, path: YamlPath, *, key: bool = False) -> Mark:
        """Return where something stands in the file."""
        return self.root.position(path, key=key)

    def make(self, path: YamlPath, where: str, message: str, *, key: bool = False) -> Problem:
        """Return a problem with what is at a path."""
        line, column = self.position(path, key=key)
        return Problem(self.file, line, column, where, message)


class Spot:
    """A place in a file, and the rule or part it belongs to."""

    __slots__ = ("_report", "path", "where")

    def __init__(self, report: Report, path: tuple[YamlKey, ...], where: str) -> None:
        self._report, self.path, self.where = report, path, where

    def __truediv__(self, key: YamlKey) -> Spot:
        return Spot(self._report, (*self.path, key), self.where)

    def named(self, where: str) -> Spot:
        """Return the same place under another name."""
        return Spot(self._report, self.path, where)

    @property
    def value(self) -> Any:
        """What the file says here."""
        return self._report.root.at(self.path)

    def problem(self, message: str, *, key: bool = False) -> None:
        """Report an error at the value here, or at its key."""
        self._report.problems.append(self._report.make(self.path, self.where, message, key=key))

    def pointless(self, message: str, *, key: bool = False) -> None:
        """Report what can be told to have no effect: an error, but none in rules that decided before it was told."""
        (self.warning if self._report.accepted else self.problem)(message, key=key)

    def warning(self, message: str, *, key: bool = False) -> None:
        """Report something odd that does not stop the file from being used."""
        self._report.warnings.append(self._report.make(self.path, self.where, message, key=key))

    def below(self, path: Sequence[YamlKey]) -> Spot:
        """Return the place at a path below this one."""
        return Spot(self._report, (*self.path, *path), self.where)

    @property
    def problems(self) -> int:
        """How many problems the file has so far."""
        return len(self._report.problems)

    @property
    def line(self) -> int:
        """The line in the file."""
        return self._report.position(self.path).line

    @property
    def file(self) -> str:
        """The file."""
        return self._report.file

    @property
    def report(self) -> Report:
        """What is wrong in that file."""
        return self._report

    def has(self, problem: Problem) -> bool:
        """Tell whether a problem is one with the value here."""
        own = self._report.make(self.path, self.where, "")
        return (problem.file, problem.line, problem.column) == (own.file, own.line, own.column)

    def read(
        self,
        model: type[M],
        *,
        value: Any = _HERE,
        defaults: Mapping[str, Any] = _NOTHING,
        ignore: frozenset[YamlPath] = frozenset(),
    ) -> M | None:
        """Return what is here as a model; None if too little of it can be understood. Reports what is wrong.

        `value` is checked instead of what the file says, and reported here. `defaults` stand in for
        required fields that are missing, so that the rest can be looked at. Nothing is reported for
        what is at one of the `ignore`d paths.
        """
        value = self.value if value is _HERE else value
        if not isinstance(value, dict):
            self.problem(f"must be a mapping, got {shown(value)}")
            return None
        value = copy.deepcopy(value)
        pruned: list[YamlPath] = []
        for _ in range(_ROUNDS):
            try:
                return model.model_validate(value)
            except ValidationError as error:
                items = [(_in_value(value, item["loc"]), item) for item in error.errors(include_url=False)]
            told = [(path, item) for path, item in items if not any(path[: len(one)] == one for one in ignore)]
            told = [(path, item) for path, item in told if not _follows(path, item, [other for other, _ in told])]
            for path, item in told:
                # What was taken out is missed by the whole it belongs to; that is our doing, not the user's.
                if not any(one[: len(path)] == path and len(one) > len(path) for one in pruned):
                    self._tell(model, path, item)
            pruned += [path for path, _ in told]
            left = [_prune(value, path, item, defaults) for path, item in told]
            if not told or not all(left):
                return None
        return None

    def _tell(self, model: type[BaseModel], path: YamlPath, item: Any) -> None:
        spot, name = self.below(path), ".".join(map(str, path))
        match item["type"]:
            case "extra_forbidden":
                spot.problem(unknown_key(str(path[-1]), _names(model, path[:-1])), key=True)
            case "missing":
                spot.problem(f"`{item['loc'][-1]}` is missing" + (f" in `{name}`" if name else ""))
            case _:
                spot.problem(f"`{name}`: {sentence(item)}" if name else sentence(item))


def named_rule(spot: Spot, number: int) -> Spot:
    """Return the place of a rule under the name that messages give it."""
    written = spot.value.get("id") if isinstance(spot.value, dict) else None
    return spot.named(f"rule {shortened(written)}" if isinstance(written, str) else f"rule #{number + 1}")


def _follows(path: YamlPath, item: Any, others: Iterable[YamlPath]) -> bool:
    """Tell whether a list is only too short because some of its items are wrong, which is told by itself."""
    return item["type"] == "too_short" and any(one[: len(path)] == path and len(one) > len(path) for one in others)


def _in_value(value: Any, loc: Sequence[YamlKey]) -> YamlPath:
    """Return the part of a pydantic location that exists; the rest is its own names of alternatives."""
    path: list[YamlKey] = []
    for key in loc:
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if key in keys:
            value = value[key]
            path.append(key)
    return tuple(path)


def _prune(value: Any, path: YamlPath, item: Any, defaults: Mapping[str, Any]) -> bool:
    """Take out what an error is about, or put a default in its place. False if nothing is left to look at."""
    missing = item["type"] == "missing"
    if not path:
        name = str(item["loc"][-1]) if missing else ""
        if name not in defaults:
            return False
        value[name] = defaults[name]
        return True
    first, rest = str(path[0]), path[1:]
    if rest and not missing and isinstance(value.get(first), dict):
        return _prune(value[first], rest, item, _NOTHING)
    if first in defaults:
        value[first] = defaults[first]
    else:
        value.pop(first, None)
    return True


def _names(model: Any, path: Sequence[YamlKey]) -> list[str]:
    """Return the keys that may stand at a path below a model, of all alternatives together."""
    models = [model]
    for key in path:
        following: list[Any] = []
        for one in models:
            fields = {info.alias or name: info for name, info in one.model_fields.items()}
            if isinstance(key, int):
                following.append(one)
            elif key in fields:
                following.extend(_models_in(fields[key].annotation))
        models = following
    return sorted({info.alias or name for one in models for name, info in one.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the sentence for a key that does not belong here."""
    names = sorted(known)
    near = nearest(key, names)
    hint = f"did you mean `{near}`?" if near else f"known: {', '.join(names) or 'none'}"
    return f"unknown key `{shortened(key)}`; {hint}"


def shown(value: Any) -> str:
    """Return a value as a user would recognise it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def sentence(item: Any) -> str:
    """Return a pydantic error as a sentence."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, got {shown(item['input'])}"
    if kind == "literal_error":
        return f"must be {context['expected']}, got {shown(item['input'])}"
    if kind == "string_pattern_mismatch" and context.get("pattern") != NAME_PATTERN:
        return f"{shown(item['input'])} is not written as it is here; see the examples in the rules guide"
    if kind == "string_pattern_mismatch":
        return f"{shown(item['input'])} is not a name; use letters, digits, `-`, `_` and `.`, at most 64"
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty"
    return f"{item['msg'][0].lower()}{item['msg'][1:]}, got {shown(item['input'])}"
