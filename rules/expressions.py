"""CEL, made safe: expressions are measured and understood before they are compiled, and bounded when they run.

CEL has no loops but its macros, and no budget: so macros may not stand inside macros, there may be
only a few, and an event too large to look at is not shown to an expression at all. Unknown names,
functions and fields are found here, at load, because CEL itself notices them only when it runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn

import cel
from pydantic import JsonValue

from bridge.sdk import VmsEvent
from rules.celscan import MAX_LENGTH, Scan, Scope

MAX_LIST = 1000
MAX_VALUES = 5000
"""Of one event. Four macros and `in` over lists of this size stay within a few milliseconds."""


class ExpressionError(Exception):
    """An expression gave no answer for this event: a value is absent, or of another type."""


class Expression:
    """A compiled expression: the variables it looks at, and the entities it asks `state()` about by name."""

    __slots__ = ("_program", "entities", "names", "text")

    def __init__(self, text: str, scope: Scope) -> None:
        """Compile. Raises ValueError with a sentence for the user."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        scan = Scan(text, scope)
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

    def known(self, entity: str, attribute: str) -> JsonValue:
        """Return what is known of an entity, or None: what `state()` gives."""
        return self._state(entity, attribute)

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
