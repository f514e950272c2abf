"""CEL, made safe: expressions are measured and understood before they are compiled, and bounded when they run.

CEL has no loops but its macros, and no budget: so macros may not stand inside macros, there may be
only a few, and an expression that would cost too much on an event is not asked about it. Unknown names,
functions and fields are found here, at load, because CEL itself notices them only when it runs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

import cel
from pydantic import JsonValue

from bridge.sdk import VmsEvent
from rules.celcost import MAX_COST, Size
from rules.celscan import MAX_LENGTH, Scan, Scope
from rules.regex import MAX_WORK, pattern

MAX_VALUES = 5000
"""Of one event. What expressions may do with so many is bounded by their cost."""
MOST_LOOKED, LONGEST_LOOKED = 8, 80
"""Values of an expression that are told when it does not hold, and characters of each."""
MAX_MATCHING = 2 * MAX_WORK
"""Steps times bytes of all `matches` in one evaluation."""
_MATCHES = "re2fits"
"""Our `matches`, as long as the word: CEL's own compiles the pattern at each call, without any bound."""

_OF_THE_VALUE = ("Function '", "division by zero", "index out of bounds")
"""How CEL begins what it says of a value that is there, and of the right type."""


class ExpressionError(Exception):
    """An expression gave no answer for this event: a value is absent, or of another type."""


class UnfitError(ExpressionError):
    """A value does not fit the operation. CEL does not tell which, nor whether it is there at all."""


class Expression:
    """A compiled expression: the variables it looks at, and what it asks `state()` about by name.

    `notes` say what can never come of it, like a text that is compared with a number.
    """

    __slots__ = ("_limit", "_program", "_tally", "asked", "looked", "names", "notes", "text")

    def __init__(self, text: str, scope: Scope, *, condition: bool = False) -> None:
        """Compile. `condition`: it is to be true or false. Raises ValueError with a sentence for the user."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        scan = Scan(text, scope)
        try:
            scan.run()
        except ValueError as error:
            if not scan.wrong:
                raise
            raise ValueError("; ".join([str(error), *scan.pointless(condition=condition)])) from error
        self.text, self.names, self.asked = text, frozenset(scan.names), frozenset(scan.asked)
        self.notes = tuple(scan.pointless(condition=condition))
        self.looked = tuple(one for one in scan.looked if "matches" not in one)  # not with CEL's own, see _MATCHES
        self._tally, self._limit = scan.tally, -1  # worked out when the first event comes: most files hold many
        for at, written in scan.patterns:
            _check_pattern(written)
            text = f"{text[:at]}{_MATCHES}{text[at + len(_MATCHES) :]}"
        try:
            self._program = _program(text)
        except ValueError as error:
            raise ValueError(_parse_error(text, error)) from error
        except BaseException as error:  # the parser's panics are no Exceptions
            _not_ours(error)
            raise ValueError("cannot be read as CEL") from error

    @property
    def about_event_alone(self) -> bool:
        """The answer depends on nothing but the event and the known state: it can be shared between rules."""
        return self.names <= {"event"}

    def measure(self, size: Size) -> None:
        """Raise ExpressionError if looking at something of this size would take too long."""
        if self._limit < 0:
            self._limit = self._tally.limit()
        if size.most > self._limit and self._tally.cost(size) > MAX_COST:
            raise ExpressionError(f"would take too long on an event of {size.values} values; name less of it")

    def evaluate(self, context: cel.Context) -> Any:
        """Return what it comes to, as JSON. Raises ExpressionError."""
        return _answer(self._program, context)


def _answer(program: Any, context: cel.Context) -> Any:
    """Return what a program comes to, as JSON. Raises ExpressionError."""
    try:
        return as_json(program.execute(context))
    except ExpressionError:
        raise
    except KeyError as error:
        raise ExpressionError(f"{error.args[0]!r} is absent" if error.args else "a value is absent") from error
    except Exception as error:
        said = _first_line(error)
        raise (ExpressionError if said.startswith(_OF_THE_VALUE) else UnfitError)(said) from error
    except BaseException as error:
        _not_ours(error)
        raise ExpressionError("could not be evaluated") from error


def _not_ours(error: BaseException) -> None:
    """Pass on what has nothing to do with CEL: an interrupt, an exit."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise error


@lru_cache(maxsize=4096)
def _program(text: str) -> Any:
    """Compile: the costliest part of reading rules, and those of one template say much the same."""
    return cel.compile(text)


def _check_pattern(written: str) -> None:
    """Compile a pattern of `matches`. Raises ValueError."""
    try:
        wanted = cel.compile(written).execute(cel.Context({}))
    except BaseException as error:
        _not_ours(error)
        raise ValueError("the pattern of `matches` cannot be read") from error
    if not isinstance(wanted, str):
        raise ValueError("the pattern of `matches` is a text")
    pattern(wanted)


def _parse_error(text: str, error: ValueError) -> str:
    found = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)", str(error))
    if not text.strip():
        return "is empty"
    if found is None:
        return "cannot be read as CEL"
    if "Recursion limit" in found[3]:
        return f"at character {found[2]}: nested too deeply; split it into several rules, or use `match`"
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


def event_variable(event: VmsEvent) -> tuple[dict[str, Any], Size]:
    """Return the event as expressions see it, and its size. Raises ExpressionError if it is too large to look at."""
    value = event.model_dump(mode="json")
    return value, size_of(value)


def size_of(value: Any) -> Size:
    """Return how large something is. Raises ExpressionError if too large to look at."""
    values = items = characters = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        values += 1
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, (dict, list)):
            items = max(items, len(item))
            if values + len(item) > MAX_VALUES:
                raise ExpressionError(f"the event is too large for an expression (more than {MAX_VALUES} values)")
            waiting.extend(item.values() if isinstance(item, dict) else item)
    return Size(values, items, characters)


def _shortened(value: JsonValue) -> JsonValue:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= LONGEST_LOOKED else f"{text[: LONGEST_LOOKED - 3]}..."


class _Matching:
    """`matches` for the expressions of one event, until it has worked enough."""

    def __init__(self) -> None:
        self.left = MAX_MATCHING

    def __call__(self, text: Any, wanted: Any) -> bool | None:
        """Tell whether a pattern is found in a text. None, no answer, for what is none, and for too much of it."""
        if not isinstance(text, str) or not isinstance(wanted, str):
            return None
        found = pattern(wanted)  # compiled when the file was read
        self.left -= found.steps * (1 + min(len(text), found.longest))
        return None if self.left < 0 else found.search(text) is not None


class EventContext:
    """Contexts for the expressions of one event; the costly part, the event itself, is converted once."""

    def __init__(self, event: VmsEvent, state: StateOf, local: Callable[[str], str]) -> None:
        self._event, self._state, self._local = event, state, local
        self._context: cel.Context | None = None
        self._results: dict[str, Any] = {}
        self._size = Size(0, 0, 0)
        self._matching = _Matching()

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
        result: Any
        try:
            expression.measure(self._size_with(steps) if "steps" in expression.names else self._size)
            if expression.names & {"key", "rule", "steps"}:
                context.update({"rule": rule, "key": key, "steps": dict(steps or {})})
            self._matching.left = MAX_MATCHING
            result = expression.evaluate(context)
        except ExpressionError as error:
            result = error
        if expression.about_event_alone:
            self._results[expression.text] = result
        return self._settle(result)

    def looked(self, expression: Expression, *, rule: str, key: str) -> dict[str, JsonValue]:
        """Return what an expression looked at, by what it calls it; None for what is absent.

        Worked out anew, for a person who wants to know why it does not hold. Raises nothing.
        """
        values: dict[str, JsonValue] = {}
        try:
            context = self._prepared()
        except ExpressionError:
            return values
        context.update({"rule": rule, "key": key})
        for text in expression.looked[:MOST_LOOKED]:
            try:
                values[text] = _shortened(_answer(_program(text), context))
            except ExpressionError:  # it is absent
                values[text] = None
        return values

    @staticmethod
    def _settle(result: Any) -> JsonValue:
        if isinstance(result, ExpressionError):
            raise result
        return result  # type: ignore[no-any-return]

    def _prepared(self) -> cel.Context:
        if self._context is None:
            variable, self._size = event_variable(self._event)
            functions: dict[str, Callable[..., Any]] = {
                "state": self._state,
                "local": self._local,
                _MATCHES: self._matching,
            }
            self._context = cel.Context({"event": variable}, functions)
        return self._context

    def _size_with(self, steps: Mapping[str, Any] | None) -> Size:
        own, theirs = self._size, size_of(dict(steps or {}))
        characters = own.characters + theirs.characters
        return Size(own.values + theirs.values, max(own.items, theirs.items), characters)
