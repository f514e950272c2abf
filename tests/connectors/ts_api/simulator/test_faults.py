"""Faults: each does what it says, to what it aims at, for as long as it was told."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from connectors.ts_api.simulator import Simulator, SimulatorConfig

from .client import v0_socket, v1_socket


async def test_a_silent_link_stays_open(config: SimulatorConfig) -> None:
    """No events, no pings; what happened meanwhile is lost; then everything goes on."""
    quick = config.model_copy(update={"ping_interval": timedelta(milliseconds=10)})
    async with Simulator(quick) as sim, v0_socket(sim, "LPR") as socket:
        await socket.read()
        sim.faults.set("silent")
        pings = sim.feeds[0].link.pings
        await sim.event("LPR", plateNo="LOST")
        assert await socket.is_silent()
        assert sim.feeds[0].link.pings == pings
        sim.faults.clear("silent")
        await sim.event("LPR", plateNo="FOUND")
        assert (await socket.read())["plateNo"] == "FOUND"


async def test_a_half_open_link_answers_nothing(config: SimulatorConfig) -> None:
    """Our pings stay unanswered, its own stop, nothing is closed; new links work once the fault is gone."""
    quick = config.model_copy(update={"ping_interval": timedelta(milliseconds=10)})
    async with Simulator(quick) as sim, v0_socket(sim, "LPR") as socket:
        await socket.read()
        sim.faults.set("half_open")
        pong, pings = await socket.connection.ping(), sim.feeds[0].link.pings
        await sim.event("LPR", plateNo="LOST")
        assert await socket.is_silent()
        assert not pong.done()
        assert sim.feeds[0].link.pings == pings
        sim.faults.clear()
        async with v0_socket(sim, "LPR") as other:
            await other.read()
            await sim.event("LPR", plateNo="FOUND")
            assert (await other.read())["plateNo"] == "FOUND"
        assert await socket.is_silent()
        socket.connection.transport.abort()


async def test_messages_come_twice(sim: Simulator) -> None:
    """Duplicates are exact, and end after so many uses."""
    sim.faults.set("duplicate", times=1, copies=3)
    async with v0_socket(sim, "LPR") as socket:
        await socket.read()
        await sim.event("LPR", plateNo="ONE")
        await sim.event("LPR", plateNo="TWO")
        assert [(await socket.read())["plateNo"] for _ in range(4)] == ["ONE", "ONE", "ONE", "TWO"]


async def test_messages_change_places(sim: Simulator) -> None:
    """Pairs come the wrong way round."""
    sim.faults.set("reorder")
    async with v0_socket(sim, "LPR") as socket:
        await socket.read()
        for plate in ("ONE", "TWO", "THREE", "FOUR"):
            await sim.event("LPR", plateNo=plate)
        assert [(await socket.read())["plateNo"] for _ in range(4)] == ["TWO", "ONE", "FOUR", "THREE"]


async def test_messages_are_cut_and_garbage_comes(sim: Simulator) -> None:
    """Truncated JSON and plain garbage arrive as whole text messages; the next message is fine."""
    async with v0_socket(sim, "LPR") as socket:
        await socket.read()
        sim.faults.set("truncate", times=1)
        await sim.event("LPR", plateNo="CUT")
        with pytest.raises(json.JSONDecodeError):
            await socket.read()
        sim.faults.set("garbage", times=1)
        await sim.event("LPR", plateNo="WHOLE")
        with pytest.raises(json.JSONDecodeError):
            await socket.read()
        assert (await socket.read())["plateNo"] == "WHOLE"


async def test_the_largest_snapshot(sim: Simulator) -> None:
    """144 channels in exactly 8 MiB."""
    sim.faults.set("big_snapshot")
    async with v0_socket(sim, "channelStatus") as socket:
        await socket.read()
        text = await socket.read_text()
    assert len(text.encode()) == 8 * 1024 * 1024
    assert len(json.loads(text)["channel"]) == 144


@pytest.mark.parametrize("how", ["reset", "torn", "close"])
async def test_links_can_be_cut(sim: Simulator, how: str) -> None:
    """By a reset, in the middle of a frame, or properly."""
    async with v0_socket(sim, "LPR") as socket:
        await socket.read()
        assert sim.disconnect(how) == 1  # type: ignore[arg-type]
        with pytest.raises(ConnectionClosed) as ended:
            await socket.read()
        assert isinstance(ended.value, ConnectionClosedError) is True
        assert (ended.value.rcvd is None) is (how != "close")
    await sim.until(lambda: not sim.feeds)


async def test_subscribing_is_refused(sim: Simulator) -> None:
    """As often as told, in the manner told."""
    sim.faults.set("refuse", mode="503", times=1)
    with pytest.raises(InvalidStatus) as refused:
        async with v1_socket(sim, "LPR"):
            pass
    assert refused.value.response.status_code == 503
    async with v1_socket(sim, "LPR") as socket:
        await socket.read()


async def test_a_proxy_answers_in_html(sim: Simulator, http: httpx.AsyncClient) -> None:
    """502 with a page, on the paths aimed at."""
    sim.faults.set("bad_gateway", path="/api/enum")
    answer = await http.get("/api/enum?what=channel")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert (await http.get("/api/info?apiVersion")).status_code == 200
    assert (await http.get("/_sim/")).status_code == 200


async def test_answers_come_late(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A delay holds REST answers back."""
    sim.faults.set("delay", wait="80ms", times=1)
    started = time.monotonic()
    await http.get("/api/info?apiVersion")
    assert time.monotonic() - started >= 0.08


async def test_a_hanging_answer_does_not_hold_up_the_end(config: SimulatorConfig) -> None:
    """Stopping ends delayed answers at once."""
    started = time.monotonic()
    async with Simulator(config) as sim, httpx.AsyncClient(base_url=sim.url) as client:
        sim.faults.set("delay", wait="1h")
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/api/info?apiVersion", timeout=0.05)
    assert time.monotonic() - started < 600  # and not for the hour


async def test_addresses_name_another_host(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Absolute addresses lead elsewhere; the credentials must not follow."""
    sim.faults.set("wrong_host")
    await sim.event("LPR", plateNo="12AB345")
    row = (await http.get("/api/find?what=carNo")).json()["data"][0]
    assert row["image"][0].startswith("http://192.168.0.100/")


async def test_files_go_missing(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Nothing found, or found and gone."""
    when = (sim.world.now() - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = (await http.get("/api/vod", params={"ch": 1, "when": when})).json()
    sim.faults.set("file_missing", times=1)
    assert (await http.get(found[0]["src"][0]["src"])).status_code == 404
    sim.faults.set("vod_empty", times=1)
    assert (await http.get("/api/vod", params={"ch": 1, "when": when})).json() == []
    assert (await http.get("/api/vod", params={"ch": 1, "when": when})).json() == found


async def test_faults_end_by_themselves(sim: Simulator) -> None:
    """After a time, or after so many uses."""
    sim.faults.set("bad_gateway", lasts="20ms")
    assert [fault.name for fault in sim.faults.active()] == ["bad_gateway"]
    await sim.until(lambda: not sim.faults.active())
    sim.faults.set("vod_empty", times=2)
    assert [sim.faults.use("vod_empty") is not None for _ in range(3)] == [True, True, False]


async def test_a_skewed_clock_is_in_the_date_and_in_the_events(config: SimulatorConfig) -> None:
    """Every answer says what the server's clock says, right or wrong, and its events are dated by the same clock."""
    now = datetime(2026, 1, 10, 23, 0, tzinfo=UTC)
    async with (
        Simulator(config, now=lambda: now) as sim,
        httpx.AsyncClient(base_url=sim.url) as http,
        v0_socket(sim, "LPR") as socket,
    ):
        await socket.read()
        assert parsedate_to_datetime((await http.get("/api/info?apiVersion")).headers["date"]) == now
        sim.faults.set("skew", by=-90)
        skewed = now - timedelta(seconds=90)
        (date,) = (await http.get("/api/info?apiVersion")).headers.get_list("date")
        assert parsedate_to_datetime(date) == skewed
        await sim.event("LPR", plateNo="12AB345")
        assert datetime.fromisoformat((await socket.read())["timestamp"]) == skewed
