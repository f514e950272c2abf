"""Read what a stream has stored after a place, in one question, and notice when a part of the answer is missing.

For readers who know how far they are and are told when there is more: no consumer is made for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

import nats.errors
from pydantic_core import to_json

from bridge.bus.connect import API_TIMEOUT, Connection
from bridge.bus.stored import Stored
from bridge.bus.wire import Received
from bridge.errors import StoreUnavailableError

_OWN = frozenset({"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending"})
_END, _NONE = "204", "404"


class Part(NamedTuple):
    """What was asked for, or its beginning."""

    messages: list[Stored]
    left: int
    """How many follow the last one."""


async def read_on(connection: Connection, stream: str, subject: str, after: int, most: int) -> Part:
    """Return the messages of a subject after a sequence, oldest first. Raises StoreUnavailableError."""
    answer = _Answer()
    inbox = connection.client.new_inbox()
    subscription = await connection.subscribe(inbox, answer.arrived)
    try:
        question = {"seq": after + 1, "next_by_subj": subject, "batch": most}
        await connection.tell(f"$JS.API.DIRECT.GET.{stream}", to_json(question), reply=inbox)
        async with asyncio.timeout(API_TIMEOUT):
            return await answer.whole
    except TimeoutError as exc:
        raise StoreUnavailableError(f"the log did not answer within {API_TIMEOUT:.0f} s") from exc
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()


class _Answer:
    """The messages of one answer, each naming the one before it; the last one is its end."""

    def __init__(self) -> None:
        self.whole: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
        self._messages: list[Stored] = []
        self._last = 0

    def arrived(self, message: Received) -> None:
        """Take one message of the answer."""
        if self.whole.done():
            return
        status, headers = message.status, message.headers
        if status == _NONE:
            self.whole.set_result(Part([], 0))
        elif status not in ("", _END):
            self.whole.set_exception(StoreUnavailableError(f"the log cannot be read: {message.words or status}"))
        elif int(headers.get("Nats-Last-Sequence", 0)) != self._last:
            self.whole.set_exception(StoreUnavailableError("messages were lost on the way"))
        elif status == _END:
            self.whole.set_result(Part(self._messages, int(headers.get("Nats-Num-Pending", 0))))
        else:
            self._last = int(headers["Nats-Sequence"])
            kept = {name: value for name, value in headers.items() if name not in _OWN}
            self._messages.append(Stored(headers["Nats-Subject"], self._last, message.data, kept))
