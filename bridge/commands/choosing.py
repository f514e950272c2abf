"""`-k`: which tests are meant, said with words and `and`, `or`, `not` and brackets."""

from __future__ import annotations

import re
from collections.abc import Callable

from bridge.errors import ConfigError

Chooses = Callable[[str], bool]
MOST_WORDS = 100
"""And signs; who needs more names the files."""
_TOKEN = re.compile(r"\s*(?:(?P<sign>[()])|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<word>[^\s()]+))")
_OPERATORS = frozenset({"and", "or", "not", "(", ")"})


def chooser(text: str) -> Chooses:
    """Return what tells whether a test is meant by its file and name.

    Words that stand beside each other are one text, as in quotes; case does not matter. Raises ConfigError that says
    what is wrong with the expression.
    """
    try:
        tokens = _tokens(text)
        if len(tokens) > MOST_WORDS:
            raise ValueError(f"more than {MOST_WORDS} words and signs")
        chosen = _Parser(tokens).whole()
    except ValueError as error:
        raise ConfigError(f"-k {text!r}: {error}; write words with `and`, `or`, `not` and brackets") from error
    return lambda name: chosen(name.lower())


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Return words and signs, each with whether it is an operator."""
    found: list[tuple[str, bool]] = []
    for match in _TOKEN.finditer(text):
        quoted = match["double"] if match["double"] is not None else match["single"]
        word = quoted if quoted is not None else match["sign"] or match["word"]
        found.append((word.lower(), quoted is None and word in _OPERATORS))
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, bool]]) -> None:
        self._tokens, self._at = tokens, 0

    def whole(self) -> Chooses:
        found = self._either()
        if self._at < len(self._tokens):
            raise ValueError(f"{self._tokens[self._at][0]!r} stands where `and` or `or` should")
        return found

    def _take(self, operator: str) -> bool:
        taken = self._at < len(self._tokens) and self._tokens[self._at] == (operator, True)
        self._at += taken
        return taken

    def _either(self) -> Chooses:
        found = self._both()
        while self._take("or"):
            found = _or(found, self._both())
        return found

    def _both(self) -> Chooses:
        found = self._one()
        while self._take("and"):
            found = _and(found, self._one())
        return found

    def _one(self) -> Chooses:
        if self._take("not"):
            return _not(self._one())
        if self._take("("):
            found = self._either()
            if not self._take(")"):
                raise ValueError("a bracket is not closed")
            return found
        words: list[str] = []
        while self._at < len(self._tokens) and not self._tokens[self._at][1]:
            words.append(self._tokens[self._at][0])
            self._at += 1
        if not words:
            there = f" before {self._tokens[self._at][0]!r}" if self._at < len(self._tokens) else " at the end"
            raise ValueError(f"a word is missing{there}")
        text = " ".join(words)
        return lambda name: text in name


def _or(one: Chooses, other: Chooses) -> Chooses:
    return lambda name: one(name) or other(name)


def _and(one: Chooses, other: Chooses) -> Chooses:
    return lambda name: one(name) and other(name)


def _not(one: Chooses) -> Chooses:
    return lambda name: not one(name)
