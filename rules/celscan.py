"""A look at a CEL expression before it is compiled: is it small, flat, and about things that exist?

Not a parser: CEL's own comes afterwards. Tokens and brackets are enough to find what it would notice
only when it runs (unknown names, functions, fields) and what nobody would notice (a cost without bound).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args

from bridge.sdk import VmsEvent, nearest, unknown
from rules.celcost import Counts, Tally
from rules.celtypes import About, pointless
from rules.fields import model_fields

MAX_LENGTH = 2000
MAX_NESTING = 24
MAX_MACROS = 4

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
FUNCTIONS = frozenset(
    {"state", "local", "has", "size", "contains", "startsWith", "endsWith", "matches", "string", "int", "uint"}
    | {"double", "bytes", "timestamp", "duration", "type", "dyn", "getFullYear", "getMonth"}
    | {"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds"}
    | {"getMilliseconds"}
)
TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
_COLLECT = frozenset({"filter", "map"})
"""Macros that make a list, item by item, each time a new one."""
_LARGE = frozenset({"event", "steps"})
_WORDS = frozenset({"true", "false", "null", "in"})

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<text>[bB]?[rR]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[uU]?)
    |(?P<mark>&&|\|\||[<>=!]=|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may look at: names, the kind's payload model if it is known, and what more is about it."""

    names: frozenset[str] = frozenset({"event", "key", "rule"})
    data: Any = None
    steps: frozenset[str] = frozenset()
    about: About = field(default_factory=About)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(slots=True)
class _Open:
    """An open bracket; with what is counted in it where it is a macro's."""

    counts: Counts | None = None
    variable: str | None = None
    macro: str | None = None
    items: int = 0
    call: int | None = None
    """Where the call of `state` begins whose bracket it is."""


class _Refused(ValueError):  # noqa: N818 - internal; the compiler shows the sentence
    pass


def _tokens(text: str) -> list[_Token]:
    found = (_Token(str(match.lastgroup), match[0], match.start()) for match in TOKEN.finditer(text))
    return [token for token in found if token.kind != "space"]


@lru_cache(maxsize=4096)
def _pointless(text: str, about: About, condition: bool) -> tuple[str, ...]:
    """Return what can never come of an expression; those of one template say much the same."""
    return tuple(pointless(text, _tokens(text), about, condition=condition))


def template_end(text: str, start: int) -> int | None:
    """Return where `}}` ends the expression that begins at `start`; None if nowhere."""
    depth, position = 0, start
    while position < len(text):
        match = TOKEN.match(text, position)
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


class Scan:
    """One walk over the tokens: brackets, macros, names, fields."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._tokens = _tokens(text)
        self._text = text
        self._scope = scope
        self._open: list[_Open] = []
        self.tally = Tally()
        """What it will cost to work out."""
        self.patterns: list[tuple[int, str]] = []
        """The `matches` in it: where, and the pattern as a text of CEL."""
        self.names: set[str] = set()
        self.asked: set[tuple[str, str | None]] = set()
        """Entities that `state()` is asked about by name, and which attribute, where that is written too."""
        self.wrong: list[str] = []
        """Names in it that do not exist."""
        self.looked: dict[str, None] = {}
        """What it looks at, in its own words: `event.data.score`, `state("door", "status")`."""

    def run(self) -> None:
        """Look at everything. Raises ValueError with a sentence for the user."""
        for position, token in enumerate(self._tokens):
            if token.kind == "name" and token.text not in _WORDS:
                self._name(position, token)
            elif token.text in {"(", "[", "{"} and token.kind == "mark":
                self._enter(position, token)
            elif token.text in {")", "]", "}"} and token.kind == "mark" and self._open:
                self._close(token)
            elif token.text in {"'", '"'}:
                raise _Refused(f"at character {token.at + 1}: a text that does not end")
            elif token.kind == "mark":
                self._mark(token)
            self._tally.tokens += 1
        if self.wrong:
            raise _Refused("; ".join(dict.fromkeys(self.wrong)))

    def pointless(self, *, condition: bool) -> list[str]:
        """Return what can never come of it. `condition`: it must be true or false as a whole."""
        return list(_pointless(self._text, self._scope.about, condition))

    @property
    def _tally(self) -> Counts:
        """Return what is counted here: the innermost macro's, or outside of all."""
        return next((one.counts for one in reversed(self._open) if one.counts is not None), self.tally.outside)

    def _mark(self, token: _Token) -> None:
        if token.text == "+":
            self._tally.pluses += 1
        elif token.text == "," and self._open:
            self._open[-1].items += 1
            self.tally.items = max(self.tally.items, self._open[-1].items + 1)

    def _at(self, position: int) -> _Token:
        inside = 0 <= position < len(self._tokens)
        return self._tokens[position] if inside else _Token("end", "", 0)

    def _enter(self, position: int, token: _Token) -> None:
        before = self._at(position - 1)
        opened = _Open(call=before.at if token.text == "(" and before.text == "state" else None)
        if token.text == "(" and before.text in MACROS and self._at(position - 2).text == ".":
            if any(one.counts for one in self._open):
                raise _Refused(f"`{before.text}` inside another macro is not allowed: its cost has no bound")
            if len(self.tally.macros) == MAX_MACROS:
                raise _Refused(f"more than {MAX_MACROS} macros ({', '.join(sorted(MACROS))}) in one expression")
            opened = _Open(Counts(collects=before.text in _COLLECT), self._at(position + 1).text, before.text)
            self.tally.macros.append(opened.counts or Counts())
        elif any(one.macro == "map" for one in self._open) and not self._is_index(token, before):
            raise _Refused("`map` cannot give lists or mappings: their cost has no bound; give one value for each item")
        self._open.append(opened)
        if len(self._open) > MAX_NESTING:
            raise _Refused(f"nested deeper than {MAX_NESTING} brackets")

    def _close(self, token: _Token) -> None:
        closed = self._open.pop()
        if closed.call is not None and not any(one.counts for one in self._open):  # a macro's variable may be in it
            self.looked[self._text[closed.call : token.at + 1]] = None

    @staticmethod
    def _is_index(token: _Token, before: _Token) -> bool:
        """Tell whether a bracket is anything but the beginning of a list or a mapping."""
        return token.text == "(" or (token.text == "[" and (before.kind == "name" or before.text in {")", "]"}))

    def _name(self, position: int, token: _Token) -> None:
        if self._at(position - 1).text == ".":
            if self._at(position + 1).text == "(":
                self._function(token.text, MACROS | FUNCTIONS)
                self._matches(position, token)
            return
        if self._at(position + 1).text == "(":
            if token.text == "matches":
                raise _Refused("`matches` is written after the text: value.matches('pattern')")
            self._function(token.text, FUNCTIONS)
            if token.text == "state" and self._at(position + 2).kind == "text" and self._at(position + 3).text == ",":
                attribute = self._at(position + 4)
                alone = attribute.kind == "text" and self._at(position + 5).text == ")"
                self.asked.add((self._at(position + 2).text[1:-1], attribute.text[1:-1] if alone else None))
            return
        if self._at(position + 1).text == "{":
            raise _Refused(f"unknown type {token.text!r}")
        if token.text in {one.variable for one in self._open if one.counts}:
            self._tally.own += 1
            return
        if token.text in TYPES:
            return
        self._tally.reads += token.text in _LARGE
        if token.text not in self._scope.names:
            self.wrong.append(unknown("name", token.text, sorted(self._scope.names)))
            return
        self.names.add(token.text)
        self._path(position, token.text)

    def _matches(self, position: int, token: _Token) -> None:
        """Note a pattern, which must be there to be seen: one from an event would be anybody's."""
        if token.text != "matches":
            return
        argument = self._at(position + 2)
        if argument.kind != "text" or self._at(position + 3).text != ")":
            raise _Refused("`matches` takes its pattern as a text in quotes")
        self.patterns.append((token.at, argument.text))

    def _function(self, name: str, known: frozenset[str]) -> None:
        if name not in MACROS:
            self._tally.calls += 1
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else "see the rules guide for those that exist"
            self.wrong.append(f"unknown function {name!r}; {hint}")

    def _path(self, position: int, name: str) -> None:
        """Check `event.data.plate` and `steps.entry` against what exists."""
        path: list[str] = []
        while self._at(position + 1).text == "." and self._at(position + 2).kind == "name":
            if self._at(position + 3).text == "(":
                break
            path.append(self._at(position + 2).text)
            position += 2
        if name == "steps" and path and path[0] not in self._scope.steps:
            self.wrong.append(unknown("step in `with`", path[0], sorted(self._scope.steps)))
        if name == "event" and path:
            self._event_path(path)
            if not any(one.call is not None for one in self._open):
                self.looked[".".join([name, *path])] = None

    def _event_path(self, path: Sequence[str]) -> None:
        known = model_fields(VmsEvent)
        if path[0] not in known:
            self.wrong.append(unknown("attribute of event", path[0], sorted(known)))
            return
        model = self._scope.data
        if path[0] != "data" or model is None or model.model_config.get("extra") == "allow":
            return
        for depth, part in enumerate(path[1:]):
            if model is None:
                return
            names = model_fields(model)
            if part not in names:
                inside = ".".join(["event", *path[: depth + 1]])
                self.wrong.append(unknown(f"field of {inside}", part, sorted(names)))
                return
            model = _bare(names[part])


def _bare(annotation: Any) -> Any:
    models = [one for one in (annotation, *get_args(annotation)) if model_fields(one)]
    return models[0] if models else None
