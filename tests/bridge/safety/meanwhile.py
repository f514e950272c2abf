"""Have something else write into a journal in the middle of its being compacted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from bridge.safety import journal


@contextmanager
def writing_meanwhile(
    monkeypatch: pytest.MonkeyPatch, begins: Callable[[Mapping[str, Any]], object], write: Callable[[], None]
) -> Iterator[None]:
    """Let another thread write as soon as a record that `begins` it is put down; it is through at the end."""
    line, writers = journal._line, list[threading.Thread]()

    def meanwhile(record: Mapping[str, Any]) -> bytes:
        if not writers and begins(record):
            writers.append(threading.Thread(target=write))
            writers[0].start()
            writers[0].join(0.1)  # through by then, unless it is kept out
        return line(record)

    monkeypatch.setattr(journal, "_line", meanwhile)
    yield
    [writer] = writers
    writer.join(10)
    assert not writer.is_alive()
