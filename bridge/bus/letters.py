"""Dead letters, for the person who looks at them: find, read, send on their way again, drop.

They stand in two streams with one numbering: orders that were given up, and what was sent to us and nobody understood,
which must not push those out. An older version had both in the first, and what it left there is found there.

Only information can go again: what moves something was for its moment, and that is over. It goes as an order
of its own id with the origin `replay`, which the gate refuses to everything that moves. What a person
does is written into the effect ledger before it is done, so it is in the audit trail like any other end.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Literal

from pydantic import JsonValue, ValidationError

from bridge.bus.acks import Acks
from bridge.bus.connect import Connection
from bridge.bus.effects import JetEffectLedger, write_end
from bridge.bus.engine_store import ORDERS_KEPT
from bridge.bus.naming import Naming
from bridge.bus.newest import newest
from bridge.bus.pull import place, scan
from bridge.bus.streams import REJECTED_FROM, stream_name
from bridge.bus.wire import EXPECTED, NO_MESSAGE, STREAM_NOT_FOUND, TTL, Outgoing, Received, RefusedError
from bridge.errors import StoreError
from bridge.schema.base import stable_id
from bridge.schema.event import Origin
from bridge.schema.orders import ActionClass, Order, Result
from bridge.schema.subjects import Subjects, escape, unescape

_PATIENCE = 15.0
_PREFIX = "Vms-"
_CUT = "Full-Size"
OPERATOR = "operator"
"""The rule that records of what a person did name."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    seq: int
    stored: datetime
    action_class: str
    reason: str
    body: bytes
    headers: Mapping[str, str]
    """What was noted of it, without our prefix."""

    @property
    def order(self) -> Order | None:
        """The order in it, if it is one and whole."""
        try:
            return None if _CUT in self.headers else Order.decode(self.body)
        except ValidationError:
            return None

    @property
    def error(self) -> str:
        """What was said of it when it was given up."""
        return self.headers.get("error") or self.headers.get("Error") or ""

    @property
    def obstacle(self) -> str | None:
        """Why it cannot go again; None if it can."""
        order = self.order
        if order is None:
            return "it is no order that this version can read; what is in it can be shown"
        classes = {order.action_class.value, self.action_class}
        if classes != {ActionClass.INFORMATION.value}:
            return (
                f"an order that is {order.action_class.value.replace('_', ' ')} was for its moment and never goes again"
            )
        return None

    @property
    def content(self) -> JsonValue:
        """What is in it: JSON if it is, text if it is that, else in hex."""
        try:
            return json.loads(self.body)  # type: ignore[no-any-return]
        except ValueError:
            pass
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return self.body.hex()

    def as_json(self, *, whole: bool = False) -> dict[str, JsonValue]:
        """Return it for programs; what is in it, and why it cannot go again, only when asked for whole."""
        order, obstacle = self.order, self.obstacle
        told: dict[str, JsonValue] = {
            "letter": self.seq,
            "stored": self.stored.astimezone(UTC).isoformat(),
            "class": self.action_class,
            "reason": self.reason,
            "error": self.error,
            "rule": order.rule if order else None,
            "action": order.action if order else None,
            "redrivable": obstacle is None,
        }
        if whole:
            told |= {"why_not": obstacle, "noted": dict(self.headers), "body": self.content}
        return told

    @classmethod
    def read(cls, subject: str, seq: int, stored: datetime, body: bytes, headers: Mapping[str, str]) -> Letter:
        """Return the letter of a message as it is stored."""
        action_class, reason = (unescape(token) or "" for token in subject.split(".")[-2:])
        kept = {name.removeprefix(_PREFIX): value for name, value in headers.items() if name.startswith(_PREFIX)}
        return cls(seq, stored, action_class, reason, body, kept)


class DeadLetterBox:
    """The dead letters of one site. Every method raises StoreUnavailableError when the log is not there."""

    def __init__(self, connection: Connection, site: str, who: str) -> None:
        self._connection, self._site, self._who = connection, site, who
        self._acks, self._subjects = Acks(connection), Subjects(site)
        self._given_up, self._rejected = stream_name(site, "DLQ"), stream_name(site, "REJECTED")
        self._ledger = JetEffectLedger(connection, self._acks, stream_name(site, "ENGINE"), site)

    async def newest(
        self, limit: int, *, action_class: str | None = None, reason: str | None = None, since: datetime | None = None
    ) -> list[Letter]:
        """Return the newest of this class, this reason and since then, oldest first."""
        what = [escape(token) if token else "*" for token in (action_class, reason)]
        subject = f"{self._subjects.root}.dlq.{'.'.join(what)}"
        found = [
            Letter.read(message.subject, at.seq, at.stamp, message.data, message.headers or {})
            for stream in (self._given_up, self._rejected)
            for message in await self._newest(stream, subject, limit, since)
            for at in (place(message.reply),)
        ]
        found.sort(key=attrgetter("stored", "seq"))
        return found[max(0, len(found) - limit) :]

    async def _newest(self, stream: str, subject: str, limit: int, since: datetime | None) -> list[Received]:
        found: list[Received] = []
        with _perhaps_missing():
            found += await newest(self._connection, stream, subject, limit, since=since)
        return found

    def _stream_of(self, seq: int) -> str:
        return self._rejected if seq >= REJECTED_FROM else self._given_up

    async def get(self, seq: int) -> Letter:
        """Return one. Raises StoreError when there is none of that number."""
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream_of(seq)}", {"seq": seq})
        except RefusedError as exc:
            if exc.code in (NO_MESSAGE, STREAM_NOT_FOUND):
                raise StoreError(f"there is no dead letter {seq}") from exc
            raise
        message = answer["message"]
        lines = base64.b64decode(message.get("hdrs", "")).decode(errors="replace").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        headers = {name: value.strip() for name, _, value in pairs}
        body = base64.b64decode(message.get("data", ""))
        return Letter.read(message["subject"], seq, datetime.fromisoformat(message["time"]), body, headers)

    async def redrive(self, seq: int, now: datetime) -> str:
        """Give the order of a letter to the runners anew and take the letter away; return the new order's id.

        Twice for the same letter is once. Raises StoreError when it cannot go again.
        """
        letter = await self.get(seq)
        order = letter.order
        if order is None or letter.obstacle is not None:
            raise StoreError(f"dead letter {seq}: {letter.obstacle}")
        again = order.model_copy(
            update={
                "id": stable_id("redrive", self._site, order.id, seq),
                "origin": Origin.REPLAY,
                "created": now,
                "expires": None,
            }
        )
        await self._note("redrive", letter, now, f"as order {again.id}")
        headers = {TTL: str(int(ORDERS_KEPT.total_seconds())), EXPECTED: "0"}
        message = Outgoing(self._subjects.order(again.id), again.encode(), headers)
        try:
            await self._acks.store([message], _PATIENCE)
        except RefusedError as exc:
            if not exc.stale:  # else it was given already, and only the letter was left
                raise
        await self._remove(seq)
        return again.id

    async def drop(self, seq: int, now: datetime, why: str = "") -> None:
        """Take a letter away for good; that it was dropped, by whom and why, stays. Raises StoreError."""
        await self._note("drop", await self.get(seq), now, why)
        await self._remove(seq)

    async def forget(self, plate: str, before: Callable[[int], Awaitable[None]]) -> int:
        """Take away every letter in which a plate stands, however it is written there; return how many.

        `before` writes down that so many will go; if it raises none does.
        """
        subject, named = f"{self._subjects.root}.dlq.>", Naming(plate)
        found: list[int] = []
        for stream in (self._given_up, self._rejected):
            with _perhaps_missing():
                async for batch in scan(self._connection, stream, [subject]):
                    found += [place(m.reply).seq for m in batch if _names(m, named)]
        await before(len(found))
        for seq in found:
            await self._remove(seq)
        return len(found)

    async def _note(self, did: Literal["redrive", "drop"], letter: Letter, now: datetime, more: str) -> None:
        order = letter.order
        said = f"dead letter {letter.seq} ({letter.action_class}, {letter.reason}) {more}".rstrip()
        causes = (order.id,) if order else ()
        await note(self._ledger, f"dlq-{did}", self._who, now, said, causes)

    async def _remove(self, seq: int) -> None:
        await self._connection.api(f"STREAM.MSG.DELETE.{self._stream_of(seq)}", {"seq": seq})


def _names(message: Received, plate: Naming) -> bool:
    """Tell whether a plate stands in a letter, or in what was noted of it."""
    return plate.within(message.data) or any(
        plate.within(said.encode(errors="replace")) for said in (message.headers or {}).values()
    )


@contextmanager
def _perhaps_missing() -> Iterator[None]:
    """Find nothing in a stream that is not there: the bridge has not run since there are two."""
    try:
        yield
    except RefusedError as exc:
        if exc.code != STREAM_NOT_FOUND:
            raise


async def note(
    ledger: JetEffectLedger, did: str, who: str, now: datetime, message: str, causes: tuple[str, ...] = ()
) -> None:
    """Write down what a person did, as an order that has ended: the audit trail is made of those."""
    name = stable_id(did, who, now.astimezone(UTC).isoformat(), message)
    result = Result(
        order=name,
        rule=OPERATOR,
        action=did,
        action_class=ActionClass.INFORMATION,
        outcome="done",
        message=f"{who}: {message}",
        attempts=1,
        ended=now,
        causes=causes,
    )
    await write_end(ledger, result, who)
