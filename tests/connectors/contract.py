"""What every connector promises, as tests to inherit.

Subclass `ConnectorContract` in the connector's own test folder, fill in what is marked, and every
promise is tested over real sockets. A connector that listens to nothing sets `listens = False`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from bridge.sdk import (
    ConnectorAuthError,
    ConnectorConfig,
    ConnectorSpec,
    ConnectorUnavailableError,
    PayloadError,
    SourceContext,
    SystemClock,
    VmsEvent,
)
from tests.fakes import RecordingSession, Running, eventually, listening

SITE, SOURCE = "home", "under-test"
CANARY = "CANARY"
"""Every secret a far side hands out or is configured with must contain it."""


class FarSide(Protocol):
    """A system on a real socket, as the tests need it."""

    def config(self, **changes: Any) -> ConnectorConfig:
        """Return a configuration that reaches it, with canaries for secrets and short timers."""
        ...

    def wrong_password(self) -> ConnectorConfig:
        """Return a configuration it refuses."""
        ...

    async def send(self, message: bytes) -> None:
        """Say something to whoever listens."""
        ...

    async def drop(self) -> None:
        """End every connection rudely."""
        ...

    @property
    def connections(self) -> int:
        """How many connections are open."""
        ...


def hostile(good: bytes) -> dict[str, bytes]:
    """Return messages that no system should send."""
    return {
        "empty": b"",
        "half": good[: len(good) // 2],
        "all but one": good[:-1],
        "no JSON": b"<html>502</html>",
        "null": b"null",
        "a number": b"17",
        "an array": b"[1,2,3]",
        "an empty object": b"{}",
        "not UTF-8": b'{"topic":"\xff\xfe"}',
        "a lone surrogate": b'{"topic":"\\ud800"}',
        "not a number": b'{"topic":NaN}',
        "a huge number": b'{"topic":"x","value":' + b"9" * 5000 + b"}",
        "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "deep arrays": b"[" * 100_000,
        "wrong types": b'{"topic":7,"event":[],"channel":{},"chid":{"chid":{}},"timestamp":false}',
        "long names": b'{"topic":"' + b"A" * 100_000 + b'"}',
        "control characters": b'{"topic":"\\u0000\\r\\n","event":"\\u001b[31m"}',
    }


class ConnectorContract(ABC):
    """The promises. `good` gives the n-th of some ordinary messages; each becomes exactly one event."""

    spec: ClassVar[ConnectorSpec[Any]]
    samples: ClassVar[Mapping[str, bytes]]
    listens: ClassVar[bool] = True

    @abstractmethod
    def decode(self, message: bytes) -> Sequence[VmsEvent]:
        """Return the events of one recorded message, or raise PayloadError."""

    @abstractmethod
    def example(self) -> ConnectorConfig:
        """Return a configuration with canaries for secrets."""

    @abstractmethod
    def far_side(self) -> AbstractAsyncContextManager[FarSide]:
        """Return a system on a real socket."""

    @abstractmethod
    def good(self, number: int) -> bytes:
        """Return an ordinary message that makes one event; another number, another event."""

    def build(self, config: ConnectorConfig) -> Any:
        """Return the connector, built as the bridge builds it."""
        return self.spec.build(config, SourceContext(SITE, SOURCE, SystemClock()))

    # --- reading ---

    def test_every_recorded_message_is_read_or_refused_with_a_reason(self) -> None:
        """Nothing else ever comes out, and what does can be written down and read again."""
        assert self.samples
        reasons: list[str] = []
        for name, message in self.samples.items():
            try:
                events = self.decode(message)
            except PayloadError as refused:
                reasons.append(refused.reason)
                continue
            for event in events:
                assert event.source == f"{SITE}/{SOURCE}", name
                assert VmsEvent.decode(event.encode()) == event, name
        assert all(reasons)

    def test_the_same_message_gives_the_same_ids(self) -> None:
        """Ids depend on the message, so whatever comes twice is stored once."""
        for name, message in self.samples.items():
            with suppress(PayloadError):
                assert [event.id for event in self.decode(message)] == [event.id for event in self.decode(message)], (
                    name
                )

    def test_building_does_nothing(self) -> None:
        """No connection, no thread, no file: a wrong configuration is found without touching the system."""
        before = _open_files()
        self.build(self.example())
        assert _open_files() == before

    def test_every_option_is_described_and_no_secret_shows(self) -> None:
        """The reference page is made from the descriptions; configurations are printed in errors."""
        assert [name for name, field in self.spec.config.model_fields.items() if not field.description] == []
        assert CANARY not in repr(self.example())

    # --- listening ---

    async def test_duplicates_are_one_event(self) -> None:
        """A message that comes three times comes with one id."""
        async with self._session() as (far, running):
            for _ in range(3):
                await far.send(self.good(1))
            await far.send(self.good(2))
            ids = await self._ids(running, 2)
            assert len(ids) == 2

    async def test_order_does_not_matter(self) -> None:
        """What is said out of order is the same as what is said in order."""
        found = []
        for order in ((1, 2, 3, 4), (4, 2, 1, 3)):
            async with self._session() as (far, running):
                for number in order:
                    await far.send(self.good(number))
                found.append(await self._ids(running, 4))
        assert found[0] == found[1]

    async def test_a_broken_session_ends_and_the_next_one_works(self) -> None:
        """Reconnecting is the supervisor's: `run` ends with an error and can be called again."""
        self._need_listening()
        async with self.far_side() as far:
            connector = self.build(far.config())
            for number in (1, 2):
                async with listening(connector) as running:
                    await running.ready()
                    await far.send(self.good(number))
                    await self._ids(running, 1)
                    await far.drop()
                    assert isinstance(await running.failure(), ConnectorUnavailableError)
            await connector.aclose()

    async def test_a_bad_message_is_parked_and_the_next_one_read(self) -> None:
        """Whatever is said, the session goes on."""
        async with self._session() as (far, running):
            for name, message in hostile(self.good(1)).items():
                await far.send(message)
                assert not running.task.done(), name
            await far.send(self.good(2))
            wanted = {event.id for event in self.decode(self.good(2))}
            await running.until(lambda: wanted <= {event.id for event in running.session.emitted})
            assert running.session.parked
            assert all(parked.reason and len(parked.reason) < 40 for parked in running.session.parked)

    async def test_refused_credentials_are_told_from_an_outage(self) -> None:
        """A person must act, and hammering locks accounts."""
        self._need_listening()
        async with self.far_side() as far:
            connector = self.build(far.wrong_password())
            async with listening(connector) as running:
                assert isinstance(await running.failure(), ConnectorAuthError)
            await connector.aclose()

    async def test_what_the_store_did_not_take_is_handed_over_again(self) -> None:
        """A socket has no replay: the connector is the only one who still has it."""
        async with self._session() as (far, running):
            running.session.store_down = True
            await far.send(self.good(1))
            await far.send(self.good(2))
            await running.until(lambda: running.session.refused >= 2)
            running.session.store_down = False
            assert len(await self._ids(running, 2)) == 2

    # --- ending ---

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233])
    async def test_cancelling_leaves_nothing_behind(self, steps: int) -> None:
        """No task and no connection, at whatever moment it happens."""
        self._need_listening()
        async with self.far_side() as far:
            before = asyncio.all_tasks()
            connector = self.build(far.config())
            task = asyncio.create_task(connector.run(RecordingSession()))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await connector.aclose()
            await connector.aclose()
            assert {
                task for task in asyncio.all_tasks() - before if task.get_name().startswith(self.spec.name)
            } == set()
            await eventually(lambda: far.connections == 0)

    async def test_cancelling_while_listening_leaves_nothing_behind(self) -> None:
        """The same in the middle of a session."""
        self._need_listening()
        async with self.far_side() as far:
            connector = self.build(far.config())
            async with listening(connector) as running:
                await running.ready()
                await far.send(self.good(1))
                await self._ids(running, 1)
                assert far.connections > 0
            assert running.task.cancelled()
            await connector.aclose()
            await eventually(lambda: far.connections == 0)

    async def test_secrets_are_in_no_log_error_or_event(self, caplog: pytest.LogCaptureFixture) -> None:
        """Even with every library at its most talkative, in good times and bad."""
        self._need_listening()
        caplog.set_level(logging.DEBUG)
        told: list[str] = []
        async with self.far_side() as far:
            for config in (far.config(), far.wrong_password()):
                connector = self.build(config)
                async with listening(connector) as running:
                    with suppress(ConnectorAuthError):
                        await running.ready()
                        for message in (self.good(1), *hostile(self.good(1)).values()):
                            await far.send(message)
                        await self._ids(running, 1)
                        await far.drop()
                    error = await running.failure()
                told += [str(error), repr(error), repr(error.__cause__), *running.session.flaws.values()]
                told += [event.encode().decode() for event in running.session.emitted]
                told += [parked.error for parked in running.session.parked]
                await connector.aclose()
        assert CANARY not in "\n".join(told)
        said = [record.getMessage() for record in caplog.records if not record.name.startswith("tests.")]
        assert [line for line in said if CANARY in line or _base64_of_canary(line)] == []

    # --- helpers ---

    def _need_listening(self) -> None:
        if not self.listens:
            pytest.skip("this connector listens to nothing")

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[tuple[FarSide, Running]]:
        self._need_listening()
        async with self.far_side() as far:
            connector = self.build(far.config())
            async with listening(connector) as running:
                await running.ready()
                yield far, running
            await connector.aclose()

    async def _ids(self, running: Running, count: int) -> set[str]:
        """Wait for so many different events of the messages sent, and return their ids."""
        known = {event.id for number in range(1, 10) for event in self.decode(self.good(number))}
        session = running.session
        await running.until(lambda: len(known & {event.id for event in session.emitted}) >= count)
        return known & {event.id for event in session.emitted}


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _base64_of_canary(line: str) -> bool:
    """Tell whether a canary is in a line in any of the three ways base64 can write it inside a longer text."""
    return any(part in line for part in ("Q0FOQVJZ", "NBTkFSW", "DQU5BUl"))
