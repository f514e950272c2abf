"""YAML text to a tree that knows where everything stands. No files, no models: text in, nodes and problems out.

Rule files are data that strangers may write, so this reads less than YAML allows: one document, no
aliases, anchors or tags, no duplicate keys, bounded size, depth and number of nodes. Scalars follow
YAML 1.2 and then some: only `null`, `true`, `false` and numbers in their plain form are not text,
so `on`, `22:00`, `0123` and `12E4` (a number plate) stay what the user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from bridge.sdk import Problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000
"""About what fits into `MAX_BYTES` of sensible YAML; a bomb would need more."""

Key = str | int
Path = tuple[Key, ...]

_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][+-]?[0-9]{1,3})?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_NONE: dict[Any, Any] = {}
"""Shared by all scalars, which hold nothing."""


class Node:
    """One value of the file: what it is, where it stands, and what is in it."""

    __slots__ = ("children", "column", "keys", "line", "value")

    def __init__(self, line: int, column: int, value: Any) -> None:
        self.line, self.column = line, column
        self.value = value
        """The plain Python value: dict, list, str, int, float, bool or None."""
        holds = isinstance(value, (dict, list))
        self.children: dict[Key, Node] = {} if holds else _NONE
        self.keys: dict[Key, tuple[int, int]] = {} if holds else _NONE

    def find(self, path: Sequence[Key]) -> Node:
        """Return the node at a path, or the last one on the way to it."""
        node = self
        for key in path:
            child = node.children.get(key)
            if child is None:
                return node
            node = child
        return node

    def place(self, path: Sequence[Key], *, key: bool = False) -> tuple[int, int]:
        """Return line and column of the value at a path, or of its key."""
        if key and path:
            found = self.find(path[:-1]).keys.get(path[-1])
            if found is not None:
                return found
        node = self.find(path)
        return node.line, node.column


Parsed = tuple[Node | None, list[Problem]]
"""A file's tree, None if it cannot be read, and what is wrong with it."""


class _RefusedError(Exception):
    """The text cannot be read any further."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line, self.column, self.message = line, column, message
        super().__init__(message)


def read_tree(name: str, text: str) -> Parsed:
    """Return the tree of a file and what is wrong with it."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return None, [Problem(name, 1, 1, "", f"the file is larger than {MAX_BYTES // 1024} KiB; split it")]
    builder = _Builder(name)
    try:
        return builder.build(text.removeprefix("\ufeff")), builder.problems
    except _RefusedError as error:
        return None, [*builder.problems, Problem(name, error.line, error.column, "", error.message)]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        why = ", ".join(part for part in (error.context, error.problem) if part)
        return None, [*builder.problems, Problem(name, line, column, "", f"not YAML: {why}")]
    except YAMLError as error:
        before = text[: getattr(error, "position", 0)]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        why = " ".join(str(error).partition("\n")[0].split())
        return None, [*builder.problems, Problem(name, line, column, "", f"not YAML: {why}")]


class _Builder:
    """Folds the parser's events into nodes. Iterative: depth costs no stack."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: list[tuple[Node, _Slot]] = []
        self._root: Node | None = None
        self._nodes = 0
        self.problems: list[Problem] = []

    def build(self, text: str) -> Node:
        documents = 0
        for event in _events(text):
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _RefusedError(*_mark(event), "a second document (`---`); one file holds one")
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                self._open.pop()
            elif isinstance(event, (AliasEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent)):
                self._add(event)
        return self._root or Node(1, 1, None)

    def _add(self, event: Any) -> None:
        line, column = _mark(event)
        self._check(event, line, column)
        if isinstance(event, MappingStartEvent):
            node = Node(line, column, {})
        elif isinstance(event, SequenceStartEvent):
            node = Node(line, column, [])
        else:
            node = Node(line, column, None if isinstance(event, AliasEvent) else _scalar(event))
        if not self._open:
            self._root = node
        elif self._takes_as_key(event):
            return
        else:
            parent, slot = self._open[-1]
            slot.put(parent, node)
        if isinstance(node.value, (dict, list)):
            self._open.append((node, _Slot()))

    def _check(self, event: Any, line: int, column: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _RefusedError(line, column, f"more than {MAX_NODES} values; split the file")
        if len(self._open) > MAX_DEPTH:
            raise _RefusedError(line, column, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, AliasEvent) or event.anchor:
            self._say(line, column, "anchors (`&`) and aliases (`*`) are not allowed; quote a text like this")
        elif event.tag and str(event.tag) != "!":
            self._say(line, column, "tags (`!`) are not allowed; quote a text like this")

    def _say(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(self._name, line, column, "", message))

    def _takes_as_key(self, event: Any) -> bool:
        parent, slot = self._open[-1]
        if not isinstance(parent.value, dict) or slot.key is not None:
            return False
        line, column = _mark(event)
        if not isinstance(event, ScalarEvent):
            raise _RefusedError(line, column, "a key must be a plain name; quote values that start with `{` or `[`")
        key = event.value
        if key in parent.value:
            first = parent.keys[key]
            self._say(line, column, f"key {key!r} is here twice; first in line {first[0]}")
        else:
            parent.keys[key] = (line, column)
        slot.key = key
        return True


class _Slot:
    """Where the next value of an open mapping or sequence goes."""

    __slots__ = ("key",)

    def __init__(self) -> None:
        self.key: str | None = None

    def put(self, parent: Node, node: Node) -> None:
        if isinstance(parent.value, list):
            parent.children[len(parent.value)] = node
            parent.value.append(node.value)
            return
        assert self.key is not None  # noqa: S101 - a value follows its key
        parent.children[self.key] = node
        parent.value[self.key] = node.value
        self.key = None


def _events(text: str) -> Iterator[Any]:
    yield from YAML(typ="rt", pure=True).parse(text)


def _mark(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style is not None or str(event.tag or "") == "!":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
