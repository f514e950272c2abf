"""What the parts of a CEL expression are, as far as that is certain, and what can never come of them.

CEL says none of it: a text and a number are quietly unequal, and other mixtures have no answer when an event comes.
A reader of its own for the few forms CEL has; where it meets anything else it says nothing, and CEL's parser decides.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args, get_origin

from bridge.sdk import (
    ATTRIBUTES,
    BRIDGE,
    MODE,
    PAYLOADS,
    RULES,
    Origin,
    VmsEvent,
    canonical_plate,
    payload_model,
    unknown,
)
from rules.fields import PLATE_FIELDS, Type, model_fields, type_of, unwrap

MODE_FIELDS = frozenset({("mode.changed", "mode"), ("mode.changed", "previous")})
"""Fields that hold a mode of the site."""
_RETURNS = {
    **dict.fromkeys(("has", "contains", "startsWith", "endsWith", "matches"), "true or false"),
    **dict.fromkeys(("all", "exists", "exists_one"), "true or false"),
    **dict.fromkeys(("size", "int", "uint", "double"), "a number"),
    **dict.fromkeys(("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek"), "a number"),
    **dict.fromkeys(("getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds"), "a number"),
    **dict.fromkeys(("string", "local"), "text"),
    "timestamp": "a timestamp",
    "duration": "a duration",
    "bytes": "bytes",
    "map": "a list",
}
"""What functions give; of those that are not here nobody knows."""
_WORDS = {Type.TEXT: "text", Type.TIME: "text", Type.NUMBER: "a number", Type.BOOL: "true or false", Type.ANY: None}
"""What fields are in an expression, which sees an event as JSON."""
_BOUNDS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_ORDER = frozenset({"<", "<=", ">", ">="})
_SAID = 60
"""Characters of a part that are shown."""
_BOOL, _NOTHING = "true or false", "nothing"


class Token(Protocol):
    """A piece of an expression."""

    @property
    def kind(self) -> str:
        """`text`, `name`, `number` or `mark`."""
        ...

    @property
    def text(self) -> str:
        """As it is written."""
        ...

    @property
    def at(self) -> int:
        """Where it begins."""
        ...


@dataclass(frozen=True, slots=True)
class About:
    """What an expression is about: the kind of its event where that is always the same, and the site's modes."""

    kind: str | None = None
    modes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression. `word` is what it is; None where that depends."""

    word: str | None = None
    said: str = ""
    """As it is written."""
    choices: Collection[str] | None = None
    """All the texts that it can be."""
    what: str = "value"
    """What its choices are."""
    plate: bool = False
    model: Any = None
    of: str | None = None
    """It is the event (empty), or the data of an event of this kind."""
    item: Part | None = None
    """One of it, if it is a list."""
    literal: Any = None
    """Its value, where that is written there."""


class _UnsureError(Exception):
    """Not understood; the expression is left to CEL."""


def pointless(text: str, tokens: Sequence[Token], about: About, *, condition: bool) -> list[str]:
    """Return what can never come of an expression, in words. `condition`: it must be true or false as a whole."""
    reading = _Reading(text, tokens, about)
    try:
        whole = reading.expression()
        reading.end()
    except (_UnsureError, RecursionError):
        return []
    if condition:
        reading.must_be_bool(whole)
    return list(dict.fromkeys(reading.notes))


class _Reading:
    """One reading of the tokens, by the rules of CEL's grammar."""

    def __init__(self, text: str, tokens: Sequence[Token], about: About) -> None:
        self._text, self._tokens, self._about = text, tokens, about
        self._at = 0
        self._bound: dict[str, Part] = {}
        self.notes: list[str] = []

    # --- tokens ----------------------------------------------------------------------------------------

    def _peek(self) -> str:
        if self._at >= len(self._tokens):
            return ""
        token = self._tokens[self._at]
        return token.text if token.kind in {"mark", "name"} else ""

    def _take(self, *marks: str) -> str | None:
        found = self._peek()
        if found and found in marks:
            self._at += 1
            return found
        return None

    def _need(self, mark: str) -> None:
        if self._take(mark) is None:
            raise _UnsureError

    def _next(self) -> Token:
        if self._at >= len(self._tokens):
            raise _UnsureError
        self._at += 1
        return self._tokens[self._at - 1]

    def end(self) -> None:
        """Be at the end. Raises _UnsureError."""
        if self._at != len(self._tokens):
            raise _UnsureError

    def _said(self, part: Part, start: int) -> Part:
        """Return a part with the words that were read for it."""
        last = self._tokens[self._at - 1]
        return replace(part, said=self._text[self._tokens[start].at : last.at + len(last.text)])

    # --- the grammar -------------------------------------------------------------------------------------

    def expression(self) -> Part:
        """Read a whole expression. Raises _UnsureError."""
        start = self._at
        asked = self._joined(self._and, "||")
        if self._take("?") is None:
            return asked
        self.must_be_bool(asked)
        one = self.expression()
        self._need(":")
        other = self.expression()
        return self._said(Part(one.word if one.word == other.word else None), start)

    def _and(self) -> Part:
        return self._joined(self._relation, "&&")

    def _joined(self, inner: Callable[[], Part], mark: str) -> Part:
        first = inner()
        if self._peek() != mark:
            return first
        self.must_be_bool(first)
        while self._take(mark) is not None:
            self.must_be_bool(inner())
        return Part(_BOOL)

    def _relation(self) -> Part:
        left = self._sum()
        while (mark := self._take("==", "!=", *_ORDER, "in")) is not None:
            right = self._sum()
            if mark == "in":
                self._among(left, right)
            elif mark in _ORDER:
                self._ordered(left, right)
            else:
                self._equal(left, right)
            left = Part(_BOOL)
        return left

    def _sum(self) -> Part:
        start, left = self._at, self._product()
        while self._take("+", "-") is not None:
            right = self._product()
            left = Part(left.word if left.word == right.word and left.word in {"text", "a number"} else None)
        return self._said(left, start)

    def _product(self) -> Part:
        left = self._unary()
        while self._take("*", "/", "%") is not None:
            self._unary()
            left = Part("a number")
        return left

    def _unary(self) -> Part:
        start = self._at
        if self._take("!") is not None:
            self.must_be_bool(self._said(self._unary(), start + 1))
            return Part(_BOOL)
        if self._take("-") is not None:
            self._unary()
            return Part("a number")
        return self._member()

    def _member(self) -> Part:
        part = self._primary()
        while True:
            if self._take(".") is not None:
                name = self._name()
                part = self._method(part, name) if self._peek() == "(" else self._below(part, name)
            elif self._take("[") is not None:
                self.expression()
                self._need("]")
                part = part.item or Part()
            else:
                return part

    def _name(self) -> str:
        token = self._next()
        if token.kind != "name":
            raise _UnsureError
        return token.text

    def _primary(self) -> Part:
        if self._take("(") is not None:
            inner = self.expression()
            self._need(")")
            return inner
        if self._take("[") is not None:
            return Part("a list", literal=self._items("]"))
        if self._take("{") is not None:
            self._pairs()
            return Part("a mapping")
        token = self._next()
        if token.kind in {"text", "number"}:
            return _literal(token)
        if token.kind != "name":
            raise _UnsureError
        if token.text in {"true", "false"}:
            return Part(_BOOL)
        if token.text == "null":
            return Part(_NOTHING)
        return self._call(token.text) if self._peek() == "(" else self._variable(token.text)

    def _items(self, end: str) -> list[Part]:
        items: list[Part] = []
        while self._take(end) is None:
            items.append(self.expression())
            if self._take(",") is None:
                self._need(end)
                break
        return items

    def _pairs(self) -> None:
        while self._take("}") is None:
            self.expression()
            self._need(":")
            self.expression()
            if self._take(",") is None:
                self._need("}")
                break

    # --- names -------------------------------------------------------------------------------------------

    def _variable(self, name: str) -> Part:
        if name in self._bound:
            return self._bound[name]
        if name == "event":
            return Part("a mapping", of="")
        return Part("text" if name in {"key", "rule"} else None)

    def _below(self, part: Part, name: str) -> Part:
        """Return a part of something."""
        if part.of == "":
            return self._attribute(name)
        fields = model_fields(part.model)
        if name not in fields:
            return Part()
        found = _typed(fields[name])
        field = (part.of or "", name)
        if field in MODE_FIELDS:
            return replace(found, choices=self._about.modes, what="mode")
        return replace(found, plate=field in PLATE_FIELDS)

    def _attribute(self, name: str) -> Part:
        """Return a part of the event."""
        kind = self._about.kind
        if name == "data":
            return Part("a mapping", model=payload_model(kind), of=kind) if kind else Part()
        if name in {"type", "source"}:
            return Part("text", what="kind" if name == "type" else "source")
        if name == "origin":
            return Part("text", choices=tuple(origin.value for origin in Origin), what="origin")
        annotation = model_fields(VmsEvent).get(name)
        return Part() if annotation is None else _typed(annotation)

    def _call(self, name: str) -> Part:
        self._need("(")
        arguments = self._items(")")
        if name == "state" and len(arguments) == 2:
            return self._known(*arguments)
        return Part(_RETURNS.get(name))

    def _known(self, entity: Part, attribute: Part) -> Part:
        """Return what is known of an entity."""
        about, of_it = entity.literal, attribute.literal
        if about == BRIDGE and of_it == MODE:
            return Part("text", choices=self._about.modes, what="mode")
        if not isinstance(about, str) or not isinstance(of_it, str) or about.partition("/")[0] in {BRIDGE, RULES}:
            return Part()
        return _typed(ATTRIBUTES[of_it]) if of_it in ATTRIBUTES else Part()

    def _method(self, part: Part, name: str) -> Part:
        self._need("(")
        if name not in _BOUNDS:
            self._items(")")
            return Part(_RETURNS.get(name))
        variable, before = self._name(), self._bound
        self._need(",")
        self._bound = {**before, variable: part.item or Part()}
        body = self.expression()
        self._bound = before
        self._need(")")
        if name != "map":
            self.must_be_bool(body)
        return part if name == "filter" else Part(_RETURNS.get(name))

    # --- what can never be ---------------------------------------------------------------------------------

    def must_be_bool(self, part: Part) -> None:
        """Note what is no condition."""
        if part.word not in {None, _NOTHING, _BOOL}:
            self.notes.append(f"{_shown(part)} is {part.word}, not true or false; say what it must be, with == or >")

    def _equal(self, left: Part, right: Part) -> None:
        words = {left.word, right.word}
        if None in words or _NOTHING in words:
            return
        if len(words) > 1:
            said = f"{_shown(left)} is {left.word} and {_shown(right)} is {right.word}"
            self.notes.append(f"{said}: they are never equal")
            return
        self._chosen(left, right)
        self._chosen(right, left)

    def _chosen(self, part: Part, literal: Part) -> None:
        """Note a text that something never is."""
        value = literal.literal
        if not isinstance(value, str) or part.literal is not None:
            return
        why = None
        if part.plate and canonical_plate(value) != value:
            why = f"plates are in capitals without separators; write {canonical_plate(value)!r}"
        elif part.what == "source":
            why = None if "/" in value else "it is '<site>/<source>'; the source alone stands in `when`"
        elif part.what == "kind":
            why = unknown("kind", value, PAYLOADS) if payload_model(value) is None else None
        elif part.choices is not None and value not in part.choices:
            why = unknown(part.what, value, part.choices)
        if why is not None:
            self.notes.append(f"{_shown(part)} is never {value!r}: {why}")

    def _ordered(self, left: Part, right: Part) -> None:
        words = {left.word, right.word}
        if None not in words and _NOTHING not in words and (len(words) > 1 or words & {"a list", "a mapping"}):
            said = f"{_shown(left)} is {left.word} and {_shown(right)} is {right.word}"
            self.notes.append(f"{said}: neither comes before the other")

    def _among(self, left: Part, right: Part) -> None:
        if right.word in {"text", "a number", _BOOL}:
            cure = "; for a part of a text write `contains`" if right.word == "text" else ""
            self.notes.append(f"{_shown(right)} is {right.word}, and `in` looks into a list{cure}")
        elif isinstance(right.literal, list):
            for one in right.literal:
                self._equal(left, one)
        elif right.item is not None:
            self._equal(left, replace(right.item, said=right.said))


def _typed(annotation: Any) -> Part:
    """Return what a field of a model is, once it is JSON."""
    bare, many = unwrap(annotation)
    if many:
        return Part("a list", item=_typed(bare))
    if model_fields(bare) or get_origin(bare) is dict:
        return Part("a mapping", model=bare)
    return Part(_WORDS[type_of(bare)], choices=get_args(bare) if get_origin(bare) is Literal else None)


def _literal(token: Token) -> Part:
    if token.kind == "number":
        return Part("a number", token.text, literal=0)
    try:
        value = ast.literal_eval(token.text)
    except (SyntaxError, ValueError):  # an escape that Python has not
        return Part("text", token.text)
    return Part("text", token.text, literal=value) if isinstance(value, str) else Part("bytes", token.text)


def _shown(part: Part) -> str:
    said = " ".join(part.said.split())
    return f"`{said if len(said) <= _SAID else said[: _SAID - 3] + '...'}`" if said else "this"
