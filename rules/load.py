"""Rule files and the CSV files they name, from disk to text. The only module of the language that reads files."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from bridge.sdk import MAX_YAML_BYTES, ConfigError, Problem, YamlFile, YamlPath, parse_yaml, read_file
from rules.holidays import is_date
from rules.lists import MAX_CSV_BYTES
from rules.ruleset import Documents

_CURES = {
    errno.ENOENT: "create it, or correct the path",
    errno.EISDIR: "name a file in it",
    errno.EINVAL: "name a file",
}


_FOLDED = re.compile(rb"((?:\r\n|\n|\r)[ \t])([\x80-\xbf]{1,3})")
"""A line of iCalendar that is folded inside a character: RFC 5545 (3.1) counts bytes, and some calendars cut there."""


def load_documents(paths: Iterable[Path], root: Path) -> Documents:
    """Read rule files and their lists. Names are relative to `root`; what cannot be read is among the problems."""
    files: dict[str, str] = {}
    trees: dict[str, YamlFile] = {}
    tables: dict[str, str] = {}
    problems: list[Problem] = []
    wanted: dict[Path, None] = dict.fromkeys(sorted(set(paths)))
    for path in tuple(wanted):
        name = _name(path, root)
        text = _read(path, name, MAX_YAML_BYTES, problems)
        if text is None:
            continue
        files[name] = text
        try:
            trees[name] = parse_yaml(text, name)
        except ConfigError:
            continue  # the compiler says why, with what is wrong in the other files
        for table, place, where in _tables_of(name, trees[name]):
            wanted[root / table] = None
            gone = partial(trees[name].problem, place, where=where)
            content = None if table in tables else _read(root / table, table, MAX_CSV_BYTES, problems, gone)
            if content is not None:
                tables[table] = content
    return Documents(files, tables, tuple(problems), trees, tuple(wanted))


def _tables_of(name: str, tree: YamlFile) -> list[tuple[str, YamlPath, str]]:
    """Return the files that a rule file names, relative to the root as it is itself, and where and for what it does."""
    content = tree.value if isinstance(tree.value, dict) else {}
    lists, holidays = content.get("lists"), content.get("holidays")
    named: list[tuple[Any, YamlPath, str]] = [
        (part.get("plates"), ("lists", key, "plates"), f"list {key}")
        for key, part in (lists.items() if isinstance(lists, dict) else ())
        if isinstance(part, dict)
    ]
    if isinstance(holidays, list):
        named += [(file, ("holidays", number), "holidays") for number, file in enumerate(holidays)]
    else:
        named.append((holidays, ("holidays",), "holidays"))
    return [
        (table_name(name, file), path, where)
        for file, path, where in named
        if isinstance(file, str) and not posixpath.isabs(file) and not (where == "holidays" and is_date(file))
    ]


def table_name(name: str, file: str) -> str:
    """Return the name of a CSV file that the rule file `name` calls `file`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), file))


def _name(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _read(
    path: Path, name: str, limit: int, problems: list[Problem], gone: Callable[[str], Problem] | None = None
) -> str | None:
    """Return a file's text. `gone` makes the problem of a file that cannot be opened, where it is named."""
    try:
        content = read_file(path, limit + 1)
        if len(content) > limit:
            problems.append(Problem(name, 1, 1, "", f"the file is larger than {limit // 1024} KiB; split it"))
            return None
        if name.lower().endswith(".ics"):
            content = _FOLDED.sub(rb"\2\1", content)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(Problem(name, line, 1, "", "this is not UTF-8; save the file with that encoding"))
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "let the bridge's user read it")
        why = f"cannot be read: {error.strerror or error}; {cure}"
        problems.append(gone(f"{name} {why}") if gone else Problem(name, 0, 0, "", why))
    return None
