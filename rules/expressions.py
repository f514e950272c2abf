"""CEL, made safe: expressions are measured and understood before they are compiled, and bounded when they run.

CEL has no loops but its macros, and no budget: so macros may not stand inside macros, there may be
only a few, and an event too large to look at is not shown to an expression at all. Unknown names,
functions and fields are found here, at load, because CEL itself notices them only when it runs.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn, get_args

import cel
from pydantic import JsonValue

from bridge.sdk import VmsEvent, unknown
from rules.fields import model_fields

MAX_LENGTH = 2000
MAX_NESTING = 24
MAX_MACROS = 4
MAX_LIST = 1000
MAX_VALUES = 5000
"""Of one event. Four macros and `in` over lists of this size stay within a few milliseconds."""

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
FUNCTIONS = frozenset(
    {"state", "local", "has", "size", "contains", "startsWith", "endsWith", "matches", "string", "int", "uint"}
    | {"double", "bytes", "bool", "timestamp", "duration", "type", "dyn", "max", "min", "getFullYear", "getMonth"}
    | {"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds"}
    | {"getMilliseconds"}
)
TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
_WORDS = frozenset({"true", "false", "null", "in"})

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<text>[bB]?[rR]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\d[0-9a-fA-FxX.uU]*(?:[eE][+-]?\d+)?)
    |(?P<mark>&&|\|\||[<>=!]=|.)""",
    re.VERBOSE | re.DOTALL,
)


class ExpressionError(Exception):
    """An expression gave no answer for this event: a value is absent, or of another type."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may look at: names, and the kind's payload model if it is known."""

    names: frozenset[str] = frozenset({"event", "key", "rule"})
    data: Any = None
    steps: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Refused(ValueError):  # noqa: N818 - internal; the compiler shows the sentence
    pass


# --- before: is it small, flat and about things that exist? -------------------------------------------


def _tokens(text: str) -> list[_Token]:
    found = (_Token(str(match.lastgroup), match[0], match.start()) for match in _TOKEN.finditer(text))
    return [token for token in found if token.kind != "space"]


def template_end(text: str, start: int) -> int | None:
    """Return where `}}` ends the expression that begins at `start`; None if nowhere."""
    depth, position = 0, start
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            if depth == 0:
                return position if text.startswith("}}", position) else None
            depth -= 1
        position = match.end()
    return None


class _Scan:
    """One walk over the tokens: brackets, macros, names, fields."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._tokens = _tokens(text)
        self._scope = scope
        self._open: list[tuple[str, str | None, str | None]] = []
        """Open brackets, with the macro and its variable where they are a macro's."""
        self._macros = 0
        self.names: set[str] = set()
        self.entities: set[str] = set()
        """Entities that `state()` is asked about by name."""

    def run(self) -> None:
        for position, token in enumerate(self._tokens):
            if token.kind == "name" and token.text not in _WORDS:
                self._name(position, token)
            elif token.text in {"(", "[", "{"} and token.kind == "mark":
                self._enter(position, token)
            elif token.text in {")", "]", "}"} and token.kind == "mark" and self._open:
                self._open.pop()
            elif token.text in {"'", '"'}:
                raise _Refused(f"at character {token.at + 1}: a text that does not end")

    def _at(self, position: int) -> _Token:
        inside = 0 <= position < len(self._tokens)
        return self._tokens[position] if inside else _Token("end", "", 0)

    def _enter(self, position: int, token: _Token) -> None:
        before = self._at(position - 1)
        macro = variable = None
        if token.text == "(" and before.text in MACROS and self._at(position - 2).text == ".":
            macro, variable = before.text, self._at(position + 1).text
            if any(entry[1] for entry in self._open):
                raise _Refused(f"`{macro}` inside another macro is not allowed: its cost has no bound")
            self._macros += 1
            if self._macros > MAX_MACROS:
                raise _Refused(f"more than {MAX_MACROS} macros ({', '.join(sorted(MACROS))}) in one expression")
        self._open.append((token.text, macro, variable))
        if len(self._open) > MAX_NESTING:
            raise _Refused(f"nested deeper than {MAX_NESTING} brackets")

    def _name(self, position: int, token: _Token) -> None:
        if self._at(position - 1).text == ".":
            if self._at(position + 1).text == "(":
                self._function(token.text, MACROS | FUNCTIONS)
            return
        if self._at(position + 1).text == "(":
            self._function(token.text, FUNCTIONS)
            if token.text == "state" and self._at(position + 2).kind == "text" and self._at(position + 3).text == ",":
                self.entities.add(self._at(position + 2).text[1:-1])
            return
        if self._at(position + 1).text == "{":
            raise _Refused(f"unknown type {token.text!r}")
        bound = {variable for _, _, variable in self._open if variable}
        if token.text in bound or token.text in TYPES:
            return
        if token.text not in self._scope.names:
            raise _Refused(unknown("name", token.text, sorted(self._scope.names)))
        self.names.add(token.text)
        self._path(position, token.text)

    @staticmethod
    def _function(name: str, known: frozenset[str]) -> None:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see the rules guide for those that exist"
            raise _Refused(f"unknown function {name!r}; {hint}")

    def _path(self, position: int, name: str) -> None:
        """Check `event.data.plate` and `steps.entry` against what exists."""
        path: list[str] = []
        while self._at(position + 1).text == "." and self._at(position + 2).kind == "name":
            if self._at(position + 3).text == "(":
                break
            path.append(self._at(position + 2).text)
            position += 2
        if name == "steps" and path and path[0] not in self._scope.steps:
            raise _Refused(unknown("step in `with`", path[0], sorted(self._scope.steps)))
        if name == "event" and path:
            self._event_path(path)

    def _event_path(self, path: Sequence[str]) -> None:
        known = model_fields(VmsEvent)
        if path[0] not in known:
            raise _Refused(unknown("attribute of event", path[0], sorted(known)))
        model = self._scope.data
        if path[0] != "data" or model is None or model.model_config.get("extra") == "allow":
            return
        for depth, part in enumerate(path[1:]):
            names = model_fields(model)
            if not names:
                return
            if part not in names:
                inside = ".".join(["event", *path[: depth + 1]])
                raise _Refused(unknown(f"field of {inside}", part, sorted(names)))
            model = _bare(names[part])


def _bare(annotation: Any) -> Any:
    models = [one for one in (annotation, *get_args(annotation)) if model_fields(one)]
    return models[0] if models else None


# --- the expression itself ---------------------------------------------------------------------------


class Expression:
    """A compiled expression: the variables it looks at, and the entities it asks `state()` about by name."""

    __slots__ = ("_program", "entities", "names", "text")

    def __init__(self, text: str, scope: Scope) -> None:
        """Compile. Raises ValueError with a sentence for the user."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        scan = _Scan(text, scope)
        scan.run()
        self.text, self.names, self.entities = text, frozenset(scan.names), frozenset(scan.entities)
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            raise ValueError(_parse_error(text, error)) from error
        except BaseException as error:  # the parser's panics are no Exceptions
            _not_ours(error)
            raise ValueError("cannot be read as CEL") from error

    @property
    def about_event_alone(self) -> bool:
        """The answer depends on nothing but the event and the known state: it can be shared between rules."""
        return self.names <= {"event"}

    def evaluate(self, context: cel.Context) -> Any:
        """Return what it comes to, as JSON. Raises ExpressionError."""
        try:
            return as_json(self._program.execute(context))
        except ExpressionError:
            raise
        except KeyError as error:
            raise ExpressionError(f"{error.args[0]!r} is absent" if error.args else "a value is absent") from error
        except Exception as error:
            raise ExpressionError(_first_line(error)) from error
        except BaseException as error:
            _not_ours(error)
            raise ExpressionError("could not be evaluated") from error


def _not_ours(error: BaseException) -> None:
    """Pass on what has nothing to do with CEL: an interrupt, an exit."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise error


def _parse_error(text: str, error: ValueError) -> str:
    found = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)", str(error))
    if not text.strip():
        return "is empty"
    if found is None:
        return "cannot be read as CEL"
    return f"at character {found[2]}: {found[3][:200]}"


def _first_line(error: Exception) -> str:
    return f"{str(error).partition(chr(10))[0][:200] or type(error).__name__}"


def as_json(value: Any) -> JsonValue:
    """Return a CEL value as JSON with sorted keys: CEL's maps come in no defined order. Raises ExpressionError."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"{value} is not a number that JSON knows")
        return value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(value[key]) for key in sorted(value, key=str)} if _texts(value) else _bad(value)
    return _bad(value)


def _texts(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in value)


def _bad(value: Any) -> NoReturn:
    raise ExpressionError(f"a {type(value).__name__} cannot be written as JSON")


# --- what it looks at ----------------------------------------------------------------------------------

StateOf = Callable[[str, str], JsonValue]
"""`state(entity, attribute)`: the known value, or None."""


def event_variable(event: VmsEvent) -> dict[str, Any]:
    """Return the event as expressions see it. Raises ExpressionError if it is too large to look at."""
    value = event.model_dump(mode="json")
    _measure(value["data"])
    return value


def _measure(value: Any) -> None:
    seen, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        seen += 1
        if isinstance(item, (dict, list)):
            if len(item) > MAX_LIST or seen > MAX_VALUES:
                raise ExpressionError(f"the event's data is too large for an expression (lists up to {MAX_LIST})")
            waiting.extend(item.values() if isinstance(item, dict) else item)


class EventContext:
    """Contexts for the expressions of one event; the costly part, the event itself, is converted once."""

    def __init__(self, event: VmsEvent, state: StateOf, local: Callable[[str], str]) -> None:
        self._event, self._state, self._local = event, state, local
        self._context: cel.Context | None = None
        self._results: dict[str, Any] = {}

    def evaluate(
        self, expression: Expression, *, rule: str, key: str, steps: Mapping[str, Any] | None = None
    ) -> JsonValue:
        """Return what an expression comes to. Raises ExpressionError."""
        if expression.about_event_alone and expression.text in self._results:
            return self._settle(self._results[expression.text])
        context = self._prepared()
        if expression.names & {"key", "rule", "steps"}:
            context.update({"rule": rule, "key": key, "steps": dict(steps or {})})
        result: Any
        try:
            result = expression.evaluate(context)
        except ExpressionError as error:
            result = error
        if expression.about_event_alone:
            self._results[expression.text] = result
        return self._settle(result)

    @staticmethod
    def _settle(result: Any) -> JsonValue:
        if isinstance(result, ExpressionError):
            raise result
        return result  # type: ignore[no-any-return]

    def _prepared(self) -> cel.Context:
        if self._context is None:
            variable = event_variable(self._event)
            self._context = cel.Context({"event": variable}, {"state": self._state, "local": self._local})
        return self._context
