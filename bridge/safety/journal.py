"""A small file that does not forget: JSON objects, one a line, synced before `append` returns.

What protects outputs is remembered here, beside the bus and independent of it. A line torn by a
power cut is dropped, a damaged one is skipped and reported; nothing else is lost with it. All
calls block on the disk: use them from a thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def sync_dir(folder: Path) -> None:
    """Make the names in a folder as durable as the files. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Put a whole file in place, or leave what was there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    sync_dir(path.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    """Write every byte; `os.write` may take less, most of all on a disk that is filling up."""
    while content:
        content = content[os.write(descriptor, content) :]


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class JsonLines:
    """An append-only file of JSON objects. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        """How many lines the file has; a hint when to `compact`."""
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._good: int
        """Bytes of the open file that are whole lines."""

    def load(self) -> list[dict[str, Any]]:
        """Return every record that can be read, oldest first; none if there is no file. Raises OSError."""
        return list(self.each())

    def each(self) -> Iterator[dict[str, Any]]:
        """Yield what `load` returns without having all of it in memory; to its end nobody else can write."""
        with self._lock:
            yield from self._read()

    def _read(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            self.lines = 0
            for line in file:
                if not line.endswith(b"\n"):
                    _LOG.warning("dropped the torn last line of a journal", extra={"file": self.path.name})
                elif line != b"\n" and (record := self._parse(line)) is not None:
                    self.lines += 1
                    yield record

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        with contextlib.suppress(ValueError):
            if isinstance(record := json.loads(line), dict):
                return record
        _LOG.error("skipped a damaged line of a journal", extra={"file": self.path.name, "bytes": len(line)})
        return None

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write records; they are on the disk when this returns. Raises OSError, and then none is in the file."""
        lines = b"".join(map(_line, records))
        with self._lock:
            descriptor = self._open() if self._descriptor is None else self._descriptor
            try:
                _write_all(descriptor, lines)
                os.fsync(descriptor)
            except OSError:
                self._undo(descriptor)
                raise
            self._good += len(lines)
            self.lines += len(records)

    def compact(self, keep: Callable[[list[dict[str, Any]]], Iterable[Mapping[str, Any]]]) -> None:
        """Replace the file by what `keep` makes of it, so that it does not grow for ever.

        Who appends meanwhile waits and is in the new file: nothing is lost that was written down. Raises
        OSError, and then the file is as it was, or the new one if only its name could not be synced.
        """
        with self._lock:
            kept = [_line(record) for record in keep(list(self._read()))]
            self._close()  # first: once the new file is in place, nothing that is written to the old one is ever read
            write_synced(self.path, b"".join(kept))
            self.lines = len(kept)

    def close(self) -> None:
        """Let go of the file. It opens again when needed."""
        with self._lock:
            self._close()

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = descriptor = os.open(self.path, _APPEND, 0o600)
        try:
            content = self.path.read_bytes()
            self._good = content.rfind(b"\n") + 1
            if self._good != len(content):
                os.ftruncate(descriptor, self._good)
            os.fsync(descriptor)
            sync_dir(self.path.parent)
        except OSError:
            self._close()
            raise
        return descriptor

    def _undo(self, descriptor: int) -> None:
        """After a failed write nothing is known about the tail: cut it off and open the file anew next time."""
        try:
            os.ftruncate(descriptor, self._good)
        except OSError:
            _LOG.warning("the tail of a journal may be torn", extra={"file": self.path.name})
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
