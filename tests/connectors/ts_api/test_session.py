"""One session with a server that does as it likes: refusals explained, dead links noticed, oddities taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.sdk import ConnectorAuthError, ConnectorUnavailableError, ConnectorUnsupportedError, Listens
from connectors.ts_api import client
from connectors.ts_api.connector import TsApi
from connectors.ts_api.link import Link
from tests.clock import VirtualClock
from tests.fakes import RecordingSession, Running, eventually, listening

from .far_side import FarSide
from .support import config, context, sample

PLATE = json.dumps({"topic": "LPR", "timestamp": "2026-01-10T12:00:00Z", "chid": 1, "plateNo": "12AB345"}).encode()


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """Every link that is made."""
    made: list[Link] = []

    class Noted(Link):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(client, "Link", Noted)
    return made


@asynccontextmanager
async def serving() -> AsyncIterator[FarSide]:
    async with FarSide().running() as far:
        yield far


@asynccontextmanager
async def session(far: FarSide, **values: Any) -> AsyncIterator[Running]:
    connector = TsApi(far.config(**values), context())
    try:
        async with listening(connector) as running:
            yield running
    finally:
        await connector.aclose()


def test_it_listens() -> None:
    """Whoever looks for the capability finds it."""
    assert isinstance(TsApi(config(), context()), Listens)


# --- opening -------------------------------------------------------------------------------------------------


async def test_topics_that_cannot_share_get_sockets_of_their_own() -> None:
    """Their messages do not say what they are, or their filter means something else."""
    async with serving() as far:
        far.offered = ("LPR", "object", "parkingCount", "channelStatus")
        async with session(far) as running:
            await running.ready()
            assert sorted(map(sorted, far.sockets.values())) == [["LPR", "channelStatus"], ["object"], ["parkingCount"]]
            assert running.session.readies[-1].topics == ("LPR", "channelStatus", "object", "parkingCount")
            assert running.session.readies[-1].dialect == "v0"
            assert running.session.flaws == {}


async def test_a_message_without_a_topic_belongs_to_its_socket() -> None:
    """As object and body temperature come."""
    async with serving() as far:
        far.offered = ("object",)
        async with session(far) as running:
            await running.ready()
            await far.send(json.dumps(sample("event.object.face")).encode())
            await running.until(lambda: running.session.of("object.detected"))


async def test_channels_are_asked_for_and_others_dropped() -> None:
    """The server filters two topics; the rest is filtered here. Lots are not channels."""
    async with serving() as far:
        far.offered = ("LPR", "motionChanges", "parkingCount")
        async with session(far, channels=[1, 3]) as running:
            await running.ready()
            asked = [line for line in far.requests if line.startswith("/wsapi")]
            assert ["ch=1,3" in line for line in asked] == ["parkingCount" not in line for line in asked]
            await far.send(PLATE.replace(b'"chid": 1', b'"chid": 2').replace(b"345", b"999"))
            await far.send(PLATE)
            await running.until(lambda: running.session.of("plate.read"))
            assert {event.subject for event in running.session.of("plate.read")} == {"1"}


async def test_one_bad_topic_does_not_cost_the_others() -> None:
    """v0 drops a socket for one bad topic and does not say which: each is tried by itself."""
    async with serving() as far:
        far.accepted = lambda topics: "motionChanges" not in topics
        async with session(far) as running:
            await running.until(lambda: running.session.flaws)
            assert running.session.readies[-1].topics == ("LPR", "channelStatus")
            assert running.session.flaws == {"topics_refused": "the server does not give: motionChanges (refused)"}
            assert "/api/info?whoAmI" in far.requests
            assert far.opened[0] == ["channelStatus", "LPR", "motionChanges"]
            assert list(far.sockets.values()) == [["channelStatus", "LPR"]]


async def test_no_topic_at_all_is_unsupported() -> None:
    """Nothing to listen to."""
    async with serving() as far:
        far.accepted = lambda topics: False
        async with session(far) as running:
            error = await running.failure()
            assert isinstance(error, ConnectorUnsupportedError)
            assert "LPR (refused)" in str(error)


async def test_no_topic_of_those_it_took_before_is_an_outage() -> None:
    """v0 refuses by hanging up, as a broken link does: what was taken before is tried again soon."""
    async with serving() as far:
        connector = TsApi(far.config(), context())
        try:
            async with listening(connector) as running:
                await running.ready()
            far.accepted = lambda topics: False
            async with listening(connector) as running:
                error = await running.failure()
                assert isinstance(error, ConnectorUnavailableError)
                assert "LPR (refused)" in str(error)
        finally:
            await connector.aclose()


async def test_a_topic_that_is_not_listed_is_tried_and_not_missed() -> None:
    """Body temperature may be there without being listed; nobody asked for it, so it is no flaw."""
    async with serving() as far:
        async with session(far) as running:
            await running.until(lambda: len(running.session.readies) == 2)
            assert ["bodyTemperature"] in far.opened
            assert ["object"] in far.opened  # the other way to ask for it
            assert running.session.flaws == {}
        far.accepted = lambda topics: True
        async with session(far) as running:
            await running.until(
                lambda: "bodyTemperature" in running.session.readies[-1].topics if running.session.readies else False
            )


async def test_a_topic_that_was_asked_for_and_is_not_there_is_a_flaw() -> None:
    """The user should know."""
    async with serving() as far, session(far, topics=["LPR", "nonsense"]) as running:
        await running.until(lambda: running.session.flaws)
        assert running.session.flaws == {"topics_refused": "the server does not give: nonsense (refused)"}
        assert running.session.readies[-1].topics == ("LPR",)


async def test_a_socket_that_never_greets_is_given_up() -> None:
    """Within the time set, and as an outage."""
    async with serving() as far:
        far.greets = False
        async with session(far, open_timeout="200ms") as running:
            error = await running.failure()
            assert isinstance(error, ConnectorUnavailableError)
            assert "no answer within 0.2 s" in str(error)


async def test_a_message_before_the_greeting_is_not_lost() -> None:
    """Another order of the first messages is no reason to miss one."""
    async with serving() as far:
        far.greets = False
        async with session(far, topics=["LPR"]) as running:
            await eventually(lambda: far.sockets)
            await far.send(PLATE)
            await running.until(lambda: running.session.of("plate.read"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (502, ConnectorUnavailableError),
        (503, ConnectorUnavailableError),
        (302, ConnectorUnavailableError),
        (404, ConnectorUnsupportedError),
        (401, ConnectorUnsupportedError),
    ],
)
async def test_an_upgrade_that_is_refused_is_judged(status: int, error: type[Exception]) -> None:
    """A proxy's page is an outage; a refusal with good credentials is the topics."""
    async with serving() as far:
        far.socket_status = status
        async with session(far) as running:
            assert type(await running.failure()) is error


async def test_a_refusal_with_bad_credentials_is_about_the_credentials() -> None:
    """The socket never says; whoAmI does."""
    async with serving() as far:
        far.accepted = lambda topics: False
        far.answers["/api/info?whoAmI"] = (401, "application/json", b"{}")
        async with session(far) as running:
            assert isinstance(await running.failure(), ConnectorAuthError)


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    """Refused connections are tried again."""
    async with serving() as far:
        values = far.config()
    connector = TsApi(values, context())
    async with listening(connector) as running:
        error = await running.failure()
    assert isinstance(error, ConnectorUnavailableError)
    assert "cannot reach" in str(error)
    await connector.aclose()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((502, "text/html", b"<html>Bad Gateway</html>"), "HTTP 502, a web page"),
        ((200, "application/json", b'["LPR","chan'), "broken JSON"),
        ((200, "text/html", b"<!DOCTYPE html><html>login</html>"), "a web page instead of JSON"),
    ],
)
async def test_nonsense_from_a_proxy_is_an_outage(answer: tuple[int, str, bytes], words: str) -> None:
    """Not a crash, and not a wrong password."""
    async with serving() as far:
        far.answers["/api/enum?what=realtimeEvent"] = answer
        async with session(far) as running:
            error = await running.failure()
            assert isinstance(error, ConnectorUnavailableError)
            assert words in str(error)


# --- being open ----------------------------------------------------------------------------------------------


async def test_a_dead_socket_ends_the_session(links: list[Link]) -> None:
    """All of its sockets are closed then; how it is noticed is the link's own business."""
    async with serving() as far:
        far.offered = ("LPR", "object")
        async with session(far) as running:
            await running.ready()
            await eventually(lambda: all(link.answers_pings for link in links[:2]))
            next(iter(far.sockets)).transport.pause_reading()
            assert "no answer to pings" in str(await running.failure())
            await eventually(lambda: far.connections <= 1)  # the frozen one cannot know


@asynccontextmanager
async def held_up(links: list[Link]) -> AsyncIterator[tuple[FarSide, VirtualClock, RecordingSession, Running]]:
    """A session whose store takes its time, with so much waiting that the socket is held."""
    clock = VirtualClock()
    slow = RecordingSession(clock)
    slow.hold = asyncio.Event()
    async with serving() as far:
        connector = TsApi(far.config(topics=["LPR"]), context(clock))
        async with listening(connector, slow) as running:
            await running.ready()
            await far.send(PLATE)
            await running.until(lambda: slow.holding)
            for _ in range(40):
                await far.send(PLATE)
            await eventually(lambda: links[-1]._open.held)
            yield far, clock, slow, running
        await connector.aclose()


async def test_a_slow_store_is_not_a_dead_link(links: list[Link]) -> None:
    """While we do not read we do not see pongs either. Nothing is heard then; what was kept back is read after."""
    async with held_up(links) as (far, clock, slow, running):
        heard = slow.times_heard
        next(iter(far.sockets)).transport.pause_reading()
        await clock.advance(600)
        assert not running.task.done()
        assert slow.times_heard == heard
        assert slow.hold is not None
        slow.hold.set()
        await running.until(lambda: len(slow.of("plate.read")) == 41)


async def test_a_link_that_died_behind_a_slow_store_is_noticed_when_reading_goes_on(links: list[Link]) -> None:
    """Within the time that it always has."""
    async with held_up(links) as (far, clock, slow, running):
        next(iter(far.sockets)).transport.pause_reading()
        links[-1].answers_pings = True
        await clock.advance(600)
        assert slow.hold is not None
        slow.hold.set()
        await running.until(lambda: len(slow.of("plate.read")) == 41)
        config = far.config()
        await clock.advance((config.ping_interval * 2 + config.ping_patience).total_seconds())
        assert "no answer to pings" in str(await running.failure())
        assert slow.gaps == []


async def test_what_is_not_read_when_the_session_ends_is_a_gap(links: list[Link]) -> None:
    """It has come, and nobody will read it from this socket any more."""
    async with held_up(links) as (_, clock, slow, running):
        began = links[-1].read_until
        await clock.advance(60)
        running.task.cancel()
        await asyncio.wait({running.task})
        assert slow.gaps == [(began, clock.now(), "unread")]


async def test_a_large_message_is_taken_and_a_larger_one_ends_the_session() -> None:
    """8 MiB by default; the limit is the library's, before anything is parsed."""
    async with serving() as far, session(far, message_limit="256KiB") as running:
        await running.ready()
        padding = b'"' + b"x" * (250 * 1024) + b'"'
        await far.send(PLATE[:-1] + b', "padding": ' + padding + b"}")
        await running.until(lambda: running.session.of("plate.read"))
        await far.send(PLATE[:-1] + b', "padding": ' + padding + padding[1:-1] + b"}")
        assert "code 1009" in str(await running.failure())


async def test_names_of_cameras_are_forgotten_when_numbers_change() -> None:
    """After a swap, preset tokens by channel are another camera's."""
    async with serving() as far:
        connector = TsApi(far.config(), context())
        forgotten = asyncio.Event()
        connector.forget_channels = forgotten.set  # type: ignore[method-assign]
        async with listening(connector) as running:
            await running.ready()
            await far.send(json.dumps(sample("event.channelStatus.channelSwapped")).encode())
            await asyncio.wait_for(forgotten.wait(), 5)
        await connector.aclose()


async def test_a_wrong_clock_is_shown() -> None:
    """Late events never open a door, so people must know why."""
    async with serving() as far:
        body = b'{"apiVersion":"TS-API@0.9.20"}'
        far.answers["/api/info?apiVersion&siteName&timezone&product"] = (200, "application/json", body)
        far.date = "Sat, 10 Jan 2015 12:00:00 GMT"
        async with session(far) as running:
            await running.until(lambda: "clock_differs" in running.session.flaws)


async def test_a_socket_sent_elsewhere_is_not_followed() -> None:
    """The address holds the password, so it goes to one server."""
    async with serving() as other, serving() as far:
        far.socket_status, far.location = 302, f"ws{other.url[4:]}/wsapi/subscribeEvents?topics=LPR"
        async with session(far) as running:
            assert isinstance(await running.failure(), ConnectorUnavailableError)
        assert other.requests == []
