"""Rule files and the CSV files they name, from disk to text. The only module of the language that reads files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from bridge.sdk import Problem
from rules.lists import MAX_CSV_BYTES
from rules.ruleset import Documents
from rules.tree import MAX_BYTES, Node, Parsed, read_tree


def load_documents(paths: Iterable[Path], root: Path) -> Documents:
    """Read rule files and their lists. Names are relative to `root`; what cannot be read is among the problems."""
    files: dict[str, str] = {}
    trees: dict[str, Parsed] = {}
    tables: dict[str, str] = {}
    problems: list[Problem] = []
    for path in sorted(set(paths)):
        name = _name(path, root)
        text = _read(path, name, MAX_BYTES, problems)
        if text is None:
            continue
        files[name], trees[name] = text, read_tree(name, text)
        for table in _tables_of(name, trees[name][0]):
            content = None if table in tables else _read(root / table, table, MAX_CSV_BYTES, problems)
            if content is not None:
                tables[table] = content
    return Documents(files, tables, tuple(problems), trees)


def _tables_of(name: str, tree: Node | None) -> list[str]:
    """Return the CSV files that a rule file names, relative to the root as it is itself."""
    lists = tree.value.get("lists") if tree is not None and isinstance(tree.value, dict) else None
    parts = lists.values() if isinstance(lists, dict) else ()
    named = [part.get("plates") for part in parts if isinstance(part, dict)]
    return [table_name(name, file) for file in named if isinstance(file, str) and not posixpath.isabs(file)]


def table_name(name: str, file: str) -> str:
    """Return the name of a CSV file that the rule file `name` calls `file`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), file))


def _name(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _read(path: Path, name: str, limit: int, problems: list[Problem]) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            problems.append(Problem(name, 1, 1, "", f"the file is larger than {limit // 1024} KiB; split it"))
            return None
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(Problem(name, line, 1, "", "this is not UTF-8; save the file with that encoding"))
    except OSError as error:
        problems.append(Problem(name, 0, 0, "", f"cannot be read: {error.strerror or error}"))
    return None
