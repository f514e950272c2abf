"""A store that an earlier version wrote, killed in the middle of its work, is opened by this one and gone on with."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from bridge.bus import store_format, streams
from bridge.bus.letters import DeadLetterBox
from bridge.bus.pull import scan
from bridge.bus.wire import Received
from bridge.clock import SystemClock
from bridge.schema.event import VmsEvent
from rules import whenmodel
from tests.bridge.actions.receiver import Request, receiving
from tests.bridge.commands.helpers import PATIENCE, here
from tests.e2e.site import Bridge, bridge

STORED = Path(__file__).parent / "data" / "stored"
"""What an earlier version left; README.md there says how it was made, and what is in it."""
WRITTEN = [
    "action.ended", "action.ended", "bridge.started", "call.started", "mode.changed", "plate.read", "plate.read",
    "plate.read", "plate.read", "plate.read", "rules.changed", "source.lost",
]  # fmt: skip
"""Kinds of the events in it, by name."""
PLATES = ["OFTEN", "OFTEN", "OPEN", "FIRST", "TELL"]
STATE = {"call": "long", "regular": "yes"}
"""What `long-call` sets, which was not due yet, and `regular`, which had counted two of three."""
WRITTEN_AT = datetime(2026, 11, 21, 17, 15, 29, tzinfo=UTC)
"""When that version was killed."""


class _MinuteLater(SystemClock):
    """The clock of a bridge that is started again a minute after the kill, whenever the test runs."""

    def __init__(self) -> None:
        self._since = super().now() - WRITTEN_AT - timedelta(minutes=1)

    def now(self) -> datetime:
        """Return the time it would be then."""
        return super().now() - self._since


def _unpacked(folder: Path, url: str) -> str:
    """Lay the old site out in a folder; return its configuration, with the receiver that was away where it is now."""
    with tarfile.open(STORED / "store.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "rules.yaml").write_bytes((STORED / "rules.yaml").read_bytes())
    config = (STORED / "bridge.yaml").read_text(encoding="utf-8")
    away = 'office: {url: "http://127.0.0.1:9/"'
    assert away in config
    return config.replace(away, f'office: {{url: "{url}"')


async def _all(site: Bridge, stream: str) -> list[Received]:
    bus = site.running.bus
    return [message async for batch in scan(bus.connection, bus.stream(stream)) for message in batch]


async def _log(site: Bridge) -> list[VmsEvent]:
    """Return the whole log; each event of it must be one that this version understands."""
    return [VmsEvent.decode(message.data) for message in await _all(site, "EVENTS")]


async def _push(site: Bridge, plate: str, when: str) -> None:
    body = {"topic": "LPR", "src": "F00001", "plateNo": plate, "when": when}
    async with httpx.AsyncClient(base_url=site.running.http.url, auth=("gate", "s3cret")) as http:
        (await http.post("/api/push", json=body)).raise_for_status()


async def _until(site: Bridge, condition: Callable[[list[VmsEvent]], object]) -> list[VmsEvent]:
    """Return the log once the condition holds for it: what is caught up with comes before anybody can watch."""
    async with asyncio.timeout(PATIENCE):
        while not condition(found := await _log(site)):  # noqa: ASYNC110 - it is for the log to say
            await asyncio.sleep(0.1)
    return found


def _state(events: list[VmsEvent]) -> dict[str, str]:
    """Return what the rules have set."""
    said = [event.data.model_dump() for event in events if event.type == "state.changed"]
    assert len({one["attribute"] for one in said}) == len(said), f"set twice: {said}"
    return {one["attribute"]: one["value"] for one in said}


def _ended(events: list[VmsEvent]) -> dict[str, tuple[str, int]]:
    """Return how the order of each rule has ended, and after how many tries."""
    said = [event.data.model_dump() for event in events if event.type == "action.ended"]
    assert len({one["rule"] for one in said}) == len(said), f"ended twice: {said}"
    return {one["rule"]: (one["outcome"], one["attempts"]) for one in said}


def _owed_is_told(request: Request, events: list[VmsEvent]) -> None:
    (order,) = (one.data.model_dump()["order"] for one in events if getattr(one.data, "rule", None) == "owed")
    (cause,) = (one for one in events if getattr(one.data, "plate", None) == "TELL")
    assert request.headers["webhook-id"] == order
    assert json.loads(request.body)["id"] == cause.id


async def _drops(site: Bridge) -> list[tuple[str, list[str]]]:
    """Return what was dropped, by its traces: the rule, and what is said of it."""
    traces = [json.loads(message.data) for message in await _all(site, "TRACES")]
    return [(trace["rule"], trace["failed"]) for trace in traces if trace["outcome"] == "dropped"]


async def _trail_holds_together(site: Bridge, folder: Path, *, orders: int, changes: int) -> None:
    """Wait until the trail has so many records, and have it verified: old ones and new ones are one chain."""
    async with asyncio.timeout(PATIENCE):
        while len(await _all(site, "RESULTS")) < orders + changes:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.1)
    said = await asyncio.to_thread(here, "audit", "verify", "--json", "-c", str(folder / "bridge.yaml"))
    verdict = json.loads(said.stdout)
    assert (verdict["state"] != "altered", verdict["first"], verdict["last"]) == (True, 1, orders + changes), verdict


@pytest.mark.timeout(120)
async def test_the_store_of_an_earlier_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event is read, what was counted and timed counts, what was owed is done, and the trail holds together.

    Firings that waited are values of their own now: the one that waited then is dropped, and its trace says so.
    """
    # As when it was written: neither the stored data nor what they count run out.
    monkeypatch.setattr(streams, "_DAY", timedelta(days=100))
    monkeypatch.setattr(whenmodel, "LONGEST", timedelta(days=36500))
    async with (
        receiving() as receiver,
        bridge(tmp_path, _unpacked(tmp_path, receiver.url), clock=_MinuteLater()) as site,
    ):
        await _push(site, "OFTEN", "2020-01-01T12:20:00Z")
        events = await _until(site, lambda log: len(_state(log)) == 2 and len(_ended(log)) == 5)

        assert sorted(event.type for event in events[: len(WRITTEN)]) == WRITTEN
        kinds = [event.type for event in events[len(WRITTEN) :]]
        assert not {"log.hole", "rules.changed", "settings.changed"} & set(kinds)
        plates = [event.data.model_dump()["plate"] for event in events if event.type == "plate.read"]
        assert plates == [*PLATES, "OFTEN"]

        assert _state(events) == STATE
        assert await _drops(site) == [("pair", ["what was remembered of it cannot be read"])]

        ended = _ended(events)
        assert ended.pop("owed") == ("done", 3)
        assert ended == {
            "opens": ("expired", 0), "pair": ("done", 1), "long-call": ("done", 1), "regular": ("done", 1)
        }  # fmt: skip
        (request,) = receiver.requests
        _owed_is_told(request, events)

        box = DeadLetterBox(site.running.bus.connection, "home", "test")
        (letter,) = await box.newest(10)
        assert (letter.reason, letter.error) == ("bad_field", "plateNo is not usable")
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            await _push(site, "", "2020-01-01T12:20:00Z")
        assert [each.seq for each in await box.newest(10)] == [letter.seq, streams.REJECTED_FROM]
        await _trail_holds_together(site, tmp_path, orders=5, changes=2)
        assert store_format.format_of(tmp_path / "data") == store_format.FORMAT
        assert store_format.site_of(tmp_path / "data") == "home"
