"""What the parts of a CEL expression are, as far as that is certain, and what can never come of them.

CEL says none of it: a text and a number are quietly unequal, and other mixtures have no answer when an event comes.
A reader of its own for the few forms CEL has; where it meets anything else it says nothing, and CEL's parser decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, get_args

from bridge.sdk import (
    ATTRIBUTES,
    BRIDGE,
    MODE,
    PAYLOADS,
    RULES,
    Origin,
    StepResult,
    VmsEvent,
    canonical_plate,
    payload_model,
    unknown,
)
from rules.celops import asked, called, negated, reckoned
from rules.celparts import BOOL, HAS, LIST, MAPPING, NOTHING, TEXT, Part, literal, shown, typed
from rules.fields import PLATE_FIELDS, model_fields

MODE_FIELDS = frozenset({("mode.changed", "mode"), ("mode.changed", "previous")})
"""Fields that hold a mode of the site."""
_BOUNDS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_ORDER = frozenset({"<", "<=", ">", ">="})
_STEP = "steps.<name>"
"""What stands for the result of a step."""
_OUTCOMES = tuple(
    text for one in get_args(StepResult.model_fields["outcome"].annotation) for text in get_args(one) or (one,)
)


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
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

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
        same = one.word == other.word
        whole = Part(one.word if same else None, sort=one.sort if same and one.sort == other.sort else None)
        return self._said(whole, start)

    def _and(self) -> Part:
        return self._joined(self._relation, "&&")

    def _joined(self, inner: Callable[[], Part], mark: str) -> Part:
        first = inner()
        if self._peek() != mark:
            return first
        self.must_be_bool(first)
        while self._take(mark) is not None:
            self.must_be_bool(inner())
        return Part(BOOL)

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
            left = Part(BOOL)
        return left

    def _sum(self) -> Part:
        return self._reckoned(self._product, "+", "-")

    def _product(self) -> Part:
        return self._reckoned(self._unary, "*", "/", "%")

    def _reckoned(self, inner: Callable[[], Part], *marks: str) -> Part:
        start, left = self._at, inner()
        while (mark := self._take(*marks)) is not None:
            left = self._said(self._noted(reckoned(mark, left, inner())), start)
        return left

    def _unary(self) -> Part:
        start = self._at
        if self._take("!") is not None:
            asked_whether = self._unary()
            self.must_be_bool(asked_whether)
            if asked_whether.of == HAS:
                field = asked_whether.said.removeprefix("has(").removesuffix(")")
                self.notes.append(f"`has` always holds here: what is absent is there as null; write {field} == null")
            return self._said(Part(BOOL), start)
        if self._take("-") is not None:
            return self._said(self._noted(negated(self._unary())), start)
        return self._member()

    def _member(self) -> Part:
        start = self._at
        part = self._said(self._primary(), start)
        while True:
            if self._take(".") is not None:
                name = self._name()
                part = self._method(part, name) if self._peek() == "(" else self._below(part, name)
            elif self._take("[") is not None:
                self.expression()
                self._need("]")
                part = self._one_of(part)
            else:
                return part
            part = self._said(part, start)

    def _one_of(self, part: Part) -> Part:
        """Return what stands at a place in something."""
        if part.word not in {None, NOTHING, LIST, MAPPING}:
            self.notes.append(f"{shown(part)} is {part.word}, and has no items")
        return part.item or Part()

    def _noted(self, found: tuple[Part, str | None]) -> Part:
        """Return what comes of something, and note why nothing ever does."""
        if found[1] is not None:
            self.notes.append(found[1])
        return found[0]

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
            return Part(LIST, literal=self._items("]"))
        if self._take("{") is not None:
            self._pairs()
            return Part(MAPPING)
        token = self._next()
        if token.kind in {"text", "number"}:
            return literal(token.kind, token.text)
        if token.kind != "name":
            raise _UnsureError
        if token.text in {"true", "false"}:
            return Part(BOOL)
        if token.text == "null":
            return Part(NOTHING)
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
                return

    # --- names -------------------------------------------------------------------------------------------

    def _variable(self, name: str) -> Part:
        if name in self._bound:
            return self._bound[name]
        if name == "event":
            return Part(MAPPING, of="")
        if name == "steps":
            return Part(MAPPING, of=name)
        return Part(TEXT if name in {"key", "rule"} else None)

    def _below(self, part: Part, name: str) -> Part:
        """Return a part of something."""
        if part.of == "":
            return self._attribute(name)
        if part.of == "steps":
            return Part(MAPPING, of=_STEP)
        if part.of == _STEP:
            return Part(TEXT, choices=_OUTCOMES, what="outcome") if name == "outcome" else Part()
        fields = model_fields(part.model)
        if name not in fields:
            return Part()
        found = typed(fields[name])
        field = (part.of or "", name)
        if field in MODE_FIELDS:
            return replace(found, choices=self._about.modes, what="mode")
        return replace(found, plate=field in PLATE_FIELDS, there=True)

    def _attribute(self, name: str) -> Part:
        """Return a part of the event."""
        kind = self._about.kind
        if name == "data":
            return Part(MAPPING, model=payload_model(kind), of=kind) if kind else Part()
        if name in {"type", "source"}:
            return Part(TEXT, what="kind" if name == "type" else "source")
        if name == "origin":
            return Part(TEXT, choices=tuple(origin.value for origin in Origin), what="origin")
        return typed(model_fields(VmsEvent).get(name))

    def _call(self, name: str) -> Part:
        self._need("(")
        arguments = self._items(")")
        if name == "state" and len(arguments) == 2:
            return self._known(*arguments)
        return self._noted(called(name, arguments))

    def _known(self, entity: Part, attribute: Part) -> Part:
        """Return what is known of an entity."""
        about, of_it = entity.literal, attribute.literal
        if about == BRIDGE and of_it == MODE:
            return Part(TEXT, choices=self._about.modes, what="mode")
        if not isinstance(about, str) or not isinstance(of_it, str) or about.partition("/")[0] in {BRIDGE, RULES}:
            return Part()
        return typed(ATTRIBUTES[of_it]) if of_it in ATTRIBUTES else Part()

    def _method(self, part: Part, name: str) -> Part:
        self._need("(")
        if name not in _BOUNDS:
            arguments = self._items(")")
            if part.plate and arguments:
                self._chosen(part, arguments[0], name)
            return self._noted(asked(name, part, arguments))
        if part.word not in {None, NOTHING, LIST, MAPPING}:
            self.notes.append(f"{shown(part)} is {part.word}, and `{name}` goes through a list")
        variable, before = self._name(), self._bound
        self._need(",")
        self._bound = {**before, variable: part.item or Part()}
        body = self.expression()
        self._bound = before
        self._need(")")
        if name != "map":
            self.must_be_bool(body)
        if name == "filter":
            return part
        return Part(LIST) if name == "map" else Part(BOOL)

    # --- what can never be ---------------------------------------------------------------------------------

    def must_be_bool(self, part: Part) -> None:
        """Note what is no condition."""
        if part.word not in {None, NOTHING, BOOL}:
            self.notes.append(f"{shown(part)} is {part.word}, not true or false; say what it must be, with == or >")

    def _equal(self, left: Part, right: Part) -> None:
        words = {left.word, right.word}
        if None in words or NOTHING in words:
            return
        if len(words) > 1:
            said = f"{shown(left)} is {left.word} and {shown(right)} is {right.word}"
            self.notes.append(f"{said}: they are never equal")
            return
        self._chosen(left, right)
        self._chosen(right, left)

    def _chosen(self, part: Part, other: Part, name: str | None = None) -> None:
        """Note a text that something never is; with `name`, that this function of it is never asked well."""
        value = other.literal
        if not isinstance(value, str) or part.literal is not None:
            return
        why = None
        if name == "matches":
            return
        if part.plate and canonical_plate(value) != value:
            why = f"plates are in capitals without separators; write {canonical_plate(value)!r}"
        elif part.what == "source":
            why = None if "/" in value else "it is '<site>/<source>'; the source alone stands in `when`"
        elif part.what == "kind":
            why = unknown("kind", value, PAYLOADS) if payload_model(value) is None else None
        elif part.choices is not None and value not in part.choices:
            why = unknown(part.what, value, part.choices)
        if why is not None:
            never = f"is never {value!r}" if name is None else f"never has {value!r} in it"
            self.notes.append(f"{shown(part)} {never}: {why}")

    def _ordered(self, left: Part, right: Part) -> None:
        words = {left.word, right.word}
        if None not in words and NOTHING not in words and (len(words) > 1 or words & {LIST, MAPPING}):
            said = f"{shown(left)} is {left.word} and {shown(right)} is {right.word}"
            self.notes.append(f"{said}: neither comes before the other")

    def _among(self, left: Part, right: Part) -> None:
        if right.word not in {None, NOTHING, LIST, MAPPING}:
            cure = "; for a part of a text write `contains`" if right.word == TEXT else ""
            self.notes.append(f"{shown(right)} is {right.word}, and `in` looks into a list{cure}")
        elif isinstance(right.literal, list):
            for one in right.literal:
                self._equal(left, one)
        elif right.item is not None:
            self._equal(left, replace(right.item, said=right.said))
