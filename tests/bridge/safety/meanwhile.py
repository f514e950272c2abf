"""Have something else write into a journal before, or in the middle of, its being compacted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
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


@asynccontextmanager
async def left_while_compacting(
    monkeypatch: pytest.MonkeyPatch, work: Coroutine[Any, Any, object]
) -> AsyncIterator[None]:
    """Stop some work as its thread is about to compact a journal; the thread goes on when the block is over."""
    begun, ended, go_on = asyncio.Event(), asyncio.Event(), threading.Event()
    loop, compact = asyncio.get_running_loop(), journal.JsonLines.compact

    def late(file: journal.JsonLines, keep: Callable[[list[dict[str, Any]]], Iterable[Mapping[str, Any]]]) -> None:
        monkeypatch.setattr(journal.JsonLines, "compact", compact)
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(30)
        compact(file, keep)
        loop.call_soon_threadsafe(ended.set)

    monkeypatch.setattr(journal.JsonLines, "compact", late)
    task = asyncio.create_task(work)
    await asyncio.wait_for(begun.wait(), 30)
    task.cancel()
    yield
    go_on.set()
    await asyncio.wait_for(ended.wait(), 30)
