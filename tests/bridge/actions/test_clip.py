"""The clip action, with real footage over real sockets: what is asked for is there, and nothing is made twice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from bridge.actions import clip
from bridge.contracts import Emit, Known, Piece
from bridge.errors import ActionRejectedError, ConnectorUnavailableError, StoreUnavailableError
from bridge.media.job import PieceFile
from bridge.media.pool import MediaWorkers
from bridge.media.recorded import ClipMaker
from bridge.media.store import ClipStore
from bridge.schema.event import VmsEvent
from bridge.schema.orders import Order, Result
from tests.bridge.actions.support import Site, make_order, plate_event, running, until
from tests.bridge.media.footage import Footage, at, shown
from tests.bridge.media.web import File, Web, web
from tests.clock import VirtualClock

Recorder = Callable[[Footage], PieceFile]


class Recording:
    """A source that has recordings of channels 1 and 2, as far as its clock has come."""

    def __init__(self, server: Web, pieces: Sequence[PieceFile], clock: VirtualClock) -> None:
        self._server, self._pieces, self._clock = server, pieces, clock
        self._client = httpx.AsyncClient(trust_env=False)
        self.errors: dict[str, list[Exception]] = {}
        self.asked: list[str] = []

    async def recordings(self, channel: str, since: datetime, until: datetime) -> list[Piece]:
        self.asked.append(channel)
        if self.errors.get(channel):
            raise self.errors[channel].pop(0)
        return [
            Piece(self._server.url(f"p{n}"), each.begin, each.end)
            for n, each in enumerate(self._pieces)
            if each.end > since and each.begin < until and each.end <= self._clock.now()
        ]

    def http_client(self) -> httpx.AsyncClient:
        return self._client

    async def aclose(self) -> None:
        await self._client.aclose()


class Log:
    """Where events go; it can refuse."""

    def __init__(self) -> None:
        self.events: list[VmsEvent] = []
        self.away = 0

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.away:
            self.away -= 1
            future.set_exception(StoreUnavailableError("the store is away"))
        else:
            self.events.extend(events)
            future.set_result(None)
        return future

    def of(self, kind: str) -> list[Any]:
        return [event.data for event in self.events if event.type == kind]


class Studio:
    """A site with a recorder, workers, a store and a log."""

    def __init__(self, site: Site, source: Recording, log: Log, store: ClipStore) -> None:
        self.site, self.source, self.log, self.store = site, source, log, store

    async def do(self, order: Order, seconds: float = 120) -> Result:
        """Put the order in and let time pass until it has ended."""
        self.site.queue.put(order)
        for _ in range(int(seconds)):
            await until(lambda: order.id in self.site.disk.acked or self._waits(order))
            if order.id in self.site.disk.acked:
                break
            await self.site.advance(1, step=1)
        return (await self.site.ended(order))[0]

    def _waits(self, order: Order) -> bool:
        claimed = self.site.disk.effects.get(order.id)
        return claimed is not None and claimed.effect.status == "waiting" and order.id not in self.site.runner._in_hand


@asynccontextmanager
async def studio(folder: Path, recorded: Recorder, now: float = 60) -> AsyncIterator[Studio]:
    pieces = [recorded(Footage(begin=begin, seconds=4, bframes=2)) for begin in (0, 4, 8)]
    files = {f"p{n}": File(piece.path.read_bytes()) for n, piece in enumerate(pieces)}
    clock = VirtualClock(at(now))
    log = Log()
    async with (
        web(**files) as server,
        MediaWorkers(1) as workers,
        ClipStore(folder / "clips", workers, clock) as store,
        running(folder, clock, actions={"clip": clip.SPEC}) as site,
    ):
        source = Recording(server, pieces, clock)
        site.services.put_source("nvr", source)
        site.services.put(ClipMaker(workers, store, clock))
        site.services.put(log, Emit)
        yield Studio(site, source, log, store)
        await source.aclose()


def _order(made: Studio, event_at: float, params: dict[str, Any], **more: Any) -> Order:
    event = plate_event(made.site.clock, time=at(event_at))
    return make_order(made.site.clock, "clip", params, event=event, **more)


async def test_the_clip_covers_what_was_asked(tmp_path: Path, recorded: Recorder) -> None:
    """The clocks in the pictures prove the window; result and event say where the file is."""
    async with studio(tmp_path, recorded) as made:
        order = _order(made, 5, {"before": "2s", "after": "3s"})
        result = await made.do(order)
        assert result.outcome == "done", result.message
        (entry,) = result.output["clips"]  # type: ignore[union-attr]
        pictures = shown(made.store.root / str(result.output["path"]))
        assert pictures[0].clock <= 3
        assert pictures[-1].clock >= 7.96
        (ready,) = made.log.of("clip.ready")
        assert (ready.path, ready.sha256, ready.complete) == (entry["path"], entry["sha256"], True)
        assert (ready.order, ready.causes) == (order.id, order.causes)
        (event,) = made.log.events
        assert (event.source, event.subject, event.correlation) == ("site/nvr", "1", "event1")


async def test_one_clip_for_each_channel(tmp_path: Path, recorded: Recorder) -> None:
    """`channels: [1, 2]` gives two clips with ids of their own."""
    async with studio(tmp_path, recorded) as made:
        result = await made.do(_order(made, 5, {"channels": [1, "2", 1], "before": "1s", "after": "1s"}))
        clips = result.output["clips"]
        assert [each["channel"] for each in clips] == ["1", "2"]  # type: ignore[index,union-attr,call-overload]
        assert len({ready.clip for ready in made.log.of("clip.ready")}) == 2


async def test_it_waits_until_the_end_can_have_been_recorded(tmp_path: Path, recorded: Recorder) -> None:
    """Nothing is asked of the recorder before event + after + margin; then it looks until the footage is there."""
    async with studio(tmp_path, recorded, now=5) as made:
        result = await made.do(_order(made, 5, {"before": "1s", "after": "2s"}))
        assert result.outcome == "done", result.message
        assert result.attempts >= 2
        assert made.site.clock.now() >= at(9)


async def test_a_retry_goes_on_where_it_stopped(tmp_path: Path, recorded: Recorder) -> None:
    """Channel 2 fails first: channel 1's clip is made once and told once more at most."""
    async with studio(tmp_path, recorded) as made:
        made.source.errors["2"] = [ConnectorUnavailableError("rebooting")]
        result = await made.do(_order(made, 5, {"channels": [1, 2], "before": "1s", "after": "1s"}))
        assert (result.outcome, result.attempts) == ("done", 2)
        assert len(made.store) == 2
        assert len({event.id for event in made.log.events}) == 2


async def test_the_event_is_stored_before_the_order_is_done(tmp_path: Path, recorded: Recorder) -> None:
    """A log that is away makes another try, which finds the clip and tells of it."""
    async with studio(tmp_path, recorded) as made:
        made.log.away = 1
        result = await made.do(_order(made, 5, {"before": "1s", "after": "1s"}))
        assert (result.outcome, result.attempts) == ("done", 2)
        assert len(made.log.of("clip.ready")) == len(made.store) == 1


async def test_when_there_is_no_footage_an_event_says_so(
    tmp_path: Path, recorded: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried until given up, then dead, with a clip.failed, also when the log is away for a moment."""
    async with studio(tmp_path, recorded) as made:
        actions = made.site.runner._actions
        short = {"clip": _with_give_up(actions["clip"], timedelta(seconds=40))}
        monkeypatch.setattr(made.site.runner, "_actions", short)
        made.log.away = 1
        order = _order(made, -500, {"before": "1s", "after": "1s"})
        made.site.queue.put(order)
        for _ in range(200):
            await made.site.advance(1, step=1)
            if order.id in made.site.disk.acked:
                break
        (result,) = await made.site.ended(order)
        assert (result.outcome, result.reason) == ("dead", "gave_up")
        (failed,) = made.log.of("clip.failed")
        assert (failed.reason, failed.order) == ("gave_up", order.id)


def _with_give_up(spec: Any, after: timedelta) -> Any:
    return dataclasses.replace(spec, give_up_after=after)


async def test_some_channels_are_better_than_none(tmp_path: Path, recorded: Recorder) -> None:
    """A channel whose clip can never be made does not cost the others; the result names it."""
    async with studio(tmp_path, recorded) as made:
        made.source.errors["2"] = [ActionRejectedError("channel 2 does not exist")]
        result = await made.do(_order(made, 5, {"channels": [1, 2], "before": "1s", "after": "1s"}))
        assert (result.outcome, result.output["missing"]) == ("done", ["channel 2 does not exist"])


async def test_what_is_refused_for_good_is_told(tmp_path: Path, recorded: Recorder) -> None:
    """An event without a channel has no camera to cut from."""
    async with studio(tmp_path, recorded) as made:
        event = plate_event(made.site.clock, subject=None, time=at(5))
        result = await made.do(make_order(made.site.clock, "clip", {}, event=event))
        assert (result.outcome, result.reason) == ("refused", "no_channel")
        assert len(made.log.of("clip.failed")) == 1


@pytest.mark.parametrize("params", [{"before": "0s", "after": "0s"}, {"after": "31m"}, {"channels": [True]}, {"x": 1}])
def test_parameters_that_make_no_sense(params: dict[str, Any]) -> None:
    """Are refused at load."""
    with pytest.raises(ValidationError):
        clip.ClipParams.model_validate(params)


def test_unknown_places_are_seen_at_load() -> None:
    """Sources and channels that do not exist."""
    known = Known(sources=frozenset({"nvr"}), channels={"nvr": frozenset({"1"})})
    params = clip.ClipParams.model_validate({"source": "nvr", "channels": [1, 7]})
    assert list(clip.SPEC.check(params, known)) == ["unknown channel of nvr '7'; known: 1"]
    assert "nvr" in next(iter(clip.SPEC.check(clip.ClipParams(source="nrv"), known)))
