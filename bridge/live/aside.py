"""Work that may hang beside the event loop, in a thread that nobody waits for at the end.

A disk that is gone, like a network drive, keeps who reads from it for minutes. The loop's own threads are waited
for when it ends, so the bridge would not stop either; these are left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T], name: str) -> T:
    """Return what some work gives, or raise what it raises. Cancelled, it goes on without anybody waiting for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(set_: Callable[[Any], None], what: Any) -> None:
        if not done.done():
            set_(what)

    def run() -> None:
        told: tuple[Callable[[Any], None], Any]
        try:
            told = done.set_result, work()
        except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
            told = done.set_exception, error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, *told)

    Thread(target=run, name=name, daemon=True).start()
    return await done
