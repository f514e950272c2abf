"""Read a YAML file that a person wrote, and remember where everything stands in it.

The configuration and rule files are read by it. YAML 1.2 with fewer surprises: `on`, `yes`, `22:00`, `007`, `12E45`
(a number plate), `NULL` and dates stay the text that was written; only `true`, `false`, `null` and plain numbers are
anything else. Keys are always text. Refused: anchors and aliases (a few lines of them fill any memory), keys that
stand twice, a second document, tags nobody asked for, and more of anything than a person writes.

What the data should look like is not known here; `bridge.yamlcheck` and `rules.report` tell what models say about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bridge.errors import ConfigError, Problem
from bridge.files import read_file
from bridge.yamlevents import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    QuickParserError,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    quick_events,
)

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000
"""About what fits into `MAX_BYTES` of sensible YAML; a bomb would need more."""

YamlKey: TypeAlias = str | int
YamlPath: TypeAlias = tuple[YamlKey, ...]
Tags: TypeAlias = Mapping[str, Callable[[str], str]]

_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][+-]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


class Mark(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass
class YamlFile:
    """What a file says, where each part of it stands, and what was wrong with it as YAML."""

    file: str
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    _values: dict[YamlPath, Mark] = field(default_factory=dict, repr=False)
    _keys: dict[YamlPath, Mark] = field(default_factory=dict, repr=False)

    def at(self, path: Sequence[YamlKey]) -> Any:
        """Return what the file says at a path, or at the last part of it that is there."""
        value = self.value
        for part in path:
            present: Any = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            if part not in present:
                break
            value = value[part]
        return value

    def position(self, path: Sequence[YamlKey], *, key: bool = False) -> Mark:
        """Return where the value (or its key) stands; of what is not there, where it would belong."""
        at = tuple(path)
        if key and at in self._keys:
            return self._keys[at]
        while at and at not in self._values:
            at = at[:-1]
        return self._values.get(at, Mark(1, 1))

    def problem(self, path: Sequence[YamlKey], message: str, *, where: str | None = None, key: bool = False) -> Problem:
        """Return a problem with that part of the file."""
        line, column = self.position(path, key=key)
        return Problem(self.file, line, column, dotted(path) if where is None else where, message)

    def moved(self, old: YamlPath, new: YamlPath) -> None:
        """Say that what is now at `new` was written at `old`."""
        self._values[new], self._keys[new] = self.position(old), self.position(old, key=True)


def dotted(path: Sequence[YamlKey]) -> str:
    """Return a path as people write it: `sources.nvr1.topics[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read_yaml(path: Path, *, tags: Tags | None = None, scalar: Callable[[str], str] | None = None) -> YamlFile:
    """Read a file; see `parse_yaml`. Raises ConfigError when there is nothing to read."""
    try:
        data = read_file(path)
    except OSError as exc:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {exc.strerror}")]) from exc
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise ConfigError([Problem(str(path), line, 1, "", "is not UTF-8 text; save it as UTF-8")]) from exc
    return parse_yaml(text, str(path), tags=tags, scalar=scalar)


def parse_yaml(
    text: str, file: str = "text", *, tags: Tags | None = None, scalar: Callable[[str], str] | None = None
) -> YamlFile:
    """Read YAML text. `scalar` is called for every text value, `tags` gives what `!name text` means.

    Both say what is wrong by a ValueError. Raises ConfigError with all that is wrong when the text is
    not YAML at all, or too much of it; smaller mistakes alone are in `problems` of the result, so that
    they can be told together with others.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise ConfigError([Problem(file, 0, 0, "", f"is larger than {MAX_BYTES // 1024} KiB; split it")])
    found = YamlFile(file)
    try:
        if _quickly(found, text, tags or {}, scalar or str):
            return found
        found = YamlFile(file)
        _Builder(found, YAML(typ="safe", pure=True).parse(text), tags or {}, scalar or str).document()
    except _TooMuchError as exc:
        raise ConfigError([*found.problems, exc.problem]) from exc
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = Problem(file, line, column, "", f"is not YAML: {_sentence(exc, text)}")
        raise ConfigError([*found.problems, problem]) from exc
    except YAMLError as exc:
        before = text[: getattr(exc, "position", 0)]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problem = Problem(file, line, column, "", "holds a character that YAML does not allow")
        raise ConfigError([*found.problems, problem]) from exc
    return found


def _quickly(found: YamlFile, text: str, tags: Tags, scalar: Callable[[str], str]) -> bool:
    """Read a text that has nothing wrong; what is wrong, and where, is told by the parser that keeps to YAML 1.2."""
    quick = quick_events(text)
    if quick is None:
        return False
    try:
        _Builder(found, quick, tags, scalar).document()
    except (QuickParserError, _TooMuchError):
        return False
    return not found.problems


class _TooMuchError(Exception):
    """There is no point in reading on."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def _sentence(exc: MarkedYAMLError, text: str) -> str:
    said = " ".join(part for part in (exc.context, exc.problem) if part) or "it cannot be read"
    if "'\\t'" in said:
        return "a tab where only spaces may indent"
    line = text.splitlines()[exc.problem_mark.line : exc.problem_mark.line + 1] if exc.problem_mark else []
    return f'{said}; within {{ }} and [ ] write "${{NAME}}" in quotes' if any("${" in part for part in line) else said


class _Builder:
    """One pass over the parser's events: plain data, and a mark for each part of it."""

    def __init__(self, found: YamlFile, events: Iterator[Event], tags: Tags, scalar: Callable[[str], str]) -> None:
        self._found, self._events, self._tags, self._scalar = found, events, tags, scalar
        self._nodes = 0

    def document(self) -> None:
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._complain((), event, "a second document begins here; a file holds one")
                    return
                self._found.value = self._node((), next(self._events))

    def _problem(self, path: YamlPath, event: Event, message: str) -> Problem:
        mark = event.start_mark
        return Problem(self._found.file, mark.line + 1, mark.column + 1, dotted(path), message)

    def _complain(self, path: YamlPath, event: Event, message: str) -> None:
        self._found.problems.append(self._problem(path, event, message))

    def _count(self, path: YamlPath, event: Event) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooMuchError(self._problem((), event, f"more than {MAX_NODES} values; split the file"))
        if len(path) > MAX_DEPTH:
            raise _TooMuchError(self._problem((), event, f"is nested deeper than {MAX_DEPTH} levels"))

    def _node(self, path: YamlPath, event: Event) -> Any:
        self._count(path, event)
        self._found._values[path] = self._mark(path, event)
        if isinstance(event, AliasEvent):
            self._complain(path, event, f"aliases are not allowed; quote the text, or write out *{event.anchor}")
            return None
        if not isinstance(event, (ScalarEvent, MappingStartEvent, SequenceStartEvent)):
            raise TypeError(f"{event!r} cannot begin a value")
        if event.anchor:
            self._complain(path, event, f"anchors are not allowed; quote the text, or remove &{event.anchor}")
        if isinstance(event, ScalarEvent):
            return self._leaf(path, event)
        if event.tag is not None:
            self._complain(path, event, f"the tag {event.tag} is not known here")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        return self._sequence(path)

    def _mark(self, path: YamlPath, event: Event) -> Mark:
        """Return where a value stands; of one that is left out, where its key or the list does."""
        if isinstance(event, ScalarEvent) and event.value == "" and event.implicit[0]:
            return self._found._keys.get(path) or self._found._values.get(path[:-1], Mark(1, 1))
        return Mark(event.start_mark.line + 1, event.start_mark.column + 1)

    def _leaf(self, path: YamlPath, event: Event) -> Any:
        text: str = event.value
        tag: str | None = event.tag
        try:
            if tag is not None and tag in self._tags:
                return self._tags[tag](text)
            if tag not in (None, "!", "tag:yaml.org,2002:str"):
                raise ValueError(f"the tag {tag} is not known here; quote the text")
            if event.implicit[0] and tag is None:
                plain = _plain(text)
                if not isinstance(plain, str):
                    return plain
            return self._scalar(text)
        except ValueError as exc:
            self._complain(path, event, str(exc))
            return text

    def _sequence(self, path: YamlPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node((*path, len(items)), event))
        return items

    def _mapping(self, path: YamlPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                self._complain(path, event, "a key must be a single word; quote a value that starts with `{`")
                self._node((*path, "?"), event)
                self._node((*path, "?"), next(self._events))
                continue
            key, at = event.value, (*path, event.value)
            if event.anchor:
                self._complain(at, event, f"anchors are not allowed; quote the text, or remove &{event.anchor}")
            if key in items:
                self._complain(at, event, f"stands twice; it is already in line {self._found._keys[at].line}")
                self._node((*at, "?"), next(self._events))
                continue
            self._found._keys[at] = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
            items[key] = self._node(at, next(self._events))
        return items


def _plain(text: str) -> Any:
    """Return what an unquoted scalar means: the core of YAML 1.2, less what looks like a plate or an id."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    return number if math.isfinite(number) else text
