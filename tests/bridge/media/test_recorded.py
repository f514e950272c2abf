"""From a recorder's HTTP server to a clip in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from blockbuster import blockbuster_ctx

from bridge.contracts import Piece
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.job import PieceFile, Window
from bridge.media.manifest import About
from bridge.media.pool import MediaWorkers
from bridge.media.recorded import ClipMaker, ClipRequest
from bridge.media.store import ClipStore
from tests.bridge.media.conftest import Recorder
from tests.bridge.media.footage import Footage, at, shown
from tests.bridge.media.test_fetch import NoWait
from tests.bridge.media.web import File, Web, web


class Late(NoWait):
    """A clock long after the footage, on which waiting takes no time."""

    def __init__(self, seconds: float = 600) -> None:
        super().__init__()
        self.seconds = seconds

    def now(self) -> object:
        return at(self.seconds)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client that ignores the machine's proxies."""
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


@pytest.fixture
async def store(tmp_path: Path, workers: MediaWorkers) -> AsyncIterator[ClipStore]:
    """Return an open store."""
    async with ClipStore(tmp_path / "clips", workers, Late()) as opened:
        yield opened


def request(clip: str, begin: float, end: float, event: float) -> ClipRequest:
    """Return a request for a clip of the gate camera."""
    window = Window(begin=at(begin), end=at(end), event=at(event))
    return ClipRequest(About(clip=clip, source="home/nvr1", channel="1"), window)


def served(recorded: Recorder) -> tuple[dict[str, File], list[PieceFile]]:
    """Return three consecutive recordings, as files to serve."""
    pieces = [recorded(Footage(begin=begin, seconds=4, bframes=2, audio=True)) for begin in (0, 4, 8)]
    return {f"p{n}": File(piece.path.read_bytes()) for n, piece in enumerate(pieces)}, pieces


def listed(server: Web, pieces: list[PieceFile]) -> list[Piece]:
    """Return what a connector would list."""
    return [Piece(url=server.url(f"p{n}"), begin=piece.begin, end=piece.end) for n, piece in enumerate(pieces)]


async def test_a_clip_over_three_recordings(
    store: ClipStore, workers: MediaWorkers, client: httpx.AsyncClient, recorded: Recorder
) -> None:
    """Pre- and post-roll are covered; a second try with the same id asks the recorder for nothing."""
    files, pieces = served(recorded)
    files["p1"].breaks = [3000]
    maker = ClipMaker(workers, store, Late())
    async with web(**files) as server:
        clip = await maker.from_recordings(request("c1", 2.2, 9.7, 5.2), listed(server, pieces), client)
        pictures = shown(store.root / clip.path)
        assert pictures[0].clock <= 2.2
        assert pictures[-1].clock >= 9.66
        assert clip.manifest.complete
        assert (clip.manifest.before, clip.manifest.after) >= (3, 4.5)
        asked = len(server.requests)
        again = await maker.from_recordings(request("c1", 2.2, 9.7, 5.2), listed(server, pieces), client)
        assert again == clip
        assert len(server.requests) == asked


async def test_the_event_loop_is_never_blocked(
    store: ClipStore, workers: MediaWorkers, client: httpx.AsyncClient, recorded: Recorder
) -> None:
    """Files are touched in threads and video in processes, so events flow on meanwhile."""
    files, pieces = served(recorded)
    maker = ClipMaker(workers, store, Late())
    async with web(**files) as server:
        with blockbuster_ctx("bridge.media"):
            clip = await maker.from_recordings(request("c1", 2.2, 9.7, 5.2), listed(server, pieces), client)
            await store.find("c1")
            await store.retain()
    assert clip.manifest.complete


async def test_one_id_is_made_once_at_a_time(
    store: ClipStore, workers: MediaWorkers, client: httpx.AsyncClient, recorded: Recorder
) -> None:
    """Five tasks with one id fetch the footage once."""
    files, pieces = served(recorded)
    maker = ClipMaker(workers, store, Late())
    async with web(**files) as server:
        clips = await asyncio.gather(
            *(maker.from_recordings(request("c1", 5, 7, 6), listed(server, pieces[:2]), client) for _ in range(5))
        )
        assert len(server.requests) == 2
    assert len({clip.path for clip in clips}) == 1


@pytest.mark.parametrize(("end", "whole"), [(14, False), (12.07, True)])
async def test_footage_that_is_not_written_yet_is_waited_for(
    store: ClipStore, workers: MediaWorkers, client: httpx.AsyncClient, recorded: Recorder, end: float, whole: bool
) -> None:
    """Soon after the event the end, be it a moment, may still come; later, or on request, it is left out."""
    files, pieces = served(recorded)
    async with web(**files) as server:
        early = ClipMaker(workers, store, Late(seconds=20))
        with pytest.raises(ActionUnavailableError, match="has not written the end") as caught:
            await early.from_recordings(request("c1", 6, end, 9), listed(server, pieces), client)
        assert caught.value.retry_after is not None
        assert len(store) == 0
        clip = await early.from_recordings(request("c1", 6, end, 9), listed(server, pieces), client, partial=True)
        assert clip.manifest.complete is whole
        late = ClipMaker(workers, store, Late(seconds=600))
        clip = await late.from_recordings(request("c2", 6, end, 9), listed(server, pieces), client)
        assert clip.manifest.complete is whole
        with pytest.raises(ActionUnavailableError, match="no footage"):
            await late.from_recordings(request("c3", 6, end, 9), [], client)


async def test_a_failed_try_leaves_nothing_behind(
    store: ClipStore, workers: MediaWorkers, client: httpx.AsyncClient, recorded: Recorder
) -> None:
    """Neither pieces nor drafts, whether it fails while fetching or while cutting."""
    files, pieces = served(recorded)
    files["p1"] = File(b"<html>login</html>")
    maker = ClipMaker(workers, store, Late())
    async with web(**files) as server:
        with pytest.raises(ActionRejectedError, match="HTML"):
            await maker.from_recordings(request("c1", 5, 7, 6), listed(server, pieces)[1:2], client)
        server.files["p1"] = File(files["p0"].data[:2000])
        with pytest.raises(ActionUnavailableError, match="no usable footage"):
            await maker.from_recordings(request("c1", 5, 7, 6), listed(server, pieces)[1:2], client)
    assert [path.name for path in (store.root / ".incoming").iterdir()] == []
