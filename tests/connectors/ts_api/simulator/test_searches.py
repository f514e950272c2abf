"""Searches: limits, pages, rows that grow, arrive late or change in place, and what is pushed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.ts_api.simulator import Simulator, SimulatorConfig

from .client import KEY, sample, v0_socket, v1_socket

NOW = datetime(2026, 1, 10, 23, 0, 7, tzinfo=UTC)  # 18:00:07 in New York


@pytest.fixture
async def sim(config: SimulatorConfig) -> Any:
    """A server whose clock stands still."""
    async with Simulator(config, now=lambda: NOW) as simulator:
        yield simulator


async def find(http: httpx.AsyncClient, what: str, **query: Any) -> Any:
    """Return the answer to a v0 search."""
    answer = await http.get("/api/find", params={"what": what, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


# Event log


async def test_fifty_rows_come_without_a_count(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The newest 50 by default; `at` and `maxCount` make pages; `totalCount` counts all."""
    for number in range(60):
        await sim.event("systemEvent", code=25, param={"n": number})
    found = await find(http, "eventLog")
    assert (found["totalCount"], found["at"], len(found["data"])) == (61, 0, 50)
    assert found["data"][0]["param"] == {"n": 59}
    page = await find(http, "eventLog", at=50, maxCount=5, sort="asc")
    assert [row["param"]["n"] for row in page["data"]] == [49, 50, 51, 52, 53]


async def test_pages_shift_while_rows_arrive(sim: Simulator, http: httpx.AsyncClient) -> None:
    """With the fault on, each query meets one more row, so the newest-first pages overlap."""
    for number in range(10):
        await sim.event("systemEvent", code=30, param={"n": number})
    first = await find(http, "eventLog", maxCount=5)
    sim.faults.set("growing_log")
    second = await find(http, "eventLog", at=5, maxCount=5)
    assert second["totalCount"] == first["totalCount"] + 1
    assert second["data"][0]["id"] == first["data"][-1]["id"]


async def test_equal_rows_merge_and_grow(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The same event twice in a row is one row whose time range has grown."""
    await sim.event("systemEvent", code=25, age="5s")
    await sim.event("systemEvent", code=25)
    (row,) = [row for row in (await find(http, "eventLog"))["data"] if row["code"] == 25]
    assert len(row["timeRange"]) == 2


async def test_an_incident_changes_in_place(sim: Simulator, http: httpx.AsyncClient) -> None:
    """While `ongoing`, the same id comes back wider, in the log and on the socket."""
    async with v0_socket(sim, "systemEvent") as socket:
        await socket.read()
        await sim.event("systemEvent", code=40, age="1m", param={"droppedFrames": 10, "ongoing": True})
        number = (await socket.read())["id"]
        await sim.event("systemEvent", id=number, param={"droppedFrames": 99, "ongoing": False})
        changed = await socket.read()
    assert (changed["id"], changed["param"]) == (number, {"droppedFrames": 99, "ongoing": False})
    assert len(changed["timeRange"]) == 2
    rows = [row for row in (await find(http, "eventLog"))["data"] if row["id"] == number]
    assert [row["param"] for row in rows] == [changed["param"]]


async def test_an_incident_had_another_name_before(config: SimulatorConfig) -> None:
    """`Recording frame drop` was called `Disk write delay` before 1.0.3."""
    for level, name in (("1.0.2", "Disk write delay"), ("1.0.3", "Recording frame drop")):
        async with (
            Simulator(config.model_copy(update={"api_version": level})) as sim,
            v1_socket(sim, "systemEvent") as socket,
        ):
            await socket.read()
            await sim.event("systemEvent", code=40)
            assert (await socket.read())["codeName"] == name


async def test_paths_are_encoded_in_the_log_and_plain_on_the_socket(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The same row has two spellings."""
    param = {"storagePath": "E:\\recData\\", "statusCode": 0}
    async with v0_socket(sim, "systemEvent") as socket:
        await socket.read()
        await sim.event("systemEvent", code=25, param=param)
        assert (await socket.read())["param"] == param
    (row, *_) = (await find(http, "eventLog", maxCount=1))["data"]
    assert row["param"]["storagePath"] == "E%3A%5CrecData%5C"


async def test_names_are_localised_and_numbers_differ(sim: Simulator, http: httpx.AsyncClient) -> None:
    """`lang` changes names only; v1 knows a Camera type that v0 does not list."""
    assert (await http.get("/api/enum?what=eventType&lang=es-ES")).json()[0]["name"] == "Registro del sistema"
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        types = (await client.get("/api/v1/event/type?lang=ko-KR")).json()
    recorded = sample("v1.http.event.type")
    assert [(entry["id"], entry["name"]) for entry in types[:2]] == [(e["id"], e["name"]) for e in recorded]
    await sim.event("channelStatus", channel=1, code=404)
    assert {row["type"] for row in (await find(http, "eventLog"))["data"]} == {0}


# Plates and objects


async def test_a_car_seen_again_extends_its_row(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Stills and time range of one row grow while the same plate stays; later it is a new row."""
    for age in ("60s", "55s", "20s"):
        await sim.event("LPR", plateNo="55EV96", age=age)
    found = (await find(http, "carNo", keyword="EV"))["data"]
    assert [len(row["image"]) for row in found] == [1, 2]
    assert found[1]["timeRange"][1] == "2026-01-10T17:59:12.000-05:00"


async def test_a_late_row_lies_between_older_ones(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Rows are stored as they come and found by their own time."""
    for age in ("10s", "3m", "20s"):
        await sim.event("object", type="human", age=age, quiet=True)
    times = [row["timestamp"][14:19] for row in (await find(http, "object"))["data"]]
    assert times == ["59:57", "59:47", "57:07"]


async def test_plates_are_searched_by_source_and_time(sim: Simulator, http: httpx.AsyncClient) -> None:
    """`src` takes the ids of the source list; bounds include what reaches into them."""
    await sim.event("LPR", plateNo="INSIDE", age="1h")
    await sim.event("LPR", plateNo="OUTSIDE", channel=None, deviceCode="F00001", age="30m")
    assert [row["plateNo"] for row in (await find(http, "carNo", src="1"))["data"]] == ["OUTSIDE"]
    bounds = {"timeBegin": "2026-01-10T16:50:00", "timeEnd": "2026-01-10T17:10:00"}
    assert [row["plateNo"] for row in (await find(http, "carNo", **bounds))["data"]] == ["INSIDE"]
    assert await find(http, "similarCarNo", keyword="OUTSIDER") == ["OUTSIDE", "INSIDE"]
    exported = await find(http, "carNo", export="true")
    assert exported[0].endswith("/download/2026-01-10T18.00.07.xls")
    assert "OUTSIDE" in (await http.get(exported[0])).text


async def test_objects_are_searched_by_attributes(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Attributes narrow: cars by kind and colour, people by clothes."""
    worn = [{"type": "tops", "length": "long", "colors": ["white"]}]
    await sim.event("object", type="vehicle", attributes={"vehicleType": "Car", "colors": ["yellow"]})
    await sim.event("object", type="vehicle", attributes={"vehicleType": "truck", "colors": ["yellow"]})
    await sim.event("object", type="human", attributes={"gender": "female", "clothes": worn})
    assert (await find(http, "object", vehicleType="car,yellow"))["totalCount"] == 1
    assert (await find(http, "object", topClothes="long,white", gender="female"))["totalCount"] == 1
    assert (await find(http, "object", topClothes="short"))["totalCount"] == 0


async def test_v1_wants_bounds_for_plates(sim: Simulator) -> None:
    """`timeBegin` and `timeEnd` are required, and a space may stand for the T."""
    await sim.event("LPR", plateNo="12가3456")
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        assert (await client.get("/api/v1/lpr/log")).status_code == 400
        query = {"timeBegin": "2026-01-10 17:00:00", "timeEnd": "2026-01-10T18:00:07Z"}
        assert (await client.get("/api/v1/lpr/log", params=query)).json()["totalCount"] == 0
        query["timeEnd"] = "2026-01-10T18:00:08-0500"
        assert (await client.get("/api/v1/lpr/log", params=query)).json()["totalCount"] == 1


# Recordings


async def test_recorded_days_are_cut_in_the_zone_asked(sim: Simulator, http: httpx.AsyncClient) -> None:
    """A week of recordings, by local days or by days of UTC."""
    found = await find(http, "recDays", ch="1")
    assert found["data"][0]["data"][0] == {"year": 2026, "month": 1, "days": [3, 4, 5, 6, 7, 8, 9, 10]}
    early = {"timeBegin": "2026-01-10T02:00:00Z", "timeEnd": "2026-01-10T03:00:00Z"}
    assert (await find(http, "recDays", **early))["data"] == [{"year": 2026, "month": 1, "days": [10]}]
    at_home = {"timeBegin": "2026-01-09T21:00:00", "timeEnd": "2026-01-09T22:00:00"}
    assert (await find(http, "recDays", **at_home))["data"] == [{"year": 2026, "month": 1, "days": [9]}]


async def test_recorded_minutes_have_limits(sim: Simulator, http: httpx.AsyncClient) -> None:
    """Three days at most, one bound means one day, holes are missing."""
    hole = datetime(2026, 1, 10, 22, 30, tzinfo=UTC)
    sim.lose_recording(hole, hole + timedelta(minutes=2))
    query = {"timeBegin": "2026-01-10T17:28:00", "timeEnd": "2026-01-10T17:34:00", "ch": "1"}
    (entry,) = (await find(http, "recMinutes", **query))["data"]
    assert entry["data"] == [{"year": 2026, "month": 1, "day": 10, "hour": 17, "minutes": [28, 29, 32, 33]}]
    for query in ({}, {"timeBegin": "2026-01-01", "timeEnd": "2026-01-05"}):
        assert (await http.get("/api/find?what=recMinutes", params=query)).status_code == 400
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        query = {"timeBegin": "2026-01-10T17:28:00", "timeEnd": "2026-01-10T17:34:00", "ch": "1"}
        found = (await client.get("/api/v1/recording/minutes", params=query)).json()
    assert found["data"] == [{"chid": 1, "minutes": "110011"}]


# Push in


@pytest.mark.parametrize("credentials", [{"auth": ("admin", "admin")}, {"params": {"auth": "YWRtaW46YWRtaW4"}}])
async def test_what_is_pushed_in_comes_out(sim: Simulator, credentials: dict[str, Any]) -> None:
    """An array of mixed topics becomes events on the sockets and rows in the logs; the answer is empty."""
    async with v0_socket(sim, "LPR,emergencyCall") as socket, httpx.AsyncClient(base_url=sim.url) as client:
        await socket.read()
        answer = await client.post("/api/push", json=sample("push.array"), **credentials)
        assert (answer.status_code, answer.content) == (200, b"")
        plate, call = await socket.read(), await socket.read()
    assert (plate["plateNo"], plate["deviceCode"], plate["timestamp"][:19]) == (
        "DSP963",
        "F00001",
        "2026-01-10T18:00:07",
    )
    assert "chid" not in plate
    assert (call["caller"], call["event"], call["name"]) == ("0000001", "callStart", "B1 stairs")
    assert [entry["chid"] for entry in call["linkedChannel"]] == [1, 2, 3, 4]
    assert sim.log.plates[0].plate_no == "DSP963"
    assert sim.log.events[-1].param == {"caller": "0000001"}


async def test_a_pushed_time_counts(sim: Simulator, http: httpx.AsyncClient) -> None:
    """`when` and `timeBegin` become the event's times."""
    async with v0_socket(sim, "LPR") as socket:
        await socket.read()
        await http.post("/api/push", json=sample("push.lpr"))
        plate = await socket.read()
    assert plate["timestamp"] == "2018-02-01T14:30:15.000-05:00"
    assert plate["timeBegin"] == "2018-02-01T14:30:14.000-05:00"


@pytest.mark.parametrize("name", ["v1.push.lpr", "v1.push.lpr.spaceTime", "v1.push.emergencyCall"])
async def test_v1_takes_pushes_too(sim: Simulator, name: str) -> None:
    """The v1 path takes the v1 samples with a key."""
    async with httpx.AsyncClient(base_url=sim.url, headers=KEY) as client:
        assert (await client.post("/api/v1/push", json=sample(name))).status_code == 200


@pytest.mark.parametrize(
    "body", [b"{", b'{"topic":"LPR","src":"1"}', b'{"topic":"LPR","src":"1","plateNo":"X","when":"noon"}', b"[1]"]
)
async def test_bad_pushes_are_refused(http: httpx.AsyncClient, body: bytes) -> None:
    """What cannot be understood is a 400."""
    assert (await http.post("/api/push", content=body)).status_code == 400


# Channels


async def test_channels_are_added_and_deleted(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The answers say what worked, and echo sources with their credentials as the server does."""
    added = await http.post("/api/channel", json=sample("http.channel.add.request.mixed"))
    assert added.json()["status"]["code"] == 0
    assert set(added.json()["added"][0]) == set(sample("http.channel.add.response.ok")["added"][0])
    assert added.json()["added"][0]["source"].startswith("rtsp://admin:admin@")
    assert sorted(sim.site.channels) == [1, 2, 3, 4, 5, 6, 7]
    taken = await http.post("/api/channel", json=[{"chid": 1, "source": "rtsp://x"}])
    assert taken.json()["status"]["code"] == -1
    partly = (await http.delete("/api/channel/5,99")).json()
    assert partly == sample("http.channel.delete.response.partial") | {"deleted": [5], "failed": [99]}
    assert (await http.delete("/api/channel/all")).json()["status"]["code"] == 0
    assert sim.site.channels == {}
