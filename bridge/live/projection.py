"""Copies of lists and mode for the other parts to read, in the buckets `lists` and `modes`; the truth is the log.

Written behind the engine, from what it has committed. A crash between the two leaves a copy that is
behind: at start it is compared with the engine's state, and what differs is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json

from bridge.bus.kv import Bucket, key_of
from bridge.clock import Clock
from bridge.contracts import StateKey
from bridge.errors import StoreUnavailableError
from bridge.live.modes import HERE
from bridge.schema.state import MODE
from rules.overlay import changed
from rules.state import LISTS
from rules.state import key_of as value_of

_LOG = logging.getLogger(__name__)
_Values = dict[str, bytes | None]


class Projection:
    """The copies of one site. `run` writes them."""

    def __init__(self, lists: Bucket, modes: Bucket, clock: Clock) -> None:
        self._lists, self._modes, self._clock = lists, modes, clock
        self._waiting: tuple[_Values, _Values] = ({}, {})
        self._news = asyncio.Event()

    def written(self, values: Mapping[StateKey, Mapping[str, Any] | None]) -> None:
        """Take what the engine has committed; what concerns nobody here is left."""
        for bucket, copied in zip(self._waiting, _copied(values), strict=True):
            bucket |= copied
            if copied:
                self._news.set()

    async def run(self, state: Callable[[], Mapping[StateKey, Mapping[str, Any]]]) -> None:
        """Heal the copies, then keep them up to date until cancelled."""
        await self._until_done(lambda: self.heal(state()))
        while True:
            await self._news.wait()
            self._news.clear()
            await self._until_done(self.flush)

    async def heal(self, state: Mapping[StateKey, Mapping[str, Any]]) -> None:
        """Write what differs from the engine's state. Raises StoreUnavailableError."""
        for bucket, wanted in zip((self._lists, self._modes), _copied(state), strict=True):
            found = {key: entry.value async for key, entry in bucket.items()}
            wrong: _Values = {key: value for key, value in wanted.items() if found.get(key) != value}
            await bucket.write(wrong | dict.fromkeys(found.keys() - wanted.keys()))

    async def flush(self) -> None:
        """Write what waits. Raises StoreUnavailableError; nothing is forgotten then."""
        for bucket, waiting in zip((self._lists, self._modes), self._waiting, strict=True):
            taken = dict(waiting)
            if taken:
                await bucket.write(taken)
            for key, value in taken.items():
                if waiting.get(key) is value:
                    del waiting[key]

    async def _until_done(self, work: Callable[[], Any]) -> None:
        while True:
            try:
                await work()
                return
            except StoreUnavailableError as exc:
                _LOG.warning("the copies of lists and mode wait", extra={"error": str(exc)})
                await self._clock.sleep(max(1.0, exc.retry_after.total_seconds()))


def _copied(values: Mapping[StateKey, Mapping[str, Any] | None]) -> tuple[_Values, _Values]:
    lists: _Values = {}
    modes: _Values = {}
    for key, value in values.items():
        if key.rule.startswith(LISTS):
            name = key.rule.removeprefix(LISTS)
            lists[key_of(name, key.key)] = None if value is None else _entry(name, key, value)
        elif key == HERE and value is not None and MODE in value:
            modes["mode"] = to_json({"mode": value[MODE]["value"], "since": value[MODE]["since"]})
    return lists, modes


def _entry(name: str, key: StateKey, value: Mapping[str, Any]) -> bytes:
    return to_json({"list": name, "value": value_of(key, value), **changed(value)._asdict()})
