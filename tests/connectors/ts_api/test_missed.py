"""What is asked of the logs, and what of the answers is passed on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bridge.sdk import ConnectorUnavailableError, Missed
from tests.clock import START, VirtualClock

from .support import Script, html, ok

SINCE, UNTIL = START - timedelta(hours=2), START - timedelta(hours=1)


def stamp(minutes: float) -> str:
    """So many minutes into the span."""
    return (SINCE + timedelta(minutes=minutes)).isoformat()


def plate(number: int, begun: float, ended: float, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "plateNo": f"P{number}",
        "srcCode": "1-1-1",
        "timeRange": [stamp(begun), stamp(ended)],
        "vod": [{"chid": 1}],
        **more,
    }


def line(number: int, begun: float, lasts: float = 1, **param: Any) -> dict[str, Any]:
    return {"id": number, "type": 0, "code": 40, "timeRange": [stamp(begun), stamp(begun + lasts)], "param": param}


class Server:
    """A v0 server with three logs."""

    def __init__(self, ahead: timedelta | None = None, **logs: list[dict[str, Any]] | int) -> None:
        self.logs: Mapping[str, Any] = {"eventLog": [], "carNo": [], "object": [], **logs}
        self.asked: list[dict[str, str]] = []
        info = {"apiVersion": "TS-API@0.9.20", "timezone": {"name": "UTC"}}
        date = {} if ahead is None else {"Date": format_datetime(START + ahead, usegmt=True)}
        self.script = Script({"GET /api/find": self._find, "GET /api/info": ok(info, **date)})

    def _find(self, request: httpx.Request) -> httpx.Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(str(request.url)).query).items()}
        rows = self.logs[query["what"]]
        if isinstance(rows, int):
            return html(rows)
        if query["maxCount"] != "1":
            self.asked.append(query)
        at, count = int(query["at"]), int(query["maxCount"])
        return ok({"totalCount": len(rows), "at": at, "data": rows[at : at + count]})

    async def missed(self, **values: Any) -> list[Missed]:
        connector = self.script.connector(VirtualClock(), dialect="v0", **values)
        found = [missed async for missed in connector.missed(SINCE, UNTIL)]
        await connector.aclose()
        return found

    async def ids(self, **values: Any) -> list[str]:
        """What names the events that are passed on."""
        events = [event for missed in await self.missed(**values) for event in missed.events]
        return [getattr(event.data, "plate", None) or event.data.log_id for event in events]  # type: ignore[attr-defined]


async def test_all_three_logs_are_asked_for_the_span() -> None:
    """Oldest first, with fixed ends, of the event log the system's lines only."""
    server = Server()
    missed = await server.missed()
    assert [query["what"] for query in server.asked] == ["eventLog", "carNo", "object"]
    assert server.asked[0]["type"] == "0"
    for query in server.asked:
        assert query["sort"] == "asc"
        assert datetime.fromisoformat(query["timeBegin"]) == SINCE
        assert datetime.fromisoformat(query["timeEnd"]) == UNTIL
    lost = missed[-1].unfetchable
    assert {"motionChanges", "emergencyCall", "channelStatus"} <= set(lost)
    assert not {"LPR", "object", "systemEvent"} & set(lost)


async def test_the_span_is_told_in_the_servers_time() -> None:
    """A server whose clock is an hour ahead has written it an hour ahead."""
    server = Server(ahead=timedelta(hours=1))
    await server.missed()
    begun = datetime.fromisoformat(server.asked[0]["timeBegin"])
    assert abs(begun - SINCE - timedelta(hours=1)) < timedelta(seconds=2)


async def test_a_car_that_was_there_before_is_left_out() -> None:
    """It was heard when it came; one that is still there comes."""
    assert await Server(carNo=[plate(1, -5, 10), plate(2, 0, 5), plate(3, 50, 90)]).ids() == ["P2", "P3"]


async def test_a_line_that_has_not_changed_since_is_left_out() -> None:
    """It is asked for because it goes on, and nothing in it is new."""
    server = Server(eventLog=[line(7, -30, ongoing=True), line(8, -0.5, ongoing=True)])
    assert set(await server.ids()) == {"8"}


async def test_what_has_just_happened_is_left_to_the_socket() -> None:
    """It is on its way, and live it may open a door."""
    just, before = 120 - 1 / 60, 120 - 5 / 60
    assert await Server(carNo=[plate(1, 110, just), plate(2, 110, before)]).ids() == ["P2"]


async def test_only_what_is_listened_to_is_fetched() -> None:
    """Topics and channels are those of the source; a reader without a camera belongs to none."""
    plates = [plate(1, 1, 2), plate(2, 1, 2, vod=[{"chid": 2}]), plate(3, 1, 2, srcCode="F00001", vod=[])]
    server = Server(carNo=plates, eventLog=[line(7, 3)])
    assert await server.ids(channels=[2]) == ["7", "P2", "P3"]
    server.asked.clear()
    assert await server.ids(topics=["LPR"]) == ["P1", "P2", "P3"]
    assert [query["what"] for query in server.asked] == ["carNo"]


async def test_an_incident_that_goes_on_is_asked_for_from_its_beginning() -> None:
    """Until it is over; one of yesterday is let go."""
    server = Server(eventLog=[line(7, -30, 40, ongoing=True), line(8, -3000, 3010, ongoing=True)])
    connector = server.script.connector(VirtualClock(), dialect="v0")
    for _ in range(2):
        async for _ in connector.missed(SINCE, UNTIL):
            pass
    asked = [query for query in server.asked if query["what"] == "eventLog"]
    begins = [datetime.fromisoformat(query["timeBegin"]) for query in asked]
    assert begins == [SINCE, SINCE - timedelta(minutes=30)] * 2
    assert datetime.fromisoformat(asked[1]["timeEnd"]) == SINCE
    server.logs["eventLog"][0]["param"] = {"ongoing": False}
    server.asked.clear()
    async for _ in connector.missed(SINCE, UNTIL):
        pass
    assert [query["what"] for query in server.asked] == ["eventLog", "carNo", "object"]
    await connector.aclose()


@pytest.mark.parametrize("status", [403, 404])
async def test_a_log_that_is_not_ours_is_named(status: int) -> None:
    """The others are read all the same."""
    missed = await Server(carNo=status, eventLog=[line(7, 3)]).missed()
    assert "LPR" in missed[-1].unfetchable
    assert "systemEvent" not in missed[-1].unfetchable
    assert [event.type for page in missed for event in page.events] == ["system.log"]


async def test_a_log_that_is_away_is_an_error() -> None:
    """It is worth another try."""
    with pytest.raises(ConnectorUnavailableError):
        await Server(carNo=502).missed()


@pytest.mark.parametrize(("number", "begun", "said"), [(9, 30, True), (9, -30, False), (1, 30, False)])
async def test_a_log_that_does_not_reach_back_says_so(number: int, begun: float, said: bool) -> None:
    """Unless its first row is the first that ever was."""
    missed = await Server(carNo=[plate(number, begun, begun + 1)]).missed()
    told = {page.log: page.begins for page in missed if page.begins}
    assert told == ({"plates": SINCE + timedelta(minutes=begun)} if said else {})
    assert all(begins.tzinfo is UTC for begins in told.values() if begins)


async def test_rows_that_cannot_be_understood_are_counted() -> None:
    """So that the gap can say so."""
    missed = await Server(carNo=[plate(1, 1, 2), {"id": 2}]).missed()
    assert sum(page.refused for page in missed) == 1
