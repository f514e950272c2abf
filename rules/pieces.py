"""Parts of files put together into a rule, each still knowing where it was written.

Nothing is copied beforehand: a part that is asked for its place is looked up by the way it came. How much may come
out is bounded, because templates that hand on their inputs twice grow without end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.sdk import Mark, Problem, YamlFile, YamlKey, YamlPath
from rules.inserts import filled, whole
from rules.parts import MAX_TEXT
from rules.report import Report, Spot

MAX_RESULT = 4 * MAX_TEXT
"""Characters of a text with inputs put in."""


class TooMuchError(Exception):
    """More values than may be put together."""


class UnfitError(ValueError):
    """An input cannot stand where the body has it."""

    def __init__(self, place: Spot, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Budget:
    """How many values may still be put together."""

    left: int

    def take(self, count: int = 1) -> None:
        """Use some of it. Raises TooMuchError."""
        self.left -= count
        if self.left < 0:
            raise TooMuchError


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a file. In the body of a template `scope` has what `$name` stands for; elsewhere `$` is a letter."""

    report: Report
    path: YamlPath
    scope: Mapping[str, Piece] | None = None
    values: Mapping[str, Any] | None = None

    def expanded(self, budget: Budget) -> Any:
        """Return the value with all inputs put in. Raises TooMuchError, UnfitError."""
        return self._fill(self.report.root.at(self.path), self.path, budget)

    def _fill(self, value: Any, path: YamlPath, budget: Budget) -> Any:
        budget.take()
        if isinstance(value, dict):
            return {key: self._fill(item, (*path, key), budget) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*path, number), budget) for number, item in enumerate(value)]
        if self.values is None or not isinstance(value, str) or "$" not in value:
            return value
        name = whole(value)
        if name is not None:
            budget.take(_size(self.values[name]))
            return self.values[name]
        try:
            text = filled(value, self.values, cel=path[-1] == "if")
            if len(text) > MAX_RESULT:
                raise ValueError(f"with its inputs this has {len(text)} characters, at most {MAX_RESULT}")
        except ValueError as error:
            raise UnfitError(self.report.at(path), str(error)) from error
        return text

    def below(self, *path: YamlKey) -> Piece:
        """Return a part of it."""
        return Piece(self.report, (*self.path, *path), self.scope, self.values)

    def find(self, rest: Sequence[YamlKey] = (), *, key: bool = False) -> tuple[Report, YamlPath]:
        """Return where the part at a path below was written, or (which may be elsewhere) its key."""
        path = self.path
        for number in range(len(rest) + (not key)):
            name = whole(self.report.root.at(path)) if self.scope is not None else None
            if name is not None and self.scope is not None:
                return self.scope[name].find(rest[number:], key=key)
            path = (*self.path, *rest[: number + 1])
        return self.report, path


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


class MadeRule(Report):
    """A rule that was put together, and what is wrong with it. Paths are those of the rule.

    Its problems stand where the text was written; `asides` say of each how that place and the use belong together.
    """

    def __init__(
        self, use: Spot, template: str, value: Mapping[str, Any], body: Piece, own: Mapping[str, Piece]
    ) -> None:
        super().__init__(YamlFile(use.file, value))
        self.use, self.template = use, template
        self._body, self._own = body, own
        self.asides: dict[Problem, str] = {}

    def position(self, path: YamlPath, *, key: bool = False) -> Mark:
        """Return where something was written."""
        report, at = self._written(path, key)
        return report.position(at, key=key)

    def make(self, path: YamlPath, where: str, message: str, *, key: bool = False) -> Problem:
        """Return a problem where it was written."""
        report, at = self._written(path, key)
        problem = report.make(at, where, message, key=key)
        self.asides[problem] = self._aside(path, report, at)
        return problem

    def _aside(self, path: YamlPath, report: Report, at: YamlPath) -> str:
        body = self._body
        if not path or path[0] in self._own:
            return ""
        if report is body.report and at[: len(body.path)] == body.path:
            return f"in template {self.template}, used in {self.use.file} line {self.use.line}"
        line = body.report.position((*body.path, *path)).line
        return f"as template {self.template} has it in {body.report.file} line {line}"

    def _written(self, path: YamlPath, key: bool) -> tuple[Report, YamlPath]:
        if not path:
            return self.use.report, self.use.path
        if path[0] in self._own:
            return self._own[str(path[0])].find(path[1:])
        return self._body.find(path, key=key)


def template_of(rule: Spot) -> str | None:
    """Return the template that a rule was made from."""
    return rule.report.template if isinstance(rule.report, MadeRule) else None
