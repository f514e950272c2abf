"""Messages of the MQTT broker that change a list or the mode; only what the configuration opens is listened to.

The broker knows who may publish where, and does not say who did: whoever it lets is `mqtt`. What cannot be
done is logged; there is nobody to answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.clock import Clock
from bridge.config.models import MqttCommands
from bridge.errors import BridgeError
from bridge.live.lists import Do, ListDesk
from bridge.live.modes import ModeDesk
from bridge.schema.kinds import MAX_LIST_VALUES
from bridge.schema.units import Duration

_LOG = logging.getLogger(__name__)
WHO = "mqtt"
MAX_BYTES = 64 * 1024
AT_ONCE = 100
"""Messages in hand; more than that are turned away."""

Listen = Callable[[str, Callable[[bytes], None]], None]
_VALUES = Field((), max_length=MAX_LIST_VALUES)


class ListMessage(BaseModel):
    """`{"add": ["12AB345"], "for": "2h"}`: one of `add`, `remove` and `reset`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    add: tuple[str, ...] = _VALUES
    remove: tuple[str, ...] = _VALUES
    reset: tuple[str, ...] = _VALUES
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    for_: Duration | None = Field(None, alias="for")
    tags: tuple[str, ...] = Field((), max_length=20)
    reason: str | None = Field(None, max_length=500)

    @model_validator(mode="after")
    def _one(self) -> ListMessage:
        if sum(map(bool, (self.add, self.remove, self.reset))) != 1:
            raise ValueError("say one of `add`, `remove` and `reset`")
        if self.for_ is not None and self.valid_until is not None:
            raise ValueError("say `for` or `valid_until`")
        return self

    def until(self, now: datetime) -> datetime | None:
        """Return when it ends."""
        return self.valid_until if self.for_ is None else (self.valid_from or now) + self.for_


class ModeMessage(BaseModel):
    """`night`, or `{"mode": "night", "reason": "…"}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str
    reason: str | None = Field(None, max_length=500)


class Messages:
    """The topics of one site."""

    def __init__(self, config: MqttCommands, lists: ListDesk, modes: ModeDesk, clock: Clock) -> None:
        self._config, self._lists, self._modes, self._clock = config, lists, modes, clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def listen(self, listen: Listen, site: str) -> None:
        """Take the messages of the topics that are open."""
        for name in self._config.lists:
            listen(f"{site}/list/{name}/set", partial(self._list_message, name))
        if self._config.mode:
            listen(f"{site}/mode/set", self._mode_message)

    async def aclose(self) -> None:
        """Let go of what is still being done."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _list_message(self, name: str, payload: bytes) -> None:
        self._take(self._list(name, payload), payload)

    def _mode_message(self, payload: bytes) -> None:
        self._take(self._mode(payload), payload)

    async def _list(self, name: str, payload: bytes) -> None:
        message = ListMessage.model_validate_json(payload)
        do: Do = "add" if message.add else "remove" if message.remove else "reset"
        await self._lists.change(
            name,
            do,
            message.add or message.remove or message.reset,
            WHO,
            valid_from=message.valid_from,
            valid_until=message.until(self._clock.now()),
            tags=message.tags,
            reason=message.reason,
            via="mqtt",
        )

    async def _mode(self, payload: bytes) -> None:
        text = payload.decode().strip()
        message = ModeMessage.model_validate_json(text) if text.startswith("{") else ModeMessage(mode=text)
        await self._modes.set(message.mode, WHO, reason=message.reason, via="mqtt")

    def _take(self, work: Coroutine[Any, Any, None], payload: bytes) -> None:
        if len(payload) > MAX_BYTES or len(self._tasks) >= AT_ONCE:
            work.close()
            _LOG.warning("a command over MQTT was refused", extra={"error": "too large, or too many at once"})
            return
        task = asyncio.get_running_loop().create_task(self._done(work), name="mqtt command")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._turn:  # in the order in which they came
                await work
        except ValidationError as exc:
            first = exc.errors()[0]
            words = f"{'.'.join(map(str, first['loc'])) or 'message'}: {first['msg']}"
            _LOG.warning("a command over MQTT was refused", extra={"error": words})
        except (BridgeError, UnicodeDecodeError) as exc:
            _LOG.warning("a command over MQTT was refused", extra={"error": str(exc)})
        finally:
            work.close()
