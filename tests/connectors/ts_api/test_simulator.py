"""The connector against the simulator, over real sockets: every topic, every fault, every capability."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.sdk import (
    ActionError,
    ActionRejectedError,
    ActionUnavailableError,
    ActionUnknownError,
    ConnectorAuthError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
    Origin,
)
from connectors.ts_api import SPEC, TsApi
from connectors.ts_api.logs import pages
from connectors.ts_api.simulator import Simulator, SimulatorConfig
from connectors.ts_api.simulator.config import ApiKeyConfig, UserConfig
from tests.fakes import RecordingSession, Running, eventually, listening

from .far_side import QUICK
from .support import API_KEY, PASSWORD, USER, config, context

WAYS: dict[str, dict[str, Any]] = {
    "v0": {"dialect": "v0"},
    "v1 key": {"api_key": API_KEY, "username": None, "password": None},
    "v1 login": {"dialect": "v1"},
}


@asynccontextmanager
async def simulated(**values: Any) -> AsyncIterator[Simulator]:
    settings = {
        "users": (UserConfig(name=USER, password=SecretStr(PASSWORD), admin=True),),
        "api_keys": (ApiKeyConfig(id="k", key=SecretStr(API_KEY), permissions=("*",)),),
        "motion_tick": timedelta(0),
        "unlicensed": frozenset(),
        **values,
    }
    async with Simulator(SimulatorConfig(**settings)) as sim:
        yield sim


@asynccontextmanager
async def connected(sim: Simulator, **values: Any) -> AsyncIterator[TsApi]:
    connector = SPEC.build(config(url=sim.url, **{**QUICK, **values}), context())
    assert isinstance(connector, TsApi)
    try:
        yield connector
    finally:
        await connector.aclose()


@asynccontextmanager
async def session(sim: Simulator, **values: Any) -> AsyncIterator[Running]:
    async with connected(sim, **values) as connector, listening(connector) as running:
        yield running


# --- topics --------------------------------------------------------------------------------------------------

TOPICS: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("channelStatus", {"channel": 2, "code": 404}, "channel.status", "2"),
    ("channelStatus", {"event": "nameChanged", "channel": 2, "name": "Stairs"}, "channel.renamed", "2"),
    ("channelStatus", {"event": "videoStreamReady", "channel": 2}, "channel.stream", "2"),
    ("channelStatus", {"event": "channelAdded", "channel": 9, "name": "New"}, "channel.added", "9"),
    ("channelStatus", {"event": "channelSwapped", "channel": 1, "swappedWith": 2}, "channel.swapped", "1"),
    ("channelStatus", {"event": "channelRemoved", "channel": 4}, "channel.removed", "4"),
    ("LPR", {"plateNo": "12가3456", "channel": 1}, "plate.read", "1"),
    ("LPR", {"plateNo": "12AB345", "channel": None, "deviceCode": "F00001"}, "plate.read", "F00001"),
    ("emergencyCall", {"event": "callStart", "caller": "0000001"}, "call.started", "0000001"),
    ("emergencyCall", {"event": "callEnd", "caller": "0000001"}, "call.ended", "0000001"),
    ("systemEvent", {"code": 30, "param": {"storagePath": "E:\\rec"}}, "system.log", None),
    ("motionChanges", {"channel": 1, "motion": True}, "motion.started", "1"),
    ("parkingCount", {"lot": 1, "change": 1}, "parking.count", "1"),
    ("recordingStatus", {"channel": 1, "recording": False, "failed": True}, "recording.status", "1"),
    ("object", {"type": "vehicle", "attributes": {"vehicleType": "truck"}}, "object.detected", "1"),
    ("bodyTemperature", {"channel": 2}, "temperature.alarm", "2"),
]
ONLY_V0 = [("packing", {"payload": {"lot": "A7"}}, "vendor.event", None)]
ONLY_V1: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("parkingSpot", {"spot": 101, "occupied": True, "plateNo": "12AB345"}, "parking.spot", "101"),
    ("vehicleTracking", {"payload": {"car": 7}}, "vendor.event", None),
    ("LPR", {"plateNo": "12AB345", "also": ["77XY888"]}, "plate.read", "1"),
]


@pytest.mark.parametrize("way", WAYS)
async def test_every_topic_arrives(way: str) -> None:
    """As its kind, with its subject, live, in order; snapshots before it are marked as such."""
    async with simulated() as sim, session(sim, **WAYS[way]) as running:
        await running.ready()
        if way == "v0":  # not listed there, so it is tried after the others
            await running.until(lambda: "bodyTemperature" in running.session.readies[-1].topics)
        for topic, members, kind, subject in [*TOPICS, *(ONLY_V0 if way == "v0" else ONLY_V1)]:
            before = len(running.session.emitted)
            await sim.event(topic, **members)
            await running.until(lambda before=before, what=(kind, subject): what in _live(running.session, before))
        assert running.session.parked == []
        assert running.session.flaws == {}


def _live(seen: RecordingSession, after: int) -> list[tuple[str, str | None]]:
    fresh = [event for event in seen.emitted[after:] if event.origin is Origin.LIVE and event.via == "ws"]
    return [(event.type, event.subject) for event in fresh]


@pytest.mark.parametrize("way", WAYS)
async def test_the_present_state_comes_first_and_is_no_news(way: str) -> None:
    """Snapshots are `resync`: nothing may open because of them."""
    async with simulated() as sim, session(sim, **WAYS[way]) as running:
        kinds = {"channel.status", "motion.ended", "recording.status", "parking.count"}
        kinds |= set() if way == "v0" else {"parking.spot"}
        await running.until(lambda: kinds <= set(running.session.kinds))
        assert {event.origin for event in running.session.emitted} == {Origin.RESYNC}


@pytest.mark.parametrize("level", ["0.3.0", "0.7.0", "0.8.0", "0.9.0", "0.9.6", "0.9.14", "0.9.20", "1.0.0", "1.0.1"])
async def test_every_level_is_listened_to(level: str) -> None:
    """Members and topics appear with levels; plates are there from the first."""
    async with simulated(api_version=level) as sim, session(sim) as running:
        await running.ready()
        await sim.event("LPR", plateNo="12AB345")
        await running.until(lambda: running.session.of("plate.read"))
        assert "LPR" in running.session.readies[-1].topics


# --- trouble -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["v0", "v1 login"])
@pytest.mark.parametrize("refusal", ["drop", "401", "close"])
async def test_a_wrong_password_is_told_as_such(way: str, refusal: str) -> None:
    """Not as an outage, however the server refuses."""
    async with simulated(refusal=refusal) as sim, session(sim, **WAYS[way], password="CANARY-wrong") as running:
        assert isinstance(await running.failure(), ConnectorAuthError)


async def test_a_wrong_key_is_told_as_such() -> None:
    """The same for v1 keys; and a key without the right."""
    async with simulated() as sim, session(sim, **WAYS["v1 key"] | {"api_key": "CANARY-wrong"}) as running:
        assert isinstance(await running.failure(), ConnectorAuthError)
    weak = ApiKeyConfig(id="k", key=SecretStr(API_KEY), permissions=("playback",))
    async with simulated(api_keys=(weak,)) as sim, session(sim, **WAYS["v1 key"]) as running:
        assert isinstance(await running.failure(), ConnectorAuthError)


async def test_a_password_changed_during_a_session_shows_at_the_next() -> None:
    """The socket is refused; whoAmI says why."""
    async with simulated() as sim, connected(sim, dialect="v0") as connector:
        async with listening(connector) as running:
            await running.ready()
            sim.change_password(USER, "CANARY-another")
            assert isinstance(await running.failure(), ConnectorUnavailableError)
        async with listening(connector) as running:
            assert isinstance(await running.failure(), ConnectorAuthError)


async def test_sockets_refused_that_were_open_before_are_an_outage() -> None:
    """v0 says no by hanging up, and so does a link that is broken: it is worth another try soon."""
    async with simulated() as sim:
        sim.faults.set("refuse", mode="drop")
        async with connected(sim, dialect="v0") as connector:
            async with listening(connector) as running:
                assert isinstance(await running.failure(), ConnectorUnsupportedError)
            sim.faults.clear()
            async with listening(connector) as running:
                await running.ready()
                sim.faults.set("refuse", mode="drop")
                sim.disconnect()
                assert isinstance(await running.failure(), ConnectorUnavailableError)
            async with listening(connector) as running:
                assert isinstance(await running.failure(), ConnectorUnavailableError)


async def test_legacy_switched_off_leads_to_v1_or_is_said() -> None:
    """`auto` finds the other dialect; a forced v0 is unsupported."""
    async with simulated(legacy_off=True) as sim:
        async with session(sim) as running:
            await running.ready()
            assert running.session.readies[-1].dialect == "v1"
        async with session(sim, dialect="v0") as running:
            error = await running.failure()
            assert isinstance(error, ConnectorUnsupportedError)
            assert "Legacy API (v0) is disabled" in str(error)


@pytest.mark.parametrize("way", WAYS)
async def test_an_unknown_topic_is_a_flaw_and_not_an_outage(way: str) -> None:
    """v0 drops the socket, v1 says so."""
    async with simulated() as sim, session(sim, **WAYS[way], topics=["LPR", "crowd"]) as running:
        await running.until(lambda: running.session.flaws)
        assert "crowd" in running.session.flaws["topics_refused"]
        await sim.event("LPR", plateNo="12AB345")
        await running.until(lambda: running.session.of("plate.read"))


@pytest.mark.parametrize("mode", ["drop", "close", "401"])
async def test_a_socket_refused_once_costs_nothing(mode: str) -> None:
    """Each topic is tried by itself, and then all are taken."""
    async with simulated() as sim:
        sim.faults.set("refuse", mode=mode, times=1)
        async with session(sim, dialect="v0", topics=["LPR", "channelStatus"]) as running:
            await running.ready()
            assert running.session.readies[-1].topics == ("LPR", "channelStatus")
            assert running.session.flaws == {}


@pytest.mark.parametrize("way", WAYS)
async def test_a_silent_server_is_left(way: str) -> None:
    """It answers our pings, and says nothing by itself."""
    async with simulated() as sim, session(sim, **WAYS[way], link_dead_after="500ms") as running:
        await running.ready()
        sim.faults.set("silent")
        assert "said nothing" in str(await running.failure())


@pytest.mark.parametrize("way", WAYS)
async def test_a_half_open_socket_is_noticed(way: str) -> None:
    """Nothing is answered and nothing closed: with these timers in well under a second."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        connector._server_answers_pings = True
        async with listening(connector) as running:
            await running.ready()
            sim.faults.set("half_open")
            begun = asyncio.get_running_loop().time()
            assert "no answer to pings" in str(await running.failure())
            assert asyncio.get_running_loop().time() - begun < 5


@pytest.mark.parametrize("way", WAYS)
async def test_half_a_message_is_parked_and_the_session_goes_on(way: str) -> None:
    """With the message, so that somebody can look at it."""
    async with simulated() as sim, session(sim, **WAYS[way]) as running:
        await running.ready()
        sim.faults.set("truncate", times=1)
        await sim.event("LPR", plateNo="11AA111")
        sim.faults.set("garbage", times=1)
        await sim.event("LPR", plateNo="22BB222")
        await running.until(lambda: running.session.of("plate.read") and len(running.session.parked) == 2)
        assert [parked.reason for parked in running.session.parked] == ["not_json", "not_json"]
        assert b'"timestamp":' in bytes(running.session.parked[0].message)


async def test_a_frame_torn_apart_ends_the_session() -> None:
    """As any broken connection does."""
    async with simulated() as sim:
        for how in ("torn", "reset", "close"):
            async with session(sim) as running:
                await running.ready()
                sim.disconnect(how)  # type: ignore[arg-type]
                assert isinstance(await running.failure(), ConnectorUnavailableError)


@pytest.mark.parametrize("way", WAYS)
async def test_a_proxys_page_is_an_outage_for_events_and_unknown_for_orders(way: str) -> None:
    """502 with HTML, for everything."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        await connector.relays("1")
        sim.faults.set("bad_gateway")
        async with listening(connector) as running:
            error = await running.failure()
        assert isinstance(error, ConnectorUnavailableError)
        assert "HTTP 502, a web page" in str(error)
        sim.faults.clear()
        async with listening(connector) as running:
            await running.ready()


@pytest.mark.parametrize("way", WAYS)
async def test_a_snapshot_of_8_mib_is_taken(way: str) -> None:
    """144 channels, each one event."""
    async with simulated() as sim:
        sim.faults.set("big_snapshot", size=8 * 1024 * 1024)
        async with session(sim, **WAYS[way], topics=["channelStatus"]) as running:
            await running.until(lambda: len(running.session.of("channel.status")) == 144)
            assert not running.task.done()
            assert running.session.parked == []


async def test_a_token_that_runs_out_in_the_middle_costs_one_refresh() -> None:
    """Requests are repeated; a socket that the server closes is opened again by the next session."""
    async with simulated() as sim, connected(sim, dialect="v1") as connector:
        async with listening(connector) as running:
            await running.ready()
            await connector.relays("1")
            sim.expire_tokens()
            await connector.switch_relay("1", "Gate", True)
            assert sim.relay(1, "relay-1").on
            assert isinstance(await running.failure(), ConnectorUnavailableError)
        sim.expire_tokens(refresh=True)
        async with listening(connector) as running:
            await running.ready()


async def test_a_token_that_runs_out_between_asking_and_opening_is_renewed() -> None:
    """The upgrade is refused with 401 and tried once more."""
    async with simulated() as sim, connected(sim, dialect="v1", topics=["LPR"]) as connector:
        await connector.relays("1")
        api = await connector._system.api()
        before = await api.rest.credentials.headers()
        real = api.rest.exchange

        async def then_expire(call: Any) -> Any:
            answer = await real(call)
            sim.expire_tokens()
            return answer

        object.__setattr__(api.rest, "exchange", then_expire)
        async with listening(connector) as running:
            await running.ready()
            assert await api.rest.credentials.headers() != before


async def test_duplicates_and_disorder_pass_through_with_their_ids() -> None:
    """Whoever stores them knows them again."""
    async with simulated() as sim, session(sim) as running:
        await running.ready()
        sim.faults.set("duplicate", times=1, copies=3)
        await sim.event("LPR", plateNo="11AA111")
        sim.faults.set("reorder", times=1)
        await sim.event("LPR", plateNo="22BB222")
        await sim.event("LPR", plateNo="33CC333")
        await running.until(lambda: len(running.session.of("plate.read")) == 5)
        events = running.session.of("plate.read")
        assert len({event.id for event in events}) == 3
        assert [event.data.plate for event in events[3:]] == ["33CC333", "22BB222"]  # type: ignore[attr-defined]


# --- capabilities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_devices_do_what_is_asked(way: str) -> None:
    """Relays, aux, presets, moves, reboot: seen at the other end."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        await connector.switch_relay("1", "Gate", True)
        assert sim.relay(1, "relay-1").on
        await connector.switch_relay("1", "relay-1", False)
        assert not sim.relay(1, "relay-1").on
        await connector.switch_aux("1", 1, True)
        await connector.ptz_goto("1", "call station")
        assert sim.site.channels[1].ptz.preset == "3"
        await connector.ptz_move("1", 0.5, 0.25, -0.5)
        assert sim.site.channels[1].ptz.moving == {"move": "0.5,-0.25", "zoom": "-0.5"}
        await connector.ptz_stop("1")
        assert sim.site.channels[1].ptz.moving == {}
        await connector.reboot("1")
        assert [call.command for call in sim.calls if call.code == 0].count("reboot") == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", range(-9, 0))
async def test_every_result_code_is_understood(way: str, code: int) -> None:
    """Not ready and busy are worth another try, the others are not, and of -9 nobody knows; in both dialects alike."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        await connector.relays("1")
        sim.faults.set("control", code=code, command="relay")
        others: dict[int, type[ActionError]] = {
            -3: ActionUnavailableError, -4: ActionUnavailableError, -9: ActionUnknownError
        }  # fmt: skip
        with pytest.raises(others.get(code, ActionRejectedError)):
            await connector.switch_relay("1", "Gate", True)
        assert not sim.relay(1, "relay-1").on


@pytest.mark.parametrize("way", ["v0", "v1 login"])
async def test_a_user_without_the_right_is_refused(way: str) -> None:
    """Code -1 on v0, 403 on v1."""
    weak = (UserConfig(name=USER, password=SecretStr(PASSWORD), rights=("Remote",)),)
    async with simulated(users=weak) as sim, connected(sim, **WAYS[way]) as connector:
        with pytest.raises(ActionRejectedError) as caught:
            await connector.ptz_stop("1")
        assert caught.value.reason == "forbidden"


@pytest.mark.parametrize("way", WAYS)
async def test_a_recording_is_found_and_fetched(way: str) -> None:
    """With the client the connector offers, and without a credential in the address."""
    now = datetime.now(UTC)
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        since, until = now - timedelta(seconds=65), now - timedelta(seconds=35)
        pieces = await connector.recordings("1", since, until)
        assert pieces[0].begin <= since
        assert pieces[-1].end >= until
        for before, after in itertools.pairwise(pieces):
            assert before.end == after.begin
        answer = await connector.http_client().get(pieces[0].url)
        assert answer.status_code == 200
        assert answer.content[4:8] == b"ftyp"
        assert "CANARY" not in pieces[0].url


async def test_many_pieces_come_in_pages() -> None:
    """More than the 50 files of one answer."""
    now = datetime.now(UTC)
    async with simulated(piece=timedelta(seconds=2)) as sim, connected(sim) as connector:
        pieces = await connector.recordings("1", now - timedelta(seconds=500), now - timedelta(seconds=60))
        assert len(pieces) >= 220
        assert all(before.end == after.begin for before, after in itertools.pairwise(pieces))


async def test_a_product_without_recordings_says_so() -> None:
    """TS-CMS."""
    now = datetime.now(UTC)
    async with simulated(product="TS-CMS") as sim, connected(sim, dialect="v0") as connector:
        with pytest.raises(ConnectorUnsupportedError):
            await connector.recordings("1", now - timedelta(minutes=1), now)


@pytest.mark.parametrize("way", WAYS)
async def test_live_streams_are_offered_while_the_camera_is_connected(way: str) -> None:
    """And HLS can really be read."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        streams = await connector.live_streams("1")
        hls = next(stream for stream in streams if stream.protocol == "hls")
        answer = await connector.http_client().get(hls.url, headers=dict(hls.headers))
        assert answer.text.startswith("#EXTM3U")
        await sim.event("channelStatus", channel=1, code=404)
        assert await connector.live_streams("1") == []


@pytest.mark.parametrize("way", WAYS)
async def test_an_event_is_backed_up_and_its_file_appears(way: str) -> None:
    """The paths in the answer are where the files will be."""
    now = datetime.now(UTC)
    async with simulated(backup_scale=0) as sim, connected(sim, **WAYS[way]) as connector:
        receipt = await connector.back_up(
            "1",
            now - timedelta(minutes=3),
            timedelta(seconds=2),
            timedelta(seconds=3),
            channels=["2"],
            title="Überfall",
            comment={"tel": "119"},
            preset=None,
        )
        assert len(receipt.paths) == 2
        assert receipt.ready_at == now - timedelta(minutes=3) + timedelta(seconds=3 + 120)
        answer = await connector.http_client().get(sim.url + receipt.paths[0])
        assert answer.status_code == 200


@pytest.mark.parametrize("way", WAYS)
async def test_the_server_is_described(way: str) -> None:
    """Channels with names, presets, outputs; the same in both dialects."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        info = await connector.describe()
        assert [channel.name for channel in info.channels] == ["Entrance gate", "B1 stairs", "Yard", "CH4"]
        assert [preset.name for preset in info.channels[0].presets] == ["Overview", "Gate", "Call station"]
        assert [relay.name for relay in info.channels[0].relays] == ["Gate", "Siren"]
        assert info.zone == "America/New_York"
        assert info.name == "My home server"


@pytest.mark.parametrize("way", WAYS)
async def test_the_log_is_read_in_pages(way: str) -> None:
    """All rows of the span, once, even while new ones come."""
    async with simulated() as sim, connected(sim, **WAYS[way]) as connector:
        begun = datetime.now(UTC) - timedelta(seconds=1)
        for number in range(120):
            await sim.event("LPR", plateNo=f"12AB{number:03d}")
        sim.faults.set("growing_log")
        until = datetime.now(UTC) + timedelta(seconds=1)
        found = [row async for page in pages(connector._system, "plates", begun, until) for row in page.rows]
        plates = [row.event.data.plate for row in found]  # type: ignore[attr-defined]
        assert {f"12AB{number:03d}" for number in range(120)} <= set(plates)
        assert all(row.event.origin is Origin.BACKFILL for row in found)


async def test_what_comes_over_the_wire_holds_no_secret() -> None:
    """Not in an event, not in its original."""
    async with simulated() as sim, session(sim) as running:
        await running.ready()
        await sim.event("LPR", plateNo="12AB345")
        await running.until(lambda: running.session.of("plate.read"))
        assert all("CANARY" not in json.dumps(event.model_dump(mode="json")) for event in running.session.emitted)


async def test_closing_leaves_no_socket_at_the_server() -> None:
    """Whatever was open."""
    async with simulated() as sim:
        async with session(sim) as running:
            await running.ready()
            assert sim.feeds
        await eventually(lambda: not sim.feeds)
