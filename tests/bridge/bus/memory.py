"""The ledger, the log and the trail in memory: what the appender and its parts are tried on without a server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.bus import appender as appender_module
from bridge.bus.appender import Appender
from bridge.bus.pull import place
from bridge.bus.readon import Part
from bridge.bus.stored import Stored
from bridge.bus.wire import EXPECTED_LAST, NO_MESSAGE, Ack, Outgoing, Received, RefusedError
from bridge.schema.audit import GENESIS, TrailRecord, digest, read_record
from bridge.schema.event import VmsEvent, own_event
from bridge.schema.kinds import Payload
from bridge.schema.orders import Effect
from bridge.schema.subjects import Subjects
from tests.bridge.actions.support import inline
from tests.bridge.bus.helpers import NOW, effect, result
from tests.clock import VirtualClock

SUBJECTS = Subjects("home")
KINDS = ("list.changed", "mode.changed", "rules.changed", "settings.changed", "command.given")


class Streams:
    """The ledger, the log and the trail; it is the connection, the acknowledgements and the publisher too."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger: list[Stored] = []
        self.log: list[Received] = []
        self.trail: list[Outgoing] = []
        self.events: list[Outgoing] = []
        self.reads: list[tuple[str, int]] = []
        self.grows_by = 0
        self.end = 0
        """What stands in the trail's stream before its first record: they were deleted."""
        self.asked: list[tuple[list[str], datetime | None]] = []
        """What of the trail was read again, and since when."""
        self.clock = VirtualClock()
        for name, stands_in in (("read_on", self.read_on), ("scan", self.scan), ("last", self.last)):
            monkeypatch.setattr(appender_module, name, stands_in)
        monkeypatch.setattr("bridge.bus.resume.scan", self.scan_trail)
        monkeypatch.setattr("bridge.bus.resume.newest_of", self.newest)
        monkeypatch.setattr("asyncio.to_thread", inline)
        parts = cast("Any", self)
        self.appender = Appender(parts, parts, parts, "home", folder, self.clock)

    # --- what is there

    def ended(self, number: int, **told: Any) -> Effect:
        """Write an end into the ledger."""
        made = effect(number, status="ended", result=result(number), **told)
        self.ledger.append(Stored(SUBJECTS.effect(made.order), len(self.ledger) + 1, made.encode(), {}))
        return made

    def changed(self, data: Payload, kind: str = "mode.changed") -> VmsEvent:
        """Write a change into the log."""
        made = own_event("home", kind, data, NOW)
        seq = len(self.log) + 1
        self.log.append(Received("", f"$JS.ACK.VMS-home-EVENTS.c.1.{seq}.{seq}.0.0", made.encode()))
        return made

    @property
    def records(self) -> list[TrailRecord]:
        """The trail, after checking that it is one chain, filed where it belongs."""
        found = [read_record(message.body) for message in self.trail]
        bodies = [message.body for message in self.trail]
        assert [record.n for record in found] == list(range(1, len(found) + 1))
        assert [record.prev for record in found] == [GENESIS, *map(digest, bodies)][: len(found)]
        assert [message.subject for message in self.trail] == [record.filed(SUBJECTS) for record in found]
        return found

    # --- what is asked of it

    async def read_on(self, connection: Any, stream: str, subject: str, after: int, most: int) -> Part:
        assert (connection, stream, subject) == (self, "VMS-home-ENGINE", "vms.home.effect.*")
        assert most == appender_module.BATCH
        self.reads.append(("ledger", after))
        found = [message for message in self.ledger if message.seq > after]
        return Part(found[:most], len(found[most:]))

    async def scan(
        self, connection: Any, stream: str, subjects: Sequence[str], *, after: int
    ) -> AsyncIterator[list[Received]]:
        assert (connection, stream) == (self, "VMS-home-EVENTS")
        assert list(subjects) == [SUBJECTS.events("bridge", kind) for kind in KINDS]
        self.reads.append(("log", after))
        found = self.log[after:]
        for at in range(0, len(found), 5):
            yield found[at : at + 5]

    async def scan_trail(
        self, connection: Any, stream: str, subjects: Sequence[str], *, since: datetime | None = None
    ) -> AsyncIterator[list[Received]]:
        assert (connection, stream) == (self, "VMS-home-RESULTS")
        self.asked.append((list(subjects), since))
        for message in self.trail:
            if any(_filed(message.subject, wanted) for wanted in subjects):
                yield [Received(message.subject, "", message.body)]

    async def newest(self, connection: Any, stream: str, subject: str, limit: int) -> list[Received]:
        assert (connection, stream, limit) == (self, "VMS-home-EVENTS", 1000)
        return [Received(one.subject, "", one.body) for one in self.events if one.subject == subject]

    async def last(self, connection: Any, stream: str, subject: str) -> Stored | None:
        assert (connection, stream, subject) == (self, "VMS-home-RESULTS", "vms.home.result.>")
        if not self.trail:
            return None
        return Stored(self.trail[-1].subject, self.end + len(self.trail), self.trail[-1].body, {})

    async def api(self, subject: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
        what, _, stream = subject.rpartition(".VMS-home-")
        stands = {
            "ENGINE": self.ledger,
            "EVENTS": [Stored("", place(message.reply).seq, message.data, {}) for message in self.log],
            "RESULTS": [Stored(one.subject, seq, one.body, {}) for seq, one in enumerate(self.trail, self.end + 1)],
        }[stream]
        if what == "STREAM.INFO":
            last = stands[-1].seq if stands else self.end if stream == "RESULTS" else 0
            return {"state": {"last_seq": str(last)}, "config": {"max_age": 365 * 86400 * 10**9}}
        assert (what, asked is None) == ("STREAM.MSG.GET", False)
        if stream == "EVENTS":
            stands += [Stored(one.subject, 0, one.body, {}) for one in self.events]
        found = [one for one in stands if _is_asked(one, asked or {})]
        if not found:
            raise RefusedError(NO_MESSAGE, "no message found")
        one = found[-1]
        return {"message": {"subject": one.subject, "seq": one.seq, "data": base64.b64encode(one.body).decode()}}

    async def store(self, messages: Sequence[Outgoing], patience: float) -> Ack:
        assert patience == 15.0
        expected = {EXPECTED_LAST: str(self.end + len(self.trail))}
        assert [message.headers for message in messages] == [expected] + [{}] * (len(messages) - 1)
        self.trail += messages
        return Ack(self.end + len(self.trail) + self.grows_by)

    async def put(self, messages: Sequence[Outgoing]) -> asyncio.Future[int]:
        self.events += messages
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(0)
        return future


def _is_asked(message: Stored, asked: dict[str, Any]) -> bool:
    """Tell whether a message is what is asked for: by its place, or by a subject that may have wildcards."""
    if "seq" in asked:
        return bool(message.seq == asked["seq"])
    return _filed(message.subject, str(asked["last_by_subj"]))


def _filed(subject: str, under: str) -> bool:
    wanted, tokens = under.split("."), subject.split(".")
    return len(wanted) == len(tokens) and all(a in ("*", b) for a, b in zip(wanted, tokens, strict=True))
