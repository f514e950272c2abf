"""A log is read whole while its rows move."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sdk import ConnectorUnavailableError
from connectors.ts_api.logs import oldest, pages

from .support import Script, ok

BEGUN = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
UNTIL = BEGUN + timedelta(hours=2)


class Log:
    """A plate log whose rows come and go between two requests."""

    def __init__(self, count: int, moves: random.Random | None = None, most: int = 0) -> None:
        self.rows = [self._row(number, number * 10) for number in range(count)]
        self.whole = {row["id"] for row in self.rows}
        """What was there all the time."""
        self.asked = 0
        self._moves, self._most, self._next = moves, most, count

    def _row(self, number: int, second: float) -> dict[str, Any]:
        time = (BEGUN + timedelta(seconds=second)).isoformat()
        return {"id": number, "plateNo": f"P{number}", "srcCode": "1", "timeRange": [time, time]}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self._moves is not None and self.asked:
            self._move(self._moves)
        self.asked += 1
        at, count = int(request.url.params["at"]), int(request.url.params["maxCount"])
        return ok({"totalCount": len(self.rows), "at": at, "data": self.rows[at : at + count]})

    def _move(self, moves: random.Random) -> None:
        for _ in range(moves.randrange(self._most + 1)):
            if moves.random() < 0.6 and self.rows:
                front = moves.random() < 0.7
                gone = self.rows.pop(0 if front else moves.randrange(len(self.rows)))
                self.whole.discard(gone["id"])
            else:
                self.rows.append(self._row(self._next, moves.uniform(0, 7000)))
                self._next += 1
                self.rows.sort(key=lambda row: row["timeRange"][0])

    async def read(self) -> list[int]:
        script = Script({"GET /api/find": self.answer})
        connector = script.connector()
        found = [int(row.place) async for page in pages(connector._system, "plates", BEGUN, UNTIL) for row in page.rows]
        await connector.aclose()
        return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(0, 40), st.integers(0, 2**32))
def test_what_is_there_all_the_time_is_read(count: int, most: int, seed: int) -> None:
    """Whatever comes late or expires meanwhile, and wherever in the log."""
    log = Log(count, random.Random(seed), most)
    found = asyncio.run(log.read())
    assert log.whole <= set(found)


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (1, 1), (50, 1), (51, 2), (500, 11)])
async def test_a_log_that_stands_still_is_read_once(count: int, requests: int) -> None:
    """With a few rows twice, where pages meet."""
    log = Log(count)
    found = await log.read()
    assert set(found) == log.whole
    assert len(found) - count <= 5 * (log.asked - 1)
    assert log.asked == requests


async def test_pages_that_do_not_turn_are_given_up() -> None:
    """Rather than read for ever."""
    log = Log(100)
    endless = lambda request: ok({"totalCount": 10**9, "at": 0, "data": log.rows[:50]})  # noqa: E731
    connector = Script({"GET /api/find": endless}).connector()
    with pytest.raises(ConnectorUnavailableError, match="no end"):
        async for _ in pages(connector._system, "plates", BEGUN, UNTIL):
            pass
    await connector.aclose()


async def test_rows_that_nobody_understands_do_not_hold_it_up() -> None:
    """They are counted with their page."""
    log = Log(120)
    for row in log.rows[40:70]:
        row["timeRange"] = ["soon"]
    found = await log.read()
    assert set(found) == {row["id"] for row in log.rows} - set(range(40, 70))


async def test_the_oldest_row_is_asked_for_by_itself() -> None:
    """One row, from the beginning of time."""
    log = Log(3)
    script = Script({"GET /api/find": log.answer})
    connector = script.connector()
    row = await oldest(connector._system, "plates", UNTIL)
    assert row is not None
    assert (row.place, script.query()["maxCount"], script.query()["sort"]) == ("0", ["1"], ["asc"])
    await connector.aclose()
